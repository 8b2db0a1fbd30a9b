//! When the last requests of a slot have ended, on an NGINX of our own and on one that others keep
//! busy.

use crate::client::ask;
use crate::rig::{App, Nginx, Switch, rule, wait_for};
use agente_plugin_sdk::Desired;
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
    let drained = switch.drain(&blue);
    assert!(!drained.done, "it has all the weight: {drained:?}");
    let before = blue.seen();
    thread::scope(|scope| {
        let slow = scope.spawn(|| ask(&nginx, SCOPE, "/hold", &[]));
        arrived(&blue, before);
        switch.switch(&switch.desired(Some((0, &blue)), Some((10_000, &green))));
        assert_eq!(ask(&nginx, SCOPE, "/", &[]).text(), "green");
        let drained = switch.drain(&blue);
        assert!(!drained.done && !slow.is_finished(), "{drained:?}");
        assert_eq!(
            (drained.evidence.as_str(), drained.remaining),
            ("connections", 1),
            "{drained:?}"
        );
        blue.release();
        let drained =
            wait_for("the drain", || Some(switch.drain(&blue)).filter(|drained| drained.done));
        assert_eq!(drained.evidence, "workers-gone");
        let answer = slow.join().unwrap();
        assert_eq!((answer.status, answer.text().as_str()), (200, "blue"), "nothing was cut");
    });
}

#[test]
fn an_idle_slot_is_drained_when_the_old_workers_are_gone() {
    let (_nginx, blue, green, switch) = routed("{}", "");
    switch.switch(&switch.desired(Some((0, &blue)), Some((10_000, &green))));
    let drained =
        wait_for("the drain", || Some(switch.drain(&blue)).filter(|drained| drained.done));
    assert_eq!((drained.evidence.as_str(), drained.remaining), ("workers-gone", 0));
    assert!(!switch.drain(&green).done);
}

#[test]
fn a_stream_of_another_server_leaves_only_the_weaker_evidence() {
    let others = App::start("others");
    let port = crate::rig::free_port();
    let http = format!(
        "server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass http://127.0.0.1:{}; }} }}",
        others.port
    );
    let (nginx, blue, green, switch) = routed(r#"{ "drain": { "quiet": "1s" } }"#, &http);
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.write_all(b"GET /hold HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    arrived(&others, 0);
    let before = blue.seen();
    thread::scope(|scope| {
        let slow = scope.spawn(|| ask(&nginx, SCOPE, "/hold", &[]));
        arrived(&blue, before);
        switch.switch(&switch.desired(Some((0, &blue)), Some((10_000, &green))));
        let drained = switch.drain(&blue);
        assert_eq!(
            (drained.done, drained.evidence.as_str()),
            (false, "connections"),
            "{drained:?}"
        );
        blue.release();
        assert_eq!(slow.join().unwrap().text(), "blue");
    });
    let drained = wait_for("quiet to begin", || {
        Some(switch.drain(&blue)).filter(|drained| drained.evidence == "workers")
    });
    assert!(!drained.done && drained.remaining >= 1, "{drained:?}");
    let drained =
        wait_for("the drain", || Some(switch.drain(&blue)).filter(|drained| drained.done));
    assert_eq!(drained.evidence, "no-connections", "{drained:?}");
    assert!(
        nginx.workers(&switch.host).iter().any(|worker| worker.title.contains("shutting down")),
        "the stream still runs"
    );
    others.release();
    drop(stream);
    let drained = wait_for("the old workers to go", || {
        Some(switch.drain(&blue)).filter(|drained| drained.evidence == "workers-gone")
    });
    assert!(drained.done);
}

#[test]
fn an_override_keeps_a_slot_without_weight_from_draining() {
    let (_nginx, blue, green, switch) = routed("{}", "");
    let mut wanted = switch.desired(Some((0, &blue)), Some((10_000, &green)));
    wanted.overrides = vec![rule("blue", "header", "X-Old", "yes")];
    switch.switch(&wanted);
    let drained = switch.drain(&blue);
    assert!(
        !drained.done && drained.message.contains("`X-Old: yes` still sends requests to blue"),
        "{drained:?}"
    );
    switch.switch(&switch.desired(Some((0, &blue)), Some((10_000, &green))));
    wait_for("the drain", || Some(switch.drain(&blue)).filter(|drained| drained.done));
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
        assert!(!switch.drain(&blue).done);
        blue.release();
        slow.join().unwrap();
    });
    wait_for("the drain", || {
        Some(switch.drain(&blue)).filter(|drained| drained.evidence == "workers-gone")
    });
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
        assert!(!switch.drain(&blue).done);
        blue.release();
        slow.join().unwrap();
    });
    wait_for("the drain", || Some(switch.drain(&blue)).filter(|drained| drained.done));
}

