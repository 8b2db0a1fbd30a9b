//! Backends are replaced in batches: nothing is lost, there are never too few, and a way back
//! exists in the middle.

use crate::capacity::Capacity;
use crate::measured::{Measured, wait_nth};
use agente_tests::scene::{Engine, Scene, Service, Setup, Traffic};
use serde_json::Value;

/// A rolling replacement of three backends.
fn rolling(version: &str, surge: u16, unavailable: u16) -> Setup {
    let strategy = format!(
        "kind = \"rolling\"\nmax_surge = {surge}\nmax_unavailable = {unavailable}\npause = \
         \"1s\"\n"
    );
    Setup { instances: 3, strategy, ..Setup::version(version) }
}

fn three() -> (Scene, Service) {
    let mut scene = Scene::new();
    let shop = scene.service("shop");
    scene.first_release(&shop, &Setup { instances: 3, ..Setup::version("v1") });
    (scene, shop)
}

/// Three backends of one release, all requests on their slot, nothing open.
#[track_caller]
fn settled(shop: &Service, version: &str) {
    assert_eq!(shop.serving(), version);
    let status = shop.status();
    assert_eq!(status["state"]["open"], Value::Null, "{status}");
    assert_eq!(status["target"]["state"], "converged", "{status}");
    assert_eq!(status["state"]["stable"]["backends"].as_array().map(Vec::len), Some(3), "{status}");
    assert_eq!(shop.backends().len(), 3, "{:?}", shop.backends());
}

#[test]
fn each_backend_in_turn_is_replaced_with_one_more_for_a_moment_and_with_one_less() {
    let measured = Measured::with(3);
    let shop = &measured.shop;
    let load = measured.traffic(100.0);
    let capacity = Capacity::of(shop, 3);
    let ended = shop
        .deploy(&Setup { more: measured.analysis("", ""), ..rolling("v2", 1, 0) })
        .expect_code(0);
    assert_eq!(ended.outcome()["outcome"], "promoted");
    let seen = capacity.always_enough();
    assert_eq!(seen.most, 4, "{seen:?}");
    assert!(seen.weights.len() >= 4, "{seen:?}");
    settled(shop, "v2");

    let capacity = Capacity::of(shop, 2);
    shop.deploy(&Setup { more: measured.analysis("", ""), ..rolling("v3", 0, 1) }).expect_code(0);
    let seen = capacity.always_enough();
    assert_eq!(seen.most, 3, "{seen:?}");
    settled(shop, "v3");
    load.nothing_lost();
}

#[test]
fn a_host_killed_in_the_middle_goes_on_and_an_abort_in_the_middle_brings_back_what_is_missing() {
    let (_scene, shop) = three();
    let load = Traffic::on(&shop, 80.0, 2);
    let capacity = Capacity::of(&shop, 3);
    let slow = |version: &str| Setup {
        strategy: rolling(version, 1, 0).strategy.replace("1s", "20s"),
        ..rolling(version, 1, 0)
    };

    // One of the stable side is gone when the host dies; the next one takes up the same plan,
    // pauses and all.
    let run = shop.begin_deploy(&Setup {
        strategy: rolling("v2", 1, 0).strategy.replace("1s", "3s"),
        ..rolling("v2", 1, 0)
    });
    assert!(wait_nth(&run, "analyze", 1, "started"));
    assert_eq!(run.kill().code, None);
    let ended = shop.host(&["resume"]).expect_code(0);
    assert_eq!(ended.outcome()["outcome"], "promoted");
    settled(&shop, "v2");

    let run = shop.begin_deploy(&slow("v3"));
    // The pause of a stage is over when somebody promotes it.
    assert!(wait_nth(&run, "analyze", 0, "started"));
    shop.host(&["promote"]).expect_code(0);
    assert!(wait_nth(&run, "shrink", 0, "succeeded"));
    assert!(wait_nth(&run, "analyze", 1, "started"));
    shop.host(&["abort", "--reason", "second thoughts"]).expect_code(0);
    let ended = run.wait().expect_code(1);
    assert_eq!(ended.outcome()["outcome"], "unwound");
    settled(&shop, "v2");

    // The same after a kill, by another process.
    let run = shop.begin_deploy(&slow("v4"));
    assert!(wait_nth(&run, "analyze", 0, "started"));
    shop.host(&["promote"]).expect_code(0);
    assert!(wait_nth(&run, "analyze", 1, "started"));
    assert_eq!(run.kill().code, None);
    shop.host(&["abort"]).expect_code(0);
    settled(&shop, "v2");
    capacity.always_enough();
    load.nothing_lost();
}

#[test]
fn a_candidate_that_turns_bad_in_the_middle_is_taken_back() {
    let (_scene, shop) = three();
    let load = Traffic::on(&shop, 80.0, 2);
    let capacity = Capacity::of(&shop, 3);
    let setup =
        Setup { strategy: rolling("v2", 1, 0).strategy.replace("1s", "5s"), ..rolling("v2", 1, 0) };
    let ended = shop.deploy(&setup.flag("--unready-after 8")).expect_code(1);
    assert_eq!(ended.outcome()["outcome"], "unwound");
    assert!(ended.said().contains("health-readyz"), "{}", ended.said());
    let seen = capacity.always_enough();
    assert!(seen.weights.iter().any(|(_, green)| *green > 0), "{seen:?}");
    settled(&shop, "v1");
    load.nothing_lost();
}

#[test]
fn containers_are_replaced_one_by_one() {
    let engine = Engine::start();
    let image = engine.image();
    let setup = |version: &str| Setup {
        docker: Some((engine.socket.clone(), image.clone())),
        ..rolling(version, 1, 0)
    };
    let mut scene = Scene::new();
    let shop = scene.service("shop");
    scene.first_release(&shop, &setup("v1"));
    assert_eq!(engine.running().len(), 3, "{:?}", engine.running());
    let load = Traffic::on(&shop, 60.0, 2);
    let capacity = Capacity::of(&shop, 3);
    shop.deploy(&setup("v2")).expect_code(0);
    assert_eq!(shop.serving(), "v2");
    assert_eq!(engine.running().len(), 3, "{:?}", engine.running());

    let run = shop
        .begin_deploy(&Setup { strategy: setup("v3").strategy.replace("1s", "4s"), ..setup("v3") });
    assert!(wait_nth(&run, "analyze", 1, "started"));
    shop.host(&["abort"]).expect_code(0);
    run.wait().expect_code(1);
    assert_eq!(shop.serving(), "v2");
    assert_eq!(engine.running().len(), 3, "{:?}", engine.running());
    capacity.always_enough();
    load.nothing_lost();
}
