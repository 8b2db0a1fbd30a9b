//! The port `Runtime` on a Docker Engine: ensure, inspect, assign, retire.
//!
//! Invariants: a container is known by its labels, and one that lacks them, or carries another
//! store's id, is never changed. Each call looks at what stands before it acts, so that a call
//! repeated after a crash at any point ends with exactly one container per backend. A start is
//! asked for only of a container that was just seen not running. The restart policy is
//! `unless-stopped` while a backend is live and `no` once it is kept or retired, set before the
//! stop, since the engine would else bring it back after a reboot. (Docker has no policy that
//! restarts after a crash and not after a reboot, so a kept backend that crashes stays down until
//! it is launched again.)

use super::ContainerCommands;
use super::call::{CallError, Engine, one_line};
use super::endpoint::{DockerSettings, Endpoint};
use super::labels;
use super::specification::{self, Wanted, docker_part, image_part, mask_of};
use super::state::{Container, ContainerPhase};
use agente_engine::fault::{Failure, Fault, FaultKind};
use agente_engine::names::Scope;
use agente_engine::ports::{
    BackendRole, BackendState, Finding, Launch, Launched, Retired, Runtime, Secrets,
};
use agente_engine::release::{DockerReach, Release};
use agente_engine::route::{Backend, Slot};
use async_trait::async_trait;
use bollard::models::RestartPolicyNameEnum;
use std::sync::Arc;
use std::time::Duration;

/// Runs backends as containers of one Docker Engine.
#[derive(Clone)]
pub struct DockerRuntime {
    pub(crate) engine: Engine,
    pub(crate) secrets: Arc<dyn Secrets>,
}

/// What `up` did about one backend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Raised {
    /// The backend's id.
    pub backend: String,
    /// Whether it was started now (true) or ran already (false); or why it can't be started.
    pub result: Result<bool, Fault>,
}

impl DockerRuntime {
    /// A runtime on the engine that the settings name. Connects to nothing yet.
    pub fn new(settings: DockerSettings, secrets: Arc<dyn Secrets>) -> Self {
        Self { engine: Engine::new(settings), secrets }
    }

    /// The same on another engine.
    #[must_use]
    pub fn at(&self, endpoint: Endpoint) -> Self {
        Self { engine: self.engine.at(endpoint), secrets: Arc::clone(&self.secrets) }
    }

    /// Programs in containers of this engine.
    pub fn commands(&self) -> ContainerCommands {
        ContainerCommands::new(self.engine.settings.clone())
    }

    /// Starts what should stand and doesn't: containers of this store that are live and have ended.
    /// For boot, and safe at any time: a container that was only made, or that was retired or
    /// kept, is left as it is.
    pub async fn up(&self, scope: Option<&Scope>) -> Result<Vec<Raised>, Fault> {
        let mut wanted = vec![
            format!("{}={}", labels::STORE, self.engine.settings.store),
            labels::BACKEND.to_owned(),
        ];
        if let Some(scope) = scope {
            wanted.push(format!("{}={}", labels::SERVICE, scope.service));
            wanted.push(format!("{}={}", labels::ENVIRONMENT, scope.environment));
        }
        let mut raised = Vec::new();
        for summary in self.engine.list(&wanted).await? {
            let Some(standing) = self.engine.look_at(&summary.id.unwrap_or_default()).await? else {
                continue;
            };
            if standing.policy != RestartPolicyNameEnum::UNLESS_STOPPED {
                continue;
            }
            let backend = standing.label(labels::BACKEND).unwrap_or_default().to_owned();
            let result = match standing.phase {
                ContainerPhase::Running | ContainerPhase::Restarting => Ok(false),
                ContainerPhase::Paused => {
                    self.engine.unpause(&standing.id).await.map(|()| true).map_err(Fault::from)
                }
                ContainerPhase::Exited | ContainerPhase::StartFailed if standing.has_run() => {
                    self.engine.start(&standing.id).await.map(|()| true).map_err(|error| {
                        mask_of(&standing.labels, &standing.env).fault(start_fault(
                            &standing.name,
                            None,
                            &error,
                        ))
                    })
                }
                ContainerPhase::Created
                | ContainerPhase::Exited
                | ContainerPhase::StartFailed
                | ContainerPhase::Removing
                | ContainerPhase::Dead => continue,
            };
            raised.push(Raised { backend, result });
        }
        raised.sort_by(|a, b| a.backend.cmp(&b.backend));
        Ok(raised)
    }

    /// Where a backend is reached from this machine: its published address, or its container's own
    /// on the shared network, which the host can reach where the engine runs on this machine.
    /// Good only until its next start.
    pub async fn reachable_address(&self, backend: &Backend) -> Result<String, Fault> {
        let Some(standing) = self.engine.find(&backend.id).await?.standing else {
            return Err(absent(backend));
        };
        if standing.label(labels::PORT).is_some() {
            return Ok(backend.address.clone());
        }
        let port = specification::port_of(&backend.address)?;
        match standing.networks.values().min() {
            Some(address) => Ok(format!("{address}:{port}")),
            None => Err(Fault::new(
                FaultKind::Unavailable,
                format!(
                    "the container `{}` has no address on a network; is it running?",
                    backend.id
                ),
            )
            .retryable()),
        }
    }

