//! Asking the checks of what now serves.

use super::action::{Action, Facts};
use crate::context::StepContext;
use crate::context::schedule::unhealthy;
use crate::fault::Failure;
use crate::policy::{CheckMoment, Policy};
use crate::route::Slot;
use crate::step::StepOutput;
use crate::words::{summary, unhappy_first, waits};
use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::Duration;

const FACTS: Facts =
    Facts { probed: true, follows_shift: true, told_as_it_goes: true, ..Facts::named("validate") };

/// Asks the checks of what now serves until each is healthy, or one is unhealthy too often.
#[derive(Debug, Clone, PartialEq, JsonSchema, Serialize, Deserialize)]
pub struct Validate {
    pub slot: Slot,
}

#[async_trait]
impl Action for Validate {
    fn facts(&self) -> Facts {
        FACTS
    }

    fn words(&self) -> String {
        format!("run the checks against {}, which now serves", self.slot)
    }

    fn limit(&self, policy: &Policy) -> Duration {
        policy.timeouts.validate
    }

    async fn run(&self, context: &StepContext<'_>) -> Result<StepOutput, Failure> {
        let deployment = &context.deployment;
        let mut checks = context.checks_at(CheckMoment::Validate);
        loop {
            let mut open = Vec::new();
            for (check, tally) in &mut checks {
                if tally.healthy_in_row >= check.healthy_after {
                    continue;
                }
                let release = Some(deployment.release.number);
                let verdict =
                    context.ask(check, Some(self.slot), release, &deployment.backends).await;
                tally.count(verdict);
                if check.report_only {
                    continue;
                }
                if tally.unhealthy > check.limits.unhealthy {
                    return Err(Failure::Unknown { fault: unhealthy(check, tally) });
                }
                if tally.healthy_in_row < check.healthy_after {
                    open.push(waits(check, tally));
                }
            }
            if open.is_empty() {
                let healthy = checks.iter().filter(|(_, tally)| tally.is_healthy()).count();
                let mut notes = vec![format!("{healthy} of {} checks healthy", checks.len())];
                notes.extend(checks.iter().map(|(check, tally)| summary(check, tally)));
                return Ok(StepOutput { notes, ..StepOutput::default() });
            }
            context.waiting(unhappy_first(open, &checks).join("; "));
            context.ports.clock.sleep(StepContext::interval(&checks)).await;
        }
    }
}
