//! The lease: who may change a service, with a fencing token that grows with each holder.
//!
//! Two things make it. A lock of the operating system on a file says that the holder lives: death
//! frees it at once, and while it is held no clock can take it away. A row says who the holder is
//! and carries the fence, which `append` compares: a holder that was passed over is refused for
//! ever. Between machines, where locks on files are not seen, a heartbeat stands in for the lock.

mod wait;

use crate::clock;
use crate::database::{from_sql, to_sql};
use crate::faults;
use crate::file_lock::FileLock;
use crate::holder::Holder;
use crate::store::{EmbeddedStore, ensure_scope};
use agente_engine::fault::{Fault, FaultKind};
use agente_engine::names::{DeploymentId, Scope, Timestamp};
use agente_engine::ports::Fence;
use serde::Serialize;
use std::path::PathBuf;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// How often a holder says that it lives.
const HEARTBEAT: Duration = Duration::from_secs(2);
/// How old a sign of life may be: several heartbeats, and longer than a write may wait for the
/// disk.
const SILENCE: Duration = Duration::from_secs(15);

/// Whether a holder lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Liveness {
    /// It holds the lock and gives signs of life.
    Alive,
    /// It holds the lock and has given no sign of life for a while: stopped, or hanging.
    Silent,
    /// It doesn't hold the lock: it has died. Whoever wants the lease gets it.
    Gone,
}

/// A lease that somebody has, or had when they died.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Holding {
    pub scope: Scope,
    pub holder: Holder,
    /// Their token.
    pub fence: Fence,
    pub acquired: Timestamp,
    /// Their last sign of life.
    pub heartbeat: Timestamp,
    /// The deployment of the scope that has not ended, if there is one.
    pub deployment: Option<DeploymentId>,
    /// Whether they live.
    pub liveness: Liveness,
}

impl std::fmt::Display for Holding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let now = clock::now();
        write!(f, "{} for {} s", self.holder, now.since(self.acquired).as_secs())?;
        if let Some(deployment) = &self.deployment {
            write!(f, ", deployment `{deployment}`")?;
        }
        match self.liveness {
            Liveness::Alive => Ok(()),
            Liveness::Silent => {
                write!(f, "; no sign of life for {} s", now.since(self.heartbeat).as_secs())
            }
            Liveness::Gone => write!(f, "; it has died"),
        }
    }
}

/// Why a lease was not given.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    /// Somebody else has it.
    #[error("the lease of {} is held by {}", .0.scope, .0)]
    Held(Box<Holding>),
    /// Somebody has locked its file without saying who they are.
    #[error("the lease of {scope} is locked by a process that has not said who it is: `{}`", path.display())]
    Occupied {
        scope: Scope,
        /// The lock file.
        path: PathBuf,
    },
    /// The owner was passed over, but it lives and has not let go.
    #[error("the lease of {} was taken away from {}, which still runs after {} s", .holding.scope, .holding, .waited.as_secs())]
    StillRuns {
        holding: Box<Holding>,
        /// How long it was waited for.
        waited: Duration,
    },
    /// The store can't be used.
    #[error("{0}")]
    Unavailable(Fault),
}

impl From<LeaseError> for Fault {
    fn from(error: LeaseError) -> Fault {
        let message = error.to_string();
        match error {
            LeaseError::Held(holding) => {
                let hint = match holding.liveness {
                    Liveness::Alive | Liveness::Gone => {
                        "wait with `--lock-wait`, watch with `agente-host status --follow`, or end \
                         it with `agente-host abort`"
                    }
                    Liveness::Silent => "`agente-host abort` takes the lease over",
                };
                Fault::new(FaultKind::LeaseLost, message).hint(hint).retryable()
            }
            LeaseError::Occupied { path, .. } => Fault::new(FaultKind::LeaseLost, message)
                .hint(format!("find it with `fuser {}`", path.display()))
                .retryable(),
            LeaseError::StillRuns { holding, .. } => {
                let hint = format!(
                    "nothing that it does is written down any more; end process {} on `{}`, then \
                     try again",
                    holding.holder.pid, holding.holder.host
                );
                Fault::new(FaultKind::LeaseLost, message).hint(hint).retryable()
            }
            LeaseError::Unavailable(fault) => fault,
        }
    }
}

/// The right to change a service. Given back by [`Lease::release`], by drop, and by death.
#[derive(Debug)]
pub struct Lease {
    scope: Scope,
    row: i64,
    fence: Fence,
    store: EmbeddedStore,
    lost: watch::Receiver<bool>,
    heart: JoinHandle<()>,
    /// Freed last, so that the next holder finds the row given back.
    lock: Option<FileLock>,
}

