//! Fake ports that are stricter than the real ones: they check the invariants at every call, and
//! fail, die or lie as told.

use crate::lease::SimLease;
use crate::time::Time;
use agente_engine::attempt::Attempt;
use agente_engine::fault::{Failure, Fault, FaultKind};
use agente_engine::journal::{Decision, DecisionKind, Entry, Event};
use agente_engine::names::{BackendId, DeploymentId, OpId, Scope, Timestamp};
use agente_engine::policy::{CheckMoment, CheckPolicy, OnDrainTimeout};
use agente_engine::ports::*;
use agente_engine::release::Release;
use agente_engine::route::{Backend, Routes, Slot};
use agente_engine::state::ServiceState;
use agente_engine::step::StepState;
use agente_engine::verdict::{Subject, Verdict, VerdictKind};
use agente_engine::world::World;
use async_trait::async_trait;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
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

/// What the simulated source of metrics knows.
#[derive(Debug, Clone)]
pub struct Metrics {
    pub per_second: f64,
    pub candidate_fails: f64,
    pub stable_fails: f64,
    /// Away from here to there.
    pub away: Option<(u64, u64)>,
    /// Knows nothing of the candidate.
    pub blind: bool,
    pub missing: Vec<String>,
    /// How long an answer takes.
    pub takes: u64,
    counted_until: u64,
    sides: BTreeMap<Slot, Side>,
}

#[derive(Debug, Clone, Default)]
struct Side {
    total: f64,
    failed: f64,
    points: Vec<(u64, f64, f64)>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            per_second: 400.0,
            candidate_fails: 0.0,
            stable_fails: 0.0,
            away: None,
            blind: false,
            missing: vec![],
            takes: 0,
            counted_until: 0,
            sides: BTreeMap::new(),
        }
    }
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
    pub entries: Vec<Entry>,
    pub state: ServiceState,
    /// The state in which the deployment was opened.
    opened_in: ServiceState,
    pub fence: u64,
    pub mailbox: Vec<Decision>,
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
    /// Whether decisions that are there when a deployment begins stay.
    pub mailbox_kept: bool,
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

fn fault(message: &str) -> Fault {
    Fault::new(FaultKind::Failed, message)
}

impl Sim {
    pub fn new() -> Self {
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
            entries: Vec::new(),
            state: ServiceState::default(),
            opened_in: ServiceState::default(),
            fence: 1,
            mailbox: Vec::new(),
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
            mailbox_kept: false,
            dead: false,
            proven: BTreeSet::new(),
            served_before: BTreeSet::new(),
            cut: Vec::new(),
            log: Vec::new(),
            told: Vec::new(),
        };
        Self {
            time: Time::default(),
            cancelled: Arc::default(),
            inner: Arc::new(Mutex::new(inner)),
        }
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

    /// A new process takes over: the lease's token grows, what was only in memory is gone.
    pub fn reborn(&self) -> SimLease {
        let mut inner = self.inner();
        inner.dead = false;
        inner.locked.clear();
        inner.probe_started = None;
        inner.fence += 1;
        inner.log.push("--- a new host".to_owned());
        SimLease::new(self, inner.fence)
    }

