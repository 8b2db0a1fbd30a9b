//! What is asked of Prometheus is wrong, or has no answer: the first is turned down before anything
//! is touched, the second is held.

use crate::measured::{Measured, wait_told};
use agente_tests::scene::Setup;

#[test]
fn a_misspelt_metric_is_turned_down_before_anything_is_touched() {
    let measured = Measured::new();
    let shop = &measured.shop;
    let load = measured.traffic(50.0);
    let good = measured.canary("v2");
    let wrong = Setup {
        more: good.more.replacen(
            "template = \"http-requests\"",
            "template = \"http-requests\", metric = \"http_request_totals\"",
            1,
        ),
        ..good
    };
    let before = (shop.nginx_file(), shop.backends(), shop.status()["state"].clone());
    shop.write(&wrong);
    let checked = shop.host(&["check"]).expect_code(2);
    assert!(checked.stdout.contains("http_request_totals"), "{}", checked.stdout);
    let ended = shop.host(&["deploy"]).expect_code(2);
    assert_eq!(ended.outcome()["outcome"], "refused");
    assert!(
        ended.said().contains("`http_request_totals`") && ended.said().contains("correct the name"),
        "{}",
        ended.said()
    );
    assert_eq!((shop.nginx_file(), shop.backends(), shop.status()["state"].clone()), before);

    // What is right is said to be right, with what was found.
    shop.write(&measured.canary("v2"));
    let checked = shop.host(&["check"]).expect_code(0);
    assert!(
        checked.stdout.contains("analysis errors")
            && checked.stdout.contains("requests of the stable release failed"),
        "{}",
        checked.stdout
    );
    load.nothing_lost();
}

#[test]
fn a_candidate_without_traffic_is_held_and_not_passed() {
    let measured = Measured::new();
    let shop = &measured.shop;
    measured.traffic(50.0).nothing_lost();
    // Nobody asks from here on, not even we.
    let setup = Setup { probe: false, ..measured.canary_with("v2", "extend = \"5s\"", "") };
    let run = shop.begin_deploy(&setup);
    let told = wait_told(&run, "not decided yet");
    assert!(told.starts_with("20 %: ") && told.contains("up to 10 s to go, then unwind"), "{told}");
    let ended = run.wait().expect_code(1);
    assert_eq!(ended.outcome()["fault"]["kind"], "undecided", "{}", ended.outcome());
    assert!(ended.said().contains("give the analysis more requests"), "{}", ended.said());
    assert_eq!(shop.serving(), "v1");
}
