//! Plans of releases: what a planner starts from, and where the candidate's backends will stand.

use crate::adapters::now;
use crate::error::CliError;
use crate::identity;
use crate::session::Session;
use agente_engine::deployment::DeploymentKind;
use agente_engine::names::ReleaseNumber;
use agente_engine::plan::Plan;
use agente_engine::planner::{self, Inputs};
use agente_engine::policy::Policy;
use agente_engine::ports::Runtime;
use agente_engine::release::Release;
use agente_engine::route::Backend;
use agente_engine::state::ServiceState;

/// Makes a plan: chooses backends and lists the steps. Changes nothing: the backends are reserved
/// once the plan is journaled, within the store's turn.
pub(crate) async fn make(
    session: &Session,
    release: Release,
    policy: Policy,
    state: ServiceState,
    kind: DeploymentKind,
    force: bool,
) -> Result<Plan, CliError> {
    let slot = planner::candidate_slot(&state);
    let mut taken: Vec<Backend> = state
        .stable
        .iter()
        .chain(state.kept.as_ref().map(|kept| &kept.standing))
        .flat_map(|s| s.backends.clone())
        .collect();
    let elsewhere = session.base.machine.reserved_elsewhere(session.base.scope()).await?;
    taken.extend(elsewhere);
    // A container on a network has its ports to itself.
    taken.retain(|backend| backend.placement.has_port_of_machine());
    let backends = session.base.runtime.reserve(&release, slot, &taken).await?;
    let inputs = inputs(session, policy, state, force).await?;
    planner::deploy(inputs, kind, release, backends)
        .map_err(|error| CliError::internal(error.to_string()))
}

/// What every planner starts from.
pub(crate) async fn inputs(
    session: &Session,
    policy: Policy,
    state: ServiceState,
    force: bool,
) -> Result<Inputs, CliError> {
    let now = now();
    let stable_release = match &state.stable {
        Some(stable) => session.base.store().release(session.base.scope(), stable.release).await?,
        None => None,
    };
    Ok(Inputs {
        id: identity::deployment_id(now),
        scope: session.base.scope().clone(),
        store: session.base.store().id().to_owned(),
        by: identity::who(),
        now,
        state,
        policy,
        plugins: session.plugins_in_use(),
        stable_release,
        force,
    })
}

/// The number that the next release would get.
pub(crate) async fn next_number(session: &Session) -> Result<ReleaseNumber, CliError> {
    let newest = session.base.store().releases(session.base.scope(), 1).await?;
    Ok(ReleaseNumber(newest.first().map_or(1, |release| release.number.0 + 1)))
}
