//! What tests of stores deploy.

use agente_engine::deployment::{Deployment, DeploymentKind};
use agente_engine::journal::{Entry, Event, Outcome};
use agente_engine::names::{
    BackendId, DeploymentId, Digest, EnvironmentName, ReleaseNumber, Scope, ServiceName, Timestamp,
};
use agente_engine::placement::Placement;
use agente_engine::plan::Plan;
use agente_engine::policy::{
    DrainPolicy, KeepPrevious, OnDrainTimeout, OnOpen, Policy, Strategy, Timeouts,
};
use agente_engine::ports::{AppendError, Fence, Holder, Journal, Lease, Leases};
use agente_engine::release::{Artifact, EnvValue, PortRange, ProcessSpec, Release, RuntimeSpec};
use agente_engine::route::{Backend, Routes, Slot};
use agente_engine::standing::Standing;
use agente_engine::state::ServiceState;
use agente_engine::step::StepEvent;
use agente_engine::steps::{Launch, Preflight, Promote, Shift, Step, StepKind};
use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::time::Duration;

/// A service in its production environment.
pub fn scope(service: &str) -> Scope {
    Scope {
        service: ServiceName::new(service).unwrap(),
        environment: EnvironmentName::new("production").unwrap(),
    }
}

/// A file whose digest is one digit over and over.
pub fn file_artifact(digit: char) -> Artifact {
    Artifact::File {
        digest: Digest::new(format!("sha256:{}", digit.to_string().repeat(64))).unwrap(),
        name: "shop".into(),
    }
}

/// A process of one instance.
pub fn runtime() -> RuntimeSpec {
    RuntimeSpec::Process(ProcessSpec {
        command: vec!["./shop".into(), "127.0.0.1:{port}".into()],
        instances: 1,
        ports: PortRange { first: 18_100, last: 18_199 },
        env: BTreeMap::from([
            ("DB".to_owned(), EnvValue::Secret("db".into())),
            ("MODE".to_owned(), EnvValue::Plain("“fast”\n".into())),
        ]),
        stop_grace: Duration::from_millis(1_500),
    })
}

/// A first deployment of a scope, of a release of this number.
pub fn plan(id: &str, scope: &Scope, number: u64) -> Plan {
    let backends = vec![Backend {
        id: BackendId(format!("{}-blue-r{number}-0", scope.service)),
        address: "127.0.0.1:18100".into(),
        placement: Placement::Process,
    }];
    let release = Release {
        scope: scope.clone(),
        number: ReleaseNumber(number),
        artifact: file_artifact('a'),
        runtime: runtime(),
        created: Timestamp(1_700_000_000_000),
    };
    let minute = Duration::from_mins(1);
    let timeouts = Timeouts {
        preflight: minute,
        launch: minute,
        healthy: minute,
        shift: minute,
        validate: minute,
        undo: minute,
        decide: minute,
    };
    let policy = Policy {
        strategy: Strategy::BlueGreen,
        analysis: None,
        on_open: OnOpen::Refuse,
        checks: Vec::new(),
        probe: None,
        bake: Duration::ZERO,
        drain: DrainPolicy {
            timeout: minute,
            on_timeout: OnDrainTimeout::Keep,
            accept_weak_evidence: false,
        },
        keep_previous: KeepPrevious::UntilNext,
        timeouts,
        candidate_overrides: Vec::new(),
        min_free_disk_bytes: 0,
    };
    let after = Routes::all_to(Slot::Blue, ReleaseNumber(number), backends.clone(), None);
    let steps = [
        StepKind::Preflight(Preflight { splits: false }),
        StepKind::Launch(Launch { slot: Slot::Blue, backends: backends.clone() }),
        StepKind::Shift(Shift { before: None, after }),
        StepKind::Promote(Promote {}),
    ]
    .map(|kind| Step::new(kind, &policy));
    let deployment = Deployment {
        id: DeploymentId(id.into()),
        scope: scope.clone(),
        store: "store".into(),
        kind: DeploymentKind::Rollback { fast: true },
        by: "ann@desk".into(),
        created: Timestamp(1_700_000_000_001),
        release,
        slot: Slot::Blue,
        backends,
        stable: None,
        stable_release: None,
        kept: None,
        routes_before: None,
        policy,
        plugins: Vec::new(),
        force: false,
    };
    let warnings = vec!["outside proof: none".into()];
    Plan { deployment, steps: steps.to_vec(), warnings }
}

