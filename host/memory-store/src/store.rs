//! The store as a whole. Each port of the engine that it fills has a file of its own.

use crate::leases::Seat;
use agente_engine::journal::{Decision, Entry};
use agente_engine::names::{DeploymentId, Scope};
use agente_engine::ports::{Clock, Fence};
use agente_engine::state::ServiceState;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A store in memory. Its copies are one store.
#[derive(Clone)]
pub struct MemoryStore {
    kept: Arc<Mutex<Kept>>,
    pub(crate) clock: Arc<dyn Clock>,
}

#[derive(Clone, Default)]
pub(crate) struct Kept {
    pub(crate) deployments: BTreeMap<DeploymentId, Written>,
    pub(crate) states: BTreeMap<Scope, ServiceState>,
    pub(crate) seats: BTreeMap<Scope, Seat>,
    /// In the order in which they were left.
    pub(crate) decisions: Vec<(DeploymentId, Decision)>,
}

/// One deployment.
#[derive(Clone)]
pub(crate) struct Written {
    pub(crate) scope: Scope,
    pub(crate) entries: Vec<Entry>,
}

impl MemoryStore {
    /// An empty store that dates and waits by `clock`.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { kept: Arc::default(), clock }
    }

    /// Another store that holds the same, with a clock of its own.
    pub fn fork(&self, clock: Arc<dyn Clock>) -> Self {
        Self { kept: Arc::new(Mutex::new(self.kept().clone())), clock }
    }

    pub(crate) fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The state after the newest entry of a scope.
    pub fn state_now(&self, scope: &Scope) -> ServiceState {
        self.kept().states.get(scope).cloned().unwrap_or_default()
    }

    /// Reads the entries of a deployment where they are.
    pub fn read_entries<T>(
        &self,
        deployment: &DeploymentId,
        read: impl FnOnce(&[Entry]) -> T,
    ) -> T {
        let kept = self.kept();
        read(kept.deployments.get(deployment).map_or(&[], |written| &written.entries))
    }

    /// The newest token of a scope; 0 before the first.
    pub fn fence_now(&self, scope: &Scope) -> Fence {
        Fence(self.kept().seats.get(scope).map_or(0, |seat| seat.fence))
    }

    /// Puts another state in place of what is stored, as somebody would who tampers with it.
    pub fn tamper(&self, scope: &Scope, state: ServiceState) {
        self.kept().states.insert(scope.clone(), state);
    }
}
