//! The small memory of plugins: a few values per plugin and scope.

use crate::database::{Problem, from_sql};
use crate::store::{EmbeddedStore, ensure_scope};
use agente_engine::fault::{Fault, FaultKind};
use agente_engine::names::Scope;

/// What all keys and values of a plugin in a scope may take together: the contract's limit.
const LIMIT_BYTES: u64 = 64 * 1024;

impl EmbeddedStore {
    /// Reads a value.
    pub(crate) async fn recall(&self, plugin: &str, scope: &Scope, key: &str) -> Result<Option<Vec<u8>>, Fault> {
        let found: Result<Option<(Vec<u8>,)>, _> =
            sqlx::query_as("SELECT value FROM memory JOIN scope ON scope.id = memory.scope WHERE plugin = ? AND service = ? AND environment = ? AND key = ?")
                .bind(plugin)
                .bind(scope.service.as_str())
                .bind(scope.environment.as_str())
                .bind(key)
                .fetch_optional(self.database.readers())
                .await;
        let found = found.map_err(|error| self.database.unreadable(&format!("the memory of plugin `{plugin}` can't be read"), &error))?;
        Ok(found.map(|(value,)| value))
    }

    /// Sets or removes a value, within the limit.
    pub(crate) async fn remember(&self, plugin: &str, scope: &Scope, key: &str, value: Option<&[u8]>) -> Result<(), Fault> {
        let (of_plugin, of_scope, of_key, new) = (plugin.to_owned(), scope.clone(), key.to_owned(), value.map(<[u8]>::to_vec));
        let written = self.database.write(move |connection| {
            Box::pin(async move {
                let row = ensure_scope(connection, &of_scope).await?;
                let Some(new) = new else {
                    let remove = sqlx::query("DELETE FROM memory WHERE plugin = ? AND scope = ? AND key = ?");
                    remove.bind(&of_plugin).bind(row).bind(&of_key).execute(connection).await?;
                    return Ok(());
                };
                let others = "SELECT coalesce(sum(length(CAST(key AS BLOB)) + length(value)), 0) FROM memory WHERE plugin = ? AND scope = ? AND key <> ?";
                let (others,): (i64,) = sqlx::query_as(others).bind(&of_plugin).bind(row).bind(&of_key).fetch_one(&mut *connection).await?;
                let total = from_sql(others) + (of_key.len() + new.len()) as u64;
                if total > LIMIT_BYTES {
                    let message = format!("plugin `{of_plugin}` may not remember `{of_key}` in {of_scope}: it would take {total} of {LIMIT_BYTES} bytes");
                    return Err(Problem::Fault(Fault::new(FaultKind::Rejected, message).hint("the plugin has to remember less, or remove keys first")));
                }
                let put = "INSERT INTO memory (plugin, scope, key, value) VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET value = excluded.value";
                sqlx::query(put).bind(&of_plugin).bind(row).bind(&of_key).bind(new).execute(connection).await?;
                Ok(())
            })
        });
        written.await.map_err(|problem| self.database.unwritable(&format!("the memory of plugin `{plugin}` can't be written"), problem))
    }
}

#[cfg(test)]
mod tests {
    use crate::sample;
    use agente_engine::fault::FaultKind;
    use agente_engine::ports::PluginMemory;

    #[tokio::test]
    async fn values_are_kept_apart_by_plugin_scope_and_key_and_survive_reopening() {
        let folder = tempfile::tempdir().unwrap();
        let (shop, other) = (sample::scope("shop"), sample::scope("other"));
        let store = sample::store(folder.path()).await;
        assert_eq!(store.get("nginx-switch", &shop, "since").await.unwrap(), None);
        store.set("nginx-switch", &shop, "since", Some(b"1")).await.unwrap();
        store.set("nginx-switch", &other, "since", Some(b"2")).await.unwrap();
        store.set("alb-switch", &shop, "since", Some(b"\0\xff")).await.unwrap();
        store.set("nginx-switch", &shop, "since", Some(b"3")).await.unwrap();
        store.set("nginx-switch", &other, "since", None).await.unwrap();
        store.set("nginx-switch", &other, "never", None).await.unwrap();
        store.close().await;

        let store = sample::store(folder.path()).await;
        assert_eq!(store.get("nginx-switch", &shop, "since").await.unwrap().as_deref(), Some(b"3".as_slice()));
        assert_eq!(store.get("nginx-switch", &other, "since").await.unwrap(), None);
        assert_eq!(store.get("alb-switch", &shop, "since").await.unwrap().as_deref(), Some(b"\0\xff".as_slice()));
    }

    #[tokio::test]
    async fn a_plugin_may_remember_exactly_64_kib_per_scope() {
        let folder = tempfile::tempdir().unwrap();
        let store = sample::store(folder.path()).await;
        let (shop, other) = (sample::scope("shop"), sample::scope("other"));
        store.set("p", &shop, "a", Some(&vec![0; 40_000])).await.unwrap();
        store.set("p", &shop, "é", Some(&vec![0; 65_536 - 40_001 - 2])).await.unwrap();
        let refused = store.set("p", &shop, "c", Some(b"")).await.unwrap_err();
        assert_eq!(refused.kind, FaultKind::Rejected);
        assert!(refused.message.contains("65537 of 65536"), "{refused}");
        assert_eq!(store.get("p", &shop, "c").await.unwrap(), None);
        // A key's old value doesn't count against its new one.
        store.set("p", &shop, "a", Some(&vec![1; 40_000])).await.unwrap();
        store.set("p", &other, "a", Some(&vec![1; 40_000])).await.unwrap();
    }
}
