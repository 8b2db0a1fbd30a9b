//! People decide while a canary has a part of the requests, and hosts die then.

use crate::measured::{Measured, wait_nth, wait_told, weights};
use agente_tests::scene::{Scene, Service, Setup, Traffic};
use serde_json::Value;

fn canary(version: &str, pause: &str) -> Setup {
    Setup {
        strategy: format!("kind = \"canary\"\nweights = [20, 50]\npause = \"{pause}\"\n"),
        ..Setup::version(version)
    }
}

#[track_caller]
fn only(shop: &Service, version: &str) {
    assert_eq!(shop.serving(), version);
    let status = shop.status();
    assert_eq!(status["state"]["open"], Value::Null, "{status}");
    assert_eq!(status["target"]["state"], "converged", "{status}");
}

#[test]
fn a_stage_waits_for_a_person_and_a_pause_for_its_end() {
    let (scene, shop) = Scene::deployed();
    let load = Traffic::on(&shop, 60.0, 2);
    let ended = shop.host(&["promote"]).expect_code(4);
    assert!(ended.stderr.contains("no deployment of shop"), "{}", ended.stderr);

    let stages = "kind = \"canary\"\nstages = [{ weight = 20, pause = \"1s\", wait = true }, { \
                  weight = 50, pause = \"1s\" }]\n"
        .to_owned();
    let run = shop.begin_deploy(&Setup {
        strategy: stages,
        bake: "2s".to_owned(),
        ..Setup::version("v2")
    });
    let told = wait_told(&run, "passed, waiting up to");
    assert!(told.starts_with("20 % ") && told.contains("agente-host promote"), "{told}");
    assert_eq!(weights(&shop), (80, 20));
    shop.host(&["pause", "--reason", "lunch"]).expect_code(0);
    let promoted = shop.host(&["promote", "--reason", "looks good"]).expect_code(0);
    assert!(promoted.stderr.contains("acknowledged after"), "{}", promoted.stderr);
    wait_told(&run, "paused");
    assert_eq!(weights(&shop), (80, 20), "the next weight is not begun while it is paused");
    shop.host(&["resume"]).expect_code(0);
    assert!(run.wait_step("bake", "started"));
    let late = shop.host(&["promote"]).expect_code(4);
    assert!(
        late.stderr.contains("`bake`") && late.stderr.contains("is not waiting for `promote`"),
        "{}",
        late.stderr
    );
    let ended = run.wait().expect_code(0);
    assert!(
        ended.notes().contains("promoted by") && ended.notes().contains("looks good"),
        "{}",
        ended.notes()
    );
    only(&shop, "v2");

    // In full: past all further weights, at once.
    let run = shop.begin_deploy(&canary("v3", "60s"));
    assert!(wait_nth(&run, "analyze", 0, "started"));
    shop.host(&["promote", "--full", "--reason", "hotfix"]).expect_code(0);
    let id = run.id();
    let ended = run.wait().expect_code(0);
    assert_eq!(ended.outcome()["outcome"], "promoted");
    assert!(ended.took.as_secs() < 30, "{:?}", ended.took);
    let shifts = shop
        .journal(&id)
        .iter()
        .filter(|entry| {
            entry["event"]["output"]["notes"][0].as_str().is_some_and(|note| note.contains("50 %"))
        })
        .count();
    assert_eq!(shifts, 0, "no step at 50 %");
    only(&shop, "v3");
    load.nothing_lost();
    drop(scene);
}

#[test]
fn a_host_killed_at_a_weight_is_resumed_or_aborted_to_the_right_end() {
    let measured = Measured::new();
    let shop = &measured.shop;
    let load = measured.traffic(100.0);
    let run = shop.begin_deploy(&measured.canary("v2"));
    assert!(wait_nth(&run, "analyze", 0, "started"));
    assert_eq!(run.kill().code, None);
    assert_eq!(weights(shop), (80, 20), "the weight stays as it was");
    let open = shop.host(&["promote"]).expect_code(5);
    assert!(
        open.stderr.contains("no host is running deployment")
            && open.stderr.contains("agente-host resume"),
        "{}",
        open.stderr
    );
    let ended = shop.host(&["resume"]).expect_code(0);
    assert_eq!(ended.outcome()["outcome"], "promoted");
    only(shop, "v2");

    let run = shop.begin_deploy(&measured.canary("v3"));
    assert!(wait_nth(&run, "analyze", 1, "started"));
    assert_eq!(run.kill().code, None);
    assert_eq!(weights(shop), (50, 50), "the weight stays as it was");
    let ended = shop.host(&["abort", "--reason", "its host died"]).expect_code(0);
    assert_eq!(ended.outcome()["outcome"], "unwound");
    only(shop, "v2");
    assert_eq!(shop.backends().len(), 1, "nothing of the candidate is left: {:?}", shop.backends());
    load.nothing_lost();
}
