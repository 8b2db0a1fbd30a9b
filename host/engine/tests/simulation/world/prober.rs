//! The requests from outside of the simulation.

use super::{Candidate, Sim};
use agente_engine::fault::Fault;
use agente_engine::ports::*;
use agente_engine::route::Slot;
use async_trait::async_trait;

#[async_trait]
impl Prober for Sim {
    async fn start(&self) -> Result<(), Fault> {
        self.look("probe start", |_, now| self.host.probes(now)).await
    }

    /// Ten requests a second; each judged as the world is now, which is exact enough at a poll of
    /// 100 ms.
    fn report(&self) -> ProbeReport {
        let now = self.time.now().0;
        let mut inner = self.inner();
        inner.settle(now);
        let Some(started) = self.host.probing_since() else { return ProbeReport::default() };
        let sent = (now - started) / 100;
        let bad_since = match (inner.candidate, inner.shifted_at) {
            (Candidate::TurnsBad(after) | Candidate::Dies(after), Some(at)) => Some(at + after),
            _ if inner.stable_fails => Some(started),
            _ => None,
        };
        // What the stable side fails ends with its requests.
        let bad_until = inner
            .shifted_at
            .filter(|_| inner.stable_fails && inner.candidate == Candidate::Good)
            .unwrap_or(now);
        let failed =
            bad_since.map_or(0, |since| bad_until.saturating_sub(since.max(started)) / 100);
        let mut report =
            ProbeReport { sent, succeeded: sent - failed.min(sent), ..ProbeReport::default() };
        if failed > 0 {
            report.failed.insert("status-5xx".into(), failed);
        }
        let most = |l: &Desired| Slot::BOTH.into_iter().max_by_key(|&slot| l.routes.weight(slot));
        let serving = inner.loaded.as_ref().and_then(most);
        if let Some(slot) = serving {
            report.by_identity.insert(slot.to_string(), report.succeeded);
        }
        report
    }

    async fn identities(&self, count: usize) -> Result<Vec<String>, Fault> {
        self.look("identities", |inner, now| {
            inner.settle(now);
            let routes = inner.loaded.as_ref().map(|loaded| loaded.routes.clone());
            let serving = routes
                .and_then(|routes| routes.routes.into_iter().find(|route| !route.weight.is_zero()));
            let answered = serving.filter(|route| {
                route.backends.iter().all(|backend| inner.answers(&backend.id, now))
            });
            vec![answered.map(|route| route.slot.to_string()).unwrap_or_default(); count]
        })
        .await
    }
}
