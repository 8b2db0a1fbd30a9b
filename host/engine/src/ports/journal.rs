//! The journal: what was done, who may say so, and what follows from it.

use crate::fault::Fault;
use crate::journal::Entry;
use crate::names::{DeploymentId, Scope};
use crate::ports::Fence;
use crate::state::ServiceState;
use async_trait::async_trait;

/// Why the journal did not take an entry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// Another host has the lease now. Nothing was written.
    #[error("another host holds the lease of {scope} with a higher fencing token than {}", fence.0)]
    Fenced {
        /// Which lease.
        scope: Scope,
        /// Our token.
        fence: Fence,
    },
    /// It is not the next entry of its deployment, and not one that is there already. Nothing was
    /// written.
    #[error("the journal expects entry {expected}, but was given entry {found}")]
    OutOfOrder { expected: u64, found: u64 },
    /// It contradicts what is there: another deployment of the scope is open, this one has ended, or
    /// the plan is another deployment's. It never fits, however often it is offered. Nothing was
    /// written.
    #[error("{0}")]
    Refused(Fault),
    /// It could not be written. Whether it is durable all the same is not known: the same entry
    /// again tells.
    #[error("the journal can't be written: {0}")]
    Unavailable(Fault),
}

/// Keeps the entries of all deployments of all scopes, in order, for ever.
///
/// Whoever reads, in whichever process, sees an entry as soon as its `append` has returned, and
/// never an entry without the state that follows from it. Reading waits for no writer.
#[async_trait]
pub trait Journal: Send + Sync {
    /// Makes an entry and the state that follows from it durable, as one, before it returns. The
    /// caller numbers and dates the entry. The first entry of a deployment holds its plan, is
    /// number 0, and fits where no other deployment of the scope is open; nothing follows the last.
    ///
    /// Refused when the fence is not the newest of the scope, or nobody ever had its lease; then
    /// when the entry is not the next one; of two that come at once in the same place, one is. The
    /// same call again, with the same fence, entry and state, is success and adds nothing, however
    /// much was written since: whoever did not hear the answer asks again. A call that is dropped
    /// is written whole or not at all, and never after a later call of the same owner.
    async fn append(
        &self,
        fence: Fence,
        entry: &Entry,
        state: &ServiceState,
    ) -> Result<(), AppendError>;

    /// Makes room for taking a release back, by giving up space that is kept for just that. Called
    /// when an entry could not be written and what is to be written takes something back; as often
    /// as needed. Tells whether there is more room now; never where nothing is kept.
    async fn make_room(&self) -> bool {
        false
    }

    /// The entries of a deployment beyond a sequence number, in order; all of them without one;
    /// none of a deployment that is not known. Cheap enough to ask several times a second.
    async fn entries_after(
        &self,
        deployment: &DeploymentId,
        sequence: Option<u64>,
    ) -> Result<Vec<Entry>, Fault>;

    /// All entries of a deployment, in order.
    async fn entries(&self, deployment: &DeploymentId) -> Result<Vec<Entry>, Fault> {
        self.entries_after(deployment, None).await
    }

    /// The state that came with the newest entry; that of a service which was never deployed where
    /// nothing is known.
    async fn state(&self, scope: &Scope) -> Result<ServiceState, Fault>;

    /// The deployment of a scope that has not ended by its entries, whether anybody works on it or
    /// not. There is never more than one.
    async fn open_deployment(&self, scope: &Scope) -> Result<Option<DeploymentId>, Fault>;
}
