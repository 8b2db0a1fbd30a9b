//! Leases that were taken while the disk was full.
//!
//! Such a lease is held by its lock alone, which is enough on this machine: whoever had it before
//! has let go or is dead. The first entry that the journal takes writes it down, with its fence and
//! in the same transaction. Until then nothing is written under it at all.
//!
//! Its fence is two above the last one that was written: whoever takes it over meanwhile raises
//! that one by one, and this lease can't be written any more.

use crate::numbers::to_sql;
use agente_engine::ports::Fence;
use sqlx::SqliteConnection;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A lease that is held and not written down.
#[derive(Debug, Clone)]
pub(crate) struct UnwrittenLease {
    pub(crate) fence: Fence,
    /// The fence that it follows.
    pub(crate) over: Fence,
    pub(crate) holder: String,
    pub(crate) acquired: i64,
}

/// Those of this process, by their scope's row.
#[derive(Debug, Clone, Default)]
pub(crate) struct UnwrittenLeases(Arc<Mutex<BTreeMap<i64, UnwrittenLease>>>);

impl UnwrittenLeases {
    fn all(&self) -> MutexGuard<'_, BTreeMap<i64, UnwrittenLease>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers a lease, above the last fence that was written.
    pub(crate) fn keep(&self, row: i64, over: Fence, holder: String, acquired: i64) -> Fence {
        let fence = Fence(over.0 + 2);
        self.all().insert(row, UnwrittenLease { fence, over, holder, acquired });
        fence
    }

    /// The lease of this fence, if it is not written down.
    pub(crate) fn of(&self, row: i64, fence: Fence) -> Option<UnwrittenLease> {
        self.all().get(&row).filter(|lease| lease.fence == fence).cloned()
    }

    /// It is written down, or given back.
    pub(crate) fn forget(&self, row: i64, fence: Fence) {
        let mut all = self.all();
        if all.get(&row).is_some_and(|lease| lease.fence == fence) {
            all.remove(&row);
        }
    }
}

impl UnwrittenLease {
    /// Writes it down, unless somebody has taken it over since.
    pub(crate) async fn write(
        self,
        connection: &mut SqliteConnection,
        row: i64,
    ) -> Result<(), sqlx::Error> {
        sqlx::query(
            "UPDATE lease SET fence = ?1, holder = ?2, acquired = ?3, heartbeat = ?3, released = \
             NULL WHERE scope = ?4 AND fence = ?5",
        )
        .bind(to_sql(self.fence.0))
        .bind(self.holder)
        .bind(self.acquired)
        .bind(row)
        .bind(to_sql(self.over.0))
        .execute(connection)
        .await?;
        Ok(())
    }
}
