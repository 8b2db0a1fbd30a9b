//! What became of one request.

use agente_probe::{Answer, Class, Loss};
use http::Method;

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// With the answer that was expected.
    Answered,
    /// With an answer of 500 or above, or one that is wrong.
    Failed,
    /// Without an answer.
    Lost,
}

/// One request. Times are milliseconds since the epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// When it was sent.
    pub sent_ms: u64,
    /// When it had ended.
    pub ended_ms: u64,
    pub method: Method,
    /// Which user sent it; 0 without users.
    pub user: u64,
    /// Who answered; empty where nobody did.
    pub identity: String,
    pub outcome: Outcome,
}

impl Record {
    pub(super) fn new(
        sent_ms: u64,
        ended_ms: u64,
        method: Method,
        user: u64,
        result: Result<&Answer, &Loss>,
    ) -> Self {
        let outcome = match result {
            Ok(answer) if answer.status >= 500 => Outcome::Failed,
            Ok(_) => Outcome::Answered,
            Err(loss) if loss.class == Class::WrongAnswer => Outcome::Failed,
            Err(_) => Outcome::Lost,
        };
        let identity = result.map(|answer| answer.identity.clone()).unwrap_or_default();
        Self { sent_ms, ended_ms, method, user, identity, outcome }
    }

    /// Whether whoever sent it did not get what they asked for.
    pub fn is_bad(&self) -> bool {
        self.outcome != Outcome::Answered
    }
}
