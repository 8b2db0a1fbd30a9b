//! The closed set of steps, and the one place where a step changes state.

use crate::fault::Fault;
use crate::names::ReleaseNumber;
use crate::policy::Stage;
use crate::route::{Backend, Routes, Slot};
use crate::state::Standing;
use crate::weight::Weight;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// What a step does. Closed: a strategy is a list of these.
#[derive(Debug, Clone, PartialEq, JsonSchema, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum StepKind {
    /// Judges everything that can be judged before anything is touched.
    Preflight,
    /// Watches the stable release from outside.
    Baseline { duration: Duration },
    /// Removes what the last deployment kept. Can't be undone, and takes nothing that serves.
    RetireKept { standing: Standing },
    /// Starts the candidate's backends. Undo: drains them if they ever had weight, and removes
    /// them.
    Launch { slot: Slot, backends: Vec<Backend> },
    /// Waits until each backend has passed its checks.
    AwaitHealthy { slot: Slot, backends: Vec<Backend> },
    /// Sets the routes and proves them. Undo: sets and proves the ones before.
    Shift {
        /// The routes before; none on the first deployment and on adoption.
        before: Option<Routes>,
        /// The routes after.
        after: Routes,
    },
    /// Watches the candidate beside the stable release until it has earned more, or less.
    Analyze {
        /// At which weight, how long at least, and whether a person then decides.
        stage: Stage,
    },
    /// Removes a part of the stable side, drained before. Undo: starts it again and waits until it
    /// is healthy.
    Shrink {
        slot: Slot,
        /// Which release it is.
        release: ReleaseNumber,
        /// The part.
        backends: Vec<Backend>,
    },
    /// Asks the checks of what now serves.
    Validate { slot: Slot },
    /// Makes the candidate stable: the commit point. Undo: makes the old one stable again.
    Promote,
    /// Watches after promote.
    Bake { duration: Duration },
    /// Waits until the old side's last requests have ended.
    Drain {
        /// The old side.
        slot: Slot,
    },
    /// Lets the old side stand for a while before it is retired.
    Hold { duration: Duration },
    /// Removes the old side. From here the deployment only goes forward.
    Retire { standing: Standing },
}

impl StepKind {
    /// The name that people and events see.
    pub fn name(&self) -> &'static str {
        match self {
            StepKind::Preflight => "preflight",
            StepKind::Baseline { .. } => "baseline",
            StepKind::RetireKept { .. } => "retire-kept",
            StepKind::Launch { .. } => "launch",
            StepKind::AwaitHealthy { .. } => "await-healthy",
            StepKind::Shift { .. } => "shift",
            StepKind::Analyze { .. } => "analyze",
            StepKind::Shrink { .. } => "shrink",
            StepKind::Validate { .. } => "validate",
            StepKind::Promote => "promote",
            StepKind::Bake { .. } => "bake",
            StepKind::Drain { .. } => "drain",
            StepKind::Hold { .. } => "hold",
            StepKind::Retire { .. } => "retire",
        }
    }

    /// Whether it leaves something that unwinding must take back.
    pub fn has_undo(&self) -> bool {
        matches!(
            self,
            StepKind::Launch { .. }
                | StepKind::Shift { .. }
                | StepKind::Shrink { .. }
                | StepKind::Promote
        )
    }

    /// Whether it changes anything outside at all.
    pub fn has_effect(&self) -> bool {
        self.has_undo() || matches!(self, StepKind::RetireKept { .. } | StepKind::Retire { .. })
    }

    /// Whether it only leads up to 100 %: a part of the requests more for one side.
    pub fn leads_up(&self) -> bool {
        match self {
            StepKind::Shift { before: Some(before), after } => {
                let grows = |slot: Slot| after.weight(slot) > before.weight(slot);
                Slot::BOTH.iter().any(|&slot| grows(slot))
                    && Slot::BOTH.iter().all(|&slot| after.weight(slot) != Weight::FULL)
            }
            _ => false,
        }
    }

    /// Whether the deployment can only go forward once this has begun.
    pub fn is_point_of_no_return(&self) -> bool {
        matches!(self, StepKind::Retire { .. })
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
    /// The deployment goes on and what is left is cut.
    Cut,
    /// The deployment goes on: waiting was the purpose.
    GoOn,
    /// The step is tried again until the deployment is stuck: past the point of no return.
    Stuck,
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

/// What a finished step leaves behind for people and for later steps.
#[derive(Debug, Clone, PartialEq, Eq, Default, JsonSchema, Serialize, Deserialize)]
pub struct StepOutput {
    /// What was found, measured or decided: one sentence each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// For `drain`: whether the last requests have ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drained: Option<bool>,
    /// For `retire`: whether the old side is gone; not so where it still drained and the policy
    /// keeps it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retired: Option<bool>,
    /// Whether the step was passed over and did nothing.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub skipped: bool,
}

impl StepOutput {
    /// An output of one sentence.
    pub fn note(note: impl Into<String>) -> Self {
        Self { notes: vec![note.into()], ..Self::default() }
    }
}

/// What is written about a step.
#[derive(Debug, Clone, PartialEq, JsonSchema, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum StepEvent {
    /// Written before the effect.
    Started,
    /// The effect is there and was seen.
    Succeeded {
        /// What it leaves.
        output: StepOutput,
    },
    /// It ended before any effect began.
    Refused { fault: Fault },
    /// The effect is unknown: trap, deadline, crash, abort, late fault.
    Lost { fault: Fault },
    /// Written before the undo.
    UndoStarted,
    /// What the step did is gone.
    Undone {
        /// What the undo leaves.
        output: StepOutput,
    },
    /// The undo failed, retries included.
    UndoFailed { fault: Fault },
}

/// Where a step is.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum StepState {
    /// Nothing began.
    #[default]
    Pending,
    /// Begun, not ended; also after a crash.
    Running,
    /// Its effect is there.
    Done(StepOutput),
    /// It ended without an effect.
    Refused(Fault),
    /// It may have had an effect.
    Unknown(Fault),
    /// Its undo has begun.
    Undoing,
    /// Its effect is gone.
    Undone,
    /// Its undo failed; a person decides.
    Stuck(Fault),
}

/// An entry that does not fit what came before: the journal is damaged, or a bug.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("a step that is {state:?} can't take {event:?}")]
pub struct IllegalMove {
    /// Where the step was.
    pub state: Box<StepState>,
    /// What was written.
    pub event: Box<StepEvent>,
}

impl StepState {
    /// Folds one journal entry into a step's state; the only place where a step changes state.
    pub fn next(self, event: StepEvent) -> Result<StepState, IllegalMove> {
        use StepEvent as E;
        use StepState as S;
        match (self, event) {
            // A second start is a resumed attempt.
            (S::Pending | S::Running, E::Started) => Ok(S::Running),
            (S::Running, E::Succeeded { output }) => Ok(S::Done(output)),
            (S::Running, E::Refused { fault }) => Ok(S::Refused(fault)),
            (S::Running, E::Lost { fault }) => Ok(S::Unknown(fault)),
            // Running: the host died in the step and an abort came before it was tried again.
            // Stuck: a person said `resume`.
            (
                S::Running | S::Done(_) | S::Unknown(_) | S::Undoing | S::Stuck(_),
                E::UndoStarted,
            ) => Ok(S::Undoing),
            (S::Undoing, E::Undone { .. }) => Ok(S::Undone),
            (S::Undoing, E::UndoFailed { fault }) => Ok(S::Stuck(fault)),
            (state, event) => Err(IllegalMove { state: Box::new(state), event: Box::new(event) }),
        }
    }
}
