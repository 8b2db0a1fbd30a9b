//! The disk that holds the state is full while a candidate is bad: its requests go back to the
//! stable release all the same, whoever finds it bad and whoever asks for it.
//!
//! A disk is filled once, or by somebody who takes every byte that becomes free.

use crate::measured::{Measured, wait_told};
use agente_tests::scene::{Ended, Run, Scene, Service, Setup, SmallDisk, wait_for};
use rustix::process::Signal;
use serde_json::Value;

/// Whether a candidate was turned back so far, or is about to be.
fn turned(run: &Run) -> bool {
    run.has_told(|event| {
        let of = |name: &str| event.pointer(name).and_then(Value::as_str);
        of("/entry/event/entry") == Some("turned-back")
            || matches!(of("/entry/event/event"), Some("lost" | "refused"))
            || of("/progress/message").is_some_and(|told| told.contains("can't be written"))
    })
}

/// A canary whose one weight waits for a person, or a bake that lasts.
fn half(version: &str) -> Setup {
    Setup {
        strategy: "kind = \"canary\"\nstages = [{ weight = 50, pause = \"1s\", wait = true }]\n"
            .to_owned(),
        stop_grace: "1s".to_owned(),
        ..Setup::version(version)
    }
}

fn baking(version: &str) -> Setup {
    Setup { bake: "5m".to_owned(), stop_grace: "1s".to_owned(), ..Setup::version(version) }
}

/// The deployment has ended, by the journal too, and `v1` serves alone.
#[track_caller]
fn all_back(shop: &Service, what: &str) {
    assert_eq!(shop.serving(), "v1", "{what}");
    let verified = shop.host(&["status", "--verify"]).expect_code(0);
    assert!(verified.stdout.contains("\"intact\":true"), "{what}: {}", verified.stdout);
    let status = shop.status();
    assert_eq!(status["state"]["open"], Value::Null, "{what}: {status}");
    assert_eq!(status["target"]["state"], "converged", "{what}: {status}");
    assert_eq!(shop.backends().len(), 1, "{what}: only the stable side is left");
}

/// Begins a deployment that is at its `step` with good requests when the disk gets full.
fn begin_full(shop: &Service, disk: &SmallDisk, setup: &Setup, step: &str) -> Run {
    let run = shop.begin_deploy(setup);
    assert!(run.wait_step(step, "started"), "{step}");
    wait_for("requests at the candidate", || shop.serving().contains("v2").then_some(()));
    disk.fill();
    assert!(disk.free() < 64 << 10, "{} bytes are free", disk.free());
    run
}

/// A candidate that turns bad once the disk is full is taken back by itself. `flag` says when it
/// turns bad, and `at` waits for the moment in its deployment at which the disk gets full.
#[track_caller]
fn taken_back_by_itself(setup: &Setup, flag: &str, at: impl Fn(&Service, &Run)) -> Ended {
    // However slow the machine is.
    let ended = [6, 20, 60].into_iter().find_map(|seconds| {
        let (scene, shop, disk) = Scene::deployed_on_small_disk();
        let run = shop.begin_deploy(&setup.clone().flag(&format!("{flag} {seconds}")));
        at(&shop, &run);
        disk.fill();
        let too_early = turned(&run);
        let ended = run.wait().expect_code(1);
        all_back(&shop, &ended.said());
        drop(scene);
        (!too_early).then_some(ended)
    });
    ended.expect("a candidate that turns bad after the disk was full")
}

fn baking_now(_: &Service, run: &Run) {
    assert!(run.wait_step("bake", "started"));
}

#[test]
fn a_candidate_that_fails_its_probe_on_a_full_disk_is_taken_back() {
    let ended = taken_back_by_itself(&baking("v2"), "--fail-after", baking_now);
    assert!(ended.said().contains("budget"), "{}", ended.said());
}

#[test]
fn a_candidate_that_fails_its_checks_in_the_bake_on_a_full_disk_is_taken_back() {
    let setup = Setup { probe: false, ..baking("v2") };
    let ended = taken_back_by_itself(&setup, "--unready-after", baking_now);
    assert!(ended.said().contains("readyz"), "{}", ended.said());
}

#[test]
fn a_candidate_that_fails_its_probe_in_a_pause_on_a_full_disk_is_taken_back() {
    let ended = taken_back_by_itself(&half("v2"), "--fail-after", |shop, run| {
        wait_told(run, "waiting up to");
        shop.host(&["pause"]).expect_code(0);
        shop.host(&["promote"]).expect_code(0);
        wait_told(run, "paused");
    });
    assert!(ended.said().contains("budget"), "{}", ended.said());
}

