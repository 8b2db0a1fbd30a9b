//! The judgement of a candidate by its latency, look after look.

use super::acceptance::{Acceptance, is_below};
use super::counts::Counts;
use super::error_test::{JudgementKind, Percent, Shown};
use super::histogram::{BucketBounds, Histogram, HistogramError, QuantileEstimate};
use super::limit_test::LimitTest;
use super::parameters::{Multiple, Proportion};
use super::rank_test::RankComparison;
use super::ratio_test::RatioTest;
use super::sequential_rank::{SequentialRankOptions, SequentialRankTest};
use std::fmt;

/// What a candidate's latency is judged by. At least one of the three rules must be there.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LatencyTestOptions {
    /// The probability that a candidate within all rules ever fails.
    pub false_alarm: Proportion,
    /// The probability, at each stage, that a candidate beyond a rule passes it.
    pub missed: Proportion,
    /// The quantile that the first two rules are about.
    pub quantile: Proportion,
    /// The quantile must be at most this, in seconds. Tested at the first bucket bound at or above
    /// it.
    pub max_seconds: Option<f64>,
    /// The quantile must be at most this many times stable's.
    pub max_ratio_to_stable: Option<Multiple>,
    /// A request of the candidate must not be slower than one of stable's with this probability or
    /// more, ties counted half.
    pub smallest_effect: Option<Proportion>,
}

/// Why a latency test can't be built or fed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum LatencyTestError {
    /// No rule was given.
    #[error("a latency test needs a maximum, a ratio to stable or a smallest effect")]
    NoRule,
    /// The longest time is not a positive number.
    #[error("{seconds} s is not a valid maximum latency")]
    Time {
        /// What was given.
        seconds: f64,
    },
    /// The histogram does not fit.
    #[error("the histogram does not fit the test")]
    Histogram(#[from] HistogramError),
}

/// Judges a candidate's latency: a quantile against a longest time and against stable's quantile,
/// and the whole distribution against stable's.
#[derive(Debug, Clone)]
pub struct LatencyTest {
    options: LatencyTestOptions,
    each: Proportion,
    acceptance: Acceptance,
    longest: Option<LongestTime>,
    ratio: Option<RatioToStable>,
    ranks: Option<SequentialRankTest>,
    candidate: Histogram,
    stable: Option<Histogram>,
}

/// The share of requests that are slower than the longest time is at most what the quantile leaves.
#[derive(Debug, Clone)]
struct LongestTime {
    bound: f64,
    test: LimitTest,
    slow: Counts,
}

/// The same for a time that stable's *earlier* requests give. A fail needs both that the candidate
/// has too many slow requests and that it has more of them than stable has at the same time, so
/// that what slows both down blames nobody.
#[derive(Debug, Clone)]
struct RatioToStable {
    ratio: Multiple,
    test: LimitTest,
    worse: RatioTest,
    /// Stable's requests since the beginning.
    before: Histogram,
    bound: Option<f64>,
    slow: Counts,
}

/// What is known of the slow requests under one rule.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tail {
    /// Requests slower than this count as slow, in seconds; none while stable's quantile is not
    /// known well enough.
    pub bound_seconds: Option<f64>,
    /// The candidate's slow requests in this stage.
    pub slow: Counts,
    /// At most the probability of such evidence, where the rule is kept.
    pub p_value: f64,
    /// The candidate's share of slow requests is below this, but for the miss rate.
    pub at_most: f64,
    /// It must be below this: what the quantile leaves.
    pub needed: f64,
    /// Whether it is.
    pub passes: bool,
}

/// A judgement of latency, with the numbers it rests on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LatencyJudgement {
    /// Fail, pass or undecided.
    pub kind: JudgementKind,
    /// The quantile that is judged.
    pub quantile: Proportion,
    /// The candidate's quantile in this stage, as estimated from its buckets.
    pub candidate: QuantileEstimate,
    /// Stable's in this stage; none where it was never told.
    pub stable: Option<QuantileEstimate>,
    /// The rule of the longest time.
    pub longest: Option<Tail>,
    /// The rule of the ratio to stable.
    pub ratio: Option<Tail>,
    /// The latest look at the ranks.
    pub ranks: Option<RankComparison>,
    /// The p-value at or below which the longest time or the ratio fails the candidate.
    pub fails_at: f64,
    /// How many more requests of the candidate the first two rules would pass after, if the shares
    /// stay; none where they never would.
    pub requests_to_pass: Option<u64>,
}

