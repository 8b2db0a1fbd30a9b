//! `rollback`: an earlier release again, by the fast way when its slot still stands.

use super::decide;
use crate::arguments::{DecideOptions, Global, RollbackOptions};
use crate::drive::{self, Driver, Work};
use crate::error::CliError;
use crate::evidence;
use crate::open;
use crate::output::{Output, say};
use crate::owner;
use crate::planning;
use crate::session::{About, Base, Session};
use crate::signals::Signals;
use crate::store;
use agente_engine::deployment::DeploymentKind;
use agente_engine::journal::Outcome;
use agente_engine::names::{ReleaseNumber, Scope};
use agente_engine::planner;
use agente_engine::policy::{OnDrainTimeout, Policy};
use agente_engine::ports::{BackendState, Lease, Runtime, Store};
use agente_engine::release::{Artifact, Release};
use agente_engine::standing::Kept;
use agente_engine::state::ServiceState;
use std::process::ExitCode;
use std::time::Duration;

/// How far back an earlier release is looked for.
const HISTORY: u32 = 1000;

pub(crate) async fn run(
    global: &Global,
    options: &RollbackOptions,
    signals: &Signals,
) -> Result<ExitCode, CliError> {
    store::clear_of_stopped_host(global).await?;
    let base = Base::look(global, About::Standing(&options.components)).await?;
    if base.store().open_deployment(base.scope()).await?.is_none()
        && base.store().state(base.scope()).await?.stable.is_none()
    {
        return Err(nothing_live(&base));
    }
    let session = Session::load(base).await?;
    let store = session.base.store();
    if store.open_deployment(session.base.scope()).await?.is_some() {
        say("a deployment is open, so this rollback aborts it");
        let options = DecideOptions {
            reason: options.reason.clone(),
            components: options.components.clone(),
        };
        return decide::abort_session(global, &session, &options).await;
    }
    let switcher = session.switcher(session.context(None, &[], None))?;
    evidence::backward(&session.base, &switcher).await?;
    let lease = lease(store, session.base.scope(), options.lock_wait).await?;
    let state = store.state(session.base.scope()).await?;
    let output = Output::new(global.output);
    let driver = Driver {
        session: &session,
        lease: lease.as_ref(),
        output: &output,
        signals: Some(signals),
    };
    let outcome = back(&driver, options, state).await?;
    let _ = lease.release().await;
    Ok(drive::exit(&outcome, false))
}

/// Takes the lease; from a host that is stopped, too, which would keep it for ever.
async fn lease(
    store: &dyn Store,
    scope: &Scope,
    wait: Option<Duration>,
) -> Result<Box<dyn Lease>, CliError> {
    match open::lease_to_take_back(store, scope, wait).await {
        Err(_) if owner::is_stopped(store, scope).await => owner::pass_over(store, scope).await,
        lease => lease,
    }
}

/// Goes back from what is stable, by the fastest way there is. `state` is that under the lease.
pub(crate) async fn back(
    driver: &Driver<'_>,
    options: &RollbackOptions,
    state: ServiceState,
) -> Result<Outcome, CliError> {
    let (session, output) = (driver.session, driver.output);
    let store = session.base.store();
    if let Some(open) = &state.open {
        // It was left open since this command looked.
        return Err(CliError::refused(format!("deployment {open} is open"))
            .hint("continue it with `agente-host resume`, or unwind it with `agente-host abort`"));
    }
    let target = target(session, &state, options.to.map(ReleaseNumber)).await?;
    let mut policy = session.policy().await;
    if options.cut {
        policy.drain.on_timeout = OnDrainTimeout::Cut;
    }
    let release = store.release(session.base.scope(), target).await?;
    let release = release.ok_or_else(|| {
        CliError::usage(format!("there is no release {target} of {}", session.base.scope()))
            .hint("`agente-host history` lists the releases")
    })?;
    let mut plan = if standing(session, &state, target).await.is_some() {
        planner::roll_back_fast(
            planning::inputs(session, policy, state.clone(), false).await?,
            release,
        )
        .map_err(|error| CliError::refused(error.to_string()))?
    } else {
        output.keep_turn(session.base.machine.reservation_turn().await?);
        by_launch(session, release, policy, &state).await?
    };
    if let Some(reason) = &options.reason {
        plan.by = format!("{} ({reason})", plan.by);
    }
    if plan.release.runtime.has_secrets() {
        say("note: secrets have their current values, not those of the original deployment");
    }
    driver.run(&plan, Work::Begin(Box::new(plan.clone())), state).await
}

fn nothing_live(base: &Base) -> CliError {
    CliError::refused(format!(
        "{} has no live release, so there is nothing to roll back",
        base.scope()
    ))
    .hint("deploy a first release with `agente-host deploy`")
}

/// Which release to go back to: the one named, the one kept, or the one that was promoted before.
async fn target(
    session: &Session,
    state: &ServiceState,
    named: Option<ReleaseNumber>,
) -> Result<ReleaseNumber, CliError> {
    let Some(stable) = &state.stable else {
        return Err(nothing_live(&session.base));
    };
    if let Some(named) = named {
        if named == stable.release {
            return Err(CliError::usage(format!("release {named} is already stable")));
        }
        return Ok(named);
    }
    if let Some(kept) = &state.kept {
        return Ok(kept.standing.release);
    }
    let history = session.base.store().history(session.base.scope(), HISTORY).await?;
    let promoted =
        history.into_iter().filter(|row| matches!(row.outcome, Some(Outcome::Promoted { .. })));
    let before = promoted.map(|row| row.release).find(|release| *release != stable.release);
    before.ok_or_else(|| {
        CliError::refused(format!(
            "release {} is the only release of {} that was ever promoted",
            stable.release,
            session.base.scope()
        ))
    })
}

/// The kept side, if it is the release that is wanted and still runs.
async fn standing(session: &Session, state: &ServiceState, target: ReleaseNumber) -> Option<Kept> {
    let kept = state.kept.clone().filter(|kept| kept.standing.release == target)?;
    let whole = session
        .base
        .store()
        .release(session.base.scope(), target)
        .await
        .ok()
        .flatten()
        .is_none_or(|release| kept.standing.backends.len() >= release.runtime.instances());
    if kept.partial || !whole {
        say(&format!("only some backends of release {target} are still running; relaunching it"));
        return None;
    }
    for backend in &kept.standing.backends {
        if !matches!(session.base.runtime.inspect(backend).await, Ok(BackendState::Running { .. }))
        {
            say(&format!(
                "release {target} was kept, but {} is no longer running; relaunching it",
                backend.id
            ));
            return None;
        }
    }
    Some(kept)
}

async fn by_launch(
    session: &Session,
    release: Release,
    policy: Policy,
    state: &ServiceState,
) -> Result<agente_engine::plan::Plan, CliError> {
    if matches!(release.artifact, Artifact::Adopted) {
        let message = format!(
            "release {} was adopted, so agente-host can't start it, and it is no longer running",
            release.number
        );
        return Err(CliError::refused(message)
            .hint("choose another release with `--to`, or start it yourself and adopt it again"));
    }
    if let Artifact::File { digest, name } = &release.artifact {
        session.base.machine.verify_artifact(digest, name).await?;
    }
    planning::make(
        session,
        release,
        policy,
        state.clone(),
        DeploymentKind::Rollback { fast: false },
        false,
    )
    .await
}
