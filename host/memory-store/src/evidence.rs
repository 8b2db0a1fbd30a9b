//! What is kept beside the journal, in memory: figures of runs and effects of plugins.

use crate::store::MemoryStore;
use agente_engine::fault::Fault;
use agente_engine::names::{DeploymentId, Scope};
use agente_engine::ports::{
    Fence, Figures, KEPT_EFFECTS, PluginEffects, RunFigures, RunRow, Trail,
};
use async_trait::async_trait;

#[async_trait]
impl Figures for MemoryStore {
    async fn keep_figures(
        &self,
        deployment: &DeploymentId,
        fence: Fence,
        figures: &RunFigures,
    ) -> Result<(), Fault> {
        let mut kept = self.usable()?;
        if kept.deployments.contains_key(deployment) {
            kept.figures.insert((deployment.clone(), fence), figures.clone());
        }
        Ok(())
    }

    async fn figures(&self, scope: &Scope) -> Result<Vec<RunRow>, Fault> {
        let kept = self.usable()?;
        let ids = kept.of_scope(scope).filter_map(|written| written.entries.first());
        let rows = ids.flat_map(|first| {
            let all = kept.figures.iter().filter(|((of, _), _)| *of == first.deployment);
            all.map(|((deployment, fence), figures)| RunRow {
                deployment: deployment.clone(),
                fence: *fence,
                figures: figures.clone(),
            })
        });
        Ok(rows.collect())
    }
}

#[async_trait]
impl Trail for MemoryStore {
    async fn keep_effects(
        &self,
        deployment: &DeploymentId,
        effects: &PluginEffects,
    ) -> Result<bool, Fault> {
        let mut kept = self.usable()?;
        if !kept.deployments.contains_key(deployment) {
            return Ok(false);
        }
        let all = kept.effects.entry(deployment.clone()).or_default();
        all.kept.extend(effects.kept.iter().cloned());
        let beyond = all.kept.len().saturating_sub(KEPT_EFFECTS);
        all.kept.truncate(KEPT_EFFECTS);
        all.lost += effects.lost + beyond as u64;
        Ok(true)
    }

    async fn effects(&self, deployment: &DeploymentId) -> Result<PluginEffects, Fault> {
        Ok(self.usable()?.effects.get(deployment).cloned().unwrap_or_default())
    }
}
