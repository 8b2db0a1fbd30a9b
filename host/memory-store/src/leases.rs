//! Leases in memory. A holder that is dropped has died; one that was passed over hears of it at its
//! next heartbeat.

use crate::store::{Kept, MemoryStore};
use agente_engine::fault::{Fault, FaultKind};
use agente_engine::names::{Scope, Timestamp};
use agente_engine::ports::{Fence, Holder, Holding, Lease, LeaseError, Leases, Liveness};
use async_trait::async_trait;
use std::fmt;
use std::time::Duration;

/// How often a holder asks whether its lease is its own still.
pub const HEARTBEAT: Duration = Duration::from_secs(2);

/// How often is looked whether a lease is free.
const POLL: Duration = Duration::from_millis(50);

/// The lease of one scope.
#[derive(Clone, Default)]
pub(crate) struct Seat {
    /// The newest token, which may be nobody's yet.
    pub(crate) fence: u64,
    /// Who sits there, or died there.
    taken: Option<Taken>,
}

#[derive(Clone)]
struct Taken {
    holder: Holder,
    fence: u64,
    acquired: Timestamp,
    died: bool,
}

/// A lease that somebody holds.
struct MemoryLease {
    store: MemoryStore,
    scope: Scope,
    fence: u64,
}

impl Kept {
    fn holding(&self, scope: &Scope, now: Timestamp) -> Option<Holding> {
        let taken = self.seats.get(scope)?.taken.as_ref()?;
        Some(Holding {
            scope: scope.clone(),
            holder: taken.holder.clone(),
            fence: Fence(taken.fence),
            acquired: taken.acquired,
            heartbeat: now,
            deployment: self.states.get(scope).and_then(|state| state.open.clone()),
            liveness: if taken.died { Liveness::Gone } else { Liveness::Alive },
            seen: now,
        })
    }
}

impl MemoryStore {
    /// Sits down if nobody lives there; `fence`: the token that was taken beforehand.
    fn sit(&self, scope: &Scope, holder: &Holder, fence: Option<u64>) -> Option<MemoryLease> {
        let now = self.clock.now();
        let mut kept = self.kept();
        let seat = kept.seats.entry(scope.clone()).or_default();
        if seat.taken.as_ref().is_some_and(|taken| !taken.died) {
            return None;
        }
        if fence.is_none() {
            seat.fence += 1;
        }
        let fence = fence.unwrap_or(seat.fence);
        seat.taken = Some(Taken { holder: holder.clone(), fence, acquired: now, died: false });
        Some(MemoryLease { store: self.clone(), scope: scope.clone(), fence })
    }

    /// Takes whoever sits there for dead: no sign of life has come for too long.
    pub fn take_for_dead(&self, scope: &Scope) {
        let mut kept = self.kept();
        if let Some(taken) = kept.seats.get_mut(scope).and_then(|seat| seat.taken.as_mut()) {
            taken.died = true;
        }
    }

    /// Sits down within a time; else tells who is there.
    async fn wait_for(
        &self,
        scope: &Scope,
        holder: &Holder,
        fence: Option<u64>,
        wait: Duration,
    ) -> Result<MemoryLease, Box<Holding>> {
        let began = self.clock.elapsed();
        loop {
            if let Some(lease) = self.sit(scope, holder, fence) {
                return Ok(lease);
            }
            if self.clock.elapsed().saturating_sub(began) >= wait
                && let Some(holding) = self.kept().holding(scope, self.clock.now())
            {
                return Err(Box::new(holding));
            }
            self.clock.sleep(POLL).await;
        }
    }
}

#[async_trait]
impl Leases for MemoryStore {
    async fn acquire(
        &self,
        scope: &Scope,
        holder: Holder,
        wait: Option<Duration>,
    ) -> Result<Box<dyn Lease>, LeaseError> {
        match self.wait_for(scope, &holder, None, wait.unwrap_or_default()).await {
            Ok(lease) => Ok(Box::new(lease)),
            Err(holding) => Err(LeaseError::Held(holding)),
        }
    }

    async fn take_over(
        &self,
        scope: &Scope,
        holder: Holder,
        wait: Duration,
    ) -> Result<Box<dyn Lease>, LeaseError> {
        let fence = {
            let mut kept = self.kept();
            let seat = kept.seats.entry(scope.clone()).or_default();
            seat.fence += 1;
            seat.fence
        };
        match self.wait_for(scope, &holder, Some(fence), wait).await {
            Ok(lease) => Ok(Box::new(lease)),
            Err(holding) => Err(LeaseError::StillRuns { holding, waited: wait }),
        }
    }

    async fn holding(&self, scope: &Scope) -> Result<Option<Holding>, Fault> {
        Ok(self.kept().holding(scope, self.clock.now()))
    }
}

impl fmt::Debug for MemoryLease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "lease {} of {}", self.fence, self.scope)
    }
}

impl MemoryLease {
    fn leave(&self, died: bool) {
        let mut kept = self.store.kept();
        let Some(seat) = kept.seats.get_mut(&self.scope) else { return };
        match &mut seat.taken {
            Some(taken) if taken.fence == self.fence && died => taken.died = true,
            Some(taken) if taken.fence == self.fence => seat.taken = None,
            Some(_) | None => {}
        }
    }
}

impl Drop for MemoryLease {
    fn drop(&mut self) {
        self.leave(true);
    }
}

#[async_trait]
impl Lease for MemoryLease {
    fn fence(&self) -> Fence {
        Fence(self.fence)
    }

    fn scope(&self) -> &Scope {
        &self.scope
    }

    async fn lost(&self) -> Fault {
        while self.store.fence_now(&self.scope).0 == self.fence {
            self.store.clock.sleep(HEARTBEAT).await;
        }
        Fault::new(FaultKind::LeaseLost, format!("another host has the lease of {}", self.scope))
    }

    async fn release(self: Box<Self>) -> Result<(), Fault> {
        self.leave(false);
        Ok(())
    }
}
