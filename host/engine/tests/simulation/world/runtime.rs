//! The runtime of the simulation.

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
        self.call(&format!("ensure {}", launch.backend.id), |inner, now| {
            inner.check_journaled("ensure");
            inner.launches += 1;
            let address = format!("10.0.{}.{}:8080", inner.launches / 256, inner.launches % 256);
            let entry = inner.backends.entry(launch.backend.id.clone());
            let backend = entry.or_insert(SimBackend {
                address,
                since: now,
                slot: launch.slot,
                stop_grace: launch.release.runtime.stop_grace(),
                role: BackendRole::Live,
            });
            Launched { address: backend.address.clone() }
        })
        .await
    }

    async fn inspect(&self, backend: &Backend) -> Result<BackendState, Fault> {
        self.look(&format!("inspect {}", backend.id), |inner, now| match inner.backends.get(&backend.id) {
            None => BackendState::Absent,
            Some(_) if inner.candidate == Candidate::CrashLoops && inner.is_candidate(&backend.id) => {
                BackendState::Starting { detail: "exit code 3".into(), restarts: 3 }
            }
            Some(_)
                if matches!(inner.candidate, Candidate::Dies(after) if inner.is_candidate(&backend.id) && inner.since_shift(now).is_some_and(|p| p >= after)) =>
            {
                BackendState::Ended { detail: "signal 11".into() }
            }
            Some(found) => BackendState::Running { since: Timestamp(found.since), restarts: 0, healthy: None },
        })
        .await
    }

    async fn assign(&self, backend: &Backend, role: BackendRole) -> Result<(), Failure> {
        self.call(&format!("assign {} {role:?}", backend.id), |inner, _| {
            if let Some(found) = inner.backends.get_mut(&backend.id) {
                found.role = role;
            }
        })
        .await
    }

    async fn retire(&self, backend: &Backend, grace: Duration) -> Result<Retired, Failure> {
        self.call(&format!("retire {}", backend.id), |inner, now| {
            inner.check_journaled("retire");
            let Some(found) = inner.backends.get(&backend.id).cloned() else {
                return Retired { found: false, killed: false };
            };
            assert_eq!(
                grace, found.stop_grace,
                "{} is stopped with another release's grace",
                backend.id
            );
            for desired in
                inner.loaded.iter().chain(inner.applied.iter().map(|(desired, _)| desired))
            {
                assert!(
                    !desired.routes.reaches(&backend.id),
                    "{} is retired while requests reach it\n{}",
                    backend.id,
                    inner.log.join("\n")
                );
            }
            if !inner.drained(std::slice::from_ref(&backend.id), now) {
                inner.cut.push(backend.id.clone());
            }
            inner.backends.remove(&backend.id);
            Retired { found: true, killed: false }
        })
        .await
    }

    async fn log_tail(&self, backend: &Backend, _: usize) -> Result<Vec<String>, Fault> {
        Ok(vec![format!("last words of {}", backend.id)])
    }
}
