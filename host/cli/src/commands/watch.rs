//! `watch`: looks after what is stable between deployments, and takes it back when it turns bad
//! within its window.

use super::rollback;
use crate::adapters::now;
use crate::arguments::{Global, RollbackOptions, WatchOptions};
use crate::drive::Driver;
use crate::error::{CliError, Exit};
use crate::evidence;
use crate::metrics::{Ledger, Of, serve_metrics};
use crate::open;
use crate::output::{Doubt, Output, say};
use crate::planning;
use crate::session::{self, About, Session};
use crate::signals::{asked_to_stop, ignore_hangup};
use crate::store;
use crate::times::span;
use crate::world::Ports;
use agente_engine::deployment::DeploymentKind;
use agente_engine::fault::Fault;
use agente_engine::journal::Outcome;
use agente_engine::lookout;
use agente_engine::names::Scope;
use agente_engine::planner;
use agente_engine::ports::Liveness;
use agente_engine::standing::Standing;
use agente_engine::state::ServiceState;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::Mutex;

/// How often is looked whether a deployment has begun or ended.
const POLL: Duration = Duration::from_millis(500);

/// How long to wait before a release that is bad and can't be taken back is looked at again.
const AGAIN: Duration = Duration::from_secs(30);

/// How far back is looked for how the stable release came to be stable: attempts that were taken
/// back or refused lie between.
const HISTORY: u32 = 100;

/// How watching goes.
#[derive(Default)]
struct Course {
    /// Held while a release is taken back: that is never left half-way, whatever makes watching
    /// end.
    busy: Mutex<()>,
    /// Whether what is stable is bad, and should have been taken back but could not.
    bad: AtomicBool,
}

/// How watching ended for the moment.
enum Ended {
    /// A deployment began, or something else is stable.
    Changed,
    /// It is bad.
    Bad(Fault),
}

pub(crate) async fn run(global: &Global, options: &WatchOptions) -> Result<ExitCode, CliError> {
    // A way back that has begun must not end with the terminal in which it was watched for.
    ignore_hangup();
    let base = session::Base::look(global, About::Standing(&options.components)).await?;
    let scope = base.scope().clone();
    if base.store().open_deployment(&scope).await?.is_none()
        && base.store().state(&scope).await?.stable.is_none()
    {
        return Err(CliError::refused(format!(
            "{scope} has no live release, so there is nothing to watch"
        ))
        .hint("deploy a first release with `agente-host deploy`"));
    }
    match evidence::doubt(&base, None).await? {
        Some(doubted) if doubted.doubt == Doubt::Changed => doubted.tell(),
        Some(doubted) => return Err(doubted.into_error()),
        None => {}
    }
    drop(base);
    let course = Course::default();
    let ending = async {
        let timely = tokio::select! {
            () = asked_to_stop() => false,
            () = limit(options.duration) => true,
            served = serve(global, options, scope) => served.map(|()| false)?,
        };
        let _idle = course.busy.lock().await;
        let bad = timely && course.bad.load(Ordering::Relaxed);
        Ok(if bad { Exit::Failed } else { Exit::Done }.into())
    };
    tokio::select! {
        result = Box::pin(keep_watching(global, options, &course)) => result,
        result = ending => result,
    }
}

/// Ends with the time that was given; never without one.
async fn limit(duration: Option<Duration>) {
    match duration {
        Some(limit) => tokio::time::sleep(limit).await,
        None => std::future::pending().await,
    }
}

/// Serves the numbers where that is wanted; ends only with what goes wrong.
async fn serve(global: &Global, options: &WatchOptions, scope: Scope) -> Result<(), CliError> {
    match options.listen {
        Some(address) => {
            let ledger = Ledger::new(store::state_directory(global)?);
            serve_metrics(address, Arc::new(ledger), Of::One(scope), std::future::pending()).await
        }
        None => std::future::pending().await,
    }
}

/// Watches one stable release after the other. Ends only where a given time makes it end, or with a
/// release that was taken back within it.
async fn keep_watching(
    global: &Global,
    options: &WatchOptions,
    course: &Course,
) -> Result<ExitCode, CliError> {
    loop {
        // Anew each time: manifest, grants and what is live may have changed with a deployment.
        let session = Session::look(global, About::Standing(&options.components)).await?;
        let Some((state, stable)) = settled(&session).await? else { continue };
        let promoted = now().since(stable.since);
        say(&format!(
            "watching release {} on {}, promoted {} ago",
            stable.release,
            stable.slot,
            span(promoted)
        ));
        match watch(global, &session, &state).await? {
            Ended::Changed => course.bad.store(false, Ordering::Relaxed),
            Ended::Bad(fault) => {
                say(&format!("release {} has turned bad: {fault}", stable.release));
                if now().since(stable.since) >= options.window {
                    say(&format!(
                        "it was promoted more than {} ago, so it is not rolled back automatically; use `agente-host rollback`",
                        span(options.window)
                    ));
                } else if was_gone_back_to(&session, &stable).await? {
                    course.bad.store(true, Ordering::Relaxed);
                    say(
                        "it was itself rolled back to, so it is not rolled back automatically, which could go back and forth forever; deploy a good release, or choose one with `agente-host rollback --to`",
                    );
                } else {
                    let busy = course.busy.lock().await;
                    let end = take_back(global, options, &stable, &fault).await?;
                    course.bad.store(end == TakingBack::Failed, Ordering::Relaxed);
                    drop(busy);
                    match end {
                        TakingBack::Done if options.duration.is_some() => {
                            return Ok(Exit::Failed.into());
                        }
                        TakingBack::Done | TakingBack::Overtaken => continue,
                        TakingBack::Failed => {}
                    }
                }
                tokio::time::sleep(AGAIN).await;
            }
        }
    }
}

