//! What the tests of this crate deploy: the same as those of the contract, in a store of this crate.

use crate::directory::{StateDirectory, StateInputs};
use crate::process::this_process;
use crate::store::EmbeddedStore;
use agente_engine::journal::Event;
use agente_engine::names::DeploymentId;
use agente_engine::ports::{AppendError, Fence, Holder};
use agente_engine::state::ServiceState;
use agente_store_contract::sample::{self as shared, Opened};
pub(crate) use agente_store_contract::sample::{
    closed_state, open_state, plan, promoted, runtime, scope, started,
};
use std::path::Path;

pub(crate) fn directory(root: &Path) -> StateDirectory {
    StateDirectory::resolve(&StateInputs {
        explicit: Some(root.to_owned()),
        machine_locks: None,
        ..StateInputs::default()
    })
    .unwrap()
}

pub(crate) async fn store(root: &Path) -> EmbeddedStore {
    EmbeddedStore::open(directory(root)).await.unwrap()
}

pub(crate) async fn store_with_locks(root: &Path, machine_locks: Option<&Path>) -> EmbeddedStore {
    let inputs = StateInputs {
        explicit: Some(root.to_owned()),
        machine_locks: machine_locks.map(Path::to_owned),
        ..StateInputs::default()
    };
    EmbeddedStore::open(StateDirectory::resolve(&inputs).unwrap()).await.unwrap()
}

pub(crate) fn holder() -> Holder {
    this_process("ann", "agente-host deploy")
}

/// Appends what comes next.
pub(crate) async fn append(
    store: &EmbeddedStore,
    fence: Fence,
    deployment: &DeploymentId,
    event: &Event,
    state: &ServiceState,
) -> Result<(), AppendError> {
    shared::append(store, fence, deployment, event, state).await
}

/// Takes the lease and opens a first deployment, `d-1`.
pub(crate) async fn open_deployment(store: &EmbeddedStore, service: &str) -> Opened<EmbeddedStore> {
    Opened::first(store, holder(), service).await
}
