//! The `SQLite` file: how it is opened, and how it is written to.
//!
//! One connection of a process writes and takes its turns in order; a few read beside it. A write
//! is one transaction on its own task: once it has its turn it ends whole, even if the caller stops
//! waiting. Each commit is synced to the disk before it counts (write-ahead log, `synchronous =
//! FULL`).

use crate::directory::{Access, DirectoryError, StateDirectory};
use crate::faults;
use crate::file_lock::{FileLock, LockKind};
use crate::patience;
use crate::schema::{self, Found};
use agente_engine::fault::{Fault, FaultKind};
use futures_util::poll;
use sqlx::pool::PoolOptions;
use sqlx::query::QueryAs;
use sqlx::sqlite::{
    SqliteArguments, SqliteConnectOptions, SqliteLockingMode, SqlitePool, SqliteRow,
    SqliteSynchronous,
};
use sqlx::{Connection, Execute as _, FromRow, SqlStr, Sqlite, SqliteConnection};
use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinError;

/// Readers are short; more of them would only wait for the disk.
const READERS: u32 = 4;

/// Why the store can't be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The folder is not usable.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// A newer host has written it.
    #[error("`{}` was written by a newer agente-host (schema {found}; this one knows up to {known})", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: i32,
        /// Ours.
        known: i32,
    },
    /// Another program has written it.
    #[error("`{}` is not an agente-host store", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// It is gone, and what is left of the directory says that it was there.
    #[error("the database `{}` is {lost}, and `{}` is still there", path.display(), remains.display())]
    Lost {
        /// The file.
        path: PathBuf,
        /// `missing` or `empty`.
        lost: &'static str,
        /// What is left.
        remains: PathBuf,
    },
    /// It can't be read or prepared.
    #[error("{0}")]
    Unavailable(Fault),
}

impl From<OpenError> for Fault {
    fn from(error: OpenError) -> Fault {
        let message = error.to_string();
        match error {
            OpenError::Directory(error) => {
                let mut fault = Fault::new(FaultKind::InvalidConfig, message).hint(error.hint());
                if let Some(source) = std::error::Error::source(&error) {
                    fault = fault.because(source);
                }
                fault
            }
            OpenError::Newer { .. } => Fault::new(FaultKind::Unsupported, message)
                .hint("use the newer agente-host; nothing was changed"),
            OpenError::Foreign { path } => Fault::new(FaultKind::Conflict, message).hint(format!(
                "use another state directory, or move `{}` away; nothing was changed",
                path.display()
            )),
            OpenError::Lost { path, .. } => {
                Fault::new(FaultKind::JournalUnavailable, message).hint(faults::restore(&path))
            }
            OpenError::Unavailable(fault) => fault,
        }
    }
}

/// Where the index of the log is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Index {
    /// In a file that all connections of all processes share.
    Shared,
    /// In the memory of one connection that has the database to itself: it needs no byte on the
    /// disk.
    OfOneConnection,
}

/// The connections to the file.
#[derive(Debug, Clone)]
pub(crate) struct Database {
    path: PathBuf,
    writer: SqlitePool,
    /// Whose turn it is to write: the writer has one connection.
    turns: Arc<Semaphore>,
    readers: SqlitePool,
}

/// What a write does within its transaction.
pub(crate) type Work<'c, T, E> = Pin<Box<dyn Future<Output = Result<T, E>> + Send + 'c>>;

impl Database {
    /// Opens the file, making it or bringing it up to our version first.
    pub(crate) async fn open(directory: &StateDirectory, index: Index) -> Result<Self, OpenError> {
        directory.create()?;
        let path = directory.database();
        let unusable =
            |source| OpenError::Directory(DirectoryError::Unusable { path: path.clone(), source });
        let access = directory.access().map_err(unusable)?;
        // Made here and not by SQLite, because its companion files take their mode from it.
        access.make_file(&path).map_err(unusable)?;

        let options = SqliteConnectOptions::new()
            .filename(&path)
            .create_if_missing(false)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(patience::BUSY)
            .foreign_keys(true)
            .pragma("trusted_schema", "OFF");
        let alone = index == Index::OfOneConnection;
        let options =
            if alone { options.locking_mode(SqliteLockingMode::Exclusive) } else { options };
        prepare(directory, &options, &path, access).await?;

        let pool = |count| {
            PoolOptions::<Sqlite>::new()
                .max_connections(count)
                .acquire_timeout(patience::TURN)
                .idle_timeout(None)
                .max_lifetime(None)
        };
        let writer = pool(1).connect_lazy_with(options.clone());
        let readers = if alone {
            writer.clone()
        } else {
            pool(READERS).connect_lazy_with(options.pragma("query_only", "ON"))
        };
        Ok(Self { path, writer, turns: Arc::new(Semaphore::new(1)), readers })
    }

