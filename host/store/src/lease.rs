//! A lease that this process holds.
//!
//! Two things make it. A lock of the operating system on a file says that the holder lives: death
//! frees it at once, and while it is held no clock can take it away. A row says who the holder is
//! and carries the fence, which `append` compares: a holder that was passed over is refused for
//! ever. Between machines, where locks on files are not seen, a heartbeat stands in for the lock; it
//! is read by the clock on the wall, so theirs have to agree.

use crate::file_lock::FileLock;
use crate::numbers::{from_sql, to_sql};
use crate::store::EmbeddedStore;
use agente_engine::fault::{Fault, FaultKind};
use agente_engine::names::Scope;
use agente_engine::ports::{BELIEF, Fence, HEARTBEAT, Lease};
use async_trait::async_trait;
use futures_util::future::{Either, select};
use std::pin::pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::task::JoinHandle;

/// How long a look may take of a holder that comes late, when what it knows is too old to go by:
/// longer than any look takes that gets an answer at all.
const LATE_LOOK: Duration = Duration::from_secs(4);

/// The embedded store's lease.
#[derive(Debug)]
pub(crate) struct HeldLease {
    scope: Scope,
    row: i64,
    fence: Fence,
    store: EmbeddedStore,
    /// When the row last said that it is ours, by the time that passes.
    confirmed: Mutex<Duration>,
    heart: JoinHandle<()>,
    /// Freed last, so that the next holder finds the row given back.
    lock: Option<FileLock>,
}

impl HeldLease {
    /// Begins to hold what was asked for at `taken` and is ours by the row now, and starts its heart.
    pub(crate) fn begin(
        store: &EmbeddedStore,
        scope: &Scope,
        row: i64,
        fence: Fence,
        taken: Duration,
        lock: FileLock,
    ) -> Self {
        Self {
            scope: scope.clone(),
            row,
            fence,
            store: store.clone(),
            confirmed: Mutex::new(taken),
            heart: tokio::spawn(beat(store.clone(), row, fence)),
            lock: Some(lock),
        }
    }

    /// Whether the newest fence says that the lease is ours.
    fn is_ours(&self, newest: Fence) -> bool {
        if newest == self.fence {
            self.store.unwritten_leases.forget(self.row, self.fence);
        }
        let unwritten = self.store.unwritten_leases.of(self.row, self.fence);
        newest == self.fence || unwritten.is_some_and(|lease| newest == lease.over)
    }

    /// Asks the row, and says how the lease was lost; else when to ask again, by the time that
    /// passes.
    async fn look(&self) -> Result<Duration, Fault> {
        let clock = &self.store.clock;
        let asked = clock.elapsed();
        let believed_until = *self.confirmed() + BELIEF;
        let limit = match believed_until.saturating_sub(asked) {
            Duration::ZERO => LATE_LOOK,
            left => left,
        };
        let read = pin!(newest_fence(&self.store, self.row));
        let why = match select(read, clock.sleep(limit)).await {
            Either::Left((Ok(newest), _)) if newest.is_some_and(|newest| self.is_ours(newest)) => {
                let mut confirmed = self.confirmed();
                *confirmed = (*confirmed).max(asked);
                return Ok(asked + HEARTBEAT);
            }
            Either::Left((Ok(_), _)) => {
                let message = format!("another host has taken over the lease of {}", self.scope);
                return Err(Fault::new(FaultKind::LeaseLost, message));
            }
            Either::Left((Err(error), _)) => {
                self.store.database.unreadable("its row can't be read", &error)
            }
            Either::Right(_) => {
                let message = format!("its row was not read within {} s", limit.as_secs());
                Fault::new(FaultKind::Unavailable, message)
            }
        };
        // Another who asks may have been told meanwhile.
        let (now, believed_until) = (clock.elapsed(), *self.confirmed() + BELIEF);
        if now < believed_until {
            return Ok((asked + HEARTBEAT).min(believed_until));
        }
        let message = format!(
            "for {} s it has been unknown whether the lease of {} is still held: {why}",
            (now + BELIEF).saturating_sub(believed_until).as_secs(),
            self.scope
        );
        Err(Fault { kind: FaultKind::LeaseLost, message, ..why })
    }

    fn confirmed(&self) -> MutexGuard<'_, Duration> {
        self.confirmed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Lease for HeldLease {
    fn fence(&self) -> Fence {
        self.fence
    }

    fn scope(&self) -> &Scope {
        &self.scope
    }

    async fn lost(&self) -> Fault {
        let clock = &self.store.clock;
        loop {
            match self.look().await {
                // From when it was asked: the answer may have been slow.
                Ok(next) => clock.sleep(next.saturating_sub(clock.elapsed())).await,
                Err(fault) => return fault,
            }
        }
    }

    async fn release(mut self: Box<Self>) -> Result<(), Fault> {
        self.heart.abort();
        let given_back = give_back(&self.store, self.row, self.fence).await;
        self.lock = None;
        given_back.map_err(|error| {
            self.store.database.unreadable(
                &format!("the release of the lease of {} was not recorded", self.scope),
                &error,
            )
        })
    }
}

impl Drop for HeldLease {
    fn drop(&mut self) {
        self.heart.abort();
        let Some(lock) = self.lock.take() else { return };
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let (store, row, fence) = (self.store.clone(), self.row, self.fence);
        drop(lock);
        // The freed lock alone is enough; the row is for people.
        runtime.spawn(async move {
            if let Err(error) = give_back(&store, row, fence).await {
                tracing::debug!(%error, "the release of a dropped lease was not recorded");
            }
        });
    }
}

async fn newest_fence(store: &EmbeddedStore, row: i64) -> Result<Option<Fence>, sqlx::Error> {
    let newest: Option<(i64,)> = store
        .database
        .fetch_optional(sqlx::query_as("SELECT fence FROM lease WHERE scope = ?").bind(row))
        .await?;
    Ok(newest.map(|(fence,)| Fence(from_sql(fence))))
}

async fn give_back(store: &EmbeddedStore, row: i64, fence: Fence) -> Result<(), sqlx::Error> {
    let now = to_sql(store.clock.now().0);
    let work = store.database.write(move |connection| {
        Box::pin(async move {
            let give = sqlx::query("UPDATE lease SET released = ? WHERE scope = ? AND fence = ?")
                .bind(now)
                .bind(row)
                .bind(to_sql(fence.0));
            give.execute(connection).await
        })
    });
    work.await.map(|_| ())
}

/// Says again and again that the holder lives, for those who can't see its lock.
async fn beat(store: EmbeddedStore, row: i64, fence: Fence) {
    let mut told = false;
    loop {
        store.clock.sleep(HEARTBEAT).await;
        let now = to_sql(store.clock.now().0);
        let work = store.database.write(move |connection| {
            Box::pin(async move {
                let beat =
                    sqlx::query("UPDATE lease SET heartbeat = ? WHERE scope = ? AND fence = ?")
                        .bind(now)
                        .bind(row)
                        .bind(to_sql(fence.0));
                beat.execute(connection).await
            })
        });
        // The lock still says that we live; `append` says what is wrong with the disk.
        match work.await {
            Ok(_) => told = false,
            Err::<_, sqlx::Error>(error) if !std::mem::replace(&mut told, true) => {
                tracing::warn!(%error, "the lease's heartbeat was not written");
            }
            Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests;
