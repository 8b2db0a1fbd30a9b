//! Made-up traffic: how many of a look's requests fail, from a fixed seed.

use agente_engine::statistics::{Counts, CountsError, ErrorTest, ErrorTestOptions, JudgementKind};
use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt as _, SeedableRng as _};

/// The candidate's requests in one look: thirty looks for 300 requests, four hundred for 4,000.
pub(crate) const REQUESTS_PER_LOOK: u64 = 10;

/// A source of made-up traffic.
pub(crate) struct Traffic(Xoshiro256PlusPlus);

impl Traffic {
    /// The same traffic for the same seed.
    pub(crate) fn seeded(seed: u64) -> Traffic {
        Traffic(Xoshiro256PlusPlus::seed_from_u64(seed))
    }

    /// A number from 0 to below 1.
    pub(crate) fn fraction(&mut self) -> f64 {
        self.0.random()
    }

    /// Requests of which each fails with the probability `rate`, by itself.
    pub(crate) fn requests(&mut self, total: u64, rate: f64) -> Result<Counts, CountsError> {
        Counts::new(
            if rate > 0.5 {
                total - self.events(total, 1.0 - rate)
            } else {
                self.events(total, rate)
            },
            total,
        )
    }

    /// Goes from event to event: the gaps between them are geometric.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a saturated gap ends the loop"
    )]
    fn events(&mut self, total: u64, rate: f64) -> u64 {
        let mut events = 0;
        if rate > 0.0 {
            let mut seen = 0_u64;
            loop {
                let gap = ((1.0 - self.fraction()).ln() / (-rate).ln_1p()) as u64;
                seen = seen.saturating_add(gap).saturating_add(1);
                if seen > total {
                    break;
                }
                events += 1;
            }
        }
        events
    }
}

/// One stage of a canary with the standard parameters: looks until it is decided, or until the
/// candidate had `requests`. `stable_share` is how many requests stable has for each of the
/// candidate's.
pub(crate) fn stage(
    traffic: &mut Traffic,
    candidate: f64,
    stable: f64,
    stable_share: u64,
    requests: u64,
) -> Result<JudgementKind, CountsError> {
    let mut test = ErrorTest::new(ErrorTestOptions::default());
    let mut kind = JudgementKind::Undecided;
    for _ in 0..requests / REQUESTS_PER_LOOK {
        let stable = traffic.requests(REQUESTS_PER_LOOK * stable_share, stable)?;
        test.add(traffic.requests(REQUESTS_PER_LOOK, candidate)?, Some(stable));
        kind = test.kind();
        if kind != JudgementKind::Undecided {
            break;
        }
    }
    Ok(kind)
}
