//! Planners: a release, the environment's policy and the observed state become a list of steps. Pure.

use crate::names::{DeploymentId, Scope, Timestamp};
use crate::plan::{DeploymentKind, Plan, PluginInUse};
use crate::policy::{CheckMoment, KeepPrevious, OnDrainTimeout, Policy, Strategy};
use crate::release::Release;
use crate::route::{Backend, Override, Routes, Slot};
use crate::state::ServiceState;
use crate::step::{Step, StepKind, TimeoutAction};
use std::time::Duration;

/// What removing a side may take beyond its backends' own grace: the calls of the runtime.
const RETIRE_MARGIN: Duration = Duration::from_secs(30);

/// What every planner starts from.
#[derive(Debug, Clone)]
pub struct Inputs {
    /// The deployment's id.
    pub id: DeploymentId,
    /// Where.
    pub scope: Scope,
    /// The id of the store that owns the service.
    pub store: String,
    /// Who asked.
    pub by: String,
    /// Now.
    pub now: Timestamp,
    /// What is live.
    pub state: ServiceState,
    /// The policies in force.
    pub policy: Policy,
    /// The plugins in use.
    pub plugins: Vec<PluginInUse>,
    /// Whether the operator takes over a target that is foreign or not as we left it.
    pub force: bool,
}

/// Why there is no plan.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// The release needs another number of backends than were reserved.
    #[error("the release needs {needed} backends and {reserved} were reserved")]
    Backends {
        /// How many a slot has.
        needed: usize,
        /// How many there are.
        reserved: usize,
    },
    /// Nothing to go back to.
    #[error("{0} has no earlier release that still stands")]
    NothingKept(Scope),
    /// Nothing to put back.
    #[error("{0} is not under management")]
    NothingManaged(Scope),
    /// The service is managed already.
    #[error("{scope} is under management already: release {release} is stable")]
    AlreadyManaged {
        /// Which.
        scope: Scope,
        /// What is stable.
        release: crate::names::ReleaseNumber,
    },
}

/// The slot where the next candidate goes.
pub fn candidate_slot(state: &ServiceState) -> Slot {
    state.stable.as_ref().map_or(Slot::Blue, |stable| stable.slot.other())
}

/// Plans a deployment of `release` on `backends`, also of an earlier release that no longer stands.
pub fn deploy(inputs: Inputs, kind: DeploymentKind, release: Release, backends: Vec<Backend>) -> Result<Plan, PlanError> {
    let needed = release.runtime.instances();
    if backends.len() != needed || needed == 0 {
        return Err(PlanError::Backends { needed, reserved: backends.len() });
    }
    let Strategy::BlueGreen = inputs.policy.strategy;
    let slot = candidate_slot(&inputs.state);
    let mut steps = opening(&inputs);
    if let Some(kept) = &inputs.state.kept {
        let timeout = kept.standing.stop_time() + RETIRE_MARGIN + inputs.policy.drain.timeout;
        steps.push(unwinds(StepKind::RetireKept { standing: kept.standing.clone() }, timeout));
    }
    let timeouts = inputs.policy.timeouts;
    steps.push(unwinds(StepKind::Launch { slot, backends: backends.clone() }, timeouts.launch));
    steps.push(unwinds(StepKind::AwaitHealthy { slot, backends: backends.clone() }, timeouts.healthy));
    let mut before = inputs.state.routes.clone();
    if let (Some(stable), false) = (&inputs.state.stable, inputs.policy.candidate_overrides.is_empty()) {
        let mut preview = Routes::all_to(stable.slot, stable.release, stable.backends.clone(), Some((release.number, backends.clone())));
        preview.overrides = inputs.policy.candidate_overrides.iter().map(|rule| Override { slot, ..rule.clone() }).collect();
        steps.push(unwinds(StepKind::Shift { before, after: preview.clone() }, timeouts.shift));
        before = Some(preview);
    }
    let old = inputs.state.stable.as_ref().map(|stable| (stable.release, stable.backends.clone()));
    let after = Routes::all_to(slot, release.number, backends.clone(), old);
    steps.push(unwinds(StepKind::Shift { before, after }, timeouts.shift));
    closing(&inputs, slot, &mut steps);
    Ok(finish(inputs, kind, release, slot, backends, steps))
}

/// Plans the way back to the release that is kept: nothing is launched.
pub fn roll_back_fast(inputs: Inputs, release: Release) -> Result<Plan, PlanError> {
    let Some(kept) = inputs.state.kept.clone() else {
        return Err(PlanError::NothingKept(inputs.scope));
    };
    let standing = kept.standing;
    // No baseline: what is stable is likely to be bad, which is why somebody goes back.
    let mut steps = vec![unwinds(StepKind::Preflight, inputs.policy.timeouts.preflight)];
    steps.push(unwinds(StepKind::AwaitHealthy { slot: standing.slot, backends: standing.backends.clone() }, inputs.policy.timeouts.healthy));
    let old = inputs.state.stable.as_ref().map(|stable| (stable.release, stable.backends.clone()));
    let after = Routes::all_to(standing.slot, standing.release, standing.backends.clone(), old);
    steps.push(unwinds(StepKind::Shift { before: inputs.state.routes.clone(), after }, inputs.policy.timeouts.shift));
    closing(&inputs, standing.slot, &mut steps);
    Ok(finish(inputs, DeploymentKind::Rollback { fast: true }, release, standing.slot, standing.backends, steps))
}

