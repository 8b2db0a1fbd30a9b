//! The store as a whole. Each port of the engine that it fills has a file of its own.

use crate::locks::Locks;
use crate::seat::Seat;
use agente_engine::fault::{Fault, FaultKind};
use agente_engine::journal::{Decision, Entry, Event};
use agente_engine::names::{DeploymentId, Scope};
use agente_engine::ports::{Clock, Fence, PluginEffects, RunFigures, Store};
use agente_engine::release::Release;
use agente_engine::state::ServiceState;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How many stores there were.
static MADE: AtomicU64 = AtomicU64::new(0);

/// A store in memory. Its copies are one store.
#[derive(Clone)]
pub struct MemoryStore {
    kept: Arc<Mutex<Kept>>,
    pub(crate) clock: Arc<dyn Clock>,
    id: Arc<str>,
}

#[derive(Clone, Default)]
pub(crate) struct Kept {
    /// Whether it can be used at the moment.
    cut: bool,
    pub(crate) deployments: BTreeMap<DeploymentId, Written>,
    /// In the order in which they were opened.
    pub(crate) opened: Vec<DeploymentId>,
    pub(crate) states: BTreeMap<Scope, ServiceState>,
    pub(crate) seats: BTreeMap<Scope, Seat>,
    /// In the order in which they were left.
    pub(crate) decisions: Vec<(DeploymentId, Decision)>,
    /// The newest last.
    pub(crate) releases: BTreeMap<Scope, Vec<Release>>,
    /// By plugin, scope and key.
    pub(crate) memory: BTreeMap<(String, Scope, String), Vec<u8>>,
    pub(crate) figures: BTreeMap<(DeploymentId, Fence), RunFigures>,
    pub(crate) effects: BTreeMap<DeploymentId, PluginEffects>,
    pub(crate) locks: Locks,
}

/// One deployment.
#[derive(Clone)]
pub(crate) struct Written {
    pub(crate) scope: Scope,
    pub(crate) entries: Vec<Entry>,
    /// Under which token each entry was written, and the state that came with it.
    pub(crate) beside: Vec<(Fence, ServiceState)>,
}

impl Written {
    pub(crate) fn has_ended(&self) -> bool {
        self.entries.last().is_some_and(|entry| matches!(entry.event, Event::Closed { .. }))
    }
}

impl Kept {
    /// The deployments of a scope, the one that was opened first first.
    pub(crate) fn of_scope(&self, scope: &Scope) -> impl DoubleEndedIterator<Item = &Written> {
        let all = self.opened.iter().filter_map(|id| self.deployments.get(id));
        all.filter(move |written| written.scope == *scope)
    }

    pub(crate) fn open_deployment(&self, scope: &Scope) -> Option<DeploymentId> {
        let open = self.of_scope(scope).find(|written| !written.has_ended())?;
        open.entries.first().map(|entry| entry.deployment.clone())
    }
}

impl MemoryStore {
    /// An empty store that dates and waits by `clock`.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        let id = format!("memory-{}", MADE.fetch_add(1, Ordering::Relaxed)).into();
        Self { kept: Arc::default(), clock, id }
    }

    /// Another store that holds the same, with a clock of its own. Locks of targets stay where they
    /// are.
    #[must_use]
    pub fn fork(&self, clock: Arc<dyn Clock>) -> Self {
        let kept = Kept { locks: Locks::default(), ..self.kept().clone() };
        Self { kept: Arc::new(Mutex::new(kept)), clock, id: self.id.clone() }
    }

    /// What is there, whether it can be used or not.
    pub(crate) fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is there, if it can be used.
    pub(crate) fn usable(&self) -> Result<MutexGuard<'_, Kept>, Fault> {
        let kept = self.kept();
        if kept.cut {
            return Err(Fault::new(FaultKind::Unavailable, "the store can't be used")
                .hint("the test that cut it off mends it")
                .retryable());
        }
        Ok(kept)
    }

    /// Makes it unusable, for all its copies, or usable again with all that was there.
    pub fn cut(&self, cut: bool) {
        self.kept().cut = cut;
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

impl Store for MemoryStore {
    fn id(&self) -> &str {
        &self.id
    }
}
