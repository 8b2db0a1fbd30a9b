//! NGINX says no: at the test, at the reload, or after the reload was accepted. Each time the file
//! is as before and the old routes serve.

use crate::client::ask;
use crate::rig::{App, Nginx, Switch, program, wait_for};
use agente_plugin_sdk::traffic::ObservedState;
use agente_plugin_sdk::{Code, Desired, label};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;

const SCOPE: &str = "shop/production";

#[test]
fn what_the_test_refuses_is_put_back_with_nginx_own_words() {
    let nginx = Nginx::start();
    let blue = App::start("blue");
    let switch = Switch::new(&nginx, SCOPE);
    let mut bad = switch.desired(None, Some((10_000, &blue)));
    bad.routes[1].backends[0].address = "no-such-host.invalid:80".into();

    let failure = switch.apply(&bad).unwrap_err();
    assert_eq!(failure.code, Code::Rejected);
    assert!(
        failure.message.contains("host not found in upstream \"no-such-host.invalid:80\""),
        "{failure}"
    );
    assert_eq!(switch.bytes(), None, "there was no file, and there is none");

    let good = switch.switch(&switch.desired(Some((10_000, &blue)), None));
    let (bytes, workers) = (switch.bytes(), nginx.accepting(&switch.host));
    let failure = switch.apply(&bad).unwrap_err();
    assert!(failure.message.contains("no-such-host.invalid:80"), "{failure}");
    assert_eq!(label(&failure.labels, "restored"), Some("true"));
    assert_eq!((switch.bytes(), nginx.accepting(&switch.host)), (bytes, workers));
    let seen = switch.observe().unwrap();
    assert_eq!(
        (seen.state, seen.generation),
        (ObservedState::Converged, good.generation),
        "{}",
        seen.message
    );
}

#[test]
fn a_configuration_that_somebody_else_broke_is_told_apart() {
    let nginx = Nginx::start();
    let blue = App::start("blue");
    let switch = Switch::new(&nginx, SCOPE);
    switch.switch(&switch.desired(Some((10_000, &blue)), None));
    nginx.configure("no_such_directive on;", &[SCOPE], true);
    let before = switch.bytes();
    let failure = switch.apply(&switch.desired(None, Some((10_000, &blue)))).unwrap_err();
    assert_eq!(failure.code, Code::Rejected);
    assert!(failure.message.contains("is invalid even without our change"), "{failure}");
    assert!(failure.message.contains("unknown directive \"no_such_directive\""), "{failure}");
    assert_eq!(switch.bytes(), before);
    let failure = switch.features().unwrap_err();
    assert!(failure.message.contains("is already invalid"), "{failure}");
}

/// A change that passes the test and the reload and yet is not loaded; then the way back, while the
/// cause is still there.
fn accepted_but_not_loaded(breakage: &str, before: &str, words: &str) {
    let nginx = Nginx::start_with(before, &[SCOPE]);
    let (blue, green) = (App::start("blue"), App::start("green"));
    let switch = Switch::new(&nginx, SCOPE);
    let first = switch.desired(Some((10_000, &blue)), Some((0, &green)));
    let good = switch.switch(&first);
    nginx.configure(before, &[SCOPE], true);
    nginx.reload(&switch.host);
    let bytes = switch.bytes();
    nginx.configure(breakage, &[SCOPE], true);

    let seen = switch.apply(&switch.desired(Some((0, &blue)), Some((10_000, &green)))).unwrap();
    assert!(matches!(seen.state, ObservedState::Pending | ObservedState::Drifted), "{seen:?}");
    let seen = switch.settle();
    assert_eq!(seen.state, ObservedState::Drifted, "{}", seen.message);
    assert_eq!(label(&seen.labels, "drift"), Some("not-loaded"));
    assert!(seen.message.contains(words), "{}", seen.message);
    assert_eq!(seen.generation, good.generation, "the old routes are in force");
    assert_eq!(ask(&nginx, SCOPE, "/", &[]).text(), "blue");

    // The host applies the last acknowledged routes again; what broke the reload is still there.
    switch.apply(&first).unwrap();
    let seen = switch.settle();
    assert_eq!(
        (seen.state, seen.generation),
        (ObservedState::Converged, good.generation),
        "{}",
        seen.message
    );
    assert_eq!(switch.bytes(), bytes);
    assert!(switch.drain(&green).done, "nothing was ever sent there");

    // Mended, the same change goes through.
    nginx.configure(before, &[SCOPE], true);
    switch.switch(&switch.desired(Some((0, &blue)), Some((10_000, &green))));
    assert_eq!(ask(&nginx, SCOPE, "/", &[]).text(), "green");
}

