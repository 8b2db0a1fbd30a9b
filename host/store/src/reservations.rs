//! Reservations: the addresses in the plans of open deployments, which nobody else may choose
//! although nothing listens there yet.
//!
//! Who chooses holds one lock of the store from looking at them until the own plan is in the
//! journal, where the next one sees it.

use crate::faults;
use crate::file_lock::{FileLock, LockKind};
use crate::patience;
use crate::store::EmbeddedStore;
use agente_engine::fault::Fault;
use agente_engine::journal::Event;
use agente_engine::names::Scope;
use agente_engine::ports::{History, Journal};
use agente_engine::route::Backend;
use agente_engine::state::ServiceState;

/// The turn to choose addresses. Dropping it passes it on.
#[derive(Debug)]
pub struct ReservationTurn {
    _lock: FileLock,
}

impl EmbeddedStore {
    /// Waits for the turn to choose addresses.
    ///
    /// # Errors
    ///
    /// Returns a fault of kind `timed-out` when another host keeps its turn.
    pub async fn reservation_turn(&self) -> Result<ReservationTurn, Fault> {
        let attempted = "addresses can't be reserved";
        let path = self.directory.locks().join("reservations.lock");
        FileLock::take(&path, self.access(), LockKind::Exclusive, patience::RESERVATION)
            .await
            .map(|lock| ReservationTurn { _lock: lock })
            .map_err(|error| faults::lock(attempted, &error))
    }

    /// The backends that stand or are planned in any scope but the own: whether they run now or
    /// not, whatever runtime they are of.
    pub async fn reserved_elsewhere(&self, own: &Scope) -> Result<Vec<Backend>, Fault> {
        let mut reserved = Vec::new();
        for scope in self.scopes().await?.into_iter().filter(|scope| scope != own) {
            let ServiceState { stable, kept, open, .. } = self.state(&scope).await?;
            let standing = stable.into_iter().chain(kept.map(|kept| kept.standing));
            reserved.extend(standing.flat_map(|standing| standing.backends));
            let Some(id) = open else { continue };
            for entry in self.entries(&id).await? {
                if let Event::Opened { plan } = entry.event {
                    reserved.extend(plan.deployment.backends);
                }
            }
        }
        Ok(reserved)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;
    use std::time::Duration;

    #[tokio::test]
    async fn one_at_a_time_chooses_addresses() {
        let folder = tempfile::tempdir().unwrap();
        let store = sample::store(folder.path()).await;
        let turn = store.reservation_turn().await.unwrap();
        assert!(
            tokio::time::timeout(Duration::from_millis(30), store.reservation_turn())
                .await
                .is_err()
        );
        drop(turn);
        store.reservation_turn().await.unwrap();
    }

    #[tokio::test]
    async fn what_is_planned_or_stands_is_reserved_for_all_others() {
        let folder = tempfile::tempdir().unwrap();
        let opened = sample::open_deployment(&sample::store(folder.path()).await, "shop").await;
        let store = &opened.store;
        let planned = sample::plan("d-1", &sample::scope("shop"), 1).deployment.backends;
        assert_eq!(store.reserved_elsewhere(&sample::scope("cart")).await.unwrap(), planned);
        assert_eq!(store.reserved_elsewhere(&sample::scope("shop")).await.unwrap(), []);
        opened
            .append(&Event::Closed { outcome: sample::promoted() }, &sample::closed_state())
            .await
            .unwrap();
        let standing = sample::closed_state().stable.map(|standing| standing.backends);
        assert_eq!(Some(store.reserved_elsewhere(&sample::scope("cart")).await.unwrap()), standing);
        assert_eq!(store.reserved_elsewhere(&sample::scope("shop")).await.unwrap(), []);
    }
}
