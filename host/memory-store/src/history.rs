//! Looking back over the journal in memory.

use crate::store::{MemoryStore, Written};
use agente_engine::fault::Fault;
use agente_engine::journal::{ChainState, Entry, Event, HistoryRow};
use agente_engine::names::{DeploymentId, Scope};
use agente_engine::ports::{Fence, History};
use async_trait::async_trait;
use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};

impl Written {
    /// What the entries say in short; none before the first.
    fn row(&self) -> Option<HistoryRow> {
        let first = self.entries.first()?;
        let Event::Opened { plan } = &first.event else { return None };
        let last = self.entries.last().and_then(|entry| match &entry.event {
            Event::Closed { outcome } => Some((entry.at, outcome.clone())),
            _ => None,
        });
        let (closed, outcome) = last.unzip();
        Some(HistoryRow {
            id: first.deployment.clone(),
            scope: self.scope.clone(),
            kind: plan.kind,
            release: plan.release.number,
            artifact: plan.release.artifact.describe(),
            by: plan.by.clone(),
            opened: first.at,
            closed,
            outcome,
        })
    }
}

#[async_trait]
impl History for MemoryStore {
    async fn entries_of_scope(&self, scope: &Scope) -> Result<Vec<Entry>, Fault> {
        let kept = self.usable()?;
        // One deployment begins when the last has ended.
        Ok(kept.of_scope(scope).flat_map(|written| written.entries.clone()).collect())
    }

    async fn deployment(&self, deployment: &DeploymentId) -> Result<Option<HistoryRow>, Fault> {
        Ok(self.usable()?.deployments.get(deployment).and_then(Written::row))
    }

    async fn history(&self, scope: &Scope, limit: u32) -> Result<Vec<HistoryRow>, Fault> {
        let kept = self.usable()?;
        let newest = kept.of_scope(scope).rev().filter_map(Written::row);
        Ok(newest.take(limit as usize).collect())
    }

    async fn scopes(&self) -> Result<Vec<Scope>, Fault> {
        let kept = self.usable()?;
        let deployed = kept.deployments.values().map(|written| &written.scope);
        let all: BTreeSet<_> = deployed.chain(kept.releases.keys()).cloned().collect();
        Ok(all.into_iter().collect())
    }

    async fn newest_fence(&self, scope: &Scope) -> Result<Option<Fence>, Fault> {
        let kept = self.usable()?;
        Ok(kept.of_scope(scope).flat_map(|written| &written.beside).last().map(|(fence, _)| *fence))
    }

    async fn verify_chain(&self, scope: &Scope) -> Result<ChainState, Fault> {
        let kept = self.usable()?;
        let (mut entries, mut hasher, mut newest) = (0, DefaultHasher::new(), None);
        for written in kept.of_scope(scope) {
            for (entry, (fence, state)) in written.entries.iter().zip(&written.beside) {
                entries += 1;
                format!("{entry:?} {fence:?} {state:?}").hash(&mut hasher);
                newest = Some((&entry.deployment, state));
            }
        }
        Ok(match newest {
            Some((deployment, state)) if kept.states.get(scope) != Some(state) => {
                ChainState::Broken {
                    position: entries,
                    deployment: Some(deployment.clone()),
                    message: format!("the state of {scope} was changed"),
                }
            }
            _ => ChainState::Intact { entries, head: format!("{:016x}", hasher.finish()) },
        })
    }
}
