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
    assert!(ended.stderr.contains("is no longer running; relaunching it"), "{}", ended.stderr);
    assert_eq!(shop.serving(), "v4");
    load.nothing_lost();
    drop(scene);
}

#[test]
fn a_service_moves_from_containers_to_processes_and_goes_back_whatever_the_manifest_says_by_then() {
    let engine = Engine::start();
    let image = engine.image();
    let docker = |version: &str| Setup {
        docker: Some((engine.socket.clone(), image.clone())),
        ..Setup::version(version)
    };
    let mut scene = Scene::new();
    let shop = scene.service("shop");
    scene.first_release(&shop, &docker("v1"));
    let load = Traffic::on(&shop, 60.0, 2);
    let states = || -> Vec<String> {
        let status = shop.status();
        let seen = status["backends"].as_array().expect("backends");
        seen.iter().map(|one| one["state"].as_str().unwrap_or("?").to_owned()).collect()
    };

    // Each attempt makes a release; none of them ever stands.
    let text = shop.path("agente-api");
    std::fs::write(&text, "not a program").expect("a file");
    let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&text, executable).expect("its mode is set");
    shop.write(&Setup::version("v2"));
    let good = std::fs::read_to_string(shop.path("agente.toml")).expect("the manifest");
    let artifact = good.lines().find(|line| line.starts_with("artifact")).expect("an artifact");
    let bad = good.replace(artifact, &format!("artifact = \"{}\"", text.display()));
    std::fs::write(shop.path("agente.toml"), bad).expect("the manifest is written");
    for _ in 0..25 {
        assert_eq!(shop.host(&["deploy"]).expect_code(1).outcome()["outcome"], "refused");
    }
    assert_eq!(states(), ["running"]);

    shop.deploy(&Setup::version("v2")).expect_code(0);
    assert_eq!((shop.serving().as_str(), engine.running().len()), ("v2", 1));
    shop.host(&["rollback"]).expect_code(0);
    assert_eq!(shop.serving(), "v1");
    // Back again: processes are found while the manifest names an engine that is not there.
    shop.write(&Setup {
        docker: Some(("/nowhere/docker.sock".into(), image.clone())),
        ..docker("v1")
    });
    assert_eq!(states(), ["running", "running"]);
    shop.host(&["rollback"]).expect_code(0);
    assert_eq!(shop.serving(), "v2");

    // What is kept has ended, so that it must be launched anew: on the engine where it was.
    engine.crash(engine.running().first().expect("the kept container"));
    shop.write(&Setup::version("v2"));
    let ended = shop.host(&["rollback"]).expect_code(0);
    assert!(ended.stderr.contains("relaunching it"), "{}", ended.stderr);
    assert_eq!((shop.serving().as_str(), engine.running().len()), ("v1", 1));

    shop.deploy(&docker("v3")).expect_code(0);
    assert_eq!((shop.serving().as_str(), engine.running().len()), ("v3", 2));
    load.nothing_lost();
    drop(scene);
}
