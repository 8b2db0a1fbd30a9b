//! What a host and a supervisor tell each other, all of it in files of the backend's directory but
//! for the handover.
//!
//! Invariant: no record on disk holds a secret's value. Values cross in the [`Handover`] alone,
//! through a pipe.

use crate::process::identity::ProcessIdentity;
use agente_engine::names::{Digest, ReleaseNumber, Scope, Timestamp};
use agente_engine::ports::BackendRole;
use agente_engine::route::Backend;
use serde::{Deserialize, Serialize};
use sha2::Digest as _;
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How a supervisor restarts, and how much log it keeps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SupervisionLimits {
    /// The wait before the first restart; doubled for each one after.
    pub first_backoff: Duration,
    /// The longest wait between two restarts.
    pub longest_backoff: Duration,
    /// A run of this length makes the next wait the first one again.
    pub stable_after: Duration,
    /// The size over which the log is rotated; looked at twice a second.
    pub log_max_bytes: u64,
    /// How many log files are kept, the current one included; at least two.
    pub log_files: u32,
}

impl Default for SupervisionLimits {
    fn default() -> Self {
        Self {
            first_backoff: Duration::from_millis(100),
            longest_backoff: Duration::from_secs(10),
            stable_after: Duration::from_secs(10),
            log_max_bytes: 10 * 1024 * 1024,
            log_files: 3,
        }
    }
}

/// `spec.json`: what the backend is. Written by the host before the supervisor starts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Spec {
    /// What the backend is, in the part that must be equal for it to be adopted.
    #[serde(flatten)]
    pub(crate) identity: SpecIdentity,
    /// Of the identity.
    pub(crate) fingerprint: String,
    /// The deployment that asked for it.
    pub(crate) deployment: String,
    /// The program's absolute path.
    pub(crate) program: PathBuf,
    pub(crate) folder: PathBuf,
    /// Program name and arguments, filled in.
    pub(crate) argv: Vec<String>,
    /// The environment, filled in, without the secrets.
    pub(crate) env: BTreeMap<String, String>,
    /// How long it may take to stop when the supervisor itself is told to end.
    pub(crate) stop_grace: Duration,
    /// How it is supervised.
    #[serde(default)]
    pub(crate) limits: SupervisionLimits,
}

/// The part of a specification that tells whether a standing backend is the wanted one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SpecIdentity {
    pub(crate) backend: String,
    /// `127.0.0.1:port`.
    pub(crate) address: String,
    /// The service and environment.
    pub(crate) scope: Scope,
    /// The store that owns them.
    pub(crate) store: String,
    /// The slot's name.
    pub(crate) slot: String,
    pub(crate) release: ReleaseNumber,
    pub(crate) artifact: Digest,
    /// Its file name.
    pub(crate) artifact_name: String,
    /// The command as the manifest has it.
    pub(crate) command: Vec<String>,
    /// The plain environment as the manifest has it.
    pub(crate) plain: BTreeMap<String, String>,
    /// Variable to secret name.
    pub(crate) secrets: BTreeMap<String, String>,
}

impl SpecIdentity {
    /// Whether it is this very backend: by id, by the service and environment that the id is of,
    /// and by address.
    pub(crate) fn is(&self, backend: &Backend) -> bool {
        self.backend == backend.id.0
            && backend.id.is_of(&self.scope)
            && self.address == backend.address
    }

    /// A digest over all of it.
    pub(crate) fn fingerprint(&self) -> String {
        hex::encode(sha2::Sha256::digest(serde_json::to_vec(self).unwrap_or_default()))
    }
}

/// `supervisor.json`: who supervises.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SupervisorRecord {
    /// The process. Its number is that of its session too.
    #[serde(flatten)]
    pub(crate) process: ProcessIdentity,
    /// The supervisors before it, newest first, where it found the backend running in the session
    /// of one of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) before: Vec<ProcessIdentity>,
}

/// Where a backend is, as its supervisor sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "phase", rename_all = "kebab-case")]
pub(crate) enum RunPhase {
    /// The process runs.
    Running { process: ProcessIdentity, since: Timestamp },
    /// It ended and is started again later.
    Waiting { until: Timestamp },
    /// It was told to end.
    Stopping {
        /// Which, where it ran.
        process: Option<ProcessIdentity>,
        /// Since when it ran.
        since: Timestamp,
    },
    /// It is not started again by this supervisor.
    Ended {
        /// Whether it had to be killed.
        killed: bool,
        /// Why it ended.
        reason: String,
    },
}

/// `status.json`: replaced as a whole at each change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Status {
    /// Of the specification that runs.
    pub(crate) fingerprint: String,
    #[serde(flatten)]
    pub(crate) phase: RunPhase,
    /// How often it was started again.
    pub(crate) restarts: u32,
    /// How the last run ended, or why it could not be started.
    pub(crate) last_exit: Option<String>,
}

impl Status {
    /// The process, where one was running when this was written.
    pub(crate) fn process(&self) -> Option<&ProcessIdentity> {
        match &self.phase {
            RunPhase::Running { process, .. } => Some(process),
            RunPhase::Stopping { process, .. } => process.as_ref(),
            RunPhase::Waiting { .. } | RunPhase::Ended { .. } => None,
        }
    }
}

/// `stop`: the request to end for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StopRequest {
    /// How long the backend may take from SIGTERM until it is killed.
    pub(crate) grace: Duration,
}

/// `role`: what it is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RoleRecord {
    /// Live, or kept aside.
    pub(crate) role: BackendRole,
}

/// What a supervisor reads from its standard input before it does anything.
#[derive(Serialize, Deserialize)]
pub(crate) struct Handover {
    /// Of the specification that it is to find in the directory.
    pub(crate) fingerprint: String,
    /// Variable to value.
    pub(crate) secrets: BTreeMap<String, String>,
}

impl fmt::Debug for Handover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handover")
            .field("fingerprint", &self.fingerprint)
            .field("secrets", &self.secrets.keys())
            .finish()
    }
}

/// What a supervisor answers on its standard output, once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "report", rename_all = "kebab-case")]
pub(crate) enum StartReport {
    /// The backend's process runs; it was started, or found running.
    Running,
    /// Another supervisor has the directory.
    Supervised,
    /// The backend could not be started, and nothing is left running.
    Failed { message: String },
}

/// Now, on the wall.
pub(crate) fn now() -> Timestamp {
    Timestamp(
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .ok()
            .and_then(|since| u64::try_from(since.as_millis()).ok())
            .unwrap_or_default(),
    )
}
