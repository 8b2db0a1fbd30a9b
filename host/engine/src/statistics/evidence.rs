//! Evidence against a null hypothesis that may be looked at any number of times.
//!
//! An e-process: a non-negative number that starts at 1 and, where the null hypothesis holds, is
//! not expected to grow, whatever is done with it between looks. By Ville's inequality it then ever
//! reaches 1/α with probability at most α.

use super::parameters::Proportion;
use super::special_functions::ln_add;

/// How many clusters of one size there may be before two of them become one.
const CLUSTERS_OF_A_SIZE: usize = 4;

/// How many alternatives evidence is gathered for.
pub(super) const ALTERNATIVES: usize = 5;

/// The alternatives: their odds, in units of the null hypothesis' odds. √3 to 140 in steps of 3:
/// between two of them little power is lost, and each one more would make all others weigh less.
pub(super) const MULTIPLES: [f64; ALTERNATIVES] = [1.732, 5.196, 15.588, 46.765, 140.296];

/// ln 5.
const LN_ALTERNATIVES: f64 = 1.609_437_912_434_100_3;

/// The weight of an alternative that holds from the first stratum on: most bad candidates are bad
/// at once.
const FROM_THE_BEGINNING: f64 = 0.5;

/// A mixture of likelihood ratios over the alternatives and over the times from which on the
/// alternative might hold.
///
/// Each stratum gives, for each alternative, one factor per *reading* of the data. Only the first
/// reading need be a likelihood ratio; each component of the mixture counts as the least of its
/// readings, so the whole stays below the mixture of first readings and inherits its guarantee.
///
/// Half of the weight is for an alternative that holds from the beginning. The other half is spread
/// over all starts, 1/(t(t+1)) of it for the `t`-th informative stratum; what is not spent yet,
/// 1/(t+1) of it, is kept as it is. Starts that lie close together are kept as one after a while,
/// each reading lowered to the least one first, so memory and work per stratum grow with the
/// logarithm of the number of strata.
#[derive(Debug, Clone)]
pub(super) struct Evidence<const READINGS: usize> {
    starts: u32,
    clusters: Vec<Cluster<READINGS>>,
    highest_ln: f64,
}

/// The components of neighbouring starts, per alternative and reading, as logarithms.
#[derive(Debug, Clone)]
struct Cluster<const READINGS: usize> {
    starts: u32,
    values: [[f64; READINGS]; ALTERNATIVES],
}

impl<const READINGS: usize> Evidence<READINGS> {
    /// No evidence yet.
    pub(super) fn none() -> Self {
        Evidence { starts: 0, clusters: Vec::new(), highest_ln: 0.0 }
    }

    /// Takes one stratum's factors, as logarithms, one row per alternative. `informative` says
    /// whether the first reading tells anything; it must not depend on how the events fell on
    /// the two sides.
    pub(super) fn take(&mut self, factors: &[[f64; READINGS]; ALTERNATIVES], informative: bool) {
        if informative {
            self.starts = self.starts.saturating_add(1);
            let start = f64::from(self.starts);
            let spread = (1.0 - FROM_THE_BEGINNING) / (start * (start + 1.0));
            let weight = (spread + if self.starts == 1 { FROM_THE_BEGINNING } else { 0.0 }).ln();
            self.clusters.push(Cluster { starts: 1, values: [[weight; READINGS]; ALTERNATIVES] });
            self.join_old_starts();
        }
        for cluster in &mut self.clusters {
            for (values, factors) in cluster.values.iter_mut().zip(factors) {
                for (value, factor) in values.iter_mut().zip(factors) {
                    *value += factor;
                }
            }
        }
        self.highest_ln = self.highest_ln.max(self.ln_value());
    }

    /// ln of the evidence as it stands.
    fn ln_value(&self) -> f64 {
        let kept = match self.starts {
            0 => 0.0,
            starts => ((1.0 - FROM_THE_BEGINNING) / (f64::from(starts) + 1.0)).ln(),
        };
        self.clusters.iter().flat_map(|cluster| cluster.values.iter()).fold(kept, |sum, values| {
            let least = least(values) - LN_ALTERNATIVES;
            // Adding less than e⁻³⁷ changes nothing in double precision.
            if least < sum - 37.0 { sum } else { ln_add(sum, least) }
        })
    }

    fn join_old_starts(&mut self) {
        let mut size = 1;
        loop {
            let mut of_the_size = self
                .clusters
                .iter()
                .enumerate()
                .filter(|(_, cluster)| cluster.starts == size)
                .map(|(place, _)| place);
            let (oldest, others) = (of_the_size.next(), of_the_size.count());
            match oldest {
                Some(place) if others >= CLUSTERS_OF_A_SIZE => {
                    let older = self.clusters.remove(place);
                    if let Some(younger) = self.clusters.get_mut(place) {
                        younger.absorb(&older);
                    }
                }
                _ => return,
            }
            size = size.saturating_mul(2);
        }
    }

    /// The probability, where the null hypothesis holds, of ever seeing this much evidence or more:
    /// at most this, after any number of looks.
    pub(super) fn p_value(&self) -> f64 {
        (-self.highest_ln).exp().min(1.0)
    }

    /// Whether the null hypothesis is rejected at the error rate.
    pub(super) fn rejects(&self, error_rate: Proportion) -> bool {
        self.highest_ln >= -error_rate.value().ln()
    }
}

impl<const READINGS: usize> Cluster<READINGS> {
    /// Takes the older neighbour in. Lowering each reading to the least first keeps two readings
    /// from each borrowing the other's best start.
    fn absorb(&mut self, older: &Cluster<READINGS>) {
        self.starts = self.starts.saturating_add(older.starts);
        for (values, older) in self.values.iter_mut().zip(&older.values) {
            *values = [ln_add(least(values), least(older)); READINGS];
        }
    }
}

fn least(values: &[f64]) -> f64 {
    values.iter().copied().fold(f64::INFINITY, f64::min)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn evidence_is_one_before_and_after_strata_that_tell_nothing() {
        let mut evidence = Evidence::<2>::none();
        assert!((evidence.p_value() - 1.0).abs() < 1e-12);
        for _ in 0..1000 {
            evidence.take(&[[0.0; 2]; ALTERNATIVES], true);
        }
        assert!(
            evidence.ln_value().abs() < 1e-9,
            "weights of starts and the rest sum to 1: {}",
            evidence.ln_value()
        );
        assert!(evidence.clusters.len() < 60, "{}", evidence.clusters.len());
    }

    #[test]
    fn a_component_counts_as_its_least_reading() {
        let mut evidence = Evidence::<2>::none();
        for _ in 0..50 {
            evidence.take(&[[3.0, 0.0]; ALTERNATIVES], true);
        }
        assert!((evidence.p_value() - 1.0).abs() < 1e-9);
        assert!(!evidence.rejects(Proportion::ONE_PERCENT));
    }

    #[test]
    fn a_change_after_a_long_time_is_still_seen() {
        let mut evidence = Evidence::<1>::none();
        for _ in 0..500 {
            evidence.take(&[[-2.0]; ALTERNATIVES], true);
        }
        for _ in 0..10 {
            evidence.take(&[[2.0]; ALTERNATIVES], true);
        }
        assert!(evidence.rejects(Proportion::ONE_PERCENT), "{}", evidence.p_value());
    }
}
