//! Waiting until the candidate is healthy.

use super::action::{Action, Facts};
use crate::addresses::Addresses;
use crate::context::StepContext;
use crate::fault::Failure;
use crate::policy::Policy;
use crate::route::{Backend, Slot};
use crate::step::StepOutput;
use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::Duration;

const FACTS: Facts = Facts::named("await-healthy");

/// Waits until each backend has passed its checks.
#[derive(Debug, Clone, PartialEq, JsonSchema, Serialize, Deserialize)]
pub struct AwaitHealthy {
    pub slot: Slot,
    pub backends: Vec<Backend>,
}

#[async_trait]
impl Action for AwaitHealthy {
    fn facts(&self) -> Facts {
        FACTS
    }

    fn learn(&mut self, told: &Addresses) {
        told.correct(&mut self.backends);
    }

    fn words(&self) -> String {
        format!("wait until every backend in {} has passed its checks", self.slot)
    }

    fn limit(&self, policy: &Policy) -> Duration {
        policy.timeouts.healthy
    }

    async fn run(&self, context: &StepContext<'_>) -> Result<StepOutput, Failure> {
        context.await_healthy(self.slot, context.deployment.release.number, &self.backends).await
    }

    fn witnesses(&self) -> &[Backend] {
        &self.backends
    }
}
