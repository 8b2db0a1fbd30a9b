//! The small memory of a plugin, kept by the store.

use super::live::Live;
use crate::answer::{Answer, EffectError};
use crate::blob::Blob;
use agente_engine::fault::FaultKind;
use std::sync::Arc;

/// The longest key of a plugin's memory.
const MAX_KEY_BYTES: usize = 256;

fn check_key(key: &str) -> Result<(), EffectError> {
    if key.is_empty() || key.len() > MAX_KEY_BYTES {
        return Err(EffectError::new(
            FaultKind::InvalidConfig,
            format!("a memory key must have 1 to {MAX_KEY_BYTES} bytes"),
        ));
    }
    Ok(())
}

pub(super) async fn get(live: &Live, key: &str) -> Result<Answer, EffectError> {
    check_key(key)?;
    let household = &live.household;
    let _turn = household.memory_turn.lock().await;
    let value =
        household.ports.memory.get(household.plugin.as_str(), &household.scope, key).await?;
    Ok(Answer::Bytes(value.map(Blob)))
}

pub(super) async fn set(
    live: &Live,
    key: &str,
    value: Option<&Blob>,
) -> Result<Answer, EffectError> {
    check_key(key)?;
    let household = &live.household;
    let turn = Arc::clone(&household.memory_turn).lock_owned().await;
    // Nobody may have waited for the turn.
    live.wanted.commit(|| Ok(()))?;
    let value = value.map(|value| value.0.as_slice());
    let plugin = household.plugin.as_str();
    household.ports.memory.set(plugin, &household.scope, key, value).await?;
    drop(turn);
    Ok(Answer::Done)
}
