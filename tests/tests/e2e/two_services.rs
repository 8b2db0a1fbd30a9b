//! Two services share one NGINX: they take turns at it and never see each other's traffic.

use agente_tests::scene::{Engine, Scene, Service, Setup, Traffic};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;

fn both() -> (Scene, Service, Service) {
    let mut scene = Scene::new();
    let shop = scene.service("shop");
    let cart = scene.service("cart-api");
    scene.first_release(&shop, &Setup::version("shop-v1"));
    scene.first_release(&cart, &Setup::version("cart-v1"));
    (scene, shop, cart)
}

#[test]
fn two_services_deployed_at_the_same_time_only_ever_answer_for_themselves() {
    let (scene, shop, cart) = both();
    let (on_shop, on_cart) = (Traffic::on(&shop, 100.0, 2), Traffic::on(&cart, 100.0, 2));
    for number in 2..=3 {
        let (one, other) = (
            shop.begin_deploy(&Setup::version(&format!("shop-v{number}"))),
            cart.begin_deploy(&Setup {
                instances: 2,
                ..Setup::version(&format!("cart-v{number}"))
            }),
        );
        one.wait().expect_code(0);
        other.wait().expect_code(0);
    }
    assert_eq!((shop.serving().as_str(), cart.serving().as_str()), ("shop-v3", "cart-v3"));
    for (load, prefix) in [(on_shop, "shop-"), (on_cart, "cart-")] {
        let report = load.nothing_lost();
        assert!(report.by_identity.keys().all(|who| who.starts_with(prefix)), "{report}");
        assert_eq!(report.by_identity.len(), 3, "{report}");
    }
    drop(scene);
}

#[test]
fn two_services_with_one_range_of_ports_are_deployed_at_the_same_time() {
    let mut scene = Scene::new();
    let shop = scene.service("shop");
    let mut cart = scene.service("cart-api");
    cart.share_with(&shop);
    scene.first_release(&shop, &Setup::version("shop-v1"));
    scene.first_release(&cart, &Setup::version("cart-v1"));
    // The first has its plan, and has launched nothing yet.
    let first =
        shop.begin_deploy(&Setup { baseline: "5s".to_owned(), ..Setup::version("shop-v2") });
    assert!(first.wait_step("baseline", "started"));
    cart.deploy(&Setup::version("cart-v2")).expect_code(0);
    first.wait().expect_code(0);
    assert_eq!((shop.serving().as_str(), cart.serving().as_str()), ("shop-v2", "cart-v2"));
    drop(scene);
}

#[test]
fn a_long_stream_on_one_service_does_not_stop_the_deployment_of_the_other() {
    let (scene, shop, cart) = both();
    let mut stream = TcpStream::connect(("127.0.0.1", cart.port)).expect("a connection");
    write!(stream, "GET /api/stream?seconds=600&tick_ms=100 HTTP/1.1\r\nHost: cart\r\n\r\n")
        .expect("a request");
    let mut stream = BufReader::new(stream);
    let mut read_tick = move || {
        let mut line = String::new();
        while !line.contains("cart-v1") {
            line.clear();
            assert!(
                stream.read_line(&mut line).expect("the stream goes on") > 0,
                "the stream was cut"
            );
        }
    };
    read_tick();

    let load = Traffic::on(&shop, 50.0, 1);
    let weak = Setup {
        drain_more: ", accept_weak_evidence = true".to_owned(),
        ..Setup::version("shop-v2")
    };
    let ended = shop.deploy(&weak).expect_code(0);
    assert!(ended.notes().contains("drained"), "{}", ended.notes());
    assert_eq!(shop.status()["state"]["kept"]["drained"], true);
    // The next one retires what was kept, with the stream still open.
    let ended = shop.deploy(&Setup { version: "shop-v3".to_owned(), ..weak }).expect_code(0);
    assert!(ended.notes().contains("drained"), "{}", ended.notes());
    assert_eq!(shop.serving(), "shop-v3");
    load.nothing_lost();
    read_tick();
    assert_eq!(cart.serving(), "cart-v1");
    drop(scene);
}

/// `shop-eu` in `prod` and `shop` in `eu-prod`: the same text, were the names joined by dashes.
#[test]
fn services_whose_names_join_to_the_same_text_never_touch_each_other() {
    let engine = Engine::start();
    let image = engine.image();
    let docker = |version: &str| Setup {
        docker: Some((engine.socket.clone(), image.clone())),
        ..Setup::version(version)
    };
    let mut scene = Scene::new();
    let one = scene.service_in("shop-eu", "prod");
    let mut other = scene.service_in("shop", "eu-prod");
    other.share_with(&one);
    scene.first_release(&one, &docker("one-v1"));
    scene.first_release(&other, &docker("other-v1"));
    let (on_one, on_other) = (Traffic::on(&one, 60.0, 2), Traffic::on(&other, 60.0, 2));
    assert_eq!(engine.running().len(), 2, "{:?}", engine.running());

    // Both leave their containers for processes; each retires only what is its own.
    one.deploy(&Setup::version("one-v2")).expect_code(0);
    other.deploy(&Setup::version("other-v2")).expect_code(0);
    assert_eq!(engine.running().len(), 2, "kept, both: {:?}", engine.running());
    one.deploy(&Setup::version("one-v3")).expect_code(0);
    assert_eq!(engine.running().len(), 1, "{:?}", engine.running());
    other.host(&["rollback"]).expect_code(0);
    assert_eq!((one.serving().as_str(), other.serving().as_str()), ("one-v3", "other-v1"));
    one.host(&["rollback"]).expect_code(0);
    assert_eq!((one.serving().as_str(), other.serving().as_str()), ("one-v2", "other-v1"));
    for (load, prefix) in [(on_one, "one-"), (on_other, "other-")] {
        let report = load.nothing_lost();
        assert!(report.by_identity.keys().all(|who| who.starts_with(prefix)), "{report}");
    }
    drop(scene);
}

#[test]
fn the_port_of_a_container_that_is_down_is_not_given_to_a_process() {
    let engine = Engine::start();
    let image = engine.image();
    let mut scene = Scene::new();
    let shop = scene.service("shop");
    let mut cart = scene.service("cart-api");
    cart.share_with(&shop);
    let docker = Some((engine.socket.clone(), image));
    scene.first_release(&shop, &Setup { docker, ..Setup::version("shop-v1") });
    engine.stop(engine.running().first().expect("the container"));
    scene.first_release(&cart, &Setup::version("cart-v1"));
    let address = |service: &Service| service.status()["backends"][0]["address"].clone();
    assert_ne!(address(&shop), address(&cart));
    drop(scene);
}
