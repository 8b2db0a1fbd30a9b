//! The closed set of steps. All that a kind of step is stands in one file: its data, what holds for
//! it, what it does and how that is undone, its limits, its words, and what it changes in the state
//! of the service. Nothing else asks of which kind a step is.

mod action;
mod analyze;
mod await_healthy;
mod bake;
mod baseline;
mod drain;
mod hold;
mod launch;
mod preflight;
mod promote;
mod retire;
mod retire_kept;
mod shift;
mod shrink;
mod validate;

pub use action::{Effect, Facts, TimeoutAction};
pub use analyze::Analyze;
pub use await_healthy::AwaitHealthy;
pub use bake::Bake;
pub use baseline::Baseline;
pub use drain::Drain;
pub use hold::Hold;
pub use launch::Launch;
pub use preflight::Preflight;
pub(crate) use preflight::survey;
pub use promote::Promote;
pub use retire::Retire;
pub use retire_kept::RetireKept;
pub use shift::Shift;
pub use shrink::Shrink;
pub use validate::Validate;

use crate::addresses::Addresses;
use crate::context::StepContext;
use crate::deployment::Deployment;
use crate::fault::Failure;
use crate::names::Timestamp;
use crate::policy::Policy;
use crate::route::{Backend, Routes};
use crate::state::ServiceState;
use crate::step::{StepEvent, StepOutput};
use action::Action;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// What a step does. Closed: a strategy is a list of these.
#[derive(Debug, Clone, PartialEq, JsonSchema, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum StepKind {
    Preflight(Preflight),
    Baseline(Baseline),
    RetireKept(RetireKept),
    Launch(Launch),
    AwaitHealthy(AwaitHealthy),
    Shift(Shift),
    Analyze(Analyze),
    Shrink(Shrink),
    Validate(Validate),
    Promote(Promote),
    Bake(Bake),
    Drain(Drain),
    Hold(Hold),
    Retire(Retire),
}

/// A step of a plan.
#[derive(Debug, Clone, PartialEq, JsonSchema, Serialize, Deserialize)]
pub struct Step {
    /// What it does.
    #[serde(flatten)]
    pub kind: StepKind,
    /// How long it may take.
    pub timeout: Duration,
    pub on_timeout: TimeoutAction,
}

impl Step {
    /// A step with the limits that its kind has under a policy.
    pub fn new(kind: StepKind, policy: &Policy) -> Self {
        let action = kind.action();
        Self { timeout: action.limit(policy), on_timeout: action.on_timeout(policy), kind }
    }
}

impl StepKind {
    fn action_mut(&mut self) -> &mut dyn Action {
        match self {
            StepKind::Preflight(step) => step,
            StepKind::Baseline(step) => step,
            StepKind::RetireKept(step) => step,
            StepKind::Launch(step) => step,
            StepKind::AwaitHealthy(step) => step,
            StepKind::Shift(step) => step,
            StepKind::Analyze(step) => step,
            StepKind::Shrink(step) => step,
            StepKind::Validate(step) => step,
            StepKind::Promote(step) => step,
            StepKind::Bake(step) => step,
            StepKind::Drain(step) => step,
            StepKind::Hold(step) => step,
            StepKind::Retire(step) => step,
        }
    }

    fn action(&self) -> &dyn Action {
        match self {
            StepKind::Preflight(step) => step,
            StepKind::Baseline(step) => step,
            StepKind::RetireKept(step) => step,
            StepKind::Launch(step) => step,
            StepKind::AwaitHealthy(step) => step,
            StepKind::Shift(step) => step,
            StepKind::Analyze(step) => step,
            StepKind::Shrink(step) => step,
            StepKind::Validate(step) => step,
            StepKind::Promote(step) => step,
            StepKind::Bake(step) => step,
            StepKind::Drain(step) => step,
            StepKind::Hold(step) => step,
            StepKind::Retire(step) => step,
        }
    }

    /// Corrects the addresses of backends that it names.
    pub(crate) fn learn(&mut self, addresses: &Addresses) {
        self.action_mut().learn(addresses);
    }

    /// What holds for every step of the kind.
    pub fn facts(&self) -> Facts {
        self.action().facts()
    }

    /// The name that people and events see.
    pub fn name(&self) -> &'static str {
        self.facts().name
    }

    /// What it does, in words for people.
    pub fn words(&self) -> String {
        self.action().words()
    }

    /// The backends of the candidate that it starts.
    pub fn starts(&self) -> &[Backend] {
        self.action().starts()
    }

    /// The backends of the stable side that it removes before the candidate is promoted.
    pub fn thins_out(&self) -> &[Backend] {
        self.action().thins_out()
    }

    /// The routes that it sets.
    pub fn sets(&self) -> Option<&Routes> {
        self.action().sets()
    }

    /// Whether it only leads up to 100 %: a part of the requests more for one side.
    pub fn leads_up(&self) -> bool {
        self.action().leads_up()
    }

    /// Runs it forward. The caller limits the time.
    pub(crate) async fn run(&self, context: &StepContext<'_>) -> Result<StepOutput, Failure> {
        let facts = self.facts();
        context.shared(|shared| shared.last_answer = None);
        if facts.probed {
            context.keep_probing().await;
        }
        if facts.follows_shift {
            context.has_gone_back(); // Another process may have shifted.
        }
        self.action().run(context).await
    }

    /// Takes back what it did, once; the same again changes nothing.
    pub(crate) async fn undo(&self, context: &StepContext<'_>) -> Result<StepOutput, Failure> {
        self.action().undo(context).await
    }

    /// What one undo may wait for by right, on top of its limit.
    pub(crate) fn undo_waits(&self, context: &StepContext<'_>) -> Duration {
        self.action().undo_waits(context)
    }

    /// What a step that waits on purpose leaves when its time is over, and why.
    pub(crate) fn timed_out(&self, note: String) -> StepOutput {
        self.action().timed_out(note)
    }

    /// The backends whose last words help to understand why it failed.
    pub(crate) fn witnesses(&self) -> &[Backend] {
        self.action().witnesses()
    }

    /// Changes the service's state as an entry about it says.
    pub(crate) fn fold(
        &self,
        state: &mut ServiceState,
        deployment: &Deployment,
        event: &StepEvent,
        at: Timestamp,
    ) {
        self.action().fold(state, deployment, event, at);
    }
}
