//! Fisher's noncentral hypergeometric distribution: how events fall on two sides under an odds
//! ratio, given how many there are in all.

use super::counts::{Counts, float};
use super::special_functions::ln_factorial;

/// Terms of the normalising sum below this share of the sum are left out; the terms fall faster
/// than geometrically beyond.
const NEGLIGIBLE: f64 = 1e-18;

/// One stratum's table: both sides' requests, and the events of both together, which are taken as
/// given.
#[derive(Debug, Clone, Copy)]
pub(super) struct Table {
    events: u64,
    candidate_total: u64,
    stable_total: u64,
    all_events: u64,
    lowest: u64,
    highest: u64,
}

impl Table {
    /// Sets the table up; none where the totals leave one outcome only, so that it tells nothing
    /// about the odds ratio.
    pub(super) fn new(candidate: Counts, stable: Counts) -> Option<Table> {
        let all_events = candidate.events() + stable.events();
        let lowest = all_events.saturating_sub(stable.total());
        let highest = all_events.min(candidate.total());
        let table = Table {
            events: candidate.events(),
            candidate_total: candidate.total(),
            stable_total: stable.total(),
            all_events,
            lowest,
            highest,
        };
        (lowest < highest).then_some(table)
    }

    /// ln P(the candidate has as many of the events as it has), under the odds ratio `odds`.
    ///
    /// Exact but for the terms that are negligible; the work grows with the square root of the
    /// events.
    pub(super) fn ln_probability(&self, odds: f64) -> f64 {
        let mode = self.mode(odds);
        let distance = float(self.events) - float(mode);
        (self.ln_ways(self.events) - self.ln_ways(mode) + distance * odds.ln()
            - self.sum_from(mode, odds).ln())
        .min(0.0)
    }

    /// ln of the number of ways to have `x` of the events on the candidate's side, up to a constant
    /// of the table.
    fn ln_ways(&self, x: u64) -> f64 {
        let stable = self.all_events.saturating_sub(x);
        -(ln_factorial(x)
            + ln_factorial(self.candidate_total.saturating_sub(x))
            + ln_factorial(stable)
            + ln_factorial(self.stable_total.saturating_sub(stable)))
    }

    /// The likeliest outcome: where the ratio of neighbouring terms passes 1.
    fn mode(&self, odds: f64) -> u64 {
        let (candidate, stable, events) =
            (float(self.candidate_total), float(self.stable_total), float(self.all_events));
        let a = odds - 1.0;
        let b = (candidate + events + 2.0) * odds + stable - events;
        let c = (candidate + 1.0) * (events + 1.0) * odds;
        let root = 2.0 * c / (b + (b * b - 4.0 * a * c).max(0.0).sqrt());
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "non-negative, and clamped to the table"
        )]
        (root.floor().max(0.0) as u64).clamp(self.lowest, self.highest)
    }

    /// The sum of all terms, in units of the term at `mode`.
    fn sum_from(&self, mode: u64, odds: f64) -> f64 {
        let mut sum = 1.0;
        let mut term = 1.0;
        for x in mode..self.highest {
            term *= self.growth(x) * odds;
            sum += term;
            if term < sum * NEGLIGIBLE {
                break;
            }
        }
        term = 1.0;
        for x in (self.lowest..mode).rev() {
            term /= self.growth(x) * odds;
            sum += term;
            if term < sum * NEGLIGIBLE {
                break;
            }
        }
        sum
    }

    /// How many times as many ways there are for `x + 1` as for `x`; for `x` from the lowest to
    /// below the highest outcome.
    fn growth(&self, x: u64) -> f64 {
        let (candidate, stable, events, x) = (
            float(self.candidate_total),
            float(self.stable_total),
            float(self.all_events),
            float(x),
        );
        (candidate - x) * (events - x) / ((x + 1.0) * (stable - events + x + 1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ln_probability(candidate: (u64, u64), stable: (u64, u64), odds: f64) -> f64 {
        let [candidate, stable] =
            [candidate, stable].map(|(events, total)| Counts::new(events, total).unwrap());
        Table::new(candidate, stable).unwrap().ln_probability(odds)
    }

    #[test]
    fn probabilities_agree_with_scipy() {
        // scipy.stats.nchypergeom_fisher.logpmf(k_c, n_c + n_s, n_c, k_c + k_s, odds)
        for (candidate, stable, odds, expected) in [
            ((3, 10), (2, 90), 4.0, -2.159_576_212_497_153),
            ((0, 50), (3, 450), 1.5, -0.462_998_421_468_016_6),
            ((30, 1000), (90, 9000), 2.5, -2.901_519_802_282_782_4),
            ((50, 50), (225, 450), 8.0, -5.737_278_790_644_136),
            ((700, 2000), (800, 3000), 1.0, -23.370_953_924_475_543),
            ((5, 7), (4, 9), 20.0, -2.395_416_593_365_145),
        ] {
            let got = ln_probability(candidate, stable, odds);
            assert!(
                (got - expected).abs() < 1e-9,
                "{candidate:?} {stable:?} {odds}: {got} against {expected}"
            );
        }
    }

    #[test]
    fn probabilities_of_all_outcomes_sum_to_one() {
        for odds in [0.01, 1.0, 1.5, 30.0, 1e6] {
            let sum: f64 =
                (0..=12).map(|x| ln_probability((x, 40), (12 - x, 300), odds).exp()).sum();
            assert!((sum - 1.0).abs() < 1e-10, "{odds}: {sum}");
        }
    }

    #[test]
    fn totals_that_leave_one_outcome_tell_nothing() {
        for (candidate, stable) in
            [((0, 5), (0, 9)), ((5, 5), (9, 9)), ((0, 0), (3, 9)), ((2, 9), (0, 0))]
        {
            let [candidate, stable] =
                [candidate, stable].map(|(events, total)| Counts::new(events, total).unwrap());
            assert!(Table::new(candidate, stable).is_none());
        }
    }

    #[test]
    fn the_largest_strata_stay_finite_and_affordable() {
        let ln = ln_probability((1 << 31, 1 << 32), (1 << 31, 1 << 32), 1.5);
        assert!(ln.is_finite() && ln < 0.0, "{ln}");
    }
}
