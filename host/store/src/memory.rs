//! The small memory of plugins: a few values per plugin and scope.
//!
//! Invariant: a database that can't be written stops no plugin. Routes are put back even then, and
//! a switcher remembers what it is about to do. The value is kept beside the database instead, or in
//! this process where even that is impossible, until it is written or somebody else has written
//! another.

use crate::database::WriteError;
use crate::held_file;
use crate::numbers::from_sql;
use crate::scopes;
use crate::store::EmbeddedStore;
use crate::unwritten::Held;
use agente_engine::fault::{Fault, FaultKind};
use agente_engine::names::Scope;
use agente_engine::ports::{MEMORY_BYTES, Memory};
use async_trait::async_trait;
use std::io;

#[async_trait]
impl Memory for EmbeddedStore {
    async fn get(&self, plugin: &str, scope: &Scope, key: &str) -> Result<Option<Vec<u8>>, Fault> {
        let written = self.read_value(plugin, scope, key).await?;
        Ok(self.unwritten.or(written, &(plugin.to_owned(), scope.clone(), key.to_owned())))
    }

    async fn set(
        &self,
        plugin: &str,
        scope: &Scope,
        key: &str,
        value: Option<&[u8]>,
    ) -> Result<(), Fault> {
        let place = (plugin.to_owned(), scope.clone(), key.to_owned());
        let attempted = format!("the memory of plugin `{plugin}` can't be written");
        let fault = match self.write_value(plugin, scope, key, value).await {
            Ok(()) => {
                let held = self.unwritten.all().remove(&place);
                if held.is_some() {
                    let _ = self.save_held();
                }
                return Ok(());
            }
            Err(refused @ WriteError::Fault(_)) => {
                return Err(self.database.unwritable(&attempted, refused));
            }
            Err(error @ WriteError::Sql(_)) => self.database.unwritable(&attempted, error),
        };
        let Ok(over) = self.read_value(plugin, scope, key).await else { return Err(fault) };
        match self.unwritten.keep(place, Held { value: value.map(<[u8]>::to_vec), over }) {
            None => return Err(fault),
            Some(first) => {
                if let Err(error) = self.save_held()
                    && first
                {
                    tracing::warn!("{fault}; it is kept until this process exits: {error}");
                }
            }
        }
        Ok(())
    }
}

impl EmbeddedStore {
    /// Writes the values that the file did not take before; called when it takes something again.
    /// One that somebody has written since is newer.
    pub(crate) async fn write_what_is_held(&self) {
        let held = self.unwritten.held();
        if held.is_empty() {
            return;
        }
        for (place, Held { value, over }) in held {
            let (plugin, scope, key) = &place;
            let Ok(there) = self.read_value(plugin, scope, key).await else { return };
            if there == over
                && self.write_value(plugin, scope, key, value.as_deref()).await.is_err()
            {
                return;
            }
            self.unwritten.drop_if(&place, value.as_deref());
        }
        let _ = self.save_held();
    }

    /// Writes the values that are held where they outlive this process.
    fn save_held(&self) -> io::Result<()> {
        held_file::save(&self.directory, &self.unwritten.all())
    }

    async fn read_value(
        &self,
        plugin: &str,
        scope: &Scope,
        key: &str,
    ) -> Result<Option<Vec<u8>>, Fault> {
        let found: Result<Option<(Vec<u8>,)>, _> = self.database.fetch_optional(sqlx::query_as(
            "SELECT value FROM memory JOIN scope ON scope.id = memory.scope WHERE plugin = ? AND \
             service = ? AND environment = ? AND key = ?",
        )
        .bind(plugin)
        .bind(scope.service.as_str())
        .bind(scope.environment.as_str())
        .bind(key))
        .await;
        let found = found.map_err(|error| {
            self.database
                .unreadable(&format!("the memory of plugin `{plugin}` can't be read"), &error)
        })?;
        Ok(found.map(|(value,)| value))
    }

    async fn write_value(
        &self,
        plugin: &str,
        scope: &Scope,
        key: &str,
        value: Option<&[u8]>,
    ) -> Result<(), WriteError> {
        let (of_plugin, of_scope, of_key, new) =
            (plugin.to_owned(), scope.clone(), key.to_owned(), value.map(<[u8]>::to_vec));
        let written = self.database.write(move |connection| {
            Box::pin(async move {
                let row = scopes::ensure(connection, &of_scope).await?;
                let Some(new) = new else {
                    let remove = sqlx::query(
                        "DELETE FROM memory WHERE plugin = ? AND scope = ? AND key = ?",
                    );
                    remove.bind(&of_plugin).bind(row).bind(&of_key).execute(connection).await?;
                    return Ok(());
                };
                let others = "SELECT coalesce(sum(length(CAST(key AS BLOB)) + length(value)), 0) \
                              FROM memory WHERE plugin = ? AND scope = ? AND key <> ?";
                let (others,): (i64,) = sqlx::query_as(others)
                    .bind(&of_plugin)
                    .bind(row)
                    .bind(&of_key)
                    .fetch_one(&mut *connection)
                    .await?;
                let total = from_sql(others) + (of_key.len() + new.len()) as u64;
                if total > MEMORY_BYTES {
                    let message = format!(
                        "plugin `{of_plugin}` can't store `{of_key}` in {of_scope}: its memory \
                        would take {total} of {MEMORY_BYTES} bytes"
                    );
                    return Err(WriteError::Fault(
                        Fault::new(FaultKind::Rejected, message)
                            .hint("the plugin must store less, or remove keys first"),
                    ));
                }
                let put = "INSERT INTO memory (plugin, scope, key, value) VALUES (?, ?, ?, ?) ON \
                           CONFLICT DO UPDATE SET value = excluded.value";
                sqlx::query(put)
                    .bind(&of_plugin)
                    .bind(row)
                    .bind(&of_key)
                    .bind(new)
                    .execute(connection)
                    .await?;
                Ok(())
            })
        });
        written.await
    }
}

