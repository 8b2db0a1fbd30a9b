//! The machine loses its power: `up` brings back what should stand, where it stood.

use agente_tests::scene::{Scene, Setup, Traffic, wait_for};

fn addresses(backends: &[(String, u32)]) -> Vec<&String> {
    backends.iter().map(|(address, _)| address).collect()
}

#[test]
fn up_brings_the_stable_side_back_on_its_ports_and_leaves_the_kept_one_aside() {
    let (scene, shop) = Scene::deployed();
    let old = shop.backends();
    shop.deploy(&Setup { instances: 2, ..Setup::version("v2") }).expect_code(0);
    let stable: Vec<(String, u32)> =
        shop.backends().into_iter().filter(|backend| !old.contains(backend)).collect();
    assert_eq!((old.len(), stable.len()), (1, 2));

    shop.lose_power();
    assert_eq!(shop.processes(), Vec::<u32>::new());
    assert_eq!(shop.ask("/healthz").status, 502);
    let status = shop.status();
    assert_eq!(status["state"]["stable"]["release"], 2, "{status}");

    shop.host(&["up"]).expect_code(0);
    let back = shop.backends();
    assert_eq!(addresses(&back), addresses(&stable));
    assert!(back.iter().zip(&stable).all(|(now, then)| now.1 != then.1), "other processes");
    // The first of the two may serve before the other does.
    wait_for("v2 alone at the public URL", || (shop.serving() == "v2").then_some(()));

    // Twice is safe, and the next deployment finds everything in order.
    shop.host(&["up"]).expect_code(0);
    assert_eq!(shop.backends(), back);
    shop.deploy(&Setup::version("v3")).expect_code(0);
    assert_eq!(shop.serving(), "v3");
    drop(scene);
}

#[test]
fn up_in_the_middle_of_a_canary_brings_back_both_sides_that_have_requests() {
    let (scene, shop) = Scene::deployed();
    let canary = "kind = \"canary\"\nweights = [50]\npause = \"5m\"\n".to_owned();
    let run = shop.begin_deploy(&Setup { strategy: canary, ..Setup::version("v2") });
    wait_for("the candidate's requests", || (shop.serving() == "v1 and v2").then_some(()));
    run.kill();
    let before = shop.backends();
    shop.lose_power();

    shop.host(&["up"]).expect_code(0);
    assert_eq!(addresses(&shop.backends()), addresses(&before));
    wait_for("both at the public URL", || (shop.serving() == "v1 and v2").then_some(()));
    let load = Traffic::on(&shop, 60.0, 0);
    shop.host(&["abort"]).expect_code(0);
    assert_eq!(shop.serving(), "v1");
    load.nothing_lost();
    drop(scene);
}

#[test]
fn up_starts_a_stable_backend_that_was_told_to_stand_aside() {
    let (scene, shop) = Scene::deployed();
    let backends = std::fs::read_dir(shop.state.join("backends"))
        .expect("the backends")
        .flatten()
        .map(|entry| entry.path());
    for backend in backends {
        let role = std::fs::read_to_string(backend.join("role")).expect("a role");
        assert!(role.contains("\"live\""), "{role}");
        std::fs::write(backend.join("role"), role.replace("\"live\"", "\"kept\""))
            .expect("another role");
    }
    shop.lose_power();
    shop.host(&["up"]).expect_code(0);
    wait_for("v1 at the public URL", || (shop.serving() == "v1").then_some(()));
    drop(scene);
}
