//! The mailbox in memory.

use crate::store::MemoryStore;
use agente_engine::fault::{Fault, FaultKind};
use agente_engine::journal::{Decision, DecisionKind};
use agente_engine::names::DeploymentId;
use agente_engine::ports::Mailbox;
use async_trait::async_trait;

#[async_trait]
impl Mailbox for MemoryStore {
    async fn leave(
        &self,
        deployment: &DeploymentId,
        decision: DecisionKind,
        by: &str,
        reason: Option<&str>,
    ) -> Result<u64, Fault> {
        let at = self.clock.now();
        let mut kept = self.usable()?;
        let gone = match kept.deployments.get(deployment) {
            None => Some(format!("there is no deployment `{deployment}` in this store")),
            Some(written) if written.has_ended() => {
                Some(format!("deployment `{deployment}` has already ended"))
            }
            Some(_) => None,
        };
        if let Some(message) = gone {
            return Err(Fault::new(FaultKind::Conflict, message));
        }
        let id = kept.decisions.len() as u64 + 1;
        let (by, reason) = (by.to_owned(), reason.map(str::to_owned));
        kept.decisions.push((deployment.clone(), Decision { id, decision, by, reason, at }));
        Ok(id)
    }

    async fn decisions(
        &self,
        deployment: &DeploymentId,
        after: u64,
    ) -> Result<Vec<Decision>, Fault> {
        let kept = self.usable()?;
        let left = kept.decisions.iter().filter(|(of, left)| of == deployment && left.id > after);
        Ok(left.map(|(_, left)| left.clone()).collect())
    }
}