/// The state of a scope while its first deployment is open.
pub fn open_state(deployment: &DeploymentId) -> ServiceState {
    ServiceState { open: Some(deployment.clone()), ..ServiceState::default() }
}

/// The state of a scope with something stable.
pub fn closed_state() -> ServiceState {
    let backends = plan("d-none", &scope("shop"), 1).deployment.backends;
    let standing = Standing {
        release: ReleaseNumber(1),
        slot: Slot::Blue,
        backends,
        stop_grace: Duration::from_secs(10),
        since: Timestamp(5),
    };
    ServiceState { stable: Some(standing), ..ServiceState::default() }
}

/// How a deployment ends well.
pub fn promoted() -> Outcome {
    Outcome::Promoted { notes: vec!["a note".into()] }
}

/// That a step has begun.
pub fn started(step: usize) -> Event {
    Event::Step { step, event: StepEvent::Started }
}

/// The last entry of a deployment that ended well.
pub fn closed() -> Event {
    Event::Closed { outcome: promoted() }
}

/// An entry of that number, dated so that each has a date of its own.
pub fn entry(deployment: &DeploymentId, sequence: u64, event: Event) -> Entry {
    let at = Timestamp(1_700_000_000_000 + sequence * 1_000);
    Entry { sequence, at, deployment: deployment.clone(), event }
}

/// The first entry of a deployment.
pub fn opened(id: &str, scope: &Scope, number: u64) -> Entry {
    let event = Event::Opened { plan: Box::new(plan(id, scope, number)) };
    entry(&DeploymentId(id.into()), 0, event)
}

/// An open deployment and the lease that it is written under.
pub struct Opened<S> {
    pub store: S,
    pub lease: Box<dyn Lease>,
    pub deployment: DeploymentId,
}

impl<S: Journal + Leases + Clone> Opened<S> {
    /// Takes the lease of a service and opens its first deployment, `d-1`.
    pub async fn first(store: &S, holder: Holder, service: &str) -> Self {
        let lease = store.acquire(&scope(service), holder, None).await.unwrap();
        let opened = opened("d-1", lease.scope(), 1);
        let deployment = opened.deployment.clone();
        store.append(lease.fence(), &opened, &open_state(&deployment)).await.unwrap();
        Self { store: store.clone(), lease, deployment }
    }

    /// The token of the lease.
    pub fn fence(&self) -> Fence {
        self.lease.fence()
    }

    /// Appends what comes next.
    pub async fn append(
        &self,
        event: impl Borrow<Event>,
        state: &ServiceState,
    ) -> Result<(), AppendError> {
        append(&self.store, self.fence(), &self.deployment, event, state).await
    }

    /// Ends the deployment and opens the next one.
    pub async fn next(&self, id: &str, number: u64) -> DeploymentId {
        self.append(closed(), &closed_state()).await.unwrap();
        let opened = opened(id, self.lease.scope(), number);
        let state = open_state(&opened.deployment);
        self.store.append(self.fence(), &opened, &state).await.unwrap();
        opened.deployment
    }
}

/// Appends what comes next.
pub async fn append(
    store: &impl Journal,
    fence: Fence,
    deployment: &DeploymentId,
    event: impl Borrow<Event>,
    state: &ServiceState,
) -> Result<(), AppendError> {
    let sequence = store.entries(deployment).await.unwrap().len() as u64;
    store.append(fence, &entry(deployment, sequence, event.borrow().clone()), state).await
}
