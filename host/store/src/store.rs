//! The store as a whole. Each port of the engine that it fills has a file of its own.

use crate::database::{Database, OpenError};
use crate::directory::{Access, StateDirectory};
use crate::unwritten::Unwritten;
use agente_engine::ports::Store;

/// The embedded store. Cheap to clone; all clones share their connections.
#[derive(Debug, Clone)]
pub struct EmbeddedStore {
    pub(crate) directory: StateDirectory,
    pub(crate) database: Database,
    pub(crate) unwritten: Unwritten,
    id: String,
}

impl EmbeddedStore {
    /// Opens the store of a state directory, making both where they are missing.
    pub async fn open(directory: StateDirectory) -> Result<Self, OpenError> {
        let database = Database::open(&directory).await?;
        let found: Result<Option<(String,)>, _> =
            database.fetch_optional(sqlx::query_as("SELECT store FROM identity")).await;
        let (id,) =
            found.and_then(|found| found.ok_or(sqlx::Error::RowNotFound)).map_err(|error| {
                OpenError::Unavailable(database.unreadable("the store's id can't be read", &error))
            })?;
        Ok(Self { directory, database, unwritten: Unwritten::default(), id })
    }

    /// Opens the store of a state directory if there is one. For commands that only look: they make
    /// nothing.
    pub async fn open_existing(directory: StateDirectory) -> Result<Option<Self>, OpenError> {
        if directory.database().exists() { Self::open(directory).await.map(Some) } else { Ok(None) }
    }

    /// The folder that the store is in.
    pub fn directory(&self) -> &StateDirectory {
        &self.directory
    }

    /// Who may use the lock files that are made: whoever may use the store.
    pub(crate) fn access(&self) -> Access {
        // Where the folder can't be looked at, taking the lock says so.
        self.directory.access().unwrap_or(Access::PRIVATE)
    }

    /// Waits for the writes that have begun and closes the file. Optional: a store that is just
    /// dropped loses nothing.
    pub async fn close(&self) {
        self.database.close().await;
    }
}

impl Store for EmbeddedStore {
    fn id(&self) -> &str {
        &self.id
    }
}
