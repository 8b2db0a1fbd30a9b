//! Where requests go, how they are answered, and how the candidate is.

use super::{Candidate, Inner};
use agente_engine::names::BackendId;
use agente_engine::route::Slot;

impl Inner {
    pub(super) fn since_shift(&self, now: u64) -> Option<u64> {
        self.shifted_at.map(|at| now - at)
    }

    pub(super) fn is_candidate(&self, id: &BackendId) -> bool {
        self.backends.get(id).is_some_and(|backend| Some(backend.slot) == self.candidate_slot)
    }

    pub(super) fn drained(&self, backends: &[BackendId], now: u64) -> bool {
        let reached =
            |id: &BackendId| self.loaded.as_ref().is_some_and(|loaded| loaded.routes.reaches(id));
        backends.iter().all(|id| {
            !reached(id)
                && self.unreached_since.get(id).is_none_or(|since| now >= since + self.drain_takes)
        })
    }

    /// Requests go where the routes lead; a scrape a second sees the counters.
    pub(super) fn count_requests(&mut self, now: u64) {
        let last = self.metrics.counted_until;
        if now <= last {
            return;
        }
        let second = now / 1000 * 1000;
        for slot in Slot::BOTH {
            let candidate = self.candidate_slot == Some(slot);
            // A split by number has the candidate's backends in the other side's pool.
            let share = self.loaded.as_ref().map_or(0.0, |loaded| {
                loaded
                    .routes
                    .routes
                    .iter()
                    .filter(|route| !route.weight.is_zero())
                    .map(|route| {
                        let mine = route
                            .backends
                            .iter()
                            .filter(|backend| self.is_candidate(&backend.id) == candidate)
                            .count();
                        f64::from(route.weight.basis_points()) / 10_000.0 * mine as f64
                            / route.backends.len().max(1) as f64
                    })
                    .sum()
            });
            let failing =
                if candidate { self.metrics.candidate_fails } else { self.metrics.stable_fails };
            let grown = share * self.metrics.per_second * (now - last) as f64 / 1000.0;
            let side = self.metrics.sides.entry(slot).or_default();
            if second > last {
                side.points.push((
                    second,
                    (side.total + grown).floor(),
                    (side.failed + grown * failing).floor(),
                ));
            }
            side.total += grown;
            side.failed += grown * failing;
        }
        self.metrics.counted_until = now;
    }

    /// Whether a request to this backend is answered well now.
    pub(super) fn answers(&self, id: &BackendId, now: u64) -> bool {
        let Some(_) = self.backends.get(id) else { return false };
        match self.candidate {
            Candidate::TurnsBad(after) | Candidate::Dies(after) if self.is_candidate(id) => {
                self.since_shift(now).is_none_or(|passed| passed < after)
            }
            Candidate::NeverHealthy | Candidate::CrashLoops if self.is_candidate(id) => false,
            _ => !self.stable_fails || self.is_candidate(id),
        }
    }
}
