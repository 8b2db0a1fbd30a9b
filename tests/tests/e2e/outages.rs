//! Prometheus is away during a good canary: nobody is aborted for it, and what goes on without
//! numbers says so.

use crate::measured::{Measured, all_the_time, wait_nth, wait_told, weights};
use std::time::Duration;

/// How long Prometheus is away where it comes back. `AGENTE_OUTAGE_SECONDS` makes it longer, at
/// most 90.
fn outage() -> Duration {
    let seconds = std::env::var("AGENTE_OUTAGE_SECONDS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(15);
    Duration::from_secs(seconds)
}

#[test]
fn a_canary_holds_at_its_weight_while_prometheus_is_away_and_goes_on_when_it_is_back() {
    let mut measured = Measured::new();
    let load = measured.traffic(100.0);
    let run = measured.shop.begin_deploy(&measured.canary_with(
        "v2",
        "extend = \"2m\"\non_outage = \"hold\"",
        "",
    ));
    assert!(wait_nth(&run, "analyze", 0, "started"));
    measured.lose_prometheus();
    let told = wait_told(&run, "can't be read");
    assert!(told.contains("errors") && told.contains("127.0.0.1"), "{told}");
    let id = run.id();
    let analyzed = |shop: &agente_tests::scene::Service| {
        shop.journal(&id).iter().any(|entry| {
            entry["event"]["event"] == "succeeded"
                && entry["event"]["output"]["notes"][0]
                    .as_str()
                    .is_some_and(|note| note.contains("earned"))
        })
    };
    all_the_time(outage(), || !analyzed(&measured.shop), "no weight is earned without numbers");
    assert_eq!(weights(&measured.shop), (80, 20));
    measured.bring_prometheus_back();
    let ended = run.wait().expect_code(0);
    assert_eq!(ended.outcome()["outcome"], "promoted");
    assert!(ended.took > outage());
    assert!(
        !ended.notes().contains("continued without") && !ended.notes().contains("was replaced by"),
        "{}",
        ended.notes()
    );
    assert_eq!(measured.shop.serving(), "v2");
    load.nothing_lost();
}

#[test]
fn checks_stand_in_for_a_prometheus_that_is_away_and_the_outcome_says_so() {
    let mut measured = Measured::new();
    let load = measured.traffic(100.0);
    let run = measured.shop.begin_deploy(&measured.canary_with(
        "v2",
        "extend = \"2m\"\non_outage = \"fallback\"\nfallback = [\"health-readyz\"]",
        "",
    ));
    assert!(wait_nth(&run, "analyze", 0, "started"));
    measured.lose_prometheus();
    let ended = run.wait().expect_code(0);
    assert_eq!(ended.outcome()["outcome"], "promoted");
    assert!(
        ended.notes().contains("check `errors` was replaced by health-readyz"),
        "{}",
        ended.notes()
    );
    assert_eq!(measured.shop.serving(), "v2");

    // What stands in decides: a release that is no longer ready goes back, with Prometheus still
    // away.
    let setup = measured.canary_with(
        "v3",
        "extend = \"2m\"\non_outage = \"fallback\"\nfallback = [\"health-readyz\"]",
        "",
    );
    let ended = measured.shop.deploy(&setup.flag("--unready-after 3")).expect_code(1);
    assert!(ended.said().contains("health-readyz"), "{}", ended.said());
    assert_eq!(measured.shop.serving(), "v2");
    load.nothing_lost();
}

#[test]
fn a_canary_goes_on_without_prometheus_where_the_manifest_says_so_and_the_outcome_says_so() {
    let mut measured = Measured::new();
    let load = measured.traffic(100.0);
    let setup = measured.canary_with("v2", "extend = \"2m\"\non_outage = \"go-on\"", "");
    let run = measured.shop.begin_deploy(&setup);
    assert!(wait_nth(&run, "analyze", 0, "started"));
    measured.lose_prometheus();
    let ended = run.wait().expect_code(0);
    assert_eq!(ended.outcome()["outcome"], "promoted");
    assert!(
        ended.notes().contains("continued without check `errors`: its source was unavailable"),
        "{}",
        ended.notes()
    );
    assert_eq!(measured.shop.serving(), "v2");
    load.nothing_lost();
}

#[test]
fn an_outage_without_end_is_undecided_and_never_the_candidates_fault() {
    let mut measured = Measured::new();
    let load = measured.traffic(100.0);
    let run = measured.shop.begin_deploy(&measured.canary_with("v2", "extend = \"6s\"", ""));
    assert!(wait_nth(&run, "analyze", 0, "started"));
    measured.lose_prometheus();
    let ended = run.wait().expect_code(1);
    let outcome = ended.outcome();
    assert_eq!(
        (&outcome["outcome"], &outcome["fault"]["kind"]),
        (&"unwound".into(), &"undecided".into()),
        "{outcome}"
    );
    assert!(
        ended.said().contains("no verdict on the candidate")
            && ended.said().contains("can't be read"),
        "{}",
        ended.said()
    );
    assert_eq!(measured.shop.serving(), "v1");

    // A person is asked instead, and answers for each weight.
    measured.bring_prometheus_back();
    measured.wait_measured();
    let run = measured.shop.begin_deploy(&measured.canary_with(
        "v3",
        "extend = \"3s\"\non_undecided = \"ask\"",
        "",
    ));
    assert!(wait_nth(&run, "analyze", 0, "started"));
    measured.lose_prometheus();
    let told = wait_told(&run, "undecided, waiting up to");
    assert!(told.contains("agente-host promote") && told.contains("agente-host abort"), "{told}");
    all_the_time(
        Duration::from_secs(3),
        || weights(&measured.shop) == (80, 20),
        "it waits at its weight",
    );
    measured.shop.host(&["promote", "--reason", "looked at it by hand"]).expect_code(0);
    assert!(wait_nth(&run, "analyze", 1, "started"));
    wait_told(&run, "50 %");
    measured.shop.host(&["promote"]).expect_code(0);
    let ended = run.wait().expect_code(0);
    assert_eq!(ended.outcome()["outcome"], "promoted");
    assert!(ended.notes().contains("promoted by"), "{}", ended.notes());
    assert_eq!(measured.shop.serving(), "v3");
    load.nothing_lost();
}
