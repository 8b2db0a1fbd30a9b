//! What is live: the state of one scope, folded from the journal.

use crate::names::{DeploymentId, ReleaseNumber, Timestamp};
use crate::route::{Backend, Routes, Slot};
use serde::{Deserialize, Serialize};

/// A release that stands in a slot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// Which.
    pub release: ReleaseNumber,
    /// Where.
    pub slot: Slot,
    /// Its instances.
    pub backends: Vec<Backend>,
    /// Whether it ran before us: never stopped by us.
    pub adopted: bool,
    /// Since when it is what it is (stable, or kept).
    pub since: Timestamp,
}

/// A release that was promoted once and stands aside at weight 0.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// What stands.
    #[serde(flatten)]
    pub standing: Standing,
    /// Whether its last requests have ended.
    pub drained: bool,
}

/// The state of one service in one environment.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ServiceState {
    /// The promoted release.
    pub stable: Option<Standing>,
    /// The one before it, if it still stands.
    pub kept: Option<Kept>,
    /// The routes that were last seen in force.
    pub routes: Option<Routes>,
    /// The deployment that has not ended.
    pub open: Option<DeploymentId>,
}
