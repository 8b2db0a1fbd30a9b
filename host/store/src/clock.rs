//! The time on the wall, for what people read. Nothing is ordered by it: sequences, positions and
//! fences are.

use agente_engine::names::Timestamp;
use std::time::{SystemTime, UNIX_EPOCH};

/// Now; the epoch itself on a machine whose clock stands before it.
pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
