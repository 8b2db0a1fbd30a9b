//! `watch` looks after what is stable between deployments.

use crate::measured::Measured;
use agente_tests::scene::{
    Ended, Run, Scene, Service, Setup, Traffic, free_port, shipped, wait_for,
};
use rustix::process::Signal;
use serde_json::Value;
use std::fs::File;
use std::io::Write;
use std::process::Command;
use std::time::{Duration, Instant};

/// Starts to watch and waits until a check was asked.
fn watch(shop: &Service, args: &[&str]) -> Run {
    let run = shop.begin(&[&["watch"], args].concat());
    assert!(
        run.wait_event(|event| event
            .pointer("/progress/progress")
            .is_some_and(|kind| kind == "checked"))
            .is_some(),
        "watching ended at once"
    );
    run
}

/// Asks a watch to end, which is what it then did.
#[track_caller]
fn ended(run: Run) -> Ended {
    run.signal(Signal::TERM);
    run.wait().expect_code(0)
}

/// Waits until the first version answers again; how long that took.
fn back_to_first(shop: &Service) -> Duration {
    let began = Instant::now();
    wait_for("the first version", || (shop.serving() == "v1").then_some(()));
    began.elapsed()
}

#[test]
fn a_release_that_turns_bad_within_its_window_is_taken_back_and_what_was_gone_back_to_is_not_left()
{
    let mut scene = Scene::new();
    let shop = scene.service("shop");
    // The first one is no longer ready itself, some time after it was gone back to.
    scene.first_release(&shop, &Setup::version("v1").flag("--unready-after 25"));
    let load = Traffic::on(&shop, 60.0, 2);
    shop.deploy(&Setup::version("v2").flag("--unready-after 6")).expect_code(0);
    let run = watch(&shop, &["--for", "2m"]);
    let unready = wait_for("the second version to be unready", || {
        (shop.ask("/readyz").status == 503).then(Instant::now)
    });
    let watching = run.wait().expect_code(1);
    let took = unready.elapsed();
    println!("taken back {} ms after it had turned bad", took.as_millis());
    assert!(
        watching.stderr.contains("has turned bad") && watching.stderr.contains("health-readyz"),
        "{}",
        watching.stderr
    );
    assert!(
        watching.stderr.contains("the previous release is serving again"),
        "{}",
        watching.stderr
    );
    assert_eq!(shop.serving(), "v1");

    // To and fro is no way: what was gone back to is only reported.
    wait_for("the first version to be unready", || {
        (shop.ask("/readyz").status == 503).then_some(())
    });
    let told = shop.host(&["watch", "--for", "6s"]).expect_code(1);
    assert!(
        told.stderr.contains("was itself rolled back to, so it is not rolled back automatically"),
        "{}",
        told.stderr
    );
    assert_eq!(shop.serving(), "v1");
    load.nothing_lost();
}

#[test]
fn a_release_that_crashes_is_taken_back() {
    let (scene, shop) = Scene::deployed();
    shop.deploy(&Setup::version("v2").flag("--crash-after 6")).expect_code(0);
    let watching = shop.host(&["watch", "--for", "1m"]).expect_code(1);
    assert!(watching.stderr.contains("is receiving requests and is"), "{}", watching.stderr);
    assert_eq!(shop.serving(), "v1");
    drop(scene);
}

#[test]
fn a_release_whose_requests_fail_is_taken_back_by_its_measures() {
    let measured = Measured::new();
    let shop = &measured.shop;
    let load = measured.traffic(60.0);
    // Its endpoints say that all is well.
    shop.deploy(&measured.canary("v2").flag("--fail 30 --fail-after 25")).expect_code(0);
    let run = watch(shop, &["--for", "2m"]);
    let failing = wait_for("the first failed request", || {
        (load.report().failed_total > 0).then(Instant::now)
    });
    let told = run.wait().expect_code(1);
    assert!(told.stderr.contains("analysis `errors`"), "{}", told.stderr);
    assert_eq!(
        told.stderr.matches("has turned bad").count(),
        1,
        "taken back at the first attempt: {}",
        told.stderr
    );
    println!("taken back {} ms after the first failed request", failing.elapsed().as_millis());
    back_to_first(shop);
}