impl LatencyTest {
    /// Builds the test for histograms with these bounds.
    ///
    /// # Errors
    ///
    /// [`LatencyTestError`]: no rule, a time that makes no sense, or one above all bounds, where it could never fire.
    pub fn new(
        bounds: &BucketBounds,
        options: LatencyTestOptions,
    ) -> Result<LatencyTest, LatencyTestError> {
        let rules = [
            options.max_seconds.is_some(),
            options.max_ratio_to_stable.is_some(),
            options.smallest_effect.is_some(),
        ];
        let parts = rules.iter().map(|rule| u32::from(*rule)).sum();
        if parts == 0 {
            return Err(LatencyTestError::NoRule);
        }
        let each = options.false_alarm.split(parts);
        let left = options.quantile.rest();
        let longest = match options.max_seconds {
            Some(seconds) if seconds > 0.0 && seconds.is_finite() => Some(LongestTime {
                bound: bounds.at_or_above(seconds)?,
                test: LimitTest::new(left),
                slow: Counts::NONE,
            }),
            Some(seconds) => return Err(LatencyTestError::Time { seconds }),
            None => None,
        };
        let ratio = options.max_ratio_to_stable.map(|ratio| RatioToStable {
            ratio,
            test: LimitTest::new(left),
            worse: RatioTest::new(Multiple::ONE),
            before: bounds.empty(),
            bound: None,
            slow: Counts::NONE,
        });
        let ranks = options.smallest_effect.map(|smallest_effect| {
            SequentialRankTest::new(
                bounds,
                SequentialRankOptions {
                    false_alarm: each,
                    missed: options.missed,
                    smallest_effect,
                },
            )
        });
        let acceptance = Acceptance::new(options.missed, None, Some(left));
        Ok(LatencyTest {
            options,
            each,
            acceptance,
            longest,
            ratio,
            ranks,
            candidate: bounds.empty(),
            stable: None,
        })
    }

    /// Takes what one look adds: the requests of both sides since the look before, stable's where
    /// they are known.
    ///
    /// # Errors
    ///
    /// [`LatencyTestError::Histogram`] for other bounds than the test's; nothing is taken then.
    pub fn add(
        &mut self,
        candidate: &Histogram,
        stable: Option<&Histogram>,
    ) -> Result<(), LatencyTestError> {
        if [Some(candidate), stable]
            .into_iter()
            .flatten()
            .any(|histogram| histogram.bounds() != self.candidate.bounds())
        {
            return Err(HistogramError::DifferentBounds.into());
        }
        self.candidate.add(candidate)?;
        if let Some(longest) = &mut self.longest {
            let slow = candidate.slower_than(longest.bound);
            longest.test.add(slow);
            longest.slow = longest.slow.plus(slow);
        }
        if let Some(stable) = stable {
            self.stable.get_or_insert_with(|| stable.bounds().empty()).add(stable)?;
            if let Some(ratio) = &mut self.ratio {
                ratio.add(candidate, stable, self.options.quantile, self.each)?;
            }
            if let Some(ranks) = &mut self.ranks {
                ranks.add(candidate, stable)?;
            }
        }
        Ok(())
    }

    /// Begins a new stage, when the weights have changed: a pass must be earned anew. Evidence
    /// against the candidate is kept.
    pub fn begin_stage(&mut self) {
        self.candidate = self.candidate.bounds().empty();
        self.stable = None;
        if let Some(longest) = &mut self.longest {
            longest.slow = Counts::NONE;
        }
        if let Some(ratio) = &mut self.ratio {
            ratio.slow = Counts::NONE;
        }
        if let Some(ranks) = &mut self.ranks {
            ranks.begin_stage();
        }
    }

    /// The answer alone. May be asked at any time, any number of times.
    pub fn kind(&self) -> JudgementKind {
        let fails = self.longest.as_ref().is_some_and(|rule| rule.test.rejects(self.each))
            || self.ratio.as_ref().is_some_and(|rule| rule.rejects(self.each))
            || self.ranks.as_ref().is_some_and(SequentialRankTest::fails);
        let slow = [
            self.longest.as_ref().map(|rule| rule.slow),
            self.ratio.as_ref().map(|rule| rule.slow),
        ];
        let accepted = || slow.into_iter().flatten().all(|slow| self.acceptance.passes(slow, None));
        if fails {
            JudgementKind::Fail
        } else if accepted() && self.ranks.as_ref().is_none_or(SequentialRankTest::accepts) {
            JudgementKind::Pass
        } else {
            JudgementKind::Undecided
        }
    }

