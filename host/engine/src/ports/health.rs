//! Asking about health.

use crate::policy::CheckPolicy;
use crate::verdict::Subject;
use crate::verdict::Verdict;
use async_trait::async_trait;

/// Answers one question about health. A plugin; everything that goes wrong is a verdict.
#[async_trait]
pub trait HealthCheck: Send + Sync {
    /// Asks once. A trap, a deadline or a refusal is `errored`.
    async fn check(&self, check: &CheckPolicy, subject: &Subject) -> Verdict;
}
