//! `up`: starts what should stand, for boot.

use crate::arguments::{Components, Global, UpOptions};
use crate::error::{CliError, Exit};
use crate::evidence;
use crate::open;
use crate::output::{Doubt, say};
use crate::session::{About, Base};
use agente_engine::names::{BackendId, DeploymentId};
use agente_engine::ports::{BackendRole, Launch, Runtime};
use agente_engine::route::Routes;
use agente_engine::state::ServiceState;
use agente_engine::step::StepState;
use std::process::ExitCode;

pub(crate) async fn run(global: &Global, _: &UpOptions) -> Result<ExitCode, CliError> {
    let base = Base::look(global, About::Standing(&Components::default())).await?;
    // Before anything is started by what the store says. A journal that was changed brings back
    // what was live all the same, and is told.
    let changed = match evidence::doubt(&base, None).await? {
        Some(doubted) if doubted.doubt == Doubt::Changed => Some(doubted),
        Some(doubted) => return Err(doubted.into_error()),
        None => None,
    };
    let state = base.store().state(base.scope()).await?;
    let mut launches = stable(&base, &state).await?;
    launches.extend(routed_candidates(&base, &state).await?);
    if launches.is_empty() {
        say(&format!("{} has nothing that should be running", base.scope()));
    }
    // What serves never stands aside, whatever was on its way when the machine went down. What was
    // never launched can't be told, and need not be.
    for Launch { backend, .. } in &launches {
        if let Err(failure) = base.runtime.assign(backend, BackendRole::Live).await {
            tracing::debug!("could not mark {} as serving: {}", backend.id, failure.fault());
        }
    }
    let mut failed = false;
    for raised in base.runtime.up(base.scope(), &launches).await {
        match raised.result {
            Ok(words) => say(&format!("{}: {words}", raised.backend)),
            Err(fault) => {
                failed = true;
                say(&format!("{}: {fault}", raised.backend));
            }
        }
    }
    if let Some(open) = state.open {
        say(&format!(
            "deployment {open} is open; continue it with `agente-host resume`, or unwind it with `agente-host abort`"
        ));
    }
    match changed {
        Some(doubted) => Err(doubted.into_error()),
        None => Ok(if failed { Exit::Failed } else { Exit::Done }.into()),
    }
}

/// The backends of what is stable.
async fn stable(base: &Base, state: &ServiceState) -> Result<Vec<Launch>, CliError> {
    let Some(stable) = &state.stable else { return Ok(Vec::new()) };
    let Some(release) = base.store().release(base.scope(), stable.release).await? else {
        return Err(CliError::new(
            Exit::Stuck,
            format!("release {} is stable, but its record is missing", stable.release),
        ));
    };
    let launch = |backend| Launch {
        backend,
        release: release.clone(),
        slot: stable.slot,
        deployment: DeploymentId("up".to_owned()),
        store: base.store().id().to_owned(),
    };
    Ok(stable.backends.iter().cloned().map(launch).collect())
}

/// The backends of an open deployment that may have requests: by the routes in force, or by those
/// of a shift that was cut off.
async fn routed_candidates(base: &Base, state: &ServiceState) -> Result<Vec<Launch>, CliError> {
    let Some((id, attempt)) = open::attempt(base.store(), base.scope()).await? else {
        return Ok(Vec::new());
    };
    let plan = attempt.plan;
    let cut_off = plan.steps.iter().zip(&attempt.steps).filter_map(|(step, stands)| {
        let cut_off = matches!(
            stands,
            StepState::Running | StepState::Unknown(_) | StepState::Undoing | StepState::Stuck(_)
        );
        step.kind.sets().filter(|_| cut_off)
    });
    let routes: Vec<&Routes> = state.routes.iter().chain(cut_off).collect();
    let launch = |backend| Launch {
        backend,
        release: plan.release.clone(),
        slot: plan.slot,
        deployment: id.clone(),
        store: base.store().id().to_owned(),
    };
    let is_stable = |id: &BackendId| {
        state.stable.iter().flat_map(|stable| &stable.backends).any(|backend| backend.id == *id)
    };
    let is_routed = |id: &BackendId| routes.iter().any(|routes| routes.reaches(id));
    Ok(plan
        .backends
        .iter()
        .filter(|backend| is_routed(&backend.id) && !is_stable(&backend.id))
        .cloned()
        .map(launch)
        .collect())
}
