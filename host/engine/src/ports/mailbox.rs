//! The mailbox: where operators leave decisions for whoever holds the lease.

use crate::fault::Fault;
use crate::journal::{Decision, DecisionKind};
use crate::names::DeploymentId;
use async_trait::async_trait;

/// Takes decisions and hands them out. Leaving one needs no lease.
#[async_trait]
pub trait Mailbox: Send + Sync {
    /// Leaves a decision for whoever runs a deployment, dated by the store, and tells its number.
    /// Durable, and seen by whoever looks, when this returns. Refused for a deployment that is not
    /// there or has ended: nobody would ever look. The same again is another decision, which says
    /// the same; a call that is dropped may have left one.
    async fn leave(
        &self,
        deployment: &DeploymentId,
        decision: DecisionKind,
        by: &str,
        reason: Option<&str>,
    ) -> Result<u64, Fault>;

    /// The decisions on a deployment beyond number `after`, by number; none of a deployment that is
    /// not known. Once a number was seen, no smaller one of the deployment appears: whoever asks for
    /// what is beyond the last one misses none. Cheap; asked several times a second.
    async fn decisions(
        &self,
        deployment: &DeploymentId,
        after: u64,
    ) -> Result<Vec<Decision>, Fault>;
}
