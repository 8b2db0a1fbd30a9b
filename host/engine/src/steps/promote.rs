//! Making the candidate stable.

use super::action::{Action, Effect, Facts};
use crate::context::StepContext;
use crate::deployment::Deployment;
use crate::fault::Failure;
use crate::names::Timestamp;
use crate::policy::Policy;
use crate::ports::BackendRole;
use crate::standing::{Kept, Standing};
use crate::state::ServiceState;
use crate::step::{StepEvent, StepOutput};
use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::Duration;

const FACTS: Facts =
    Facts { effect: Effect::Undoable, commits: true, probed: true, ..Facts::named("promote") };

/// How long it may take: no more than words to the runtime.
const LIMIT: Duration = Duration::from_secs(10);

/// Makes the candidate stable: the commit point. Undo: makes the old one stable again.
#[derive(Debug, Clone, PartialEq, JsonSchema, Serialize, Deserialize)]
pub struct Promote {}

#[async_trait]
impl Action for Promote {
    fn facts(&self) -> Facts {
        FACTS
    }

    fn words(&self) -> String {
        "make the candidate stable (the commit point)".to_owned()
    }

    fn limit(&self, _: &Policy) -> Duration {
        LIMIT
    }

    async fn run(&self, context: &StepContext<'_>) -> Result<StepOutput, Failure> {
        let deployment = &context.deployment;
        // What stood aside is what returns after a reboot from here on.
        if deployment.goes_back_fast() {
            let candidate = deployment.candidate(context.ports.clock.now());
            context.assign(&candidate, BackendRole::Live).await;
        }
        let (release, slot) = (deployment.release.number, deployment.slot);
        Ok(StepOutput::note(format!("release {release} is stable on {slot}")))
    }

    /// The old side is what returns after a reboot.
    async fn undo(&self, context: &StepContext<'_>) -> Result<StepOutput, Failure> {
        let deployment = &context.deployment;
        if let Some(old) = &deployment.stable {
            context.assign(old, BackendRole::Live).await;
        }
        if deployment.goes_back_fast() {
            let candidate = deployment.candidate(context.ports.clock.now());
            context.assign(&candidate, BackendRole::Kept).await;
        }
        Ok(StepOutput::default())
    }

    fn fold(
        &self,
        state: &mut ServiceState,
        deployment: &Deployment,
        event: &StepEvent,
        at: Timestamp,
    ) {
        match event {
            StepEvent::Succeeded { .. } => {
                // What a rolling deployment has removed of it is no part of it any more.
                let backends =
                    state.stable.as_ref().map(|stable| stable.backends.clone()).unwrap_or_default();
                let old = deployment.stable.clone().filter(|_| !backends.is_empty());
                state.kept = old.map(|old| Kept {
                    standing: Standing { since: at, backends, ..old },
                    drained: false,
                    partial: false,
                });
                state.stable = Some(deployment.candidate(at));
            }
            StepEvent::Undone { .. } => {
                state.stable.clone_from(&deployment.stable);
                let kept = deployment.kept.clone().filter(|_| !deployment.removes_kept());
                state.kept = kept.map(|kept| Kept { drained: false, ..kept });
            }
            StepEvent::Started
            | StepEvent::Refused { .. }
            | StepEvent::Lost { .. }
            | StepEvent::Failed { .. }
            | StepEvent::UndoStarted
            | StepEvent::UndoFailed { .. } => {}
        }
    }
}
