//! Where a step is, what is written about it, and the one place where that changes.

use crate::addresses::Addresses;
use crate::fault::Fault;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

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
    /// Of a step that starts backends: where they are reached.
    #[serde(default, skip_serializing_if = "Addresses::is_empty")]
    pub addresses: Addresses,
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
    /// It failed past the point of no return: it may have done a part, and nothing is undone.
    Failed { fault: Fault },
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
    /// It failed and there is no way back; a person decides.
    Failed(Fault),
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
            // A second start is a resumed attempt; after a failure a person said `resume`.
            (S::Pending | S::Running | S::Failed(_), E::Started) => Ok(S::Running),
            (S::Running, E::Succeeded { output }) => Ok(S::Done(output)),
            (S::Running, E::Refused { fault }) => Ok(S::Refused(fault)),
            (S::Running, E::Lost { fault }) => Ok(S::Unknown(fault)),
            (S::Running, E::Failed { fault }) => Ok(S::Failed(fault)),
            // Running: the host died in the step and an abort came before it was tried again.
            // Stuck: a person said `resume`. Undone: what the undo did was changed by somebody else
            // while no host ran.
            (
                S::Running | S::Done(_) | S::Unknown(_) | S::Undoing | S::Undone | S::Stuck(_),
                E::UndoStarted,
            ) => Ok(S::Undoing),
            (S::Undoing, E::Undone { .. }) => Ok(S::Undone),
            (S::Undoing, E::UndoFailed { fault }) => Ok(S::Stuck(fault)),
            (state, event) => Err(IllegalMove { state: Box::new(state), event: Box::new(event) }),
        }
    }
}
