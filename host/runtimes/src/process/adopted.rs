//! Backends that ran before us: looked at, never started, stopped or changed.
//!
//! What is written is a note of ours that tells them from backends that are gone.

use crate::process::preflight::{bad, good};
use crate::process::{ProcessRuntime, refused, unusable};
use agente_engine::fault::{Failure, Fault, FaultKind};
use agente_engine::names::BackendId;
use agente_engine::ports::{BackendState, Finding};
use agente_engine::release::Release;
use agente_engine::route::{Backend, Slot};
use std::io;
use std::time::Duration;
use tokio::net::TcpStream;

/// How long an adopted backend may take to accept a connection.
const CONNECT_WITHIN: Duration = Duration::from_secs(2);

/// The backends of an adopted release.
pub(super) fn backends(release: &Release, slot: Slot, addresses: &[String]) -> Vec<Backend> {
    addresses
        .iter()
        .enumerate()
        .map(|(index, address)| Backend {
            id: backend_id(release, slot, index),
            address: address.clone(),
        })
        .collect()
}

/// The id of a release's backend.
pub(super) fn backend_id(release: &Release, slot: Slot, index: usize) -> BackendId {
    BackendId(format!(
        "{}-{}-{slot}-{}-{index}",
        release.scope.service, release.scope.environment, release.number
    ))
}

async fn connect(address: &str) -> io::Result<()> {
    match tokio::time::timeout(CONNECT_WITHIN, TcpStream::connect(address)).await {
        Ok(connected) => connected.map(drop),
        Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "no answer within 2 s")),
    }
}

/// Whether each accepts connections.
pub(super) async fn preflight(backends: &[Backend]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for backend in backends {
        let subject = format!("backend {}", backend.address);
        findings.push(match connect(&backend.address).await {
            Ok(()) => good(&subject, "accepts connections; it is not ours to start or stop"),
            Err(error) => bad(
                &subject,
                format!("does not accept connections: {error}"),
                Some("start it, or correct its address".to_owned()),
            ),
        });
    }
    findings
}

/// What can be told of one: whether it accepts connections.
pub(super) async fn state(address: &str) -> BackendState {
    match connect(address).await {
        // Since when is not ours to know.
        Ok(()) => BackendState::Running {
            since: agente_engine::names::Timestamp(0),
            restarts: 0,
            healthy: None,
        },
        Err(error) => BackendState::Ended {
            detail: format!(
                "`{address}` does not accept connections: {error}; it is not ours to start"
            ),
        },
    }
}

impl ProcessRuntime {
    /// Remembers that the backend is one that we only look at.
    pub(super) async fn ensure_adopted(&self, backend: &Backend) -> Result<(), Failure> {
        let directory = self.directory(&backend.id).map_err(refused)?;
        let _guard = self.guard(&directory, true).await.map_err(refused)?;
        if directory.spec().is_ok_and(|spec| spec.is_some()) {
            return Err(refused(Fault::new(
                FaultKind::Conflict,
                format!(
                    "the backend `{}` is a process of ours, not one that ran before us",
                    backend.id
                ),
            )));
        }
        directory
            .write_adopted(&backend.address)
            .map_err(|error| refused(unusable(&directory, &error)))
    }
}
