//! The host runs as a user who owns nothing but its own folder, and NGINX and its files are root's:
//! the folder is shared by a group, and NGINX is tested and reloaded through the prefix of the
//! grant. What is missing for that is said before anything is touched.

use agente_tests::scene::{AsRoot, Ended, Scene, Service, Setup, Traffic, wait_for};
use std::os::unix::fs::MetadataExt;

/// Everything that `nginx-switch` runs.
fn commands(scene: &Scene) -> Vec<Vec<String>> {
    let conf = scene.nginx.path("nginx.conf").display().to_string();
    let with_conf =
        |rest: &[&str]| ["-c", &conf].iter().chain(rest).map(|word| (*word).to_owned()).collect();
    [vec!["-v".to_owned()], with_conf(&["-t"]), with_conf(&["-T"]), with_conf(&["-s", "reload"])]
        .map(|arguments: Vec<String>| {
            std::iter::once("/usr/sbin/nginx".to_owned()).chain(arguments).collect()
        })
        .to_vec()
}

#[track_caller]
fn refused(shop: &Service, ended: &Ended, because: &str, hint: &str) {
    assert!(ended.said().contains(because) && ended.said().contains(hint), "{}", ended.said());
    assert_eq!(ended.outcome()["outcome"], "refused", "nothing was begun: {}", ended.said());
    assert_eq!(shop.nginx_file(), None);
    assert_eq!(shop.serving(), "v1");
}

#[test]
fn an_unprivileged_host_adopts_deploys_and_goes_back_behind_roots_nginx() {
    let mut scene = Scene::new();
    let mut shop = scene.service("shop");
    let user = scene.unprivileged(&mut shop);
    let address = shop.start_by_hand("v1");
    scene.nginx.route(&shop, &address);
    scene.nginx.start();
    shop.write(&Setup::version("v2"));
    shop.grant();
    let adopt = ["adopt", "--backend", &address];

    // The folder is root's alone.
    refused(&shop, &shop.host(&adopt), "can't write to", "chgrp");

    // The group may write, and root's NGINX can't be tested by this user.
    user.let_group_write(&scene.nginx.path("agente"));
    refused(&shop, &shop.host(&adopt), "Permission denied", "--exec-prefix");

    let door = AsRoot::allow(scene.path(), commands(&scene));
    shop.host(&[
        "plugin",
        "add",
        "nginx-switch",
        "--yes",
        "--exec-prefix",
        &door.prefix.display().to_string(),
    ])
    .expect_code(0);
    shop.host(&adopt).expect_code(0);
    scene.use_pool(&shop);

    let load = Traffic::on(&shop, 100.0, 2);
    shop.deploy(&Setup::version("v2")).expect_code(0);
    assert_eq!(shop.serving(), "v2");
    let owners = |shop: &Service| {
        let uid = |(_, pid): (String, u32)| {
            std::fs::metadata(format!("/proc/{pid}")).expect("it runs").uid()
        };
        shop.backends().into_iter().map(uid).collect::<Vec<_>>()
    };
    assert_eq!(owners(&shop), [user.uid], "backends are the user's own");
    assert_eq!(std::fs::metadata(shop.nginx_path()).expect("our file").uid(), user.uid);

    let ended = shop.host(&["rollback"]).expect_code(0);
    assert_eq!(ended.outcome()["outcome"], "promoted");
    assert_eq!(shop.serving(), "v1");

    // A release that turns bad is taken back, with all that it takes.
    shop.deploy(
        &Setup { bake: "20s".to_owned(), ..Setup::version("v3") }.flag("--unready-after 2"),
    )
    .expect_code(1);
    assert_eq!(shop.serving(), "v1");
    load.nothing_lost();

    let ran = door.ran();
    assert!(ran.iter().any(|command| command.ends_with("-s reload")), "{ran:?}");
    let allowed: Vec<String> = commands(&scene).iter().map(|argv| argv.join(" ")).collect();
    assert!(ran.iter().all(|command| allowed.contains(command)), "{ran:?}");

    // A signal to root's master would be turned down by the kernel in the middle of a deployment.
    shop.switch_setting("reload = \"signal\"");
    shop.write(&Setup::version("v4"));
    shop.host(&[
        "plugin",
        "add",
        "nginx-switch",
        "--yes",
        "--exec-prefix",
        &door.prefix.display().to_string(),
    ])
    .expect_code(0);
    let ended = shop.host(&["deploy"]);
    assert!(ended.said().contains("can't send signals to NGINX's master"), "{}", ended.said());
    assert_eq!(ended.outcome()["outcome"], "refused", "{}", ended.said());
    assert_eq!(shop.serving(), "v1");
}

#[test]
fn two_users_of_a_group_start_and_go_back_from_what_the_other_deployed() {
    let mut scene = Scene::new();
    let mut shop = scene.service("shop");
    let user = scene.unprivileged(&mut shop);
    user.let_group_write(&scene.nginx.path("agente"));
    std::fs::create_dir(&shop.state).expect("a state directory");
    user.let_group_write(&shop.state);
    let address = shop.start_by_hand("v1");
    scene.nginx.route(&shop, &address);
    scene.nginx.start();
    shop.write(&Setup::version("v2"));
    let door = AsRoot::allow(scene.path(), commands(&scene));
    shop.grant();
    shop.host(&[
        "plugin",
        "add",
        "nginx-switch",
        "--yes",
        "--exec-prefix",
        &door.prefix.display().to_string(),
    ])
    .expect_code(0);
    shop.host(&["adopt", "--backend", &address]).expect_code(0);
    scene.use_pool(&shop);
    shop.deploy(&Setup::version("v2")).expect_code(0);
    shop.deploy(&Setup::version("v3")).expect_code(0);

    let colleague = user.colleague();
    shop.hand_to(&colleague);
    shop.lose_power();
    shop.host(&["up"]).expect_code(0);
    wait_for("v3 at the public URL", || (shop.serving() == "v3").then_some(()));
    shop.host(&["rollback"]).expect_code(0);
    assert_eq!(shop.serving(), "v2");

    // And the first one goes on from there.
    shop.hand_to(&user);
    shop.lose_power();
    shop.host(&["up"]).expect_code(0);
    wait_for("v2 at the public URL", || (shop.serving() == "v2").then_some(()));
    drop(door);
}
