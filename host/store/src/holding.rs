//! Looking at who holds a lease. Changes nothing.

use crate::blocker;
use crate::faults;
use crate::file_lock::FileLock;
use crate::numbers::from_sql;
use crate::process::{self, ProcessState};
use crate::reserve;
use crate::store::EmbeddedStore;
use agente_engine::fault::Fault;
use agente_engine::names::{DeploymentId, Scope, Timestamp};
use agente_engine::ports::{Fence, Holder, Holding, Liveness, SILENCE};
use std::path::PathBuf;

impl EmbeddedStore {
    /// The lock file of a scope's lease. A dot is in no name.
    pub(crate) fn lease_lock(&self, scope: &Scope) -> PathBuf {
        self.directory.locks().join(format!("lease.{}.{}.lock", scope.service, scope.environment))
    }

    /// Whether somebody has the lock of a scope's lease.
    pub(crate) fn lease_is_locked(&self, scope: &Scope) -> Result<bool, Fault> {
        FileLock::is_held(&self.lease_lock(scope)).map_err(|error| {
            faults::lock(&format!("the lease of {scope} can't be inspected"), &error)
        })
    }

    /// The row, judged by whether the lock is held.
    pub(crate) async fn read_holding(
        &self,
        scope: &Scope,
        locked: bool,
    ) -> Result<Option<Holding>, Fault> {
        type Row = (i64, String, i64, i64, Option<i64>, Option<String>);
        let row: Result<Option<Row>, _> = self.database.fetch_optional(sqlx::query_as(
            "SELECT fence, holder, acquired, heartbeat, released, (SELECT id FROM deployment \
             WHERE deployment.scope = scope.id AND closed IS NULL)
             FROM lease JOIN scope ON scope.id = lease.scope WHERE service = ? AND environment = ?",
        )
        .bind(scope.service.as_str())
        .bind(scope.environment.as_str()))
        .await;
        let row = row.map_err(|error| {
            self.database.unreadable(&format!("the lease of {scope} can't be read"), &error)
        })?;
        let seen = self.clock.now();
        let Some((fence, holder, acquired, heartbeat, released, deployment)) = row else {
            return Ok(if locked { self.nameless_holding(scope, seen) } else { None });
        };
        let holder: Holder = serde_json::from_str(&holder).map_err(|error| {
            faults::unreadable_row(&format!("the holder of the lease of {scope}"), &error)
        })?;
        // A name beside a held lock that was given back, or that belongs to a dead process, is the
        // last holder's: the new one has yet to write theirs.
        let is_the_last = released.is_some() || process::state_of(&holder) == ProcessState::Gone;
        if locked
            && is_the_last
            && let Some(new) = self.nameless_holding(scope, seen)
        {
            let deployment = deployment.map(DeploymentId);
            return Ok(Some(Holding { fence: Fence(from_sql(fence)), deployment, ..new }));
        }
        if released.is_some() {
            return Ok(None);
        }
        let heartbeat = Timestamp(from_sql(heartbeat));
        // Nobody can give one on a full disk.
        let full = reserve::has_no_room_for_index(&self.directory);
        let sign_of_life = if locked && full { seen } else { heartbeat };
        Ok(Some(Holding {
            scope: scope.clone(),
            fence: Fence(from_sql(fence)),
            acquired: Timestamp(from_sql(acquired)),
            heartbeat,
            deployment: deployment.map(DeploymentId),
            liveness: liveness(&holder, locked, sign_of_life, seen),
            seen,
            holder,
        }))
    }

    /// Who has the lock of a lease, by the lock alone: it is taken before its owner's name is
    /// written, and an owner may be stopped in between. None where that can't be seen.
    fn nameless_holding(&self, scope: &Scope, seen: Timestamp) -> Option<Holding> {
        let owner = blocker::of(&[self.lease_lock(scope)])?;
        let holder = process::process_of(u32::try_from(owner.pid).ok()?, owner.command);
        Some(Holding {
            scope: scope.clone(),
            fence: Fence(0),
            acquired: seen,
            heartbeat: seen,
            deployment: None,
            liveness: liveness(&holder, true, seen, seen),
            seen,
            holder,
        })
    }
}

fn liveness(holder: &Holder, locked: bool, heartbeat: Timestamp, seen: Timestamp) -> Liveness {
    // A clock that was set back must not keep a lease alive.
    let fresh = seen.since(heartbeat).max(heartbeat.since(seen)) < SILENCE;
    match (locked, fresh) {
        (true, _) if process::state_of(holder) == ProcessState::Stopped => Liveness::Stopped,
        (true, true) => Liveness::Alive,
        (true, false) => Liveness::Silent,
        // A lock of another machine can't be seen from here.
        (false, true) if !process::shares_kernel(holder) => Liveness::Alive,
        (false, _) => Liveness::Gone,
    }
}
