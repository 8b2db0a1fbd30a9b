//! Waiting until a slot's last requests have ended.

use super::StepContext;
use crate::fault::Failure;
use crate::policy::OnDrainTimeout;
use crate::ports::Drained;
use crate::route::{Backend, Slot};
use crate::step::StepOutput;
use crate::words::span;
use std::time::Duration;

/// How often the switcher is asked.
const POLL: Duration = Duration::from_millis(100);

impl StepContext<'_> {
    /// Whether an answer of the switcher is taken as the end of the last requests.
    pub(crate) fn has_drained(&self, drained: &Drained) -> bool {
        drained.done && (!drained.weak || self.deployment.policy.drain.accept_weak_evidence)
    }

    /// Waits until these backends of `slot` are drained or `limit` is over. Only an answer that
    /// could not be had until then is a failure.
    pub(crate) async fn drain(
        &self,
        slot: Slot,
        backends: &[Backend],
        limit: Duration,
        on_timeout: OnDrainTimeout,
    ) -> Result<StepOutput, Failure> {
        let op = self.op_id("drain");
        let began = self.ports.clock.elapsed();
        loop {
            let left = limit.saturating_sub(self.since(began));
            let asked = self.ports.switcher.drain(&op, slot, backends);
            let message = match self.within(left.max(POLL), asked).await {
                Some(Ok(drained)) if self.has_drained(&drained) => {
                    let took = span(self.since(began));
                    let note = format!(
                        "{slot} drained in {took} ({}): {}",
                        drained.evidence, drained.message
                    );
                    return Ok(ended(note, true));
                }
                Some(Ok(drained)) if drained.done => {
                    format!(
                        "no connection to {slot} is open, but {}; `accept_weak_evidence` would \
                        accept that as drained",
                        drained.message
                    )
                }
                Some(Ok(drained)) => format!("{slot} is still draining: {}", drained.message),
                Some(Err(fault)) => format!("can't tell whether {slot} has drained: {fault}"),
                None => format!("the target did not answer whether {slot} has drained"),
            };
            if self.since(began) >= limit {
                let then = match on_timeout {
                    OnDrainTimeout::Keep => {
                        "the old side is kept; `[strategy] drain.on_timeout = \"cut\"` would cut it"
                    }
                    OnDrainTimeout::Cut => "remaining connections are cut",
                };
                let limit = span(limit);
                let note = format!("{message}; the drain timed out after {limit}: {then}");
                return Ok(ended(note, false));
            }
            self.still_wanted()?;
            self.waiting(message);
            self.ports.clock.sleep(POLL.min(left)).await;
        }
    }
}

fn ended(note: String, drained: bool) -> StepOutput {
    StepOutput { drained: Some(drained), ..StepOutput::note(note) }
}
