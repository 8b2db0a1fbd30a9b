//! The lines of a preflight, as every runtime writes them.

use agente_engine::fault::Fault;
use agente_engine::ports::{Finding, FindingResult};

/// As it should be.
pub(crate) fn good(subject: impl Into<String>, message: impl Into<String>) -> Finding {
    finding(subject, FindingResult::Good, message, None)
}

/// Worth knowing.
pub(crate) fn warning(
    subject: impl Into<String>,
    message: impl Into<String>,
    hint: impl Into<String>,
) -> Finding {
    finding(subject, FindingResult::Warning, message, Some(hint.into()))
}

/// Refuses the deployment.
pub(crate) fn bad(
    subject: impl Into<String>,
    message: impl Into<String>,
    hint: Option<String>,
) -> Finding {
    finding(subject, FindingResult::Bad, message, hint)
}

/// A fault as a line that refuses the deployment: its message, then its causes.
pub(crate) fn from_fault(subject: impl Into<String>, fault: Fault) -> Finding {
    let Fault { message, causes, hint, .. } = fault;
    let parts: Vec<String> = std::iter::once(message).chain(causes).collect();
    bad(subject, parts.join(": "), hint)
}

fn finding(
    subject: impl Into<String>,
    result: FindingResult,
    message: impl Into<String>,
    hint: Option<String>,
) -> Finding {
    Finding { subject: subject.into(), result, message: message.into(), hint }
}