#[test]
fn a_port_that_is_taken_by_another_program_is_noticed_after_the_reload() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    accepted_but_not_loaded(
        &format!("server {{ listen {address}; }}"),
        "",
        &format!("bind() to {address} failed (98"),
    );
}

#[test]
fn a_changed_key_of_a_zone_is_noticed_after_the_reload() {
    accepted_but_not_loaded(
        "limit_req_zone $uri zone=zz:1m rate=1000r/s;",
        "limit_req_zone $host zone=zz:1m rate=1000r/s;",
        "limit_req \"zz\" uses the \"$uri\" key while previously it used the \"$host\" key",
    );
}

#[test]
fn a_port_that_becomes_free_in_time_is_no_failure() {
    let nginx = Nginx::start();
    let blue = App::start("blue");
    let switch = Switch::new(&nginx, SCOPE);
    switch.switch(&switch.desired(Some((10_000, &blue)), None));
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    nginx.configure(
        &format!("server {{ listen {}; }}", taken.local_addr().unwrap()),
        &[SCOPE],
        true,
    );
    switch.apply(&switch.desired(None, Some((10_000, &blue)))).unwrap();
    wait_for("the first refusal", || {
        std::fs::read_to_string(nginx.path("error.log"))
            .unwrap()
            .contains("bind() to")
            .then_some(())
    });
    assert_eq!(switch.observe().unwrap().state, ObservedState::Pending);
    drop(taken);
    assert_eq!(switch.settle().state, ObservedState::Converged);
}

#[test]
fn a_change_that_cannot_be_remembered_leaves_the_file_as_it_was() {
    let nginx = Nginx::start();
    let (blue, green) = (App::start("blue"), App::start("green"));
    let switch = Switch::new(&nginx, SCOPE);
    switch.switch(&switch.desired(Some((10_000, &blue)), None));
    let (bytes, workers, next) = (
        switch.bytes(),
        nginx.accepting(&switch.host),
        switch.desired(None, Some((10_000, &green))),
    );
    for writes in 0..2 {
        switch.host.limit_memory_writes(Some(writes));
        let failure = switch.apply(&next).unwrap_err();
        assert!(failure.message.contains("the memory can't be written"), "{failure}");
        assert_eq!(
            (switch.bytes(), nginx.accepting(&switch.host)),
            (bytes.clone(), workers.clone()),
            "after {writes} writes"
        );
    }
    // Once NGINX was told, the change is there, remembered or not.
    switch.host.limit_memory_writes(Some(2));
    let _whether_it_was_seen = switch.apply(&next);
    assert_ne!(switch.bytes(), bytes);
    switch.host.limit_memory_writes(None);
    assert_eq!(switch.settle().state, ObservedState::Converged);
    switch.switch(&switch.desired(Some((10_000, &blue)), None));
}

/// NGINX's program, but what this script does at a reload.
fn when_told_to_reload(nginx: &Nginx, script: &str) -> String {
    let wrapper = nginx.path("nginx-otherwise");
    let script = format!(
        "#!/bin/sh\ncase \"$*\" in *\"-s reload\") {script};; esac\nexec {} \"$@\"\n",
        program()
    );
    std::fs::write(&wrapper, script).unwrap();
    std::fs::set_permissions(&wrapper, std::fs::Permissions::from_mode(0o755)).unwrap();
    wrapper
}

