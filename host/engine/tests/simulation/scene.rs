//! Scenes: a scope with or without a stable release, and a plan on top of it.

use crate::time::drive;
use crate::world::Sim;
use agente_engine::deployment::DeploymentKind;
use agente_engine::executor::{self, Halt};
use agente_engine::fault::{Fault, FaultKind};
use agente_engine::journal::{Event, Outcome};
use agente_engine::names::*;
use agente_engine::placement::Placement;
use agente_engine::plan::Plan;
use agente_engine::planner::{self, Inputs};
use agente_engine::policy::*;
use agente_engine::ports::BackendRole;
use agente_engine::release::*;
use agente_engine::route::{Backend, Routes, Slot};
use agente_engine::standing::Standing;
use agente_engine::state::ServiceState;
use agente_engine::step::StepEvent;
use agente_engine::steps::StepKind;
use std::collections::BTreeMap;
use std::time::Duration;

/// Whether an event is the beginning of a step.
pub fn has_started(event: &Event, step: usize) -> bool {
    matches!(event, Event::Step { step: of, event: StepEvent::Started } if *of == step)
}

/// Whether an event is the success of a step.
pub fn has_succeeded(event: &Event, step: usize) -> bool {
    matches!(event, Event::Step { step: of, event: StepEvent::Succeeded { .. } } if *of == step)
}

pub fn scope() -> Scope {
    Scope {
        service: ServiceName::new("shop").unwrap(),
        environment: EnvironmentName::new("test").unwrap(),
    }
}

fn check(name: &str, when: &[CheckMoment], of: CheckOf) -> CheckPolicy {
    CheckPolicy {
        name: name.into(),
        plugin: PluginName::new("http-health").unwrap(),
        when: when.to_vec(),
        of,
        spec: serde_json::json!({}),
        interval: Duration::from_millis(200),
        timeout: Duration::from_secs(1),
        healthy_after: 2,
        limits: Limits { unhealthy: 1, errored: 2, no_data: Some(2), inconclusive: Some(2) },
        report_only: false,
    }
}

pub fn policy() -> Policy {
    Policy {
        strategy: Strategy::BlueGreen,
        analysis: None,
        on_open: OnOpen::Refuse,
        checks: vec![
            check("ready", &[CheckMoment::Ready, CheckMoment::Bake], CheckOf::Backends),
            check("smoke", &[CheckMoment::Validate], CheckOf::Backends),
            check("database", &[CheckMoment::Preflight], CheckOf::Dependency),
        ],
        probe: Some(ProbePolicy {
            url: "http://shop.test/".into(),
            connect: None,
            host: None,
            ca: None,
            rate: 10.0,
            timeout: Duration::from_secs(1),
            post_path: None,
            baseline: Duration::from_secs(1),
            budget: 0,
            count_idle_resets: false,
            identity_header: Some("x-slot".into()),
            identity_value: "{slot}".into(),
            on_failing_baseline: FailingBaseline::Relative,
        }),
        bake: Duration::from_secs(3),
        drain: DrainPolicy {
            timeout: Duration::from_secs(20),
            on_timeout: OnDrainTimeout::Keep,
            accept_weak_evidence: false,
        },
        keep_previous: KeepPrevious::UntilNext,
        timeouts: Timeouts {
            preflight: Duration::from_secs(30),
            launch: Duration::from_secs(20),
            healthy: Duration::from_secs(30),
            shift: Duration::from_secs(15),
            validate: Duration::from_secs(20),
            undo: Duration::from_secs(60),
            decide: Duration::from_secs(600),
        },
        candidate_overrides: Vec::new(),
        min_free_disk_bytes: 0,
    }
}

pub fn release(number: u64) -> Release {
    let port = PortRange { first: 18_100, last: 18_199 };
    Release {
        scope: scope(),
        number: ReleaseNumber(number),
        artifact: Artifact::File {
            digest: Digest::new(format!("sha256:{}", "0a".repeat(32))).unwrap(),
            name: "shop".into(),
        },
        runtime: RuntimeSpec::Process(ProcessSpec {
            command: vec!["./shop".into()],
            instances: 2,
            ports: port,
            env: BTreeMap::new(),
            // Each its own, so that nobody's backends are stopped with another's.
            stop_grace: Duration::from_secs(4 + number),
        }),
        created: Timestamp(0),
    }
}

