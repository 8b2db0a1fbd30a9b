//! Two sides: does the candidate have more events than a multiple of stable's?

use super::counts::Counts;
use super::evidence::{ALTERNATIVES, Evidence, MULTIPLES};
use super::hypergeometric::Table;
use super::parameters::{Multiple, Proportion};

/// An exact sequential test of the candidate's odds of an event against stable's.
///
/// Null hypothesis: in every stratum, the candidate's odds are at most `ratio` times stable's. It
/// says nothing of the rates themselves, so they may drift and the weights may change. Given how
/// many events a stratum has in all, the candidate's part of them is noncentral hypergeometric:
/// Fisher's exact test, as a likelihood ratio.
///
/// The two sides are read at different instants, so an outage of both may reach one side's counts a
/// stratum before the other's, or fall into one stratum of the one and two of the other. The
/// evidence therefore reads the data in five ways and counts the least: each stratum of the
/// candidate against stable's of the same look, of the one before and of the one after; and strata
/// in pairs, the pairs beginning at odd or at even looks. This delays every decision by one look or
/// two.
///
/// A look in which only one side was read makes no stratum: its counts wait for the other side's.
/// Else a source that is looked at more often than it samples, at instants of its own for each
/// side, would never give a stratum with both. What waits depends on totals alone, not on how
/// events fell.
#[derive(Debug, Clone)]
pub struct RatioTest {
    ratio: f64,
    evidence: Evidence<5>,
    before: Option<Stratum>,
    /// What was counted since the last look that had both sides.
    open: Stratum,
    pending: Option<Stratum>,
    even: bool,
}

/// What one look adds.
#[derive(Debug, Clone, Copy, Default)]
struct Stratum {
    candidate: Counts,
    stable: Option<Counts>,
}

impl RatioTest {
    /// Builds the test. Ratios of odds are ratios of rates where the rates are small.
    pub fn new(ratio: Multiple) -> RatioTest {
        RatioTest {
            ratio: ratio.value(),
            evidence: Evidence::none(),
            before: None,
            open: Stratum::default(),
            pending: None,
            even: false,
        }
    }

    /// Takes one look's counts. Without stable's they tell nothing.
    pub fn add(&mut self, candidate: Counts, stable: Option<Counts>) {
        let next = std::mem::take(&mut self.open).and(candidate, stable);
        if next.lacks_a_side() {
            self.open = next;
        } else if let Some(stratum) = self.pending.replace(next) {
            self.weigh(stratum, next.stable);
            self.before = Some(stratum);
            self.even = !self.even;
        }
    }

    fn weigh(&mut self, stratum: Stratum, after: Option<Counts>) {
        let table = stratum.stable.and_then(|stable| Table::new(stratum.candidate, stable));
        let own = self.factors(table);
        let before = self.before.and_then(|before| before.stable);
        let [before, after] = [before, after].map(|neighbour| match neighbour {
            Some(counts) if counts.total() > 0 => {
                self.factors(Table::new(stratum.candidate, counts))
            }
            _ => own,
        });
        let pair = self.factors(stratum.paired(self.before));
        let mut rows = [[0.0; 5]; ALTERNATIVES];
        for (row, ((own, before), (after, pair))) in
            rows.iter_mut().zip(own.into_iter().zip(before).zip(after.into_iter().zip(pair)))
        {
            // A pair tells what it has to tell with its second stratum.
            let [ends_at_even, ends_at_odd] = if self.even { [pair, 0.0] } else { [0.0, pair] };
            *row = [own, before, after, ends_at_even, ends_at_odd];
        }
        self.evidence.take(&rows, table.is_some());
    }

    /// ln of each alternative's likelihood ratio against the null hypothesis' edge.
    fn factors(&self, table: Option<Table>) -> [f64; ALTERNATIVES] {
        let Some(table) = table else { return [0.0; ALTERNATIVES] };
        let null = table.ln_probability(self.ratio);
        MULTIPLES.map(|multiple| table.ln_probability(self.ratio * multiple) - null)
    }

    /// At most the probability of such evidence, at whatever look, where the null hypothesis holds.
    pub fn p_value(&self) -> f64 {
        self.evidence.p_value()
    }

    /// Whether the candidate is worse, with at most this probability of a false alarm over all
    /// looks.
    pub fn rejects(&self, error_rate: Proportion) -> bool {
        self.evidence.rejects(error_rate)
    }
}

impl Stratum {
    /// The same with a further look's counts; those of stable are given up where this look does not
    /// know them.
    fn and(self, candidate: Counts, stable: Option<Counts>) -> Self {
        Self {
            candidate: self.candidate.plus(candidate),
            stable: stable.map(|stable| self.stable.unwrap_or_default().plus(stable)),
        }
    }

    /// Whether one side is known to have had no request, so that nothing can be compared yet.
    fn lacks_a_side(self) -> bool {
        self.stable.is_some_and(|stable| stable.total() == 0 || self.candidate.total() == 0)
    }

    /// This one and the one before it, taken together.
    fn paired(self, before: Option<Stratum>) -> Option<Table> {
        let stable = [before.and_then(|before| before.stable), self.stable]
            .into_iter()
            .flatten()
            .reduce(Counts::plus)?;
        let candidate =
            before.map_or(self.candidate, |before| before.candidate.plus(self.candidate));
        Table::new(candidate, stable)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(events: u64, total: u64) -> Counts {
        Counts::new(events, total).unwrap()
    }

    #[test]
    fn sides_that_are_never_read_in_the_same_look_are_compared_all_the_same() {
        let [mut apart, mut together] =
            [RatioTest::new(Multiple::ONE_AND_A_HALF), RatioTest::new(Multiple::ONE_AND_A_HALF)];
        for _ in 0..4 {
            together.add(counts(5, 10), Some(counts(0, 90)));
            apart.add(counts(5, 10), Some(Counts::NONE));
            apart.add(Counts::NONE, Some(counts(0, 90)));
            apart.add(Counts::NONE, Some(Counts::NONE));
        }
        assert!(together.rejects(Proportion::ONE_PERCENT), "{}", together.p_value());
        assert!(
            (apart.p_value() - together.p_value()).abs() < 1e-15,
            "{} and {}",
            apart.p_value(),
            together.p_value()
        );
    }

    #[test]
    fn looks_without_anything_new_do_not_take_the_next_reading_of_stable_away() {
        // An outage of both, of which the candidate is read first.
        let mut test = RatioTest::new(Multiple::ONE_AND_A_HALF);
        for (candidate, stable) in [(0, 0), (9, 0), (10, 80), (0, 90), (0, 0)] {
            test.add(counts(candidate, 10), Some(counts(stable, 90)));
            test.add(Counts::NONE, Some(Counts::NONE));
        }
        assert!(!test.rejects(Proportion::ONE_PERCENT), "{}", test.p_value());
    }
}
