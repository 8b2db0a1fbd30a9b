//! What went wrong, in words that can be journaled and shown.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The kinds of fault. What the engine does next depends on the kind alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultKind {
    /// The configuration or the input is wrong; nothing was tried.
    InvalidConfig,
    /// A grant is missing.
    Denied,
    /// The other side did not answer, or could not be reached.
    Unavailable,
    /// The world is not as we left it: drift, a foreign container, a foreign store, a higher fence.
    Conflict,
    /// The other side can't do this.
    Unsupported,
    /// The other side accepted the change, but it is not in force.
    NotLoaded,
    /// The other side said no.
    Rejected,
    /// A time limit was reached.
    TimedOut,
    /// A check said unhealthy.
    Unhealthy,
    /// A check could not be asked.
    Errored,
    /// Neither good nor bad could be shown in time.
    Undecided,
    /// The probe's budget was used up.
    BudgetExceeded,
    /// A plugin trapped or used up its budget; the effect is unknown.
    PluginCrashed,
    /// Another host holds the lease, or took it.
    LeaseLost,
    /// The journal can't be written.
    JournalUnavailable,
    /// Somebody asked for an abort.
    Aborted,
    Failed,
    /// A bug of ours.
    Internal,
}

/// A fault: what was attempted, on what, what happened, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema, Serialize, Deserialize, thiserror::Error)]
pub struct Fault {
    /// The kind, which decides what happens next.
    pub kind: FaultKind,
    /// One sentence, with names and values. Never a secret.
    pub message: String,
    /// What to type or change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// The causes, outermost first, each printed once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub causes: Vec<String>,
    /// Whether the same call may succeed later without anybody changing anything.
    #[serde(default)]
    pub retryable: bool,
}

impl Fault {
    /// A fault without hint or causes, not retryable.
    pub fn new(kind: FaultKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), hint: None, causes: Vec::new(), retryable: false }
    }

    /// Adds what to type or change.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds an error and its sources as causes.
    #[must_use]
    pub fn because(mut self, error: &dyn std::error::Error) -> Self {
        let mut next = Some(error);
        while let Some(error) = next {
            self.causes.push(error.to_string());
            next = error.source();
        }
        self
    }

    /// Marks the fault as one that may pass by itself.
    #[must_use]
    pub fn retryable(mut self) -> Self {
        self.retryable = true;
        self
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// How an effect of a step failed: what the engine knows of the outside afterwards.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema, Serialize, Deserialize, thiserror::Error)]
#[serde(tag = "known", rename_all = "kebab-case")]
pub enum Failure {
    /// No effect began.
    #[error("{fault}")]
    Refused { fault: Fault },
    /// The effect may have happened, in whole or in part.
    #[error("{fault}")]
    Unknown { fault: Fault },
}

impl Failure {
    /// The fault, however much is known.
    pub fn fault(&self) -> &Fault {
        match self {
            Failure::Refused { fault } | Failure::Unknown { fault } => fault,
        }
    }
}
