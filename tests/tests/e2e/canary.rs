//! Canaries under load, judged by the numbers of a real Prometheus: good candidates get all
//! requests, bad ones are taken back.

use agente_tests::canary::{Candidate, Moment, abort_at, catch, climb};

#[test]
fn a_healthy_candidate_climbs_to_all_requests_at_its_weights_and_sends_nobody_back() {
    // Three true shares lie within their intervals but for three times in a thousand; then they are
    // measured once more, and must.
    for last in [false, true] {
        let climbed = climb(1);
        println!("{climbed:#?}");
        assert_eq!(
            climbed.shares.iter().map(|share| share.weight).collect::<Vec<_>>(),
            [10.0, 25.0, 50.0]
        );
        assert_eq!((climbed.bad, climbed.regulars, climbed.moved_back), (0, 200, Vec::new()));
        let outside: Vec<_> = climbed
            .shares
            .iter()
            .filter(|share| !share.interval.contains(&share.candidate))
            .collect();
        if outside.is_empty() {
            return;
        }
        assert!(!last, "{outside:?}");
    }
}

#[test]
fn a_candidate_that_fails_half_of_its_requests_is_taken_back_by_analysis() {
    println!("{:#?}", catch(&Candidate::FAILS_HALF, 1));
}

#[test]
fn a_candidate_that_fails_for_post_only_is_taken_back_by_analysis() {
    println!("{:#?}", catch(&Candidate::FAILS_POST, 1));
}

#[test]
fn a_candidate_that_crashes_at_a_quarter_of_the_requests_is_taken_back_at_once() {
    let caught = catch(&Candidate::CRASHES, 1);
    println!("{caught:#?}");
    assert!((caught.weight - 25.0).abs() < 0.01, "{caught:?}");
}

#[test]
fn a_candidate_whose_slowest_requests_alone_are_slower_is_taken_back_by_analysis() {
    println!("{:#?}", catch(&Candidate::SLOW_TAIL, 1));
}

#[test]
fn an_abort_in_any_step_of_a_canary_gives_stable_all_requests_and_loses_none() {
    let some = [
        "analysis at 10 %",
        "shift to 25 %",
        "wait for a person at 50 %",
        "bake, right after promote",
    ];
    let moments: Vec<Moment> =
        Moment::ALL.into_iter().filter(|moment| some.contains(&moment.name)).collect();
    let (aborted, records) = abort_at(&moments);
    assert_eq!(aborted.len(), some.len());
    for one in &aborted {
        println!("{one:?}");
        assert!(one.verified.is_some(), "{one:?}");
    }
    assert!(records.iter().all(|record| !record.is_bad()), "an abort loses nobody's request");
}
