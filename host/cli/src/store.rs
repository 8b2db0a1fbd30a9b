//! Where the state is, and the store in it.

use crate::arguments::Global;
use crate::error::CliError;
use agente_store::{EmbeddedStore, StateDirectory, StateInputs};
use std::path::PathBuf;
use tempfile::TempDir;

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
pub(crate) async fn open_store(global: &Global) -> Result<EmbeddedStore, CliError> {
    EmbeddedStore::open(state_directory(global)?).await.map_err(|error| store_error(&error))
}

/// Opens the store if there is one; makes nothing.
pub(crate) async fn open_existing_store(
    global: &Global,
) -> Result<Option<EmbeddedStore>, CliError> {
    EmbeddedStore::open_existing(state_directory(global)?)
        .await
        .map_err(|error| store_error(&error))
}

fn store_error(error: &agente_store::OpenError) -> CliError {
    CliError::usage(error.to_string()).because_sources(error)
}

/// A store for commands that only look where there is none: empty, in a folder of its own that goes
/// away with it.
pub(crate) async fn scratch_store() -> Result<(EmbeddedStore, TempDir), CliError> {
    let folder = tempfile::tempdir().map_err(|error| {
        CliError::usage("there is no room for a temporary folder").because(&error)
    })?;
    let inputs = StateInputs {
        explicit: Some(folder.path().to_owned()),
        machine_locks: None,
        ..StateInputs::default()
    };
    let directory = StateDirectory::resolve(&inputs)
        .map_err(|error| CliError::internal(error.to_string()).because_sources(&error))?;
    let store = EmbeddedStore::open(directory).await.map_err(|error| store_error(&error))?;
    Ok((store, folder))
}
