//! The tables, in one place, and how a file comes to have them.
//!
//! A file of version `n` gets the texts from the `n`-th on, in one transaction. A published text
//! never changes; a new version is a new text.

use crate::clock;
use crate::numbers::to_sql;
use sqlx::{Connection, SqliteConnection};

/// Marks a `SQLite` file as ours: `agnt`.
pub(crate) const APPLICATION_ID: i32 = 0x6167_6e74;

/// One text per version, oldest first.
const VERSIONS: [&str; 3] = [VERSION_1, VERSION_2, VERSION_3];

const VERSION_1: &str = "
CREATE TABLE identity (
    only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
    store TEXT NOT NULL,
    created INTEGER NOT NULL
) STRICT;

-- A service in an environment, the state that follows from its journal, and the end of its chain.
CREATE TABLE scope (
    id INTEGER PRIMARY KEY,
    service TEXT NOT NULL,
    environment TEXT NOT NULL,
    state TEXT,
    head_position INTEGER NOT NULL DEFAULT 0,
    head_hash BLOB NOT NULL DEFAULT (zeroblob(32)),
    UNIQUE (service, environment)
) STRICT;

CREATE TABLE release (
    scope INTEGER NOT NULL REFERENCES scope (id),
    number INTEGER NOT NULL,
    artifact_digest TEXT,
    body TEXT NOT NULL,
    created INTEGER NOT NULL,
    PRIMARY KEY (scope, number)
) STRICT, WITHOUT ROWID;

-- One row per deployment, folded from its entries, for `history`.
CREATE TABLE deployment (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    scope INTEGER NOT NULL REFERENCES scope (id),
    kind TEXT NOT NULL,
    release INTEGER NOT NULL,
    artifact TEXT NOT NULL,
    by TEXT NOT NULL,
    opened INTEGER NOT NULL,
    closed INTEGER,
    outcome TEXT
) STRICT;
CREATE UNIQUE INDEX one_open_deployment ON deployment (scope) WHERE closed IS NULL;
CREATE INDEX deployments_of_scope ON deployment (scope, number);

-- The journal.
CREATE TABLE entry (
    id INTEGER PRIMARY KEY,
    scope INTEGER NOT NULL REFERENCES scope (id),
    position INTEGER NOT NULL,
    deployment TEXT NOT NULL REFERENCES deployment (id),
    sequence INTEGER NOT NULL,
    at INTEGER NOT NULL,
    fence INTEGER NOT NULL,
    event TEXT NOT NULL,
    state_digest BLOB NOT NULL,
    previous_hash BLOB NOT NULL,
    hash BLOB NOT NULL,
    UNIQUE (scope, position),
    UNIQUE (deployment, sequence)
) STRICT;
CREATE TRIGGER entry_is_never_changed BEFORE UPDATE ON entry BEGIN
    SELECT RAISE(ABORT, 'entries of the journal are never changed');
END;
CREATE TRIGGER entry_is_never_removed BEFORE DELETE ON entry BEGIN
    SELECT RAISE(ABORT, 'entries of the journal are never removed');
END;

-- Who may append to a scope. The row outlives its holders, because the fence must grow for ever.
CREATE TABLE lease (
    scope INTEGER PRIMARY KEY REFERENCES scope (id),
    fence INTEGER NOT NULL,
    holder TEXT NOT NULL,
    acquired INTEGER NOT NULL,
    heartbeat INTEGER NOT NULL,
    released INTEGER
) STRICT;

CREATE TABLE decision (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    deployment TEXT NOT NULL REFERENCES deployment (id),
    decision TEXT NOT NULL,
    by TEXT NOT NULL,
    reason TEXT,
    at INTEGER NOT NULL
) STRICT;
CREATE INDEX decisions_of_deployment ON decision (deployment, id);

CREATE TABLE memory (
    plugin TEXT NOT NULL,
    scope INTEGER NOT NULL REFERENCES scope (id),
    key TEXT NOT NULL,
    value BLOB NOT NULL,
    PRIMARY KEY (plugin, scope, key)
) STRICT, WITHOUT ROWID;
";

const VERSION_2: &str = "
-- What a run of a deployment counted beside the journal. One row per holder of the lease, \
                         replaced as it counts on.
CREATE TABLE run (
    deployment TEXT NOT NULL REFERENCES deployment (id),
    fence INTEGER NOT NULL,
    figures TEXT NOT NULL,
    written INTEGER NOT NULL,
    PRIMARY KEY (deployment, fence)
) STRICT, WITHOUT ROWID;
";

