//! The host is killed after each entry of its journal: the next run comes to the same end, with one
//! set of backends, and nothing was lost.

use agente_tests::scene::{Run, Scene, Service, Setup, Traffic};
use serde_json::Value;
use std::time::Duration;

/// Waits until so many entries are durable; false when the run ended before.
fn wait_entries(run: &Run, count: usize) -> bool {
    // An event of the journal is told after it was written, each once.
    let seen = std::cell::Cell::new(0);
    run.wait_event(|event| {
        if event["event"] == "entry" {
            seen.set(seen.get() + 1);
        }
        seen.get() == count
    })
    .is_some()
}

/// What is left is what should be: one side that serves, one set of backends, nothing open.
#[track_caller]
fn in_order(shop: &Service, at: usize, version: &str) {
    let status = shop.status();
    assert_eq!(status["state"]["open"], Value::Null, "killed after entry {at}: {status}");
    assert_eq!(shop.serving(), version, "killed after entry {at}");
    let backends = shop.backends();
    assert_eq!(backends.len(), 1, "killed after entry {at}: {backends:?}");
    // A supervisor and its backend.
    assert_eq!(shop.processes().len(), 2, "killed after entry {at}");
    assert_eq!(status["target"]["state"], "converged", "killed after entry {at}: {status}");
}

fn setup(version: &str) -> Setup {
    Setup { keep_previous: "\"none\"".to_owned(), ..Setup::version(version) }
}

/// Kills each deployment after another number of entries, a little later each time, and lets `next`
/// go on.
fn killed_everywhere(first: usize, later: Duration, next: fn(&Service, &str, &str) -> String) {
    let (scene, shop) = Scene::deployed();
    let load = Traffic::on(&shop, 60.0, 2);
    let mut stable = "v1".to_owned();
    for at in (first..).step_by(2) {
        let version = format!("v{at}-after");
        let run = shop.begin_deploy(&setup(&version));
        if !wait_entries(&run, at) {
            // It ended by itself: there are no more entries than that.
            run.wait().expect_code(0);
            in_order(&shop, at, &version);
            assert!(at > 12, "a deployment has more than {at} entries");
            break;
        }
        std::thread::sleep(later * u32::try_from(at % 4).unwrap_or_default());
        let killed = run.kill();
        if killed.code.is_some() {
            stable = version; // It had just ended.
        } else {
            stable = next(&shop, &stable, &version);
        }
        in_order(&shop, at, &stable);
    }
    load.nothing_lost();
    drop(scene);
}

/// `deploy` again, of the same: it goes on.
fn deploy_again(shop: &Service, _: &str, version: &str) -> String {
    shop.host(&["deploy"]).expect_code(0);
    version.to_owned()
}

/// `resume`, where something is open; else it had ended before it was killed.
fn resume(shop: &Service, _: &str, version: &str) -> String {
    if !shop.status()["state"]["open"].is_null() {
        shop.host(&["resume"]).expect_code(0);
    }
    version.to_owned()
}

/// `abort`, where something is open: back to stable, or to the end where there is no way back any
/// more.
fn abort(shop: &Service, stable: &str, version: &str) -> String {
    let status = shop.status();
    let Some(open) = status["state"]["open"].as_str() else { return version.to_owned() };
    let journal = shop.journal(open);
    let retire = journal[0]["event"]["plan"]["steps"]
        .as_array()
        .and_then(|steps| steps.iter().position(|step| step["kind"] == "retire"));
    let no_return = journal.iter().any(|entry| {
        entry["event"]["entry"] == "step"
            && entry["event"]["step"] == retire.expect("a plan that retires")
    });
    let ended = shop.host(&["abort"]);
    if no_return {
        ended.expect_code(1);
        version.to_owned()
    } else {
        ended.expect_code(0);
        stable.to_owned()
    }
}

#[test]
fn deploy_goes_on_after_a_kill_at_any_entry() {
    killed_everywhere(1, Duration::ZERO, deploy_again);
}

#[test]
fn resume_goes_on_after_a_kill_at_any_entry() {
    killed_everywhere(2, Duration::from_millis(15), resume);
}

#[test]
fn abort_unwinds_after_a_kill_at_any_entry() {
    killed_everywhere(3, Duration::from_millis(10), abort);
}

#[test]
fn another_release_unwinds_what_a_killed_host_left_before_it_begins() {
    let (scene, shop) = Scene::deployed();
    let load = Traffic::on(&shop, 60.0, 2);
    let run = shop.begin_deploy(&setup("v2").flag("--startup 30"));
    assert!(run.wait_step("await-healthy", "started"));
    assert_eq!(run.kill().code, None);
    assert_eq!(shop.backends().len(), 2, "the candidate was left running");
    shop.deploy(&setup("v3")).expect_code(0);
    in_order(&shop, 0, "v3");
    let report = load.nothing_lost();
    assert!(!report.by_identity.contains_key("v2"), "{report}");
    drop(scene);
}
