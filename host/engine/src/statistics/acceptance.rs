//! Stopping early for good: bounds of a share that hold at every look, and the rule that passes a
//! candidate by them.

use super::counts::{Counts, float};
use super::limit_test::ln_ratio;
use super::parameters::Proportion;
use super::special_functions::ln_add;

/// The odds that a bound's mixture is made of, in units of the odds of the share that is tried as a
/// bound. 0, no event ever, lets a flawless side pass soonest.
const BELOW: [f64; 6] = [0.0, 0.05, 0.15, 0.35, 0.6, 0.8];
/// The same, for bounds from below.
const ABOVE: [f64; 6] = [1.25, 1.7, 2.8, 6.0, 15.0, 50.0];
/// Steps of a bisection: to the last bit of a share.
const BISECTIONS: u32 = 60;
/// No more requests than this are ever named as what a pass still needs.
const MOST_NEEDED: u64 = 1_000_000_000_000;

/// The rule that passes a candidate: its share of events is below stable's by less than a margin,
/// or below a limit, with a bounded probability of passing one that is not.
///
/// Both bounds together miss with at most `missed`, half of it each. They suppose that the shares
/// do not drift while the counts are gathered; a bound below the margin alone does not.
#[derive(Debug, Clone, Copy)]
pub struct Acceptance {
    missed: Proportion,
    margin: Option<f64>,
    limit: Option<f64>,
}

/// What the rule says of counts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Accepted {
    /// The candidate's share is below this, but for the miss rate.
    pub at_most: f64,
    /// What it must be below.
    pub needed: f64,
    /// Whether it is.
    pub passes: bool,
}

impl Acceptance {
    /// Builds the rule: `margin` above stable's share (or above none, where stable is not known),
    /// and below `limit`.
    pub fn new(
        missed: Proportion,
        margin: Option<Proportion>,
        limit: Option<Proportion>,
    ) -> Acceptance {
        Acceptance {
            missed: missed.split(2),
            margin: margin.map(Proportion::value),
            limit: limit.map(Proportion::value),
        }
    }

    /// Judges the counts of one stage.
    pub fn judge(&self, candidate: Counts, stable: Option<Counts>) -> Accepted {
        let needed = self.needed(stable);
        Accepted {
            at_most: upper_bound(candidate, self.missed),
            needed,
            passes: self.is_below(candidate, needed),
        }
    }

    /// Whether the counts pass: the answer of [`Acceptance::judge`] alone.
    pub fn passes(&self, candidate: Counts, stable: Option<Counts>) -> bool {
        // A lower bound is never above the rate itself, so nearly all that don't pass are known
        // without it.
        let rate = stable.and_then(Counts::rate).unwrap_or(0.0);
        self.is_below(candidate, self.needed_above(rate))
            && self.is_below(candidate, self.needed(stable))
    }

    fn needed(&self, stable: Option<Counts>) -> f64 {
        self.needed_above(stable.map_or(0.0, |stable| lower_bound(stable, self.missed)))
    }

    fn needed_above(&self, stable: f64) -> f64 {
        let margin = self.margin.map_or(1.0, |margin| margin + stable);
        margin.min(self.limit.unwrap_or(1.0)).min(1.0)
    }

    fn is_below(&self, candidate: Counts, share: f64) -> bool {
        is_below(candidate, share, self.missed)
    }

    /// How many more requests would make these counts pass, if the share of events stays as it is;
    /// none where they never would.
    pub fn requests_to_pass(&self, candidate: Counts, stable: Option<Counts>) -> Option<u64> {
        let needed = self.needed(stable);
        let rate = candidate.rate().unwrap_or(0.0);
        if needed >= 1.0 || rate >= needed {
            return None;
        }
        let passes = |more: u64| self.is_below(grown(candidate, rate, more), needed);
        let mut enough = 1;
        while !passes(enough) {
            enough *= 2;
            if enough > MOST_NEEDED {
                return None;
            }
        }
        let mut too_few = 0;
        while enough - too_few > 1 {
            let middle = u64::midpoint(too_few, enough);
            if passes(middle) { enough = middle } else { too_few = middle }
        }
        Some(if passes(0) { 0 } else { enough })
    }
}

/// The counts after `more` requests at the same rate, events rounded up.
fn grown(counts: Counts, rate: f64, more: u64) -> Counts {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a share of a count is a count"
    )]
    let events = (rate * float(more)).ceil() as u64;
    counts.plus(Counts::unbounded(events, more))
}

