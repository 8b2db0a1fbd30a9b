//! The store as a whole. Each port of the engine that it fills has a file of its own.

use crate::clock::SystemClock;
use crate::database::{Database, Index, OpenError};
use crate::directory::{Access, DirectoryError, StateDirectory};
use crate::held_file;
use crate::reserve;
use crate::unwritten::Unwritten;
use crate::unwritten_leases::UnwrittenLeases;
use agente_engine::ports::{Clock, Store};
use std::fmt;
use std::io;
use std::sync::Arc;

/// The embedded store. Cheap to clone; all clones share their connections.
#[derive(Clone)]
pub struct EmbeddedStore {
    pub(crate) directory: StateDirectory,
    pub(crate) database: Database,
    pub(crate) unwritten: Unwritten,
    pub(crate) unwritten_leases: UnwrittenLeases,
    /// What everything is dated by, and what leases wait by.
    pub(crate) clock: Arc<dyn Clock>,
    id: String,
}

impl fmt::Debug for EmbeddedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "store {} in `{}`", self.id, self.directory.root().display())
    }
}

impl EmbeddedStore {
    /// Opens the store of a state directory, making both where they are missing.
    ///
    /// On a full disk there may be no room for the index of the database's log. It is lent from the
    /// reserve then; where that is gone, the index is kept in memory and nobody else can open the
    /// store meanwhile. Where a host is at work the index is there, and none of this is needed.
    pub async fn open(directory: StateDirectory) -> Result<Self, OpenError> {
        Self::open_with_clock(directory, Arc::new(SystemClock)).await
    }

    /// The same with another clock than the system's.
    pub async fn open_with_clock(
        directory: StateDirectory,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, OpenError> {
        let open = |index| Self::open_with(&directory, index, Arc::clone(&clock));
        match open(Index::Shared).await {
            Err(_) if reserve::has_no_room_for_index(&directory) => {}
            opened => return opened,
        }
        if reserve::lend_index(&directory).unwrap_or_default()
            && let Ok(store) = open(Index::Shared).await
        {
            return Ok(store);
        }
        open(Index::OfOneConnection).await
    }

    async fn open_with(
        directory: &StateDirectory,
        index: Index,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, OpenError> {
        let database = Database::open(directory, index).await?;
        let found: Result<Option<(String,)>, _> =
            database.fetch_optional(sqlx::query_as("SELECT store FROM identity")).await;
        let (id,) =
            found.and_then(|found| found.ok_or(sqlx::Error::RowNotFound)).map_err(|error| {
                OpenError::Unavailable(database.unreadable("the store's id can't be read", &error))
            })?;
        Ok(Self {
            directory: directory.clone(),
            database,
            unwritten: Unwritten::of(held_file::load(directory)),
            unwritten_leases: UnwrittenLeases::default(),
            clock,
            id,
        })
    }

    /// Opens the store of a state directory if there is one. For commands that only look: they make
    /// nothing. A database that is missing or empty is an error where the rest of the directory says
    /// that there was a store.
    pub async fn open_existing(directory: StateDirectory) -> Result<Option<Self>, OpenError> {
        let path = directory.database();
        let lost = match std::fs::metadata(&path) {
            Ok(found) if found.len() > 0 => return Self::open(directory).await.map(Some),
            Ok(_) => "empty",
            Err(error) if error.kind() == io::ErrorKind::NotFound => "missing",
            Err(source) => return Err(DirectoryError::Unusable { path, source }.into()),
        };
        match directory.remains().map_err(|source| DirectoryError::Unusable { path, source })? {
            Some(remains) => Err(OpenError::Lost { path: directory.database(), lost, remains }),
            None => Ok(None),
        }
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

    /// Gives up the space that is kept for taking a release back, where the disk is full. Tells
    /// whether that made room.
    pub(crate) fn give_up_reserve(&self) -> bool {
        reserve::give_up(&self.directory).unwrap_or_else(|error| {
            tracing::warn!("the space kept for taking back can't be given up: {error}");
            false
        })
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
