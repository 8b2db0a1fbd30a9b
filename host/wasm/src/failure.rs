//! Failures as guests see them, and what guests' failures mean to the engine.

use crate::bindings::any::agente::types::types::Failure;
use crate::broker::Denied;
use agente_engine::fault::{Fault, FaultKind};
use agente_engine::ports::ProcessError;

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

impl Failure {
    pub(crate) fn new(kind: FaultKind, message: impl Into<String>) -> Self {
        let retryable = matches!(kind, FaultKind::Unavailable | FaultKind::TimedOut);
        Self {
            code: code_of(kind).to_owned(),
            retryable,
            message: message.into(),
            hint: None,
            labels: Vec::new(),
        }
    }

    /// The host could not do what was allowed.
    pub(crate) fn io(attempt: impl std::fmt::Display, error: &std::io::Error) -> Self {
        let kind = match error.kind() {
            std::io::ErrorKind::ConnectionRefused
            | std::io::ErrorKind::ConnectionReset
            | std::io::ErrorKind::ConnectionAborted
            | std::io::ErrorKind::BrokenPipe
            | std::io::ErrorKind::UnexpectedEof
            | std::io::ErrorKind::HostUnreachable
            | std::io::ErrorKind::NetworkUnreachable
            | std::io::ErrorKind::TimedOut => FaultKind::Unavailable,
            _ => FaultKind::Failed,
        };
        Self::new(kind, format!("{attempt} failed: {error}"))
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    pub(crate) fn label(mut self, name: &str, value: &str) -> Self {
        self.labels.push((name.to_owned(), value.to_owned()));
        self
    }
}

impl From<Denied> for Failure {
    fn from(denied: Denied) -> Self {
        let failure = Self::new(FaultKind::Denied, denied.to_string());
        Self { hint: denied.hint(), ..failure }
    }
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        let mut message = fault.message;
        for cause in fault.causes {
            message.push_str(": ");
            message.push_str(&cause);
        }
        Self {
            code: code_of(fault.kind).to_owned(),
            retryable: fault.retryable,
            message,
            hint: fault.hint,
            labels: Vec::new(),
        }
    }
}

impl From<ProcessError> for Failure {
    fn from(error: ProcessError) -> Self {
        let reason = match &error {
            ProcessError::NoPidFile(_) => "no-pid-file",
            ProcessError::BadPidFile(_) => "bad-pid-file",
            ProcessError::NotRunning(_) => "not-running",
            ProcessError::Other(fault) => return fault.clone().into(),
        };
        Self::new(FaultKind::Unavailable, error.to_string()).label("reason", reason)
    }
}
