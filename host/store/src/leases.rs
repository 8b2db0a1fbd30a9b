//! Giving leases: to who finds one free, waits for it, or takes it away.

use crate::database::WriteError;
use crate::faults;
use crate::file_lock::FileLock;
use crate::lease::HeldLease;
use crate::numbers::{from_sql, to_sql};
use crate::process::{self, ProcessState};
use crate::scopes;
use crate::store::EmbeddedStore;
use agente_engine::fault::{Fault, FaultKind};
use agente_engine::names::Scope;
use agente_engine::ports::{Fence, Holder, Holding, Lease, LeaseError, Leases, Liveness};
use async_trait::async_trait;
use std::time::Duration;

/// Between two tries.
const PAUSE: Duration = Duration::from_millis(20);
/// How long a lock may be held without a name beside it: somebody looks at it for a moment, or
/// writes their name right now.
const SETTLING: Duration = Duration::from_millis(500);

#[async_trait]
impl Leases for EmbeddedStore {
    async fn acquire(
        &self,
        scope: &Scope,
        holder: Holder,
        wait: Option<Duration>,
    ) -> Result<Box<dyn Lease>, LeaseError> {
        let begun = self.clock.elapsed();
        let wait = wait.unwrap_or_default();
        let mut nameless_since = None;
        loop {
            let lock = self.try_lease_lock(scope)?;
            let holding =
                self.read_holding(scope, lock.is_none()).await.map_err(LeaseError::Unavailable)?;
            // A name beside a held lock that belongs to a dead process is the last holder's: the
            // new one has yet to write theirs.
            let named = holding.filter(|holding| {
                lock.is_some() || process::state_of(&holding.holder) != ProcessState::Gone
            });
            match (lock, named) {
                // Not seen from here, but alive elsewhere.
                (Some(_), Some(holding)) if holding.liveness != Liveness::Gone => {
                    if self.since(begun) >= wait {
                        return Err(LeaseError::Held(Box::new(holding)));
                    }
                }
                (Some(lock), _) => return self.seize(scope, &holder, lock).await,
                // Tried twice at least: somebody may have looked at the lock just then.
                (None, Some(holding)) => {
                    if self.since(begun) >= wait.max(PAUSE) {
                        return Err(LeaseError::Held(Box::new(holding)));
                    }
                }
                (None, None) => {
                    let since = *nameless_since.get_or_insert_with(|| self.clock.elapsed());
                    if self.since(begun) >= wait && self.since(since) >= SETTLING {
                        return Err(self.nameless(scope));
                    }
                }
            }
            self.clock.sleep(PAUSE).await;
        }
    }

    async fn take_over(
        &self,
        scope: &Scope,
        holder: Holder,
        wait: Duration,
    ) -> Result<Box<dyn Lease>, LeaseError> {
        if let Some(lock) = self.try_lease_lock(scope)? {
            return self.seize(scope, &holder, lock).await;
        }
        // Before anything is written: a process that was stopped in the middle of a write keeps
        // everybody else from writing.
        let old = self.read_holding(scope, true).await.map_err(LeaseError::Unavailable)?;
        let killed = old.as_ref().is_some_and(|old| process::kill_stopped(&old.holder));
        match self.revoke(scope, old.as_ref().map(|old| old.fence)).await {
            // Who is dead needs no higher fence.
            Err(error) if killed && is_full(&error) => {}
            Err(error) => {
                let attempted = format!("the lease of {scope} was not taken over");
                return Err(LeaseError::Unavailable(self.database.unwritable(&attempted, error)));
            }
            Ok(()) => {}
        }
        let begun = self.clock.elapsed();
        loop {
            if let Some(lock) = self.try_lease_lock(scope)? {
                return self.seize(scope, &holder, lock).await;
            }
            if self.since(begun) >= wait {
                let now = self.read_holding(scope, true).await.map_err(LeaseError::Unavailable)?;
                return Err(match (old, now) {
                    // Somebody else took over at the same time, and was quicker.
                    (Some(old), Some(now)) if is_later(&now, &old) => {
                        LeaseError::Held(Box::new(now))
                    }
                    (Some(old), _) => {
                        LeaseError::StillRuns { holding: Box::new(old), waited: wait }
                    }
                    (None, _) => self.nameless(scope),
                });
            }
            self.clock.sleep(PAUSE).await;
        }
    }

    async fn holding(&self, scope: &Scope) -> Result<Option<Holding>, Fault> {
        let locked = self.lease_is_locked(scope)?;
        self.read_holding(scope, locked).await
    }
}

/// Whether a lease is not the one any more that was passed over: its holder has it under a token
/// that was taken, not only raised.
fn is_later(now: &Holding, old: &Holding) -> bool {
    now.fence > old.fence && (&now.holder, now.acquired) != (&old.holder, old.acquired)
}