#[test]
fn after_its_window_a_bad_release_is_only_reported() {
    let (scene, shop) = Scene::deployed();
    shop.deploy(&Setup::version("v2").flag("--unready-after 5")).expect_code(0);
    let run = watch(&shop, &["--window", "1s"]);
    let unhealthy = |event: &Value| {
        event.pointer("/progress/verdict/kind").is_some_and(|kind| kind == "unhealthy")
    };
    assert!(run.wait_event(unhealthy).is_some());
    let began = Instant::now();
    wait_for("more than the limit of unhealthy answers", || {
        (began.elapsed() > Duration::from_secs(3)).then_some(())
    });
    let told = ended(run);
    assert!(
        told.stderr
            .contains("it was promoted more than 1 s ago, so it is not rolled back automatically"),
        "{}",
        told.stderr
    );
    assert_eq!(shop.serving(), "v2");
    drop(scene);
}

#[test]
fn a_bad_release_without_a_way_back_makes_a_timely_watch_fail() {
    let mut scene = Scene::new();
    let shop = scene.service("shop");
    scene.first_release(&shop, &Setup::version("v1").flag("--unready-after 8"));
    let told = shop.host(&["watch", "--for", "20s"]).expect_code(1);
    assert!(
        told.stderr.contains("it can't be rolled back") && told.stderr.contains("the only release"),
        "{}",
        told.stderr
    );
    assert_eq!(shop.serving(), "v1");
}

#[test]
fn a_watch_yields_to_a_deployment_and_then_looks_after_what_that_brought() {
    let (scene, shop) = Scene::deployed();
    let run = watch(&shop, &[]);
    let deployment = shop.begin_deploy(&Setup { bake: "3s".to_owned(), ..Setup::version("v2") });
    assert!(deployment.wait_step("bake", "started"));
    deployment.wait().expect_code(0);
    // The slot of the second one is asked only when that is what is looked after.
    let green = |event: &Value| {
        event
            .pointer("/progress/backend")
            .and_then(Value::as_str)
            .is_some_and(|backend| backend.contains(".green-"))
    };
    assert!(run.wait_event(green).is_some());
    let told = ended(run);
    assert!(
        told.stderr.contains("is in progress and watches for itself")
            && told.stderr.contains("watching release r2 on green"),
        "{}",
        told.stderr
    );
    assert_eq!(shop.serving(), "v2");
    drop(scene);
}

#[test]
fn a_watch_that_is_asked_to_end_while_it_takes_a_release_back_leaves_nothing_half_done() {
    let (scene, shop) = Scene::deployed();
    let load = Traffic::on(&shop, 60.0, 2);
    shop.deploy(&Setup::version("v2").flag("--unready-after 4")).expect_code(0);
    let run = watch(&shop, &[]);
    let began =
        |event: &Value| event.pointer("/entry/event/entry").is_some_and(|entry| entry == "opened");
    assert!(run.wait_event(began).is_some(), "the way back has begun");
    run.signal(Signal::TERM);
    run.wait().expect_code(0);
    let status = shop.status();
    assert_eq!(status["state"]["open"], Value::Null, "{status}");
    assert_eq!(status["target"]["state"], "converged", "{status}");
    load.nothing_lost();
    drop(scene);
}

#[test]
fn a_closed_terminal_ends_neither_a_watch_nor_its_way_back() {
    let (scene, shop) = Scene::deployed();
    shop.deploy(&Setup::version("v2").flag("--unready-after 4")).expect_code(0);
    let run = watch(&shop, &["--for", "1m"]);
    run.signal(Signal::HUP);
    let began =
        |event: &Value| event.pointer("/entry/event/entry").is_some_and(|entry| entry == "opened");
    assert!(run.wait_event(began).is_some(), "the way back has begun");
    run.signal(Signal::HUP);
    run.wait().expect_code(1);
    assert_eq!(shop.serving(), "v1");
    drop(scene);
}

