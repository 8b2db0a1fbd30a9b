//! The small memory of plugins.

use crate::fault::Fault;
use crate::names::Scope;
use async_trait::async_trait;

/// How many bytes all keys and values of a plugin in a scope may take together: the contract's
/// limit.
pub const MEMORY_BYTES: u64 = 64 * 1024;

/// A few values per plugin and scope.
#[async_trait]
pub trait Memory: Send + Sync {
    /// Reads a value; none where it was never set, or removed.
    async fn get(&self, plugin: &str, scope: &Scope, key: &str) -> Result<Option<Vec<u8>>, Fault>;

    /// Sets or removes a value; refuses beyond [`MEMORY_BYTES`] for all keys and values of a plugin
    /// in a scope, and then leaves the old value. A store that can't be written, and can be read,
    /// stops no plugin: the value is then kept for as long as this process lives.
    async fn set(
        &self,
        plugin: &str,
        scope: &Scope,
        key: &str,
        value: Option<&[u8]>,
    ) -> Result<(), Fault>;
}
