//! Decisions of people while a deployment runs: abort from a second terminal at every step,
//! signals, pause, and ways back.

use agente_tests::scene::{Run, Scene, Service, Setup, Traffic, get, wait_for};
use rustix::process::Signal;
use serde_json::Value;

/// An abort is in the journal once, and no step began between it and the turn. How soon it is
/// heard, the simulation says, whose clock no busy machine slows down.
#[track_caller]
fn heard_once(shop: &Service, id: &str, step: &str) {
    let journal = shop.journal(id);
    let kinds: Vec<&str> = journal
        .iter()
        .map(|entry| entry["event"]["entry"].as_str().unwrap_or_default())
        .skip_while(|kind| *kind != "decided")
        .collect();
    assert_eq!(kinds.iter().filter(|kind| **kind == "decided").count(), 1, "{step}: {kinds:?}");
    let began = journal
        .iter()
        .skip_while(|entry| entry["event"]["entry"] != "decided")
        .any(|entry| entry["event"]["event"] == "started");
    assert!(!began, "{step}: a step began after the abort: {kinds:?}");
}

#[track_caller]
fn stable_at_full_weight(shop: &Service, version: &str, slot: &str) {
    assert_eq!(shop.serving(), version);
    let status = shop.status();
    assert_eq!(status["state"]["open"], Value::Null, "{status}");
    let observed = &status["target"];
    assert_eq!(observed["state"], "converged", "{status}");
    let routes = observed["routes"]["routes"].as_array().cloned().unwrap_or_default();
    let weight = |of: &dyn Fn(&str) -> bool| {
        routes
            .iter()
            .filter(|route| route["slot"].as_str().is_some_and(of))
            .map(|route| route["weight"].as_u64().unwrap_or_default())
            .sum::<u64>()
    };
    assert_eq!(
        (weight(&|name| name == slot), weight(&|name| name != slot)),
        (10_000, 0),
        "{status}"
    );
    assert_eq!(shop.backends().len(), 1, "only the stable side is left");
}

#[test]
fn an_abort_from_a_second_terminal_is_heard_at_once_in_every_step() {
    let (scene, shop) = Scene::deployed();
    let load = Traffic::on(&shop, 60.0, 0);
    // Each of them waits long enough in its step for a second terminal to be there.
    let slow_start = || Setup::version("v2").flag("--startup 20");
    let steps = [
        ("baseline", Setup { baseline: "20s".to_owned(), ..Setup::version("v2") }),
        ("launch", slow_start()),
        ("await-healthy", slow_start()),
        ("shift", Setup { bake: "30s".to_owned(), ..Setup::version("v2") }),
        ("validate", Setup { bake: "30s".to_owned(), ..Setup::version("v2") }),
        ("promote", Setup { bake: "30s".to_owned(), ..Setup::version("v2") }),
        ("bake", Setup { bake: "30s".to_owned(), ..Setup::version("v2") }),
        ("hold", Setup { keep_previous: "\"5m\"".to_owned(), ..Setup::version("v2") }),
    ];
    for (step, setup) in steps {
        let run = shop.begin_deploy(&setup);
        assert!(run.wait_step(step, "started"), "{step}");
        let abort = shop.host(&["abort", "--reason", "seen enough"]).expect_code(0);
        assert!(abort.stderr.contains("acknowledged after"), "{step}: {}", abort.stderr);
        let id = run.id();
        let ended = run.wait().expect_code(1);
        assert!(
            ended.said().contains("aborted by") && ended.said().contains("seen enough"),
            "{step}: {}",
            ended.said()
        );
        heard_once(&shop, &id, step);
        stable_at_full_weight(&shop, "v1", "blue");
    }
    load.nothing_lost();
    drop(scene);
}

