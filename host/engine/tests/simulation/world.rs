//! Fake ports that are stricter than the real ones: they check the invariants at every call, and
//! fail, die or lie as told.

mod calls;
mod checks;
mod clock;
mod host;
mod invariants;
mod locks;
mod metrics;
mod prober;
mod requests;
mod runtime;
mod store;
mod target;

use crate::time::Time;
use agente_engine::attempt::Attempt;
use agente_engine::fault::{Fault, FaultKind};
use agente_engine::journal::{DecisionKind, Entry};
use agente_engine::names::{BackendId, DeploymentId};
use agente_engine::policy::OnDrainTimeout;
use agente_engine::ports::*;
use agente_engine::route::Slot;
use agente_engine::state::ServiceState;
use agente_engine::world::World;
use agente_memory_store::MemoryStore;
use calls::InFlight;
pub use calls::Wrong;
use futures_util::FutureExt;
use host::Host;
use locks::Turns;
use metrics::Metrics;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

/// How a candidate behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Candidate {
    #[default]
    Good,
    NeverHealthy,
    CrashLoops,
    /// Its checks fail from this long after the shift.
    TurnsUnhealthy(u64),
    /// Requests to it fail from this long after the shift.
    TurnsBad(u64),
    /// Its process ends this long after the shift.
    Dies(u64),
    /// Its checks are never answered.
    Unanswered,
}

#[derive(Debug, Clone)]
pub struct SimBackend {
    /// Known once it was launched, and another one each time.
    pub address: String,
    pub since: u64,
    pub slot: Slot,
    pub stop_grace: Duration,
    pub role: BackendRole,
}

#[derive(Clone)]
pub struct Inner {
    // The outside.
    pub backends: BTreeMap<BackendId, SimBackend>,
    pub launches: u64,
    pub applied: Option<(Desired, u64)>,
    pub loaded: Option<Desired>,
    pub load_takes: u64,
    pub drain_takes: u64,
    /// Whether the target only sees connections, not requests.
    pub sees_connections_only: bool,
    unreached_since: BTreeMap<BackendId, u64>,
    pub metrics: Metrics,
    /// How many backends must be reached by requests at every moment, once something is stable.
    pub least_serving: usize,
    pub candidate: Candidate,
    candidate_slot: Option<Slot>,
    shifted_at: Option<u64>,
    pub stable_fails: bool,
    pub target_refuses: bool,
    /// From this entry on it refuses.
    pub target_refuses_from: Option<u64>,
    turns: Turns,
    /// From a call for the lock on, somebody else works on the target for so long.
    pub lock_theirs_at: Option<(u64, u64)>,
    locked_by_others_until: Option<u64>,
    in_flight: Vec<InFlight>,
    /// What somebody has put into the target by hand.
    by_hand: Option<Desired>,
    /// How long after it was so a look at the target tells it, and what there was to see.
    pub observed_late: u64,
    seen: Vec<(u64, target::Held)>,
    /// Whether the target says that it would not take what is planned.
    pub plans_are_refused: bool,
    /// From when on the clock on the wall is off, and by how much.
    pub wall_set: Option<(u64, i64)>,
    // The store.
    store: MemoryStore,
    /// How many deployments were planned.
    deployments: u64,
    /// The deployment that was opened last.
    deployment: Option<DeploymentId>,
    /// The state in which it was opened.
    opened_in: ServiceState,
    // What goes wrong.
    pub calls: u64,
    pub wrong: BTreeMap<u64, Wrong>,
    pub die_after_entry: Option<u64>,
    pub die_before_entry: Option<u64>,
    /// At the end of the step before this one.
    pub die_before_step: Option<usize>,
    pub journal_fails_from: Option<u64>,
    /// Until when; for ever without it.
    pub journal_fails_until: Option<u64>,
    pub fenced_from: Option<u64>,
    /// This entry is written, and said not to be.
    pub written_in_silence: Option<u64>,
    /// From when until when the mailbox can't be read.
    pub mailbox_fails: Option<(u64, u64)>,
    /// How long a change of the target takes; one that is wanted no more ends without effect.
    pub apply_takes: u64,
    pub abort_at_entry: Option<u64>,
    pub abort_heard: Option<(u64, u64)>,
    /// When somebody asks to stop who can't leave that in the mailbox.
    pub interrupt_at: Option<u64>,
    /// Whether room is kept for the way back, which the journal then has although it is full.
    pub room_is_kept: bool,
    /// How long nothing can be read of the mailbox from that abort on.
    pub deaf_for: u64,
    /// A decision that is left at this time.
    pub decide_at: Option<(u64, DecisionKind)>,
    /// What the target can do.
    pub features: Vec<String>,
    /// Since when a host that lives has lost its lease.
    pub passed_over: Option<u64>,
    hosts: u64,
    // What is kept for judging.
    pub proven: BTreeSet<BackendId>,
    pub served_before: BTreeSet<BackendId>,
    pub cut: Vec<BackendId>,
    pub log: Vec<String>,
    /// What waits told, and of which step.
    pub told: Vec<(Option<usize>, String)>,
}

