//! What every kind of step says of itself and can do.

use crate::addresses::Addresses;
use crate::context::StepContext;
use crate::deployment::Deployment;
use crate::fault::Failure;
use crate::names::Timestamp;
use crate::policy::Policy;
use crate::route::{Backend, Routes};
use crate::state::ServiceState;
use crate::step::{StepEvent, StepOutput};
use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// What a step changes outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Nothing: it looks and waits.
    None,
    /// Something that unwinding takes back.
    Undoable,
    /// Something that nobody takes back.
    Lasting,
}

/// What holds for every step of a kind, whatever its data.
#[expect(
    clippy::struct_excessive_bools,
    reason = "answers to questions that have nothing in common"
)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts {
    /// The name that people and events see.
    pub name: &'static str,
    /// What it changes outside.
    pub effect: Effect,
    /// Whether it gives requests to somebody else.
    pub moves_requests: bool,
    /// Whether its undo comes before that of any other kind, however late they ran.
    pub undone_first: bool,
    /// Whether the candidate is stable from its end on.
    pub commits: bool,
    /// Whether the deployment can only go forward once it has begun.
    pub point_of_no_return: bool,
    /// Whether a person may end it with `promote`.
    pub awaits_decision: bool,
    /// Whether numbers of the candidate are read.
    pub measures: bool,
    /// Whether our own requests from outside run meanwhile.
    pub probed: bool,
    /// Whether requests have moved when it runs.
    pub follows_shift: bool,
    /// Whether what it finds is told as it goes, so that its notes are news only to who reads later.
    pub told_as_it_goes: bool,
    /// Whether the outcome repeats its notes.
    pub noted_in_outcome: bool,
}

impl Facts {
    /// A step that only looks.
    pub(crate) const fn named(name: &'static str) -> Self {
        Self {
            name,
            effect: Effect::None,
            moves_requests: false,
            undone_first: false,
            commits: false,
            point_of_no_return: false,
            awaits_decision: false,
            measures: false,
            probed: false,
            follows_shift: false,
            told_as_it_goes: false,
            noted_in_outcome: false,
        }
    }

    /// Whether it leaves something that unwinding must take back.
    pub fn has_undo(self) -> bool {
        self.effect == Effect::Undoable
    }

    /// Whether it changes anything outside at all.
    pub fn has_effect(self) -> bool {
        self.effect != Effect::None
    }
}

/// What happens when a step reaches its time limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TimeoutAction {
    /// The deployment unwinds.
    Unwind,
    /// The deployment goes on, the old side is kept, and the outcome says so.
    KeepAndTell,
    /// The deployment goes on and remaining connections are cut.
    Cut,
    /// The deployment goes on: waiting was the purpose.
    GoOn,
    /// The step is tried again until the deployment is stuck: past the point of no return.
    Stuck,
}

impl TimeoutAction {
    /// Whether the step waits on purpose, and the deployment goes on when its time is over.
    pub fn goes_on(self) -> bool {
        match self {
            TimeoutAction::KeepAndTell | TimeoutAction::Cut | TimeoutAction::GoOn => true,
            TimeoutAction::Unwind | TimeoutAction::Stuck => false,
        }
    }
}

/// A kind of step.
#[async_trait]
pub(super) trait Action: Send + Sync {
    fn facts(&self) -> Facts;

    /// What it does, in words for people.
    fn words(&self) -> String;

    /// How long it may take.
    fn limit(&self, policy: &Policy) -> Duration;

    fn on_timeout(&self, _: &Policy) -> TimeoutAction {
        TimeoutAction::Unwind
    }

    /// Runs it forward. May run again after a death in the middle of it.
    async fn run(&self, context: &StepContext<'_>) -> Result<StepOutput, Failure>;

    /// Takes back what it did, in whole or in part. Called for undoable kinds alone, again and again
    /// until it succeeds.
    async fn undo(&self, _: &StepContext<'_>) -> Result<StepOutput, Failure> {
        Ok(StepOutput::default())
    }

    /// What one undo may wait for by right, on top of its limit.
    fn undo_waits(&self, _: &StepContext<'_>) -> Duration {
        Duration::ZERO
    }

    /// What it leaves when its time is over and the deployment goes on.
    fn timed_out(&self, note: String) -> StepOutput {
        StepOutput::note(note)
    }

    /// Changes the service's state as an entry about it says.
    fn fold(&self, _: &mut ServiceState, _: &Deployment, _: &StepEvent, _: Timestamp) {}

    /// Corrects the addresses of backends that it names.
    fn learn(&mut self, _: &Addresses) {}

    /// The backends of the candidate that it starts.
    fn starts(&self) -> &[Backend] {
        &[]
    }

    /// The backends of the stable side that it removes before the candidate is promoted.
    fn thins_out(&self) -> &[Backend] {
        &[]
    }

    /// The routes that it sets.
    fn sets(&self) -> Option<&Routes> {
        None
    }

    /// Whether it only leads up to 100 %.
    fn leads_up(&self) -> bool {
        false
    }

    /// The backends whose last words help to understand why it failed.
    fn witnesses(&self) -> &[Backend] {
        &[]
    }
}