#[test]
fn an_output_that_nobody_reads_holds_up_neither_deployment_nor_abort() {
    let (scene, shop) = Scene::deployed();
    let load = Traffic::on(&shop, 60.0, 0);
    shop.write(&Setup { bake: "60s".to_owned(), ..Setup::version("v2") });
    let run = shop.begin_unread(&["deploy"]);
    wait_for("the bake", || (shop.serving() == "v2").then_some(()));
    let id = shop.status()["state"]["open"].as_str().expect("an open deployment").to_owned();
    let abort = shop.host(&["abort"]).expect_code(0);
    assert!(abort.stderr.contains("acknowledged after"), "{}", abort.stderr);
    heard_once(&shop, &id, "bake");
    assert_eq!(run.wait(), Some(1), "a reader that stalls changes no exit code");
    stable_at_full_weight(&shop, "v1", "blue");
    load.nothing_lost();
    drop(scene);
}

#[test]
fn an_abort_while_the_old_side_drains_gives_it_its_traffic_back() {
    let (scene, shop) = Scene::deployed();
    let load = Traffic::on(&shop, 60.0, 0);
    let port = shop.port;
    let request = std::thread::spawn(move || get(port, "/api/slow?ms=8000"));
    let run = shop.begin_deploy(&Setup::version("v2"));
    assert!(run.wait_step("drain", "started"));
    shop.host(&["abort"]).expect_code(0);
    run.wait().expect_code(1);
    stable_at_full_weight(&shop, "v1", "blue");
    let answer = request.join().expect("the request's thread").expect("an answer");
    assert_eq!(
        (answer.status, answer.header("x-version")),
        (200, "v1"),
        "what drained was not cut"
    );
    load.nothing_lost();
    drop(scene);
}

#[test]
fn sigterm_is_an_orderly_abort_at_any_step() {
    let (scene, shop) = Scene::deployed();
    let load = Traffic::on(&shop, 60.0, 2);
    for step in ["preflight", "launch", "await-healthy", "shift", "validate", "promote", "bake"] {
        let run = shop.begin_deploy(
            &Setup { bake: "20s".to_owned(), ..Setup::version("v2") }.flag("--startup 0.5"),
        );
        assert!(run.wait_step(step, "started"), "{step}");
        run.signal(Signal::TERM);
        let id = run.id();
        let ended = run.wait().expect_code(1);
        assert!(ended.said().contains("SIGTERM"), "{step}: {}", ended.said());
        heard_once(&shop, &id, step);
        stable_at_full_weight(&shop, "v1", "blue");
    }
    load.nothing_lost();
    drop(scene);
}

/// A deployment whose unwinding takes a few seconds, asked to unwind by SIGINT.
fn interrupted(shop: &Service) -> Run {
    let slow_to_stop = Setup {
        bake: "60s".to_owned(),
        stop_grace: "3s".to_owned(),
        ..Setup::version("v2").flag("--ignore-sigterm")
    };
    let run = shop.begin_deploy(&slow_to_stop);
    assert!(run.wait_step("bake", "started"));
    run.signal(Signal::INT);
    assert!(run.wait_step("launch", "undo-started"));
    run
}

#[test]
fn sigterm_after_sigint_as_a_ci_server_cancels_a_job_is_still_one_abort() {
    let (scene, shop) = Scene::deployed();
    let load = Traffic::on(&shop, 60.0, 0);
    let run = interrupted(&shop);
    run.signal(Signal::TERM);
    let ended = run.wait().expect_code(1);
    assert_eq!(ended.outcome()["outcome"], "unwound");
    stable_at_full_weight(&shop, "v1", "blue");
    load.nothing_lost();
    drop(scene);
}

#[test]
fn the_same_signal_twice_leaves_at_once_and_the_next_command_goes_on() {
    let (scene, shop) = Scene::deployed();
    let load = Traffic::on(&shop, 60.0, 0);
    let run = interrupted(&shop);
    run.signal(Signal::INT);
    run.wait().expect_code(5);
    shop.host(&["abort"]).expect_code(0);
    stable_at_full_weight(&shop, "v1", "blue");
    load.nothing_lost();
    drop(scene);
}

