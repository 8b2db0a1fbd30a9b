//! Who may change a service: one store, one host at a time, plugins with a grant.

use agente_tests::scene::{Scene, Setup, Traffic, shipped};
use std::time::Duration;

#[test]
fn another_store_that_meets_the_live_service_refuses() {
    let (scene, shop) = Scene::deployed();
    let (file, backends) = (shop.nginx_file(), shop.backends());
    shop.write(&Setup::version("v2"));
    let fresh = shop.path("another-state");
    let adopt = ["adopt", "--backend", &backends[0].0];
    for command in [&["deploy"][..], &adopt] {
        let ended = shop.host_with(&fresh, command).expect_code(3);
        assert!(ended.said().contains("it belongs to the store"), "{}", ended.said());
        assert!(ended.said().contains("adopt --force"), "{}", ended.said());
        assert!(!fresh.exists(), "no new store is made");
    }
    assert_eq!((shop.nginx_file(), shop.backends()), (file, backends));
    assert_eq!(shop.serving(), "v1");
    drop(scene);
}

#[test]
fn another_stores_service_is_taken_by_force_without_loss_and_left_alone_where_that_fails() {
    let (scene, shop) = Scene::deployed();
    let backends = shop.backends();
    let load = Traffic::on(&shop, 60.0, 2);
    let fresh = shop.path("another-state");
    let take = ["adopt", "--force", "--backend", backends[0].0.as_str()];

    // Its own backend does not answer: nothing is taken.
    let file = shop.nginx_file();
    shop.host_with(&fresh, &["adopt", "--force", "--backend", "127.0.0.1:1"]).expect_code(1);
    assert_eq!(shop.nginx_file(), file);

    shop.host_with(&fresh, &take).expect_code(0);
    assert_eq!(shop.serving(), "v1");
    // Now it is the first store that is foreign.
    shop.write(&Setup::version("v2"));
    let ended = shop.host(&["deploy"]).expect_code(4);
    assert!(ended.said().contains("another store"), "{}", ended.said());
    // Looking says the same, and that a person is needed.
    let ended = shop.host(&["status"]).expect_code(3);
    assert_eq!(ended.events[0]["doubt"]["doubt"], "foreign", "{}", ended.events[0]);
    shop.host(&["up"]).expect_code(3);
    load.nothing_lost();
    drop(scene);
}

#[test]
fn a_second_deployment_is_refused_with_who_holds_the_lease_or_waits_for_it() {
    let (scene, shop) = Scene::deployed();
    let first = shop.begin_deploy(&Setup { bake: "6s".to_owned(), ..Setup::version("v2") });
    assert!(first.wait_step("launch", "started"));
    let second = shop.host(&["deploy"]).expect_code(4);
    let pid = first.pid().to_string();
    assert!(
        second.said().contains(&pid) && second.said().contains("deploy"),
        "who: {}",
        second.said()
    );
    assert!(second.said().contains("since 20"), "since when: {}", second.said());
    let late = shop.host(&["deploy", "--lock-wait", "200ms"]).expect_code(4);
    assert!(
        late.took >= Duration::from_millis(200) && late.said().contains(&pid),
        "{}",
        late.said()
    );

    // While it waits, the first one ends; the second one's own manifest is what it deploys then.
    shop.write(&Setup::version("v3"));
    let waiting = shop.begin(&["deploy", "--lock-wait", "60s"]);
    let ended = first.wait().expect_code(0);
    assert_eq!(ended.outcome()["outcome"], "promoted");
    let ended = waiting.wait().expect_code(0);
    assert_eq!(ended.outcome()["outcome"], "promoted");
    assert_eq!(shop.serving(), "v3");
    assert_eq!(shop.status()["state"]["stable"]["release"], 3);
    drop(scene);
}

#[test]
fn a_plugin_that_was_never_granted_anything_is_refused_with_the_command_that_grants_it() {
    let (scene, shop) = Scene::deployed();
    let file = shop.nginx_file();
    std::fs::remove_file(shop.path("agente.lock")).expect("the lock file was there");
    shop.write(&Setup::version("v2"));
    let component = shop.path("nginx-switch.wasm");
    std::fs::copy(shipped("nginx-switch"), &component).expect("the plugin is copied");
    let component = component.to_str().expect("a path of text");

    let ended = shop.host(&["deploy", "--plugin", component]).expect_code(4);
    assert!(ended.stderr.contains("has no grant"), "{}", ended.stderr);
    let directory = scene.nginx.path("agente");
    assert!(
        ended.stderr.contains(&directory.display().to_string()),
        "what it asks for, filled in: {}",
        ended.stderr
    );
    assert_eq!(shop.nginx_file(), file);

    // What lacks a grant is named once, and the command does as it is printed, typed into a shell.
    let command = ended
        .stderr
        .split('`')
        .find(|part| part.starts_with("agente-host plugin add"))
        .unwrap_or_else(|| panic!("no command in {}", ended.stderr));
    assert!(command.contains(component), "{command}");
    assert_eq!(
        (command.matches("plugin add").count(), command.matches("plugin add http-health").count()),
        (2, 1),
        "{command}"
    );
    let typed = shop.type_in(command);
    assert!(typed.status.success(), "`{command}`: {}", String::from_utf8_lossy(&typed.stderr));
    shop.host(&["deploy", "--plugin", component]).expect_code(0);
    assert_eq!(shop.serving(), "v2");
}
