//! `deploy`: a new release.

use super::plan;
use crate::arguments::{DeployOptions, Global, PlanOptions};
use crate::drive::{self, Driver, Work};
use crate::error::{CliError, Exit};
use crate::open;
use crate::output::{Output, say};
use crate::owner::{self, Answer};
use crate::planning;
use crate::session::{self, About, Session};
use crate::signals::Signals;
use crate::store;
use agente_engine::attempt::Direction;
use agente_engine::deployment::DeploymentKind;
use agente_engine::fault::{Fault, FaultKind};
use agente_engine::journal::Outcome;
use agente_engine::names::{Digest, ReleaseNumber, Scope};
use agente_engine::plan::Plan;
use agente_engine::policy::{OnDrainTimeout, OnOpen};
use agente_engine::ports::{Lease, Liveness, Store};
use agente_engine::release::Artifact;
use agente_engine::step::StepState;
use agente_manifest::ArtifactSource;
use agente_runtimes::docker::Pull;
use std::collections::BTreeSet;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// How many releases keep their artifacts and images.
const KEPT_RELEASES: u32 = 10;

/// How far back old images are looked for.
const PRUNED_RELEASES: u32 = 100;

pub(crate) async fn run(
    global: &Global,
    options: &DeployOptions,
    signals: &Signals,
) -> Result<ExitCode, CliError> {
    if options.dry_run {
        return plan::run(global, &PlanOptions { replace: options.replace.clone() }).await;
    }
    let about = About::Next(&options.replace);
    let wanted = options.on_open.map(OnOpen::from);
    if wanted.map_or_else(|| session::manifest(global, about).map(|m| m.policy.on_open), Ok)?
        == OnOpen::Supersede
    {
        store::clear_of_stopped_host(global).await?;
    }
    let session = Session::open(global, about).await?;
    let on_open = options.on_open.map_or(session.base.manifest.policy.on_open, OnOpen::from);
    let (store, scope) = (session.base.store(), session.base.scope());
    let patience = options.lock_wait.unwrap_or(session.base.manifest.policy.timeouts.decide);
    let lease = match on_open {
        OnOpen::Refuse => match open::lease(store, scope, options.lock_wait).await {
            Err(error) if options.lock_wait.is_none() && holder_lives(&session).await => {
                return Err(error.hint(
                    "wait for it with `--on-open queue`, replace it with `--on-open supersede`, follow it with `agente-host status --follow`, or stop it with `agente-host abort`",
                ));
            }
            lease => lease?,
        },
        OnOpen::Queue => open::lease(store, scope, Some(patience)).await?,
        OnOpen::Supersede => supersede(store, scope, patience).await?,
    };
    let output = Output::new(global.output);
    // The bits first: what is being deployed decides what an open deployment means.
    let artifact = import(&session).await?;
    let driver = Driver {
        session: &session,
        lease: lease.as_ref(),
        output: &output,
        signals: Some(signals),
    };
    if let Some(code) = meet_open(&driver, &artifact).await? {
        return Ok(code);
    }
    let mut policy = session.policy().await;
    if options.cut {
        policy.drain.on_timeout = OnDrainTimeout::Cut;
    }
    let release =
        store.create_release(scope, artifact, session.base.manifest.runtime.clone()).await?;
    let state = store.state(scope).await?;
    output.keep_turn(session.base.machine.reservation_turn().await?);
    let plan =
        planning::make(&session, release, policy, state.clone(), DeploymentKind::Deploy, false)
            .await?;
    let outcome = driver.run(&plan, Work::Begin(Box::new(plan.clone())), state).await?;
    if let Err(fault) = session.base.machine.prune_artifacts(KEPT_RELEASES).await {
        tracing::warn!("old artifacts could not be removed: {fault}");
    }
    if let Err(fault) = prune_images(&session, &plan).await {
        tracing::warn!("old images could not be removed: {fault}");
    }
    let _ = lease.release().await;
    Ok(drive::exit(&outcome, false))
}

/// Whether somebody else is at work on the service.
async fn holder_lives(session: &Session) -> bool {
    let holding = session.base.store().holding(session.base.scope()).await;
    holding.is_ok_and(|holding| holding.is_some_and(|holding| holding.liveness == Liveness::Alive))
}

/// Takes the place of whoever is at work on the service: asks them to unwind and waits for the
/// lease; where nobody listens, takes it.
async fn supersede(
    store: &dyn Store,
    scope: &Scope,
    patience: Duration,
) -> Result<Box<dyn Lease>, CliError> {
    let begun = Instant::now();
    if let Some(id) = store.open_deployment(scope).await? {
        say(&format!("asked deployment {id} to unwind; this one starts once that is done"));
        let reason = Some("superseded by a newer release");
        let asking = owner::ask_to_unwind(store, scope, &id, reason);
        if let Ok(answer) = tokio::time::timeout(patience, asking).await
            && let Answer::Silence = answer?
        {
            return owner::pass_over(store, scope).await;
        }
    }
    tokio::select! {
        lease = open::lease(store, scope, Some(patience.saturating_sub(begun.elapsed()))) => lease,
        _ = owner::stops(store, scope) => owner::pass_over(store, scope).await,
    }
}

