//! Keeps what a run counts beside the journal, and what plugins did: now and then while it goes on,
//! and at its end.

use crate::adapters::CallCounter;
use agente_engine::executor::Halt;
use agente_engine::fault::Fault;
use agente_engine::journal::Outcome;
use agente_engine::names::DeploymentId;
use agente_engine::ports::{Fence, PluginEffects, Prober, RunFigures, Store};
use agente_probe::HttpProber;
use std::convert::Infallible;
use std::time::Duration;

/// What a host that is killed forgets at most of its own counts.
const EVERY: Duration = Duration::from_secs(10);

/// The same of what plugins did.
const EFFECTS_EVERY: Duration = Duration::from_secs(1);

/// Keeps the figures of one run.
pub(crate) struct RunKeeper<'a> {
    pub(crate) store: &'a dyn Store,
    pub(crate) calls: &'a CallCounter,
    pub(crate) prober: Option<&'a HttpProber>,
    pub(crate) deployment: DeploymentId,
    pub(crate) fence: Fence,
}

impl RunKeeper<'_> {
    /// Keeps the figures again and again; runs beside the deployment and never ends by itself.
    pub(crate) async fn while_running(&self) -> Infallible {
        let figures = async {
            let mut said = false;
            loop {
                tokio::time::sleep(EVERY).await;
                if let Err(fault) = self.keep(None).await
                    && !std::mem::replace(&mut said, true)
                {
                    lacking(&fault);
                }
            }
        };
        let effects = async {
            // Said once; what is lost at last is said at the end.
            let mut said = false;
            loop {
                tokio::time::sleep(EFFECTS_EVERY).await;
                if let Err(fault) = self.keep_effects().await
                    && !std::mem::replace(&mut said, true)
                {
                    tracing::warn!("{fault}; as many as fit are kept in memory");
                }
            }
        };
        tokio::select! {
            never = figures => never,
            never = effects => never,
        }
    }

    /// Keeps the last figures of the run.
    pub(crate) async fn end(&self, result: &Result<Outcome, Halt>) {
        let stuck_at = match result {
            Ok(Outcome::Stuck { .. }) => {
                let entries = self.store.entries(&self.deployment).await.unwrap_or_default();
                entries.last().map(|entry| entry.sequence)
            }
            _ => None,
        };
        if let Err(fault) = self.keep(stuck_at).await {
            lacking(&fault);
        }
        if let Err(fault) = self.keep_effects().await {
            let lost = self.calls.take_effects(&self.deployment);
            let count = lost.kept.len() as u64 + lost.lost;
            tracing::warn!("{fault}; `history --effects` will be missing {count} of them");
        }
    }

    /// Writes what plugins did since the last time.
    async fn keep_effects(&self) -> Result<(), Fault> {
        let effects = self.calls.take_effects(&self.deployment);
        if effects == PluginEffects::default() {
            return Ok(());
        }
        // Its guard puts them back, also where the run ends in the middle of writing.
        let mut taken = Taken { keeper: self, effects: Some(effects) };
        let Some(effects) = &taken.effects else { return Ok(()) };
        self.store.keep_effects(&self.deployment, effects).await?;
        taken.effects = None;
        Ok(())
    }

    async fn keep(&self, stuck_at: Option<u64>) -> Result<(), Fault> {
        let probe = self.prober.map(Prober::report).filter(|report| report.sent > 0);
        let figures = RunFigures { probe, calls: self.calls.of(&self.deployment), stuck_at };
        self.store.keep_figures(&self.deployment, self.fence, &figures).await
    }
}

/// A number is no reason to disturb a deployment.
fn lacking(fault: &Fault) {
    tracing::warn!("{fault}; they will be missing from `agente-host metrics`");
}

/// Effects that are being written.
struct Taken<'a> {
    keeper: &'a RunKeeper<'a>,
    effects: Option<PluginEffects>,
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        if let Some(effects) = self.effects.take() {
            self.keeper.calls.put_back(&self.keeper.deployment, effects);
        }
    }
}
