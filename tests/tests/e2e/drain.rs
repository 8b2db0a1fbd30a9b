//! A drain whose budget is shorter than the longest request: the old side is kept until the
//! operator says to cut it.

use agente_tests::scene::{Answer, Scene, Service, Setup, get, wait_for};
use serde_json::json;
use std::thread::JoinHandle;

/// A request that takes this long; it is on its way when this returns.
fn long_request(shop: &Service, ms: u32) -> JoinHandle<std::io::Result<Answer>> {
    let (port, path) = (shop.port, format!("/api/slow?ms={ms}"));
    let before = in_flight(shop);
    let request = std::thread::spawn(move || get(port, &path));
    wait_for("the long request to reach a backend", || (in_flight(shop) > before).then_some(()));
    request
}

/// How many requests the service's backends are answering, besides the one that asks.
fn in_flight(shop: &Service) -> u64 {
    let gauge = |address: &str| {
        let port = address.rsplit_once(':')?.1.parse().ok()?;
        let metrics = get(port, "/metrics").ok()?.body;
        metrics
            .lines()
            .find_map(|line| line.strip_prefix("http_requests_in_flight "))
            .and_then(|count| count.trim().parse::<u64>().ok())
    };
    shop.backends()
        .iter()
        .filter_map(|(address, _)| gauge(address))
        .map(|count| count.saturating_sub(1))
        .sum()
}

#[test]
fn a_side_that_still_drains_is_kept_until_the_operator_cuts_it() {
    let (scene, shop) = Scene::deployed();
    let request = long_request(&shop, 60_000);
    let old = shop.backends();

    let short = |version: &str| Setup {
        drain: "2s".to_owned(),
        stop_grace: "1s".to_owned(),
        ..Setup::version(version)
    };
    let ended = shop.deploy(&short("v2")).expect_code(0);
    assert!(
        ended.notes().contains("the drain timed out after 2 s: the old side is kept"),
        "{}",
        ended.notes()
    );
    assert_eq!(shop.serving(), "v2");
    assert_eq!(shop.status()["state"]["kept"]["drained"], json!(false));
    assert!(old.iter().all(|backend| shop.backends().contains(backend)), "the old side is alive");

    // Where nothing may be kept, what still drains is kept all the same.
    let bytes = shop.nginx_file();
    let ended = shop.deploy(&short("v3")).expect_code(4);
    assert!(
        ended.said().contains("is still draining from the last deployment"),
        "{}",
        ended.said()
    );
    assert!(ended.said().contains("agente-host deploy --cut"), "{}", ended.said());
    assert_eq!(ended.outcome()["outcome"], "refused");
    assert_eq!((shop.nginx_file(), shop.serving()), (bytes, "v2".to_owned()));
    assert!(!request.is_finished(), "the request is still waiting for its answer");

    let ended = shop.host(&["deploy", "--cut"]).expect_code(0);
    assert_eq!(ended.outcome()["outcome"], "promoted");
    assert_eq!(shop.serving(), "v3");
    let cut = request.join().expect("the request's thread");
    assert!(
        cut.as_ref().map_or(true, |answer| answer.status != 200),
        "it was cut, as the operator said: {cut:?}"
    );
    drop(scene);
}

#[test]
fn keep_previous_none_keeps_a_side_that_still_drains_and_a_request_that_ends_frees_it() {
    let (scene, shop) = Scene::deployed();
    let request = long_request(&shop, 12_000);
    let old = shop.backends();
    let none = |version: &str| Setup {
        drain: "2s".to_owned(),
        keep_previous: "\"none\"".to_owned(),
        ..Setup::version(version)
    };
    let ended = shop.deploy(&none("v2")).expect_code(0);
    assert!(
        ended.notes().contains("is kept: its last requests have not finished"),
        "{}",
        ended.notes()
    );
    assert!(old.iter().all(|backend| shop.backends().contains(backend)), "the old side is alive");

    let answer = request.join().expect("the request's thread").expect("an answer");
    assert_eq!((answer.status, answer.header("x-version")), (200, "v1"));
    let ended = shop.deploy(&none("v3")).expect_code(0);
    assert_eq!(ended.outcome()["outcome"], "promoted");
    assert_eq!(shop.backends().len(), 1, "both earlier sides are gone");
    drop(scene);
}
