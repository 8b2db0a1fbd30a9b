//! A service gets from one version to the next, bad versions are turned down or taken back, and the
//! way back is fast; nothing is lost meanwhile.

use agente_tests::scene::{Scene, Setup, Traffic, kill};
use rustix::process::Signal;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

#[test]
fn an_adopted_service_gets_good_releases_refuses_bad_ones_and_goes_back_with_nothing_lost() {
    let (scene, shop) = Scene::adopted();
    let load = Traffic::on(&shop, 150.0, 4);
    assert_eq!(shop.serving(), "v1");

    // The first deployment watches the stable release for five seconds, as the default has it.
    let ended = shop
        .deploy(&Setup { baseline: "5s".to_owned(), bake: "1s".to_owned(), ..Setup::version("v2") })
        .expect_code(0);
    assert_eq!(ended.outcome()["outcome"], "promoted");
    assert_eq!(shop.serving(), "v2");

    let before = (shop.nginx_file(), shop.backends());
    let ended = shop
        .deploy(&Setup { healthy: "2s".to_owned(), ..Setup::version("v3") }.flag("--never-ready"))
        .expect_code(1);
    assert_eq!(ended.outcome()["outcome"], "unwound");
    assert!(
        ended.said().contains("await-healthy") && ended.said().contains("readyz"),
        "{}",
        ended.said()
    );
    assert_eq!((shop.nginx_file(), shop.backends()), before, "v2 was not touched");
    assert_eq!(shop.serving(), "v2");

    // It turns bad in the bake, long after the switch: the drain of v2 has not begun, so requests
    // go back to it, and not at the end of the bake: no run is waited for so long.
    let ended = shop
        .deploy(&Setup { bake: "5m".to_owned(), ..Setup::version("v4") }.flag("--unready-after 4"))
        .expect_code(1);
    assert_eq!(ended.outcome()["outcome"], "unwound");
    assert_eq!(shop.serving(), "v2");
    assert!(load.report().by_identity.contains_key("v4"), "v4 had the traffic for a while");

    let deployed = shop.deploy(&Setup::version("v5")).expect_code(0);
    assert_eq!(shop.serving(), "v5");

    let (typed, both) = (now_ms(), shop.backends());
    let ended = shop.host(&["rollback"]).expect_code(0);
    assert_eq!(ended.outcome()["outcome"], "promoted");
    assert_eq!(shop.serving(), "v2");
    assert_eq!(shop.backends(), both, "the fast way launches nothing");
    let report = load.nothing_lost();
    let back = report
        .switches
        .iter()
        .find(|switch| switch.to == "v2" && switch.first_answer_ms >= typed)
        .expect("v2 answers again");
    let took = back.first_answer_ms - typed;
    eprintln!("rollback: {took} ms from typing it to the first answer of the old release");
    assert!(
        Duration::from_millis(took) < deployed.took,
        "the way back took {took} ms, the deployment {:?}",
        deployed.took
    );
    assert!(report.posts_verified > 0 && report.slow.succeeded > 0, "{report}");
    drop(scene);
}

#[test]
fn five_switches_in_a_row_lose_nothing_although_old_backends_are_killed_when_they_are_retired() {
    let (scene, shop) = Scene::deployed();
    let load = Traffic::on(&shop, 300.0, 8);
    for number in 2..=6 {
        let version = format!("v{number}");
        let old = shop.backends();
        assert_eq!(old.len(), 1, "one backend stands: {old:?}");
        let run = shop.begin_deploy(&Setup {
            keep_previous: "\"none\"".to_owned(),
            ..Setup::version(&version)
        });
        assert!(run.wait_step("retire", "started"), "{}", run.wait().said());
        for (_, pid) in &old {
            kill(*pid, Signal::KILL);
        }
        let ended = run.wait().expect_code(0);
        assert_eq!(ended.outcome()["outcome"], "promoted");
        assert_eq!(shop.serving(), version);
    }
    let report = load.nothing_lost();
    assert_eq!(report.switches.len(), 5, "{report}");
    assert_eq!(shop.backends().len(), 1);
    drop(scene);
}

fn now_ms() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_millis())
        .expect("a time of this era")
}

#[test]
fn the_log_of_a_dead_backend_is_told_while_its_secret_can_not_be_looked_up() {
    let mut scene = Scene::new();
    let shop = scene.service("shop");
    let secret = shop.path("db.secret");
    std::fs::write(&secret, "hunter-2-is-the-word").expect("a secret");
    scene.nginx.route(&shop, "127.0.0.1:9");
    scene.nginx.start();
    shop.write(&Setup {
        more: format!("[secrets]\ndb = {{ command = [\"cat\", \"{}\"] }}\n", secret.display()),
        probe: false,
        ..Setup::version("v1")
    });
    let manifest = std::fs::read_to_string(shop.path("agente.toml")).expect("the manifest");
    let manifest = manifest.replace("env = { ", "env = { DB = { secret = \"db\" }, ");
    std::fs::write(shop.path("agente.toml"), manifest).expect("the manifest is written");
    shop.grant();
    shop.host(&["deploy"]).expect_code(0);

    shop.lose_power();
    std::fs::remove_file(&secret).expect("the secret is gone");
    let told = shop.host(&["logs"]).expect_code(0);
    assert!(
        !told.events.is_empty() && told.events.len() == told.stdout.lines().count(),
        "each line is an event: {}",
        told.stdout
    );
    for event in &told.events {
        assert_eq!(
            (&event["schema"], &event["event"]),
            (&"agente.events/1".into(), &"log".into()),
            "{event}"
        );
        assert!(event["backend"].is_string() && event["line"].is_string(), "{event}");
    }
}
