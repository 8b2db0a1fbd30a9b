//! What plugins did on behalf of a deployment, kept with its journal: evidence for people, never
//! decisive.

use crate::fault::Fault;
use crate::names::{DeploymentId, Timestamp};
use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One effect that a plugin asked for.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub struct PluginEffect {
    pub at: Timestamp,
    pub plugin: String,
    pub version: String,
    /// The operation: `apply`, `observe`, `check` …
    pub operation: String,
    /// Which grants were in force: `read` or `write`.
    pub phase: String,
    /// In words, without secrets.
    pub effect: String,
    /// Why it was denied; none where it was allowed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub denied: Option<String>,
}

/// The effects of one deployment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PluginEffects {
    /// Oldest first.
    pub kept: Vec<PluginEffect>,
    /// How many more there were that could not be kept.
    pub lost: u64,
}

/// How many effects of a deployment are kept: a check that is asked every second for an hour has a
/// third of that.
pub const KEPT_EFFECTS: usize = 10_000;

/// Keeps the effects of plugins.
#[async_trait]
pub trait Trail: Send + Sync {
    /// Adds effects to those of a deployment, and to the number of those that were lost; the same
    /// again is added again. Says whether there is such a deployment; nothing is kept of one that
    /// was never opened. What is beyond [`KEPT_EFFECTS`] counts as lost.
    async fn keep_effects(
        &self,
        deployment: &DeploymentId,
        effects: &PluginEffects,
    ) -> Result<bool, Fault>;

    /// What is kept of a deployment, in the order in which it was added.
    async fn effects(&self, deployment: &DeploymentId) -> Result<PluginEffects, Fault>;
}
