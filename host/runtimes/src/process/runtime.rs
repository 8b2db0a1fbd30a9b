//! The port `Runtime` for local processes: what each call comes to is in a file of its own.

use crate::findings::bad;
use crate::process::directory::{BackendDirectory, DirectoryGuard, Guarded};
use crate::process::proven::ProvenArtifacts;
use crate::process::record::SupervisionLimits;
use agente_engine::fault::{Failure, Fault, FaultKind};
use agente_engine::names::{BackendId, Digest};
use agente_engine::ports::{
    BackendRole, BackendState, Finding, Launch, Launched, Retired, Runtime, Secrets,
};
use agente_engine::release::{ProcessSpec, Release, RuntimeSpec};
use agente_engine::route::{Backend, Slot};
use async_trait::async_trait;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// How often a lock that another host holds is tried again.
const TRY_AGAIN: Duration = Duration::from_millis(20);

/// The program that becomes a supervisor: started with these arguments and then the directory, it
/// must call [`supervise`](super::supervise) first of all.
#[derive(Debug, Clone)]
pub struct SupervisorCommand {
    /// An absolute path; for the command line, its own.
    pub program: PathBuf,
    /// What stands before the directory.
    pub args: Vec<String>,
}

/// Where an artifact's file is: digest and file name to path. The path's folder is where the
/// backend runs.
pub type ArtifactPath = Arc<dyn Fn(&Digest, &str) -> PathBuf + Send + Sync>;

/// What the runtime needs to know.
#[derive(Clone)]
pub struct ProcessConfig {
    /// The state directory. `backends` and `retired-logs` are made in it.
    pub state: PathBuf,
    /// How a supervisor is started.
    pub supervisor: SupervisorCommand,
    /// Where artifacts are.
    pub artifacts: ArtifactPath,
    /// Who knows the secrets.
    pub secrets: Arc<dyn Secrets>,
    /// How backends are supervised from now on.
    pub limits: SupervisionLimits,
}

/// Runs backends as local processes.
pub struct ProcessRuntime {
    pub(super) config: ProcessConfig,
    pub(super) proven: ProvenArtifacts,
}

impl ProcessRuntime {
    /// Makes the runtime; touches nothing.
    pub fn new(config: ProcessConfig) -> Self {
        Self { config, proven: ProvenArtifacts::default() }
    }

    pub(super) fn backends(&self) -> PathBuf {
        self.config.state.join("backends")
    }

    /// The directory of a backend. Ids become file names, so they are looked at first.
    pub(super) fn directory(&self, backend: &BackendId) -> Result<BackendDirectory, Fault> {
        let id = &backend.0;
        let sane = id.len() <= 200
            && id.starts_with(|c: char| c.is_ascii_alphanumeric())
            && id.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
        if sane {
            Ok(BackendDirectory::at(self.backends().join(id)))
        } else {
            Err(Fault::new(FaultKind::InvalidConfig, format!("`{id}` is not a backend id")))
        }
    }

    /// Waits for its turn to change the directory. None when it is not there and was not to be
    /// made.
    pub(super) async fn guard(
        &self,
        directory: &BackendDirectory,
        create: bool,
    ) -> Result<Option<DirectoryGuard>, Fault> {
        loop {
            match directory.try_guard(create) {
                Ok(Guarded::Held(guard)) => return Ok(Some(guard)),
                Ok(Guarded::Absent) => return Ok(None),
                Ok(Guarded::Busy) => tokio::time::sleep(TRY_AGAIN).await,
                Err(error) => return Err(unusable(directory, &error)),
            }
        }
    }
}

/// A fault of the directory itself.
pub(super) fn unusable(directory: &BackendDirectory, error: &dyn std::error::Error) -> Fault {
    Fault::new(
        FaultKind::Failed,
        format!("the backend's directory `{}` can't be used", directory.path().display()),
    )
    .hint("check that you can write to the state directory and that its disk is not full")
    .because(error)
}

pub(super) fn refused(fault: Fault) -> Failure {
    Failure::Refused { fault }
}

pub(super) fn unknown(fault: Fault) -> Failure {
    Failure::Unknown { fault }
}

/// The process part of a release.
fn process_part(release: &Release) -> Result<&ProcessSpec, Fault> {
    let RuntimeSpec::Process(process) = &release.runtime else {
        let Release { scope, number, .. } = release;
        return Err(Fault::new(
            FaultKind::Unsupported,
            format!("release {number} of {scope} does not run as local processes"),
        ));
    };
    Ok(process)
}

#[async_trait]
impl Runtime for ProcessRuntime {
    async fn reserve(
        &self,
        release: &Release,
        slot: Slot,
        taken: &[Backend],
    ) -> Result<Vec<Backend>, Fault> {
        self.reserve_ports(release, process_part(release)?, slot, taken)
    }

    async fn preflight(&self, release: &Release, backends: &[Backend]) -> Vec<Finding> {
        match process_part(release) {
            Ok(process) => self.preflight_process(release, process, backends).await,
            Err(fault) => vec![bad("runtime", fault.message, None)],
        }
    }

    async fn ensure(&self, launch: &Launch) -> Result<Launched, Failure> {
        let process = process_part(&launch.release).map_err(refused)?;
        self.ensure_process(launch, process).await?;
        Ok(Launched { address: launch.backend.address.clone() })
    }

    async fn inspect(&self, backend: &Backend) -> Result<BackendState, Fault> {
        self.inspect_backend(backend)
    }

    async fn assign(&self, backend: &Backend, role: BackendRole) -> Result<(), Failure> {
        self.assign_role(backend, role).await
    }

    async fn retire(&self, backend: &Backend, grace: Duration) -> Result<Retired, Failure> {
        self.retire_backend(backend, grace).await
    }

    async fn log_tail(&self, backend: &Backend, max_lines: usize) -> Result<Vec<String>, Fault> {
        self.masked_tail(&backend.id, max_lines).await
    }
}