    /// The file, for tests that open it by themselves.
    #[cfg(test)]
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The rows that a question is answered with. The answer is fetched beside the caller: one that
    /// looks away in the middle keeps no connection from others.
    pub(crate) async fn fetch_all<O>(
        &self,
        question: QueryAs<'_, Sqlite, O, SqliteArguments>,
    ) -> Result<Vec<O>, sqlx::Error>
    where
        O: for<'r> FromRow<'r, SqliteRow> + Send + Unpin + 'static,
    {
        let (text, arguments) = apart(question)?;
        self.read(move |readers| async move {
            sqlx::query_as_with(text, arguments).fetch_all(&readers).await
        })
        .await
    }

    /// The only row of an answer, if there is one; fetched beside the caller too.
    pub(crate) async fn fetch_optional<O>(
        &self,
        question: QueryAs<'_, Sqlite, O, SqliteArguments>,
    ) -> Result<Option<O>, sqlx::Error>
    where
        O: for<'r> FromRow<'r, SqliteRow> + Send + Unpin + 'static,
    {
        let (text, arguments) = apart(question)?;
        self.read(move |readers| async move {
            sqlx::query_as_with(text, arguments).fetch_optional(&readers).await
        })
        .await
    }

    /// Reads beside the caller.
    pub(crate) async fn read<T, F>(
        &self,
        work: impl FnOnce(SqlitePool) -> F,
    ) -> Result<T, sqlx::Error>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, sqlx::Error>> + Send + 'static,
    {
        ended(tokio::spawn(work(self.readers.clone())).await)
    }

    /// The connection for writing, for tests that put it under stress.
    #[cfg(test)]
    pub(crate) fn writer(&self) -> &SqlitePool {
        &self.writer
    }

    /// All connections for reading: while somebody has them every other read hangs.
    #[cfg(test)]
    pub(crate) async fn take_all_readers(&self) -> Vec<sqlx::pool::PoolConnection<Sqlite>> {
        let mut all = Vec::new();
        for _ in 0..READERS {
            all.push(self.readers.acquire().await.unwrap());
        }
        all
    }

    /// Does some work in one transaction that nobody else writes beside; undone if the work fails.
    ///
    /// Calls have their turns in the order in which they were made. One whose caller stops waiting
    /// is given up before its turn and ends whole after it. Turn and work are awaited beside the
    /// caller: one that looks away in the middle (a plugin's call while its host writes an entry)
    /// keeps no turn from others.
    pub(crate) async fn write<T, E>(
        &self,
        work: impl for<'c> FnOnce(&'c mut SqliteConnection) -> Work<'c, T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<sqlx::Error> + Send + 'static,
    {
        let mut turn = Box::pin(Arc::clone(&self.turns).acquire_owned());
        // In line from here on, whoever asks for it next.
        let at_once = poll!(&mut turn);
        let (_waits, gone) = oneshot::channel::<Infallible>();
        let writer = self.writer.clone();
        ended(
            tokio::spawn(async move {
                let _turn = match at_once {
                    Poll::Ready(turn) => turn,
                    Poll::Pending => tokio::select! {
                        biased;
                        turn = turn => turn,
                        _ = gone => return Err(sqlx::Error::WorkerCrashed.into()),
                        () = tokio::time::sleep(patience::TURN) => {
                            return Err(sqlx::Error::PoolTimedOut.into());
                        }
                    },
                };
                let mut connection = writer.acquire().await?;
                let (result, reusable) = transact(&mut connection, work).await;
                if !reusable {
                    // A new one takes its place at the next write; this one has nothing left to
                    // say.
                    let _ = connection.close().await;
                }
                result
            })
            .await,
        )
    }

    /// Says in words why a read failed.
    pub(crate) fn unreadable(&self, attempted: &str, error: &sqlx::Error) -> Fault {
        faults::sql(FaultKind::Unavailable, attempted, &self.path, error)
    }

