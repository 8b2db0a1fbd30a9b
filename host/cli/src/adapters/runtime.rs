//! The port `Runtime` over all that there is: local processes, Docker Engines, and what ran before
//! us. Each backend is asked of the runtime where it was placed, whatever the manifest says today.

use agente_engine::fault::{Failure, Fault};
use agente_engine::placement::Placement;
use agente_engine::ports::{
    BackendRole, BackendState, Finding, Launch, Launched, Retired, Runtime,
};
use agente_engine::release::{Release, RuntimeSpec};
use agente_engine::route::{Backend, Slot};
use agente_runtimes::adopted::AdoptedRuntime;
use agente_runtimes::docker::{DockerRuntime, Endpoint};
use agente_runtimes::process::ProcessRuntime;
use async_trait::async_trait;
use std::sync::Arc;
use std::time::Duration;

/// All runtimes.
#[derive(Clone)]
pub(crate) struct AnyRuntime {
    pub(crate) process: Arc<ProcessRuntime>,
    /// On any engine: which one is said for each use.
    pub(crate) docker: DockerRuntime,
    /// The engine of this machine or of the manifest, or why it can't be used.
    pub(crate) engine: Result<Endpoint, Fault>,
    /// Whether the manifest runs containers: then earlier releases are launched there too, and
    /// else where they were.
    pub(crate) preferred: bool,
}

impl AnyRuntime {
    /// The engine on which new containers are launched.
    pub(crate) fn docker_for_launch(&self) -> Result<DockerRuntime, Fault> {
        Ok(self.docker.at(self.engine.clone()?))
    }

    /// The engine that has a container.
    pub(crate) fn docker_at(&self, engine: &str) -> Result<DockerRuntime, Fault> {
        Ok(self.docker.at(Endpoint::parse(engine)?))
    }

    /// The address at which this machine reaches a backend: on a network of containers it has a
    /// name that only the network knows.
    pub(crate) async fn reachable(&self, backend: &Backend) -> Result<String, Fault> {
        match &backend.placement {
            Placement::Docker { engine, network: Some(_) } => {
                self.docker_at(engine)?.reachable_address(backend).await
            }
            Placement::Docker { network: None, .. } | Placement::Process | Placement::Adopted => {
                Ok(backend.address.clone())
            }
        }
    }

    fn placed(&self, placement: &Placement) -> Result<Arc<dyn Runtime>, Fault> {
        Ok(match placement {
            Placement::Process => Arc::<ProcessRuntime>::clone(&self.process),
            Placement::Docker { engine, .. } => Arc::new(self.docker_at(engine)?),
            Placement::Adopted => Arc::new(AdoptedRuntime),
        })
    }

    fn placed_for_change(&self, backend: &Backend) -> Result<Arc<dyn Runtime>, Failure> {
        self.placed(&backend.placement).map_err(|fault| Failure::Refused { fault })
    }

    fn for_launch(&self, release: &Release) -> Result<Arc<dyn Runtime>, Fault> {
        Ok(match &release.runtime {
            RuntimeSpec::Process(_) => Arc::<ProcessRuntime>::clone(&self.process),
            RuntimeSpec::Docker(spec) => match &spec.engine {
                Some(engine) if !self.preferred => Arc::new(self.docker_at(engine)?),
                _ => Arc::new(self.docker_for_launch()?),
            },
            RuntimeSpec::Adopted { .. } => Arc::new(AdoptedRuntime),
        })
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
        self.for_launch(release)?.reserve(release, slot, taken).await
    }

    async fn preflight(&self, release: &Release, backends: &[Backend]) -> Vec<Finding> {
        // All backends of a release are placed alike.
        let runtime = match backends.first() {
            Some(backend) => self.placed(&backend.placement),
            None => self.for_launch(release),
        };
        match runtime {
            Ok(runtime) => runtime.preflight(release, backends).await,
            Err(fault) => vec![Finding {
                subject: "runtime".to_owned(),
                result: agente_engine::ports::FindingResult::Bad,
                message: fault.message,
                hint: fault.hint,
            }],
        }
    }

    async fn ensure(&self, launch: &Launch) -> Result<Launched, Failure> {
        self.placed_for_change(&launch.backend)?.ensure(launch).await
    }

    async fn inspect(&self, backend: &Backend) -> Result<BackendState, Fault> {
        self.placed(&backend.placement)?.inspect(backend).await
    }

    async fn assign(&self, backend: &Backend, role: BackendRole) -> Result<(), Failure> {
        self.placed_for_change(backend)?.assign(backend, role).await
    }

    async fn retire(&self, backend: &Backend, grace: Duration) -> Result<Retired, Failure> {
        self.placed_for_change(backend)?.retire(backend, grace).await
    }

    async fn log_tail(&self, backend: &Backend, max_lines: usize) -> Result<Vec<String>, Fault> {
        self.placed(&backend.placement)?.log_tail(backend, max_lines).await
    }
}
