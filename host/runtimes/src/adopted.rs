//! Backends that ran before us: looked at, never started, stopped or changed, and nothing is
//! written about them.

use crate::findings::{bad, good};
use agente_engine::fault::{Failure, Fault, FaultKind};
use agente_engine::names::{BackendId, Timestamp};
use agente_engine::placement::Placement;
use agente_engine::ports::{
    BackendRole, BackendState, Finding, Launch, Launched, Retired, Runtime,
};
use agente_engine::release::{Release, RuntimeSpec};
use agente_engine::route::{Backend, Slot};
use async_trait::async_trait;
use std::io;
use std::time::Duration;
use tokio::net::TcpStream;

/// How long an adopted backend may take to accept a connection.
const CONNECT_WITHIN: Duration = Duration::from_secs(2);

/// The runtime of what ran before us.
#[derive(Debug, Clone, Copy, Default)]
pub struct AdoptedRuntime;

async fn connect(address: &str) -> io::Result<()> {
    match tokio::time::timeout(CONNECT_WITHIN, TcpStream::connect(address)).await {
        Ok(connected) => connected.map(drop),
        Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "no answer within 2 s")),
    }
}

#[async_trait]
impl Runtime for AdoptedRuntime {
    async fn reserve(
        &self,
        release: &Release,
        slot: Slot,
        _taken: &[Backend],
    ) -> Result<Vec<Backend>, Fault> {
        let RuntimeSpec::Adopted { addresses } = &release.runtime else {
            return Err(Fault::new(
                FaultKind::Internal,
                format!("release {} of {} was not adopted", release.number, release.scope),
            ));
        };
        let backend = |(index, address): (usize, &String)| Backend {
            id: BackendId::of(release, slot, index),
            address: address.clone(),
            placement: Placement::Adopted,
        };
        Ok(addresses.iter().enumerate().map(backend).collect())
    }

    async fn preflight(&self, _release: &Release, backends: &[Backend]) -> Vec<Finding> {
        let mut findings = Vec::new();
        for backend in backends {
            let subject = format!("backend {}", backend.address);
            findings.push(match connect(&backend.address).await {
                Ok(()) => {
                    good(subject, "accepts connections; agente-host neither starts nor stops it")
                }
                Err(error) => bad(
                    subject,
                    format!("does not accept connections: {error}"),
                    Some("start it, or correct its address".to_owned()),
                ),
            });
        }
        findings
    }

    /// Only seen to be there.
    async fn ensure(&self, launch: &Launch) -> Result<Launched, Failure> {
        let address = &launch.backend.address;
        connect(address).await.map_err(|error| Failure::Refused {
            fault: Fault::new(
                FaultKind::Unavailable,
                format!("the adopted backend at `{address}` does not accept connections"),
            )
            .hint("start it yourself: agente-host adopted it and does not start it")
            .because(&error),
        })?;
        Ok(Launched { address: address.clone() })
    }

    async fn inspect(&self, backend: &Backend) -> Result<BackendState, Fault> {
        let address = &backend.address;
        Ok(match connect(address).await {
            // Since when is not ours to know.
            Ok(()) => BackendState::Running { since: Timestamp(0), restarts: 0, healthy: None },
            Err(error) => BackendState::Ended {
                detail: format!(
                    "`{address}` does not accept connections: {error}; agente-host did not start it and will not"
                ),
            },
        })
    }

    async fn assign(&self, _backend: &Backend, _role: BackendRole) -> Result<(), Failure> {
        Ok(())
    }

    async fn retire(&self, _backend: &Backend, _grace: Duration) -> Result<Retired, Failure> {
        Ok(Retired { found: false, killed: false })
    }

    async fn log_tail(&self, backend: &Backend, _max_lines: usize) -> Result<Vec<String>, Fault> {
        let message = format!(
            "agente-host does not have the log of the adopted backend at `{}`",
            backend.address
        );
        Err(Fault::new(FaultKind::Unsupported, message).hint(
            "look for the log where the backend \
        writes it",
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use agente_engine::names::{EnvironmentName, ReleaseNumber, Scope, ServiceName};
    use agente_engine::ports::FindingResult;
    use agente_engine::release::Artifact;
    use std::net::{TcpListener, TcpStream};

    #[tokio::test]
    async fn an_adopted_backend_is_looked_at_and_never_touched() {
        let service = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = service.local_addr().unwrap().to_string();
        let release = Release {
            scope: Scope {
                service: ServiceName::new("shop").unwrap(),
                environment: EnvironmentName::new("test").unwrap(),
            },
            number: ReleaseNumber(1),
            artifact: Artifact::Adopted,
            runtime: RuntimeSpec::Adopted { addresses: vec![address.clone()] },
            created: Timestamp(0),
        };
        let backends = AdoptedRuntime.reserve(&release, Slot::Blue, &[]).await.unwrap();
        let [backend] = backends.as_slice() else { panic!("{backends:?}") };
        assert_eq!((&backend.address, &backend.placement), (&address, &Placement::Adopted));
        let judged = AdoptedRuntime.preflight(&release, &backends).await;
        assert!(judged.iter().all(|finding| finding.result == FindingResult::Good));
        AdoptedRuntime.assign(backend, BackendRole::Kept).await.unwrap();
        assert!(!AdoptedRuntime.retire(backend, Duration::ZERO).await.unwrap().found);
        assert!(TcpStream::connect(&address).is_ok(), "it serves on");
        let seen = AdoptedRuntime.inspect(backend).await.unwrap();
        assert!(matches!(seen, BackendState::Running { .. }));
        drop(service);
        let seen = AdoptedRuntime.inspect(backend).await.unwrap();
        assert!(matches!(seen, BackendState::Ended { .. }));
    }
}
