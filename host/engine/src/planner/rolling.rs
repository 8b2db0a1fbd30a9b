//! Rolling: replacement in batches, the stable side shrinks while the candidate grows.

use super::climb::Climb;
use super::sharing::{share, split};
use crate::policy::Stage;
use crate::route::{Backend, Routes};
use crate::standing::Standing;
use crate::steps::{Shrink, StepKind};
use std::time::Duration;

impl Climb<'_> {
    /// Never more than `max_surge` backends too many, never more than `max_unavailable` too few,
    /// and always as many as the weights need.
    pub(super) fn in_batches(
        &mut self,
        stable: &Standing,
        max_surge: usize,
        max_unavailable: usize,
        pause: Duration,
    ) {
        let wanted = stable.backends.len().max(self.backends.len());
        let mut left = stable.backends.as_slice();
        let mut up = 0;
        while up < self.backends.len() {
            let room = (wanted + max_surge).saturating_sub(left.len() + up);
            let (_, waiting) = self.backends.split_at(up);
            let batch = waiting.get(..room.min(waiting.len())).unwrap_or(waiting);
            if !batch.is_empty() {
                self.launch(batch);
                up += batch.len();
            }
            if up == self.backends.len() {
                break;
            }
            let spare = (left.len() + up).saturating_sub(wanted.saturating_sub(max_unavailable));
            // Without any of the candidate, one of the stable side must go on.
            let spare = spare.min(if up == 0 { left.len().saturating_sub(1) } else { left.len() });
            let (leaving, staying) = left.split_at(spare);
            if batch.is_empty() && leaving.is_empty() {
                // One backend, nothing to spare: one more for a moment.
                let next = waiting.first().map(std::slice::from_ref).unwrap_or_default();
                self.launch(next);
                up += next.len();
                continue;
            }
            self.share_with(stable, staying, up, pause);
            // Backends that were adopted are never stopped by us; they only lose their requests.
            if !leaving.is_empty() && !stable.is_adopted() {
                let leaving = stable.with_backends(leaving.to_vec());
                self.push(StepKind::Shrink(Shrink { leaving }));
            }
            left = staying;
        }
        self.take_all(Some((stable.release, left.to_vec())));
    }

    /// Requests to what is up of the candidate and what stays of the stable side, by their numbers.
    fn share_with(&mut self, stable: &Standing, staying: &[Backend], up: usize, pause: Duration) {
        let candidate = self.backends.get(..up).unwrap_or_default().to_vec();
        let routes = if staying.is_empty() {
            Routes::all_to(self.slot, self.number, candidate, None)
        } else {
            let staying = stable.with_backends(staying.to_vec());
            let weight = share(up, staying.backends.len());
            split(&staying, (self.number, candidate), weight)
        };
        let weight = routes.weight(self.slot);
        self.shift(routes);
        if up > 0 {
            self.analyze(Stage { weight, pause, wait: false });
        }
    }
}
