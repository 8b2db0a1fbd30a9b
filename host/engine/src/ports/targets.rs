//! Taking turns at a target.

use crate::fault::Fault;
use async_trait::async_trait;
use std::any::Any;
use std::fmt;
use std::sync::Arc;

/// Holds a target's lock until all copies of it are dropped. It goes along with the work that needs
/// it: what was begun for a call that is given up may still be on its way.
#[derive(Clone)]
pub struct TargetLock(Arc<dyn Any + Send + Sync>);

impl TargetLock {
    /// Wraps what releases the lock when it is dropped.
    pub fn new(held: impl Any + Send + Sync) -> Self {
        Self(Arc::new(held))
    }
}

impl fmt::Debug for TargetLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TargetLock")
    }
}

impl PartialEq for TargetLock {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for TargetLock {}

/// The locks of targets. Local to the machine that the target is on: services of several stores may
/// share one.
#[async_trait]
pub trait TargetLocks: Send + Sync {
    /// Takes the lock of a target, waiting its turn, also behind the caller's own. Freed when its
    /// last copy is dropped, and by death. A call that is dropped takes none.
    async fn lock_target(&self, key: &str) -> Result<TargetLock, Fault>;
}