#[test]
fn a_reload_whose_answer_is_lost_leaves_the_way_back_open() {
    let nginx = Nginx::start();
    let (blue, green) = (App::start("blue"), App::start("green"));
    let lost = nginx.path("lost");
    // Lost only once the file has been read: the bytes of before are put back at once.
    let begun = format!("$(grep -c 'start worker process' {})", nginx.path("error.log"));
    let script = format!(
        "if test -e {lost}; then before={begun}; {} \"$@\"; until test {begun} -gt $before; do \
         sleep 0.01; done; echo 'context deadline exceeded' >&2; exit 1; fi",
        program()
    );
    let wrapper = when_told_to_reload(&nginx, &script);
    let switch = Switch::with(&nginx, SCOPE, &format!(r#"{{ "nginx": "{wrapper}" }}"#));
    let first = switch.desired(Some((10_000, &blue)), Some((0, &green)));
    let good = switch.switch(&first);
    nginx.configure("", &[SCOPE], true);
    nginx.reload(&switch.host);
    let bytes = switch.bytes();

    std::fs::write(&lost, "").unwrap();
    let failure =
        switch.apply(&switch.desired(Some((0, &blue)), Some((10_000, &green)))).unwrap_err();
    assert!(failure.message.contains("context deadline exceeded"), "{failure}");
    assert_eq!((switch.bytes(), label(&failure.labels, "restored")), (bytes.clone(), Some("true")));
    let seen = wait_for("the reload that was told all the same", || {
        Some(switch.settle()).filter(|seen| seen.generation != good.generation)
    });
    assert_eq!(
        (seen.state, label(&seen.labels, "drift")),
        (ObservedState::Drifted, Some("not-loaded")),
        "{}",
        seen.message
    );
    wait_for("the workers of before to go", || {
        (ask(&nginx, SCOPE, "/", &[]).text() == "green").then_some(())
    });

    // The answer to the way back is lost, too; the next one is not.
    assert!(switch.apply(&first).is_err());
    std::fs::remove_file(&lost).unwrap();
    assert_eq!(switch.switch(&first).generation, good.generation);
    assert_eq!((ask(&nginx, SCOPE, "/", &[]).text().as_str(), switch.bytes()), ("blue", bytes));
    wait_for("the drain", || {
        Some(switch.drain(&green)).filter(|drained| drained.evidence == "workers-gone")
    });

    // All is settled again: a file that was changed by hand is noticed.
    std::fs::write(switch.file(), "").unwrap();
    assert_eq!(label(&switch.apply(&first).unwrap_err().labels, "drift"), Some("foreign"));
}

#[test]
fn a_first_reload_whose_answer_is_lost_can_be_taken_back() {
    let nginx = Nginx::start();
    let green = App::start("green");
    let lost = nginx.path("lost");
    let script =
        format!("if test -e {lost}; then echo 'context deadline exceeded' >&2; exit 1; fi");
    let switch = Switch::with(
        &nginx,
        SCOPE,
        &format!(r#"{{ "nginx": "{}" }}"#, when_told_to_reload(&nginx, &script)),
    );
    let workers = nginx.workers(&switch.host);
    std::fs::write(&lost, "").unwrap();
    assert!(switch.apply(&switch.desired(None, Some((10_000, &green)))).is_err());
    std::fs::remove_file(&lost).unwrap();
    let nothing = Desired { routes: Vec::new(), ..switch.desired(None, None) };
    switch.apply(&nothing).unwrap();
    wait_for("the reload of the way back", || {
        nginx.accepting(&switch.host).iter().all(|worker| !workers.contains(worker)).then_some(())
    });
    assert_eq!((switch.settle().state, switch.bytes()), (ObservedState::Absent, None));
}

#[test]
fn a_reload_that_nobody_may_tell_leaves_the_earlier_routes_proved() {
    let nginx = Nginx::start();
    let (blue, green) = (App::start("blue"), App::start("green"));
    let plain = Switch::new(&nginx, SCOPE);
    let first = plain.desired(Some((10_000, &blue)), None);
    let good = plain.switch(&first);
    let wrapper = when_told_to_reload(&nginx, "echo 'sudo: a password is required' >&2; exit 1");
    let switch = Switch::with(&nginx, SCOPE, &format!(r#"{{ "nginx": "{wrapper}" }}"#));
    let failure = switch.apply(&switch.desired(None, Some((10_000, &green)))).unwrap_err();
    assert!(failure.message.contains("sudo: a password is required"), "{failure}");
    assert_eq!(
        switch.observe().unwrap().state,
        ObservedState::Pending,
        "it may yet come into force"
    );
    assert!(switch.apply(&first).is_err(), "the way back tells it to reload once more");
    switch.apply(&first).unwrap();
    let seen = switch.settle();
    assert_eq!(
        (seen.state, seen.generation),
        (ObservedState::Converged, good.generation),
        "{}",
        seen.message
    );
}

#[test]
fn a_reload_that_is_refused_at_once_restores_the_file() {
    let nginx = Nginx::start();
    let (blue, green) = (App::start("blue"), App::start("green"));
    let plain = Switch::new(&nginx, SCOPE);
    plain.switch(&plain.desired(Some((10_000, &blue)), None));
    let bytes = plain.bytes();
    // The program as a user meets it who may test and not reload.
    let wrapper = when_told_to_reload(
        &nginx,
        "echo 'nginx: [alert] kill(1, 1) failed (1: Operation not permitted)' >&2; exit 1",
    );
    let switch = Switch::with(&nginx, SCOPE, &format!(r#"{{ "nginx": "{wrapper}" }}"#));
    let failure = switch.apply(&switch.desired(None, Some((10_000, &green)))).unwrap_err();
    assert_eq!(failure.code, Code::Rejected);
    assert!(
        failure.message.contains("kill(1, 1) failed (1: Operation not permitted)"),
        "{failure}"
    );
    assert_eq!(switch.bytes(), bytes);
    assert_eq!(switch.observe().unwrap().state, ObservedState::Converged);
    // By a signal of the host's it works for the same user.
    let switch =
        Switch::with(&nginx, SCOPE, &format!(r#"{{ "nginx": "{wrapper}", "reload": "signal" }}"#));
    switch.switch(&switch.desired(None, Some((10_000, &green))));
}

#[test]
fn names_too_long_for_nginx_tables_are_refused_with_the_line_that_helps() {
    let scope = format!("{}/{}", "s".repeat(31), "e".repeat(31));
    let nginx = Nginx::start_with("", &[&scope]);
    let blue = App::start("blue");
    let switch = Switch::new(&nginx, &scope);
    let wanted = switch.desired(Some((10_000, &blue)), None);
    let failure = switch.apply(&wanted).unwrap_err();
    assert_eq!(
        (failure.code, failure.hint.as_deref()),
        (Code::Rejected, Some("put `variables_hash_bucket_size 128;` in the `http` block")),
        "{failure}"
    );
    nginx.configure("variables_hash_bucket_size 128;", &[&scope], false);
    switch.switch(&wanted);
}

#[test]
fn text_never_becomes_configuration() {
    let nginx = Nginx::start();
    let blue = App::start("blue");
    let switch = Switch::new(&nginx, SCOPE);
    let good = switch.desired(Some((10_000, &blue)), None);
    let mut bad = Vec::new();
    for address in [
        "127.0.0.1:80; } server { listen 81",
        "127.0.0.1:80\n",
        "unix:/tmp/x",
        "$host:80",
        "127.0.0.1:0",
    ] {
        let mut wanted = good.clone();
        wanted.routes[0].backends[0].address = address.into();
        bad.push(wanted);
    }
    for id in ["a b", "a\nfence 99", "\"", "$x", ""] {
        let mut wanted = good.clone();
        wanted.routes[0].backends[0].id = id.into();
        bad.push(wanted);
    }
    for (by, name, value) in [
        ("header", "X;", "a"),
        ("header", "X", "a\"; }"),
        ("cookie", "a=b", "c"),
        ("query", "a", "b"),
        ("cookie", "a", ""),
    ] {
        let mut wanted = good.clone();
        wanted.overrides = vec![crate::rig::rule("blue", by, name, value)];
        bad.push(wanted);
    }
    for (name, value) in [("store", "a b"), ("store", "x\ny")] {
        let mut wanted = good.clone();
        wanted.labels = vec![(name.into(), value.into())];
        bad.push(wanted);
    }
    let mut wanted = good.clone();
    wanted.routes[0].labels = vec![("release".into(), "1\nfence 9".into())];
    bad.push(wanted);
    let mut wanted = good.clone();
    wanted.routes[0].weight = 9_999;
    bad.push(wanted);
    let mut wanted = good.clone();
    wanted.routes[0].backends.clear();
    bad.push(wanted);
    let mut wanted = good.clone();
    wanted.overrides = vec![crate::rig::rule("green", "header", "X", "a")];
    bad.push(wanted);
    for wanted in bad {
        let failure = switch.apply(&wanted).unwrap_err();
        assert_eq!(failure.code, Code::InvalidConfig, "{failure}");
        assert_eq!(switch.bytes(), None);
    }
}
