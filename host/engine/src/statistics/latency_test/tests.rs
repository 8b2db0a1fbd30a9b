use super::*;
use proptest::prelude::*;

fn bounds() -> BucketBounds {
    BucketBounds::new(&[0.1, 0.5, 1.0]).unwrap()
}

fn options() -> LatencyTestOptions {
    LatencyTestOptions {
        false_alarm: Proportion::ONE_PERCENT,
        missed: Proportion::ONE_PERCENT,
        quantile: Proportion::new(0.9).unwrap(),
        max_seconds: Some(0.4),
        max_ratio_to_stable: None,
        smallest_effect: None,
    }
}

#[test]
fn rules_that_make_no_sense_are_refused() {
    let refused = |options| LatencyTest::new(&bounds(), options).err();
    assert_eq!(
        refused(LatencyTestOptions { max_seconds: None, ..options() }),
        Some(LatencyTestError::NoRule)
    );
    assert_eq!(
        refused(LatencyTestOptions { max_seconds: Some(0.0), ..options() }),
        Some(LatencyTestError::Time { seconds: 0.0 })
    );
    let above = HistogramError::NoBound { wanted: 3.0, top: 1.0 };
    assert_eq!(
        refused(LatencyTestOptions { max_seconds: Some(3.0), ..options() }),
        Some(LatencyTestError::Histogram(above))
    );
    let mut test = LatencyTest::new(&bounds(), options()).unwrap();
    let other = BucketBounds::new(&[0.2]).unwrap().empty();
    assert_eq!(
        test.add(&bounds().empty(), Some(&other)),
        Err(LatencyTestError::Histogram(HistogramError::DifferentBounds))
    );
}

#[test]
fn a_tail_beyond_the_longest_time_fails_and_one_within_passes() {
    let [mut slow, mut fast] = [(); 2].map(|()| LatencyTest::new(&bounds(), options()).unwrap());
    slow.add(&bounds().histogram(vec![10, 20, 45, 5]).unwrap(), None).unwrap();
    fast.add(&bounds().histogram(vec![180, 20, 0, 0]).unwrap(), None).unwrap();
    assert_eq!(slow.judge().kind, JudgementKind::Fail);
    let shown = slow.judge().to_string();
    assert!(
        shown.starts_with(
            "candidate's 0.9 quantile 0.967 s; maximum: slower than 0.5 s 50 of 80 (62.5 \
             %)"
        ),
        "{shown}"
    );
    assert_eq!(fast.judge().kind, JudgementKind::Pass);
    assert_eq!(fast.judge().requests_to_pass, Some(0));
    fast.begin_stage();
    assert_eq!(fast.judge().kind, JudgementKind::Undecided);
}

#[test]
fn without_enough_of_stable_the_ratio_neither_fails_nor_passes() {
    let comparing = LatencyTestOptions {
        max_seconds: None,
        max_ratio_to_stable: Some(Multiple::ONE_AND_A_HALF),
        ..options()
    };
    let mut test = LatencyTest::new(&bounds(), comparing).unwrap();
    for _ in 0..20 {
        test.add(
            &bounds().histogram(vec![0, 0, 0, 50]).unwrap(),
            Some(&bounds().histogram(vec![1, 0, 0, 0]).unwrap()),
        )
        .unwrap();
    }
    let judgement = test.judge();
    assert_eq!(judgement.kind, JudgementKind::Undecided);
    assert_eq!(judgement.ratio.unwrap().bound_seconds, None);
    assert!(
        judgement.to_string().contains("stable's quantile is not known precisely enough yet"),
        "{judgement}"
    );
    assert_eq!(judgement.candidate, QuantileEstimate::AboveTop { seconds: 1.0 });
}

/// What one side's histogram grew by.
fn buckets() -> impl Strategy<Value = Vec<u64>> {
    prop::collection::vec(0_u64..300, 4)
}

proptest! {
    #[test]
    fn judgements_hold_numbers_that_make_sense(
        strata in prop::collection::vec((buckets(), prop::option::of(buckets())), 0..20),
    ) {
        let all = LatencyTestOptions {
            max_ratio_to_stable: Some(Multiple::ONE_AND_A_HALF),
            smallest_effect: Some(Proportion::MEDIUM_EFFECT),
            ..options()
        };
        let mut test = LatencyTest::new(&bounds(), all).unwrap();
        for (candidate, stable) in strata {
            let stable = stable.map(|stable| bounds().histogram(stable).unwrap());
            test.add(&bounds().histogram(candidate).unwrap(), stable.as_ref()).unwrap();
            let judgement = test.judge();
            for tail in [judgement.longest, judgement.ratio].into_iter().flatten() {
                for share in [tail.p_value, tail.at_most, tail.needed] {
                    prop_assert!((0.0..=1.0).contains(&share), "{judgement:?}");
                }
            }
            if let Some(ranks) = judgement.ranks {
                for share in [ranks.p_value, ranks.effect] {
                    prop_assert!((0.0..=1.0).contains(&share), "{judgement:?}");
                }
            }
            prop_assert!(!judgement.to_string().contains("NaN"));
        }
    }

    #[test]
    fn quantiles_grow_with_the_share(
        counts in prop::collection::vec(0_u64..100, 3),
        low in 0.01..0.5,
        more in 0.0..0.49,
    ) {
        let counts = [counts, vec![0]].concat();
        let histogram = bounds().histogram(counts).unwrap();
        let seconds = |share| match histogram.quantile(Proportion::new(share).unwrap()) {
            QuantileEstimate::Within { seconds } => seconds,
            QuantileEstimate::Empty | QuantileEstimate::AboveTop { .. } => 0.0,
        };
        prop_assert!(seconds(low) <= seconds(low + more) + 1e-12);
    }
}