impl Lease {
    /// The token that each entry of the journal is written under.
    pub fn fence(&self) -> Fence {
        self.fence
    }

    /// What it is the lease of.
    pub fn scope(&self) -> &Scope {
        &self.scope
    }

    /// Whether somebody has taken the lease over. Known within one heartbeat; `append` knows at
    /// once.
    pub fn is_lost(&self) -> bool {
        *self.lost.borrow()
    }

    /// Waits until somebody has taken the lease over.
    pub async fn lost(&self) {
        let mut lost = self.lost.clone();
        if lost.wait_for(|lost| *lost).await.is_err() {
            // The heart has stopped with the lease: nobody will ever say.
            std::future::pending::<()>().await;
        }
    }

    /// Gives the lease back, so that `status` no longer names a holder and the next one need not
    /// wonder.
    pub async fn release(mut self) -> Result<(), Fault> {
        self.heart.abort();
        let given_back = give_back(&self.store, self.row, self.fence).await;
        self.lock = None;
        given_back.map_err(|error| {
            self.store.database.unreadable(
                &format!("the lease of {} was not given back in writing", self.scope),
                &error,
            )
        })
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.heart.abort();
        let Some(lock) = self.lock.take() else { return };
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let (store, row, fence) = (self.store.clone(), self.row, self.fence);
        drop(lock);
        // The freed lock alone is enough; the row is for people.
        runtime.spawn(async move {
            if let Err(error) = give_back(&store, row, fence).await {
                tracing::debug!(%error, "a dropped lease was not given back in writing");
            }
        });
    }
}

async fn give_back(store: &EmbeddedStore, row: i64, fence: Fence) -> Result<(), sqlx::Error> {
    let work = store.database.write(move |connection| {
        Box::pin(async move {
            let now = to_sql(clock::now().0);
            let give = sqlx::query("UPDATE lease SET released = ? WHERE scope = ? AND fence = ?")
                .bind(now)
                .bind(row)
                .bind(to_sql(fence.0));
            give.execute(connection).await
        })
    });
    work.await.map(|_| ())
}

impl EmbeddedStore {
    /// Takes the lease of a scope: at once if it is free or its holder has died, else when it gets
    /// free within `wait`.
    ///
    /// A holder that lives keeps it, however silent it is.
    pub async fn acquire(
        &self,
        scope: &Scope,
        holder: Holder,
        wait: Option<Duration>,
    ) -> Result<Lease, LeaseError> {
        wait::for_free(self, scope, &holder, wait).await
    }

    /// Takes the lease of a scope away from an owner that does not answer. From the first moment on
    /// nothing more is written under the old token.
    ///
    /// The old owner then has `wait` to let go: it hears of it within one heartbeat. The caller has
    /// killed it before, if it is stopped.
    pub async fn take_over(
        &self,
        scope: &Scope,
        holder: Holder,
        wait: Duration,
    ) -> Result<Lease, LeaseError> {
        wait::for_taken(self, scope, &holder, wait).await
    }

    /// Who holds the lease of a scope, or held it when they died; none if it was given back.
    /// Changes nothing.
    pub async fn holding(&self, scope: &Scope) -> Result<Option<Holding>, Fault> {
        let locked = FileLock::is_held(&self.lease_lock(scope)).map_err(|error| {
            faults::lock(&format!("the lease of {scope} can't be looked at"), &error)
        })?;
        self.read_holding(scope, locked).await
    }

    /// The row, judged by whether the lock is held.
    async fn read_holding(&self, scope: &Scope, locked: bool) -> Result<Option<Holding>, Fault> {
        type Row = (i64, String, i64, i64, Option<i64>, Option<String>);
        let row: Result<Option<Row>, _> = sqlx::query_as(
            "SELECT fence, holder, acquired, heartbeat, released, (SELECT id FROM deployment \
             WHERE deployment.scope = scope.id AND closed IS NULL)
             FROM lease JOIN scope ON scope.id = lease.scope WHERE service = ? AND environment = ?",
        )
        .bind(scope.service.as_str())
        .bind(scope.environment.as_str())
        .fetch_optional(self.database.readers())
        .await;
        let row = row.map_err(|error| {
            self.database.unreadable(&format!("the lease of {scope} can't be read"), &error)
        })?;
        let Some((fence, holder, acquired, heartbeat, None, deployment)) = row else {
            return Ok(None);
        };
        let holder: Holder = serde_json::from_str(&holder).map_err(|error| {
            faults::unreadable_row(&format!("the holder of the lease of {scope}"), &error)
        })?;
        let heartbeat = Timestamp(from_sql(heartbeat));
        let now = clock::now();
        // A clock that was set back must not keep a lease alive.
        let fresh = now.since(heartbeat).max(heartbeat.since(now)) < SILENCE;
        let liveness = match (locked, fresh) {
            (true, true) => Liveness::Alive,
            (true, false) => Liveness::Silent,
            // A lock of another machine can't be seen from here.
            (false, true) if !holder.shares_kernel() => Liveness::Alive,
            (false, _) => Liveness::Gone,
        };
        let (fence, acquired) = (Fence(from_sql(fence)), Timestamp(from_sql(acquired)));
        Ok(Some(Holding {
            scope: scope.clone(),
            holder,
            fence,
            acquired,
            heartbeat,
            deployment: deployment.map(DeploymentId),
            liveness,
        }))
    }

