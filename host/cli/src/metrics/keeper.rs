//! Keeps what a run counts beside the journal: now and then while it goes on, and at its end.

use crate::adapters::CallCounter;
use agente_engine::executor::Halt;
use agente_engine::journal::Outcome;
use agente_engine::names::DeploymentId;
use agente_engine::ports::{Fence, Figures, Journal, Prober, RunFigures};
use agente_probe::HttpProber;
use agente_store::EmbeddedStore;
use std::convert::Infallible;
use std::time::Duration;

/// What a host that is killed forgets at most of its own counts.
const EVERY: Duration = Duration::from_secs(10);

/// Keeps the figures of one run.
pub(crate) struct RunKeeper<'a> {
    pub(crate) store: &'a EmbeddedStore,
    pub(crate) calls: &'a CallCounter,
    pub(crate) prober: Option<&'a HttpProber>,
    pub(crate) deployment: DeploymentId,
    pub(crate) fence: Fence,
}

impl RunKeeper<'_> {
    /// Keeps the figures again and again; runs beside the deployment and never ends by itself.
    pub(crate) async fn while_running(&self) -> Infallible {
        loop {
            tokio::time::sleep(EVERY).await;
            self.keep(None).await;
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
        self.keep(stuck_at).await;
    }

    async fn keep(&self, stuck_at: Option<u64>) {
        let probe = self.prober.map(Prober::report).filter(|report| report.sent > 0);
        let figures = RunFigures { probe, calls: self.calls.of(&self.deployment), stuck_at };
        // A number is no reason to disturb a deployment.
        if let Err(fault) = self.store.keep_figures(&self.deployment, self.fence, &figures).await {
            tracing::warn!("{fault}; `agente-host metrics` will lack them");
        }
    }
}
