//! The health checks of the simulation.

use super::{Candidate, Sim};
use agente_engine::names::BackendId;
use agente_engine::policy::{CheckMoment, CheckPolicy};
use agente_engine::ports::HealthCheck;
use agente_engine::verdict::{Subject, Verdict, VerdictKind};
use async_trait::async_trait;

#[async_trait]
impl HealthCheck for Sim {
    async fn check(&self, check: &CheckPolicy, subject: &Subject) -> Verdict {
        let verdict = |kind| Verdict { kind, value: None, reason: "as simulated".into() };
        let asked = self
            .look(&format!("check {}", check.name), |inner, now| {
                let ids: Vec<BackendId> =
                    subject.backends.iter().map(|backend| backend.id.clone()).collect();
                for one in &subject.backends {
                    inner.check_address(&one.id, &one.address);
                }
                let candidate = ids.iter().any(|id| inner.is_candidate(id));
                let unhealthy = match inner.candidate {
                    Candidate::NeverHealthy | Candidate::CrashLoops => candidate,
                    Candidate::TurnsUnhealthy(after) => {
                        candidate && inner.since_shift(now).is_some_and(|passed| passed >= after)
                    }
                    Candidate::Unanswered if candidate => return VerdictKind::Errored,
                    _ => false,
                };
                if unhealthy {
                    return VerdictKind::Unhealthy;
                }
                if check.when.contains(&CheckMoment::Ready) {
                    inner.proven.extend(ids);
                }
                VerdictKind::Healthy
            })
            .await;
        asked.map_or_else(|_| verdict(VerdictKind::Errored), verdict)
    }
}
