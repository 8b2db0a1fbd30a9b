//! Failures in the contract's words: as guests see them, and what guests' own mean to the engine.

use crate::answer::EffectError;
use crate::bindings::any::agente::types::types::Failure;
use agente_engine::fault::FaultKind;

/// The contract's word for a kind of fault.
fn code_of(kind: FaultKind) -> &'static str {
    match kind {
        FaultKind::InvalidConfig => "invalid-config",
        FaultKind::Denied => "denied",
        FaultKind::Unavailable | FaultKind::TimedOut => "unavailable",
        FaultKind::Conflict => "conflict",
        FaultKind::Unsupported => "unsupported",
        FaultKind::NotLoaded => "not-loaded",
        FaultKind::Rejected => "rejected",
        FaultKind::Unhealthy
        | FaultKind::Errored
        | FaultKind::Undecided
        | FaultKind::BudgetExceeded
        | FaultKind::PluginCrashed
        | FaultKind::LeaseLost
        | FaultKind::JournalUnavailable
        | FaultKind::Aborted
        | FaultKind::Failed
        | FaultKind::Internal => "failed",
    }
}

/// The kind of fault that a contract's word means; one that the contract doesn't know is a plain
/// failure.
pub(crate) fn kind_of(code: &str) -> FaultKind {
    match code {
        "invalid-config" => FaultKind::InvalidConfig,
        "denied" => FaultKind::Denied,
        "unavailable" => FaultKind::Unavailable,
        "conflict" => FaultKind::Conflict,
        "unsupported" => FaultKind::Unsupported,
        "not-loaded" => FaultKind::NotLoaded,
        "rejected" => FaultKind::Rejected,
        _ => FaultKind::Failed,
    }
}

impl From<EffectError> for Failure {
    fn from(error: EffectError) -> Self {
        Self {
            code: code_of(error.kind).to_owned(),
            retryable: error.retryable,
            message: error.message,
            hint: error.hint,
            labels: error.labels,
        }
    }
}