    /// Brings about what `wanted` says, whatever stands there.
    async fn settle(&self, launch: &Launch, wanted: Wanted<'_>) -> Result<(), Failure> {
        let found = self.engine.find(&launch.backend.id).await.map_err(refused)?;
        for stray in &found.strays {
            self.replace(stray, wanted.spec.stop_grace).await.map_err(unknown)?;
        }
        if let Some(standing) = found.standing {
            // The image's id is part of the hash. (What an engine shows as a container's image
            // differs between its kinds of image store.)
            let same = standing.label(labels::SPEC_HASH) == Some(wanted.hash.as_str());
            let name = standing.name.as_str();
            match standing.phase {
                ContainerPhase::Running | ContainerPhase::Restarting if same => {
                    return self.make_live(&standing).await.map_err(unknown);
                }
                ContainerPhase::Paused if same => {
                    self.make_live(&standing).await.map_err(unknown)?;
                    return self.engine.unpause(name).await.map_err(|error| unknown(error.fault));
                }
                ContainerPhase::Exited if same => {
                    tracing::info!(
                        container = name,
                        ended = standing.ending(),
                        "restarting a container that had exited"
                    );
                    self.make_live(&standing).await.map_err(unknown)?;
                    return self.start(launch, &wanted).await;
                }
                // The host died between making it and starting it.
                ContainerPhase::Created if same => return self.start(launch, &wanted).await,
                ContainerPhase::Created
                | ContainerPhase::StartFailed
                | ContainerPhase::Running
                | ContainerPhase::Paused
                | ContainerPhase::Restarting
                | ContainerPhase::Exited
                | ContainerPhase::Removing
                | ContainerPhase::Dead => {
                    self.replace(&standing.id, wanted.spec.stop_grace).await.map_err(unknown)?;
                }
            }
        }
        if let DockerReach::Network { name } = &wanted.spec.reach {
            self.engine.ensure_network(name).await.map_err(unknown)?;
        }
        self.create(launch, &wanted).await?;
        self.start(launch, &wanted).await
    }

    async fn create(&self, launch: &Launch, wanted: &Wanted<'_>) -> Result<(), Failure> {
        let name = launch.backend.id.0.as_str();
        let Err(error) = self.engine.create(name, wanted.body.clone()).await else {
            return Ok(());
        };
        if error.is_absent() && error.said.to_lowercase().contains("no such image") {
            self.engine.restore_image(&launch.release.artifact).await.map_err(unknown)?;
            return match self.engine.create(name, wanted.body.clone()).await {
                Ok(_) => Ok(()),
                Err(error) => Err(unknown(error.fault)),
            };
        }
        if error.is_conflict() {
            // Somebody made it between our look and our call. Ours and the same: go on with it;
            // else say whose it is.
            let standing = self.engine.find(&launch.backend.id).await.map_err(unknown)?.standing;
            if standing.is_some_and(|standing| {
                standing.label(labels::SPEC_HASH) == Some(wanted.hash.as_str())
            }) {
                return Ok(());
            }
        }
        Err(unknown(error.fault))
    }

    /// Starts the container of a launch; a failed start is cleaned up, so that the next attempt
    /// begins anew.
    async fn start(&self, launch: &Launch, wanted: &Wanted<'_>) -> Result<(), Failure> {
        let name = launch.backend.id.0.as_str();
        let Err(error) = self.engine.start(name).await else {
            return Ok(());
        };
        if error.status.is_none() {
            // No answer: it may start yet. Its name says so to the next attempt.
            return Err(unknown(error.fault));
        }
        let mut fault = start_fault(name, wanted.port, &error);
        if let (FaultKind::Conflict, Some(port)) = (fault.kind, wanted.port)
            && let Ok(Some(holder)) = self.engine.holder_of_port(port).await
            && holder != name
        {
            fault.message = format!("{} by the container `{holder}`", fault.message);
        }
        if let Err(removal) = self.engine.remove(name, true).await {
            fault.causes.push(format!("and the container could not be removed: {removal}"));
        }
        Err(unknown(fault))
    }

    async fn make_live(&self, standing: &Container) -> Result<(), Fault> {
        if standing.policy == RestartPolicyNameEnum::UNLESS_STOPPED {
            return Ok(());
        }
        Ok(self.engine.set_policy(standing, RestartPolicyNameEnum::UNLESS_STOPPED).await?)
    }

    /// Takes one of our containers away.
    async fn replace(&self, id: &str, grace: Duration) -> Result<bool, Fault> {
        let Some(standing) = self.engine.look_at(id).await? else {
            return Ok(false);
        };
        let killed = self.engine.stop_for_good(&standing, grace).await?;
        self.engine.remove(id, false).await?;
        Ok(killed)
    }
}

#[async_trait]
impl Runtime for DockerRuntime {
    async fn reserve(
        &self,
        release: &Release,
        slot: Slot,
        taken: &[Backend],
    ) -> Result<Vec<Backend>, Fault> {
        super::reserve::reserve(&self.engine, release, slot, taken).await
    }