#[test]
fn a_watch_whose_program_was_replaced_takes_a_bad_release_back_all_the_same() {
    let mut scene = Scene::new();
    let mut shop = scene.service("shop");
    let program = shop.with_own_program();
    scene.first_release(&shop, &Setup::version("v1"));
    // Nothing of the old side stands: going back means to launch it.
    shop.deploy(
        &Setup { keep_previous: "\"none\"".to_owned(), ..Setup::version("v2") }
            .flag("--unready-after 6"),
    )
    .expect_code(0);
    let run = watch(&shop, &["--for", "1m"]);
    let newer = program.with_extension("new");
    std::fs::copy(&program, &newer).expect("a newer program");
    std::fs::rename(&newer, &program).expect("it takes the place of the older one");
    let watching = run.wait().expect_code(1);
    assert!(
        watching.stderr.contains("the previous release is serving again"),
        "{}",
        watching.stderr
    );
    assert_eq!(shop.serving(), "v1");
}

#[test]
fn the_numbers_of_a_watch_are_scraped() {
    let port = free_port();
    let measured = Measured::scraping(&[format!("127.0.0.1:{port}")]);
    let run = watch(&measured.shop, &["--listen", &format!("127.0.0.1:{port}")]);
    let stable = wait_for("the numbers in Prometheus", || {
        measured
            .prometheus()
            .query("agente_release_info{service=\"shop\",role=\"stable\"}")
            .into_iter()
            .next()
    });
    assert_eq!(stable["metric"]["release"], "1", "{stable}");
    ended(run);
}

/// Watches a release that turns bad, and lets something happen between the verdict and the way back:
/// a component is read anew there, and is a pipe that waits.
fn between_verdict_and_way_back(shop: &Service, happens: impl FnOnce()) -> Ended {
    let component = shop.path("http-health.wasm");
    std::fs::copy(shipped("http-health"), &component).expect("a component is copied");
    let watching = watch(shop, &["--plugin", &component.display().to_string()]);
    std::fs::remove_file(&component).expect("the component goes");
    let made = Command::new("mkfifo").arg(&component).status().expect("mkfifo starts");
    assert!(made.success());
    // Opens once somebody reads.
    let mut wanted = File::options().write(true).open(&component).expect("it turns bad");
    happens();
    // The next reader finds a file again; this one gets what it waits for.
    let again = shop.path("again.wasm");
    std::fs::copy(shipped("http-health"), &again).expect("a component is copied");
    std::fs::rename(&again, &component).expect("the component is back");
    wanted.write_all(&std::fs::read(&component).expect("it is read")).expect("it is read");
    drop(wanted);
    let seen = watching.events_so_far();
    let went_on = watching.wait_event_after(seen, |event| {
        event.pointer("/progress/progress").is_some_and(|kind| kind == "checked")
    });
    assert!(went_on.is_some(), "watching ended");
    ended(watching)
}

#[test]
fn a_deployment_that_has_begun_since_the_verdict_is_not_aborted_and_not_taken_back() {
    let mut scene = Scene::new();
    let shop = scene.service("shop");
    scene.first_release(&shop, &Setup::version("v1"));
    shop.deploy(&Setup::version("v2").flag("--unready-after 6")).expect_code(0);
    let mut deploying = None;
    let watching = between_verdict_and_way_back(&shop, || {
        let setup = Setup { bake: "20s".to_owned(), ..Setup::version("v3") };
        let run = shop.begin_deploy(&setup);
        assert!(run.wait_step("bake", "started"));
        deploying = Some(run);
    });
    let ended = deploying.expect("a deployment").wait().expect_code(0);
    assert_eq!(ended.outcome()["outcome"], "promoted");
    assert_eq!(shop.serving(), "v3");
    assert!(watching.stderr.contains("has turned bad"), "{}", watching.stderr);
    assert!(
        watching.stderr.contains("a deployment has started since then, so it is not rolled back"),
        "{}",
        watching.stderr
    );
    drop(scene);
}

#[test]
fn a_release_that_was_promoted_since_the_verdict_is_not_taken_back_for_it() {
    let mut scene = Scene::new();
    let shop = scene.service("shop");
    scene.first_release(&shop, &Setup::version("v1"));
    shop.deploy(&Setup::version("v2").flag("--unready-after 6")).expect_code(0);
    let watching = between_verdict_and_way_back(&shop, || {
        shop.deploy(&Setup::version("v3")).expect_code(0);
    });
    assert_eq!(shop.serving(), "v3");
    assert_eq!(shop.status()["state"]["stable"]["release"], 3);
    assert!(watching.stderr.contains("has turned bad"), "{}", watching.stderr);
    drop(scene);
}
