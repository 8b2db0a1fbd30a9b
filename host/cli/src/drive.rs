//! Drives one deployment: signals, output, the executor, and the report at its end.

use crate::clock::SystemClock;
use crate::error::{CliError, Exit, exit_of};
use crate::identity;
use crate::metrics::{self, RunKeeper};
use crate::output::{self, Output};
use crate::session::Session;
use agente_engine::executor::{self, Halt, World};
use agente_engine::fault::{Fault, FaultKind};
use agente_engine::journal::{DecisionKind, Entry, Outcome};
use agente_engine::names::DeploymentId;
use agente_engine::plan::Plan;
use agente_engine::ports::Prober;
use agente_engine::release::Artifact;
use agente_engine::state::ServiceState;
use agente_store::{EmbeddedStore, Lease};
use std::process::ExitCode;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// What is to be done with a deployment.
pub(crate) enum Work {
    /// Open it.
    Begin(Box<Plan>),
    /// Take it up where it stands.
    Resume(Vec<Entry>),
    /// Turn it back.
    Unwind(Vec<Entry>, Fault),
}

/// What SIGINT and SIGTERM mean while a deployment runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signals {
    /// The first asks for an abort, the second leaves at once.
    Abort,
    /// Nothing here: it is taking something bad back, and whoever asked for that hears them
    /// afterwards.
    Wait,
}

/// How long leaving at once may take to say so.
const AT_ONCE: Duration = Duration::from_millis(200);

/// Runs a deployment to its end under a lease and reports it.
pub(crate) async fn run(
    session: &Session,
    lease: &Lease,
    plan: &Plan,
    work: Work,
    state: ServiceState,
    output: &Output,
) -> Result<Outcome, CliError> {
    run_with(session, lease, plan, work, state, output, Signals::Abort).await
}

/// The same, with what signals mean.
pub(crate) async fn run_with(
    session: &Session,
    lease: &Lease,
    plan: &Plan,
    work: Work,
    state: ServiceState,
    output: &Output,
    signals: Signals,
) -> Result<Outcome, CliError> {
    let image = match &plan.release.artifact {
        Artifact::Image { id, .. } => Some(id.to_string()),
        Artifact::File { .. } | Artifact::Adopted => None,
    };
    let mut backends = plan.backends.clone();
    backends.extend(
        plan.stable
            .iter()
            .chain(plan.kept.as_ref().map(|kept| &kept.standing))
            .flat_map(|standing| standing.backends.clone()),
    );
    let context = session.context(Some(&plan.id), &backends, image);
    let switcher = session.switcher(context.clone())?;
    let checks = session.checks(&context);
    let measures = session.measures(&context);
    let prober = Session::prober(&plan.policy)?;
    let world = World {
        runtime: session.runtime(),
        switcher: &switcher,
        checks: &checks,
        metrics: &measures,
        prober: prober.as_ref().map(|prober| prober as &dyn Prober),
        store: &session.base.store,
        clock: &SystemClock::start(),
        observer: output,
    };
    let fence = lease.fence();
    let id = plan.id.clone();
    output.begin(plan, &work);
    // The whole executor is in this future; the others need not carry its size.
    let deployment = Box::pin(async {
        match work {
            Work::Begin(plan) => executor::begin(world, fence, *plan, state).await,
            Work::Resume(entries) => {
                executor::resume(world, fence, &entries, state, identity::who()).await
            }
            Work::Unwind(entries, fault) => {
                executor::unwind(world, fence, &entries, state, identity::who(), fault).await
            }
        }
    });
    let keeper = RunKeeper {
        store: &session.base.store,
        calls: &session.base.calls,
        prober: prober.as_ref(),
        deployment: id.clone(),
        fence,
    };
    let result = tokio::select! {
        result = heeding(signals, &session.base.store, &id, deployment) => result,
        never = keeper.while_running() => match never {},
    };
    keeper.end(&result).await;
    let outcome = match result {
        Ok(outcome) => outcome,
        Err(halt) => {
            output.end_lines();
            metrics::publish(
                &session.base.manifest.metrics,
                &session.base.store,
                session.base.scope(),
            )
            .await;
            return Err(halt.into());
        }
    };
    output.outcome(plan, &outcome, prober.as_ref());
    metrics::publish(&session.base.manifest.metrics, &session.base.store, session.base.scope())
        .await;
    Ok(outcome)
}

async fn heeding(
    signals: Signals,
    store: &EmbeddedStore,
    id: &DeploymentId,
    deployment: impl Future<Output = Result<Outcome, Halt>>,
) -> Result<Outcome, Halt> {
    ignore_hangup();
    match signals {
        Signals::Abort => with_signals(store, id, deployment).await,
        Signals::Wait => deployment.await,
    }
}

/// From now on a closed terminal ends nothing of this process.
pub(crate) fn ignore_hangup() {
    // Listened to once, the signal never does again what it did by default.
    if let Err(error) = signal(SignalKind::hangup()) {
        tracing::warn!("SIGHUP can't be ignored: {error}");
    }
}

/// Asks for an orderly abort at the first SIGINT or SIGTERM and leaves at the second.
async fn with_signals(
    store: &EmbeddedStore,
    id: &DeploymentId,
    deployment: impl Future<Output = Result<Outcome, Halt>>,
) -> Result<Outcome, Halt> {
    tokio::pin!(deployment);
    let (Ok(mut interrupt), Ok(mut terminate)) =
        (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        return deployment.await;
    };
    let mut asked = false;
    loop {
        let name = tokio::select! {
            outcome = &mut deployment => return outcome,
            () = heard(&mut interrupt) => "SIGINT",
            () = heard(&mut terminate) => "SIGTERM",
        };
        if asked {
            tracing::warn!(
                "{name} again: leaving at once; `agente-host resume` or `abort` takes the \
                 deployment up"
            );
            output::finish(AT_ONCE);
            std::process::exit(Exit::Open as i32);
        }
        asked = true;
        tracing::warn!("{name}: unwinding; once more leaves at once");
        // Beside the deployment, not before it: while the deployment waits here for us, it may
        // itself be next in the turn to write.
        let (store, id) = (store.clone(), id.clone());
        tokio::spawn(async move {
            if let Err(fault) =
                store.leave(&id, DecisionKind::Abort, &identity::who(), Some(name)).await
            {
                tracing::error!("the abort could not be left: {fault}");
            }
        });
    }
}

async fn heard(signal: &mut Signal) {
    if signal.recv().await.is_none() {
        std::future::pending::<()>().await;
    }
}

/// The exit code of an outcome. `wanted_back`: whether the user asked for the unwinding, so that it
/// is what they wanted.
pub(crate) fn exit(outcome: &Outcome, wanted_back: bool) -> ExitCode {
    let exit = match outcome {
        Outcome::Promoted { .. } if wanted_back => Exit::Failed,
        Outcome::Promoted { .. } => Exit::Done,
        Outcome::Unwound { .. } | Outcome::Refused { .. } if wanted_back => Exit::Done,
        Outcome::Unwound { .. } => Exit::Failed,
        Outcome::Refused { fault } if fault.kind == FaultKind::Aborted => Exit::Failed,
        Outcome::Refused { fault } => exit_of(fault.kind),
        Outcome::Stuck { .. } => Exit::Stuck,
    };
    exit.into()
}
