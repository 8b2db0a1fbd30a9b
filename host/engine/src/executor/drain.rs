//! Waiting until a slot's last requests have ended.

use super::hands::Hands;
use super::seconds;
use crate::fault::Failure;
use crate::policy::OnDrainTimeout;
use crate::route::{Backend, Slot};
use crate::step::StepOutput;
use std::time::Duration;

/// How often the switcher is asked.
const POLL: Duration = Duration::from_millis(100);

impl Hands<'_> {
    /// Waits until these backends of `slot` are drained or `limit` is over. Only an answer that
    /// could not be had until then is a failure.
    pub(super) async fn drain(
        &self,
        index: usize,
        slot: Slot,
        backends: &[Backend],
        limit: Duration,
        on_timeout: OnDrainTimeout,
    ) -> Result<StepOutput, Failure> {
        let op = self.plan.op_id(index, "drain");
        let began = self.world.clock.elapsed();
        loop {
            let left = limit.saturating_sub(self.world.clock.elapsed().saturating_sub(began));
            let answer = super::hands::with_deadline(
                self.world.clock,
                left.max(POLL),
                self.world.switcher.drain(&op, slot, backends),
            )
            .await;
            let strong_enough = |evidence: &str| {
                evidence != "no-connections" || self.plan.policy.drain.accept_weak_evidence
            };
            let message = match answer {
                Some(Ok(drained)) if drained.done && strong_enough(&drained.evidence) => {
                    let took = seconds(self.world.clock.elapsed().saturating_sub(began));
                    let note = format!(
                        "{slot} drained in {took} ({}): {}",
                        drained.evidence, drained.message
                    );
                    return Ok(StepOutput {
                        notes: vec![note],
                        drained: Some(true),
                        ..StepOutput::default()
                    });
                }
                Some(Ok(drained)) if drained.done => {
                    format!(
                        "no connection to {slot} is open, but {}; `accept_weak_evidence` would \
                         take that as drained",
                        drained.message
                    )
                }
                Some(Ok(drained)) => format!("{slot} still drains: {}", drained.message),
                Some(Err(fault)) => format!("whether {slot} has drained can't be told: {fault}"),
                None => format!("whether {slot} has drained was not answered"),
            };
            if self.world.clock.elapsed().saturating_sub(began) >= limit {
                let then = match on_timeout {
                    OnDrainTimeout::Keep => {
                        "the old side is kept; `[strategy] drain.on_timeout = \"cut\"` cuts it"
                    }
                    OnDrainTimeout::Cut => "what is left is cut",
                };
                let note =
                    format!("{message}; the drain's limit of {} is over: {then}", seconds(limit));
                return Ok(StepOutput {
                    notes: vec![note],
                    drained: Some(false),
                    ..StepOutput::default()
                });
            }
            self.waiting(index, message);
            self.world.clock.sleep(POLL.min(left)).await;
        }
    }
}
