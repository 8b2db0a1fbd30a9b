//! Values: is the candidate's distribution higher than stable's? The rank test of Mann and Whitney
//! (Wilcoxon), one-sided, with mid-ranks.

use super::counts::float;
use super::histogram::Histogram;
use super::special_functions::normal_tail;

/// Up to so many values on both sides together, the permutation distribution is computed exactly.
const EXACT_UP_TO: usize = 60;

/// What the ranks tell.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RankComparison {
    /// The probability of ranks at least as high on the candidate's side, where both sides come
    /// from one distribution.
    pub p_value: f64,
    /// The probability of superiority: that a value of the candidate is above one of stable's,
    /// ties counted half. 0.5 means no difference.
    pub effect: f64,
}

/// Why values can't be compared.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum RankTestError {
    /// A side without values.
    #[error("{side} has no values")]
    Empty {
        /// Candidate or stable.
        side: &'static str,
    },
    /// NaN or infinite.
    #[error("{side} has the invalid value {value}")]
    NotFinite {
        /// Candidate or stable.
        side: &'static str,
        value: f64,
    },
    /// Buckets that differ.
    #[error("the histograms have different bucket bounds")]
    DifferentBounds,
}

/// Compares single values. Exact, ties included, up to 60 values in all; beyond, by the normal
/// approximation with corrections for ties and continuity.
///
/// # Errors
///
/// [`RankTestError::Empty`] and [`RankTestError::NotFinite`].
pub fn compare_samples(candidate: &[f64], stable: &[f64]) -> Result<RankComparison, RankTestError> {
    for (side, values) in [("candidate", candidate), ("stable", stable)] {
        if values.is_empty() {
            return Err(RankTestError::Empty { side });
        }
        if let Some(value) = values.iter().copied().find(|value| !value.is_finite()) {
            return Err(RankTestError::NotFinite { side, value });
        }
    }
    let ties = ties(candidate, stable);
    let mut comparison = compare_ties(&ties);
    if candidate.len() + stable.len() <= EXACT_UP_TO {
        comparison.p_value = exact_p_value(&ties);
    }
    Ok(comparison)
}

/// Compares requests by bucket: those of one bucket are ties. By the normal approximation.
///
/// # Errors
///
/// [`RankTestError::Empty`] and [`RankTestError::DifferentBounds`].
pub fn compare_histograms(
    candidate: &Histogram,
    stable: &Histogram,
) -> Result<RankComparison, RankTestError> {
    if candidate.bounds() != stable.bounds() {
        return Err(RankTestError::DifferentBounds);
    }
    for (side, histogram) in [("candidate", candidate), ("stable", stable)] {
        if histogram.total() == 0 {
            return Err(RankTestError::Empty { side });
        }
    }
    let ties = candidate
        .counts()
        .iter()
        .zip(stable.counts())
        .map(|(candidate, stable)| Tie { candidate: *candidate, stable: *stable });
    Ok(compare_ties(&ties.collect::<Vec<_>>()))
}

/// Values that are equal: how many each side has.
#[derive(Debug, Clone, Copy, Default)]
struct Tie {
    candidate: u64,
    stable: u64,
}

/// The groups of equal values, from the lowest.
fn ties(candidate: &[f64], stable: &[f64]) -> Vec<Tie> {
    let of = |values: &[f64], side: Tie| {
        values.iter().map(|value| (*value + 0.0, side)).collect::<Vec<_>>()
    };
    let mut all = of(candidate, Tie { candidate: 1, stable: 0 });
    all.extend(of(stable, Tie { candidate: 0, stable: 1 }));
    all.sort_by(|(a, _), (b, _)| a.total_cmp(b));
    all.chunk_by(|(a, _), (b, _)| a.total_cmp(b).is_eq())
        .map(|equal| {
            equal.iter().fold(Tie::default(), |sum, (_, one)| Tie {
                candidate: sum.candidate + one.candidate,
                stable: sum.stable + one.stable,
            })
        })
        .collect()
}

