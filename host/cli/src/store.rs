//! Where the state is, and the store in it.

use crate::arguments::Global;
use crate::error::{CliError, Exit};
use crate::output::say;
use agente_engine::fault::{Fault, FaultKind};
use agente_engine::ports::Store;
use agente_store::{EmbeddedStore, OpenError, StateDirectory, StateInputs};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;

/// An open store. Which one it is, is decided here and known nowhere else.
#[derive(Clone)]
pub(crate) struct Opened {
    pub(crate) store: Arc<dyn Store>,
    /// What is this machine's alone: artifacts, the locks of targets, turns to choose addresses.
    pub(crate) machine: EmbeddedStore,
}

impl From<EmbeddedStore> for Opened {
    fn from(machine: EmbeddedStore) -> Self {
        Self { store: Arc::new(machine.clone()), machine }
    }
}

/// Where the state is.
pub(crate) fn state_directory(global: &Global) -> Result<StateDirectory, CliError> {
    let path =
        |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let inputs = StateInputs {
        explicit: global.state.clone(),
        xdg_state_home: path("XDG_STATE_HOME"),
        home: path("HOME"),
        ..StateInputs::default()
    };
    StateDirectory::resolve(&inputs).map_err(|error| {
        let hint = error.hint();
        CliError::usage(error.to_string()).because_sources(&error).hint(hint)
    })
}

/// Opens the store, making it on first use.
pub(crate) async fn open_store(global: &Global) -> Result<Opened, CliError> {
    let opened = EmbeddedStore::open(state_directory(global)?).await;
    opened.map(Opened::from).map_err(store_error)
}

/// Opens the store of a state directory if there is one; makes nothing.
pub(crate) async fn open_existing(directory: StateDirectory) -> Result<Option<Opened>, CliError> {
    let opened = EmbeddedStore::open_existing(directory).await;
    opened.map(|store| store.map(Opened::from)).map_err(store_error)
}

/// What is in a state directory.
pub(crate) enum StoreFound {
    Open(Opened),
    /// Nothing was ever kept there.
    Nothing,
    /// A store that can't be used as it is, or what is left of one.
    Unusable(CliError),
}

/// Opens the store if there is one; makes nothing. What passes by itself (a full disk, a lock) and
/// what a newer host can open are errors.
pub(crate) async fn find_store(global: &Global) -> Result<StoreFound, CliError> {
    match EmbeddedStore::open_existing(state_directory(global)?).await {
        Ok(Some(store)) => Ok(StoreFound::Open(store.into())),
        Ok(None) => Ok(StoreFound::Nothing),
        Err(error) => {
            let passes = match &error {
                OpenError::Newer { .. } => true,
                OpenError::Unavailable(fault) => fault.retryable,
                OpenError::Directory(_) | OpenError::Foreign { .. } | OpenError::Lost { .. } => {
                    false
                }
            };
            let error = store_error(error);
            if passes { Err(error) } else { Ok(StoreFound::Unusable(error)) }
        }
    }
}

/// How long a process has to be seen stopped: a tracer stops it for moments, too.
const STOPPED: Duration = Duration::from_millis(500);

/// Ends a host that was stopped while it kept the store from being opened at all. For those who
/// take over: everybody else is told who it is.
pub(crate) async fn clear_of_stopped_host(global: &Global) -> Result<(), CliError> {
    let directory = state_directory(global)?;
    let Some(seen) = agente_store::stopped_blocker(&directory) else { return Ok(()) };
    tokio::time::sleep(STOPPED).await;
    if let Some(still) = agente_store::stopped_blocker(&directory)
        && (still.pid, still.started) == (seen.pid, seen.started)
        && agente_store::kill_stopped(&still)
    {
        say(&format!("killed {still}, which was stopped and kept the store locked"));
    }
    Ok(())
}

fn store_error(error: OpenError) -> CliError {
    let fault = Fault::from(error);
    // One that is lost or damaged needs a person; all else is a matter of arguments and rights.
    let exit = match fault.kind {
        FaultKind::JournalUnavailable => Exit::Stuck,
        _ => Exit::Usage,
    };
    CliError { exit, ..CliError::from(fault) }
}

/// A store for commands that only look where there is none: empty, in a folder of its own that goes
/// away with it.
pub(crate) async fn scratch_store() -> Result<(Opened, TempDir), CliError> {
    let folder = tempfile::tempdir()
        .map_err(|error| CliError::usage("can't create a temporary directory").because(&error))?;
    let inputs = StateInputs {
        explicit: Some(folder.path().to_owned()),
        machine_locks: None,
        ..StateInputs::default()
    };
    let directory = StateDirectory::resolve(&inputs)
        .map_err(|error| CliError::internal(error.to_string()).because_sources(&error))?;
    let store = EmbeddedStore::open(directory).await.map_err(store_error)?;
    Ok((store.into(), folder))
}
