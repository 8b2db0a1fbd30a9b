//! The open deployment that a command may meet, and who holds its lease.

use crate::error::CliError;
use crate::identity;
use crate::times;
use agente_engine::attempt::Attempt;
use agente_engine::names::{DeploymentId, Scope};
use agente_store::{EmbeddedStore, Holding, Lease, LeaseError, Liveness, ProcessState};
use std::time::Duration;

/// How long a stopped owner that was killed may take to let go of its lock.
const LET_GO: Duration = Duration::from_secs(5);

/// Takes the lease, waiting `wait` for it.
pub(crate) async fn lease(
    store: &EmbeddedStore,
    scope: &Scope,
    wait: Option<Duration>,
) -> Result<Lease, CliError> {
    if wait.is_some()
        && let Ok(Some(holding)) = store.holding(scope).await
        && holding.liveness != Liveness::Gone
    {
        tracing::warn!("waiting for the lease of {scope}, which is held by {holding}");
    }
    store.acquire(scope, identity::holder(), wait).await.map_err(|error| held(error, scope))
}

fn held(error: LeaseError, scope: &Scope) -> CliError {
    let since = match &error {
        LeaseError::Held(holding) => Some(times::local(holding.acquired)),
        _ => None,
    };
    let mut error = CliError::from(agente_engine::fault::Fault::from(error));
    if let Some(since) = since {
        error.causes.push(format!("another deployment of {scope} runs since {since}"));
    }
    error
}

/// Takes the lease away from an owner that does not answer. A stopped one is killed first: its
/// plugin calls must not wake up later.
pub(crate) async fn take_over(
    store: &EmbeddedStore,
    scope: &Scope,
    holding: &Holding,
) -> Result<Lease, CliError> {
    if holding.holder.process() == ProcessState::Stopped {
        kill(holding.holder.pid);
    }
    store.take_over(scope, identity::holder(), LET_GO).await.map_err(|error| held(error, scope))
}

fn kill(pid: u32) {
    let Some(pid) = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw) else {
        return;
    };
    let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
}

/// The open deployment of a scope, folded.
pub(crate) async fn attempt(
    store: &EmbeddedStore,
    scope: &Scope,
) -> Result<Option<(DeploymentId, Attempt)>, CliError> {
    let Some(id) = store.open_deployment(scope).await? else { return Ok(None) };
    let entries = store.entries(&id).await?;
    let attempt = Attempt::fold(&entries).map_err(agente_engine::executor::Halt::from)?;
    Ok(Some((id, attempt)))
}
