//! An abort that a real executor hears reaches a real guest.

use crate::fixture::{World as Ports, scope};
use agente_engine::executor;
use agente_engine::fault::{Failure, Fault, FaultKind};
use agente_engine::journal::{DecisionKind, Entry};
use agente_engine::names::{BackendId, DeploymentId, ReleaseNumber, Timestamp};
use agente_engine::placement::Placement;
use agente_engine::planner::{self, Inputs};
use agente_engine::policy::{
    CheckPolicy, DrainPolicy, KeepPrevious, OnDrainTimeout, OnOpen, Policy, Strategy, Timeouts,
};
use agente_engine::ports::{
    BackendRole, BackendState, Clock, Finding, HealthCheck, Holder, JournalObserver, Launch,
    Launched, Leases, Mailbox, MetricQuery, MetricSource, Observer, Progress, Reading, Retired,
    Runtime, TargetLock, TargetLocks, Wanted,
};
use agente_engine::release::{Artifact, Release, RuntimeSpec};
use agente_engine::route::{Backend, Slot};
use agente_engine::state::ServiceState;
use agente_engine::verdict::{Subject, Verdict, VerdictKind};
use agente_engine::world::World;
use agente_memory_store::MemoryStore;
use agente_wasm::OperationContext;
use async_trait::async_trait;
use serde_json::json;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A service that runs already and is well; everything but its target.
struct Standing(Instant);

fn not_asked() -> Fault {
    Fault::new(FaultKind::Internal, "nobody asks for this here")
}

#[async_trait]
impl Runtime for Standing {
    async fn reserve(&self, _: &Release, _: Slot, _: &[Backend]) -> Result<Vec<Backend>, Fault> {
        Err(not_asked())
    }

    async fn preflight(&self, _: &Release, _: &[Backend]) -> Vec<Finding> {
        Vec::new()
    }

    async fn ensure(&self, launch: &Launch) -> Result<Launched, Failure> {
        Ok(Launched { address: launch.backend.address.clone() })
    }

    async fn inspect(&self, _: &Backend) -> Result<BackendState, Fault> {
        Ok(BackendState::Running { since: Timestamp(0), restarts: 0, healthy: None })
    }

    async fn assign(&self, _: &Backend, _: BackendRole) -> Result<(), Failure> {
        Ok(())
    }

    async fn retire(&self, _: &Backend, _: Duration) -> Result<Retired, Failure> {
        Err(Failure::Refused { fault: not_asked() })
    }

    async fn log_tail(&self, _: &Backend, _: usize) -> Result<Vec<String>, Fault> {
        Ok(Vec::new())
    }
}

#[async_trait]
impl HealthCheck for Standing {
    async fn check(&self, _: &CheckPolicy, _: &Subject) -> Verdict {
        Verdict { kind: VerdictKind::Healthy, value: None, reason: "well".to_owned() }
    }
}

#[async_trait]
impl MetricSource for Standing {
    async fn read(
        &self,
        _: &MetricQuery,
        _: Wanted,
        _: &Subject,
        _: Timestamp,
        _: Timestamp,
    ) -> Result<Reading, Fault> {
        Err(not_asked())
    }

    async fn missing(&self, _: &MetricQuery) -> Result<Vec<String>, Fault> {
        Err(not_asked())
    }
}

#[async_trait]
impl TargetLocks for Standing {
    async fn lock_target(&self, _: &str) -> Result<TargetLock, Fault> {
        Ok(TargetLock::new(()))
    }
}

#[async_trait]
impl Clock for Standing {
    fn now(&self) -> Timestamp {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        Timestamp(u64::try_from(now.as_millis()).unwrap())
    }

    fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }

    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}

impl Observer for Standing {
    fn tell(&self, _: Progress) {}
}

impl JournalObserver for Standing {
    fn journaled(&self, _: Entry) {}
}

fn policy() -> Policy {
    let long = Duration::from_mins(5);
    Policy {
        strategy: Strategy::BlueGreen,
        analysis: None,
        on_open: OnOpen::Refuse,
        checks: Vec::new(),
        probe: None,
        bake: Duration::ZERO,
        drain: DrainPolicy {
            timeout: long,
            on_timeout: OnDrainTimeout::Keep,
            accept_weak_evidence: false,
        },
        keep_previous: KeepPrevious::UntilNext,
        timeouts: Timeouts {
            preflight: long,
            launch: long,
            healthy: long,
            shift: long,
            validate: long,
            undo: long,
            decide: long,
        },
        candidate_overrides: Vec::new(),
        min_free_disk_bytes: 0,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_that_applies_a_change_hears_of_an_abort_that_somebody_left_in_the_mailbox() {
    let standing = Arc::new(Standing(Instant::now()));
    let clock = Arc::<Standing>::clone(&standing) as Arc<dyn Clock>;
    let store = MemoryStore::new(clock);
    let holder = || Holder {
        user: "tester".to_owned(),
        host: "here".to_owned(),
        pid: 1,
        started: 0,
        command: "adopt".to_owned(),
        boot: String::new(),
        pid_namespace: String::new(),
    };
    // The guest's target holds the token of a seventh lease.
    for _ in 0..7 {
        store.acquire(&scope(), holder(), None).await.unwrap().release().await.unwrap();
    }
    let lease = store.acquire(&scope(), holder(), None).await.unwrap();

    let cancelled = Arc::new(AtomicBool::new(false));
    let context =
        OperationContext { cancelled: Arc::clone(&cancelled), ..OperationContext::default() };
    let ports = Ports::default();
    let settings = json!({ "act": "until-cancelled", "only": "apply" });
    let switcher = ports.load(settings).await.switcher(context).unwrap();

    let addresses = vec!["127.0.0.1:9".to_owned()];
    let release = Release {
        scope: scope(),
        number: ReleaseNumber(1),
        artifact: Artifact::Adopted,
        runtime: RuntimeSpec::Adopted { addresses },
        created: Timestamp(0),
    };
    let backend = Backend {
        id: BackendId::of(&release, Slot::Blue, 0),
        address: "127.0.0.1:9".to_owned(),
        placement: Placement::Adopted,
    };
    let id = DeploymentId("d-1".to_owned());
    let inputs = Inputs {
        id: id.clone(),
        scope: scope(),
        store: "store-1".to_owned(),
        by: "tester".to_owned(),
        now: Timestamp(0),
        state: ServiceState::default(),
        policy: policy(),
        plugins: Vec::new(),
        stable_release: None,
        force: false,
    };
    let plan = planner::adopt(inputs, release, vec![backend]).unwrap();
    let world = World {
        runtime: &*standing,
        switcher: &switcher,
        checks: &*standing,
        metrics: &*standing,
        prober: None,
        journal: &store,
        mailbox: &store,
        targets: &*standing,
        cancelled: &cancelled,
        interrupted: &OnceLock::new(),
        clock: &*standing,
        observer: &*standing,
    };
    let said = async |words: &str| {
        while !ports.messages().iter().any(|message| message.message == words) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let aborting = async {
        said("waiting").await;
        store.leave(&id, DecisionKind::Abort, "tester", None).await.unwrap();
        said("stopped early").await;
    };
    tokio::select! {
        biased;
        () = aborting => {}
        ended = executor::begin(world, &*lease, plan, ServiceState::default()) => {
            panic!("the guest heard nothing: {ended:?}, {:?}", ports.messages());
        }
    }
}
