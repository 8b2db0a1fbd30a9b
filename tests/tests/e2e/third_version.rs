//! A third version comes while the second is on its way: it is turned down, it waits, or it takes
//! the second's place.

use crate::capacity::Capacity;
use crate::measured::{Measured, wait_nth, weights};
use agente_tests::scene::{Scene, Setup, Traffic};
use serde_json::Value;

/// A canary that stays at 20 % for half a minute.
fn slow_canary(version: &str) -> Setup {
    let strategy = "kind = \"canary\"\nweights = [20, 50]\npause = \"30s\"\n".to_owned();
    Setup { strategy, ..Setup::version(version) }
}

/// When a deployment was opened, and when it was closed.
fn open_from_to(journal: &[Value]) -> (u64, u64) {
    let at = |entry: &str| {
        journal
            .iter()
            .find(|found| found["event"]["entry"] == entry)
            .and_then(|found| found["at"].as_u64())
            .expect("such an entry")
    };
    (at("opened"), at("closed"))
}

#[test]
fn a_third_version_is_turned_down_or_waits_for_the_second() {
    let (scene, shop) = Scene::deployed();
    let load = Traffic::on(&shop, 80.0, 2);
    let second = shop.begin_deploy(&slow_canary("v2"));
    assert!(wait_nth(&second, "analyze", 0, "started"));

    let ended = shop.deploy(&Setup::version("v3")).expect_code(4);
    assert!(
        ended.stderr.contains("lease")
            && ended.stderr.contains(&format!("process {}", second.pid())),
        "{}",
        ended.stderr
    );
    assert!(
        ended.stderr.contains("--on-open queue") && ended.stderr.contains("--on-open supersede"),
        "{}",
        ended.stderr
    );
    assert_eq!(weights(&shop), (80, 20), "the second goes on");

    let third = shop.begin(&["deploy", "--on-open", "queue"]);
    let second_id = second.id();
    shop.host(&["promote", "--full"]).expect_code(0);
    second.wait().expect_code(0);
    let third_id = third.id();
    third.wait().expect_code(0);
    assert_eq!(shop.serving(), "v3");
    let (second, third) =
        (open_from_to(&shop.journal(&second_id)), open_from_to(&shop.journal(&third_id)));
    assert!(second.1 <= third.0, "one after the other: {second:?}, {third:?}");
    load.nothing_lost();
    drop(scene);
}

#[test]
fn a_third_version_that_supersedes_begins_when_the_second_is_unwound() {
    let measured = Measured::new();
    let shop = &measured.shop;
    let load = measured.traffic(80.0);
    let capacity = Capacity::of(shop, 1);
    let second = shop.begin_deploy(&slow_canary("v2"));
    assert!(wait_nth(&second, "analyze", 0, "started"));
    shop.write(&measured.canary("v3"));
    let third = shop.begin(&["deploy", "--on-open", "supersede"]);
    let second_id = second.id();
    let ended = second.wait().expect_code(1);
    assert_eq!(ended.outcome()["outcome"], "unwound");
    assert!(ended.said().contains("superseded by a newer release"), "{}", ended.said());
    let third_id = third.id();
    let ended = third.wait().expect_code(0);
    assert!(ended.stderr.contains("to unwind; this one starts once"), "{}", ended.stderr);
    assert_eq!(shop.serving(), "v3");
    let (second, third) =
        (open_from_to(&shop.journal(&second_id)), open_from_to(&shop.journal(&third_id)));
    assert!(second.1 <= third.0, "one after the other: {second:?}, {third:?}");
    let seen = capacity.always_enough();
    assert_eq!(
        seen.weights,
        [(10_000, 0), (8000, 2000), (10_000, 0), (8000, 2000), (5000, 5000), (0, 10_000)]
    );
    load.nothing_lost();
}

#[test]
fn superseding_a_rolling_deployment_grows_the_stable_side_back_before_its_requests_return() {
    let mut scene = Scene::new();
    let shop = scene.service("shop");
    scene.first_release(&shop, &Setup { instances: 3, ..Setup::version("v1") });
    let load = Traffic::on(&shop, 80.0, 2);
    let capacity = Capacity::of(&shop, 3);
    let rolling = |version: &str, pause: &str| {
        let strategy = format!(
            "kind = \"rolling\"\nmax_surge = 1\nmax_unavailable = 0\npause = \"{pause}\"\n"
        );
        Setup { instances: 3, strategy, ..Setup::version(version) }
    };
    let second = shop.begin_deploy(&rolling("v2", "15s"));
    assert!(wait_nth(&second, "analyze", 0, "started"));
    shop.host(&["promote"]).expect_code(0);
    assert!(wait_nth(&second, "shrink", 0, "succeeded"), "the stable side has shrunk");
    assert!(wait_nth(&second, "analyze", 1, "started"));
    shop.write(&rolling("v3", "1s"));
    let third = shop.begin(&["deploy", "--on-open", "supersede"]);
    second.wait().expect_code(1);
    third.wait().expect_code(0);
    assert_eq!(shop.serving(), "v3");
    assert_eq!(shop.backends().len(), 3);
    let seen = capacity.always_enough();
    let full = seen.weights.iter().filter(|weights| **weights == (10_000, 0)).count();
    assert_eq!(full, 2, "before the second, and again before the third: {seen:?}");
    load.nothing_lost();
}
