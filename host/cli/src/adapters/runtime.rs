//! The port `Runtime` over all that there is: local processes, Docker Engines, and what ran before
//! us. Each backend is asked of the runtime where it was placed, whatever the manifest says today.

use super::clock::now;
use agente_engine::fault::{Failure, Fault};
use agente_engine::names::Scope;
use agente_engine::placement::Placement;
use agente_engine::ports::{
    BackendRole, BackendState, Finding, Launch, Launched, Retired, Runtime,
};
use agente_engine::release::{Release, RuntimeSpec};
use agente_engine::route::{Backend, Slot};
use agente_runtimes::adopted::AdoptedRuntime;
use agente_runtimes::docker::{DockerRuntime, Endpoint};
use agente_runtimes::process::{ProcessRuntime, UpOutcome};
use async_trait::async_trait;
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt, TryStreamExt};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// Lines of a backend, as they come.
pub(crate) type Lines = BoxStream<'static, Result<String, Fault>>;

/// What came of starting a backend, or of asking an engine that has some.
pub(crate) struct Raised {
    /// The backend's id, or the engine's endpoint.
    pub(crate) backend: String,
    /// What was done, in words.
    pub(crate) result: Result<&'static str, Fault>,
}

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

    /// Starts what should be running, each backend by the runtime that it was placed with. One that
    /// fails doesn't keep the others from being started; twice is safe.
    pub(crate) async fn up(&self, scope: &Scope, launches: &[Launch]) -> Vec<Raised> {
        let mut raised = Vec::new();
        let mut engines = BTreeSet::new();
        for launch in launches {
            let Backend { id, placement, .. } = &launch.backend;
            match placement {
                Placement::Process => {
                    let ups = self.process.up(std::slice::from_ref(launch)).await;
                    raised.extend(ups.into_iter().map(|up| Raised {
                        backend: up.backend.0,
                        result: match up.outcome {
                            UpOutcome::Started => Ok("started"),
                            UpOutcome::Running => Ok("runs"),
                            UpOutcome::KeptAside => Ok("kept for a rollback; left alone"),
                            UpOutcome::Failed(failure) => Err(failure.fault().clone()),
                        },
                    }));
                }
                // All containers of an engine at once: it knows which of them should run.
                Placement::Docker { engine, .. } if engines.insert(engine) => {
                    raised.extend(self.up_at(engine, scope).await);
                }
                Placement::Docker { .. } => {}
                Placement::Adopted => {
                    let seen = AdoptedRuntime.ensure(launch).await;
                    raised.push(Raised {
                        backend: id.0.clone(),
                        result: seen.map(|_| "runs").map_err(|failure| failure.fault().clone()),
                    });
                }
            }
        }
        raised
    }

    async fn up_at(&self, engine: &str, scope: &Scope) -> Vec<Raised> {
        let raised = match self.docker_at(engine) {
            Ok(docker) => docker.up(Some(scope)).await,
            Err(fault) => Err(fault),
        };
        match raised {
            Ok(raised) => raised
                .into_iter()
                .map(|raised| Raised {
                    backend: raised.backend,
                    result: raised.result.map(|now| if now { "started" } else { "runs" }),
                })
                .collect(),
            Err(fault) => vec![Raised { backend: engine.to_owned(), result: Err(fault) }],
        }
    }

    /// The newest lines that a backend wrote, oldest first. Those of a process are its operator's
    /// own to read, also while a secret that could be in them can't be looked up.
    pub(crate) async fn newest(
        &self,
        backend: &Backend,
        lines: usize,
    ) -> Result<Vec<String>, Fault> {
        match backend.placement {
            Placement::Process => {
                self.process.logs(backend, lines, false).await?.try_collect().await
            }
            Placement::Docker { .. } | Placement::Adopted => self.log_tail(backend, lines).await,
        }
    }

    /// The same, then each line as it is written.
    pub(crate) async fn follow(&self, backend: &Backend, lines: usize) -> Result<Lines, Fault> {
        match &backend.placement {
            Placement::Process => self.process.logs(backend, lines, true).await,
            Placement::Docker { engine, .. } => {
                let newest = self.newest(backend, lines).await?;
                let following = self.docker_at(engine)?.follow(backend, now());
                let following = stream::unfold(following, async |mut lines| {
                    lines.recv().await.map(|line| (line.map(|line| line.text), lines))
                });
                Ok(stream::iter(newest.into_iter().map(Ok)).chain(following).boxed())
            }
            Placement::Adopted => {
                let newest = self.newest(backend, lines).await?;
                Ok(stream::iter(newest.into_iter().map(Ok)).boxed())
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
