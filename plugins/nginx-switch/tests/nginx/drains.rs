//! When the last requests of a slot have ended, on an NGINX of our own and on one that others keep busy.

use crate::rig::{App, Nginx, Switch, ask, rule, wait_for};
use std::io::Write;
use std::net::TcpStream;
use std::thread;

const SCOPE: &str = "shop/production";

fn routed(more: &str, http: &str) -> (Nginx, App, App, Switch) {
    let nginx = Nginx::start_with(http, &[SCOPE]);
    let (blue, green) = (App::start("blue"), App::start("green"));
    let switch = Switch::with(&nginx, SCOPE, more);
    switch.switch(&switch.desired(Some((10_000, &blue)), Some((0, &green))));
    nginx.configure(http, &[SCOPE], true);
    nginx.reload(&switch.host);
    (nginx, blue, green, switch)
}

/// Waits until one more request is at a backend than `before`.
fn arrived(app: &App, before: usize) {
    wait_for("the request to be at its backend", || (app.seen() > before).then_some(()));
}

#[test]
fn a_slow_request_keeps_its_slot_draining_until_it_has_its_answer() {
    let (nginx, blue, green, switch) = routed("{}", "");
    let drained = switch.drain("blue");
    assert!(!drained.done, "it has all the weight: {drained:?}");
    let before = blue.seen();
    thread::scope(|scope| {
        let slow = scope.spawn(|| ask(&nginx, SCOPE, "/hold", &[]));
        arrived(&blue, before);
        switch.switch(&switch.desired(Some((0, &blue)), Some((10_000, &green))));
        assert_eq!(ask(&nginx, SCOPE, "/", &[]).text(), "green");
        let drained = switch.drain("blue");
        assert!(!drained.done && !slow.is_finished(), "{drained:?}");
        assert_eq!((drained.evidence.as_str(), drained.remaining), ("connections", 1), "{drained:?}");
        blue.release();
        let drained = wait_for("the drain", || Some(switch.drain("blue")).filter(|drained| drained.done));
        assert_eq!(drained.evidence, "workers-gone");
        let answer = slow.join().unwrap();
        assert_eq!((answer.status, answer.text().as_str()), (200, "blue"), "nothing was cut");
    });
}

#[test]
fn an_idle_slot_is_drained_when_the_old_workers_are_gone() {
    let (_nginx, blue, green, switch) = routed("{}", "");
    switch.switch(&switch.desired(Some((0, &blue)), Some((10_000, &green))));
    let drained = wait_for("the drain", || Some(switch.drain("blue")).filter(|drained| drained.done));
    assert_eq!((drained.evidence.as_str(), drained.remaining), ("workers-gone", 0));
    assert!(!switch.drain("green").done);
}

#[test]
fn a_stream_of_another_server_leaves_only_the_weaker_evidence() {
    let others = App::start("others");
    let port = crate::rig::free_port();
    let http = format!("server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass http://127.0.0.1:{}; }} }}", others.port);
    let (nginx, blue, green, switch) = routed(r#"{ "drain": { "quiet": "1s" } }"#, &http);
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.write_all(b"GET /hold HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    arrived(&others, 0);
    let before = blue.seen();
    thread::scope(|scope| {
        let slow = scope.spawn(|| ask(&nginx, SCOPE, "/hold", &[]));
        arrived(&blue, before);
        switch.switch(&switch.desired(Some((0, &blue)), Some((10_000, &green))));
        let drained = switch.drain("blue");
        assert_eq!((drained.done, drained.evidence.as_str()), (false, "connections"), "{drained:?}");
        blue.release();
        assert_eq!(slow.join().unwrap().text(), "blue");
    });
    let drained = wait_for("quiet to begin", || Some(switch.drain("blue")).filter(|drained| drained.evidence == "workers"));
    assert!(!drained.done && drained.remaining >= 1, "{drained:?}");
    let drained = wait_for("the drain", || Some(switch.drain("blue")).filter(|drained| drained.done));
    assert_eq!(drained.evidence, "no-connections", "{drained:?}");
    assert!(nginx.workers(&switch.host).iter().any(|worker| worker.title.contains("shutting down")), "the stream still runs");
    others.release();
    drop(stream);
    let drained = wait_for("the old workers to go", || Some(switch.drain("blue")).filter(|drained| drained.evidence == "workers-gone"));
    assert!(drained.done);
}

#[test]
fn an_override_keeps_a_slot_without_weight_from_draining() {
    let (_nginx, blue, green, switch) = routed("{}", "");
    let mut wanted = switch.desired(Some((0, &blue)), Some((10_000, &green)));
    wanted.overrides = vec![rule("blue", "header", "X-Old", "yes")];
    switch.switch(&wanted);
    let drained = switch.drain("blue");
    assert!(!drained.done && drained.message.contains("`X-Old: yes` still sends requests to blue"), "{drained:?}");
    switch.switch(&switch.desired(Some((0, &blue)), Some((10_000, &green))));
    wait_for("the drain", || Some(switch.drain("blue")).filter(|drained| drained.done));
}

#[test]
fn a_drain_is_told_without_a_memory_by_the_workers_that_are_leaving() {
    let (nginx, blue, green, switch) = routed("{}", "");
    let before = blue.seen();
    thread::scope(|scope| {
        let slow = scope.spawn(|| ask(&nginx, SCOPE, "/hold", &[]));
        arrived(&blue, before);
        switch.switch(&switch.desired(Some((0, &blue)), Some((10_000, &green))));
        switch.host.forget();
        assert!(!switch.drain("blue").done);
        blue.release();
        slow.join().unwrap();
    });
    wait_for("the drain", || Some(switch.drain("blue")).filter(|drained| drained.evidence == "workers-gone"));
}

#[test]
fn a_second_change_does_not_forget_the_requests_of_the_first() {
    let (nginx, blue, green, switch) = routed("{}", "");
    let before = blue.seen();
    thread::scope(|scope| {
        let slow = scope.spawn(|| ask(&nginx, SCOPE, "/hold", &[]));
        arrived(&blue, before);
        switch.switch(&switch.desired(Some((0, &blue)), Some((10_000, &green))));
        // Another reload, and the slot gone from the file altogether.
        switch.switch(&switch.desired(None, Some((10_000, &green))));
        assert!(!switch.drain("blue").done);
        blue.release();
        slow.join().unwrap();
    });
    wait_for("the drain", || Some(switch.drain("blue")).filter(|drained| drained.done));
}
