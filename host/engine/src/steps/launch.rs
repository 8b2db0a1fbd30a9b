//! Starting the candidate's backends.

use super::action::{Action, Effect, Facts};
use crate::addresses::Addresses;
use crate::context::StepContext;
use crate::fault::Failure;
use crate::policy::{OnDrainTimeout, Policy};
use crate::route::{Backend, Slot};
use crate::step::StepOutput;
use crate::words::{addresses, count};
use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::Duration;

const FACTS: Facts = Facts { effect: Effect::Undoable, probed: true, ..Facts::named("launch") };

/// Starts the candidate's backends. Undo: drains them if they ever had requests, and removes them.
#[derive(Debug, Clone, PartialEq, JsonSchema, Serialize, Deserialize)]
pub struct Launch {
    pub slot: Slot,
    pub backends: Vec<Backend>,
}

#[async_trait]
impl Action for Launch {
    fn facts(&self) -> Facts {
        FACTS
    }

    fn learn(&mut self, told: &Addresses) {
        told.correct(&mut self.backends);
    }

    fn words(&self) -> String {
        let Launch { slot, backends } = self;
        format!("start {} on {slot}: {}", count(backends.len(), "backend"), addresses(backends))
    }

    fn limit(&self, policy: &Policy) -> Duration {
        policy.timeouts.launch
    }

    async fn run(&self, context: &StepContext<'_>) -> Result<StepOutput, Failure> {
        context.start(self.slot, &context.deployment.release, &self.backends).await
    }

    async fn undo(&self, context: &StepContext<'_>) -> Result<StepOutput, Failure> {
        let mut output = StepOutput::default();
        if context.so_far.shift_began {
            output = self.drain(context).await;
        }
        let grace = context.deployment.release.runtime.stop_grace();
        output.notes.extend(context.retire(&self.backends, grace).await?.notes);
        Ok(output)
    }

    fn undo_waits(&self, context: &StepContext<'_>) -> Duration {
        let drain = if context.so_far.shift_began {
            context.deployment.policy.drain.timeout
        } else {
            Duration::ZERO
        };
        let backends = u32::try_from(self.backends.len()).unwrap_or(u32::MAX);
        drain + context.deployment.release.runtime.stop_grace() * backends
    }

    fn starts(&self) -> &[Backend] {
        &self.backends
    }

    fn witnesses(&self) -> &[Backend] {
        &self.backends
    }
}

impl Launch {
    /// Gives the requests that a rejected candidate still holds the drain's time to end; then they
    /// are cut, and the note says so.
    async fn drain(&self, context: &StepContext<'_>) -> StepOutput {
        let limit = context.deployment.policy.drain.timeout;
        let drained = context.drain(self.slot, &self.backends, limit, OnDrainTimeout::Cut).await;
        drained.unwrap_or_else(|failure| {
            StepOutput::note(format!(
                "could not tell whether requests to {} have finished: {}",
                self.slot,
                failure.fault()
            ))
        })
    }
}
