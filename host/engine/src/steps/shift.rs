//! Setting the routes and proving them.

use super::action::{Action, Effect, Facts};
use crate::addresses::Addresses;
use crate::context::{OutsideProof, StepContext};
use crate::deployment::Deployment;
use crate::fault::{Failure, Fault, FaultKind};
use crate::names::Timestamp;
use crate::policy::{CheckMoment, Policy, SplitBy, Strategy};
use crate::ports::BackendState;
use crate::route::{Backend, Destination, Routes, Slot};
use crate::state::ServiceState;
use crate::step::{StepEvent, StepOutput};
use crate::verdict::VerdictKind;
use crate::weight::Weight;
use crate::words::{count, describe, weights};
use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::Duration;

const FACTS: Facts =
    Facts { effect: Effect::Undoable, moves_requests: true, probed: true, ..Facts::named("shift") };

/// Sets the routes and proves them. Undo: sets and proves the ones before the first shift.
#[derive(Debug, Clone, PartialEq, JsonSchema, Serialize, Deserialize)]
pub struct Shift {
    /// The routes before; none on the first deployment and on adoption.
    pub before: Option<Routes>,
    /// The routes after.
    pub after: Routes,
}

#[async_trait]
impl Action for Shift {
    fn facts(&self) -> Facts {
        FACTS
    }

    fn learn(&mut self, told: &Addresses) {
        for routes in self.before.iter_mut().chain([&mut self.after]) {
            told.correct_routes(routes);
        }
    }

    fn words(&self) -> String {
        let from = self.before.as_ref().map_or_else(|| "nothing".to_owned(), weights);
        let rules = match self.after.overrides.len() {
            0 => String::new(),
            1 => " with 1 rule that leads to the candidate".to_owned(),
            some => format!(" with {} that lead to the candidate", count(some, "rule")),
        };
        format!("shift {from} → {}{rules}, and verify it", weights(&self.after))
    }

    fn limit(&self, policy: &Policy) -> Duration {
        policy.timeouts.shift
    }

    async fn run(&self, context: &StepContext<'_>) -> Result<StepOutput, Failure> {
        still_ready(context, &self.after).await?;
        let mut notes = way_back(context, &self.after).await?;
        if gives_requests(&context.deployment, &self.after) {
            context.begin_analysis().await;
        }
        let proof = proof_of(&context.deployment, &self.after);
        let output = context.set_routes(&context.op_id("run"), &self.after, proof).await?;
        context.has_gone_back();
        notes.extend(output.notes);
        Ok(StepOutput { notes, ..output })
    }

    /// However far it climbed: at once to what was in force before the first of them.
    async fn undo(&self, context: &StepContext<'_>) -> Result<StepOutput, Failure> {
        let routes = context.deployment.routes_before.clone().unwrap_or(Routes::none());
        // An earlier undo may have been another process's.
        if context.so_far.routes_are_back && context.holds(&routes).await {
            return Ok(StepOutput::note("the previous routes are already in force"));
        }
        some_side_lives(context, &routes).await?;
        let stable = context.deployment.stable.as_ref();
        let proof = stable.map(|stable| OutsideProof {
            slot: stable.slot,
            release: stable.release,
            required: false,
        });
        match context.set_routes(&context.op_id("undo"), &routes, proof).await {
            Ok(output) => Ok(output),
            Err(failure) => context.still_in_force(&routes, proof).await.ok_or(failure),
        }
    }

    fn fold(
        &self,
        state: &mut ServiceState,
        deployment: &Deployment,
        event: &StepEvent,
        _: Timestamp,
    ) {
        match event {
            StepEvent::Succeeded { output } if !output.skipped => {
                state.routes = Some(self.after.clone());
            }
            StepEvent::Undone { .. } => {
                state.routes.clone_from(&deployment.routes_before);
                if let Some(kept) = &mut state.kept {
                    kept.drained = false;
                }
            }
            StepEvent::Started
            | StepEvent::Succeeded { .. }
            | StepEvent::Refused { .. }
            | StepEvent::Lost { .. }
            | StepEvent::Failed { .. }
            | StepEvent::UndoStarted
            | StepEvent::UndoFailed { .. } => {}
        }
    }

    fn sets(&self) -> Option<&Routes> {
        Some(&self.after)
    }

    fn leads_up(&self) -> bool {
        let grows = |slot: Slot| {
            self.before.as_ref().is_some_and(|before| self.after.weight(slot) > before.weight(slot))
        };
        Slot::BOTH.iter().any(|&slot| grows(slot))
            && Slot::BOTH.iter().all(|&slot| self.after.weight(slot) != Weight::FULL)
    }
}

/// Whether the candidate has a share of the requests: by weight, or by its number in the pool.
fn gives_requests(deployment: &Deployment, after: &Routes) -> bool {
    let by_instances =
        matches!(deployment.policy.strategy, Strategy::Canary { by: SplitBy::Instances, .. });
    by_instances || !after.weight(deployment.slot).is_zero()
}

/// Who must answer from outside. In a pool where both stand, either may answer.
fn proof_of(deployment: &Deployment, after: &Routes) -> Option<OutsideProof> {
    let route = after.routes.iter().find(|route| route.weight == Weight::FULL)?;
    let mixed = route.slot != deployment.slot
        && route.backends.iter().any(|one| deployment.has_candidate(&one.id));
    let release = route.release.filter(|_| !mixed)?;
    Some(OutsideProof { slot: route.slot, release, required: true })
}