    /// Says in words why a write failed.
    pub(crate) fn unwritable(&self, attempted: &str, error: WriteError) -> Fault {
        match error {
            WriteError::Fault(fault) => fault,
            WriteError::Sql(error) => {
                faults::sql(FaultKind::JournalUnavailable, attempted, &self.path, &error)
            }
        }
    }

    /// Closes all connections; the log is folded into the file by the last one.
    pub(crate) async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }
}

/// A question's text and what it asks about, without the caller's borrows.
fn apart<O>(
    mut question: QueryAs<'_, Sqlite, O, SqliteArguments>,
) -> Result<(SqlStr, SqliteArguments), sqlx::Error>
where
    O: for<'r> FromRow<'r, SqliteRow> + Send + Unpin,
{
    let arguments = question.take_arguments().map_err(sqlx::Error::Encode)?;
    Ok((question.sql(), arguments.unwrap_or_default()))
}

/// What a task of ours came to.
fn ended<T, E: From<sqlx::Error>>(task: Result<Result<T, E>, JoinError>) -> Result<T, E> {
    match task {
        Ok(result) => result,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => Err(sqlx::Error::WorkerCrashed.into()),
        },
    }
}

/// Does some work in one transaction. Tells, too, whether the connection can be used again.
///
/// On a full disk and on an error of the disk `SQLite` ends the transaction by itself. The client
/// library does not notice, and would refuse every later transaction of the connection.
async fn transact<T, E>(
    connection: &mut SqliteConnection,
    work: impl for<'c> FnOnce(&'c mut SqliteConnection) -> Work<'c, T, E>,
) -> (Result<T, E>, bool)
where
    E: From<sqlx::Error>,
{
    let mut transaction = match connection.begin_with("BEGIN IMMEDIATE").await {
        Ok(transaction) => transaction,
        Err(error) => return (Err(error.into()), false),
    };
    match work(&mut transaction).await {
        Ok(value) => match transaction.commit().await {
            Ok(()) => (Ok(value), true),
            Err(error) => (Err(error.into()), false),
        },
        Err(error) => (Err(error), transaction.rollback().await.is_ok()),
    }
}

/// Why a write failed.
#[derive(Debug)]
pub(crate) enum WriteError {
    /// `SQLite` said no.
    Sql(sqlx::Error),
    /// We did.
    Fault(Fault),
}

impl From<sqlx::Error> for WriteError {
    fn from(error: sqlx::Error) -> Self {
        Self::Sql(error)
    }
}

impl From<Fault> for WriteError {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

/// Makes sure that the file has our tables. Those who look do so together, who makes them is alone:
/// a half-made file is never looked at.
async fn prepare(
    directory: &StateDirectory,
    options: &SqliteConnectOptions,
    path: &Path,
    access: Access,
) -> Result<(), OpenError> {
    let turn = async |kind| {
        let file = directory.locks().join("schema.lock");
        FileLock::take(&file, access, kind, patience::TURN).await.map_err(|error| {
            OpenError::Unavailable(faults::lock("the store can't be opened", &error))
        })
    };
    let looking = turn(LockKind::Shared).await?;
    if judge(bring(options, path, false).await?, path)? {
        return Ok(());
    }
    drop(looking);
    let _making = turn(LockKind::Exclusive).await?;
    judge(bring(options, path, true).await?, path).map(|_| ())
}

/// Looks at the file, and makes what is missing if that is allowed.
async fn bring(
    options: &SqliteConnectOptions,
    path: &Path,
    make: bool,
) -> Result<Found, OpenError> {
    let result = async {
        let mut connection = SqliteConnection::connect_with(options).await?;
        let mut found = schema::look(&mut connection).await?;
        if let Found::Behind(from) = found
            && make
        {
            schema::bring_up(&mut connection, from).await?;
            found = Found::Current;
        }
        connection.close().await?;
        Ok(found)
    };
    result.await.map_err(|error| {
        OpenError::Unavailable(faults::sql(
            FaultKind::Unavailable,
            "the store can't be opened",
            path,
            &error,
        ))
    })
}

/// Whether the file is ready; an error where it is not ours to use.
fn judge(found: Found, path: &Path) -> Result<bool, OpenError> {
    match found {
        Found::Current => Ok(true),
        Found::Behind(_) => Ok(false),
        Found::Newer(found) => {
            Err(OpenError::Newer { path: path.to_owned(), found, known: schema::VERSION })
        }
        Found::Foreign => Err(OpenError::Foreign { path: path.to_owned() }),
    }
}

#[cfg(test)]
mod tests;