/// Whether the share of events is below `share`, at all looks together but for `missed`: whether
/// [`upper_bound`] is at most `share`.
pub(super) fn is_below(counts: Counts, share: f64, missed: Proportion) -> bool {
    share < 1.0 && mixture(counts, share, &BELOW) >= -missed.value().ln()
}

/// The share of events is below this, at all looks together but for `missed`: 1 without requests.
pub fn upper_bound(counts: Counts, missed: Proportion) -> f64 {
    let limit = -missed.value().ln();
    bisect(|share| mixture(counts, share, &BELOW) >= limit)
}

/// The share of events is above this, at all looks together but for `missed`: 0 without requests.
pub fn lower_bound(counts: Counts, missed: Proportion) -> f64 {
    let limit = -missed.value().ln();
    bisect(|share| mixture(counts, share, &ABOVE) < limit)
}

/// The least share from which on `holds`.
fn bisect(holds: impl Fn(f64) -> bool) -> f64 {
    let (mut low, mut high) = (0.0, 1.0);
    for _ in 0..BISECTIONS {
        let middle = f64::midpoint(low, high);
        if holds(middle) { high = middle } else { low = middle }
    }
    high
}

/// ln of the mean likelihood ratio of the multiples against `share`. It grows with `share` for
/// multiples below 1, and falls for those above.
fn mixture(counts: Counts, share: f64, multiples: &[f64; 6]) -> f64 {
    let sum = multiples
        .iter()
        .fold(f64::NEG_INFINITY, |sum, multiple| ln_add(sum, ln_ratio(counts, share, *multiple)));
    sum - 6.0_f64.ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(events: u64, total: u64) -> Counts {
        Counts::new(events, total).unwrap()
    }

    #[test]
    fn bounds_enclose_the_share_and_close_in() {
        let missed = Proportion::ONE_PERCENT;
        assert!(upper_bound(Counts::NONE, missed) > 0.999_999);
        assert!(lower_bound(Counts::NONE, missed) < 1e-12);
        let mut width = 1.0;
        for n in [10, 100, 1000, 10_000, 1_000_000] {
            let (low, high) =
                (lower_bound(counts(n / 10, n), missed), upper_bound(counts(n / 10, n), missed));
            assert!(low < 0.1 && 0.1 < high && high - low < width, "{n}: {low} to {high}");
            width = high - low;
        }
        assert!(upper_bound(counts(7, 7), missed) > 0.999_999);
    }

    #[test]
    fn a_flawless_candidate_passes_after_the_stated_number_of_requests() {
        let rule = Acceptance::new(Proportion::ONE_PERCENT, Some(Proportion::ONE_PERCENT), None);
        // ln(6 / 0.005) / -ln(1 - 0.01) = 705.4 for the component "no event ever" alone; the others
        // help a little.
        let needed = rule.requests_to_pass(Counts::NONE, None).unwrap();
        assert!((600..=706).contains(&needed), "{needed}");
        assert!(!rule.judge(counts(0, needed - 1), None).passes);
        let judged = rule.judge(counts(0, needed), None);
        assert!(judged.passes && judged.at_most < 0.01 + 1e-12, "{judged:?}");
        assert_eq!(rule.requests_to_pass(counts(0, needed), None), Some(0));
    }

    #[test]
    fn a_share_at_the_margin_would_never_pass() {
        let rule = Acceptance::new(Proportion::ONE_PERCENT, Some(Proportion::ONE_PERCENT), None);
        assert_eq!(rule.requests_to_pass(counts(2, 100), None), None);
        // Beside a stable side with more events it would.
        let needed = rule.requests_to_pass(counts(2, 100), Some(counts(2000, 100_000))).unwrap();
        assert!(needed > 1000, "{needed}");
    }

    #[test]
    fn a_limit_must_be_kept_whatever_stable_does() {
        let rule = Acceptance::new(
            Proportion::ONE_PERCENT,
            Some(Proportion::ONE_PERCENT),
            Some(Proportion::new(0.05).unwrap()),
        );
        assert!(!rule.judge(counts(6000, 100_000), Some(counts(60_000, 1_000_000))).passes);
        assert!(rule.judge(counts(4000, 100_000), Some(counts(40_000, 1_000_000))).passes);
    }
}
