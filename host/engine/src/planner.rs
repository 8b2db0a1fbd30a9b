//! Planners: a release, the environment's policy and the observed state become a list of steps.
//! Pure. A file for each strategy; what they share is the climb from no requests to all of them.

mod adopt;
mod blue_green;
mod canary;
mod climb;
mod lookout;
mod rollback;
mod rolling;
mod sharing;

mod warnings;

pub use adopt::{adopt, retake};
pub use lookout::{survey, watch};
pub use rollback::roll_back_fast;

use crate::deployment::{Deployment, DeploymentKind, PluginInUse};
use crate::names::{DeploymentId, ReleaseNumber, Scope, Timestamp};
use crate::plan::Plan;
use crate::policy::{CheckMoment, KeepPrevious, Policy, Strategy};
use crate::release::Release;
use crate::route::{Backend, Slot};
use crate::state::ServiceState;
use crate::steps::{
    Bake, Baseline, Drain, Hold, Preflight, Promote, Retire, RetireKept, Step, StepKind, Validate,
};
use climb::Climb;

/// What every planner starts from.
#[derive(Debug, Clone)]
pub struct Inputs {
    /// The deployment's id.
    pub id: DeploymentId,
    pub scope: Scope,
    /// The id of the store that owns the service.
    pub store: String,
    pub by: String,
    pub now: Timestamp,
    /// What is live.
    pub state: ServiceState,
    /// The policies in force.
    pub policy: Policy,
    /// The plugins in use.
    pub plugins: Vec<PluginInUse>,
    /// The release that is stable, where the store knows it.
    pub stable_release: Option<Release>,
    /// Whether the operator takes over a target that is foreign or not as we left it.
    pub force: bool,
}

/// Why there is no plan.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// The release needs another number of backends than were reserved.
    #[error("the release needs {needed} backends, but only {reserved} addresses were reserved")]
    Backends {
        /// How many a slot has.
        needed: usize,
        /// How many there are.
        reserved: usize,
    },
    /// Nothing to go back to.
    #[error("{0} has no earlier release that is still deployed")]
    NothingKept(Scope),
    /// Nothing to put back.
    #[error("{0} is not under management")]
    NothingManaged(Scope),
    /// The service is managed already.
    #[error("{scope} is already under management: release {release} is stable")]
    AlreadyManaged {
        scope: Scope,
        /// What is stable.
        release: ReleaseNumber,
    },
}

/// The slot where the next candidate goes.
pub fn candidate_slot(state: &ServiceState) -> Slot {
    state.stable.as_ref().map_or(Slot::Blue, |stable| stable.slot.other())
}

/// Plans a deployment of `release` on `backends`, also of an earlier release that no longer stands.
pub fn deploy(
    inputs: Inputs,
    kind: DeploymentKind,
    release: Release,
    backends: Vec<Backend>,
) -> Result<Plan, PlanError> {
    let needed = release.runtime.instances();
    if backends.len() != needed || needed == 0 {
        return Err(PlanError::Backends { needed, reserved: backends.len() });
    }
    let slot = candidate_slot(&inputs.state);
    let mut climb = Climb::new(&inputs, release.number, slot, &backends);
    // Nothing is watched before a way back: what is stable is likely to be bad, which is why
    // somebody goes. And who goes back is not helped by 10 % of it.
    let goes_back = matches!(kind, DeploymentKind::Rollback { .. });
    if let (Some(probe), Some(_), false) = (&inputs.policy.probe, &inputs.state.stable, goes_back)
        && !probe.baseline.is_zero()
    {
        climb.push(StepKind::Baseline(Baseline { duration: probe.baseline }));
    }
    if let Some(kept) = &inputs.state.kept {
        climb.push(StepKind::RetireKept(RetireKept { standing: kept.standing.clone() }));
    }
    match (&inputs.policy.strategy, inputs.state.stable.as_ref().filter(|_| !goes_back)) {
        (Strategy::BlueGreen, _) | (_, None) => climb.at_once(),
        (Strategy::Canary { stages, by }, Some(stable)) => climb.by_stages(stable, stages, *by),
        (Strategy::Rolling { max_surge, max_unavailable, pause }, Some(stable)) => {
            let (surge, unavailable) = (usize::from(*max_surge), usize::from(*max_unavailable));
            climb.in_batches(stable, surge, unavailable, *pause);
        }
    }
    let steps = preflighted(closing(&inputs, slot, climb.steps), &inputs.policy);
    Ok(finish(inputs, kind, release, slot, backends, steps))
}

/// What follows when all requests have moved.
fn closing(inputs: &Inputs, slot: Slot, mut steps: Vec<Step>) -> Vec<Step> {
    let policy = &inputs.policy;
    let thinned_out: Vec<Backend> =
        steps.iter().flat_map(|step| step.kind.thins_out()).cloned().collect();
    let mut push = |kind| steps.push(Step::new(kind, policy));
    if policy.checks_at(CheckMoment::Validate).next().is_some() {
        push(StepKind::Validate(Validate { slot }));
    }
    push(StepKind::Promote(Promote {}));
    if !policy.bake.is_zero() {
        push(StepKind::Bake(Bake { duration: policy.bake }));
    }
    let Some(old) = &inputs.state.stable else { return steps };
    push(StepKind::Drain(Drain { slot: old.slot }));
    // A part of a side is no way back: what rolling leaves of the old one goes.
    let keep = match policy.strategy {
        Strategy::Rolling { .. } => KeepPrevious::None,
        Strategy::BlueGreen | Strategy::Canary { .. } => policy.keep_previous,
    };
    match keep {
        KeepPrevious::UntilNext => return steps,
        KeepPrevious::For { duration } => push(StepKind::Hold(Hold { duration })),
        KeepPrevious::None => {}
    }
    let rest = old.backends.iter().filter(|backend| !thinned_out.contains(backend));
    let standing = old.with_backends(rest.cloned().collect());
    push(StepKind::Retire(Retire { standing }));
    steps
}

/// The plan of these steps, with what comes before any of them.
fn finish(
    inputs: Inputs,
    kind: DeploymentKind,
    release: Release,
    slot: Slot,
    backends: Vec<Backend>,
    steps: Vec<Step>,
) -> Plan {
    let warnings = warnings::of(&inputs, kind);
    let deployment = Deployment {
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
        stable_release: inputs.stable_release,
        kept: inputs.state.kept,
        routes_before: inputs.state.routes,
        policy: inputs.policy,
        plugins: inputs.plugins,
        force: inputs.force,
    };
    Plan { deployment, steps, warnings }
}

/// Puts the judgement of all that can be judged before the steps.
fn preflighted(mut steps: Vec<Step>, policy: &Policy) -> Vec<Step> {
    let shares = |step: &Step| {
        let routes = step.kind.sets();
        routes.is_some_and(|to| Slot::BOTH.iter().all(|&slot| !to.weight(slot).is_zero()))
    };
    let splits = steps.iter().any(shares);
    steps.insert(0, Step::new(StepKind::Preflight(Preflight { splits }), policy));
    steps
}
