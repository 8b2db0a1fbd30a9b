//! The runtime of the simulation.

use super::calls::About;
use super::{Candidate, Sim, SimBackend};
use agente_engine::fault::{Failure, Fault};
use agente_engine::names::Timestamp;
use agente_engine::ports::*;
use agente_engine::release::Release;
use agente_engine::route::{Backend, Slot};
use async_trait::async_trait;
use std::time::Duration;

#[async_trait]
impl Runtime for Sim {
    async fn reserve(&self, _: &Release, _: Slot, _: &[Backend]) -> Result<Vec<Backend>, Fault> {
        unreachable!("plans are made before the simulation")
    }

    async fn preflight(&self, _: &Release, _: &[Backend]) -> Vec<Finding> {
        match self.look("preflight", |_, _| ()).await {
            Ok(()) => vec![],
            Err(fault) => vec![Finding {
                subject: "runtime".into(),
                result: FindingResult::Bad,
                message: fault.message,
                hint: None,
            }],
        }
    }

    async fn ensure(&self, launch: &Launch) -> Result<Launched, Failure> {
        let id = launch.backend.id.clone();
        self.inner().check_journaled("ensure");
        let (slot, stop_grace) = (launch.slot, launch.release.runtime.stop_grace());
        self.effect(&format!("ensure {id}"), About::Backend(id.clone()), move |inner, now| {
            inner.launches += 1;
            let address = format!("10.0.{}.{}:8080", inner.launches / 256, inner.launches % 256);
            let started =
                SimBackend { address, since: now, slot, stop_grace, role: BackendRole::Live };
            Launched { address: inner.backends.entry(id).or_insert(started).address.clone() }
        })
        .await
    }

    async fn inspect(&self, backend: &Backend) -> Result<BackendState, Fault> {
        self.wait_for_in_flight(&backend.id).await;
        self.look(&format!("inspect {}", backend.id), |inner, now| {
            let ours = inner.is_candidate(&backend.id);
            match (inner.backends.get(&backend.id), inner.candidate) {
                (None, _) => BackendState::Absent,
                (Some(_), Candidate::CrashLoops) if ours => {
                    BackendState::Starting { detail: "exit code 3".into(), restarts: 3 }
                }
                (Some(_), Candidate::Dies(after))
                    if ours && inner.since_shift(now).is_some_and(|passed| passed >= after) =>
                {
                    BackendState::Ended { detail: "signal 11".into() }
                }
                (Some(found), _) => {
                    let since = Timestamp(found.since);
                    BackendState::Running { since, restarts: 0, healthy: None }
                }
            }
        })
        .await
    }

    async fn assign(&self, backend: &Backend, role: BackendRole) -> Result<(), Failure> {
        let id = backend.id.clone();
        self.effect(
            &format!("assign {id} {role:?}"),
            About::Backend(id.clone()),
            move |inner, _| {
                if let Some(found) = inner.backends.get_mut(&id) {
                    found.role = role;
                }
            },
        )
        .await
    }

    async fn retire(&self, backend: &Backend, grace: Duration) -> Result<Retired, Failure> {
        let id = backend.id.clone();
        self.inner().check_journaled("retire");
        self.effect(&format!("retire {id}"), About::Backend(id.clone()), move |inner, now| {
            let Some(found) = inner.backends.get(&id).cloned() else {
                return Retired { found: false, killed: false };
            };
            let theirs = found.stop_grace;
            assert_eq!(grace, theirs, "{id} is stopped with another release's grace");
            for desired in
                inner.loaded.iter().chain(inner.applied.iter().map(|(desired, _)| desired))
            {
                assert!(
                    !desired.routes.reaches(&id),
                    "{id} is retired while requests reach it\n{}",
                    inner.log.join("\n")
                );
            }
            if !inner.drained(std::slice::from_ref(&id), now) {
                inner.cut.push(id.clone());
            }
            inner.backends.remove(&id);
            Retired { found: true, killed: false }
        })
        .await
    }

    async fn log_tail(&self, backend: &Backend, _: usize) -> Result<Vec<String>, Fault> {
        Ok(vec![format!("last words of {}", backend.id)])
    }
}
