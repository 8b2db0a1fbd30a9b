//! Deployments for the tests of the numbers.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::expect_used,
    reason = "a test's harness says what it expected"
)]

use agente_engine::deployment::DeploymentKind;
use agente_engine::fault::{Fault, FaultKind};
use agente_engine::journal::{Entry, Event, Outcome};
use agente_engine::names::{BackendId, DeploymentId, Digest, ReleaseNumber, Timestamp};
use agente_engine::plan::Plan;
use agente_engine::planner::{self, Inputs};
use agente_engine::release::{Artifact, Release};
use agente_engine::route::Backend;
use agente_engine::state::ServiceState;
use agente_engine::step::{StepEvent, StepOutput};
use agente_manifest::{Manifest, Overrides};
use std::os::unix::fs::PermissionsExt;

const MANIFEST: &str = r#"service = "shop"
[runtime.process]
artifact = "shop"
command = ["./shop", "127.0.0.1:{port}"]
ports = "18100-18199"
[switch]
plugin = "nginx-switch"
"#;

/// A plan of a release: a first deployment where nothing is live.
pub(crate) fn plan(id: &str, kind: DeploymentKind, number: u64, state: ServiceState) -> Plan {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("shop");
    std::fs::write(&program, "#!/bin/sh\n").unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let manifest = Manifest::from_bytes(
        &folder.path().join("agente.toml"),
        MANIFEST.into(),
        &Overrides::default(),
    )
    .unwrap();
    let scope = manifest.scope.clone();
    let artifact = Artifact::File {
        digest: Digest::new(format!("sha256:{}", "a".repeat(64))).unwrap(),
        name: "shop".into(),
    };
    let release = Release {
        scope: scope.clone(),
        number: ReleaseNumber(number),
        artifact,
        runtime: manifest.runtime.clone(),
        created: Timestamp(1),
    };
    let backends = vec![Backend {
        id: BackendId(format!("shop-r{number}-0")),
        address: format!("127.0.0.1:{}", 18_100 + number),
        placement: agente_engine::placement::Placement::Process,
    }];
    let inputs = Inputs {
        id: DeploymentId(id.into()),
        scope,
        store: "store".into(),
        by: "ann@desk".into(),
        now: Timestamp(1),
        state,
        policy: manifest.policy,
        plugins: Vec::new(),
        stable_release: None,
        force: false,
    };
    planner::deploy(inputs, kind, release, backends).unwrap()
}

/// The journal of one deployment, written as it would be, with the times that a test wants.
pub(crate) struct Journal {
    pub(crate) plan: Plan,
    pub(crate) entries: Vec<Entry>,
}

impl Journal {
    /// Opens it at a time in milliseconds.
    pub(crate) fn open(plan: Plan, at: u64) -> Self {
        let opened = Event::Opened { plan: Box::new(plan.clone()) };
        Self { plan, entries: Vec::new() }.event(at, opened)
    }

    /// Adds an entry.
    pub(crate) fn event(mut self, at: u64, event: Event) -> Self {
        let sequence = u64::try_from(self.entries.len()).unwrap();
        self.entries.push(Entry {
            sequence,
            at: Timestamp(at),
            deployment: self.plan.id.clone(),
            event,
        });
        self
    }

    /// Adds an entry about the first step of a name.
    pub(crate) fn step(self, at: u64, name: &str, event: StepEvent) -> Self {
        let step = self
            .plan
            .steps
            .iter()
            .position(|step| step.kind.name() == name)
            .unwrap_or_else(|| panic!("no step `{name}`"));
        self.event(at, Event::Step { step, event })
    }

    /// A step from its start to its success.
    pub(crate) fn ran(self, name: &str, from: u64, to: u64) -> Self {
        self.step(from, name, StepEvent::Started).step(
            to,
            name,
            StepEvent::Succeeded { output: StepOutput::default() },
        )
    }

    /// The undo of a step.
    pub(crate) fn undone(self, name: &str, from: u64, to: u64) -> Self {
        self.step(from, name, StepEvent::UndoStarted).step(
            to,
            name,
            StepEvent::Undone { output: StepOutput::default() },
        )
    }
}

/// Why things are taken back here.
pub(crate) fn fault() -> Fault {
    Fault::new(FaultKind::Unhealthy, "it is not well")
}

/// An outcome of a release that was taken back.
pub(crate) fn unwound() -> Event {
    Event::Closed {
        outcome: Outcome::Unwound {
            fault: fault(),
            stable: Some(ReleaseNumber(1)),
            notes: Vec::new(),
        },
    }
}

/// An outcome of a release that is stable now.
pub(crate) fn promoted() -> Event {
    Event::Closed { outcome: Outcome::Promoted { notes: Vec::new() } }
}