    /// The lock file of a scope's lease. A dot is in no name.
    fn lease_lock(&self, scope: &Scope) -> PathBuf {
        self.directory.locks().join(format!("lease.{}.{}.lock", scope.service, scope.environment))
    }

    /// Writes the holder down with the next fence, and starts its heart. The caller has the lock.
    async fn seize(
        &self,
        scope: &Scope,
        holder: &Holder,
        lock: FileLock,
    ) -> Result<Lease, LeaseError> {
        let unavailable = |problem| {
            LeaseError::Unavailable(
                self.database.unwritable(&format!("the lease of {scope} was not taken"), problem),
            )
        };
        let holder = serde_json::to_string(holder).map_err(|error| {
            let fault =
                Fault::new(FaultKind::Internal, "the holder of a lease can't be written as JSON")
                    .because(&error);
            LeaseError::Unavailable(fault)
        })?;
        let of_scope = scope.clone();
        let written = self.database.write(move |connection| {
            Box::pin(async move {
                let row = ensure_scope(connection, &of_scope).await?;
                let now = to_sql(clock::now().0);
                let (fence,): (i64,) = sqlx::query_as(
                    "INSERT INTO lease (scope, fence, holder, acquired, heartbeat) VALUES (?1, 1, \
                     ?2, ?3, ?3)
                     ON CONFLICT DO UPDATE SET fence = fence + 1, holder = ?2, acquired = ?3, \
                     heartbeat = ?3, released = NULL RETURNING fence",
                )
                .bind(row)
                .bind(holder)
                .bind(now)
                .fetch_one(connection)
                .await?;
                Ok((row, Fence(from_sql(fence))))
            })
        });
        let (row, fence) = written.await.map_err(unavailable)?;
        let (say_lost, lost) = watch::channel(false);
        let heart = tokio::spawn(beat(self.clone(), row, fence, say_lost));
        Ok(Lease {
            scope: scope.clone(),
            row,
            fence,
            store: self.clone(),
            lost,
            heart,
            lock: Some(lock),
        })
    }

    /// Raises the fence above the present holder's and leaves their name.
    async fn revoke(&self, scope: &Scope) -> Result<(), LeaseError> {
        let of_scope = scope.clone();
        let written = self.database.write(move |connection| {
            Box::pin(async move {
                let row = ensure_scope(connection, &of_scope).await?;
                sqlx::query("UPDATE lease SET fence = fence + 1 WHERE scope = ?")
                    .bind(row)
                    .execute(connection)
                    .await?;
                Ok(())
            })
        });
        let failed = |problem| {
            LeaseError::Unavailable(
                self.database
                    .unwritable(&format!("the lease of {scope} was not taken over"), problem),
            )
        };
        written.await.map_err(failed)
    }
}

/// Says again and again that the holder lives, until the lease is lost.
async fn beat(store: EmbeddedStore, row: i64, fence: Fence, lost: watch::Sender<bool>) {
    loop {
        tokio::time::sleep(HEARTBEAT).await;
        let work = store.database.write(move |connection| {
            Box::pin(async move {
                let now = to_sql(clock::now().0);
                let beat =
                    sqlx::query("UPDATE lease SET heartbeat = ? WHERE scope = ? AND fence = ?")
                        .bind(now)
                        .bind(row)
                        .bind(to_sql(fence.0));
                beat.execute(connection).await
            })
        });
        match work.await {
            Ok(done) if done.rows_affected() == 0 => {
                let _ = lost.send(true);
                return;
            }
            Ok(_) => {}
            // The lock still says that we live; `append` says what is wrong with the disk.
            Err::<_, sqlx::Error>(error) => {
                tracing::warn!(%error, "the lease's heartbeat was not written");
            }
        }
    }
}

#[cfg(test)]
mod tests;
