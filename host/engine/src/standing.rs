//! What stands: releases in their slots.

use crate::names::{ReleaseNumber, Timestamp};
use crate::placement::Placement;
use crate::route::{Backend, Slot};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A release that stands in a slot.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub struct Standing {
    pub release: ReleaseNumber,
    pub slot: Slot,
    /// Its instances.
    pub backends: Vec<Backend>,
    /// How long each of its backends may take to stop: its own release's, whatever release comes
    /// after it.
    pub stop_grace: Duration,
    /// Since when it is what it is (stable, or kept).
    pub since: Timestamp,
}

/// A release that was promoted once and stands aside at weight 0.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub struct Kept {
    /// What stands.
    #[serde(flatten)]
    pub standing: Standing,
    /// Whether its last requests have ended.
    pub drained: bool,
    /// Whether a part of it may be gone: it is no way back any more, and the next deployment
    /// removes the rest.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub partial: bool,
}

impl Standing {
    /// Whether it ran before us: never stopped by us. All backends of a release are placed alike.
    pub fn is_adopted(&self) -> bool {
        self.backends.iter().any(|backend| backend.placement == Placement::Adopted)
    }

    /// The longest that stopping all of it one by one may take.
    pub fn stop_time(&self) -> Duration {
        self.stop_grace.saturating_mul(u32::try_from(self.backends.len()).unwrap_or(u32::MAX))
    }

    /// The same release in the same slot with these backends only.
    #[must_use]
    pub fn with_backends(&self, backends: Vec<Backend>) -> Standing {
        Standing { backends, ..self.clone() }
    }
}