    async fn preflight(&self, release: &Release, backends: &[Backend]) -> Vec<Finding> {
        super::preflight::preflight(&self.engine, self.secrets.as_ref(), release, backends).await
    }

    async fn ensure(&self, launch: &Launch) -> Result<Launched, Failure> {
        docker_part(&launch.release.runtime).map_err(refused)?;
        image_part(&launch.release.artifact).map_err(refused)?;
        if launch.store != self.engine.settings.store {
            let message = format!(
                "the launch of `{}` belongs to the store `{}`, the runtime to `{}`",
                launch.backend.id, launch.store, self.engine.settings.store
            );
            return Err(refused(Fault::new(FaultKind::Internal, message)));
        }
        let wanted = specification::wanted(launch, self.secrets.as_ref()).await.map_err(refused)?;
        self.engine.settled(&launch.backend.id.0).await.map_err(unknown)?;
        let mask = wanted.mask.clone();
        self.settle(launch, wanted).await.map_err(|failure| match failure {
            Failure::Refused { fault } => refused(mask.fault(fault)),
            Failure::Unknown { fault } => unknown(mask.fault(fault)),
        })?;
        Ok(Launched { address: launch.backend.address.clone() })
    }

    async fn inspect(&self, backend: &Backend) -> Result<BackendState, Fault> {
        self.engine.settled(&backend.id.0).await?;
        Ok(self
            .engine
            .find(&backend.id)
            .await?
            .standing
            .map_or(BackendState::Absent, |standing| standing.backend_state()))
    }

    async fn assign(&self, backend: &Backend, role: BackendRole) -> Result<(), Failure> {
        self.engine.settled(&backend.id.0).await.map_err(unknown)?;
        let standing = self
            .engine
            .find(&backend.id)
            .await
            .map_err(refused)?
            .standing
            .ok_or_else(|| refused(absent(backend)))?;
        let policy = match role {
            BackendRole::Live => RestartPolicyNameEnum::UNLESS_STOPPED,
            BackendRole::Kept => RestartPolicyNameEnum::NO,
        };
        if standing.policy == policy {
            return Ok(());
        }
        self.engine.set_policy(&standing, policy).await.map_err(|error| unknown(error.fault))
    }

    async fn retire(&self, backend: &Backend, grace: Duration) -> Result<Retired, Failure> {
        self.engine.settled(&backend.id.0).await.map_err(unknown)?;
        let found = self.engine.find(&backend.id).await.map_err(refused)?;
        let mut retired = Retired { found: false, killed: false };
        for id in found.standing.into_iter().map(|standing| standing.id).chain(found.strays) {
            retired.found = true;
            retired.killed |= self.replace(&id, grace).await.map_err(unknown)?;
        }
        Ok(retired)
    }

    async fn log_tail(&self, backend: &Backend, max_lines: usize) -> Result<Vec<String>, Fault> {
        match self.engine.find(&backend.id).await?.standing {
            Some(standing) => self.engine.tail(&standing, max_lines).await,
            None => Err(absent(backend)),
        }
    }
}

/// Says why a start failed, from the engine's words: it has one status for many causes.
fn start_fault(name: &str, port: Option<u16>, error: &CallError) -> Fault {
    let said = error.said.to_lowercase();
    let has = |text: &str| said.contains(text);
    let fault = if has("port is already allocated")
        || has("address already in use")
        || has("failed to bind host port")
    {
        let port =
            port.map_or_else(|| "its port".to_owned(), |port| format!("port {port} on 127.0.0.1"));
        let hint = "`ss -ltnp` shows what listens there; the next deployment chooses another port \
        of the range";
        return Fault::new(
            FaultKind::Conflict,
            format!("the container `{name}` could not be started: {port} is taken"),
        )
        .hint(hint);
    } else if has("no space left on device") {
        error.fault.clone()
    } else if has("executable file not found")
        || has("exec format error")
        || (has("exec:") && (has("no such file or directory") || has("permission denied")))
    {
        Fault::new(
            FaultKind::InvalidConfig,
            format!(
                "the container `{name}` could not be started: its command can't run in its image"
            ),
        )
        .hint(
            "compare `command` in the manifest with the image: `docker image inspect` shows its \
            entry point, command and architecture",
        )
    } else if has("bind source path does not exist")
        || has("mount") && has("denied")
        || has("error mounting")
    {
        Fault::new(
            FaultKind::InvalidConfig,
            format!("the container `{name}` could not be started: a volume can't be mounted"),
        )
        .hint("compare `volumes` in the manifest with what is on the engine's machine")
    } else {
        return error.fault.clone();
    };
    let mut fault = fault;
    fault.causes.push(one_line(&error.said));
    fault
}

fn absent(backend: &Backend) -> Fault {
    Fault::new(FaultKind::Failed, format!("there is no container `{}`", backend.id))
        .hint("`agente-host status` shows what should be running; a new deployment starts it again")
}

pub(crate) fn refused(fault: Fault) -> Failure {
    Failure::Refused { fault }
}

pub(crate) fn unknown(fault: Fault) -> Failure {
    Failure::Unknown { fault }
}