    /// A new deployment begins: what has weight now has served before.
    pub fn begin(&self, slot: Slot) -> SimLease {
        let mut inner = self.inner();
        inner.entries.clear();
        inner.proven.clear();
        if !inner.mailbox_kept {
            inner.mailbox.clear();
        }
        inner.shifted_at = None;
        inner.candidate_slot = Some(slot);
        inner.probe_started = None;
        inner.fence += 1;
        let serving = inner
            .loaded
            .iter()
            .flat_map(|desired| desired.routes.routes.clone())
            .filter(|route| !route.weight.is_zero());
        inner.served_before =
            serving.flat_map(|route| route.backends).map(|backend| backend.id).collect();
        SimLease::new(self, inner.fence)
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

    /// The time that a change of the target takes. Like a good plugin it asks whether it is wanted.
    async fn changing(&self, op: &OpId) -> Result<(), Failure> {
        let until = self.time.now().0 + self.inner().apply_takes;
        assert!(!self.cancelled.load(Ordering::Relaxed), "{op} began when it was wanted no more");
        while self.time.now().0 < until {
            self.time.sleep(Duration::from_millis(10)).await;
            if self.cancelled.load(Ordering::Relaxed) {
                let now = self.time.now().0;
                self.inner().log.push(format!("{now:>7} {op} ended by itself"));
                return Err(Failure::Refused { fault: fault("it was wanted no more") });
            }
        }
        Ok(())
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
    fn settle(&mut self, now: u64) {
        self.count_requests(now);
        if let Some((desired, at)) = &self.applied
            && now >= at + self.load_takes
            && self.loaded.as_ref() != Some(desired)
        {
            let before = self.loaded.replace(desired.clone());
            let desired = desired.clone();
            for backend in before
                .iter()
                .flat_map(|before| &before.routes.routes)
                .chain(&desired.routes.routes)
                .flat_map(|route| &route.backends)
            {
                let had = before.as_ref().is_some_and(|before| before.routes.reaches(&backend.id));
                let has = desired.routes.reaches(&backend.id);
                if had && !has {
                    self.unreached_since.insert(backend.id.clone(), now);
                }
                if has {
                    self.unreached_since.remove(&backend.id);
                    let weighted = desired.routes.routes.iter().any(|route| {
                        !route.weight.is_zero()
                            && route.backends.iter().any(|one| one.id == backend.id)
                    });
                    if weighted && self.is_candidate(&backend.id) && self.shifted_at.is_none() {
                        self.shifted_at = Some(now);
                    }
                }
            }
        }
    }

    fn since_shift(&self, now: u64) -> Option<u64> {
        self.shifted_at.map(|at| now - at)
    }

    fn is_candidate(&self, id: &BackendId) -> bool {
        self.backends.get(id).is_some_and(|backend| Some(backend.slot) == self.candidate_slot)
    }

    fn drained(&self, backends: &[BackendId], now: u64) -> bool {
        backends.iter().all(|id| {
            self.unreached_since.get(id).is_none_or(|since| now >= since + self.drain_takes)
        })
    }

    /// Requests go where the routes lead; a scrape a second sees the counters.
    fn count_requests(&mut self, now: u64) {
        let last = self.metrics.counted_until;
        if now <= last {
            return;
        }
        let second = now / 1000 * 1000;
        for slot in Slot::BOTH {
            let candidate = self.candidate_slot == Some(slot);
            // A split by number has the candidate's backends in the other side's pool.
            let share = self.loaded.as_ref().map_or(0.0, |loaded| {
                loaded
                    .routes
                    .routes
                    .iter()
                    .filter(|route| !route.weight.is_zero())
                    .map(|route| {
                        let mine = route
                            .backends
                            .iter()
                            .filter(|backend| self.is_candidate(&backend.id) == candidate)
                            .count();
                        f64::from(route.weight.basis_points()) / 10_000.0 * mine as f64
                            / route.backends.len().max(1) as f64
                    })
                    .sum()
            });
            let failing =
                if candidate { self.metrics.candidate_fails } else { self.metrics.stable_fails };
            let grown = share * self.metrics.per_second * (now - last) as f64 / 1000.0;
            let side = self.metrics.sides.entry(slot).or_default();
            if second > last {
                side.points.push((
                    second,
                    (side.total + grown).floor(),
                    (side.failed + grown * failing).floor(),
                ));
            }
            side.total += grown;
            side.failed += grown * failing;
        }
        self.metrics.counted_until = now;
    }

    /// Whether a request to this backend is answered well now.
    fn answers(&self, id: &BackendId, now: u64) -> bool {
        let Some(_) = self.backends.get(id) else { return false };
        match self.candidate {
            Candidate::TurnsBad(after) | Candidate::Dies(after) if self.is_candidate(id) => {
                self.since_shift(now).is_none_or(|passed| passed < after)
            }
            Candidate::NeverHealthy | Candidate::CrashLoops if self.is_candidate(id) => false,
            _ => !self.stable_fails || self.is_candidate(id),
        }
    }

    /// The invariants that hold at every moment.
    fn check(&self, now: u64) {
        for desired in self.loaded.iter().chain(self.applied.iter().map(|(desired, _)| desired)) {
            let total: u32 =
                desired.routes.routes.iter().map(|route| route.weight.basis_points()).sum();
            assert!(desired.routes.routes.is_empty() || total == 10_000, "weights sum to {total}");
            for route in desired.routes.routes.iter().filter(|route| !route.weight.is_zero()) {
                let enough = u64::from(route.weight.basis_points()) * self.least_serving as u64
                    <= route.backends.len() as u64 * 10_000;
                assert!(
                    enough,
                    "{now}: {} has {} on {} backends\n{}",
                    route.slot,
                    route.weight,
                    route.backends.len(),
                    self.log.join("\n")
                );
                for backend in &route.backends {
                    let proven = self.proven.contains(&backend.id)
                        || self.served_before.contains(&backend.id);
                    assert!(
                        proven,
                        "{now}: {} has weight and was not proven\n{}",
                        backend.id,
                        self.log.join("\n")
                    );
                    assert!(
                        self.backends.contains_key(&backend.id),
                        "{now}: {} has weight and is not there\n{}",
                        backend.id,
                        self.log.join("\n")
                    );
                }
            }
        }
    }

    /// What is told of a backend that runs is where it runs.
    fn check_address(&self, id: &BackendId, told: &str) {
        if let Some(backend) = self.backends.get(id) {
            assert_eq!(told, backend.address, "{id} is elsewhere\n{}", self.log.join("\n"));
        }
    }

    /// Before an effect, its `started` is durable.
    fn check_journaled(&self, what: &str) {
        if self.journal_fails_from.is_some() && what == "apply" {
            return; // Putting the last acknowledged routes back is allowed without a journal.
        }
        let attempt = Attempt::fold(&self.entries).expect("the journal folds");
        let open = attempt
            .steps
            .iter()
            .any(|step| matches!(step, StepState::Running | StepState::Undoing));
        assert!(open, "{what} without a journaled start\n{}", self.log.join("\n"));
    }
}

#[async_trait]
impl Runtime for Sim {
    async fn reserve(&self, _: &Release, _: Slot, _: &[Backend]) -> Result<Vec<Backend>, Fault> {
        unreachable!("plans are made before the simulation")
    }

    async fn preflight(&self, _: &Release, _: &[Backend]) -> Vec<Finding> {
        match self.look("preflight", |_, _| ()).await {
            Ok(()) => vec![],
            Err(fault) => vec![Finding {
                subject: "runtime".into(),
                result: FindingResult::Bad,
                message: fault.message,
                hint: None,
            }],
        }
    }

    async fn ensure(&self, launch: &Launch) -> Result<Launched, Failure> {
        self.call(&format!("ensure {}", launch.backend.id), |inner, now| {
            inner.check_journaled("ensure");
            inner.launches += 1;
            let address = format!("10.0.{}.{}:8080", inner.launches / 256, inner.launches % 256);
            let entry = inner.backends.entry(launch.backend.id.clone());
            let backend = entry.or_insert(SimBackend {
                address,
                since: now,
                slot: launch.slot,
                stop_grace: launch.release.runtime.stop_grace(),
                role: BackendRole::Live,
            });
            Launched { address: backend.address.clone() }
        })
        .await
    }

    async fn inspect(&self, backend: &Backend) -> Result<BackendState, Fault> {
        self.look(&format!("inspect {}", backend.id), |inner, now| match inner.backends.get(&backend.id) {
            None => BackendState::Absent,
            Some(_) if inner.candidate == Candidate::CrashLoops && inner.is_candidate(&backend.id) => {
                BackendState::Starting { detail: "exit code 3".into(), restarts: 3 }
            }
            Some(_)
                if matches!(inner.candidate, Candidate::Dies(after) if inner.is_candidate(&backend.id) && inner.since_shift(now).is_some_and(|p| p >= after)) =>
            {
                BackendState::Ended { detail: "signal 11".into() }
            }
            Some(found) => BackendState::Running { since: Timestamp(found.since), restarts: 0, healthy: None },
        })
        .await
    }

    async fn assign(&self, backend: &Backend, role: BackendRole) -> Result<(), Failure> {
        self.call(&format!("assign {} {role:?}", backend.id), |inner, _| {
            if let Some(found) = inner.backends.get_mut(&backend.id) {
                found.role = role;
            }
        })
        .await
    }

    async fn retire(&self, backend: &Backend, grace: Duration) -> Result<Retired, Failure> {
        self.call(&format!("retire {}", backend.id), |inner, now| {
            inner.check_journaled("retire");
            let Some(found) = inner.backends.get(&backend.id).cloned() else {
                return Retired { found: false, killed: false };
            };
            assert_eq!(
                grace, found.stop_grace,
                "{} is stopped with another release's grace",
                backend.id
            );
            for desired in
                inner.loaded.iter().chain(inner.applied.iter().map(|(desired, _)| desired))
            {
                assert!(
                    !desired.routes.reaches(&backend.id),
                    "{} is retired while requests reach it\n{}",
                    backend.id,
                    inner.log.join("\n")
                );
            }
            if !inner.drained(std::slice::from_ref(&backend.id), now) {
                inner.cut.push(backend.id.clone());
            }
            inner.backends.remove(&backend.id);
            Retired { found: true, killed: false }
        })
        .await
    }

    async fn log_tail(&self, backend: &Backend, _: usize) -> Result<Vec<String>, Fault> {
        Ok(vec![format!("last words of {}", backend.id)])
    }
}

#[async_trait]
impl TrafficSwitcher for Sim {
    async fn features(&self) -> Result<Features, Fault> {
        self.look("features", |inner, _| Features {
            names: inner.features.clone(),
            lock_key: "sim".into(),
            warnings: vec![],
            identity_header: Some("x-slot".into()),
        })
        .await
    }

    async fn plan(&self, _: &Desired) -> Result<String, Fault> {
        Ok(String::new())
    }

    async fn apply(
        &self,
        op: &OpId,
        desired: &Desired,
        _lock: &TargetLock,
    ) -> Result<Observed, Failure> {
        if self.inner().target_refuses {
            return Err(Failure::Refused {
                fault: fault("its configuration is broken by somebody else"),
            });
        }
        self.changing(op).await?;
        self.call(
            &format!(
                "apply {op} blue {} green {}",
                desired.routes.weight(Slot::Blue),
                desired.routes.weight(Slot::Green)
            ),
            |inner, now| {
                inner.check_journaled("apply");
                let all = desired.routes.routes.iter().flat_map(|route| &route.backends);
                for to in all {
                    inner.check_address(&to.id, &to.address);
                }
                assert!(inner.locked.contains("sim"), "the target is changed without its lock");
                assert!(
                    desired.fence.0 >= inner.loaded.as_ref().map_or(0, |loaded| loaded.fence.0),
                    "a stale token reached the target"
                );
                if inner.applied.as_ref().is_none_or(|(applied, _)| applied != desired) {
                    inner.applied = Some((desired.clone(), now));
                }
                observed(inner, now)
            },
        )
        .await
    }

    async fn observe(&self) -> Result<Observed, Fault> {
        self.look("observe", observed).await
    }

    async fn drain(&self, _: &OpId, slot: Slot, backends: &[Backend]) -> Result<Drained, Fault> {
        let ids: Vec<BackendId> = backends.iter().map(|backend| backend.id.clone()).collect();
        self.look(&format!("drain {slot}"), |inner, now| {
            let done = inner.drained(&ids, now);
            Drained {
                done,
                remaining: u32::from(!done),
                evidence: "workers-gone".into(),
                weak: inner.sees_connections_only,
                message: format!("{} old workers", u32::from(!done)),
            }
        })
        .await
    }
}

fn observed(inner: &mut Inner, now: u64) -> Observed {
    inner.settle(now);
    let empty = Routes { routes: vec![], overrides: vec![] };
    let state = match (&inner.applied, &inner.loaded) {
        (None, _) => ObservedState::Absent,
        (Some((applied, _)), Some(loaded)) if applied == loaded => ObservedState::Converged,
        (Some(_), _) => ObservedState::Pending,
    };
    Observed {
        state,
        generation: inner.applied.as_ref().map(|(_, at)| at.to_string()).unwrap_or_default(),
        fence: inner.loaded.as_ref().map_or(Fence(0), |loaded| loaded.fence),
        routes: inner.loaded.as_ref().map_or(empty, |loaded| loaded.routes.clone()),
        store: inner.loaded.as_ref().map(|loaded| loaded.store.clone()),
        message: "observed".into(),
    }
}

#[async_trait]
impl HealthCheck for Sim {
    async fn check(&self, check: &CheckPolicy, subject: &Subject) -> Verdict {
        let verdict = |kind| Verdict { kind, value: None, reason: "as simulated".into() };
        let asked = self
            .look(&format!("check {}", check.name), |inner, now| {
                let ids: Vec<BackendId> =
                    subject.backends.iter().map(|backend| backend.id.clone()).collect();
                for one in &subject.backends {
                    inner.check_address(&one.id, &one.address);
                }
                let candidate = ids.iter().any(|id| inner.is_candidate(id));
                let unhealthy = match inner.candidate {
                    Candidate::NeverHealthy | Candidate::CrashLoops => candidate,
                    Candidate::TurnsUnhealthy(after) => {
                        candidate && inner.since_shift(now).is_some_and(|passed| passed >= after)
                    }
                    Candidate::Unanswered if candidate => return VerdictKind::Errored,
                    _ => false,
                };
                if unhealthy {
                    return VerdictKind::Unhealthy;
                }
                if check.when.contains(&CheckMoment::Ready) {
                    inner.proven.extend(ids);
                }
                VerdictKind::Healthy
            })
            .await;
        asked.map_or_else(|_| verdict(VerdictKind::Errored), verdict)
    }
}

#[async_trait]
impl MetricSource for Sim {
    async fn read(
        &self,
        query: &MetricQuery,
        _: Wanted,
        subject: &Subject,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Reading, Fault> {
        let takes = self.inner().metrics.takes;
        if takes > 0 {
            self.time.sleep(Duration::from_millis(takes)).await;
        }
        self.look("metrics", |inner, now| {
            if inner.metrics.away.is_some_and(|(from, to)| now >= from && now < to) {
                return Err(fault("connection refused").retryable());
            }
            let slot = subject.slot.expect("a side is asked about");
            if inner.metrics.blind && inner.candidate_slot == Some(slot) {
                return Ok(Reading::default());
            }
            let errors = query.spec == "errors";
            let points =
                inner.metrics.sides.get(&slot).map(|side| side.points.clone()).unwrap_or_default();
            let window = points.into_iter().filter(|(at, ..)| *at >= from.0 && *at <= to.0);
            let points: Vec<(Timestamp, f64)> = window
                .map(|(at, total, failed)| (Timestamp(at), if errors { failed } else { total }))
                .collect();
            // As with real counters: no series for what never happened.
            let empty = points.last().is_none_or(|(_, value)| *value == 0.0);
            Ok(Reading {
                series: if empty { vec![] } else { vec![Series { labels: vec![], points }] },
                doubts: vec![],
            })
        })
        .await
        .and_then(|answer| answer)
    }

    async fn missing(&self, _: &MetricQuery) -> Result<Vec<String>, Fault> {
        Ok(self.inner().metrics.missing.clone())
    }
}

#[async_trait]
impl Prober for Sim {
    async fn start(&self) -> Result<(), Fault> {
        self.look("probe start", |inner, now| {
            inner.probe_started.get_or_insert(now);
        })
        .await
    }

    /// Ten requests a second; each judged as the world is now, which is exact enough at a poll of
    /// 100 ms.
    fn report(&self) -> ProbeReport {
        let now = self.time.now().0;
        let mut inner = self.inner();
        inner.settle(now);
        let Some(started) = inner.probe_started else { return ProbeReport::default() };
        let sent = (now - started) / 100;
        let bad_since = match (inner.candidate, inner.shifted_at) {
            (Candidate::TurnsBad(after) | Candidate::Dies(after), Some(at)) => Some(at + after),
            _ if inner.stable_fails => Some(started),
            _ => None,
        };
        // What the stable side fails ends with its requests.
        let bad_until = inner
            .shifted_at
            .filter(|_| inner.stable_fails && inner.candidate == Candidate::Good)
            .unwrap_or(now);
        let failed =
            bad_since.map_or(0, |since| bad_until.saturating_sub(since.max(started)) / 100);
        let mut report =
            ProbeReport { sent, succeeded: sent - failed.min(sent), ..ProbeReport::default() };
        if failed > 0 {
            report.failed.insert("status-5xx".into(), failed);
        }
        let most = |l: &Desired| Slot::BOTH.into_iter().max_by_key(|&slot| l.routes.weight(slot));
        let serving = inner.loaded.as_ref().and_then(most);
        if let Some(slot) = serving {
            report.by_identity.insert(slot.to_string(), report.succeeded);
        }
        report
    }

    async fn identities(&self, count: usize) -> Result<Vec<String>, Fault> {
        self.look("identities", |inner, now| {
            inner.settle(now);
            let routes = inner.loaded.as_ref().map(|loaded| loaded.routes.clone());
            let serving = routes
                .and_then(|routes| routes.routes.into_iter().find(|route| !route.weight.is_zero()));
            let answered = serving.filter(|route| {
                route.backends.iter().all(|backend| inner.answers(&backend.id, now))
            });
            vec![answered.map(|route| route.slot.to_string()).unwrap_or_default(); count]
        })
        .await
    }
}

#[async_trait]
impl Journal for Sim {
    async fn append(
        &self,
        fence: Fence,
        entry: &Entry,
        state: &ServiceState,
    ) -> Result<(), AppendError> {
        let Entry { sequence, event, .. } = entry;
        let dead = {
            let now = self.time.now();
            let mut inner = self.inner();
            assert!(!inner.dead, "a dead host wrote the journal");
            let sequence = *sequence;
            assert_eq!(
                sequence,
                inner.entries.len() as u64,
                "a number was passed over or repeated"
            );
            if inner.journal_fails_until.is_some_and(|until| now.0 >= until) {
                inner.journal_fails_from = None;
            }
            if inner.journal_fails_from.is_some_and(|from| sequence >= from) {
                return Err(AppendError::Unavailable(fault("no space left")));
            }
            let fenced = inner.fenced_from.is_some_and(|from| sequence >= from);
            if fenced || fence.0 < inner.fence {
                return Err(AppendError::Fenced { scope: crate::scene::scope(), fence });
            }
            if inner.die_before_entry == Some(sequence) {
                inner.die_before_entry = None;
                inner.dead = true;
            } else {
                if sequence == 0 {
                    inner.opened_in = inner.state.clone();
                }
                inner.entries.push(entry.clone());
                inner.state = state.clone();
                assert_eq!(
                    inner.opened_in.clone().fold(&inner.entries),
                    *state,
                    "the entries say another state than what was stored"
                );
                inner.target_refuses |= inner.target_refuses_from == Some(sequence);
                for standing in
                    state.stable.iter().chain(state.kept.as_ref().map(|kept| &kept.standing))
                {
                    let its_own = |backend: &Backend| {
                        backend
                            .id
                            .0
                            .contains(&format!("-{}-r{}-", standing.slot, standing.release.0))
                    };
                    assert!(
                        standing.backends.iter().all(its_own),
                        "the state has strangers in {standing:?}\n{}",
                        inner.log.join("\n")
                    );
                }
                let text = serde_json::to_string(event).unwrap();
                inner.log.push(format!(
                    "{:>7} entry {sequence} {}",
                    now.0,
                    &text[..text.len().min(160)]
                ));
                Attempt::fold(&inner.entries).expect("every prefix of the journal folds");
                inner.settle(now.0);
                inner.check(now.0);
                if inner.abort_at_entry == Some(sequence) {
                    inner.abort_at_entry = None;
                    let id = inner.mailbox.len() as u64 + 1;
                    inner.mailbox.push(Decision {
                        id,
                        decision: DecisionKind::Abort,
                        by: "tester".into(),
                        reason: None,
                        at: now,
                    });
                    inner.abort_heard = Some((now.0, 0));
                }
                if let (Event::Decided(_), Some((left, 0))) = (event, inner.abort_heard) {
                    inner.abort_heard = Some((left, now.0.max(1)));
                }
                if inner.die_after_entry == Some(sequence) {
                    inner.die_after_entry = None;
                    inner.dead = true;
                }
                if inner.written_in_silence.take_if(|entry| *entry == sequence).is_some() {
                    return Err(AppendError::Unavailable(fault("the disk did not answer")));
                }
            }
            inner.dead
        };
        if dead {
            std::future::pending::<()>().await;
        }
        Ok(())
    }

    async fn entries_after(
        &self,
        _: &DeploymentId,
        sequence: Option<u64>,
    ) -> Result<Vec<Entry>, Fault> {
        let beyond = |entry: &&Entry| sequence.is_none_or(|sequence| entry.sequence > sequence);
        Ok(self.inner().entries.iter().filter(beyond).cloned().collect())
    }

    async fn state(&self, _: &Scope) -> Result<ServiceState, Fault> {
        Ok(self.inner().state.clone())
    }

    async fn open_deployment(&self, _: &Scope) -> Result<Option<DeploymentId>, Fault> {
        Ok(self.inner().state.open.clone())
    }
}

#[async_trait]
impl Mailbox for Sim {
    async fn leave(
        &self,
        _: &DeploymentId,
        decision: DecisionKind,
        by: &str,
        reason: Option<&str>,
    ) -> Result<u64, Fault> {
        let at = self.time.now();
        let mut inner = self.inner();
        let id = inner.mailbox.len() as u64 + 1;
        let (by, reason) = (by.to_owned(), reason.map(str::to_owned));
        inner.mailbox.push(Decision { id, decision, by, reason, at });
        Ok(id)
    }

    async fn decisions(&self, _: &DeploymentId, after: u64) -> Result<Vec<Decision>, Fault> {
        let now = self.time.now();
        let mut inner = self.inner();
        if let Some((_, decision)) = inner.decide_at.take_if(|(at, _)| *at <= now.0) {
            let id = inner.mailbox.len() as u64 + 1;
            inner.mailbox.push(Decision {
                id,
                decision,
                by: "tester".into(),
                reason: None,
                at: now,
            });
        }
        if inner.mailbox_fails.is_some_and(|(from, until)| (from..until).contains(&now.0)) {
            return Err(fault("the store can't be read"));
        }
        Ok(inner.mailbox.iter().filter(|decision| decision.id > after).cloned().collect())
    }
}

#[async_trait]
impl TargetLocks for Sim {
    async fn lock_target(&self, key: &str) -> Result<TargetLock, Fault> {
        struct Held(Sim, String);
        impl Drop for Held {
            fn drop(&mut self) {
                self.0.inner().locked.remove(&self.1);
            }
        }
        assert!(
            self.inner().locked.insert(key.to_owned()),
            "the lock of the target is taken twice"
        );
        Ok(TargetLock::new(Held(self.clone(), key.to_owned())))
    }
}

#[async_trait]
impl Clock for Sim {
    fn now(&self) -> Timestamp {
        let set = self.inner().wall_set;
        let now = self.time.now();
        set.filter(|(at, _)| now.0 >= *at)
            .map_or(now, |(_, by)| Timestamp(now.0.saturating_add_signed(by)))
    }
    fn elapsed(&self) -> Duration {
        Duration::from_millis(self.time.now().0)
    }
    async fn sleep(&self, duration: Duration) {
        self.time.sleep(duration).await;
    }
}

/// What the drain policy of the simulated deployments says.
pub const CUT: OnDrainTimeout = OnDrainTimeout::Cut;