#[test]
fn a_paused_deployment_begins_no_further_step_until_it_is_resumed() {
    let (scene, shop) = Scene::deployed();
    let run = shop.begin_deploy(&Setup::version("v2").flag("--startup 2"));
    assert!(run.wait_step("await-healthy", "started"));
    shop.host(&["pause", "--reason", "lunch"]).expect_code(0);
    let paused = run.wait_event(|event| {
        event
            .pointer("/progress/message")
            .and_then(Value::as_str)
            .is_some_and(|message| message.contains("paused"))
    });
    assert!(paused.is_some());
    assert_eq!(shop.serving(), "v1");
    let begun =
        |entry: &Value| entry["event"]["entry"] == "step" && entry["event"]["event"] == "started";
    let entries = shop.journal(&run.id());
    let last =
        entries.iter().rposition(begun).and_then(|index| entries[index]["event"]["step"].as_u64());
    let plan = run.plan();
    assert_eq!(
        last.and_then(|step| plan["steps"][usize::try_from(step).expect("small")]["kind"].as_str()),
        Some("await-healthy")
    );
    shop.host(&["resume"]).expect_code(0);
    let ended = run.wait().expect_code(0);
    assert_eq!(ended.outcome()["outcome"], "promoted");
    assert_eq!(shop.serving(), "v2");
    drop(scene);
}

#[test]
fn after_retirement_a_rollback_launches_the_earlier_release_anew() {
    let (scene, shop) = Scene::deployed();
    let load = Traffic::on(&shop, 60.0, 2);
    let none =
        |version: &str| Setup { keep_previous: "\"none\"".to_owned(), ..Setup::version(version) };
    shop.deploy(&none("v2")).expect_code(0);
    assert_eq!(shop.backends().len(), 1, "v1 is gone");
    // The manifest says v2 still: the release is what is brought back, not today's manifest.
    let ended = shop.host(&["rollback", "--reason", "v2 is slow"]).expect_code(0);
    assert_eq!(ended.outcome()["outcome"], "promoted");
    assert_eq!(shop.serving(), "v1");
    assert_eq!(shop.status()["state"]["stable"]["release"], 1);
    shop.host(&["rollback", "--to", "2"]).expect_code(0);
    assert_eq!(shop.serving(), "v2");
    load.nothing_lost();
    drop(scene);
}

#[test]
fn a_rollback_returns_to_the_adopted_release_which_is_never_stopped() {
    let (scene, shop) = Scene::adopted();
    let load = Traffic::on(&shop, 60.0, 2);
    shop.deploy(&Setup::version("v2")).expect_code(0);
    assert_eq!(shop.serving(), "v2");
    shop.host(&["rollback"]).expect_code(0);
    assert_eq!(shop.serving(), "v1");
    // It is retired in our books only: it ran before us.
    shop.deploy(&Setup { keep_previous: "\"none\"".to_owned(), ..Setup::version("v3") })
        .expect_code(0);
    assert_eq!(shop.serving(), "v3");
    assert_eq!(shop.by_hand().header("x-version"), "v1", "the adopted one still runs");
    let ended = shop.host(&["rollback", "--to", "1"]).expect_code(4);
    assert!(ended.stderr.contains("was adopted"), "{}", ended.stderr);
    load.nothing_lost();
    drop(scene);
}

#[test]
fn an_abort_that_its_stopped_owner_can_not_hear_takes_the_deployment_over() {
    let (scene, shop) = Scene::deployed();
    let load = Traffic::on(&shop, 60.0, 0);
    let run = shop.begin_deploy(&Setup { bake: "60s".to_owned(), ..Setup::version("v2") });
    assert!(run.wait_step("bake", "started"));
    run.signal(Signal::STOP);
    let ended = shop.host(&["abort"]).expect_code(0);
    assert_eq!(ended.outcome()["outcome"], "unwound");
    assert_eq!(run.wait().code, None, "the stopped owner was killed first");
    stable_at_full_weight(&shop, "v1", "blue");
    load.nothing_lost();
    drop(scene);
}
