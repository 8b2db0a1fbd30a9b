//! The memory of plugins, in memory.

use crate::store::MemoryStore;
use agente_engine::fault::{Fault, FaultKind};
use agente_engine::names::Scope;
use agente_engine::ports::{MEMORY_BYTES, Memory};
use async_trait::async_trait;

#[async_trait]
impl Memory for MemoryStore {
    async fn get(&self, plugin: &str, scope: &Scope, key: &str) -> Result<Option<Vec<u8>>, Fault> {
        let place = (plugin.to_owned(), scope.clone(), key.to_owned());
        Ok(self.usable()?.memory.get(&place).cloned())
    }

    async fn set(
        &self,
        plugin: &str,
        scope: &Scope,
        key: &str,
        value: Option<&[u8]>,
    ) -> Result<(), Fault> {
        let place = (plugin.to_owned(), scope.clone(), key.to_owned());
        let mut kept = self.usable()?;
        let Some(value) = value else {
            kept.memory.remove(&place);
            return Ok(());
        };
        let others = kept
            .memory
            .iter()
            .filter(|(other, _)| other.0 == place.0 && other.1 == place.1 && other.2 != place.2);
        let others: usize = others.map(|(other, value)| other.2.len() + value.len()).sum();
        let total = others + key.len() + value.len();
        if total as u64 > MEMORY_BYTES {
            let message = format!(
                "plugin `{plugin}` can't store `{key}` in {scope}: its memory would take {total} \
                of {MEMORY_BYTES} bytes"
            );
            return Err(Fault::new(FaultKind::Rejected, message));
        }
        kept.memory.insert(place, value.to_vec());
        Ok(())
    }
}
