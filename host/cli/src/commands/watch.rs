//! `watch`: looks after what is stable between deployments, and takes it back when it turns bad within its window.

use super::{deploy, rollback};
use crate::arguments::{Global, RollbackOptions, WatchOptions};
use crate::clock::{SystemClock, now, span};
use crate::drive::Signals;
use crate::error::{CliError, Exit};
use crate::metrics::{Ledger, Of, asked_to_stop, serve_metrics};
use crate::output::{Output, say};
use crate::session::{self, About, Session};
use agente_engine::executor::{self, World};
use agente_engine::fault::Fault;
use agente_engine::journal::Outcome;
use agente_engine::plan::DeploymentKind;
use agente_engine::planner;
use agente_engine::state::{ServiceState, Standing};
use agente_store::Liveness;
use rollback::Back;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch::{Receiver, channel};
use tokio::time::Instant;

/// How often is looked whether a deployment has begun or ended.
const POLL: Duration = Duration::from_millis(500);

/// How long to wait before a release that is bad and can't be taken back is looked at again.
const AGAIN: Duration = Duration::from_secs(30);

/// How watching ended for the moment.
enum Ended {
    /// A deployment began, or something else is stable.
    Changed,
    /// It is bad.
    Bad(Fault),
    /// The given time is over, or somebody asked to stop.
    Over,
}

/// When watching is to end. A rollback that is under way is not cut off by it.
struct End {
    at: Option<Instant>,
    asked: Receiver<bool>,
}

impl End {
    fn after(limit: Option<Duration>) -> Self {
        let (tell, asked) = channel(false);
        tokio::spawn(async move {
            asked_to_stop().await;
            let _ = tell.send(true);
        });
        Self { at: limit.map(|limit| Instant::now() + limit), asked }
    }

