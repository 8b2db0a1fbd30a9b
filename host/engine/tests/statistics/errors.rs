//! Error counts: false alarms, power and misses.

use crate::traffic::{Traffic, stage};
use crate::{RUNS, assert_common, assert_rare, runs_where};
use agente_engine::statistics::{
    Acceptance, Counts, JudgementKind, LimitTest, Multiple, Proportion, RatioTest,
};

/// The looks of a long run.
const LOOKS: u32 = 200;

fn ratio_test() -> RatioTest {
    RatioTest::new(Multiple::ONE_AND_A_HALF)
}

/// The rate whose odds are `ratio` times those of `rate`.
fn at_odds(ratio: f64, rate: f64) -> f64 {
    ratio * rate / (1.0 - rate + ratio * rate)
}

/// Whether a long run at constant rates ever fails.
fn ever_fails(traffic: &mut Traffic, candidate: f64, stable: f64) -> bool {
    let mut test = ratio_test();
    (0..LOOKS).any(|_| {
        let stable = traffic.requests(180, stable).unwrap();
        test.add(traffic.requests(20, candidate).unwrap(), Some(stable));
        test.rejects(Proportion::ONE_PERCENT)
    })
}

#[test]
fn a_candidate_equal_to_stable_rarely_fails() {
    for rate in [0.0, 0.001, 0.03, 0.3] {
        let alarms = runs_where(|traffic| ever_fails(traffic, rate, rate));
        assert_rare(&format!("false alarms, equal at {rate}"), alarms);
    }
}

#[test]
fn a_candidate_at_the_very_edge_of_the_ratio_rarely_fails() {
    for rate in [0.001, 0.05, 0.3] {
        let alarms = runs_where(|traffic| ever_fails(traffic, at_odds(1.5, rate), rate));
        assert_rare(&format!("false alarms, odds of 1.5 at {rate}"), alarms);
    }
}

#[test]
fn rates_that_drift_while_weights_grow_give_no_more_alarms() {
    let alarms = runs_where(|traffic| {
        let mut test = ratio_test();
        (0..LOOKS).any(|look| {
            // Both get better and worse by turns, from 0.1 % to 20 %, faster than the looks could
            // average out.
            let rate =
                0.001 + 0.199 * (0.5 - 0.5 * (f64::from(look) * traffic.fraction() / 5.0).cos());
            let weight = [10, 25, 50][(look * 3 / LOOKS) as usize];
            let requests = 100 + (200.0 * traffic.fraction()) as u64;
            let candidate = requests * weight / 100;
            let stable = traffic.requests(requests - candidate, rate).unwrap();
            test.add(traffic.requests(candidate, rate).unwrap(), Some(stable));
            test.rejects(Proportion::ONE_PERCENT)
        })
    });
    assert_rare("false alarms, drifting rates and growing weights", alarms);
}

/// Seconds between two looks, and requests per second of the two sides.
const LOOK_SECONDS: u32 = 15;
const PER_SECOND: [u64; 2] = [2, 18];

/// Whether outages of both sides ever fail the candidate. Each side is read at its own instant,
/// `jitter` seconds early or late.
fn shared_outages_fail(
    traffic: &mut Traffic,
    outages: u32,
    jitter: f64,
    candidate_is_bad: bool,
) -> bool {
    let looks = 60;
    let seconds = (looks + 3) * LOOK_SECONDS;
    let mut out = vec![false; seconds as usize];
    for _ in 0..outages {
        let start = (traffic.fraction() * f64::from(seconds)) as usize;
        let length = 3 + (traffic.fraction() * 60.0) as usize;
        out.iter_mut().skip(start).take(length).for_each(|second| *second = true);
    }
    let offsets = [(); 2].map(|()| traffic.fraction() * f64::from(LOOK_SECONDS));
    let rates = [if candidate_is_bad { 0.1 } else { 0.001 }, 0.001];
    let mut read_until = offsets.map(|offset| offset as usize);
    let mut test = ratio_test();
    (0..looks).any(|look| {
        let [candidate, stable] = [0, 1].map(|side| {
            let late = jitter * (2.0 * traffic.fraction() - 1.0);
            let until =
                (f64::from((look + 1) * LOOK_SECONDS) + offsets[side] + late).max(0.0) as usize;
            let second = |out: &bool| {
                traffic.requests(PER_SECOND[side], if *out { 1.0 } else { rates[side] }).unwrap()
            };
            let counts =
                out[read_until[side]..until].iter().map(second).fold(Counts::NONE, Counts::plus);
            read_until[side] = until;
            counts
        });
        test.add(candidate, Some(stable));
        test.rejects(Proportion::ONE_PERCENT)
    })
}