/// Removes the images of releases that nobody goes back to. Images that no release of ours names
/// are never touched.
async fn prune_images(session: &Session, plan: &Plan) -> Result<(), Fault> {
    let engines: BTreeSet<&str> =
        plan.all_backends().filter_map(|backend| backend.placement.engine()).collect();
    if engines.is_empty() {
        return Ok(());
    }
    let store = session.base.store();
    let recorded: Vec<Artifact> = store
        .releases(session.base.scope(), PRUNED_RELEASES)
        .await?
        .into_iter()
        .map(|release| release.artifact)
        .collect();
    let needed = needed_images(store).await?;
    for engine in engines {
        session.base.runtime.docker_at(engine)?.prune_images(&recorded, &needed).await?;
    }
    Ok(())
}

/// The images of releases that are among the newest, stand or are being deployed, in any
/// environment: one image may be a release of several.
async fn needed_images(store: &dyn Store) -> Result<Vec<Digest>, Fault> {
    let mut needed = Vec::new();
    for scope in store.scopes().await? {
        let state = store.state(&scope).await?;
        let mut releases = store.releases(&scope, KEPT_RELEASES).await?;
        let mut others: Vec<ReleaseNumber> = state
            .stable
            .iter()
            .chain(state.kept.as_ref().map(|kept| &kept.standing))
            .map(|standing| standing.release)
            .collect();
        if let Some(open) = &state.open {
            others.extend(store.deployment(open).await?.map(|row| row.release));
        }
        for number in others {
            releases.extend(store.release(&scope, number).await?);
        }
        needed.extend(releases.into_iter().filter_map(|release| match release.artifact {
            Artifact::Image { id, .. } => Some(id),
            Artifact::File { .. } | Artifact::Adopted => None,
        }));
    }
    Ok(needed)
}

/// Brings the manifest's artifact into the store, or resolves its image.
async fn import(session: &Session) -> Result<Artifact, CliError> {
    match &session.base.manifest.artifact_source {
        ArtifactSource::File(path) => session
            .base
            .machine
            .import_artifact(path)
            .await
            .map_err(|error| CliError::usage(error.to_string()).because_sources(&error)),
        ArtifactSource::Image(reference) => {
            let told = |line: &str| tracing::info!("{line}");
            Ok(session
                .base
                .runtime
                .docker_for_launch()?
                .resolve_image(reference, Pull::IfAbsent, &told)
                .await?)
        }
    }
}

/// A deployment that was left open is dealt with first: the same release is resumed, and that is
/// what was asked for; another is unwound before promote and finished after it. Gives the exit code
/// when nothing is left to do.
async fn meet_open(driver: &Driver<'_>, wanted: &Artifact) -> Result<Option<ExitCode>, CliError> {
    let session = driver.session;
    let store = session.base.store();
    let Some((id, attempt)) = open::attempt(store, session.base.scope()).await? else {
        return Ok(None);
    };
    let entries = store.entries(&id).await?;
    let state = store.state(session.base.scope()).await?;
    let promoted = attempt
        .plan
        .promote_step()
        .and_then(|step| attempt.steps.get(step))
        .is_some_and(|step| matches!(step, StepState::Done(_)));
    let forward = attempt.direction == Direction::Forward;
    let same = attempt.plan.release.artifact == *wanted
        && attempt.plan.release.runtime == session.base.manifest.runtime;
    let work = if forward && (same || promoted) {
        say(&format!("deployment {id} was left open; completing it first"));
        Work::Resume(entries)
    } else {
        say(&format!("deployment {id} of another release was left open; unwinding it first"));
        Work::Unwind(
            entries,
            Fault::new(
                FaultKind::Aborted,
                "its host is gone, and another release is being deployed",
            ),
        )
    };
    let outcome = driver.run(&attempt.plan, work, state).await?;
    match outcome {
        Outcome::Stuck { .. } => Ok(Some(Exit::Stuck.into())),
        outcome if same && forward => Ok(Some(drive::exit(&outcome, false))),
        Outcome::Promoted { .. } | Outcome::Unwound { .. } | Outcome::Refused { .. } => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Opened, scratch_store};
    use agente_engine::names::{EnvironmentName, Scope, ServiceName};
    use agente_engine::release::RuntimeSpec;

    fn digest(digit: u32) -> Digest {
        Digest::new(format!("sha256:{digit:064x}")).unwrap()
    }

    #[tokio::test]
    async fn an_image_that_another_environment_may_go_back_to_is_kept() {
        let (Opened { store, .. }, _folder) = scratch_store().await.unwrap();
        let scope = |name: &str| Scope {
            service: ServiceName::new("shop").unwrap(),
            environment: EnvironmentName::new(name).unwrap(),
        };
        let release = async |environment: &str, digit| {
            let artifact = Artifact::Image {
                reference: "shop:1".to_owned(),
                id: digest(digit),
                repository_digest: None,
            };
            store
                .create_release(
                    &scope(environment),
                    artifact,
                    RuntimeSpec::Adopted { addresses: Vec::new() },
                )
                .await
                .unwrap();
        };
        release("production", 0).await;
        for digit in 0..=KEPT_RELEASES {
            release("staging", digit).await;
        }
        release("staging", KEPT_RELEASES + 1).await;
        let needed = needed_images(&*store).await.unwrap();
        assert!(needed.contains(&digest(0)), "production runs what staging has long left behind");
        assert!(!needed.contains(&digest(1)), "nobody goes back to it");
    }
}
