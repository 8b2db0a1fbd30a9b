//! Planners: a release, the environment's policy and the observed state become a list of steps.
//! Pure.

use crate::names::{DeploymentId, ReleaseNumber, Scope, Timestamp};
use crate::plan::{DeploymentKind, Plan, PluginInUse};
use crate::policy::{
    CheckMoment, KeepPrevious, OnDrainTimeout, OnUndecided, Policy, SplitBy, Stage, Strategy,
};
use crate::release::Release;
use crate::route::{Backend, Override, Routes, Slot};
use crate::state::{Kept, ServiceState, Standing};
use crate::step::{Step, StepKind, TimeoutAction};
use crate::weight::Weight;
use std::time::Duration;

/// What removing a side may take beyond its backends' own grace: the calls of the runtime.
const RETIRE_MARGIN: Duration = Duration::from_secs(30);

/// What the last question of a stage may take beyond it.
const ANALYSIS_MARGIN: Duration = Duration::from_secs(30);

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
    let goes_back = matches!(kind, DeploymentKind::Rollback { .. });
    let mut steps = opening(&inputs, goes_back);
    if let Some(kept) = &inputs.state.kept {
        let timeout = kept.standing.stop_time() + RETIRE_MARGIN + inputs.policy.drain.timeout;
        steps.push(unwinds(StepKind::RetireKept { standing: kept.standing.clone() }, timeout));
    }
    let mut climb = Climb {
        inputs: &inputs,
        number: release.number,
        slot,
        backends: &backends,
        routes: inputs.state.routes.clone(),
        steps,
    };
    match (&inputs.policy.strategy, &inputs.state.stable) {
        (Strategy::BlueGreen, _) | (_, None) => climb.at_once(),
        // Who goes back is not helped by 10 % of it.
        _ if goes_back => climb.at_once(),
        (Strategy::Canary { stages, by }, Some(stable)) => climb.by_stages(stable, stages, *by),
        (Strategy::Rolling { max_surge, max_unavailable, pause }, Some(stable)) => {
            climb.in_batches(
                stable,
                usize::from(*max_surge),
                usize::from(*max_unavailable),
                *pause,
            );
        }
    }
    let mut steps = climb.steps;
    closing(&inputs, slot, &mut steps);
    Ok(finish(inputs, kind, release, slot, backends, steps))
}

/// Plans the way back to the release that is kept: nothing is launched.
pub fn roll_back_fast(inputs: Inputs, release: Release) -> Result<Plan, PlanError> {
    // A part of a side is no way back for all requests.
    let whole =
        |kept: &Kept| !kept.partial && kept.standing.backends.len() >= release.runtime.instances();
    let Some(kept) = inputs.state.kept.clone().filter(whole) else {
        return Err(PlanError::NothingKept(inputs.scope));
    };
    let standing = kept.standing;
    let mut steps = opening(&inputs, true);
    steps.push(unwinds(
        StepKind::AwaitHealthy { slot: standing.slot, backends: standing.backends.clone() },
        inputs.policy.timeouts.healthy,
    ));
    let old = inputs.state.stable.as_ref().map(|stable| (stable.release, stable.backends.clone()));
    let after = Routes::all_to(standing.slot, standing.release, standing.backends.clone(), old);
    steps.push(unwinds(
        StepKind::Shift { before: inputs.state.routes.clone(), after },
        inputs.policy.timeouts.shift,
    ));
    closing(&inputs, standing.slot, &mut steps);
    Ok(finish(
        inputs,
        DeploymentKind::Rollback { fast: true },
        release,
        standing.slot,
        standing.backends,
        steps,
    ))
}

/// Plans to take over what runs already: the target learns the routes, nothing is started or
/// stopped.
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

/// Plans to put back what the journal says is in force, over whatever was done to the target by
/// hand.
pub fn retake(inputs: Inputs, release: Release) -> Result<Plan, PlanError> {
    let (Some(stable), Some(routes)) = (inputs.state.stable.clone(), inputs.state.routes.clone())
    else {
        return Err(PlanError::NothingManaged(inputs.scope));
    };
    let timeouts = inputs.policy.timeouts;
    let steps = vec![
        unwinds(StepKind::Preflight, timeouts.preflight),
        unwinds(StepKind::Shift { before: Some(routes.clone()), after: routes }, timeouts.shift),
    ];
    Ok(finish(
        Inputs { force: true, ..inputs },
        DeploymentKind::Adopt,
        release,
        stable.slot,
        stable.backends,
        steps,
    ))
}

