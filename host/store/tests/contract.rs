//! The contract of stores, kept by the embedded one.
#![allow(clippy::unwrap_used, reason = "it is all tests")]

use agente_engine::ports::Holder;
use agente_store::{EmbeddedStore, StateDirectory, StateInputs, this_process};
use agente_store_contract::{HandClock, Stores};
use async_trait::async_trait;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection};
use std::process::ExitCode;
use std::sync::Arc;

struct InFolder {
    folder: tempfile::TempDir,
    clock: Arc<HandClock>,
}

impl InFolder {
    fn directory(&self) -> StateDirectory {
        let explicit = Some(self.folder.path().to_owned());
        let inputs = StateInputs { explicit, machine_locks: None, ..StateInputs::default() };
        StateDirectory::resolve(&inputs).unwrap()
    }

    /// Renames each table whose name begins with a prefix: without the names that it knows a store
    /// can neither read nor write.
    async fn rename_tables(&self, from: &str, to: &str) {
        let options = SqliteConnectOptions::new().filename(self.directory().database());
        let mut connection = options.connect().await.unwrap();
        let tables: Vec<(String,)> = sqlx::query_as(
            "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'",
        )
        .fetch_all(&mut connection)
        .await
        .unwrap();
        let mut all = connection.begin_with("BEGIN IMMEDIATE").await.unwrap();
        for (name,) in tables {
            let new = format!("{to}{}", name.strip_prefix(from).unwrap());
            let rename = format!("ALTER TABLE \"{name}\" RENAME TO \"{new}\"");
            sqlx::query(AssertSqlSafe(rename)).execute(&mut *all).await.unwrap();
        }
        all.commit().await.unwrap();
        connection.close().await.unwrap();
    }
}

#[async_trait]
impl Stores for InFolder {
    type Store = EmbeddedStore;

    async fn make(clock: Arc<HandClock>) -> Self {
        Self { folder: tempfile::tempdir().unwrap(), clock }
    }

    async fn open(&self) -> EmbeddedStore {
        EmbeddedStore::open_with_clock(self.directory(), self.clock.clone()).await.unwrap()
    }

    fn holder(&self) -> Holder {
        this_process("ann", "agente-host deploy")
    }

    async fn cut(&self) {
        self.rename_tables("", "cut_").await;
    }

    async fn mend(&self) {
        self.rename_tables("cut_", "").await;
    }
}

fn main() -> ExitCode {
    agente_store_contract::run_with_target_locks::<InFolder>()
}
