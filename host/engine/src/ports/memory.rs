//! The small memory of plugins.

use crate::fault::Fault;
use crate::names::Scope;
use async_trait::async_trait;

/// A few values per plugin and scope.
#[async_trait]
pub trait Memory: Send + Sync {
    /// Reads a value.
    async fn get(&self, plugin: &str, scope: &Scope, key: &str) -> Result<Option<Vec<u8>>, Fault>;

    /// Sets or removes a value; refuses beyond 64 KiB for all keys and values of a plugin in a
    /// scope. A store that can't be written stops no plugin: the value is then kept for as long as
    /// this process lives.
    async fn set(
        &self,
        plugin: &str,
        scope: &Scope,
        key: &str,
        value: Option<&[u8]>,
    ) -> Result<(), Fault>;
}