/// The way from no requests for the candidate to all of them.
struct Climb<'a> {
    inputs: &'a Inputs,
    number: ReleaseNumber,
    slot: Slot,
    backends: &'a [Backend],
    /// The routes after the last step.
    routes: Option<Routes>,
    steps: Vec<Step>,
}

impl Climb<'_> {
    fn launch(&mut self, backends: &[Backend]) {
        let timeouts = self.inputs.policy.timeouts;
        self.steps.push(unwinds(
            StepKind::Launch { slot: self.slot, backends: backends.to_vec() },
            timeouts.launch,
        ));
        self.steps.push(unwinds(
            StepKind::AwaitHealthy { slot: self.slot, backends: backends.to_vec() },
            timeouts.healthy,
        ));
    }

    fn shift(&mut self, after: Routes) {
        let before = self.routes.replace(after.clone());
        self.steps
            .push(unwinds(StepKind::Shift { before, after }, self.inputs.policy.timeouts.shift));
    }

    fn analyze(&mut self, stage: Stage) {
        self.steps
            .push(unwinds(StepKind::Analyze { stage }, analysis_limit(&self.inputs.policy, stage)));
    }

    fn overrides(&self) -> Vec<Override> {
        self.inputs
            .policy
            .candidate_overrides
            .iter()
            .map(|rule| Override { slot: self.slot, ..rule.clone() })
            .collect()
    }

    /// Rules that lead to the candidate come before any weight.
    fn preview(&mut self, stable: &Standing) {
        let overrides = self.overrides();
        if !overrides.is_empty() {
            self.shift(
                Routes::split(stable, (self.number, self.backends.to_vec()), Weight::ZERO)
                    .with_overrides(overrides),
            );
        }
    }

    fn take_all(&mut self, stable: Option<(ReleaseNumber, Vec<Backend>)>) {
        self.shift(Routes::all_to(self.slot, self.number, self.backends.to_vec(), stable));
    }

    fn at_once(&mut self) {
        self.launch(self.backends);
        if let Some(stable) = &self.inputs.state.stable {
            self.preview(stable);
        }
        self.take_all(
            self.inputs
                .state
                .stable
                .as_ref()
                .map(|stable| (stable.release, stable.backends.clone())),
        );
    }

    fn by_stages(&mut self, stable: &Standing, stages: &[Stage], by: SplitBy) {
        // All of the candidate stands before its first request: capacity for a weight exists before
        // the weight is set.
        self.launch(self.backends);
        self.preview(stable);
        let candidate = (self.number, self.backends.to_vec());
        for stage in stages.iter().filter(|stage| stage.weight != Weight::FULL) {
            let routes = match by {
                SplitBy::Weight => Routes::split(stable, candidate.clone(), stage.weight),
                SplitBy::Instances => Routes::mixed(
                    stable,
                    candidate.clone(),
                    among(stable.backends.len(), self.backends.len(), stage.weight),
                ),
            };
            let routes = routes.with_overrides(self.overrides());
            if self.routes.as_ref() != Some(&routes) {
                self.shift(routes);
            }
            self.analyze(*stage);
        }
        self.take_all(Some((stable.release, stable.backends.clone())));
    }

    /// Never more than `max_surge` backends too many, never more than `max_unavailable` too few,
    /// and always as many as the weights need.
    fn in_batches(
        &mut self,
        stable: &Standing,
        max_surge: usize,
        max_unavailable: usize,
        pause: Duration,
    ) {
        let wanted = stable.backends.len().max(self.backends.len());
        let mut left = stable.backends.as_slice();
        let mut up = 0;
        while up < self.backends.len() {
            let room = (wanted + max_surge).saturating_sub(left.len() + up);
            let (_, waiting) = self.backends.split_at(up);
            let batch = waiting.get(..room.min(waiting.len())).unwrap_or(waiting);
            if !batch.is_empty() {
                self.launch(batch);
                up += batch.len();
            }
            // Backends that were adopted are never stopped by us; they only lose their requests.
            let spare = (left.len() + up).saturating_sub(wanted.saturating_sub(max_unavailable));
            // Without any of the candidate, one of the stable side must go on.
            let spare = spare.min(if up == 0 { left.len().saturating_sub(1) } else { left.len() });
            let (leaving, staying) = left.split_at(spare);
            let all_up = up == self.backends.len();
            if all_up {
                break;
            }
            if batch.is_empty() && leaving.is_empty() {
                // One backend, nothing to spare: one more for a moment.
                let next = waiting.first().map(std::slice::from_ref).unwrap_or_default();
                self.launch(next);
                up += next.len();
                continue;
            }
            let standing = Standing { backends: staying.to_vec(), ..stable.clone() };
            let routes = if staying.is_empty() {
                Routes::all_to(
                    self.slot,
                    self.number,
                    self.backends.get(..up).unwrap_or_default().to_vec(),
                    None,
                )
            } else {
                Routes::split(
                    &standing,
                    (self.number, self.backends.get(..up).unwrap_or_default().to_vec()),
                    share(up, staying.len()),
                )
            };
            let weight = routes.weight(self.slot);
            self.shift(routes);
            if up > 0 {
                self.analyze(Stage { weight, pause, wait: false });
            }
            if !leaving.is_empty() && !stable.adopted {
                let timeout = self.inputs.policy.drain.timeout
                    + stable.stop_grace * u32::try_from(leaving.len()).unwrap_or(u32::MAX)
                    + RETIRE_MARGIN;
                let kind = StepKind::Shrink {
                    slot: stable.slot,
                    release: stable.release,
                    backends: leaving.to_vec(),
                };
                self.steps.push(unwinds(kind, timeout));
            }
            left = staying;
        }
        self.take_all(Some((stable.release, left.to_vec())));
    }
}

