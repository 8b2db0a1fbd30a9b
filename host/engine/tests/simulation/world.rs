//! Fake ports that are stricter than the real ones: they check the invariants at every call, and
//! fail, die or lie as told.

mod checks;
mod clock;
mod invariants;
mod metrics;
mod prober;
mod requests;
mod runtime;
mod store;
mod target;

use crate::time::Time;
use agente_engine::attempt::Attempt;
use agente_engine::fault::{Failure, Fault, FaultKind};
use agente_engine::journal::{DecisionKind, Entry};
use agente_engine::names::{BackendId, DeploymentId};
use agente_engine::policy::OnDrainTimeout;
use agente_engine::ports::*;
use agente_engine::route::Slot;
use agente_engine::state::ServiceState;
use agente_engine::world::World;
use agente_memory_store::MemoryStore;
use futures_util::FutureExt;
use metrics::Metrics;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

/// How a call goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wrong {
    /// It says no and does nothing.
    Refuses,
    /// It fails, and did nothing.
    FailsBefore,
    /// It fails, and did everything.
    FailsAfter,
    /// It never answers, and did nothing.
    HangsBefore,
    /// It never answers, and did everything.
    HangsAfter,
    /// The host dies, before the effect.
    DiesBefore,
    /// The host dies, after the effect.
    DiesAfter,
}

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
    probe_started: Option<u64>,
    locked: BTreeSet<String>,
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
    /// A decision that is left at this time.
    pub decide_at: Option<(u64, DecisionKind)>,
    /// What the target can do.
    pub features: Vec<String>,
    pub dead: bool,
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
    pub cancelled: Arc<AtomicBool>,
    pub store: MemoryStore,
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
            probe_started: None,
            locked: BTreeSet::new(),
            wall_set: None,
            store: store.clone(),
            deployments: 0,
            deployment: None,
            opened_in: ServiceState::default(),
            calls: 0,
            wrong: BTreeMap::new(),
            die_after_entry: None,
            die_before_entry: None,
            journal_fails_from: None,
            journal_fails_until: None,
            fenced_from: None,
            written_in_silence: None,
            mailbox_fails: None,
            apply_takes: 0,
            abort_at_entry: None,
            abort_heard: None,
            decide_at: None,
            features: vec!["weights".into()],
            dead: false,
            proven: BTreeSet::new(),
            served_before: BTreeSet::new(),
            cut: Vec::new(),
            log: Vec::new(),
            told: Vec::new(),
        };
        Self { time, cancelled: Arc::default(), store, inner: Arc::new(Mutex::new(inner)) }
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
            cancelled: &self.cancelled,
            clock: self,
            observer: self,
        }
    }

    pub fn is_dead(&self) -> bool {
        self.inner().dead
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
        taken.now_or_never().expect("nobody waits").expect("the holder before has ended")
    }

    /// A new process takes over: the lease's token grows, what was only in memory is gone.
    pub fn reborn(&self) -> Box<dyn Lease> {
        let mut inner = self.inner();
        inner.dead = false;
        inner.locked.clear();
        inner.probe_started = None;
        inner.log.push("--- a new host".to_owned());
        drop(inner);
        self.lease()
    }

    /// A new deployment begins: what has weight now has served before.
    pub fn begin(&self, slot: Slot) -> Box<dyn Lease> {
        let mut inner = self.inner();
        inner.deployment = None;
        inner.proven.clear();
        inner.shifted_at = None;
        inner.candidate_slot = Some(slot);
        inner.probe_started = None;
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

    /// Counts a call, does `effect` unless told otherwise, and goes wrong as told.
    async fn call<T>(
        &self,
        name: &str,
        effect: impl FnOnce(&mut Inner, u64) -> T,
    ) -> Result<T, Failure> {
        if self.is_dead() {
            // Another branch of the same process: dead with it.
            std::future::pending::<()>().await;
        }
        let (wrong, value) = {
            let now = self.time.now().0;
            let mut inner = self.inner();
            inner.calls += 1;
            let number = inner.calls;
            let wrong = inner.wrong.get(&number).copied();
            inner.log.push(format!("{now:>7} call {number} {name} {wrong:?}"));
            inner.settle(now);
            let value = match wrong {
                None | Some(Wrong::FailsAfter | Wrong::HangsAfter | Wrong::DiesAfter) => {
                    Some(effect(&mut inner, now))
                }
                Some(
                    Wrong::Refuses | Wrong::FailsBefore | Wrong::HangsBefore | Wrong::DiesBefore,
                ) => None,
            };
            if matches!(wrong, Some(Wrong::DiesBefore | Wrong::DiesAfter)) {
                inner.dead = true;
            }
            inner.check(now);
            (wrong, value)
        };
        match (wrong, value) {
            (None, Some(value)) => Ok(value),
            (Some(Wrong::Refuses), _) => Err(Failure::Refused { fault: fault("it was refused") }),
            (Some(Wrong::FailsBefore | Wrong::FailsAfter), _) => {
                Err(Failure::Unknown { fault: fault("it failed") })
            }
            _ => std::future::pending().await,
        }
    }

    /// A call that only looks.
    async fn look<T>(
        &self,
        name: &str,
        effect: impl FnOnce(&mut Inner, u64) -> T,
    ) -> Result<T, Fault> {
        self.call(name, effect).await.map_err(|failure| failure.fault().clone())
    }
}

impl Inner {
    /// The state after the newest entry.
    pub fn state(&self) -> ServiceState {
        self.store.state_now(&crate::scene::scope())
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

    /// Leaves a decision, unless the deployment has ended.
    pub fn leave(&self, decision: DecisionKind) {
        let Some(deployment) = &self.deployment else { return };
        let left = self.store.leave(deployment, decision, "tester", None);
        let _ = left.now_or_never().expect("nobody waits");
    }
}

/// What the drain policy of the simulated deployments says.
pub const CUT: OnDrainTimeout = OnDrainTimeout::Cut;
