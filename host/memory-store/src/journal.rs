//! The journal in memory.

use crate::store::{Kept, MemoryStore, Written};
use agente_engine::fault::{Fault, FaultKind};
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
        let (id, found) = (&entry.deployment, entry.sequence);
        let refused = |message| Err(AppendError::Refused(Fault::new(FaultKind::Internal, message)));
        let scope = match (self.deployments.get(id), &entry.event) {
            (_, Event::Opened { plan }) if plan.id != *id => {
                return refused(format!(
                    "the plan of deployment `{}` was given to open deployment `{id}`",
                    plan.id
                ));
            }
            (Some(known), _) => known.scope.clone(),
            (None, Event::Opened { plan }) => plan.scope.clone(),
            (None, _) if found == 0 => {
                return refused(format!("deployment `{id}` was never opened in this store"));
            }
            (None, _) => return Err(AppendError::OutOfOrder { expected: 0, found }),
        };
        let newest = self.seats.get(&scope).map(|seat| seat.fence);
        if newest != Some(fence.0) {
            return Err(AppendError::Fenced { scope, fence });
        }
        let written = self.deployments.get(id);
        if written.is_some_and(|written| written.has(fence, entry, state)) {
            return Ok(());
        }
        let expected = written.map_or(0, |written| written.entries.len() as u64);
        if found != expected {
            return Err(AppendError::OutOfOrder { expected, found });
        }
        match (written, &entry.event) {
            (Some(written), _) if written.has_ended() => {
                return refused(format!("deployment `{id}` has ended and accepts no more entries"));
            }
            (Some(_), Event::Opened { .. }) => {
                return refused(format!("deployment `{id}` was already opened"));
            }
            (Some(_), _) => {}
            (None, _) => {
                if let Some(other) = self.open_deployment(&scope) {
                    let message = format!(
                        "deployment `{id}` can't be opened: `{other}` of {scope} is still open"
                    );
                    return Err(AppendError::Refused(Fault::new(FaultKind::Conflict, message)));
                }
                self.opened.push(id.clone());
            }
        }
        let empty = || Written { scope: scope.clone(), entries: Vec::new(), beside: Vec::new() };
        let written = self.deployments.entry(id.clone()).or_insert_with(empty);
        written.entries.push(entry.clone());
        written.beside.push((fence, state.clone()));
        self.states.insert(scope, state.clone());
        Ok(())
    }
}

impl Written {
    /// Whether the same call has succeeded before.
    fn has(&self, fence: Fence, entry: &Entry, state: &ServiceState) -> bool {
        let mut all = self.entries.iter().zip(&self.beside);
        all.any(|(written, (under, with))| written == entry && *under == fence && with == state)
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
        self.usable().map_err(AppendError::Unavailable)?.append(fence, entry, state)
    }

    async fn entries_after(
        &self,
        deployment: &DeploymentId,
        sequence: Option<u64>,
    ) -> Result<Vec<Entry>, Fault> {
        let beyond = |entry: &&Entry| sequence.is_none_or(|sequence| entry.sequence > sequence);
        let kept = self.usable()?;
        let all = kept.deployments.get(deployment).map(|written| written.entries.iter());
        Ok(all.into_iter().flatten().filter(beyond).cloned().collect())
    }

    async fn state(&self, scope: &Scope) -> Result<ServiceState, Fault> {
        Ok(self.usable()?.states.get(scope).cloned().unwrap_or_default())
    }

    async fn open_deployment(&self, scope: &Scope) -> Result<Option<DeploymentId>, Fault> {
        Ok(self.usable()?.open_deployment(scope))
    }
}