/// How many of the candidate's backends stand beside the stable side's for at least this share; one
/// at least.
fn among(stable: usize, candidate: usize, weight: Weight) -> usize {
    (1..=candidate).find(|&some| share(some, stable) >= weight).unwrap_or(candidate)
}

/// The share of `some` among `some + others`.
fn share(some: usize, others: usize) -> Weight {
    let points = some.saturating_mul(10_000).checked_div(some + others).unwrap_or_default();
    u32::try_from(points)
        .ok()
        .and_then(|points| Weight::from_basis_points(points).ok())
        .unwrap_or(Weight::FULL)
}

/// How long a stage may take: its pause, what it may be extended by, and the wait for a person
/// where there may be one.
fn analysis_limit(policy: &Policy, stage: Stage) -> Duration {
    let analysis = policy.analysis.as_ref().filter(|analysis| !analysis.checks.is_empty());
    let extend =
        analysis.map_or(Duration::ZERO, |analysis| analysis.initial_delay + analysis.extend);
    let asks =
        stage.wait || analysis.is_some_and(|analysis| analysis.on_undecided == OnUndecided::Ask);
    stage.pause
        + extend
        + if asks { policy.timeouts.decide } else { Duration::ZERO }
        + ANALYSIS_MARGIN
}

/// What reading the measures of the stable release goes by, outside of any deployment: no step at
/// all.
pub fn survey(inputs: Inputs, release: Release) -> Result<Plan, PlanError> {
    let Some(stable) = inputs.state.stable.clone() else {
        return Err(PlanError::NothingManaged(inputs.scope));
    };
    Ok(finish(inputs, DeploymentKind::Deploy, release, stable.slot, stable.backends, Vec::new()))
}

/// What watching the stable release outside of any deployment goes by: its policies and backends,
/// and no step at all.
pub fn watch(inputs: Inputs, release: Release) -> Result<Plan, PlanError> {
    let Some(stable) = inputs.state.stable.clone() else {
        return Err(PlanError::NothingManaged(inputs.scope));
    };
    let inputs = Inputs { state: ServiceState { stable: None, ..inputs.state.clone() }, ..inputs };
    Ok(finish(inputs, DeploymentKind::Deploy, release, stable.slot, stable.backends, Vec::new()))
}

fn unwinds(kind: StepKind, timeout: Duration) -> Step {
    Step { kind, timeout, on_timeout: TimeoutAction::Unwind }
}

