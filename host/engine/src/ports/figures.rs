//! What a run of a deployment counted beside the journal: for people and metrics, never decisive.

use crate::fault::Fault;
use crate::names::{DeploymentId, Scope};
use crate::ports::{Fence, ProbeReport};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The calls of one operation of one plugin.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PluginCalls {
    pub plugin: String,
    /// The operation: `apply`, `observe`, `check` …
    pub operation: String,
    /// How many ended how: `answered`, `failed`, `faulted`, `dropped`.
    pub results: BTreeMap<String, u64>,
    /// The faults among them by kind: `trapped`, `over-budget`, `timed-out`, `unfit`, `host`.
    pub faults: BTreeMap<String, u64>,
    /// All their time together, in microseconds.
    pub micros: u64,
}

/// What one run counted.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct RunFigures {
    /// What the prober saw, where the policy has one.
    #[serde(default)]
    pub probe: Option<ProbeReport>,
    /// How plugins were called on behalf of the deployment.
    #[serde(default)]
    pub calls: Vec<PluginCalls>,
    /// For a run that ended stuck: the number of the journal's newest entry then. Any later entry
    /// means that somebody went on.
    #[serde(default)]
    pub stuck_at: Option<u64>,
}

/// The figures of one run, and whose they are.
#[derive(Debug, Clone, PartialEq)]
pub struct RunRow {
    pub deployment: DeploymentId,
    /// The token of the lease that the run held.
    pub fence: Fence,
    /// What it counted.
    pub figures: RunFigures,
}

/// Keeps the figures of runs.
#[async_trait]
pub trait Figures: Send + Sync {
    /// Keeps what a run has counted so far, over what the same run said before. A run is known by
    /// its deployment and its token. Nothing is kept of a deployment that was never opened, which is
    /// no fault.
    async fn keep_figures(
        &self,
        deployment: &DeploymentId,
        fence: Fence,
        figures: &RunFigures,
    ) -> Result<(), Fault>;

    /// What all runs of a scope have counted, oldest deployment first, within it by token.
    async fn figures(&self, scope: &Scope) -> Result<Vec<RunRow>, Fault>;
}