/// A slot of three backends that share all requests.
fn rolling(more: &str) -> (Nginx, [App; 3], Switch) {
    let nginx = Nginx::start();
    let apps = ["one", "two", "three"].map(App::start);
    let switch = Switch::with(&nginx, SCOPE, more);
    switch.switch(&blue_of(&switch, &apps.each_ref()));
    nginx.configure("", &[SCOPE], true);
    nginx.reload(&switch.host);
    (nginx, apps, switch)
}

/// All requests go to blue, which has these backends.
fn blue_of(switch: &Switch, apps: &[&App]) -> Desired {
    let mut wanted = switch.desired(None, None);
    wanted.routes[0].weight = 10_000;
    wanted.routes[0].backends = apps.iter().map(|app| app.backend()).collect();
    wanted
}

/// Asks until the backend whose name is in the path has the request and, where it holds it, has
/// been released.
fn held(nginx: &Nginx, path: &str) -> String {
    let name = path.strip_prefix("/hold/").unwrap();
    wait_for("the backend to be chosen", || {
        Some(ask(nginx, SCOPE, path, &[]).text()).filter(|answer| answer == name)
    })
}

/// Waits until a backend holds the request that was sent to it alone: those that others got have
/// been answered at once.
fn holds(app: &App) {
    wait_for("the backend to hold the request", || (app.holding() == 1).then_some(()));
}

#[test]
fn a_backend_that_leaves_a_slot_at_full_weight_is_drained_when_its_slow_request_has_its_answer() {
    let (nginx, [one, two, three], switch) = rolling("{}");
    let drained = switch.drain_of("blue", &[&three]);
    assert!(!drained.done && drained.evidence == "routed", "{drained:?}");
    thread::scope(|scope| {
        let slow = scope.spawn(|| held(&nginx, "/hold/three"));
        holds(&three);
        switch.switch(&blue_of(&switch, &[&one, &two]));
        let drained = switch.drain_of("blue", &[&three]);
        assert_eq!(
            (drained.done, drained.evidence.as_str(), drained.remaining),
            (false, "connections", 1),
            "{drained:?}"
        );
        assert!(
            drained
                .message
                .contains(&format!("1 connection to {} of blue open", three.backend().address)),
            "{drained:?}"
        );
        let before = three.seen();
        let answers: Vec<String> = (0..20).map(|_| ask(&nginx, SCOPE, "/", &[]).text()).collect();
        assert!(answers.iter().all(|answer| answer == "one" || answer == "two"), "{answers:?}");
        assert_eq!(three.seen(), before, "no new request reaches it");
        assert!(!switch.drain_of("blue", &[&three]).done && !slow.is_finished());
        three.release();
        let drained = wait_for("the drain", || {
            Some(switch.drain_of("blue", &[&three])).filter(|drained| drained.done)
        });
        assert_eq!(drained.evidence, "workers-gone", "{drained:?}");
        assert_eq!(slow.join().unwrap(), "three", "nothing was cut");
    });
    assert_eq!(switch.drain_of("blue", &[&one]).evidence, "routed");
    assert_eq!(
        switch.drain_of("blue", &[&three, &one]).evidence,
        "routed",
        "one of them still takes requests"
    );
    assert_eq!(
        switch.drain_of("blue", &[]).evidence,
        "routed",
        "none named: all that the slot has"
    );
}

