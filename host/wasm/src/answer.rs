//! What came of an effect: what a plugin is told, in the host's own words. The imports of each
//! version of the contract convert.

use crate::blob::Blob;
use crate::broker::Denied;
use crate::effect::Handle;
use agente_engine::fault::{Fault, FaultKind};
use agente_engine::ports::{ProcessError, SecretValue};
use serde::{Deserialize, Serialize};

/// What an effect gave.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    Done,
    /// Whether there was anything to remove.
    Removed(bool),
    /// A file, a value of the memory, a part of a stream; none where there is none, or no more.
    Bytes(Option<Blob>),
    Entry(Option<FileEntry>),
    Entries(Vec<FileEntry>),
    Output(ProgramOutput),
    Processes(Vec<ProcessEntry>),
    Connections(Vec<ConnectionEntry>),
    /// Where a log ends.
    Mark(u64),
    /// A connection is open.
    Connected(Handle),
    Response(HttpResponse),
    /// What stands for a secret.
    Placeholder(String),
    /// A secret itself, which is never written down.
    Secret(#[serde(with = "redacted")] SecretValue),
}

/// One entry of a folder, or what stands at a path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEntry {
    /// The last part of the path.
    pub name: String,
    /// `file`, `folder`, `link` or `other`.
    pub kind: String,
    pub size_bytes: u64,
    pub labels: Vec<(String, String)>,
}

/// What came of a program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProgramOutput {
    pub status: Option<i32>,
    pub stdout: Blob,
    pub stderr: Blob,
    pub truncated: bool,
    pub labels: Vec<(String, String)>,
}

/// One process of a target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessEntry {
    pub pid: u32,
    pub parent: u32,
    pub title: String,
    pub started_ms: u64,
    pub labels: Vec<(String, String)>,
}

/// One established connection of a target's processes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectionEntry {
    pub local: String,
    pub remote: String,
    pub pid: u32,
}

/// The head of an HTTP answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpResponse {
    pub status: u16,
    pub headers: Vec<(String, Blob)>,
    /// Where its body is read from.
    pub body: Handle,
}

/// Why an effect was not done, or was done in part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct EffectError {
    pub kind: FaultKind,
    pub retryable: bool,
    /// What was attempted, on what, and what happened.
    pub message: String,
    pub hint: Option<String>,
    pub labels: Vec<(String, String)>,
    /// What kind of trouble it was, where it was the network's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<NetworkTrouble>,
}

/// What can go wrong on the way to a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NetworkTrouble {
    /// The name has no address.
    NoAddress,
    /// Each address of the name is off limits.
    OffLimits,
    /// Nobody listens there.
    Refused,
    /// The connection could not be made, or broke.
    Broken,
    /// It was not made in time.
    ConnectTimedOut,
    /// The call holds as many connections as it may.
    TooMany,
    /// The server's certificate is not trusted.
    Certificate,
    /// TLS could not be spoken.
    Tls,
    /// The answer, or its next part, did not come in time.
    AnswerTimedOut,
    /// The answer ended too early.
    Incomplete,
    /// What came is not HTTP.
    Protocol,
}

impl EffectError {
    pub(crate) fn new(kind: FaultKind, message: impl Into<String>) -> Self {
        let retryable = matches!(kind, FaultKind::Unavailable | FaultKind::TimedOut);
        Self {
            kind,
            retryable,
            message: message.into(),
            hint: None,
            labels: Vec::new(),
            network: None,
        }
    }

    /// The host could not do what was allowed.
    pub(crate) fn io(attempt: impl std::fmt::Display, error: &std::io::Error) -> Self {
        use std::io::ErrorKind;
        let kind = match error.kind() {
            ErrorKind::ConnectionRefused
            | ErrorKind::ConnectionReset
            | ErrorKind::ConnectionAborted
            | ErrorKind::BrokenPipe
            | ErrorKind::UnexpectedEof
            | ErrorKind::HostUnreachable
            | ErrorKind::NetworkUnreachable
            | ErrorKind::TimedOut => FaultKind::Unavailable,
            _ => FaultKind::Failed,
        };
        Self::new(kind, format!("{attempt} failed: {error}"))
    }

    /// An answer to another question.
    pub(crate) fn mismatch() -> Self {
        Self::new(FaultKind::Internal, "the effect was answered as if it were another one")
    }

    pub(crate) fn network(mut self, trouble: NetworkTrouble) -> Self {
        self.network = Some(trouble);
        self
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

impl From<Denied> for EffectError {
    fn from(denied: Denied) -> Self {
        let error = Self::new(FaultKind::Denied, denied.to_string());
        Self { hint: denied.hint(), ..error }
    }
}

impl From<Fault> for EffectError {
    fn from(fault: Fault) -> Self {
        let mut message = fault.message;
        for cause in fault.causes {
            message.push_str(": ");
            message.push_str(&cause);
        }
        let error = Self::new(fault.kind, message);
        Self { hint: fault.hint, retryable: fault.retryable, ..error }
    }
}

impl From<ProcessError> for EffectError {
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

/// A secret's value is not written down, and read as if it were `[redacted]`.
mod redacted {
    use agente_engine::ports::SecretValue;
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(
        _: &SecretValue,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("[redacted]")
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<SecretValue, D::Error> {
        String::deserialize(deserializer).map(SecretValue::new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_revealed_secret_is_never_written_down() {
        let answer = Answer::Secret(SecretValue::new("hunter2".to_owned()));
        assert_eq!(serde_json::to_string(&answer).unwrap(), r#"{"secret":"[redacted]"}"#);
    }
}
