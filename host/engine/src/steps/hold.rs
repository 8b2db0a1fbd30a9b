//! Letting the old side stand for a while.

use super::action::{Action, Facts, TimeoutAction};
use crate::context::StepContext;
use crate::fault::Failure;
use crate::policy::Policy;
use crate::step::StepOutput;
use crate::words::span;
use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::Duration;

const FACTS: Facts = Facts::named("hold");

/// Lets the old side stand for a while before it is retired.
#[derive(Debug, Clone, PartialEq, JsonSchema, Serialize, Deserialize)]
pub struct Hold {
    pub duration: Duration,
}

#[async_trait]
impl Action for Hold {
    fn facts(&self) -> Facts {
        FACTS
    }

    fn words(&self) -> String {
        format!("keep the old side for {}", span(self.duration))
    }

    fn limit(&self, _: &Policy) -> Duration {
        self.duration
    }

    fn on_timeout(&self, _: &Policy) -> TimeoutAction {
        TimeoutAction::GoOn
    }

    async fn run(&self, context: &StepContext<'_>) -> Result<StepOutput, Failure> {
        context.waiting(format!("keeping the old side for another {}", span(self.duration)));
        context.ports.clock.sleep(self.duration).await;
        Ok(StepOutput::default())
    }
}
