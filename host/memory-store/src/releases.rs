//! Releases in memory.

use crate::store::MemoryStore;
use agente_engine::fault::Fault;
use agente_engine::names::{ReleaseNumber, Scope};
use agente_engine::ports::Releases;
use agente_engine::release::{Artifact, Release, RuntimeSpec};
use async_trait::async_trait;

#[async_trait]
impl Releases for MemoryStore {
    async fn create_release(
        &self,
        scope: &Scope,
        artifact: Artifact,
        runtime: RuntimeSpec,
    ) -> Result<Release, Fault> {
        let created = self.clock.now();
        let mut kept = self.usable()?;
        let all = kept.releases.entry(scope.clone()).or_default();
        let number = ReleaseNumber(all.len() as u64 + 1);
        let release = Release { scope: scope.clone(), number, artifact, runtime, created };
        all.push(release.clone());
        Ok(release)
    }

    async fn release(
        &self,
        scope: &Scope,
        number: ReleaseNumber,
    ) -> Result<Option<Release>, Fault> {
        let kept = self.usable()?;
        let mut all = kept.releases.get(scope).into_iter().flatten();
        Ok(all.find(|release| release.number == number).cloned())
    }

    async fn releases(&self, scope: &Scope, limit: u32) -> Result<Vec<Release>, Fault> {
        let kept = self.usable()?;
        let all = kept.releases.get(scope).into_iter().flatten();
        Ok(all.rev().take(limit as usize).cloned().collect())
    }
}
