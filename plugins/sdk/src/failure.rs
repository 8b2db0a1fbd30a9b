//! Why an operation did not do what was asked, and labels, the place where records grow.

use std::fmt;

/// Names and values, in order.
pub type Labels = Vec<(String, String)>;

/// The value of the first label of that name.
pub fn label<'a>(labels: &'a Labels, name: &str) -> Option<&'a str> {
    labels.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
}

/// The documented kinds of failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    /// The configuration or the input is wrong.
    InvalidConfig,
    /// The host refused an effect.
    Denied,
    /// The target did not answer.
    Unavailable,
    /// The target is not as we left it.
    Conflict,
    /// The target can't do this.
    Unsupported,
    /// Accepted by the target but not in force.
    NotLoaded,
    /// The target said no.
    Rejected,
    /// Anything else; also what an unknown code of a newer host becomes.
    Failed,
}

impl Code {
    /// As the contract writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InvalidConfig => "invalid-config",
            Self::Denied => "denied",
            Self::Unavailable => "unavailable",
            Self::Conflict => "conflict",
            Self::Unsupported => "unsupported",
            Self::NotLoaded => "not-loaded",
            Self::Rejected => "rejected",
            Self::Failed => "failed",
        }
    }

    /// From what the contract writes.
    pub fn from_text(text: &str) -> Self {
        match text {
            "invalid-config" => Self::InvalidConfig,
            "denied" => Self::Denied,
            "unavailable" => Self::Unavailable,
            "conflict" => Self::Conflict,
            "unsupported" => Self::Unsupported,
            "not-loaded" => Self::NotLoaded,
            "rejected" => Self::Rejected,
            _ => Self::Failed,
        }
    }
}

/// A failure: what was attempted, on what, what happened, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Its kind.
    pub code: Code,
    /// Whether the same call may succeed later without anybody changing anything.
    pub retryable: bool,
    /// One sentence; the target's own words verbatim where they help.
    pub message: String,
    /// What the operator can type or change.
    pub hint: Option<String>,
    /// Anything else worth recording.
    pub labels: Labels,
}

impl Failure {
    /// A failure of a kind. Not retryable, unless it is [`Code::Unavailable`].
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            retryable: code == Code::Unavailable,
            message: message.into(),
            hint: None,
            labels: Labels::new(),
        }
    }

    /// The configuration or the input is wrong.
    pub fn invalid_config(message: impl Into<String>) -> Self {
        Self::new(Code::InvalidConfig, message)
    }

    /// The target did not answer; the same call may succeed later.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(Code::Unavailable, message)
    }

    /// The target is not as we left it.
    pub fn conflict(message: impl Into<String>) -> Self {
        Self::new(Code::Conflict, message)
    }

    /// The target can't do this.
    pub fn unsupported(message: impl Into<String>) -> Self {
        Self::new(Code::Unsupported, message)
    }

    /// The target said no.
    pub fn rejected(message: impl Into<String>) -> Self {
        Self::new(Code::Rejected, message)
    }

    /// Anything else.
    pub fn failed(message: impl Into<String>) -> Self {
        Self::new(Code::Failed, message)
    }

    /// Adds what the operator can type or change.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds a label.
    #[must_use]
    pub fn label(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.labels.push((name.into(), value.into()));
        self
    }

    /// Puts what was attempted before the message.
    #[must_use]
    pub fn while_doing(mut self, attempt: impl fmt::Display) -> Self {
        self.message = format!("{attempt}: {}", self.message);
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}
