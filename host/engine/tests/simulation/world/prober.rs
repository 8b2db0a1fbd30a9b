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
            // Each side that has requests answers some.
            let routes = inner.loaded.iter().flat_map(|loaded| &loaded.routes.routes);
            let serving: Vec<_> = routes.filter(|route| !route.weight.is_zero()).collect();
            let answer = |number: usize| {
                let route = serving.get(number % serving.len().max(1))?;
                let answered = route.backends.iter().all(|one| inner.answers(&one.id, now));
                answered.then(|| route.slot.to_string())
            };
            (0..count).map(|number| answer(number).unwrap_or_default()).collect()
        })
        .await
    }
}
