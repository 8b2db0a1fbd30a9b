//! What the plugin host needs of the others: it may not know Docker or the store.

use super::TargetLock;
use crate::fault::Fault;
use async_trait::async_trait;
use std::collections::BTreeMap;
use std::time::Duration;

/// A program that the broker has allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandSpec {
    /// Absolute path, then arguments.
    pub argv: Vec<String>,
    /// What it reads.
    pub stdin: Vec<u8>,
    /// Its whole environment.
    pub env: BTreeMap<String, String>,
    /// Its working folder.
    pub cwd: Option<String>,
    /// After this its whole process group is killed.
    pub wall: Duration,
    /// How much of each stream is kept.
    pub max_output_bytes: usize,
    pub place: CommandPlace,
    /// Held until the program has ended, also where the call is dropped and that takes a while.
    pub lock: Option<TargetLock>,
}

/// Where a program runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommandPlace {
    /// On the host's machine.
    Host,
    /// In a running container of this name.
    Container(String),
    /// In a new container of this image, removed afterwards.
    Image(String),
}

/// What came of a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandOutput {
    /// The exit status; none where a signal ended it.
    pub status: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// Whether the limit was reached and it was killed.
    pub timed_out: bool,
    /// Standard output.
    pub stdout: Vec<u8>,
    /// Standard error.
    pub stderr: Vec<u8>,
    /// Whether either was cut.
    pub truncated: bool,
}

/// What `ProcessTarget` names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProcessTarget {
    /// The process in this pid file, and its descendants.
    PidFile(String),
    /// The processes of this container.
    Container(String),
}

/// One process of a target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessInfo {
    /// Its number.
    pub pid: u32,
    pub parent: u32,
    /// Its command line as it shows itself.
    pub title: String,
    /// When it started, milliseconds since the epoch; 0 where that can't be told.
    pub started_ms: u64,
}

/// One established TCP connection of a target's processes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionInfo {
    /// `address:port` on the target's side.
    pub local: String,
    /// `address:port` of the peer.
    pub remote: String,
    /// The process that holds it; 0 where that can't be told.
    pub pid: u32,
}

/// Why a target's processes could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProcessError {
    /// The pid file is not there.
    #[error("there is no pid file `{0}`")]
    NoPidFile(String),
    /// The pid file holds no number.
    #[error("the pid file `{0}` contains no process id")]
    BadPidFile(String),
    /// The process is gone, or the container does not run.
    #[error("{0} is not running")]
    NotRunning(String),
    #[error("{0}")]
    Other(Fault),
}

/// Runs and inspects programs, on the host and in containers. Called by the broker, after it has
/// authorised the effect; decides nothing itself.
#[async_trait]
pub trait Commands: Send + Sync {
    /// Runs a program to its end. Dropping the call kills its process group.
    async fn run(&self, command: &CommandSpec) -> Result<CommandOutput, Fault>;
    /// The processes of a target, parents before children.
    async fn tree(&self, target: &ProcessTarget) -> Result<Vec<ProcessInfo>, ProcessError>;
    /// The established TCP connections of those processes.
    async fn connections(
        &self,
        target: &ProcessTarget,
    ) -> Result<Vec<ConnectionInfo>, ProcessError>;
    /// Sends a signal, by name without `SIG`, to the top process.
    async fn signal(&self, target: &ProcessTarget, signal: &str) -> Result<(), ProcessError>;
    /// The present end of a log: a file's length, or milliseconds since the epoch for
    /// `container:<name>`.
    async fn log_mark(&self, path: &str) -> Result<u64, Fault>;
    /// What was written since, the newest `max_bytes` of it.
    async fn log_since(&self, path: &str, mark: u64, max_bytes: usize) -> Result<Vec<u8>, Fault>;
}

/// A secret's value. Prints `[redacted]`.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretValue(String);

impl SecretValue {
    /// Wraps a value.
    pub fn new(value: String) -> Self {
        Self(value)
    }
    /// The value itself, for the one place that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for SecretValue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[redacted]")
    }
}

/// Looks up secrets by the name they have in the manifest.
#[async_trait]
pub trait Secrets: Send + Sync {
    /// Today's value.
    async fn value(&self, name: &str) -> Result<SecretValue, Fault>;
}