    /// Returns when it has come.
    async fn comes(&self) {
        let mut asked = self.asked.clone();
        let over = async {
            match self.at {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = over => {}
            _ = asked.wait_for(|asked| *asked) => {}
        }
    }

    /// Whether it came before `time` was over.
    async fn comes_within(&self, time: Duration) -> bool {
        tokio::time::timeout(time, self.comes()).await.is_ok()
    }
}

pub(crate) async fn run(global: &Global, options: &WatchOptions) -> Result<ExitCode, CliError> {
    let base = session::Base::look(global, About::Standing(&options.components)).await?;
    let scope = base.scope().clone();
    if base.store.open_deployment(&scope).await?.is_none() && base.store.state(&scope).await?.stable.is_none() {
        return Err(CliError::refused(format!("nothing of {scope} is live, so there is nothing to watch")).hint("`agente-host deploy` brings a first release"));
    }
    drop(base);
    let end = End::after(options.duration);
    let serving = async {
        match options.listen {
            Some(address) => {
                let ledger = Ledger::new(session::state_directory(global)?);
                serve_metrics(address, Arc::new(ledger), Of::One(scope), std::future::pending()).await
            }
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        result = Box::pin(keep_watching(global, options, &end)) => result,
        served = serving => served.map(|()| Exit::Done.into()),
    }
}

/// Watches one stable release after the other, until the end, or until one was taken back within a given time.
async fn keep_watching(global: &Global, options: &WatchOptions, end: &End) -> Result<ExitCode, CliError> {
    loop {
        // Anew each time: manifest, grants and what is live may have changed with a deployment.
        let session = Session::look(global, About::Standing(&options.components)).await?;
        let Some((state, stable)) = settled(&session, end).await? else {
            if end.comes_within(POLL).await {
                return Ok(Exit::Done.into());
            }
            continue;
        };
        let promoted = now().since(stable.since);
        say(&format!("watching release {} on {}, promoted {} ago", stable.release, stable.slot, span(promoted)));
        let fault = match watch(global, &session, &state, end).await? {
            Ended::Changed => continue,
            Ended::Over => return Ok(Exit::Done.into()),
            Ended::Bad(fault) => fault,
        };
        say(&format!("release {} has turned bad: {fault}", stable.release));
        let in_window = now().since(stable.since) < options.window;
        if !in_window {
            say(&format!("it was promoted more than {} ago, so it is not taken back by itself; `agente-host rollback` does", span(options.window)));
        }
        // What was itself gone back to is not left for what it was gone back from: what is bad in both is elsewhere.
        let newest = session.base.store.history(session.base.scope(), 1).await?;
        let restored = newest.first().is_some_and(|row| matches!(row.kind, DeploymentKind::Rollback { .. }) && row.release == stable.release);
        if in_window && restored {
            say("it was gone back to, so it is not left by itself, or the way would be to and fro; deploy a good release, or `agente-host rollback --to` one");
        }
        let taken_back = in_window && !restored && Box::pin(take_back(global, options, &fault)).await?;
        if taken_back && options.duration.is_some() {
            return Ok(Exit::Failed.into());
        }
        if !taken_back && end.comes_within(AGAIN).await {
            return Ok(Exit::Failed.into());
        }
    }
}

/// What is stable while no deployment is open; waits for that.
async fn settled(session: &Session, end: &End) -> Result<Option<(ServiceState, Standing)>, CliError> {
    let store = &session.base.store;
    let mut told = false;
    while let Some(id) = store.open_deployment(session.base.scope()).await? {
        if !std::mem::replace(&mut told, true) {
            let runs = store.holding(session.base.scope()).await?.is_some_and(|holding| holding.liveness == Liveness::Alive);
            say(&if runs {
                format!("deployment {id} is open and watches for itself; waiting until it has ended")
            } else {
                format!("deployment {id} is open and nobody runs it: `agente-host resume` goes on with it, `agente-host abort` unwinds it; waiting")
            });
        }
        if end.comes_within(POLL).await {
            return Ok(None);
        }
    }
    let state = store.state(session.base.scope()).await?;
    match state.stable.clone() {
        Some(stable) if !told => Ok(Some((state, stable))),
        _ => Ok(None),
    }
}

/// Watches until it turns bad or something else is stable.
async fn watch(global: &Global, session: &Session, state: &ServiceState, end: &End) -> Result<Ended, CliError> {
    let store = &session.base.store;
    let Some(stable) = &state.stable else { return Ok(Ended::Changed) };
    let Some(release) = store.release(session.base.scope(), stable.release).await? else { return Ok(Ended::Changed) };
    let policy = session.base.manifest.policy.clone();
    let inputs = deploy::inputs(session, policy, state.clone(), false).await?;
    let plan = planner::watch(inputs, release).map_err(|error| CliError::internal(error.to_string()))?;
    let output = Output::new(global.output);
    let context = session.context(None, &stable.backends, None);
    let switcher = session.switcher(context.clone())?;
    let checks = session.checks(&context);
    let measures = session.measures(&context);
    let world = World {
        runtime: session.runtime(),
        switcher: &switcher,
        checks: &checks,
        metrics: &measures,
        prober: None,
        store,
        clock: &SystemClock,
        observer: &output,
    };
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
        fault = executor::watch(world, plan, stable.since) => Ok(Ended::Bad(fault)),
        result = changed => result.map(|()| Ended::Changed),
        () = end.comes() => Ok(Ended::Over),
    }
}

/// Rolls back; tells whether an earlier release serves again.
async fn take_back(global: &Global, options: &WatchOptions, fault: &Fault) -> Result<bool, CliError> {
    let rollback = RollbackOptions { to: None, reason: Some(format!("watch: {fault}")), cut: false, lock_wait: None, components: options.components.clone() };
    match Box::pin(rollback::back(global, &rollback, Signals::Wait)).await {
        Ok(Back::Rolled(outcome)) => {
            let done = matches!(outcome, Outcome::Promoted { .. });
            say(if done { "the release before it serves again" } else { "it could not be taken back; `agente-host status` shows what is live" });
            Ok(done)
        }
        Ok(Back::Aborted(_)) => Ok(false),
        // Somebody else is at it, or there is nothing to go back to: told, and looked at again.
        Err(error) => {
            say(&format!("it can't be taken back: {}", error.message));
            Ok(false)
        }
    }
}