const VERSION_3: &str = "
-- What plugins did on behalf of a deployment.
CREATE TABLE effect (
    id INTEGER PRIMARY KEY,
    deployment TEXT NOT NULL REFERENCES deployment (id),
    body TEXT NOT NULL
) STRICT;
CREATE INDEX effects_of_deployment ON effect (deployment, id);

-- How many effects of a deployment could not be kept.
CREATE TABLE lost_effects (
    deployment TEXT PRIMARY KEY REFERENCES deployment (id),
    count INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
";

/// The version that this host writes.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    reason = "the number of texts above"
)]
pub(crate) const VERSION: i32 = VERSIONS.len() as i32;

/// What a file is to us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    /// It has our tables, all of them.
    Current,
    /// It is empty, or has an older version of our tables.
    Behind(i32),
    /// A newer host has written it.
    Newer(i32),
    /// Another program has written it.
    Foreign,
}

/// Looks at a file. Changes nothing.
pub(crate) async fn look(connection: &mut SqliteConnection) -> Result<Found, sqlx::Error> {
    let (version,): (i32,) =
        sqlx::query_as("PRAGMA user_version").fetch_one(&mut *connection).await?;
    let (application,): (i32,) =
        sqlx::query_as("PRAGMA application_id").fetch_one(&mut *connection).await?;
    if application != APPLICATION_ID {
        let (tables,): (i64,) = sqlx::query_as("SELECT count(*) FROM sqlite_schema")
            .fetch_one(&mut *connection)
            .await?;
        return Ok(if tables == 0 && version == 0 && application == 0 {
            Found::Behind(0)
        } else {
            Found::Foreign
        });
    }
    Ok(match version.cmp(&VERSION) {
        std::cmp::Ordering::Less => Found::Behind(version.max(0)),
        std::cmp::Ordering::Equal => Found::Current,
        std::cmp::Ordering::Greater => Found::Newer(version),
    })
}

/// Brings a file from version `from` to ours. The caller keeps other processes from doing the same.
pub(crate) async fn bring_up(
    connection: &mut SqliteConnection,
    from: i32,
) -> Result<(), sqlx::Error> {
    // Stays with the file. Outside the transaction, which can't change it.
    sqlx::raw_sql("PRAGMA journal_mode = WAL").execute(&mut *connection).await?;
    let mut transaction = connection.begin_with("BEGIN EXCLUSIVE").await?;
    for text in VERSIONS.into_iter().skip(usize::try_from(from).unwrap_or(0)) {
        sqlx::raw_sql(text).execute(&mut *transaction).await?;
    }
    if from == 0 {
        let store = hex::encode(rand::random::<[u8; 16]>());
        let created = to_sql(clock::now().0);
        sqlx::query("INSERT INTO identity (only_row, store, created) VALUES (1, ?, ?)")
            .bind(store)
            .bind(created)
            .execute(&mut *transaction)
            .await?;
    }
    let marks =
        format!("PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {VERSION};");
    sqlx::raw_sql(sqlx::AssertSqlSafe(marks)).execute(&mut *transaction).await?;
    transaction.commit().await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;
    use crate::store::EmbeddedStore;
    use agente_engine::ports::Store as _;
    use agente_engine::ports::{Figures, Journal};
    use sqlx::sqlite::SqliteConnectOptions;

    #[tokio::test]
    async fn a_store_of_the_first_version_is_brought_up_and_keeps_what_it_has() {
        let folder = tempfile::tempdir().unwrap();
        let store = sample::store(folder.path()).await;
        let open = sample::open_deployment(&store, "shop").await;
        let (id, entries) = (store.id().to_owned(), store.entries(&open.deployment).await.unwrap());
        store.close().await;
        // As the first version left it.
        let path = sample::directory(folder.path()).database();
        let mut connection =
            SqliteConnection::connect_with(&SqliteConnectOptions::new().filename(path))
                .await
                .unwrap();
        sqlx::raw_sql(
            "DROP TABLE run; DROP TABLE effect; DROP TABLE lost_effects; PRAGMA user_version = 1;",
        )
        .execute(&mut connection)
        .await
        .unwrap();
        connection.close().await.unwrap();

        let store = EmbeddedStore::open(sample::directory(folder.path())).await.unwrap();
        assert_eq!(store.id(), id);
        assert_eq!(store.entries(&open.deployment).await.unwrap(), entries);
        assert_eq!(store.figures(&sample::scope("shop")).await.unwrap(), []);
        let (version,): (i32,) =
            sqlx::query_as("PRAGMA user_version").fetch_one(store.database.writer()).await.unwrap();
        assert_eq!(version, VERSION);
    }
}
