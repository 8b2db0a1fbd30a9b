//! The labels by which containers, networks and their owner are known. They are the truth; whatever
//! else is stored is a cache of them.

use agente_engine::names::{EnvironmentName, Scope, ServiceName};
use agente_engine::ports::Launch;
use std::collections::HashMap;

/// The id of the store that owns the container. Whatever lacks it is not ours.
pub const STORE: &str = "agente.store";
/// The service.
pub const SERVICE: &str = "agente.service";
/// The environment.
pub const ENVIRONMENT: &str = "agente.environment";
/// `blue` or `green`.
pub const SLOT: &str = "agente.slot";
/// The release's number.
pub const RELEASE: &str = "agente.release";
/// The deployment that made it.
pub const DEPLOYMENT: &str = "agente.deployment";
/// The backend's id.
pub const BACKEND: &str = "agente.backend";
/// Of everything that the container was made from; secrets by name.
pub const SPEC_HASH: &str = "agente.spec-hash";
/// The loopback port that it is published on.
pub const PORT: &str = "agente.port";
/// The variables whose values are secrets, joined by commas: they are masked in logs.
pub const SECRETS: &str = "agente.secrets";
/// On a container that runs one command: when it is certainly over, in milliseconds since the
/// epoch.
pub const ONE_SHOT: &str = "agente.one-shot";

/// Whose a container is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Owner {
    /// This store's.
    Ours,
    /// Another store's.
    OtherStore(String),
    /// Nobody's that we know.
    Foreign,
}

/// Tells whose a container is.
pub(crate) fn owner(labels: Option<&HashMap<String, String>>, store: &str) -> Owner {
    match labels.and_then(|labels| labels.get(STORE)) {
        Some(theirs) if theirs == store => Owner::Ours,
        Some(theirs) => Owner::OtherStore(theirs.clone()),
        None => Owner::Foreign,
    }
}

/// The service and environment of a container.
pub(crate) fn scope(labels: &HashMap<String, String>) -> Option<Scope> {
    let label = |name: &str| labels.get(name).cloned();
    Some(Scope {
        service: ServiceName::new(label(SERVICE)?).ok()?,
        environment: EnvironmentName::new(label(ENVIRONMENT)?).ok()?,
    })
}

/// The labels of a backend's container.
pub(crate) fn of_launch(
    launch: &Launch,
    spec_hash: &str,
    port: Option<u16>,
    secret_variables: &[String],
) -> HashMap<String, String> {
    let scope = &launch.release.scope;
    let mut labels: HashMap<String, String> = [
        (STORE, launch.store.clone()),
        (SERVICE, scope.service.to_string()),
        (ENVIRONMENT, scope.environment.to_string()),
        (SLOT, launch.slot.to_string()),
        (RELEASE, launch.release.number.0.to_string()),
        (DEPLOYMENT, launch.deployment.to_string()),
        (BACKEND, launch.backend.id.to_string()),
        (SPEC_HASH, spec_hash.to_owned()),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value))
    .collect();
    if let Some(port) = port {
        labels.insert(PORT.to_owned(), port.to_string());
    }
    if !secret_variables.is_empty() {
        labels.insert(SECRETS.to_owned(), secret_variables.join(","));
    }
    labels
}