/// One more look before requests move: what was proved may have died since. Sides that served
/// before are not judged again.
async fn still_ready(context: &StepContext<'_>, after: &Routes) -> Result<(), Failure> {
    let deployment = &context.deployment;
    let refused = |message: String| {
        Err(Failure::Refused { fault: Fault::new(FaultKind::Unhealthy, message) })
    };
    // Wherever they stand: a split by number puts them into the stable side's pool.
    let reached = deployment.backends.iter().filter(|backend| after.reaches(&backend.id));
    let about: Vec<Backend> = reached.cloned().collect();
    if about.is_empty() {
        return Ok(());
    }
    for backend in &about {
        let state = context.ports.runtime.inspect(backend).await;
        let state = state.map_err(|fault| Failure::Refused { fault })?;
        if !matches!(state, BackendState::Running { .. }) {
            let id = &backend.id;
            return refused(format!("{id} passed its checks and is now {}", describe(&state)));
        }
    }
    let checks = deployment.policy.checks_at(CheckMoment::Ready);
    for check in checks.filter(|check| !check.report_only) {
        let mut unhealthy = 0;
        loop {
            let (slot, release) = (Some(deployment.slot), Some(deployment.release.number));
            let verdict = context.ask(check, slot, release, &about).await;
            match verdict.kind {
                VerdictKind::Healthy => break,
                VerdictKind::Unhealthy => unhealthy += 1,
                // Not an answer about the candidate: asked again until the step's limit.
                VerdictKind::Errored | VerdictKind::NoData | VerdictKind::Inconclusive => {}
            }
            if unhealthy > check.limits.unhealthy {
                return refused(format!(
                    "check `{}` passed earlier and now fails: {}",
                    check.name, verdict.reason
                ));
            }
            context.ports.clock.sleep(check.interval).await;
        }
    }
    Ok(())
}

/// Before the candidate gets its first requests: whether they could go back. Looked at once per
/// process; what is found goes into the journal.
async fn way_back(context: &StepContext<'_>, after: &Routes) -> Result<Vec<String>, Failure> {
    let deployment = &context.deployment;
    let (Some(stable), Some(before)) = (&deployment.stable, &deployment.routes_before) else {
        return Ok(Vec::new());
    };
    let gives = deployment
        .backends
        .iter()
        .any(|backend| after.reaches(&backend.id) && !before.reaches(&backend.id));
    if !gives || context.shared(|shared| std::mem::replace(&mut shared.way_back, true)) {
        return Ok(Vec::new());
    }
    let planned = context.ports.switcher.plan(&context.desired(before)).await;
    planned.map_err(|fault| Failure::Refused {
        fault: Fault {
            message: format!(
                "rollback would not be possible, the target does not accept the current routes: {}",
                fault.message
            ),
            ..fault
        },
    })?;
    let mut down = Vec::new();
    for backend in &stable.backends {
        down.extend(why_not_running(context, backend).await);
    }
    // What serves badly must not forbid the deployment that heals it.
    let (slot, release) = (stable.slot, stable.release);
    Ok(vec![match down.len() {
        0 => format!(
            "rollback is possible: {slot} (release {release}) is running and the target accepts \
             its routes"
        ),
        some if some < stable.backends.len() => {
            format!(
                "rollback would be degraded: only some of the previous backends are running: {}",
                down.join("; ")
            )
        }
        _ => format!(
            "rollback is not possible: no backend of {slot} (release {release}) is running: {}",
            down.join("; ")
        ),
    }])
}

/// Before requests go back to what was stable: some of it must be there to take them. Routes that
/// were never ours (a target that was taken over) lead to backends that no runtime of ours can look
/// at.
async fn some_side_lives(context: &StepContext<'_>, routes: &Routes) -> Result<(), Failure> {
    if context.deployment.stable.is_none() {
        return Ok(());
    }
    let mut down = Vec::new();
    let used = routes.routes.iter().filter(|route| !route.weight.is_zero());
    for Destination { id, .. } in used.flat_map(|route| &route.backends) {
        let Some(backend) = context.deployment.backend(id) else {
            down.push(format!("{id} is not managed by this host"));
            continue;
        };
        match why_not_running(context, backend).await {
            None => return Ok(()),
            Some(why) => down.push(why),
        }
    }
    if down.is_empty() {
        return Ok(()); // Nothing served before: there is nothing to go back to.
    }
    let message =
        format!("requests can't go back, no backend is running there: {}", down.join("; "));
    let fault = Fault::new(FaultKind::Unhealthy, message)
        .hint("start the old backends (`agente-host up`), or deploy a good release");
    Err(Failure::Refused { fault })
}

/// Why a backend does not run; none if it does.
async fn why_not_running(context: &StepContext<'_>, backend: &Backend) -> Option<String> {
    match context.ports.runtime.inspect(backend).await {
        Ok(BackendState::Running { .. }) => None,
        Ok(state) => Some(format!("{} is {}", backend.id, describe(&state))),
        Err(fault) => Some(format!("{} can't be inspected: {fault}", backend.id)),
    }
}