/// Effect size and approximate p-value. Both sides have values.
fn compare_ties(ties: &[Tie]) -> RankComparison {
    let (mut above, mut below_stable, mut candidates, mut cubes) = (0.0, 0.0, 0.0, 0.0);
    for tie in ties {
        let (candidate, stable) = (float(tie.candidate), float(tie.stable));
        above += candidate * (below_stable + stable / 2.0);
        below_stable += stable;
        candidates += candidate;
        let size = candidate + stable;
        cubes += size * (size * size - 1.0);
    }
    let pairs = candidates * below_stable;
    let all = candidates + below_stable;
    let variance = pairs / 12.0 * (all + 1.0 - cubes / (all * (all - 1.0)));
    // All values equal: nothing can be told apart.
    let p_value = if variance > 0.0 {
        normal_tail((above - pairs / 2.0 - 0.5) / variance.sqrt())
    } else {
        1.0
    };
    RankComparison { p_value, effect: (above / pairs).clamp(0.0, 1.0) }
}

/// The share of all ways to deal the values to the two sides that give the candidate a rank sum at
/// least as high as it has.
fn exact_p_value(ties: &[Tie]) -> f64 {
    // Ranks are doubled, so that mid-ranks are whole numbers.
    let mut doubled_ranks = Vec::new();
    let (mut candidate_sum, mut candidates, mut before) = (0_usize, 0_usize, 0_usize);
    for tie in ties {
        let [candidate, stable] =
            [tie.candidate, tie.stable].map(|count| usize::try_from(count).unwrap_or(usize::MAX));
        let size = candidate.saturating_add(stable);
        let rank = 2 * before + size + 1;
        doubled_ranks.extend(std::iter::repeat_n(rank, size));
        candidate_sum += candidate * rank;
        candidates += candidate;
        before += size;
    }
    let highest: usize = doubled_ranks.iter().sum();
    // ways[taken][sum]: how many choices of `taken` values have that sum of doubled ranks.
    let mut ways = vec![vec![0.0_f64; highest + 1]; candidates + 1];
    if let Some(nothing_taken) = ways.first_mut().and_then(|row| row.first_mut()) {
        *nothing_taken = 1.0;
    }
    for rank in doubled_ranks {
        for taken in (1..=candidates).rev() {
            let (fewer, more) = ways.split_at_mut(taken);
            if let (Some(fewer), Some(more)) = (fewer.last(), more.first_mut()) {
                for (ways, added) in more.iter_mut().skip(rank).zip(fewer) {
                    *ways += added;
                }
            }
        }
    }
    let row = ways.last().map(Vec::as_slice).unwrap_or_default();
    let all: f64 = row.iter().sum();
    let as_high: f64 = row.iter().skip(candidate_sum).sum();
    (as_high / all).min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::statistics::BucketBounds;
    use proptest::prelude::*;

    #[test]
    fn exact_p_values_agree_with_scipy() {
        let nothing = [0.0; 10];
        let series = [0.0, 0.048, 0.0, 0.18, 0.089, 0.0, 0.098, 0.035, 0.0, 0.0];
        let jumped = [100.0, 100.0, 100.0, 100.0, 100.0, 100.0, 100.0, 1.0, 1.0, 1.0];
        // scipy.stats.permutation_test((x, y), U statistic of mannwhitneyu,
        // permutation_type="independent", alternative="greater", n_resamples=inf)
        let cases: [(&[f64], &[f64], f64, f64); 4] = [
            (&series, &nothing, 75.0, 0.016_253_869_969_040_248),
            (&jumped, &[1.0; 10], 85.0, 0.001_547_987_616_099_071_3),
            (&[0.0, 1.0, 2.0, 1.0, 0.0, 0.0], &nothing[..6], 27.0, 0.090_909_090_909_090_91),
            (
                &[3.0, 1.0, 4.0, 1.0, 5.0, 9.0, 2.0, 6.0],
                &[2.0, 7.0, 1.0, 8.0, 2.0, 8.0, 1.0],
                28.0,
                0.509_090_909_090_909,
            ),
        ];
        for (candidate, stable, u, p_value) in cases {
            let got = compare_samples(candidate, stable).unwrap();
            assert!((got.p_value - p_value).abs() < 1e-12, "{got:?} against {p_value}");
            assert!((got.effect * float((candidate.len() * stable.len()) as u64) - u).abs() < 1e-9);
        }
        // scipy.stats.mannwhitneyu(x, y, alternative="greater", method="exact"): 30 values a side
        // without ties
        let [candidate, stable] =
            [0.3, -4.1].map(|offset| (0..30).map(|i| f64::from(i) + offset).collect::<Vec<_>>());
        let got = compare_samples(&candidate, &stable).unwrap();
        assert!((got.p_value - 0.032_699_557_356_639_45).abs() < 1e-12, "{got:?}");
    }

    #[test]
    fn approximate_p_values_agree_with_scipy() {
        // scipy.stats.mannwhitneyu(x, y, alternative="greater", method="asymptotic")
        let candidate: Vec<f64> = (0..50).map(|i| f64::from(i * 37 % 50 + 5)).collect();
        let stable: Vec<f64> = (0..45).map(|i| f64::from(i * 53 % 47)).collect();
        let got = compare_samples(&candidate, &stable).unwrap();
        assert!((got.p_value - 0.010_521_842_801_164_6).abs() < 1e-12, "{got:?}");

        let bounds = BucketBounds::new(&[1.0, 2.0, 3.0, 4.0, 5.0]).unwrap();
        let candidate = bounds.histogram(vec![120, 300, 250, 80, 30, 5]).unwrap();
        let stable = bounds.histogram(vec![1500, 3000, 1800, 400, 100, 20]).unwrap();
        let got = compare_histograms(&candidate, &stable).unwrap();
        assert!((got.p_value / 1.066_719_264_873_035_4e-14 - 1.0).abs() < 1e-6, "{got:?}");
        assert!((got.effect - 3_096_550.0 / (785.0 * 6820.0)).abs() < 1e-12);
    }

    #[test]
    fn values_that_are_all_equal_show_no_difference() {
        for n in [10, 100] {
            let values = vec![0.0; n];
            assert_eq!(
                compare_samples(&values, &values),
                Ok(RankComparison { p_value: 1.0, effect: 0.5 })
            );
        }
        assert!((compare_samples(&[0.0], &[-0.0]).unwrap().effect - 0.5).abs() < 1e-12);
    }

    #[test]
    fn missing_and_meaningless_values_are_refused() {
        assert_eq!(compare_samples(&[], &[1.0]), Err(RankTestError::Empty { side: "candidate" }));
        assert!(matches!(
            compare_samples(&[1.0], &[f64::NAN]),
            Err(RankTestError::NotFinite { side: "stable", .. })
        ));
        let bounds = BucketBounds::new(&[1.0]).unwrap();
        assert_eq!(
            compare_histograms(&bounds.empty(), &bounds.empty()),
            Err(RankTestError::Empty { side: "candidate" })
        );
    }

    proptest! {
        #[test]
        fn comparisons_are_proportions_and_the_two_sides_mirror_each_other(
            candidate in prop::collection::vec(-5_i8..5, 1..35),
            stable in prop::collection::vec(-5_i8..5, 1..35),
        ) {
            let [candidate, stable] = [candidate, stable]
                .map(|values| values.into_iter().map(f64::from).collect::<Vec<_>>());
            let there = compare_samples(&candidate, &stable).unwrap();
            let back = compare_samples(&stable, &candidate).unwrap();
            for share in [there.p_value, there.effect] {
                prop_assert!((0.0..=1.0).contains(&share));
            }
            prop_assert!((there.effect + back.effect - 1.0).abs() < 1e-9);
            // Both tails hold what was seen.
            prop_assert!(there.p_value + back.p_value >= 0.999, "{there:?} {back:?}");
        }

        #[test]
        fn a_higher_candidate_never_lowers_the_effect(
            values in prop::collection::vec(-5_i8..5, 2..30),
            by in 1_i8..4,
        ) {
            let values: Vec<f64> = values.into_iter().map(f64::from).collect();
            let (candidate, stable) = values.split_at(values.len() / 2);
            let higher: Vec<f64> = candidate.iter().map(|value| value + f64::from(by)).collect();
            let before = compare_samples(candidate, stable).unwrap();
            let after = compare_samples(&higher, stable).unwrap();
            prop_assert!(after.effect >= before.effect - 1e-12);
        }
    }
}
