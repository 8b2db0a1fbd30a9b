//! The lease of a simulated host. Another host's is newer; a host learns of that at its next
//! heartbeat.

use crate::world::Sim;
use agente_engine::fault::{Fault, FaultKind};
use agente_engine::names::Scope;
use agente_engine::ports::{Fence, Lease};
use async_trait::async_trait;
use std::fmt;
use std::time::Duration;

/// How often a host asks whether its lease is its own still.
pub const HEARTBEAT: Duration = Duration::from_secs(2);

/// The lease of one simulated host.
pub struct SimLease {
    sim: Sim,
    scope: Scope,
    fence: Fence,
}

impl SimLease {
    pub fn new(sim: &Sim, fence: u64) -> Self {
        Self { sim: sim.clone(), scope: crate::scene::scope(), fence: Fence(fence) }
    }
}

impl fmt::Debug for SimLease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.fence)
    }
}

#[async_trait]
impl Lease for SimLease {
    fn fence(&self) -> Fence {
        self.fence
    }

    fn scope(&self) -> &Scope {
        &self.scope
    }

    async fn lost(&self) -> Fault {
        while self.sim.inner().fence == self.fence.0 {
            self.sim.time.sleep(HEARTBEAT).await;
        }
        Fault::new(FaultKind::LeaseLost, "another host has the lease")
    }

    async fn release(self: Box<Self>) -> Result<(), Fault> {
        Ok(())
    }
}
