//! Two sides: does the candidate have more events than a multiple of stable's?

use super::counts::Counts;
use super::evidence::{Evidence, alternatives};
use super::hypergeometric::Table;
use super::parameters::{Multiple, Proportion};

/// An exact sequential test of the candidate's odds of an event against stable's.
///
/// Null hypothesis: in every stratum, the candidate's odds are at most `ratio` times stable's. It says nothing of the rates themselves, so they
/// may drift and the weights may change. Given how many events a stratum has in all, the candidate's part of them is noncentral
/// hypergeometric: Fisher's exact test, as a likelihood ratio.
///
/// The two sides are read at different instants, so an outage of both may reach one side's counts a stratum before the other's. The evidence
/// therefore compares each stratum of the candidate with stable's of the same look, of the one before and of the one after, and counts the
/// least of the three. This delays every decision by one look.
#[derive(Debug, Clone)]
pub struct RatioTest {
    ratio: f64,
    evidence: Evidence<3>,
    before: Option<Counts>,
    pending: Option<(Counts, Option<Counts>)>,
}

impl RatioTest {
    /// Builds the test. Ratios of odds are ratios of rates where the rates are small.
    pub fn new(ratio: Multiple) -> RatioTest {
        RatioTest { ratio: ratio.value(), evidence: Evidence::none(), before: None, pending: None }
    }

    /// Takes one stratum. Without stable's counts it tells nothing.
    pub fn add(&mut self, candidate: Counts, stable: Option<Counts>) {
        if let Some((candidate, of_its_look)) = self.pending.replace((candidate, stable)) {
            self.weigh(candidate, of_its_look, [self.before, stable]);
            self.before = of_its_look;
        }
    }

    fn weigh(&mut self, candidate: Counts, stable: Option<Counts>, neighbours: [Option<Counts>; 2]) {
        let table = stable.and_then(|stable| Table::new(candidate, stable));
        let own: Vec<f64> = self.factors(table);
        let [before, after] = neighbours.map(|neighbour| match neighbour {
            Some(counts) if counts.total() > 0 => self.factors(Table::new(candidate, counts)),
            _ => own.clone(),
        });
        let rows: Vec<[f64; 3]> = own.iter().zip(&before).zip(&after).map(|((own, before), after)| [*own, *before, *after]).collect();
        self.evidence.take(&rows, table.is_some());
    }

    /// ln of each alternative's likelihood ratio against the null hypothesis' edge.
    fn factors(&self, table: Option<Table>) -> Vec<f64> {
        let Some(table) = table else { return alternatives().map(|_| 0.0).collect() };
        let null = table.ln_probability(self.ratio);
        alternatives().map(|multiple| table.ln_probability(self.ratio * multiple) - null).collect()
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
