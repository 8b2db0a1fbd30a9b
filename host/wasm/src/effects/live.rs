//! What the effects of one call share.

use super::open::OpenHandles;
use crate::household::Household;
use crate::masks::Masks;
use crate::wanted::Wanted;
use agente_engine::ports::TargetLock;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Does the effects of one call.
pub(crate) struct Live {
    pub(crate) household: Arc<Household>,
    /// The image of the release that is being deployed.
    pub(crate) image: Option<String>,
    pub(crate) deadline: Instant,
    pub(crate) masks: Masks,
    /// Of the target that the call may change.
    pub(crate) lock: Option<TargetLock>,
    pub(crate) wanted: Wanted,
    pub(super) open: OpenHandles,
}

impl Live {
    pub(crate) fn new(
        household: Arc<Household>,
        image: Option<String>,
        deadline: Instant,
        masks: Masks,
        wanted: Wanted,
        lock: Option<TargetLock>,
    ) -> Self {
        let open = OpenHandles::new(household.limits.connections);
        Self { household, image, deadline, masks, lock, wanted, open }
    }

    /// The time that is left.
    pub(super) fn remaining(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }
}
