//! The store as a whole: opening it, and the ports of the engine that it fills.

use crate::database::{Database, OpenError};
use crate::directory::{Access, StateDirectory};
use crate::file_lock::LockFileMode;
use crate::memory::Unwritten;
use agente_engine::fault::Fault;
use agente_engine::journal::{Decision, Event};
use agente_engine::names::{DeploymentId, Scope};
use agente_engine::ports::{AppendError, Fence, PluginMemory, Store, TargetLock};
use agente_engine::state::ServiceState;
use async_trait::async_trait;
use sqlx::SqliteConnection;

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
        let found: Result<(String,), _> =
            sqlx::query_as("SELECT store FROM identity").fetch_one(database.readers()).await;
        let (id,) = found.map_err(|error| {
            OpenError::Unavailable(database.unreadable("the store's id can't be read", &error))
        })?;
        Ok(Self { directory, database, unwritten: Unwritten::default(), id })
    }

    /// Opens the store of a state directory if there is one. For commands that only look: they make
    /// nothing.
    pub async fn open_existing(directory: StateDirectory) -> Result<Option<Self>, OpenError> {
        if directory.database().exists() { Self::open(directory).await.map(Some) } else { Ok(None) }
    }

    /// The store's id: random, made with it, and written on everything that belongs to it.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The folder that the store is in.
    pub fn directory(&self) -> &StateDirectory {
        &self.directory
    }

    /// How lock files in the store's own folder are made.
    pub(crate) fn lock_mode(&self) -> LockFileMode {
        // Where the folder can't be looked at, taking the lock says so.
        LockFileMode { mode: self.directory.access().map_or(0o600, Access::file_mode) }
    }

    /// Waits for the writes that have begun and closes the file. Optional: a store that is just
    /// dropped loses nothing.
    pub async fn close(&self) {
        self.database.close().await;
    }
}

/// The row of a scope; none where nothing was ever written about it.
pub(crate) async fn find_scope(
    connection: &mut SqliteConnection,
    scope: &Scope,
) -> Result<Option<i64>, sqlx::Error> {
    let row: Option<(i64,)> =
        sqlx::query_as("SELECT id FROM scope WHERE service = ? AND environment = ?")
            .bind(scope.service.as_str())
            .bind(scope.environment.as_str())
            .fetch_optional(connection)
            .await?;
    Ok(row.map(|(id,)| id))
}

/// The row of a scope, made if it is missing.
pub(crate) async fn ensure_scope(
    connection: &mut SqliteConnection,
    scope: &Scope,
) -> Result<i64, sqlx::Error> {
    if let Some(id) = find_scope(connection, scope).await? {
        return Ok(id);
    }
    let (id,): (i64,) =
        sqlx::query_as("INSERT INTO scope (service, environment) VALUES (?, ?) RETURNING id")
            .bind(scope.service.as_str())
            .bind(scope.environment.as_str())
            .fetch_one(connection)
            .await?;
    Ok(id)
}

#[async_trait]
impl Store for EmbeddedStore {
    async fn append(
        &self,
        deployment: &DeploymentId,
        fence: Fence,
        event: &Event,
        state: &ServiceState,
    ) -> Result<(), AppendError> {
        self.append_entry(deployment, fence, event, state).await
    }

    async fn decisions(
        &self,
        deployment: &DeploymentId,
        after: u64,
    ) -> Result<Vec<Decision>, Fault> {
        self.decisions_after(deployment, after).await
    }

    async fn lock_target(&self, key: &str) -> Result<TargetLock, Fault> {
        self.take_target(key).await
    }
}

#[async_trait]
impl PluginMemory for EmbeddedStore {
    async fn get(&self, plugin: &str, scope: &Scope, key: &str) -> Result<Option<Vec<u8>>, Fault> {
        self.recall(plugin, scope, key).await
    }

    async fn set(
        &self,
        plugin: &str,
        scope: &Scope,
        key: &str,
        value: Option<&[u8]>,
    ) -> Result<(), Fault> {
        self.remember(plugin, scope, key, value).await
    }
}