/// Nothing is watched before a way back: what is stable is likely to be bad, which is why somebody
/// goes.
fn opening(inputs: &Inputs, goes_back: bool) -> Vec<Step> {
    let mut steps = vec![unwinds(StepKind::Preflight, inputs.policy.timeouts.preflight)];
    if let (Some(probe), Some(_)) = (&inputs.policy.probe, &inputs.state.stable)
        && !probe.baseline.is_zero()
        && !goes_back
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
        steps.push(Step {
            kind: StepKind::Bake { duration: policy.bake },
            timeout,
            on_timeout: TimeoutAction::GoOn,
        });
    }
    let Some(old) = &inputs.state.stable else { return };
    let on_timeout = match policy.drain.on_timeout {
        OnDrainTimeout::Keep => TimeoutAction::KeepAndTell,
        OnDrainTimeout::Cut => TimeoutAction::Cut,
    };
    steps.push(Step {
        kind: StepKind::Drain { slot: old.slot },
        timeout: policy.drain.timeout,
        on_timeout,
    });
    // A part of a side is no way back: what rolling leaves of the old one goes.
    let keep = if matches!(policy.strategy, Strategy::Rolling { .. }) {
        KeepPrevious::None
    } else {
        policy.keep_previous
    };
    match keep {
        KeepPrevious::UntilNext => return,
        KeepPrevious::For { duration } => {
            steps.push(Step {
                kind: StepKind::Hold { duration },
                timeout: duration,
                on_timeout: TimeoutAction::GoOn,
            });
        }
        KeepPrevious::None => {}
    }
    let timeout = old.stop_time() + RETIRE_MARGIN;
    let gone: Vec<Backend> = steps
        .iter()
        .flat_map(|step| {
            if let StepKind::Shrink { backends, .. } = &step.kind {
                backends.clone()
            } else {
                Vec::new()
            }
        })
        .collect();
    let rest = old.backends.iter().filter(|backend| !gone.contains(backend)).cloned().collect();
    let old = &Standing { backends: rest, ..old.clone() };
    steps.push(Step {
        kind: StepKind::Retire { standing: old.clone() },
        timeout,
        on_timeout: TimeoutAction::Stuck,
    });
}

fn finish(
    inputs: Inputs,
    kind: DeploymentKind,
    release: Release,
    slot: Slot,
    backends: Vec<Backend>,
    steps: Vec<Step>,
) -> Plan {
    let mut warnings = Vec::new();
    match &inputs.policy.probe {
        None => warnings.push(
            "outside proof: none; without `[probe]` nobody watches the public URL while requests \
             move"
                .to_owned(),
        ),
        Some(probe) if probe.identity_header.is_none() => warnings.push(
            "outside proof: none; the target adds no identity header and `[probe] identity` names \
             none, so only the switcher tells who answers"
                .to_owned(),
        ),
        Some(_) => {}
    }
    if kind == DeploymentKind::Deploy
        && inputs.state.stable.is_none()
        && inputs.policy.strategy != Strategy::BlueGreen
    {
        warnings.push(
            "nothing is stable yet, so there is nothing to compare with: the first release gets \
             all requests at once, without analysis"
                .to_owned(),
        );
    }
    let shares = kind == DeploymentKind::Deploy
        && inputs.state.stable.is_some()
        && inputs.policy.strategy != Strategy::BlueGreen;
    let measures = inputs
        .policy
        .analysis
        .as_ref()
        .is_some_and(|analysis| analysis.checks.iter().any(|check| !check.report_only));
    if shares
        && !measures
        && inputs.policy.checks_at(CheckMoment::Analysis).all(|check| check.report_only)
    {
        warnings.push(
            "nothing is measured between the weights: time alone earns them; `[analysis]` measures"
                .to_owned(),
        );
    }
    if inputs.policy.checks_at(CheckMoment::Ready).next().is_none() {
        warnings.push(
            "no check is asked before the candidate takes requests; running counts as healthy"
                .to_owned(),
        );
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
        stable_release: inputs.stable_release,
        kept: inputs.state.kept,
        routes_before: inputs.state.routes,
        policy: inputs.policy,
        steps,
        plugins: inputs.plugins,
        force: inputs.force,
        warnings,
    }
}