#[test]
fn outages_of_both_sides_blame_nobody_though_the_sides_are_read_at_different_instants() {
    for (outages, jitter) in [(1, 0.0), (1, 3.0), (4, 0.0), (4, 3.0)] {
        let alarms = runs_where(|traffic| shared_outages_fail(traffic, outages, jitter, false));
        assert_rare(
            &format!("false alarms, {outages} outages of both sides, jitter {jitter} s"),
            alarms,
        );
    }
}

#[test]
fn a_bad_candidate_is_found_between_outages_of_both_sides() {
    let caught = runs_where(|traffic| shared_outages_fail(traffic, 4, 3.0, true));
    assert_common("caught, 10 % against 0.1 % among outages of both sides", caught);
}

#[test]
fn bad_candidates_are_caught_by_the_stated_number_of_requests_and_rarely_passed() {
    for (rate, requests) in [(0.5, 300), (0.05, 300), (0.01, 4000)] {
        for stable in [0.0, 0.001] {
            let caught = runs_where(|traffic| {
                stage(traffic, rate, stable, 9, requests).unwrap() == JudgementKind::Fail
            });
            assert_common(
                &format!("caught, {rate} against {stable} by {requests} requests"),
                caught,
            );
        }
    }
    for (rate, requests) in [(0.5, 300), (0.05, 300), (0.01, 300), (0.01, 1000), (0.05, 1000)] {
        let passed = runs_where(|traffic| {
            stage(traffic, rate, 0.001, 9, requests).unwrap() == JudgementKind::Pass
        });
        assert_rare(&format!("passed, {rate} against 0.001 by {requests} requests"), passed);
    }
}

#[test]
fn a_candidate_equal_to_stable_passes_in_the_end_and_is_rarely_taken_back() {
    let mut taken_back = 0;
    let passed = runs_where(|traffic| match stage(traffic, 0.001, 0.001, 9, 4000).unwrap() {
        JudgementKind::Pass => true,
        JudgementKind::Fail => {
            taken_back += 1;
            false
        }
        JudgementKind::Undecided => false,
    });
    assert_rare("taken back, 0.1 % on both sides, 4,000 requests", taken_back);
    assert!(passed >= RUNS * 95 / 100, "{passed} of {RUNS}");
}

#[test]
fn a_candidate_that_turns_bad_after_ten_good_minutes_is_caught_within_two_more() {
    let caught = runs_where(|traffic| {
        let mut test = ratio_test();
        (0..48).any(|look| {
            let rate = if look < 40 { 0.001 } else { 0.2 };
            let stable = traffic.requests(270, 0.001).unwrap();
            test.add(traffic.requests(30, rate).unwrap(), Some(stable));
            look >= 40 && test.rejects(Proportion::ONE_PERCENT)
        })
    });
    assert_common("caught within two minutes, bad after ten", caught);
}

#[test]
fn a_share_at_the_limit_rarely_fails_it() {
    for limit in [0.001, 0.05, 0.5] {
        let alarms = runs_where(|traffic| {
            let mut test = LimitTest::new(Proportion::new(limit).unwrap());
            (0..LOOKS).any(|_| {
                test.add(traffic.requests(50, limit).unwrap());
                test.rejects(Proportion::ONE_PERCENT)
            })
        });
        assert_rare(&format!("false alarms, at the limit of {limit}"), alarms);
    }
}

#[test]
fn a_candidate_worse_than_stable_by_the_margin_rarely_passes() {
    for stable_rate in [0.0, 0.001, 0.03, 0.3] {
        let missed = runs_where(|traffic| {
            let rule =
                Acceptance::new(Proportion::ONE_PERCENT, Some(Proportion::ONE_PERCENT), None);
            let (mut candidate, mut stable) = (Counts::NONE, Counts::NONE);
            (0..LOOKS).any(|_| {
                candidate = candidate.plus(traffic.requests(60, stable_rate + 0.01).unwrap());
                stable = stable.plus(traffic.requests(540, stable_rate).unwrap());
                rule.passes(candidate, Some(stable))
            })
        });
        assert_rare(&format!("passed, worse than {stable_rate} by the margin"), missed);
    }
}
