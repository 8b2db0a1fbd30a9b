//! Waiting until the old side's last requests have ended.

use super::action::{Action, Facts, TimeoutAction};
use crate::context::StepContext;
use crate::deployment::Deployment;
use crate::fault::Failure;
use crate::names::Timestamp;
use crate::policy::{OnDrainTimeout, Policy};
use crate::ports::BackendRole;
use crate::route::Slot;
use crate::state::ServiceState;
use crate::step::{StepEvent, StepOutput};
use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::Duration;

const FACTS: Facts =
    Facts { probed: true, follows_shift: true, noted_in_outcome: true, ..Facts::named("drain") };

/// Waits until the old side's last requests have ended. The old side is not started again after a
/// reboot from here on.
#[derive(Debug, Clone, PartialEq, JsonSchema, Serialize, Deserialize)]
pub struct Drain {
    /// The old side.
    pub slot: Slot,
}

#[async_trait]
impl Action for Drain {
    fn facts(&self) -> Facts {
        FACTS
    }

    fn words(&self) -> String {
        format!("wait until the last requests to {} have finished", self.slot)
    }

    fn limit(&self, policy: &Policy) -> Duration {
        policy.drain.timeout
    }

    fn on_timeout(&self, policy: &Policy) -> TimeoutAction {
        match policy.drain.on_timeout {
            OnDrainTimeout::Keep => TimeoutAction::KeepAndTell,
            OnDrainTimeout::Cut => TimeoutAction::Cut,
        }
    }

    async fn run(&self, context: &StepContext<'_>) -> Result<StepOutput, Failure> {
        let policy = context.deployment.policy.drain;
        let old = context.deployment.stable.as_ref();
        let leaving = old.map(|old| old.backends.as_slice()).unwrap_or_default();
        let output = context.drain(self.slot, leaving, policy.timeout, policy.on_timeout).await?;
        if let Some(old) = old {
            context.assign(old, BackendRole::Kept).await;
        }
        Ok(output)
    }

    fn timed_out(&self, note: String) -> StepOutput {
        StepOutput { drained: Some(false), ..StepOutput::note(note) }
    }

    fn fold(&self, state: &mut ServiceState, _: &Deployment, event: &StepEvent, _: Timestamp) {
        if let (Some(kept), StepEvent::Succeeded { output }) = (&mut state.kept, event) {
            kept.drained = output.drained == Some(true);
        }
    }
}
