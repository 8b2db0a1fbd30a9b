//! The journal, the mailbox and the locks of targets.

use crate::fault::Fault;
use crate::journal::Decision;
use crate::journal::Event;
use crate::names::DeploymentId;
use crate::names::Scope;
use crate::state::ServiceState;
use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;
use serde::Serialize;

/// The proof of holding the lease: grows with each holder of a scope.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, JsonSchema, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Fence(pub u64);

/// Why the journal did not take an entry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// Another host has the lease now.
    #[error("another host holds the lease of {scope} with a higher token than {fence:?}")]
    Fenced {
        /// Which lease.
        scope: Scope,
        /// Our token.
        fence: Fence,
    },
    /// It could not be written.
    #[error("the journal can't be written: {0}")]
    Unavailable(Fault),
}

/// Holds a target's lock until it is dropped.
pub struct TargetLock(
    #[expect(dead_code, reason = "held for its drop")] Box<dyn std::any::Any + Send>,
);

impl TargetLock {
    /// Wraps what releases the lock when it is dropped.
    pub fn new(held: impl std::any::Any + Send) -> Self {
        Self(Box::new(held))
    }
}

/// What the engine needs of the store.
#[async_trait]
pub trait Store: Send + Sync {
    /// Makes an entry and the state that follows from it durable, as one. Refused when the fence is
    /// stale.
    async fn append(
        &self,
        deployment: &DeploymentId,
        fence: Fence,
        event: &Event,
        state: &ServiceState,
    ) -> Result<(), AppendError>;
    /// The decisions of the mailbox beyond number `after`, oldest first. Cheap; asked several times
    /// a second.
    async fn decisions(
        &self,
        deployment: &DeploymentId,
        after: u64,
    ) -> Result<Vec<Decision>, Fault>;
    /// Takes the lock of a target, waiting its turn. Freed by drop and by death.
    async fn lock_target(&self, key: &str) -> Result<TargetLock, Fault>;
}
