//! One side: is the candidate's share of events above a limit?

use super::counts::{Counts, float};
use super::evidence::{Evidence, MULTIPLES};
use super::parameters::Proportion;

/// A sequential test of a share of events against a limit.
///
/// Null hypothesis: each request has the event with a probability of at most `limit`, whatever
/// happened before it.
#[derive(Debug, Clone)]
pub struct LimitTest {
    limit: f64,
    evidence: Evidence<1>,
}

impl LimitTest {
    /// Builds the test.
    pub fn new(limit: Proportion) -> LimitTest {
        LimitTest { limit: limit.value(), evidence: Evidence::none() }
    }

    /// Takes one look's counts.
    pub fn add(&mut self, counts: Counts) {
        if counts.total() > 0 {
            self.evidence
                .take(&MULTIPLES.map(|multiple| [ln_ratio(counts, self.limit, multiple)]), true);
        }
    }

    /// At most the probability of such evidence, at whatever look, where the null hypothesis holds.
    pub fn p_value(&self) -> f64 {
        self.evidence.p_value()
    }

    /// Whether the limit is passed, with at most this probability of a false alarm over all looks.
    pub fn rejects(&self, error_rate: Proportion) -> bool {
        self.evidence.rejects(error_rate)
    }
}

/// ln of the likelihood ratio of odds `multiple` times those of `share` against `share` itself. A
/// multiple of 0 means: no event ever.
pub(super) fn ln_ratio(counts: Counts, share: f64, multiple: f64) -> f64 {
    let events = if counts.events() == 0 { 0.0 } else { float(counts.events()) * multiple.ln() };
    events - float(counts.total()) * (share * (multiple - 1.0)).ln_1p()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn likelihood_ratios_are_those_of_the_binomial() {
        // Odds 3 times those of 0.2 are 0.75, a share of 3/7.
        let counts = Counts::new(2, 5).unwrap();
        let expected = 2.0 * (3.0_f64 / 7.0 / 0.2).ln() + 3.0 * (4.0_f64 / 7.0 / 0.8).ln();
        assert!((ln_ratio(counts, 0.2, 3.0) - expected).abs() < 1e-12);
        assert!(
            (ln_ratio(Counts::new(0, 7).unwrap(), 0.2, 0.0) + 7.0 * 0.8_f64.ln()).abs() < 1e-12
        );
        assert!(ln_ratio(counts, 0.2, 0.0).is_infinite());
    }

    #[test]
    fn a_share_far_above_the_limit_is_found_at_once_and_one_below_never() {
        let limit = Proportion::new(0.05).unwrap();
        let [mut above, mut below] = [LimitTest::new(limit), LimitTest::new(limit)];
        above.add(Counts::new(15, 30).unwrap());
        assert!(above.rejects(Proportion::ONE_PERCENT));
        for _ in 0..200 {
            below.add(Counts::new(1, 30).unwrap());
        }
        assert!(!below.rejects(Proportion::ONE_PERCENT));
    }
}
