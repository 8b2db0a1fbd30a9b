//! Changing and reading how a target splits requests.

use super::Fence;
use super::TargetLock;
use crate::fault::Failure;
use crate::fault::Fault;
use crate::names::OpId;
use crate::route::Backend;
use crate::route::Routes;
use crate::route::Slot;
use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;
use serde::Serialize;

/// What a switcher is told to bring about.
#[derive(Debug, Clone, PartialEq, JsonSchema, Serialize, Deserialize)]
pub struct Desired {
    /// The lease's token.
    pub fence: Fence,
    pub routes: Routes,
    /// The id of the store that owns the service.
    pub store: String,
    /// Whether the operator takes a foreign or drifted target over.
    pub force: bool,
}

/// What a switcher saw the running target do.
#[derive(Debug, Clone, PartialEq, JsonSchema, Serialize, Deserialize)]
pub struct Observed {
    pub state: ObservedState,
    /// The generation in force.
    pub generation: String,
    /// The fence in force; 0 where there is none.
    pub fence: Fence,
    /// The routes in force.
    pub routes: Routes,
    /// The id of the store that the target says it belongs to.
    pub store: Option<String>,
    /// One sentence for people.
    pub message: String,
}

impl Observed {
    /// The routes in force; none where nothing of the service is there.
    pub fn in_force(self) -> Option<Routes> {
        let serves = self.routes.routes.iter().any(|route| !route.weight.is_zero());
        (self.state != ObservedState::Absent && serves).then_some(self.routes)
    }
}

/// The answers of an observation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ObservedState {
    /// In force is what was last applied.
    Converged,
    /// Not yet; ask again.
    Pending,
    /// The target is not as we left it.
    Drifted,
    /// Nothing of ours is there yet.
    Absent,
    /// The target can't be read.
    Unsupported,
}

/// What a target can do now.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub struct Features {
    /// `weights`, `header`, `cookie`, `fence` …
    pub names: Vec<String>,
    /// The key under which changes of the target take turns.
    pub lock_key: String,
    /// What the operator should know.
    pub warnings: Vec<String>,
    /// The response header by which an answer tells its slot, where the target adds one.
    pub identity_header: Option<String>,
}

/// How far a slot's last requests are.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub struct Drained {
    /// Whether they have ended.
    pub done: bool,
    /// What is still open.
    pub remaining: u32,
    /// How it is known, for people: `workers-gone`.
    pub evidence: String,
    /// Whether that is weaker than the target's own word that each request has ended.
    pub weak: bool,
    /// One sentence for people.
    pub message: String,
}

/// Changes how a target splits requests. A plugin.
#[async_trait]
pub trait TrafficSwitcher: Send + Sync {
    /// What the target can do now; an error when it can't be used. Changes nothing.
    async fn features(&self) -> Result<Features, Fault>;
    /// The difference that `apply` would make; empty for none. Changes nothing.
    async fn plan(&self, desired: &Desired) -> Result<String, Fault>;
    /// Starts a change. In force only when `observe` says so. `lock` is the target's, of which a
    /// copy is kept until nothing of the change is on its way any more, also when the call is
    /// dropped.
    async fn apply(
        &self,
        op: &OpId,
        desired: &Desired,
        lock: &TargetLock,
    ) -> Result<Observed, Failure>;
    /// Looks at the running target. Changes nothing.
    async fn observe(&self) -> Result<Observed, Fault>;
    /// Says whether the last requests to these backends of a slot have ended. Changes nothing; the
    /// engine asks again and again.
    async fn drain(&self, op: &OpId, slot: Slot, backends: &[Backend]) -> Result<Drained, Fault>;
}
