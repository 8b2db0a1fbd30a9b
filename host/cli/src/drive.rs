//! Drives one deployment: signals, output, the executor, and the report at its end.

use crate::error::{CliError, Exit, exit_of};
use crate::identity;
use crate::metrics::{self, RunKeeper};
use crate::output::{self, Output};
use crate::session::Session;
use crate::signals::{Signals, ignore_hangup};
use crate::world::Ports;
use agente_engine::executor::{self, Halt};
use agente_engine::fault::{Fault, FaultKind};
use agente_engine::journal::{DecisionKind, Entry, Outcome};
use agente_engine::names::DeploymentId;
use agente_engine::plan::Plan;
use agente_engine::ports::{Lease, Store};
use agente_engine::state::ServiceState;
use std::process::ExitCode;
use std::sync::OnceLock;
use std::time::Duration;

/// How long leaving at once may take to say so.
const AT_ONCE: Duration = Duration::from_millis(200);

/// How long recording an abort may take before it is obeyed without that: the disk may be full, the
/// store locked, and the first entry of the journal, which it belongs to, not written yet.
const RECORDED_WITHIN: Duration = Duration::from_secs(1);

/// What is to be done with a deployment.
pub(crate) enum Work {
    /// Open it.
    Begin(Box<Plan>),
    /// Take it up where it stands.
    Resume(Vec<Entry>),
    /// Turn it back.
    Unwind(Vec<Entry>, Fault),
}

/// What deployments are driven with.
pub(crate) struct Driver<'a> {
    pub(crate) session: &'a Session,
    pub(crate) lease: &'a dyn Lease,
    pub(crate) output: &'a Output,
    /// The first asks for an abort, the same once more leaves at once. None where something bad is
    /// being taken back: whoever asked for that hears them afterwards.
    pub(crate) signals: Option<&'a Signals>,
}

impl Driver<'_> {
    /// Runs a deployment to its end and reports it.
    pub(crate) async fn run(
        &self,
        plan: &Plan,
        work: Work,
        state: ServiceState,
    ) -> Result<Outcome, CliError> {
        let Self { session, lease, output, signals } = *self;
        let base = &session.base;
        let ports = Ports::of_deployment(session, plan)?;
        let world = ports.world(output);
        let fence = lease.fence();
        output.begin(plan, !matches!(work, Work::Begin(_)));
        // The whole executor is in this future; the others need not carry its size.
        let deployment = Box::pin(async {
            match work {
                Work::Begin(plan) => executor::begin(world, lease, *plan, state).await,
                Work::Resume(entries) => {
                    executor::resume(world, lease, &entries, state, identity::who()).await
                }
                Work::Unwind(entries, fault) => {
                    executor::unwind(world, lease, &entries, state, identity::who(), fault).await
                }
            }
        });
        let keeper = RunKeeper {
            store: base.store(),
            calls: &base.calls,
            prober: ports.prober(),
            deployment: plan.id.clone(),
            fence,
        };
        ignore_hangup();
        let result = tokio::select! {
            result = heeding(signals, session, &plan.id, deployment) => result,
            never = keeper.while_running() => match never {},
        };
        keeper.end(&result).await;
        match &result {
            Ok(outcome) => output.outcome(plan, outcome, ports.prober()),
            Err(_) => output.end_lines(),
        }
        metrics::publish(&base.manifest.metrics, base.store(), base.scope()).await;
        Ok(result?)
    }
}

/// Asks for an orderly abort at the first signal and leaves when it is insisted on.
async fn heeding(
    signals: Option<&Signals>,
    session: &Session,
    id: &DeploymentId,
    deployment: impl Future<Output = Result<Outcome, Halt>>,
) -> Result<Outcome, Halt> {
    let Some(signals) = signals else { return deployment.await };
    signals.driving();
    tokio::pin!(deployment);
    let name = tokio::select! {
        outcome = &mut deployment => return outcome,
        name = signals.first() => name,
    };
    tracing::warn!("{name}: unwinding; SIGINT or SIGTERM twice leaves immediately");
    // Beside the deployment, not before it: while the deployment waits here for us, it may itself
    // be next in the turn to write.
    let leaving = leave_abort(session.base.store(), session.interrupted(), id, name);
    tokio::pin!(leaving);
    let mut left = false;
    let name = loop {
        tokio::select! {
            outcome = &mut deployment => return outcome,
            name = signals.insisted() => break name,
            () = &mut leaving, if !left => left = true,
        }
    };
    tracing::warn!(
        "{name} again: leaving immediately; continue the deployment with `agente-host resume`, or unwind it with `agente-host abort`"
    );
    output::finish(AT_ONCE);
    std::process::exit(Exit::Open as i32);
}

/// Leaves an abort in the mailbox, where it outlives this process; where that can't be, it is obeyed
/// all the same.
async fn leave_abort(
    store: &dyn Store,
    interrupted: &OnceLock<Fault>,
    id: &DeploymentId,
    signal: &'static str,
) {
    let who = identity::who();
    let leaving = store.leave(id, DecisionKind::Abort, &who, Some(signal));
    if let Ok(Ok(_)) = tokio::time::timeout(RECORDED_WITHIN, leaving).await {
        return;
    }
    let fault = Fault::new(FaultKind::Aborted, format!("aborted by {who}: {signal}"));
    // Only ever set here, once.
    let _ = interrupted.set(fault);
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
