//! The port `Runtime` over what the machine has: local processes and one Docker Engine.

use agente_engine::fault::{Failure, Fault};
use agente_engine::ports::{BackendRole, BackendState, Finding, Launch, Retired, Runtime};
use agente_engine::release::{Release, RuntimeSpec};
use agente_engine::route::{Backend, Slot};
use agente_runtimes::docker::DockerRuntime;
use agente_runtimes::process::ProcessRuntime;
use async_trait::async_trait;
use std::time::Duration;

/// Both runtimes. A service may move from one to the other: what stands is asked of the one that
/// knows it.
pub(crate) struct AnyRuntime {
    pub(crate) process: ProcessRuntime,
    pub(crate) docker: DockerRuntime,
    /// Whether the manifest runs containers; what no runtime knows is looked for there.
    pub(crate) prefers_docker: bool,
}

impl AnyRuntime {
    fn of_release(&self, release: &Release) -> &dyn Runtime {
        match release.runtime {
            RuntimeSpec::Docker(_) => &self.docker,
            RuntimeSpec::Process(_) | RuntimeSpec::Adopted { .. } => &self.process,
        }
    }

    fn of_backend(&self, backend: &Backend) -> &dyn Runtime {
        if self.prefers_docker && !self.process.knows(backend) {
            &self.docker
        } else {
            &self.process
        }
    }
}

#[async_trait]
impl Runtime for AnyRuntime {
    async fn reserve(
        &self,
        release: &Release,
        slot: Slot,
        taken: &[Backend],
    ) -> Result<Vec<Backend>, Fault> {
        self.of_release(release).reserve(release, slot, taken).await
    }
    async fn preflight(&self, release: &Release, backends: &[Backend]) -> Vec<Finding> {
        self.of_release(release).preflight(release, backends).await
    }
    async fn ensure(&self, launch: &Launch) -> Result<(), Failure> {
        self.of_release(&launch.release).ensure(launch).await
    }
    async fn inspect(&self, backend: &Backend) -> Result<BackendState, Fault> {
        self.of_backend(backend).inspect(backend).await
    }
    async fn assign(&self, backend: &Backend, role: BackendRole) -> Result<(), Failure> {
        self.of_backend(backend).assign(backend, role).await
    }
    async fn retire(&self, backend: &Backend, grace: Duration) -> Result<Retired, Failure> {
        self.of_backend(backend).retire(backend, grace).await
    }
    async fn log_tail(&self, backend: &Backend, max_lines: usize) -> Result<Vec<String>, Fault> {
        self.of_backend(backend).log_tail(backend, max_lines).await
    }
}
