//! The mailbox: where operators leave decisions for whoever holds the lease.

use crate::fault::Fault;
use crate::journal::{Decision, DecisionKind};
use crate::names::DeploymentId;
use async_trait::async_trait;

/// Takes decisions and hands them out. Leaving one needs no lease.
#[async_trait]
pub trait Mailbox: Send + Sync {
    /// Leaves a decision for whoever runs a deployment, and tells its number. Durable when this
    /// returns. Refused for a deployment that is not there or has ended: nobody would ever look.
    async fn leave(
        &self,
        deployment: &DeploymentId,
        decision: DecisionKind,
        by: &str,
        reason: Option<&str>,
    ) -> Result<u64, Fault>;

    /// The decisions beyond number `after`, oldest first. Cheap; asked several times a second.
    async fn decisions(
        &self,
        deployment: &DeploymentId,
        after: u64,
    ) -> Result<Vec<Decision>, Fault>;
}
