//! Removing a part of the stable side.

use super::action::{Action, Effect, Facts};
use super::retire::MARGIN;
use crate::addresses::Addresses;
use crate::context::StepContext;
use crate::deployment::Deployment;
use crate::fault::{Failure, Fault, FaultKind};
use crate::names::Timestamp;
use crate::policy::{OnDrainTimeout, Policy};
use crate::route::Backend;
use crate::standing::Standing;
use crate::state::ServiceState;
use crate::step::{StepEvent, StepOutput};
use crate::words::{addresses, count};
use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::Duration;

const FACTS: Facts = Facts {
    effect: Effect::Undoable,
    // What is missing of the stable side comes back before requests do.
    undone_first: true,
    probed: true,
    ..Facts::named("shrink")
};

/// Removes a part of the stable side, drained before. Undo: starts it again and waits until it is
/// healthy.
#[derive(Debug, Clone, PartialEq, JsonSchema, Serialize, Deserialize)]
pub struct Shrink {
    /// The part.
    pub leaving: Standing,
}

#[async_trait]
impl Action for Shrink {
    fn facts(&self) -> Facts {
        FACTS
    }

    fn learn(&mut self, told: &Addresses) {
        told.correct_standing(&mut self.leaving);
    }

    fn words(&self) -> String {
        let Standing { backends, release, slot, .. } = &self.leaving;
        format!(
            "drain {} of {release} on {slot} and remove {}",
            count(backends.len(), "backend"),
            addresses(backends)
        )
    }

    fn limit(&self, policy: &Policy) -> Duration {
        policy.drain.timeout + self.leaving.stop_time() + MARGIN
    }

    async fn run(&self, context: &StepContext<'_>) -> Result<StepOutput, Failure> {
        let Standing { slot, backends, stop_grace, .. } = &self.leaving;
        let policy = context.deployment.policy.drain;
        let mut output = context.drain(*slot, backends, policy.timeout, policy.on_timeout).await?;
        if output.drained == Some(false) && policy.on_timeout == OnDrainTimeout::Keep {
            let fault = Fault::new(FaultKind::TimedOut, output.notes.join("; "))
                .hint("raise `[strategy] drain.timeout`, or cut the connections with `--cut`");
            return Err(Failure::Refused { fault });
        }
        // Of several, some may be gone when one can't be removed.
        let retired = context
            .retire(backends, *stop_grace)
            .await
            .map_err(|failure| Failure::Unknown { fault: failure.fault().clone() })?;
        output.notes.extend(retired.notes);
        Ok(StepOutput { drained: None, ..output })
    }

    async fn undo(&self, context: &StepContext<'_>) -> Result<StepOutput, Failure> {
        let Some(release) = &context.deployment.stable_release else {
            let message = "the plan lacks the stable release";
            return Err(Failure::Refused { fault: Fault::new(FaultKind::Internal, message) });
        };
        let mut back = self.leaving.clone();
        let StepOutput { addresses, .. } =
            context.start(back.slot, release, &back.backends).await?;
        addresses.correct_standing(&mut back);
        let healthy = context.await_healthy(back.slot, release.number, &back.backends).await?;
        Ok(StepOutput { addresses, ..healthy })
    }

    fn undo_waits(&self, context: &StepContext<'_>) -> Duration {
        context.deployment.policy.timeouts.launch + context.deployment.policy.timeouts.healthy
    }

    fn fold(
        &self,
        state: &mut ServiceState,
        deployment: &Deployment,
        event: &StepEvent,
        _: Timestamp,
    ) {
        let leaving = &self.leaving.backends;
        match event {
            // From its start on, a part of what is stable may be gone.
            StepEvent::Started => {
                if let Some(stable) = &mut state.stable {
                    stable.backends.retain(|backend| !leaving.contains(backend));
                }
            }
            // Refused: it ended before any of it was touched.
            StepEvent::Undone { .. } | StepEvent::Refused { .. } => {
                if let Some(whole) = &deployment.stable {
                    let old = state.old_side(whole);
                    let there = std::mem::take(&mut old.backends);
                    old.backends = whole
                        .backends
                        .iter()
                        .filter(|backend| there.contains(backend) || leaving.contains(backend))
                        .cloned()
                        .collect();
                }
            }
            StepEvent::Succeeded { .. }
            | StepEvent::Lost { .. }
            | StepEvent::Failed { .. }
            | StepEvent::UndoStarted
            | StepEvent::UndoFailed { .. } => {}
        }
    }

    fn thins_out(&self) -> &[Backend] {
        &self.leaving.backends
    }
}
