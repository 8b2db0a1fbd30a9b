//! What one request ended in.

use std::fmt;

use bytes::Bytes;

/// How a request failed. Each failed request is in exactly one class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// No connection, refused or not in time.
    Connect,
    /// A connection, but no TLS session.
    Tls,
    /// The connection ended or was reset before the answer's header was complete: on a fresh
    /// connection, or on a reused one after the first byte.
    Reset,
    /// A *reused* connection ended or was reset before any byte of the answer: the server closed it
    /// while it was idle.
    IdleReset,
    /// The header came, but the body is shorter than it declared, or was cut between chunks.
    Truncated,
    /// The answer was not complete in time.
    Timeout,
    /// A complete answer of 500 or above.
    Status5xx,
    /// What came is not HTTP/1.
    Protocol,
    /// A complete answer below 500 that is not the one expected; only where the client knows what
    /// to expect.
    WrongAnswer,
    /// Due, but not sent: too many were in flight.
    Overload,
}

impl Class {
    /// The name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Class::Connect => "connect",
            Class::Tls => "tls",
            Class::Reset => "reset",
            Class::IdleReset => "idle-reset",
            Class::Truncated => "truncated",
            Class::Timeout => "timeout",
            Class::Status5xx => "status-5xx",
            Class::Protocol => "protocol",
            Class::WrongAnswer => "wrong-answer",
            Class::Overload => "overload",
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A request without a complete answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loss {
    pub class: Class,
    /// What happened, in words.
    pub words: String,
}

impl Loss {
    /// A loss of this class.
    pub fn new(class: Class, words: impl Into<String>) -> Self {
        Self { class, words: words.into() }
    }
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.class, self.words)
    }
}

/// A complete answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// What the identity header said; empty without one.
    pub identity: String,
    /// The beginning of the body, at most 64 KiB.
    pub body: Bytes,
    /// The length of the whole body.
    pub body_bytes: u64,
    /// Whether the connection can be used again.
    pub reusable: bool,
}

/// An error and its causes on one line.
pub(crate) fn words(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        // Some errors already say their cause in their own words.
        if !text.ends_with(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        cause = error.source();
    }
    text
}