/// Whether a release is stable because somebody, or we, went back to it.
async fn was_gone_back_to(session: &Session, stable: &Standing) -> Result<bool, CliError> {
    let history = session.base.store().history(session.base.scope(), HISTORY).await?;
    let last =
        history.into_iter().find(|row| matches!(row.outcome, Some(Outcome::Promoted { .. })));
    Ok(last.is_some_and(|row| {
        row.release == stable.release && matches!(row.kind, DeploymentKind::Rollback { .. })
    }))
}

/// What is stable while no deployment is open; waits for that.
async fn settled(session: &Session) -> Result<Option<(ServiceState, Standing)>, CliError> {
    let store = session.base.store();
    let mut told = false;
    while let Some(id) = store.open_deployment(session.base.scope()).await? {
        if !std::mem::replace(&mut told, true) {
            let runs = store
                .holding(session.base.scope())
                .await?
                .is_some_and(|holding| holding.liveness == Liveness::Alive);
            say(&if runs {
                format!(
                    "deployment {id} is in progress and watches for itself; waiting until it has finished"
                )
            } else {
                format!(
                    "deployment {id} is open, but no host is running it: continue it with `agente-host resume`, or unwind it with `agente-host abort`; waiting"
                )
            });
        }
        tokio::time::sleep(POLL).await;
    }
    let state = store.state(session.base.scope()).await?;
    match state.stable.clone() {
        Some(stable) if !told => Ok(Some((state, stable))),
        _ => {
            tokio::time::sleep(POLL).await;
            Ok(None)
        }
    }
}

/// Watches until it turns bad or something else is stable.
async fn watch(
    global: &Global,
    session: &Session,
    state: &ServiceState,
) -> Result<Ended, CliError> {
    let store = session.base.store();
    let Some(stable) = &state.stable else { return Ok(Ended::Changed) };
    let Some(release) = store.release(session.base.scope(), stable.release).await? else {
        return Ok(Ended::Changed);
    };
    let policy = session.base.manifest.policy.clone();
    let inputs = planning::inputs(session, policy, state.clone(), false).await?;
    let plan =
        planner::watch(inputs, release).map_err(|error| CliError::internal(error.to_string()))?;
    let output = Output::new(global.output);
    let ports = Ports::of_backends(session, &stable.backends)?;
    let changed = async {
        loop {
            tokio::time::sleep(POLL).await;
            let open = store.open_deployment(session.base.scope()).await?;
            let stable_now = store.state(session.base.scope()).await?.stable;
            if open.is_some() || stable_now.as_ref() != Some(stable) {
                return Ok::<(), CliError>(());
            }
        }
    };
    tokio::select! {
        fault = lookout::watch(ports.world(&output), plan, stable.since) => Ok(Ended::Bad(fault)),
        result = changed => result.map(|()| Ended::Changed),
    }
}

/// How taking a release back ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TakingBack {
    /// An earlier release serves again.
    Done,
    /// It could not be taken back.
    Failed,
    /// Since it was judged, somebody has begun a deployment or ended one: theirs goes first.
    Overtaken,
}

/// Takes back the release that was judged, and nothing else.
async fn take_back(
    global: &Global,
    options: &WatchOptions,
    judged: &Standing,
    fault: &Fault,
) -> Result<TakingBack, CliError> {
    let end = Box::pin(take_back_under_lease(global, options, judged, fault)).await;
    Ok(match end {
        Ok(end) => {
            say(match end {
                TakingBack::Done => "the previous release is serving again",
                TakingBack::Failed => {
                    "the rollback failed; `agente-host status` shows what is live"
                }
                TakingBack::Overtaken => {
                    "a deployment has started since then, so it is not rolled back"
                }
            });
            end
        }
        // There is nothing to go back to, or the way is barred: told, and looked at again.
        Err(error) => {
            say(&format!("it can't be rolled back: {}", error.message));
            TakingBack::Failed
        }
    })
}

async fn take_back_under_lease(
    global: &Global,
    options: &WatchOptions,
    judged: &Standing,
    fault: &Fault,
) -> Result<TakingBack, CliError> {
    let session = Session::look(global, About::Standing(&options.components)).await?;
    let (store, scope) = (session.base.store(), session.base.scope());
    let holding = store.holding(scope).await?;
    if store.open_deployment(scope).await?.is_some()
        || holding.is_some_and(|holding| holding.liveness == Liveness::Alive)
    {
        return Ok(TakingBack::Overtaken);
    }
    let lease = open::lease_to_take_back(store, scope, None).await?;
    let state = store.state(scope).await?;
    if state.open.is_some() || state.stable.as_ref() != Some(judged) {
        return Ok(TakingBack::Overtaken);
    }
    let rollback = RollbackOptions {
        to: None,
        reason: Some(format!("watch: {fault}")),
        cut: false,
        lock_wait: None,
        components: options.components.clone(),
    };
    let output = Output::new(global.output);
    let driver =
        Driver { session: &session, lease: lease.as_ref(), output: &output, signals: None };
    let outcome = rollback::back(&driver, &rollback, state).await?;
    let _ = lease.release().await;
    Ok(if matches!(outcome, Outcome::Promoted { .. }) {
        TakingBack::Done
    } else {
        TakingBack::Failed
    })
}