pub fn backends(slot: Slot, release: u64) -> Vec<Backend> {
    (0..2)
        .map(|i| Backend {
            id: BackendId(format!("shop-test-{slot}-r{release}-{i}")),
            address: format!("127.0.0.1:{}", 18_100 + release * 10 + i),
            placement: Placement::Process,
        })
        .collect()
}

pub fn inputs(state: ServiceState, policy: Policy, id: &str) -> Inputs {
    Inputs {
        id: DeploymentId(id.into()),
        scope: scope(),
        store: "store-1".into(),
        by: "tester".into(),
        now: Timestamp(0),
        policy,
        plugins: Vec::new(),
        stable_release: state.stable.as_ref().map(|stable| release(stable.release.0)),
        state,
        force: false,
    }
}

/// Deploys `number` on what is live now.
pub fn plan(sim: &Sim, number: u64, policy: Policy) -> Plan {
    let state = sim.inner().state();
    let slot = planner::candidate_slot(&state);
    planner::deploy(
        inputs(state, policy, &sim.deployment_id(number)),
        DeploymentKind::Deploy,
        release(number),
        backends(slot, number),
    )
    .unwrap()
}

/// Runs a plan, without faults, to its end.
pub fn run(sim: &Sim, plan: &Plan) -> Result<Outcome, Halt> {
    begin(sim, plan).expect("nobody killed the host")
}

/// Begins a plan; none when the host was killed.
pub fn begin(sim: &Sim, plan: &Plan) -> Option<Result<Outcome, Halt>> {
    let lease = sim.begin(plan.slot);
    let state = sim.inner().state();
    let deployment = executor::begin(sim.world(), &*lease, plan.clone(), state);
    drive(&sim.time, || sim.is_dead(), sim.work(deployment))
}

/// A new host takes up what the last one left; none when it was killed too.
pub fn resume(sim: &Sim) -> Option<Result<Outcome, Halt>> {
    let lease = sim.reborn();
    let (entries, state) = {
        let inner = sim.inner();
        (inner.entries(), inner.state())
    };
    let deployment = executor::resume(sim.world(), &*lease, &entries, state, "tester".into());
    drive(&sim.time, || sim.is_dead(), sim.work(deployment))
}

/// Why a deployment is unwound.
pub fn aborted() -> Fault {
    Fault::new(FaultKind::Aborted, "aborted by a tester")
}

/// Another host unwinds what the last one left; none when it was killed too.
pub fn unwind(sim: &Sim) -> Option<Result<Outcome, Halt>> {
    let lease = sim.reborn();
    let (entries, state) = {
        let inner = sim.inner();
        (inner.entries(), inner.state())
    };
    let fault = aborted();
    let unwinding = executor::unwind(sim.world(), &*lease, &entries, state, "tester".into(), fault);
    drive(&sim.time, || sim.is_dead(), sim.work(unwinding))
}

/// The first entry about a step of a kind that says something of it.
pub fn entry_about(
    sim: &Sim,
    plan: &Plan,
    of: impl Fn(&StepKind) -> bool,
    says: impl Fn(&StepEvent) -> bool,
) -> u64 {
    let found = sim.inner().entries().iter().position(|entry| match &entry.event {
        Event::Step { step, event } => of(&plan.steps[*step].kind) && says(event),
        _ => false,
    });
    found.expect("the journal says so") as u64
}

/// A scope where release 1 is stable on blue.
pub fn managed() -> Sim {
    let sim = Sim::new();
    let outcome = run(&sim, &plan(&sim, 1, policy())).unwrap();
    assert!(
        matches!(outcome, Outcome::Promoted { .. }),
        "{outcome:?}\n{}",
        sim.inner().log.join("\n")
    );
    let mut inner = sim.inner();
    inner.calls = 0;
    inner.log.clear();
    inner.cut.clear();
    drop(inner);
    sim
}

