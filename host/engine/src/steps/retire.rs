//! Removing the old side.

use super::action::{Action, Effect, Facts, TimeoutAction};
use crate::addresses::Addresses;
use crate::context::StepContext;
use crate::deployment::Deployment;
use crate::fault::Failure;
use crate::names::Timestamp;
use crate::policy::{OnDrainTimeout, Policy};
use crate::ports::ObservedState;
use crate::route::Backend;
use crate::standing::Standing;
use crate::state::ServiceState;
use crate::step::{StepEvent, StepOutput};
use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::Duration;

const FACTS: Facts = Facts {
    effect: Effect::Lasting,
    point_of_no_return: true,
    probed: true,
    noted_in_outcome: true,
    ..Facts::named("retire")
};

/// What removing a side may take beyond its backends' own grace: the calls of the runtime.
pub(super) const MARGIN: Duration = Duration::from_secs(30);

/// Removes the old side. From here the deployment only goes forward.
#[derive(Debug, Clone, PartialEq, JsonSchema, Serialize, Deserialize)]
pub struct Retire {
    pub standing: Standing,
}

#[async_trait]
impl Action for Retire {
    fn facts(&self) -> Facts {
        FACTS
    }

    fn learn(&mut self, told: &Addresses) {
        told.correct_standing(&mut self.standing);
    }

    fn words(&self) -> String {
        let Standing { release, slot, .. } = &self.standing;
        format!("remove the old side: {release} on {slot}")
    }

    fn limit(&self, _: &Policy) -> Duration {
        self.standing.stop_time() + MARGIN
    }

    fn on_timeout(&self, _: &Policy) -> TimeoutAction {
        TimeoutAction::Stuck
    }

    async fn run(&self, context: &StepContext<'_>) -> Result<StepOutput, Failure> {
        if let Some(why) = self.still_used(context).await? {
            let Standing { slot, release, .. } = &self.standing;
            let note = format!("{slot} (release {release}) is kept: {why}");
            return Ok(StepOutput { retired: Some(false), ..StepOutput::note(note) });
        }
        let output = context.remove(&self.standing).await?;
        Ok(StepOutput { retired: Some(true), ..output })
    }

    fn fold(&self, state: &mut ServiceState, _: &Deployment, event: &StepEvent, _: Timestamp) {
        if matches!(event, StepEvent::Succeeded { output } if output.retired == Some(true)) {
            state.kept = None;
        }
    }
}

impl Retire {
    /// Why the old side can't be removed yet: it has requests, or may have.
    async fn still_used(&self, context: &StepContext<'_>) -> Result<Option<String>, Failure> {
        let Standing { slot, backends, .. } = &self.standing;
        // The proof of the shift may be hours old by now, or another process's.
        let observed = match context.ports.switcher.observe().await {
            Ok(observed) => observed,
            Err(fault) => {
                return Ok(Some(format!("can't tell whether requests still go there: {fault}")));
            }
        };
        if observed.state != ObservedState::Converged {
            let why = format!("requests may still go there: {}", observed.message);
            return Ok(Some(why));
        }
        let reached = |backend: &&Backend| {
            observed.routes.reaches(&backend.id)
                || observed.routes.reaches_address(&backend.address)
        };
        if let Some(Backend { id, .. }) = backends.iter().find(reached) {
            let why = format!(
                "the target sends requests to {id} again: its routes were changed \
            since"
            );
            return Ok(Some(why));
        }
        let cuts = context.deployment.policy.drain.on_timeout == OnDrainTimeout::Cut;
        if context.so_far.drained == Some(false) && !cuts {
            // It may have ended while it was held.
            let again =
                context.drain(*slot, backends, Duration::ZERO, OnDrainTimeout::Keep).await?;
            if again.drained != Some(true) {
                return Ok(Some("its last requests have not finished".to_owned()));
            }
        }
        Ok(None)
    }
}