#[test]
fn a_candidate_that_analysis_finds_bad_on_a_full_disk_is_taken_back() {
    for seconds in [6, 20, 60] {
        let (measured, disk) = Measured::on_small_disk();
        let traffic = measured.traffic(60.0);
        let canary = Setup { probe: false, ..measured.canary("v2") };
        let fails = format!("--fail-after {seconds} --fail 50");
        let run = measured.shop.begin_deploy(&Setup {
            strategy: canary.strategy.replace("\"2s\"", "\"5m\""),
            ..canary.flag(&fails)
        });
        assert!(run.wait_step("analyze", "started"));
        disk.fill();
        let too_early = turned(&run);
        let ended = run.wait().expect_code(1);
        assert!(ended.said().contains("analysis `errors`"), "{}", ended.said());
        all_back(&measured.shop, &ended.said());
        traffic.stop();
        if !too_early {
            return;
        }
    }
    panic!("the candidate was always bad before the disk was full");
}

#[test]
fn a_signal_on_a_full_disk_takes_the_candidate_back() {
    for signal in [Signal::INT, Signal::TERM] {
        let (scene, shop, disk) = Scene::deployed_on_small_disk();
        let run = begin_full(&shop, &disk, &half("v2"), "analyze");
        run.signal(signal);
        let ended = run.wait().expect_code(1);
        all_back(&shop, &ended.said());
        drop(scene);
    }
}

#[test]
fn an_abort_from_a_second_terminal_on_a_full_disk_takes_the_candidate_back() {
    let (scene, shop, disk) = Scene::deployed_on_small_disk();
    let run = begin_full(&shop, &disk, &half("v2"), "analyze");
    shop.host(&["abort", "--reason", "it burns"]).expect_code(0);
    let ended = run.wait().expect_code(1);
    assert!(ended.said().contains("it burns"), "{}", ended.said());
    all_back(&shop, &ended.said());
    drop(scene);
}

#[test]
fn an_abort_takes_the_candidate_of_a_dead_host_back_on_a_full_disk() {
    let (scene, shop, disk) = Scene::deployed_on_small_disk();
    begin_full(&shop, &disk, &half("v2"), "analyze").kill();
    disk.fill();
    let abort = shop.host(&["abort"]).expect_code(0);
    all_back(&shop, &abort.said());
    drop(scene);
}

#[test]
fn status_and_history_work_with_no_byte_free() {
    let (scene, shop, mut disk) = Scene::deployed_on_small_disk();
    let looks = |disk: &SmallDisk, what: &str| {
        for args in [["status"].as_slice(), &["history"], &["logs", "--lines", "1"]] {
            disk.fill();
            let ended: Ended = shop.host(args);
            assert_eq!(ended.code, Some(0), "{what}: {args:?}: {}", ended.stderr);
        }
    };
    looks(&disk, "no host was there since the disk is full");
    disk.keep_full();
    looks(&disk, "somebody takes every byte");
    disk.make_room(70 << 20);
    let run = begin_full(&shop, &disk, &half("v2"), "analyze");
    looks(&disk, "a host is at work");
    run.kill();
    disk.keep_full();
    looks(&disk, "a host was killed");
    let entries = shop.host(&["history", "--limit", "1"]);
    assert!(entries.stdout.contains("\"outcome\":null"), "{}", entries.stdout);
    drop(scene);
}

/// What the host says it needs.
const NEEDED: u64 = 8 << 20;

#[test]
fn a_host_that_gets_no_byte_takes_the_candidate_back_says_why_and_goes_on_when_there_is_room() {
    let (scene, shop, mut disk) = Scene::deployed_on_small_disk();
    let run = shop.begin_deploy(&baking("v2").flag("--fail-after 6"));
    assert!(run.wait_step("bake", "started"));
    disk.keep_full();
    let told = wait_told(&run, "requests go to blue 100 %, green 0 %");
    for words in ["is being rolled back", "budget", "is full", "8 MiB are needed"] {
        assert!(told.contains(words), "{words}: {told}");
    }
    assert_eq!(shop.serving(), "v1");
    assert_eq!(disk.free(), 0);
    disk.make_room(NEEDED);
    let ended = run.wait().expect_code(1);
    all_back(&shop, &ended.said());
    drop(scene);
}