/// A scope where release 2 is stable on green and release 1 is kept on blue.
pub fn managed_with_kept() -> Sim {
    let sim = managed();
    let outcome = run(&sim, &plan(&sim, 2, policy())).unwrap();
    assert!(matches!(outcome, Outcome::Promoted { .. }), "{outcome:?}");
    let mut inner = sim.inner();
    inner.calls = 0;
    inner.log.clear();
    drop(inner);
    sim
}

/// Asserts that everything that runs is known to the state, and that what is stable returns after a
/// reboot.
fn assert_accounted(sim: &Sim) {
    let mut inner = sim.inner();
    inner.settle_all();
    let state = inner.state();
    let log = inner.log.join("\n");
    let standing = state.stable.iter().chain(state.kept.as_ref().map(|kept| &kept.standing));
    let known: Vec<&BackendId> =
        standing.flat_map(|standing| &standing.backends).map(|backend| &backend.id).collect();
    for (id, backend) in &inner.backends {
        assert!(known.contains(&id), "{id} runs and nobody knows of it\n{log}");
        let stable =
            state.stable.iter().any(|stable| stable.backends.iter().any(|one| one.id == *id));
        // Saying so is given up on where it fails.
        assert!(
            !stable || backend.role == BackendRole::Live || !inner.wrong.is_empty(),
            "{id} is stable and would not return\n{log}"
        );
    }
}

/// Asserts that `plan`'s candidate is live and everything says so.
pub fn assert_promoted(sim: &Sim, plan: &Plan) {
    assert_accounted(sim);
    let inner = sim.inner();
    let state = inner.state();
    let log = inner.log.join("\n");
    let loaded = &inner.loaded.as_ref().expect("routes are in force").routes;
    assert!(
        !loaded.weight(plan.slot).is_zero() && loaded.weight(plan.slot.other()).is_zero(),
        "{loaded:?}\n{log}"
    );
    assert_eq!(
        state.stable.as_ref().map(|s| (s.release, s.slot)),
        Some((plan.release.number, plan.slot)),
        "{log}"
    );
    assert_eq!(state.open, None);
    assert!(plan.backends.iter().all(|b| inner.backends.contains_key(&b.id)), "{log}");
    assert!(state.routes.as_ref().is_some_and(|routes| routes.same_traffic(loaded)), "{log}");
}

/// Routes without addresses: what was started again is elsewhere.
pub fn wherever(routes: Option<&Routes>) -> Option<Routes> {
    let mut routes = routes.cloned()?;
    for to in routes.routes.iter_mut().flat_map(|route| &mut route.backends) {
        to.address.clear();
    }
    Some(routes)
}

/// Asserts that what was stable serves all requests, and that nothing of the candidate is left.
pub fn assert_clean_slate(sim: &Sim, plan: &Plan) {
    assert_accounted(sim);
    let inner = sim.inner();
    let state = inner.state();
    let log = inner.log.join("\n");
    let launched =
        matches!(plan.kind, DeploymentKind::Deploy | DeploymentKind::Rollback { fast: false });
    for backend in plan.backends.iter().filter(|_| launched) {
        assert!(!inner.backends.contains_key(&backend.id), "{} is left\n{log}", backend.id);
    }
    match &plan.stable {
        Some(stable) => {
            let loaded = &inner.loaded.as_ref().expect("routes are in force").routes;
            assert_eq!(loaded.weight(stable.slot), agente_engine::weight::Weight::FULL, "{log}");
            assert!(stable.backends.iter().all(|b| inner.backends.contains_key(&b.id)), "{log}");
        }
        None => assert!(
            inner.loaded.as_ref().is_none_or(|loaded| loaded.routes.routes.is_empty()),
            "{log}"
        ),
    }
    // What was started again is elsewhere.
    let ids = |standing: &Standing| {
        standing.backends.iter().map(|one| one.id.clone()).collect::<Vec<_>>()
    };
    let stable = |standing: &Option<Standing>| {
        standing.as_ref().map(|one| (one.release, one.slot, ids(one)))
    };
    assert_eq!(stable(&state.stable), stable(&plan.stable), "{log}");
    assert_eq!(wherever(state.routes.as_ref()), wherever(plan.routes_before.as_ref()), "{log}");
    assert_eq!(state.open, None, "{log}");
}
