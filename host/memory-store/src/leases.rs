//! Leases in memory. A holder that is dropped has died.

use crate::seat::Taken;
use crate::store::{Kept, MemoryStore};
use agente_engine::fault::{Fault, FaultKind};
use agente_engine::names::{Scope, Timestamp};
use agente_engine::ports::{
    BELIEF, Fence, HEARTBEAT, Holder, Holding, Lease, LeaseError, Leases, Liveness,
};
use async_trait::async_trait;
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// How often is looked whether a lease is free.
const PAUSE: Duration = Duration::from_millis(50);

/// A lease that somebody holds.
struct MemoryLease {
    store: MemoryStore,
    scope: Scope,
    fence: u64,
    /// When it was last seen to be ours, by the time that passes.
    confirmed: Mutex<Duration>,
}

impl Kept {
    fn holding(&self, scope: &Scope, now: Timestamp) -> Option<Holding> {
        let seat = self.seats.get(scope)?;
        let taken = seat.taken.as_ref()?;
        Some(Holding {
            scope: scope.clone(),
            holder: taken.holder.clone(),
            fence: Fence(seat.fence),
            acquired: taken.acquired,
            heartbeat: now,
            deployment: self.open_deployment(scope),
            liveness: if taken.died { Liveness::Gone } else { Liveness::Alive },
            seen: now,
        })
    }
}

impl MemoryStore {
    /// Sits down if nobody lives there; else tells who does.
    fn sit(
        &self,
        scope: &Scope,
        holder: &Holder,
    ) -> Result<Result<MemoryLease, Holding>, LeaseError> {
        let (now, confirmed) = (self.clock.now(), self.clock.elapsed());
        let mut kept = self.usable().map_err(LeaseError::Unavailable)?;
        if kept.seats.get(scope).is_some_and(|seat| seat.living().is_some())
            && let Some(holding) = kept.holding(scope, now)
        {
            return Ok(Err(holding));
        }
        let seat = kept.seats.entry(scope.clone()).or_default();
        seat.fence += 1;
        let fence = seat.fence;
        seat.taken = Some(Taken { holder: holder.clone(), fence, acquired: now, died: false });
        let (store, scope, confirmed) = (self.clone(), scope.clone(), Mutex::new(confirmed));
        Ok(Ok(MemoryLease { store, scope, fence, confirmed }))
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
        wait: Duration,
    ) -> Result<Result<MemoryLease, Box<Holding>>, LeaseError> {
        let began = self.clock.elapsed();
        loop {
            match self.sit(scope, holder)? {
                Ok(lease) => return Ok(Ok(lease)),
                Err(holding) if self.clock.elapsed().saturating_sub(began) >= wait => {
                    return Ok(Err(Box::new(holding)));
                }
                Err(_) => self.clock.sleep(PAUSE).await,
            }
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
        match self.wait_for(scope, &holder, wait.unwrap_or_default()).await? {
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
        let living = |kept: &Kept| kept.seats.get(scope)?.living().map(|taken| taken.fence);
        let old = {
            let mut kept = self.usable().map_err(LeaseError::Unavailable)?;
            let old = living(&kept);
            if old.is_some() {
                kept.seats.entry(scope.clone()).or_default().fence += 1;
            }
            old
        };
        match self.wait_for(scope, &holder, wait).await? {
            Ok(lease) => Ok(Box::new(lease)),
            Err(holding) if living(&self.kept()) == old => {
                Err(LeaseError::StillRuns { holding, waited: wait })
            }
            // Somebody else took over at the same time, and was quicker.
            Err(holding) => Err(LeaseError::Held(holding)),
        }
    }

    async fn holding(&self, scope: &Scope) -> Result<Option<Holding>, Fault> {
        Ok(self.usable()?.holding(scope, self.clock.now()))
    }
}

impl fmt::Debug for MemoryLease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "lease {} of {}", self.fence, self.scope)
    }
}

impl MemoryLease {
    fn leave(&self, kept: &mut Kept, died: bool) {
        let Some(seat) = kept.seats.get_mut(&self.scope) else { return };
        match &mut seat.taken {
            Some(taken) if taken.fence == self.fence && died => taken.died = true,
            Some(taken) if taken.fence == self.fence => seat.taken = None,
            Some(_) | None => {}
        }
    }

    /// How it was lost; else how long it may be believed without another look.
    fn look(&self) -> Result<Duration, Fault> {
        let now = self.store.clock.elapsed();
        let newest =
            self.store.usable().map(|kept| kept.seats.get(&self.scope).map(|seat| seat.fence));
        let mut confirmed = self.confirmed.lock().unwrap_or_else(PoisonError::into_inner);
        let lost = |message| Err(Fault::new(FaultKind::LeaseLost, message));
        match newest {
            Ok(newest) if newest == Some(self.fence) => {
                *confirmed = now;
                Ok(BELIEF)
            }
            Ok(_) => lost(format!("another host has the lease of {}", self.scope)),
            Err(fault) => match BELIEF.checked_sub(now.saturating_sub(*confirmed)) {
                Some(left) if !left.is_zero() => Ok(left),
                _ => lost(format!(
                    "it has been unknown whether the lease of {} is still held: {fault}",
                    self.scope
                )),
            },
        }
    }
}

impl Drop for MemoryLease {
    fn drop(&mut self) {
        self.leave(&mut self.store.kept(), true);
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
        loop {
            match self.look() {
                Ok(believed) => self.store.clock.sleep(HEARTBEAT.min(believed)).await,
                Err(fault) => return fault,
            }
        }
    }

    async fn release(self: Box<Self>) -> Result<(), Fault> {
        self.leave(&mut *self.store.usable()?, false);
        Ok(())
    }
}
