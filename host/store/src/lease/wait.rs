//! Waiting for a lease: until it is free, or until an owner that was passed over lets go.

use super::{Lease, LeaseError, Liveness};
use crate::faults;
use crate::file_lock::FileLock;
use crate::holder::{Holder, ProcessState};
use crate::store::EmbeddedStore;
use agente_engine::names::Scope;
use std::time::Duration;
use tokio::time::Instant;

/// Between two tries.
const PAUSE: Duration = Duration::from_millis(20);
/// How long a lock may be held without a name beside it: somebody looks at it for a moment, or
/// writes their name right now.
const SETTLING: Duration = Duration::from_millis(500);

/// Takes the lock of a lease if nobody holds it.
fn try_lock(store: &EmbeddedStore, scope: &Scope) -> Result<Option<FileLock>, LeaseError> {
    let tried = FileLock::try_take(&store.lease_lock(scope), store.lock_mode());
    tried.map_err(|error| {
        LeaseError::Unavailable(faults::lock(
            &format!("the lease of {scope} can't be taken"),
            &error,
        ))
    })
}

/// Waits until the lease is free, and takes it.
pub(super) async fn for_free(
    store: &EmbeddedStore,
    scope: &Scope,
    holder: &Holder,
    wait: Option<Duration>,
) -> Result<Lease, LeaseError> {
    let begun = Instant::now();
    let wait = wait.unwrap_or_default();
    let mut nameless_since = None;
    loop {
        let lock = try_lock(store, scope)?;
        let holding =
            store.read_holding(scope, lock.is_none()).await.map_err(LeaseError::Unavailable)?;
        // A name beside a held lock that belongs to a dead process is the last holder's: the new
        // one has yet to write theirs.
        let named = holding
            .filter(|holding| lock.is_some() || holding.holder.process() != ProcessState::Gone);
        match (lock, named) {
            // Not seen from here, but alive elsewhere.
            (Some(_), Some(holding)) if holding.liveness != Liveness::Gone => {
                if begun.elapsed() >= wait {
                    return Err(LeaseError::Held(Box::new(holding)));
                }
            }
            (Some(lock), _) => return store.seize(scope, holder, lock).await,
            // Tried twice at least: somebody may have looked at the lock just then.
            (None, Some(holding)) => {
                if begun.elapsed() >= wait.max(PAUSE) {
                    return Err(LeaseError::Held(Box::new(holding)));
                }
            }
            (None, None) => {
                let since = *nameless_since.get_or_insert_with(Instant::now);
                if begun.elapsed() >= wait && since.elapsed() >= SETTLING {
                    return Err(LeaseError::Occupied {
                        scope: scope.clone(),
                        path: store.lease_lock(scope),
                    });
                }
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Raises the fence, waits until the owner lets go, and takes the lease.
pub(super) async fn for_taken(
    store: &EmbeddedStore,
    scope: &Scope,
    holder: &Holder,
    wait: Duration,
) -> Result<Lease, LeaseError> {
    if let Some(lock) = try_lock(store, scope)? {
        return store.seize(scope, holder, lock).await;
    }
    store.revoke(scope).await?;
    let begun = Instant::now();
    loop {
        if let Some(lock) = try_lock(store, scope)? {
            return store.seize(scope, holder, lock).await;
        }
        if begun.elapsed() >= wait {
            return Err(
                match store.read_holding(scope, true).await.map_err(LeaseError::Unavailable)? {
                    Some(holding) => {
                        LeaseError::StillRuns { holding: Box::new(holding), waited: wait }
                    }
                    None => {
                        LeaseError::Occupied { scope: scope.clone(), path: store.lease_lock(scope) }
                    }
                },
            );
        }
        tokio::time::sleep(PAUSE).await;
    }
}