#[derive(Clone)]
pub struct Sim {
    pub time: Time,
    pub store: MemoryStore,
    pub host: Arc<Host>,
    inner: Arc<Mutex<Inner>>,
}

impl JournalObserver for Sim {
    fn journaled(&self, _: Entry) {}
}

impl Observer for Sim {
    fn tell(&self, progress: Progress) {
        if let Progress::Waiting { step, message } = progress {
            self.inner().told.push((step, message));
        }
    }
}

/// Who holds the leases of the simulated hosts.
pub fn holder() -> Holder {
    Holder {
        user: "tester".into(),
        host: "sim".into(),
        pid: 1,
        started: 1,
        command: "agente-host deploy".into(),
        boot: "boot".into(),
        pid_namespace: "pid".into(),
    }
}

fn fault(message: &str) -> Fault {
    Fault::new(FaultKind::Failed, message)
}

impl Sim {
    pub fn new() -> Self {
        let time = Time::default();
        let store = MemoryStore::new(Arc::new(time.clone()));
        let inner = Inner {
            backends: BTreeMap::new(),
            launches: 0,
            applied: None,
            loaded: None,
            load_takes: 300,
            drain_takes: 1_000,
            sees_connections_only: false,
            unreached_since: BTreeMap::new(),
            metrics: Metrics::default(),
            least_serving: 0,
            candidate: Candidate::Good,
            candidate_slot: None,
            shifted_at: None,
            stable_fails: false,
            target_refuses: false,
            target_refuses_from: None,
            turns: Turns::default(),
            lock_theirs_at: None,
            locked_by_others_until: None,
            in_flight: Vec::new(),
            by_hand: None,
            observed_late: 0,
            seen: Vec::new(),
            plans_are_refused: false,
            wall_set: None,
            store: store.clone(),
            deployments: 0,
            deployment: None,
            opened_in: ServiceState::default(),
            calls: 0,
            wrong: BTreeMap::new(),
            die_after_entry: None,
            die_before_entry: None,
            die_before_step: None,
            journal_fails_from: None,
            journal_fails_until: None,
            fenced_from: None,
            written_in_silence: None,
            mailbox_fails: None,
            apply_takes: 0,
            abort_at_entry: None,
            abort_heard: None,
            interrupt_at: None,
            room_is_kept: false,
            deaf_for: 0,
            decide_at: None,
            features: vec!["weights".into()],
            passed_over: None,
            hosts: 1,
            proven: BTreeSet::new(),
            served_before: BTreeSet::new(),
            cut: Vec::new(),
            log: Vec::new(),
            told: Vec::new(),
        };
        Self { time, store, host: Arc::new(Host::new(1)), inner: Arc::new(Mutex::new(inner)) }
    }

    /// Another world that is the same until now. Nothing may be under way.
    pub fn fork(&self) -> Self {
        let time = self.time.fork();
        let store = self.store.fork(Arc::new(time.clone()));
        let turns = Turns::default();
        let inner = Inner { store: store.clone(), turns, ..self.inner().clone() };
        let host = Arc::new(Host::new(self.host.number()));
        Self { time, store, host, inner: Arc::new(Mutex::new(inner)) }
    }

