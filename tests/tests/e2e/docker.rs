//! The same with containers of a Docker Engine.

use agente_tests::scene::{Engine, Scene, Setup, Traffic};

#[test]
fn containers_are_switched_refused_taken_up_after_a_kill_and_rolled_back_with_nothing_lost() {
    let engine = Engine::start();
    let image = engine.image();
    let setup = |version: &str| Setup {
        docker: Some((engine.socket.clone(), image.clone())),
        ..Setup::version(version)
    };
    let mut scene = Scene::new();
    let shop = scene.service("shop");
    scene.first_release(&shop, &setup("v1"));
    let load = Traffic::on(&shop, 60.0, 2);

    shop.deploy(&setup("v2")).expect_code(0);
    assert_eq!(shop.serving(), "v2");
    assert_eq!(engine.running().len(), 2, "one serves, one is kept: {:?}", engine.running());

    let ended = shop
        .deploy(&Setup { healthy: "2s".to_owned(), ..setup("v3") }.flag("--never-ready"))
        .expect_code(1);
    assert_eq!(ended.outcome()["outcome"], "unwound");
    assert_eq!(shop.serving(), "v2");
    assert_eq!(engine.running().len(), 1, "{:?}", engine.running());

    let run = shop.begin_deploy(&setup("v4").flag("--startup 3"));
    assert!(run.wait_step("await-healthy", "started"));
    assert_eq!(run.kill().code, None);
    assert_eq!(engine.running().len(), 2, "{:?}", engine.running());
    shop.host(&["deploy"]).expect_code(0);
    assert_eq!(shop.serving(), "v4");
    assert_eq!(engine.running().len(), 2, "{:?}", engine.running());

    shop.host(&["rollback"]).expect_code(0);
    assert_eq!(shop.serving(), "v2");

    // What is kept crashes: it stays down, that is told, and the way back is a launch.
    let kept = shop.status()["state"]["kept"]["backends"][0]["id"]
        .as_str()
        .expect("a kept backend")
        .to_owned();
    engine.crash(&kept);
    let status = shop.status();
    let seen = status["backends"]
        .as_array()
        .and_then(|all| all.iter().find(|seen| seen["id"] == kept.as_str()))
        .expect("the kept backend");
    assert_eq!(seen["state"], "ended", "{seen}");
    let ended = shop.host(&["rollback"]).expect_code(0);
    assert!(
        ended.stderr.contains("does not run any more: it is launched anew"),
        "{}",
        ended.stderr
    );
    assert_eq!(shop.serving(), "v4");
    load.nothing_lost();
    drop(scene);
}
