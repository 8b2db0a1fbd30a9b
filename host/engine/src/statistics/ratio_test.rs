//! Two sides: does the candidate have more events than a multiple of stable's?

use super::counts::Counts;
use super::evidence::{ALTERNATIVES, Evidence, MULTIPLES};
use super::hypergeometric::Table;
use super::parameters::{Multiple, Proportion};

/// An exact sequential test of the candidate's odds of an event against stable's.
///
/// Null hypothesis: in every stratum, the candidate's odds are at most `ratio` times stable's. It says nothing of the rates themselves, so they
/// may drift and the weights may change. Given how many events a stratum has in all, the candidate's part of them is noncentral
/// hypergeometric: Fisher's exact test, as a likelihood ratio.
///
/// The two sides are read at different instants, so an outage of both may reach one side's counts a stratum before the other's, or fall into one
/// stratum of the one and two of the other. The evidence therefore reads the data in five ways and counts the least: each stratum of the candidate
/// against stable's of the same look, of the one before and of the one after; and strata in pairs, the pairs beginning at odd or at even looks.
/// This delays every decision by one look or two.
#[derive(Debug, Clone)]
pub struct RatioTest {
    ratio: f64,
    evidence: Evidence<5>,
    before: Option<Stratum>,
    pending: Option<Stratum>,
    even: bool,
}

/// What one look adds.
#[derive(Debug, Clone, Copy)]
struct Stratum {
    candidate: Counts,
    stable: Option<Counts>,
}

impl RatioTest {
    /// Builds the test. Ratios of odds are ratios of rates where the rates are small.
    pub fn new(ratio: Multiple) -> RatioTest {
        RatioTest { ratio: ratio.value(), evidence: Evidence::none(), before: None, pending: None, even: false }
    }

    /// Takes one stratum. Without stable's counts it tells nothing.
    pub fn add(&mut self, candidate: Counts, stable: Option<Counts>) {
        if let Some(stratum) = self.pending.replace(Stratum { candidate, stable }) {
            self.weigh(stratum, stable);
            self.before = Some(stratum);
            self.even = !self.even;
        }
    }

    fn weigh(&mut self, stratum: Stratum, after: Option<Counts>) {
        let table = stratum.stable.and_then(|stable| Table::new(stratum.candidate, stable));
        let own = self.factors(table);
        let before = self.before.and_then(|before| before.stable);
        let [before, after] = [before, after].map(|neighbour| match neighbour {
            Some(counts) if counts.total() > 0 => self.factors(Table::new(stratum.candidate, counts)),
            _ => own,
        });
        let pair = self.factors(stratum.paired(self.before));
        let mut rows = [[0.0; 5]; ALTERNATIVES];
        for (row, ((own, before), (after, pair))) in rows.iter_mut().zip(own.into_iter().zip(before).zip(after.into_iter().zip(pair))) {
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

    /// Whether the candidate is worse, with at most this probability of a false alarm over all looks.
    pub fn rejects(&self, error_rate: Proportion) -> bool {
        self.evidence.rejects(error_rate)
    }
}

impl Stratum {
    /// This one and the one before it, taken together.
    fn paired(self, before: Option<Stratum>) -> Option<Table> {
        let stable = [before.and_then(|before| before.stable), self.stable].into_iter().flatten().reduce(Counts::plus)?;
        let candidate = before.map_or(self.candidate, |before| before.candidate.plus(self.candidate));
        Table::new(candidate, stable)
    }
}