impl EmbeddedStore {
    /// The time since a moment.
    fn since(&self, moment: Duration) -> Duration {
        self.clock.elapsed().saturating_sub(moment)
    }

    /// Takes the lock of a lease if nobody holds it.
    fn try_lease_lock(&self, scope: &Scope) -> Result<Option<FileLock>, LeaseError> {
        let tried = FileLock::try_take(&self.lease_lock(scope), self.access());
        tried.map_err(|error| {
            LeaseError::Unavailable(faults::lock(
                &format!("the lease of {scope} can't be taken"),
                &error,
            ))
        })
    }

    fn nameless(&self, scope: &Scope) -> LeaseError {
        let path = self.lease_lock(scope);
        let message = format!(
            "the lease of {scope} is locked by an unidentified process: `{}`",
            path.display()
        );
        LeaseError::Unavailable(
            Fault::new(FaultKind::LeaseLost, message)
                .hint(format!("find it with `fuser {}`", path.display()))
                .retryable(),
        )
    }

    /// Writes the holder down with the next fence. The caller has the lock.
    async fn seize(
        &self,
        scope: &Scope,
        holder: &Holder,
        lock: FileLock,
    ) -> Result<Box<dyn Lease>, LeaseError> {
        let unavailable = |error| {
            LeaseError::Unavailable(
                self.database.unwritable(&format!("the lease of {scope} was not taken"), error),
            )
        };
        let holder = serde_json::to_string(holder).map_err(|error| {
            let fault =
                Fault::new(FaultKind::Internal, "the holder of a lease can't be written as JSON")
                    .because(&error);
            LeaseError::Unavailable(fault)
        })?;
        let (of_scope, name) = (scope.clone(), holder.clone());
        let (now, taken) = (to_sql(self.clock.now().0), self.clock.elapsed());
        let written = self.database.write(move |connection| {
            Box::pin(async move {
                let row = scopes::ensure(connection, &of_scope).await?;
                let (fence,): (i64,) = sqlx::query_as(
                    "INSERT INTO lease (scope, fence, holder, acquired, heartbeat) VALUES (?1, 1, \
                     ?2, ?3, ?3)
                     ON CONFLICT DO UPDATE SET fence = fence + 1, holder = ?2, acquired = ?3, \
                     heartbeat = ?3, released = NULL RETURNING fence",
                )
                .bind(row)
                .bind(&name)
                .bind(now)
                .fetch_one(connection)
                .await?;
                Ok((row, Fence(from_sql(fence))))
            })
        });
        let written = match written.await {
            Err(error) if is_full(&error) => self.hold_unwritten(scope, holder).await.ok_or(error),
            written => written,
        };
        let (row, fence) = written.map_err(unavailable)?;
        Ok(Box::new(HeldLease::begin(self, scope, row, fence, taken, lock)))
    }

    /// Holds a lease by its lock alone, where it was held before. The caller has the lock.
    async fn hold_unwritten(&self, scope: &Scope, holder: String) -> Option<(i64, Fence)> {
        let row: Option<(i64, i64)> = self
            .database
            .fetch_optional(
                sqlx::query_as(
                    "SELECT scope, fence FROM lease JOIN scope ON scope.id = lease.scope WHERE \
                     service = ? AND environment = ?",
                )
                .bind(scope.service.as_str())
                .bind(scope.environment.as_str()),
            )
            .await
            .ok()?;
        let (row, over) = row?;
        let (over, now) = (Fence(from_sql(over)), to_sql(self.clock.now().0));
        Some((row, self.unwritten_leases.keep(row, over, holder, now)))
    }

    /// Raises the fence above the holder's and leaves their name; not above that of whoever was
    /// quicker to take over from the holder of fence `seen`.
    pub(crate) async fn revoke(
        &self,
        scope: &Scope,
        seen: Option<Fence>,
    ) -> Result<(), WriteError> {
        let (of_scope, seen) = (scope.clone(), seen.map(|fence| to_sql(fence.0)));
        let written = self.database.write(move |connection| {
            Box::pin(async move {
                let row = scopes::ensure(connection, &of_scope).await?;
                let raise = "UPDATE lease SET fence = fence + 1 WHERE scope = ?1 AND (?2 IS NULL OR \
                             fence = ?2)";
                sqlx::query(raise)
                    .bind(row)
                    .bind(seen)
                    .execute(connection)
                    .await?;
                Ok(())
            })
        });
        written.await
    }
}

fn is_full(error: &WriteError) -> bool {
    matches!(error, WriteError::Sql(error) if faults::is_full(error))
}
