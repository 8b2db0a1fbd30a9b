//! Watching what was promoted.

use super::action::{Action, Facts, TimeoutAction};
use crate::context::{Schedule, StepContext};
use crate::fault::Failure;
use crate::policy::{CheckMoment, Policy};
use crate::step::StepOutput;
use crate::words::span;
use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::Duration;

const FACTS: Facts =
    Facts { probed: true, follows_shift: true, noted_in_outcome: true, ..Facts::named("bake") };

/// How often is looked whether the release still runs, at least.
const POLL: Duration = Duration::from_millis(500);

/// How long the shortest wait between two looks is.
const BREATH: Duration = Duration::from_millis(10);

/// What the last question may take beyond the watching.
const MARGIN: Duration = Duration::from_secs(30);

/// Watches the promoted release. Unhealthy takes it back; a check that does not answer is waited
/// for as long again, then reported.
#[derive(Debug, Clone, PartialEq, JsonSchema, Serialize, Deserialize)]
pub struct Bake {
    pub duration: Duration,
}

#[async_trait]
impl Action for Bake {
    fn facts(&self) -> Facts {
        FACTS
    }

    fn words(&self) -> String {
        format!("watch it for {}", span(self.duration))
    }

    fn limit(&self, _: &Policy) -> Duration {
        // Checks that do not answer at its end are given as long again.
        self.duration * 2 + MARGIN
    }

    fn on_timeout(&self, _: &Policy) -> TimeoutAction {
        TimeoutAction::GoOn
    }

    async fn run(&self, context: &StepContext<'_>) -> Result<StepOutput, Failure> {
        let deployment = &context.deployment;
        let mut schedule = Schedule::of(deployment.policy.checks_at(CheckMoment::Bake));
        let began = context.ports.clock.elapsed();
        // Another process has read what the release before did, and is gone.
        if context.analysis.lock().await.is_none() && deployment.stable.is_some() {
            context.learn_of_before(deployment.stable.as_ref(), deployment.created).await;
        }
        context.measure_alone().await;
        let mut fallback = None;
        loop {
            context.still_runs().await?;
            context.ask_due(&mut schedule).await?;
            let stand = context.look(Some(&mut fallback)).await?;
            let passed = context.since(began);
            let mut silent = schedule.silent();
            silent.extend(stand.open);
            let patience =
                if silent.is_empty() { self.duration } else { self.duration.saturating_mul(2) };
            if passed >= patience {
                let mut notes = vec![format!("baked for {}", span(passed))];
                notes.extend(silent.iter().map(|open| format!("not confirmed: {open}")));
                notes.extend(context.outages().await);
                return Ok(StepOutput { notes, ..StepOutput::default() });
            }
            let left = patience.saturating_sub(passed).max(Duration::from_millis(1));
            let next = schedule.next(context.ports.clock.elapsed()).unwrap_or(POLL);
            context.ports.clock.sleep(next.clamp(BREATH, POLL).min(left)).await;
        }
    }
}
