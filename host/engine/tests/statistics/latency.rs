//! Latency histograms: false alarms, power and misses.

use crate::RUNS;
use crate::traffic::Traffic;
use crate::{assert_common, assert_rare, runs_where};
use agente_engine::statistics::{
    BucketBounds, Histogram, JudgementKind, LatencyTest, LatencyTestOptions, Multiple, Proportion,
    SequentialRankOptions, SequentialRankTest,
};

/// The customary bounds of Prometheus' clients, in seconds.
const BOUNDS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

fn bounds() -> BucketBounds {
    BucketBounds::new(&BOUNDS).unwrap()
}

/// Requests whose times have a median of 50 ms times `slower` and a heavy tail: log-logistic, 99 %
/// within 0.5 s times `slower`.
fn requests(traffic: &mut Traffic, total: u64, slower: f64) -> Histogram {
    let mut counts = vec![0; BOUNDS.len() + 1];
    for _ in 0..total {
        let fraction = traffic.fraction();
        let seconds = 0.05 * slower * (fraction / (1.0 - fraction)).sqrt();
        counts[BOUNDS.partition_point(|bound| *bound < seconds)] += 1;
    }
    bounds().histogram(counts).unwrap()
}

fn options() -> LatencyTestOptions {
    LatencyTestOptions {
        false_alarm: Proportion::ONE_PERCENT,
        missed: Proportion::ONE_PERCENT,
        quantile: Proportion::new(0.95).unwrap(),
        max_seconds: Some(0.5),
        max_ratio_to_stable: Some(Multiple::ONE_AND_A_HALF),
        smallest_effect: Some(Proportion::MEDIUM_EFFECT),
    }
}

/// Looks until decided, both sides slower by what `slower` gives for the look.
fn decided(
    traffic: &mut Traffic,
    options: LatencyTestOptions,
    looks: u32,
    slower: impl Fn(u32) -> [f64; 2],
) -> JudgementKind {
    let mut test = LatencyTest::new(&bounds(), options).unwrap();
    for look in 0..looks {
        let [candidate, stable] = slower(look);
        let stable = requests(traffic, 90, stable);
        test.add(&requests(traffic, 30, candidate), Some(&stable)).unwrap();
        let kind = test.kind();
        if kind != JudgementKind::Undecided {
            return kind;
        }
    }
    JudgementKind::Undecided
}

#[test]
fn a_candidate_as_fast_as_stable_passes_and_rarely_fails() {
    let mut failed = 0;
    let passed = runs_where(|traffic| {
        let kind = decided(traffic, options(), 60, |_| [1.0, 1.0]);
        failed += u32::from(kind == JudgementKind::Fail);
        kind == JudgementKind::Pass
    });
    assert_rare("false alarms, latency equal", failed);
    assert!(passed >= RUNS * 95 / 100, "{passed} of {RUNS}");
}

#[test]
fn each_rule_catches_the_slowness_that_it_is_for() {
    let none = LatencyTestOptions {
        max_seconds: None,
        max_ratio_to_stable: None,
        smallest_effect: None,
        ..options()
    };
    for (rule, slower, options) in [
        ("longest time", 5.0, LatencyTestOptions { max_seconds: options().max_seconds, ..none }),
        (
            "ratio",
            10.0,
            LatencyTestOptions { max_ratio_to_stable: options().max_ratio_to_stable, ..none },
        ),
        ("ranks", 3.0, LatencyTestOptions { smallest_effect: options().smallest_effect, ..none }),
    ] {
        // Good for ten looks, by which stable's quantile is known, then slower; buckets are coarse,
        // so the ratio of 1.5 is tested at 1 s, five times stable's quantile.
        let caught = runs_where(|traffic| {
            let mut test = LatencyTest::new(&bounds(), options).unwrap();
            (0..50).any(|look| {
                let stable = requests(traffic, 90, 1.0);
                test.add(
                    &requests(traffic, 30, if look < 10 { 1.0 } else { slower }),
                    Some(&stable),
                )
                .unwrap();
                test.kind() == JudgementKind::Fail
            })
        });
        assert_common(&format!("caught, by the rule of {rule}"), caught);
    }
}

#[test]
fn what_slows_both_sides_down_blames_the_candidate_only_against_the_longest_time() {
    let comparing = LatencyTestOptions { max_seconds: None, ..options() };
    // The candidate is read first: it shows the slowness one look before stable does.
    let slow = |look: u32| if (20..40).contains(&look) { 8.0 } else { 1.0 };
    let failed = runs_where(|traffic| {
        let mut test = LatencyTest::new(&bounds(), comparing).unwrap();
        (0..60).any(|look| {
            let stable = requests(traffic, 90, slow(look));
            test.add(&requests(traffic, 30, slow(look + 1)), Some(&stable)).unwrap();
            test.kind() == JudgementKind::Fail
        })
    });
    assert_rare("false alarms, both sides slow for a while", failed);
    let limited =
        LatencyTestOptions { max_ratio_to_stable: None, smallest_effect: None, ..options() };
    let failed =
        runs_where(|traffic| decided(traffic, limited, 60, |_| [8.0, 8.0]) == JudgementKind::Fail);
    assert_common("caught, both sides beyond the longest time", failed);
}

#[test]
fn a_candidate_slower_by_an_effect_that_matters_is_rarely_accepted() {
    let options = SequentialRankOptions {
        false_alarm: Proportion::ONE_PERCENT,
        missed: Proportion::ONE_PERCENT,
        smallest_effect: Proportion::MEDIUM_EFFECT,
    };
    // In these buckets, the probability of superiority is 0.6401 where one side is slower by this
    // factor.
    let slower = 1.584;
    let accepted = runs_where(|traffic| {
        let mut test = SequentialRankTest::new(&bounds(), options);
        (0..80).any(|_| {
            let stable = requests(traffic, 90, 1.0);
            test.add(&requests(traffic, 30, slower), &stable).unwrap();
            test.accepts()
        })
    });
    assert_rare("accepted, at the smallest effect", accepted);
}