    /// The answer and the numbers behind it.
    pub fn judge(&self) -> LatencyJudgement {
        let tail = |bound_seconds, slow, p_value| {
            let accepted = self.acceptance.judge(slow, None);
            Tail {
                bound_seconds,
                slow,
                p_value,
                at_most: accepted.at_most,
                needed: accepted.needed,
                passes: accepted.passes,
            }
        };
        let longest = self
            .longest
            .as_ref()
            .map(|rule| tail(Some(rule.bound), rule.slow, rule.test.p_value()));
        let ratio = self.ratio.as_ref().map(|rule| tail(rule.bound, rule.slow, rule.p_value()));
        let tails = || [longest, ratio].into_iter().flatten();
        LatencyJudgement {
            kind: self.kind(),
            quantile: self.options.quantile,
            candidate: self.candidate.quantile(self.options.quantile),
            stable: self.stable.as_ref().map(|stable| stable.quantile(self.options.quantile)),
            longest,
            ratio,
            ranks: self.ranks.as_ref().and_then(SequentialRankTest::latest),
            fails_at: self.each.value(),
            requests_to_pass: tails()
                .map(|tail| {
                    if tail.passes {
                        Some(0)
                    } else {
                        self.acceptance.requests_to_pass(tail.slow, None)
                    }
                })
                .try_fold(0, |most, requests| requests.map(|requests| most.max(requests))),
        }
    }
}

impl RatioToStable {
    /// The bound is fixed before the stratum is looked at: whatever the estimate's luck, it knows
    /// nothing of the requests that it judges.
    fn add(
        &mut self,
        candidate: &Histogram,
        stable: &Histogram,
        quantile: Proportion,
        false_alarm: Proportion,
    ) -> Result<(), HistogramError> {
        self.bound = self.bound_from_before(quantile, false_alarm.split(2));
        if let Some(bound) = self.bound {
            let slow = candidate.slower_than(bound);
            self.test.add(slow);
            self.worse.add(slow, Some(stable.slower_than(bound)));
            self.slow = self.slow.plus(slow);
        }
        self.before.add(stable)
    }

    /// The first bound that stable's quantile is at most, but for an error of `missed`, times the
    /// ratio, up to the next bound.
    fn bound_from_before(&self, quantile: Proportion, missed: Proportion) -> Option<f64> {
        let left = quantile.rest().value();
        let bounds = self.before.bounds();
        let highest = bounds
            .seconds()
            .iter()
            .copied()
            .find(|bound| is_below(self.before.slower_than(*bound), left, missed))?;
        bounds.at_or_above(highest * self.ratio.value()).ok()
    }

    fn p_value(&self) -> f64 {
        (2.0 * self.test.p_value().max(self.worse.p_value())).min(1.0)
    }

    /// Half of the error rate is for the bound itself.
    fn rejects(&self, error_rate: Proportion) -> bool {
        let half = error_rate.split(2);
        self.test.rejects(half) && self.worse.rejects(half)
    }
}

impl fmt::Display for LatencyJudgement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "candidate's {} quantile {}", self.quantile, self.candidate)?;
        if let Some(stable) = self.stable {
            write!(f, ", stable's {stable}")?;
        }
        for (rule, tail) in [("maximum", self.longest), ("ratio to stable", self.ratio)] {
            let Some(tail) = tail else { continue };
            match tail.bound_seconds {
                Some(bound) => {
                    write!(f, "; {rule}: slower than {bound} s {}", Shown(tail.slow))?;
                    write!(
                        f,
                        ", at most {}, and {} is allowed (p = {:.2e})",
                        Percent(tail.at_most),
                        Percent(tail.needed),
                        tail.p_value
                    )?;
                }
                None => write!(f, "; {rule}: stable's quantile is not known precisely enough yet")?,
            }
        }
        if let Some(ranks) = self.ranks {
            write!(
                f,
                "; slower than stable with probability {:.2} (p = {:.2e})",
                ranks.effect, ranks.p_value
            )?;
        }
        match (self.kind, self.requests_to_pass) {
            (JudgementKind::Undecided, Some(requests)) if requests > 0 => {
                write!(f, "; a pass needs {requests} more requests at this rate")
            }
            _ => Ok(()),
        }
    }
}

impl fmt::Display for QuantileEstimate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            QuantileEstimate::Empty => f.write_str("unknown"),
            QuantileEstimate::Within { seconds } => write!(f, "{seconds:.3} s"),
            QuantileEstimate::AboveTop { seconds } => write!(f, "above {seconds} s"),
        }
    }
}

#[cfg(test)]
mod tests;
