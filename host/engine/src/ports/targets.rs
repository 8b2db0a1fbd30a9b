//! Taking turns at a target.

use crate::fault::Fault;
use async_trait::async_trait;

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

/// The locks of targets. Local to the machine that the target is on: services of several stores may
/// share one.
#[async_trait]
pub trait TargetLocks: Send + Sync {
    /// Takes the lock of a target, waiting its turn. Freed by drop and by death.
    async fn lock_target(&self, key: &str) -> Result<TargetLock, Fault>;
}