    pub fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    pub fn world(&self) -> World<'_> {
        World {
            runtime: self,
            switcher: self,
            checks: self,
            metrics: self,
            prober: Some(self),
            journal: self,
            mailbox: self,
            targets: self,
            cancelled: &self.host.cancelled,
            interrupted: &self.host.interrupted,
            clock: self,
            observer: self,
        }
    }

    pub fn is_dead(&self) -> bool {
        self.host.is_dead()
    }

    /// The id of the next deployment of a release.
    pub fn deployment_id(&self, release: u64) -> String {
        let mut inner = self.inner();
        inner.deployments += 1;
        format!("d{}-r{release}", inner.deployments)
    }

    /// Takes the lease; nobody who lives has it.
    fn lease(&self) -> Box<dyn Lease> {
        let scope = crate::scene::scope();
        let taken = self.store.acquire(&scope, holder(), None);
        let taken = taken.now_or_never().expect("nobody waits");
        let lease = taken.expect("the holder before has ended");
        self.host.holds(lease.fence().0);
        lease
    }

    /// A new process, in the place of the one before it, which has died or ended.
    pub fn reborn(&self) -> Box<dyn Lease> {
        let now = self.now();
        let mut inner = self.inner();
        inner.abandon(self.host.number(), now);
        self.host.begins_anew(inner.next_host());
        drop(inner);
        self.lease()
    }

    /// Takes the lease of a host that is taken for dead: no sign of life has come from its machine
    /// for too long.
    pub fn passes_over(&self) -> Box<dyn Lease> {
        let now = self.now();
        let mut inner = self.inner();
        inner.passed_over = Some(now);
        inner.log.push(format!("{now:>7} --- host {} passes over", self.host.number()));
        drop(inner);
        self.store.take_for_dead(&crate::scene::scope());
        self.lease()
    }

    /// A process beside this one.
    pub fn second(&self) -> Self {
        let number = self.inner().next_host();
        Self { host: Arc::new(Host::new(number)), ..self.clone() }
    }

    /// A new deployment begins: what has weight now has served before.
    pub fn begin(&self, slot: Slot) -> Box<dyn Lease> {
        let mut inner = self.inner();
        inner.deployment = None;
        inner.proven.clear();
        inner.shifted_at = None;
        inner.candidate_slot = Some(slot);
        inner.passed_over = None;
        self.host.probes_anew();
        let serving = inner
            .loaded
            .iter()
            .flat_map(|desired| desired.routes.routes.clone())
            .filter(|route| !route.weight.is_zero());
        inner.served_before =
            serving.flat_map(|route| route.backends).map(|backend| backend.id).collect();
        drop(inner);
        self.lease()
    }
}

impl Inner {
    /// The state after the newest entry.
    pub fn state(&self) -> ServiceState {
        self.store.state_now(&crate::scene::scope())
    }

    /// The newest token of the lease.
    fn fence(&self) -> u64 {
        self.store.fence_now(&crate::scene::scope()).0
    }

    /// The entries of the deployment that was opened last.
    pub fn entries(&self) -> Vec<Entry> {
        self.read_entries(<[Entry]>::to_vec)
    }

    /// Reads them where they are.
    fn read_entries<T: Default>(&self, read: impl FnOnce(&[Entry]) -> T) -> T {
        self.deployment.as_ref().map(|id| self.store.read_entries(id, read)).unwrap_or_default()
    }

    /// Where the deployment that was opened last is, by its journal.
    pub fn attempt(&self) -> Option<Attempt> {
        self.read_entries(|entries| {
            (!entries.is_empty()).then(|| Attempt::fold(entries).expect("the journal folds"))
        })
    }

    fn next_host(&mut self) -> u64 {
        self.hosts += 1;
        self.log.push(format!("--- host {}", self.hosts));
        self.hosts
    }

    /// Whether something that a host asked of the target is on its way.
    fn is_in_flight(&self, host: u64) -> bool {
        self.in_flight.iter().any(|one| one.is_of_target(host))
    }

    /// What stands on a slot is watched like a candidate that has had its requests since now.
    pub fn watches(&mut self, slot: Slot, now: u64) {
        self.candidate_slot = Some(slot);
        self.shifted_at = Some(now);
    }

    /// Leaves a decision, unless the deployment has ended.
    pub fn leave(&self, decision: DecisionKind) {
        let Some(deployment) = &self.deployment else { return };
        let left = self.store.leave(deployment, decision, "tester", None);
        let _ = left.now_or_never().expect("nobody waits");
    }
}

/// What the drain policy of the simulated deployments says.
pub const CUT: OnDrainTimeout = OnDrainTimeout::Cut;
