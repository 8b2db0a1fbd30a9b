//! Looking back over the journal: what people and metrics ask.

use crate::fault::Fault;
use crate::journal::{ChainState, Entry, HistoryRow};
use crate::names::{DeploymentId, Scope};
use crate::ports::Fence;
use async_trait::async_trait;

/// Tells what was. Changes nothing.
#[async_trait]
pub trait History: Send + Sync {
    /// All entries of all deployments of a scope, in the order in which they were written: what
    /// [`crate::state::ServiceState::fold`] needs. None of a scope that is not known.
    async fn entries_of_scope(&self, scope: &Scope) -> Result<Vec<Entry>, Fault>;

    /// One deployment; none if it was never opened here.
    async fn deployment(&self, deployment: &DeploymentId) -> Result<Option<HistoryRow>, Fault>;

    /// The deployments of a scope, the one that was opened last first, at most `limit`.
    async fn history(&self, scope: &Scope, limit: u32) -> Result<Vec<HistoryRow>, Fault>;

    /// All services and environments that ever had a deployment or a release, ordered by service,
    /// then environment. A lease or a plugin's memory alone makes none.
    async fn scopes(&self) -> Result<Vec<Scope>, Fault>;

    /// The token of the newest entry of a scope; none without entries. A target that holds a higher
    /// one of the same store was changed by deployments that are not in this journal.
    async fn newest_fence(&self, scope: &Scope) -> Result<Option<Fence>, Fault>;

    /// Walks along the chain of a scope and reports the first entry that doesn't fit. The hash of
    /// the newest entry is another after each entry, and the same until then.
    async fn verify_chain(&self, scope: &Scope) -> Result<ChainState, Fault>;
}