#[test]
fn slow_requests_to_the_backends_that_stay_hold_up_the_drain_only_in_the_workers_that_were_there() {
    let (nginx, [one, two, three], switch) = rolling(r#"{ "drain": { "quiet": "1s" } }"#);
    thread::scope(|scope| {
        let earlier = scope.spawn(|| held(&nginx, "/hold/one"));
        holds(&one);
        switch.switch(&blue_of(&switch, &[&one, &two]));
        // A worker that once could send requests to it still runs, for a request to another: only
        // the weaker evidence is to be had.
        let drained = wait_for("the leaving connections to close", || {
            Some(switch.drain_of("blue", &[&three])).filter(|drained| drained.evidence == "workers")
        });
        assert!(!drained.done && drained.remaining >= 1, "{drained:?}");
        let drained = wait_for("quiet", || {
            Some(switch.drain_of("blue", &[&three])).filter(|drained| drained.done)
        });
        assert_eq!(drained.evidence, "no-connections", "{drained:?}");
        one.release();
        assert_eq!(earlier.join().unwrap(), "one");
        // A request of the new workers holds nothing up, at the same weight and for as long as it
        // takes.
        let later = scope.spawn(|| held(&nginx, "/hold/two"));
        holds(&two);
        let drained = wait_for("the drain", || {
            Some(switch.drain_of("blue", &[&three]))
                .filter(|drained| drained.evidence == "workers-gone")
        });
        assert!(drained.done && !later.is_finished(), "{drained:?}");
        two.release();
        assert_eq!(later.join().unwrap(), "two");
    });
}

#[test]
fn backends_that_leave_one_after_another_each_wait_for_their_own_workers() {
    let (nginx, [one, two, three], switch) = rolling("{}");
    switch.switch(&blue_of(&switch, &[&one, &two]));
    wait_for("the first drain", || {
        Some(switch.drain_of("blue", &[&three])).filter(|drained| drained.done)
    });
    thread::scope(|scope| {
        let slow = scope.spawn(|| held(&nginx, "/hold/two"));
        holds(&two);
        switch.switch(&blue_of(&switch, &[&one]));
        assert!(!switch.drain_of("blue", &[&two]).done);
        assert!(!switch.drain_of("blue", &[&two, &three]).done, "the slower of both decides");
        let drained = switch.drain_of("blue", &[&three]);
        assert_eq!(
            (drained.done, drained.evidence.as_str()),
            (true, "workers-gone"),
            "its workers were gone before: {drained:?}"
        );
        two.release();
        assert_eq!(slow.join().unwrap(), "two");
    });
    wait_for("the second drain", || {
        Some(switch.drain_of("blue", &[&two, &three])).filter(|drained| drained.done)
    });
}

#[test]
fn a_backend_that_comes_back_is_routed_and_drains_anew_when_it_leaves_again() {
    let (nginx, [one, two, three], switch) = rolling("{}");
    switch.switch(&blue_of(&switch, &[&one, &two]));
    wait_for("the drain", || {
        Some(switch.drain_of("blue", &[&three])).filter(|drained| drained.done)
    });
    switch.switch(&blue_of(&switch, &[&one, &two, &three]));
    let drained = switch.drain_of("blue", &[&three]);
    assert_eq!((drained.done, drained.evidence.as_str()), (false, "routed"), "{drained:?}");
    thread::scope(|scope| {
        let slow = scope.spawn(|| held(&nginx, "/hold/three"));
        holds(&three);
        switch.switch(&blue_of(&switch, &[&one, &two]));
        let drained = switch.drain_of("blue", &[&three]);
        assert_eq!(
            (drained.done, drained.evidence.as_str()),
            (false, "connections"),
            "the workers of then count, not those of the first time: {drained:?}"
        );
        three.release();
        assert_eq!(slow.join().unwrap(), "three");
    });
    wait_for("the second drain", || {
        Some(switch.drain_of("blue", &[&three])).filter(|drained| drained.done)
    });
}

#[test]
fn a_part_of_a_slot_drains_without_a_memory_by_the_workers_that_are_leaving() {
    let (nginx, [one, two, three], switch) = rolling("{}");
    thread::scope(|scope| {
        let slow = scope.spawn(|| held(&nginx, "/hold/three"));
        holds(&three);
        switch.switch(&blue_of(&switch, &[&one, &two]));
        wait_for("the old worker to begin to leave", || {
            let leaves =
                |worker: &agente_plugin_sdk::host::Process| worker.title.contains("shutting down");
            nginx.workers(&switch.host).iter().any(leaves).then_some(())
        });
        switch.host.forget();
        assert!(!switch.drain_of("blue", &[&three]).done);
        three.release();
        assert_eq!(slow.join().unwrap(), "three");
    });
    wait_for("the drain", || {
        Some(switch.drain_of("blue", &[&three]))
            .filter(|drained| drained.evidence == "workers-gone")
    });
}