/// Plans to take over what runs already: the target learns the routes, nothing is started or stopped.
pub fn adopt(inputs: Inputs, release: Release, backends: Vec<Backend>) -> Result<Plan, PlanError> {
    if let Some(stable) = &inputs.state.stable {
        return Err(PlanError::AlreadyManaged { release: stable.release, scope: inputs.scope });
    }
    if backends.is_empty() {
        return Err(PlanError::Backends { needed: 1, reserved: 0 });
    }
    let timeouts = inputs.policy.timeouts;
    let slot = Slot::Blue;
    let after = Routes::all_to(slot, release.number, backends.clone(), None);
    let steps = vec![
        unwinds(StepKind::Preflight, timeouts.preflight),
        unwinds(StepKind::AwaitHealthy { slot, backends: backends.clone() }, timeouts.healthy),
        unwinds(StepKind::Shift { before: inputs.state.routes.clone(), after }, timeouts.shift),
        unwinds(StepKind::Promote, Duration::from_secs(10)),
    ];
    Ok(finish(inputs, DeploymentKind::Adopt, release, slot, backends, steps))
}

/// Plans to put back what the journal says is in force, over whatever was done to the target by hand.
pub fn retake(inputs: Inputs, release: Release) -> Result<Plan, PlanError> {
    let (Some(stable), Some(routes)) = (inputs.state.stable.clone(), inputs.state.routes.clone()) else {
        return Err(PlanError::NothingManaged(inputs.scope));
    };
    let timeouts = inputs.policy.timeouts;
    let steps =
        vec![unwinds(StepKind::Preflight, timeouts.preflight), unwinds(StepKind::Shift { before: Some(routes.clone()), after: routes }, timeouts.shift)];
    Ok(finish(Inputs { force: true, ..inputs }, DeploymentKind::Adopt, release, stable.slot, stable.backends, steps))
}

fn unwinds(kind: StepKind, timeout: Duration) -> Step {
    Step { kind, timeout, on_timeout: TimeoutAction::Unwind }
}

fn opening(inputs: &Inputs) -> Vec<Step> {
    let mut steps = vec![unwinds(StepKind::Preflight, inputs.policy.timeouts.preflight)];
    if let (Some(probe), Some(_)) = (&inputs.policy.probe, &inputs.state.stable)
        && !probe.baseline.is_zero()
    {
        let timeout = probe.baseline + probe.timeout + Duration::from_secs(5);
        steps.push(unwinds(StepKind::Baseline { duration: probe.baseline }, timeout));
    }
    steps
}

fn closing(inputs: &Inputs, slot: Slot, steps: &mut Vec<Step>) {
    let policy = &inputs.policy;
    if policy.checks_at(CheckMoment::Validate).next().is_some() {
        steps.push(unwinds(StepKind::Validate { slot }, policy.timeouts.validate));
    }
    steps.push(unwinds(StepKind::Promote, Duration::from_secs(10)));
    if !policy.bake.is_zero() {
        // Checks that do not answer at its end are given as long again.
        let timeout = policy.bake * 2 + Duration::from_secs(30);
        steps.push(Step { kind: StepKind::Bake { duration: policy.bake }, timeout, on_timeout: TimeoutAction::GoOn });
    }
    let Some(old) = &inputs.state.stable else { return };
    let on_timeout = match policy.drain.on_timeout {
        OnDrainTimeout::Keep => TimeoutAction::KeepAndTell,
        OnDrainTimeout::Cut => TimeoutAction::Cut,
    };
    steps.push(Step { kind: StepKind::Drain { slot: old.slot }, timeout: policy.drain.timeout, on_timeout });
    match policy.keep_previous {
        KeepPrevious::UntilNext => return,
        KeepPrevious::For { duration } => {
            steps.push(Step { kind: StepKind::Hold { duration }, timeout: duration, on_timeout: TimeoutAction::GoOn });
        }
        KeepPrevious::None => {}
    }
    let timeout = old.stop_time() + RETIRE_MARGIN;
    steps.push(Step { kind: StepKind::Retire { standing: old.clone() }, timeout, on_timeout: TimeoutAction::Stuck });
}

fn finish(inputs: Inputs, kind: DeploymentKind, release: Release, slot: Slot, backends: Vec<Backend>, steps: Vec<Step>) -> Plan {
    let mut warnings = Vec::new();
    match &inputs.policy.probe {
        None => warnings.push("outside proof: none; without `[probe]` nobody watches the public URL while requests move".to_owned()),
        Some(probe) if probe.identity_header.is_none() => warnings.push(
            "outside proof: none; the target adds no identity header and `[probe] identity` names none, so only the switcher tells who answers".to_owned(),
        ),
        Some(_) => {}
    }
    if inputs.policy.checks_at(CheckMoment::Ready).next().is_none() {
        warnings.push("no check is asked before the candidate takes requests; running counts as healthy".to_owned());
    }
    Plan {
        id: inputs.id,
        scope: inputs.scope,
        store: inputs.store,
        kind,
        by: inputs.by,
        created: inputs.now,
        release,
        slot,
        backends,
        stable: inputs.state.stable,
        kept: inputs.state.kept,
        routes_before: inputs.state.routes,
        policy: inputs.policy,
        steps,
        plugins: inputs.plugins,
        force: inputs.force,
        warnings,
    }
}
