//! The rank test over histograms that grow, looked at again and again.

use super::counts::float;
use super::histogram::{BucketBounds, Histogram, HistogramError};
use super::parameters::Proportion;
use super::rank_test::{RankComparison, compare_histograms};
use super::special_functions::normal_tail;
use std::f64::consts::PI;

/// The requests that the smaller side has at the first look: enough for the normal approximation.
const FIRST_LOOK: u64 = 30;
/// Looks in a row that must agree on a fail.
const LOOKS_TO_FAIL: u32 = 2;

/// How histograms are compared over time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SequentialRankOptions {
    /// The probability of a false alarm, over all looks.
    pub false_alarm: Proportion,
    /// The probability of accepting a candidate whose effect is the smallest one that matters or
    /// more, over all looks.
    pub missed: Proportion,
    /// The least probability of superiority that matters.
    pub smallest_effect: Proportion,
}

/// A rank test with effect size, at looks whose number of requests grows by half each time; the
/// `j`-th look spends 6/(π²j²) of the error rates, which sum to 1.
///
/// It fails when two looks in a row find the candidate higher, by an effect that matters. As the
/// sides are read at different instants, each look compares the candidate with stable's histogram
/// of the same time, of one stratum earlier and of one later, and takes what suits the candidate
/// best for a fail and worst for being accepted. What only one side has counted waits for the
/// other's, so that strata are those of the source however often it is looked at. Requests are
/// supposed to be independent.
#[derive(Debug, Clone)]
pub struct SequentialRankTest {
    options: SequentialRankOptions,
    candidate: Histogram,
    stable: [Histogram; 3],
    /// What both sides have counted since the last stratum.
    open: [Histogram; 2],
    pending: Option<Histogram>,
    looks: u32,
    next_look: u64,
    agreeing: u32,
    failed: bool,
    accepted: bool,
    latest: Option<RankComparison>,
}

impl SequentialRankTest {
    /// Builds the test.
    pub fn new(bounds: &BucketBounds, options: SequentialRankOptions) -> SequentialRankTest {
        let empty = bounds.empty();
        SequentialRankTest {
            options,
            candidate: empty.clone(),
            stable: [empty.clone(), empty.clone(), empty.clone()],
            open: [empty.clone(), empty],
            pending: None,
            looks: 0,
            next_look: FIRST_LOOK,
            agreeing: 0,
            failed: false,
            accepted: false,
            latest: None,
        }
    }

    /// Takes what one look adds.
    ///
    /// # Errors
    ///
    /// [`HistogramError::DifferentBounds`]; nothing is taken then.
    pub fn add(&mut self, candidate: &Histogram, stable: &Histogram) -> Result<(), HistogramError> {
        if candidate.bounds() != self.candidate.bounds()
            || stable.bounds() != self.candidate.bounds()
        {
            return Err(HistogramError::DifferentBounds);
        }
        for (open, counted) in self.open.iter_mut().zip([candidate, stable]) {
            open.add(counted)?;
        }
        if self.open.iter().any(|open| open.total() == 0) {
            return Ok(());
        }
        let empty = candidate.bounds().empty();
        let [candidate, stable] = std::mem::replace(&mut self.open, [empty.clone(), empty]);
        if let Some(settled) = self.pending.replace(candidate) {
            self.candidate.add(&settled)?;
        }
        let [earlier, same, later] = &mut self.stable;
        std::mem::swap(earlier, same);
        same.clone_from(later);
        later.add(&stable)?;
        let requests = self.candidate.total().min(same.total());
        if requests >= self.next_look {
            self.next_look = requests.saturating_mul(3).div_ceil(2);
            self.look();
        }
        Ok(())
    }

    /// Begins a new stage: at another weight the two sides' requests mix anew over time, so the
    /// histograms start afresh. The looks go on counting.
    pub fn begin_stage(&mut self) {
        let looks = self.looks;
        let failed = self.failed;
        *self = SequentialRankTest {
            looks,
            failed,
            ..SequentialRankTest::new(self.candidate.bounds(), self.options)
        };
    }

    fn look(&mut self) {
        self.looks = self.looks.saturating_add(1);
        let spent = 6.0 / (PI * f64::from(self.looks)).powi(2);
        let compared = || self.stable.iter().filter(|stable| stable.total() > 0);
        let requests = compared().map(Histogram::total).fold(self.candidate.total(), u64::min);
        let comparisons: Vec<RankComparison> = compared()
            .filter_map(|stable| compare_histograms(&self.candidate, stable).ok())
            .collect();
        let Some(mildest) =
            comparisons.iter().copied().reduce(|a, b| if b.p_value > a.p_value { b } else { a })
        else {
            return;
        };
        let least_effect =
            comparisons.iter().map(|comparison| comparison.effect).fold(1.0, f64::min);
        let greatest_effect =
            comparisons.iter().map(|comparison| comparison.effect).fold(0.0, f64::max);
        let smallest = self.options.smallest_effect.value();

        let higher =
            mildest.p_value <= self.options.false_alarm.value() * spent && least_effect >= smallest;
        self.agreeing = if higher { self.agreeing + 1 } else { 0 };
        self.failed |= self.agreeing >= LOOKS_TO_FAIL;
        // The estimate's variance is at most this, whatever the two distributions are.
        let deviation = (greatest_effect * (1.0 - greatest_effect) / float(requests)).sqrt();
        self.accepted = normal_tail((smallest - greatest_effect) / deviation)
            <= self.options.missed.value() * spent;
        self.latest = Some(mildest);
    }

    /// Whether the candidate was found higher.
    pub fn fails(&self) -> bool {
        self.failed
    }

    /// Whether an effect that matters could be excluded at the latest look.
    pub fn accepts(&self) -> bool {
        self.accepted && !self.failed
    }

    /// What the latest look saw; none before the first.
    pub fn latest(&self) -> Option<RankComparison> {
        self.latest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sides_that_are_never_read_in_the_same_look_are_compared_as_if_they_were() {
        let bounds = BucketBounds::new(&[0.1, 1.0]).unwrap();
        let options = SequentialRankOptions {
            false_alarm: Proportion::ONE_PERCENT,
            missed: Proportion::ONE_PERCENT,
            smallest_effect: Proportion::new(0.64).unwrap(),
        };
        let [mut apart, mut together] =
            [SequentialRankTest::new(&bounds, options), SequentialRankTest::new(&bounds, options)];
        let none = bounds.empty();
        for strata in 1..=12 {
            // Both have slow phases, of which the candidate's is read first.
            let slow = |stratum: u64| {
                bounds
                    .histogram(if stratum.is_multiple_of(3) {
                        vec![0, 40, 0]
                    } else {
                        vec![40, 0, 0]
                    })
                    .unwrap()
            };
            let (candidate, stable) = (slow(strata), slow(strata - 1));
            together.add(&candidate, &stable).unwrap();
            apart.add(&candidate, &none).unwrap();
            apart.add(&none, &none).unwrap();
            apart.add(&none, &stable).unwrap();
            assert_eq!(
                (apart.latest(), apart.fails(), apart.accepts()),
                (together.latest(), together.fails(), together.accepts()),
                "{strata}"
            );
        }
        assert!(together.latest().is_some() && !together.fails());
    }
}
