//! The open deployment that a command may meet, and who holds its lease.

use crate::error::CliError;
use crate::identity;
use crate::times;
use agente_engine::attempt::Attempt;
use agente_engine::names::{DeploymentId, Scope};
use agente_engine::ports::{Journal, Lease, LeaseError, Leases, Liveness, Store};
use std::time::Duration;

/// How long an owner that was passed over, or killed, may take to let go.
const LET_GO: Duration = Duration::from_secs(5);

/// Takes the lease, waiting `wait` for it.
pub(crate) async fn lease(
    store: &dyn Leases,
    scope: &Scope,
    wait: Option<Duration>,
) -> Result<Box<dyn Lease>, CliError> {
    if wait.is_some()
        && let Ok(Some(holding)) = store.holding(scope).await
        && holding.liveness != Liveness::Gone
    {
        tracing::warn!("waiting for the lease of {scope}, which is held by {holding}");
    }
    store.acquire(scope, identity::holder(), wait).await.map_err(|error| held(error, scope))
}

/// The same for whoever takes something back: on a full disk the space that is kept for that is
/// used.
pub(crate) async fn lease_to_take_back(
    store: &dyn Store,
    scope: &Scope,
    wait: Option<Duration>,
) -> Result<Box<dyn Lease>, CliError> {
    store.make_room().await;
    lease(store, scope, wait).await
}

fn held(error: LeaseError, scope: &Scope) -> CliError {
    let since = match &error {
        LeaseError::Held(holding) => Some(times::local(holding.acquired)),
        _ => None,
    };
    let mut error = CliError::from(agente_engine::fault::Fault::from(error));
    if let Some(since) = since {
        error
            .causes
            .push(format!("another deployment of {scope} has been in progress since {since}"));
    }
    error
}

/// Takes the lease away from an owner that does not answer.
pub(crate) async fn take_over(
    store: &dyn Store,
    scope: &Scope,
) -> Result<Box<dyn Lease>, CliError> {
    store.make_room().await;
    store.take_over(scope, identity::holder(), LET_GO).await.map_err(|error| held(error, scope))
}

/// The open deployment of a scope, folded.
pub(crate) async fn attempt(
    store: &dyn Journal,
    scope: &Scope,
) -> Result<Option<(DeploymentId, Attempt)>, CliError> {
    let Some(id) = store.open_deployment(scope).await? else { return Ok(None) };
    let entries = store.entries(&id).await?;
    let attempt = Attempt::fold(&entries).map_err(agente_engine::executor::Halt::from)?;
    Ok(Some((id, attempt)))
}