#[test]
fn a_signal_to_a_host_that_gets_no_byte_takes_the_candidate_back() {
    let (scene, shop, mut disk) = Scene::deployed_on_small_disk();
    let run = begin_full(&shop, &disk, &half("v2"), "analyze");
    disk.keep_full();
    run.signal(Signal::INT);
    let ended = run.wait().expect_code(3);
    assert!(ended.said().contains("requests go to blue 100 %, green 0 %"), "{}", ended.said());
    assert_eq!(shop.serving(), "v1");
    disk.make_room(NEEDED);
    let abort = shop.host(&["abort"]).expect_code(0);
    all_back(&shop, &abort.said());
    drop(scene);
}

#[test]
fn an_abort_from_a_second_terminal_reaches_a_host_that_gets_no_byte() {
    let (scene, shop, mut disk) = Scene::deployed_on_small_disk();
    let run = begin_full(&shop, &disk, &half("v2"), "analyze");
    disk.keep_full();
    let abort = shop.begin(&["abort"]);
    wait_for("the stable release alone", || (shop.serving() == "v1").then_some(()));
    assert_eq!(disk.free(), 0);
    disk.make_room(NEEDED);
    let abort = abort.wait().expect_code(0);
    run.wait();
    all_back(&shop, &abort.said());
    drop(scene);
}

#[test]
fn an_abort_that_gets_no_byte_takes_the_candidate_of_a_dead_host_back() {
    let (scene, shop, mut disk) = Scene::deployed_on_small_disk();
    begin_full(&shop, &disk, &half("v2"), "analyze").kill();
    disk.keep_full();
    let abort = shop.begin(&["abort"]);
    wait_for("the stable release alone", || (shop.serving() == "v1").then_some(()));
    assert_eq!(disk.free(), 0);
    disk.make_room(NEEDED);
    let abort = abort.wait().expect_code(0);
    all_back(&shop, &abort.said());
    drop(scene);
}

#[test]
fn commands_on_a_full_disk_work_or_say_what_is_needed() {
    let (scene, shop, disk) = Scene::deployed_on_small_disk();
    let run = begin_full(&shop, &disk, &half("v2"), "analyze");
    wait_told(&run, "waiting up to");
    for args in [["pause"].as_slice(), &["promote"], &["resume"]] {
        let ended = shop.host(args).expect_code(3);
        for words in ["is full", "8 MiB are needed", "free at least 8 MiB"] {
            assert!(ended.stderr.contains(words), "{args:?}: {}", ended.stderr);
        }
    }
    shop.host(&["rollback"]).expect_code(0);
    let ended = run.wait().expect_code(1);
    all_back(&shop, &ended.said());

    // A release that stands can be gone back from, too, and no new one begins.
    drop((disk, shop, scene));
    let (scene, shop, disk) = Scene::deployed_on_small_disk();
    shop.deploy(&Setup::version("v2")).expect_code(0);
    disk.fill();
    let refused = shop.deploy(&Setup::version("v3"));
    assert!(refused.code != Some(0) && refused.said().contains("full"), "{}", refused.said());
    assert_eq!(shop.serving(), "v2");
    shop.host(&["rollback"]).expect_code(0);
    assert_eq!(shop.serving(), "v1");
    drop(scene);
}

#[test]
fn what_is_kept_is_enough_for_the_way_back_of_a_long_canary() {
    let (scene, shop, disk) = Scene::deployed_on_small_disk();
    let weights: Vec<String> = (1..20).map(|stage| (stage * 5).to_string()).collect();
    let run = shop.begin_deploy(&Setup {
        strategy: format!(
            "kind = \"canary\"\nweights = [{}]\npause = \"300ms\"\n",
            weights.join(", ")
        ),
        bake: "5m".to_owned(),
        ..Setup::version("v2")
    });
    assert!(run.wait_step("bake", "started"));
    disk.fill();
    let abort = shop.begin(&["abort"]);
    let mut least =
        wait_for("room that was given up", || Some(disk.free()).filter(|free| *free > 0));
    let kept = least;
    wait_for("the end of the deployment", || {
        least = least.min(disk.free());
        run.has_told(|event| event["event"] == "outcome").then_some(())
    });
    abort.wait().expect_code(0);
    let ended = run.wait().expect_code(1);
    assert!(!ended.stdout.contains("can't be written"), "{}", ended.stdout);
    println!("of {} KiB that were kept, {} were needed", kept >> 10, (kept - least) >> 10);
    all_back(&shop, &ended.said());
    drop(scene);
}