#[cfg(test)]
mod tests {
    use crate::sample;
    use crate::store::EmbeddedStore;
    use agente_engine::fault::FaultKind;
    use agente_engine::journal::Event;
    use agente_engine::ports::Memory;
    use agente_engine::step::StepEvent;
    use sqlx::AssertSqlSafe;

    const STARTED: Event = Event::Step { step: 0, event: StepEvent::Started };

    async fn pragma(store: &EmbeddedStore, pragma: &str) {
        sqlx::raw_sql(AssertSqlSafe(format!("PRAGMA {pragma}")))
            .execute(store.database.writer())
            .await
            .unwrap();
    }

    #[tokio::test]
    async fn what_a_read_only_database_does_not_take_is_kept_by_the_process_until_it_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let (shop, other) = (sample::scope("shop"), sample::scope("other"));
        let store = sample::store(folder.path()).await;
        store.set("p", &shop, "a", Some(b"1")).await.unwrap();
        store.set("p", &shop, "b", Some(b"1")).await.unwrap();
        for (scope, key, value) in [
            (&shop, "a", Some(b"2".as_slice())),
            (&shop, "a", Some(b"3")),
            (&shop, "b", None),
            (&other, "a", Some(b"4")),
        ] {
            // Of the connection, which is replaced after it has refused.
            pragma(&store, "query_only = ON").await;
            store.set("p", scope, key, value).await.unwrap();
        }
        let clone = store.clone();
        assert_eq!(clone.get("p", &shop, "a").await.unwrap().as_deref(), Some(b"3".as_slice()));
        assert_eq!(clone.get("p", &shop, "b").await.unwrap(), None);
        assert_eq!(clone.get("p", &other, "a").await.unwrap().as_deref(), Some(b"4".as_slice()));

        // Another process has only what was written.
        let elsewhere = sample::store(folder.path()).await;
        assert_eq!(elsewhere.get("p", &shop, "a").await.unwrap().as_deref(), Some(b"1".as_slice()));
        store.set("p", &shop, "a", Some(b"5")).await.unwrap();
        assert_eq!(elsewhere.get("p", &shop, "a").await.unwrap().as_deref(), Some(b"5".as_slice()));
        assert_eq!(store.get("p", &shop, "a").await.unwrap().as_deref(), Some(b"5".as_slice()));
    }

    #[tokio::test]
    async fn what_was_not_written_outlives_the_process_beside_the_database() {
        let folder = tempfile::tempdir().unwrap();
        let shop = sample::scope("shop");
        let store = sample::store(folder.path()).await;
        // Whoever opens a deployment keeps space for it.
        let open = sample::open_deployment(&store, "shop").await;
        store.set("p", &shop, "a", Some(b"1")).await.unwrap();
        for (key, value) in [("a", b"2"), ("b", b"3")] {
            // Of the connection, which is replaced after it has refused.
            pragma(&store, "query_only = ON").await;
            store.set("p", &shop, key, Some(value)).await.unwrap();
        }
        let next = sample::store(folder.path()).await;
        assert_eq!(next.get("p", &shop, "a").await.unwrap().as_deref(), Some(b"2".as_slice()));
        assert_eq!(next.get("p", &shop, "b").await.unwrap().as_deref(), Some(b"3".as_slice()));

        // The next entry that is written takes them along, and nobody has them twice.
        open.append(&STARTED, &sample::open_state(&open.deployment)).await.unwrap();
        store.set("p", &shop, "a", Some(b"4")).await.unwrap();
        let last = sample::store(folder.path()).await;
        assert_eq!(last.get("p", &shop, "a").await.unwrap().as_deref(), Some(b"4".as_slice()));
        assert_eq!(last.get("p", &shop, "b").await.unwrap().as_deref(), Some(b"3".as_slice()));
        assert!(last.unwritten.held().is_empty());
    }

    #[tokio::test]
    async fn what_another_process_writes_counts_more_than_what_was_kept() {
        let folder = tempfile::tempdir().unwrap();
        let shop = sample::scope("shop");
        let (store, elsewhere) =
            (sample::store(folder.path()).await, sample::store(folder.path()).await);
        pragma(&store, "query_only = ON").await;
        store.set("p", &shop, "a", Some(b"kept")).await.unwrap();
        elsewhere.set("p", &shop, "a", Some(b"newer")).await.unwrap();
        assert_eq!(store.get("p", &shop, "a").await.unwrap().as_deref(), Some(b"newer".as_slice()));
    }

    #[tokio::test]
    async fn a_full_disk_takes_nothing_from_the_memory_and_its_limit_stays() {
        let folder = tempfile::tempdir().unwrap();
        let shop = sample::scope("shop");
        let store = sample::store(folder.path()).await;
        let pages: i64 = sqlx::query_scalar("PRAGMA page_count")
            .fetch_one(store.database.writer())
            .await
            .unwrap();
        pragma(&store, &format!("max_page_count = {pages}")).await;
        store.set("p", &shop, "a", Some(&vec![7; 40_000])).await.unwrap();
        assert_eq!(store.get("p", &shop, "a").await.unwrap().unwrap().len(), 40_000);
        pragma(&store, "query_only = ON").await;
        let fault = store.set("p", &shop, "b", Some(&vec![7; 40_000])).await.unwrap_err();
        assert_eq!(fault.kind, FaultKind::JournalUnavailable);
        assert_eq!(store.get("p", &shop, "b").await.unwrap(), None);
    }
}
