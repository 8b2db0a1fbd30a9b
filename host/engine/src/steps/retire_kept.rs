//! Removing what the last deployment kept, to make room for the candidate.

use super::action::{Action, Effect, Facts};
use super::retire::MARGIN;
use crate::addresses::Addresses;
use crate::context::StepContext;
use crate::deployment::Deployment;
use crate::fault::Failure;
use crate::names::Timestamp;
use crate::policy::Policy;
use crate::standing::Standing;
use crate::state::ServiceState;
use crate::step::{StepEvent, StepOutput};
use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::Duration;

const FACTS: Facts = Facts {
    effect: Effect::Lasting,
    probed: true,
    noted_in_outcome: true,
    ..Facts::named("retire-kept")
};

/// Removes what the last deployment kept. Can't be undone, and takes nothing that serves.
#[derive(Debug, Clone, PartialEq, JsonSchema, Serialize, Deserialize)]
pub struct RetireKept {
    pub standing: Standing,
}

#[async_trait]
impl Action for RetireKept {
    fn facts(&self) -> Facts {
        FACTS
    }

    fn learn(&mut self, told: &Addresses) {
        told.correct_standing(&mut self.standing);
    }

    fn words(&self) -> String {
        let Standing { release, slot, .. } = &self.standing;
        format!("remove what the last deployment kept: {release} on {slot}")
    }

    fn limit(&self, policy: &Policy) -> Duration {
        self.standing.stop_time() + MARGIN + policy.drain.timeout
    }

    async fn run(&self, context: &StepContext<'_>) -> Result<StepOutput, Failure> {
        context.remove(&self.standing).await
    }

    fn fold(
        &self,
        state: &mut ServiceState,
        deployment: &Deployment,
        event: &StepEvent,
        _: Timestamp,
    ) {
        match event {
            StepEvent::Started => {
                if let Some(kept) = &mut state.kept {
                    kept.partial = true;
                }
            }
            // It ended before any of it was touched.
            StepEvent::Refused { .. } => state.kept.clone_from(&deployment.kept),
            StepEvent::Succeeded { .. } => state.kept = None,
            StepEvent::Lost { .. }
            | StepEvent::Failed { .. }
            | StepEvent::UndoStarted
            | StepEvent::Undone { .. }
            | StepEvent::UndoFailed { .. } => {}
        }
    }
}
