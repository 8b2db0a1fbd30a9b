//! Starting, finding and stopping backends.

use crate::fault::Failure;
use crate::fault::Fault;
use crate::names::DeploymentId;
use crate::names::Timestamp;
use crate::release::Release;
use crate::route::Backend;
use crate::route::Slot;
use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;
use serde::Serialize;
use std::time::Duration;

/// What a backend is started from.
#[derive(Debug, Clone, PartialEq)]
pub struct Launch {
    /// Which one.
    pub backend: Backend,
    /// What runs there.
    pub release: Release,
    pub slot: Slot,
    /// On whose behalf.
    pub deployment: DeploymentId,
    /// The id of the store that owns the service.
    pub store: String,
}

/// What was launched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Launched {
    /// Where it is reached: as it was planned, or as it turned out.
    pub address: String,
}

/// What a backend was seen to do.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum BackendState {
    /// Nothing of that id is there.
    Absent,
    /// It is there and not yet running, or between two runs.
    Starting {
        /// Why it is not running, where that is known: a crash loop, a back-off.
        detail: String,
        /// How often it was restarted.
        restarts: u32,
    },
    /// It runs.
    Running {
        /// Since when, this run.
        since: Timestamp,
        /// How often it was restarted.
        restarts: u32,
        /// What the runtime's own health check says, where there is one (Docker's HEALTHCHECK).
        healthy: Option<bool>,
    },
    /// It ended and is not started again.
    Ended {
        /// How: exit code or signal, out of memory …
        detail: String,
    },
}

/// How a backend ended when it was retired.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub struct Retired {
    /// Whether it was there at all.
    pub found: bool,
    /// Whether it had to be killed because its grace was over.
    pub killed: bool,
}

/// What a standing backend is for, which decides whether it returns after a reboot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BackendRole {
    /// It serves, or is about to: started again after a crash and by `up`.
    Live,
    /// It stands aside at weight 0: started again after a crash, not after a reboot.
    Kept,
}

/// One line of what preflight found.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub struct Finding {
    /// What was looked at: `disk`, `port 18100`, `image shop:2` …
    pub subject: String,
    /// What was found.
    pub result: FindingResult,
    /// In words, with values.
    pub message: String,
    /// What to type or change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// How a finding counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FindingResult {
    /// As it should be.
    Good,
    /// Worth knowing.
    Warning,
    /// The deployment is refused.
    Bad,
}

/// Starts, finds and stops backends.
#[async_trait]
pub trait Runtime: Send + Sync {
    /// Chooses `release.runtime.instances()` backends for a slot, with addresses that are free now
    /// and not in `taken`. Changes nothing; the plan that holds the answer is the reservation.
    /// Called once per plan.
    async fn reserve(
        &self,
        release: &Release,
        slot: Slot,
        taken: &[Backend],
    ) -> Result<Vec<Backend>, Fault>;

    /// Judges whether the backends could be launched: artifact there, engine reachable, ports free
    /// or ours, secrets there. Changes nothing.
    async fn preflight(&self, release: &Release, backends: &[Backend]) -> Vec<Finding>;

    /// Makes sure that the backend runs: adopts one of the same id and specification, replaces one
    /// of ours that differs, refuses a foreign one. Tells where it is reached.
    async fn ensure(&self, launch: &Launch) -> Result<Launched, Failure>;

    /// Looks at a backend.
    async fn inspect(&self, backend: &Backend) -> Result<BackendState, Fault>;

    /// Says what a standing backend is for from now on.
    async fn assign(&self, backend: &Backend, role: BackendRole) -> Result<(), Failure>;

    /// Stops a backend for good and removes it: first politely, killed after `grace`. Absent is
    /// success. Never touches what is not ours.
    async fn retire(&self, backend: &Backend, grace: Duration) -> Result<Retired, Failure>;

    /// The newest lines that a backend wrote, for reports; at most `max_lines`, secrets masked.
    async fn log_tail(&self, backend: &Backend, max_lines: usize) -> Result<Vec<String>, Fault>;
}
