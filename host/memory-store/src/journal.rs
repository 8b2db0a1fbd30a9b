//! The journal in memory.

use crate::store::{Kept, MemoryStore, Written};
use agente_engine::fault::Fault;
use agente_engine::journal::{Entry, Event};
use agente_engine::names::{DeploymentId, Scope};
use agente_engine::ports::{AppendError, Fence, Journal};
use agente_engine::state::ServiceState;
use async_trait::async_trait;

impl Kept {
    fn append(
        &mut self,
        fence: Fence,
        entry: &Entry,
        state: &ServiceState,
    ) -> Result<(), AppendError> {
        let found = entry.sequence;
        let scope = match (self.deployments.get(&entry.deployment), &entry.event) {
            (Some(known), _) => known.scope.clone(),
            (None, Event::Opened { plan }) if found == 0 => plan.scope.clone(),
            (None, _) => return Err(AppendError::OutOfOrder { expected: 0, found }),
        };
        let newest = self.seats.get(&scope).map_or(0, |seat| seat.fence);
        if fence.0 != newest {
            return Err(AppendError::Fenced { scope, fence });
        }
        let written = self
            .deployments
            .entry(entry.deployment.clone())
            .or_insert_with(|| Written { scope: scope.clone(), entries: Vec::new() });
        let expected = written.entries.len() as u64;
        if found.checked_add(1) == Some(expected) && written.entries.last() == Some(entry) {
            return Ok(());
        }
        if found != expected {
            return Err(AppendError::OutOfOrder { expected, found });
        }
        written.entries.push(entry.clone());
        self.states.insert(scope, state.clone());
        Ok(())
    }
}

#[async_trait]
impl Journal for MemoryStore {
    async fn append(
        &self,
        fence: Fence,
        entry: &Entry,
        state: &ServiceState,
    ) -> Result<(), AppendError> {
        self.kept().append(fence, entry, state)
    }

    async fn entries_after(
        &self,
        deployment: &DeploymentId,
        sequence: Option<u64>,
    ) -> Result<Vec<Entry>, Fault> {
        let beyond = |entry: &&Entry| sequence.is_none_or(|sequence| entry.sequence > sequence);
        Ok(self.read_entries(deployment, |all| all.iter().filter(beyond).cloned().collect()))
    }

    async fn state(&self, scope: &Scope) -> Result<ServiceState, Fault> {
        Ok(self.state_now(scope))
    }

    async fn open_deployment(&self, scope: &Scope) -> Result<Option<DeploymentId>, Fault> {
        Ok(self.state_now(scope).open)
    }
}
