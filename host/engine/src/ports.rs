//! The engine's view of the world. Everything outside is one of these traits.
//!
//! Rules for all of them: a call may be dropped at any await point (an abort, a deadline), and its effect is then unknown; every call that
//! changes something may come again with the same arguments and must then end in the same state; nothing here retries on its own unless it says so.

use crate::fault::{Failure, Fault};
use crate::journal::{Decision, Event};
use crate::names::{BackendId, DeploymentId, OpId, PluginName, Scope, Timestamp};
use crate::policy::CheckPolicy;
use crate::release::Release;
use crate::route::{Backend, Routes, Slot};
use crate::state::ServiceState;
use crate::verdict::{Subject, Verdict};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// The proof of holding the lease: grows with each holder of a scope.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Fence(pub u64);

/// What a backend is started from.
#[derive(Debug, Clone, PartialEq)]
pub struct Launch {
    /// Which one.
    pub backend: Backend,
    /// What runs there.
    pub release: Release,
    /// Where it stands.
    pub slot: Slot,
    /// On whose behalf.
    pub deployment: DeploymentId,
    /// The id of the store that owns the service.
    pub store: String,
}

/// What a backend was seen to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum BackendState {
    /// Nothing of that id is there.
    Absent,
    /// It is there and not yet running, or between two runs.
    Starting {
        /// Why it is not running, where that is known: a crash loop, a back-off.
        detail: String,
        /// How often it was restarted.
        restarts: u32,
    },
    /// It runs.
    Running {
        /// Since when, this run.
        since: Timestamp,
        /// How often it was restarted.
        restarts: u32,
        /// What the runtime's own health check says, where there is one (Docker's HEALTHCHECK).
        healthy: Option<bool>,
    },
    /// It ended and is not started again.
    Ended {
        /// How: exit code or signal, out of memory …
        detail: String,
    },
}

/// How a backend ended when it was retired.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retired {
    /// Whether it was there at all.
    pub found: bool,
    /// Whether it had to be killed because its grace was over.
    pub killed: bool,
}

/// What a standing backend is for, which decides whether it returns after a reboot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BackendRole {
    /// It serves, or is about to: started again after a crash and by `up`.
    Live,
    /// It stands aside at weight 0: started again after a crash, not after a reboot.
    Kept,
}

/// One line of what preflight found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// What was looked at: `disk`, `port 18100`, `image shop:2` …
    pub subject: String,
    /// What was found.
    pub result: FindingResult,
    /// In words, with values.
    pub message: String,
    /// What to type or change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// How a finding counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FindingResult {
    /// As it should be.
    Good,
    /// Worth knowing.
    Warning,
    /// The deployment is refused.
    Bad,
}

/// Starts, finds and stops backends.
#[async_trait]
pub trait Runtime: Send + Sync {
    /// Chooses `release.runtime.instances()` backends for a slot, with addresses that are free now and not in `taken`. Changes nothing; the plan
    /// that holds the answer is the reservation. Called once per plan.
    async fn reserve(&self, release: &Release, slot: Slot, taken: &[Backend]) -> Result<Vec<Backend>, Fault>;

    /// Judges whether the backends could be launched: artifact there, engine reachable, ports free or ours, secrets there. Changes nothing.
    async fn preflight(&self, release: &Release, backends: &[Backend]) -> Vec<Finding>;

    /// Makes sure that the backend runs: adopts one of the same id and specification, replaces one of ours that differs, refuses a foreign one.
    async fn ensure(&self, launch: &Launch) -> Result<(), Failure>;

    /// Looks at a backend.
    async fn inspect(&self, backend: &Backend) -> Result<BackendState, Fault>;

    /// Says what a standing backend is for from now on.
    async fn assign(&self, backend: &Backend, role: BackendRole) -> Result<(), Failure>;

    /// Stops a backend for good and removes it: first politely, killed after `grace`. Absent is success. Never touches what is not ours.
    async fn retire(&self, backend: &Backend, grace: Duration) -> Result<Retired, Failure>;

    /// The newest lines that a backend wrote, for reports; at most `max_lines`, secrets masked.
    async fn log_tail(&self, backend: &Backend, max_lines: usize) -> Result<Vec<String>, Fault>;
}

/// What a switcher is told to bring about.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Desired {
    /// The lease's token.
    pub fence: Fence,
    /// The routes.
    pub routes: Routes,
    /// The id of the store that owns the service.
    pub store: String,
    /// Whether the operator takes a foreign or drifted target over.
    pub force: bool,
}

/// What a switcher saw the running target do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Observed {
    /// The answer.
    pub state: ObservedState,
    /// The generation in force.
    pub generation: String,
    /// The fence in force; 0 where there is none.
    pub fence: Fence,
    /// The routes in force.
    pub routes: Routes,
    /// The id of the store that the target says it belongs to.
    pub store: Option<String>,
    /// One sentence for people.
    pub message: String,
}

impl Observed {
    /// The routes in force; none where nothing of the service is there.
    pub fn in_force(self) -> Option<Routes> {
        let serves = self.routes.routes.iter().any(|route| !route.weight.is_zero());
        (self.state != ObservedState::Absent && serves).then_some(self.routes)
    }
}

/// The answers of an observation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ObservedState {
    /// In force is what was last applied.
    Converged,
    /// Not yet; ask again.
    Pending,
    /// The target is not as we left it.
    Drifted,
    /// Nothing of ours is there yet.
    Absent,
    /// The target can't be read.
    Unsupported,
}

/// What a target can do now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Features {
    /// `weights`, `header`, `cookie`, `fence` …
    pub names: Vec<String>,
    /// The key under which changes of the target take turns.
    pub lock_key: String,
    /// What the operator should know.
    pub warnings: Vec<String>,
    /// The response header by which an answer tells its slot, where the target adds one.
    pub identity_header: Option<String>,
}

/// How far a slot's last requests are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drained {
    /// Whether they have ended.
    pub done: bool,
    /// What is still open.
    pub remaining: u32,
    /// How it is known: `workers-gone`; `no-connections` is weaker.
    pub evidence: String,
    /// One sentence for people.
    pub message: String,
}

/// Changes how a target splits requests. A plugin.
#[async_trait]
pub trait TrafficSwitcher: Send + Sync {
    /// What the target can do now; an error when it can't be used. Changes nothing.
    async fn features(&self) -> Result<Features, Fault>;
    /// The difference that `apply` would make; empty for none. Changes nothing.
    async fn plan(&self, desired: &Desired) -> Result<String, Fault>;
    /// Starts a change. In force only when `observe` says so.
    async fn apply(&self, op: &OpId, desired: &Desired) -> Result<Observed, Failure>;
    /// Looks at the running target. Changes nothing.
    async fn observe(&self) -> Result<Observed, Fault>;
    /// Says whether the last requests to these backends of a slot have ended. Changes nothing; the engine asks again and again.
    async fn drain(&self, op: &OpId, slot: Slot, backends: &[Backend]) -> Result<Drained, Fault>;
}

/// Answers one question about health. A plugin; everything that goes wrong is a verdict.
#[async_trait]
pub trait HealthCheck: Send + Sync {
    /// Asks once. A trap, a deadline or a refusal is `errored`.
    async fn check(&self, check: &CheckPolicy, subject: &Subject) -> Verdict;
}

/// A question to a source of metrics.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MetricQuery {
    /// The plugin that is asked.
    pub plugin: PluginName,
    /// The plugin's own part of the table.
    pub spec: serde_json::Value,
    /// How long one answer may take.
    pub timeout: Duration,
}

/// In which shape numbers are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Wanted {
    /// An expression's value at the window's end.
    Value,
    /// The raw samples of a selector within the window: counters, histogram buckets.
    Samples,
}

/// One series of numbers.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Series {
    /// Its labels, in order.
    pub labels: Vec<(String, String)>,
    /// When and how much, oldest first. Never NaN.
    pub points: Vec<(Timestamp, f64)>,
}

/// What a source of metrics answered.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Reading {
    /// Empty where nothing is there, which is an answer and no fault.
    pub series: Vec<Series>,
    /// Why the numbers must not be relied on, one sentence each.
    pub doubts: Vec<String>,
}

/// Reads numbers for analysis. A plugin; it only reads, the engine judges.
#[async_trait]
pub trait MetricSource: Send + Sync {
    /// Reads what `query` asks for about one side, from `from` to `to`. A source that is away is a fault that is retryable.
    async fn read(&self, query: &MetricQuery, wanted: Wanted, subject: &Subject, from: Timestamp, to: Timestamp) -> Result<Reading, Fault>;
    /// The names in the query that the source has never seen. Asked in preflight.
    async fn missing(&self, query: &MetricQuery) -> Result<Vec<String>, Fault>;
}

/// What our own outside requests saw, in counts since the prober began.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct ProbeReport {
    /// Requests that were due and sent.
    pub sent: u64,
    /// Complete answers below 500.
    pub succeeded: u64,
    /// What failed, by class: `connect`, `reset`, `truncated`, `timeout`, `status-5xx`, `tls`, `protocol`, `overload` (could not be sent in time).
    pub failed: BTreeMap<String, u64>,
    /// Reused connections that ended before any byte of an answer: counted apart.
    pub idle_resets: u64,
    /// Complete answers by what the identity header said.
    pub by_identity: BTreeMap<String, u64>,
    /// Latency of complete answers in microseconds: p50, p95, p99, max.
    pub latency_us: [u64; 4],
    /// The first failures in words, at most ten.
    pub samples: Vec<String>,
}

impl ProbeReport {
    /// All classes of failure together, without idle resets.
    pub fn failed_total(&self) -> u64 {
        self.failed.values().sum()
    }
}

/// Sends our own requests from outside while a deployment runs.
#[async_trait]
pub trait Prober: Send + Sync {
    /// Starts sending; started already is success. Stops when the prober is dropped.
    async fn start(&self) -> Result<(), Fault>;
    /// The counts so far. Cheap; asked several times a second.
    fn report(&self) -> ProbeReport;
    /// Sends `count` requests on fresh connections now and tells the identity each answer carried; an answer without one is an empty text.
    async fn identities(&self, count: usize) -> Result<Vec<String>, Fault>;
}

/// Why the journal did not take an entry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// Another host has the lease now.
    #[error("another host holds the lease of {scope} with a higher token than {fence:?}")]
    Fenced {
        /// Which lease.
        scope: Scope,
        /// Our token.
        fence: Fence,
    },
    /// It could not be written.
    #[error("the journal can't be written: {0}")]
    Unavailable(Fault),
}

/// Holds a target's lock until it is dropped.
pub struct TargetLock(#[expect(dead_code, reason = "held for its drop")] Box<dyn std::any::Any + Send>);

impl TargetLock {
    /// Wraps what releases the lock when it is dropped.
    pub fn new(held: impl std::any::Any + Send) -> Self {
        Self(Box::new(held))
    }
}

/// What the engine needs of the store.
#[async_trait]
pub trait Store: Send + Sync {
    /// Makes an entry and the state that follows from it durable, as one. Refused when the fence is stale.
    async fn append(&self, deployment: &DeploymentId, fence: Fence, event: &Event, state: &ServiceState) -> Result<(), AppendError>;
    /// The decisions of the mailbox beyond number `after`, oldest first. Cheap; asked several times a second.
    async fn decisions(&self, deployment: &DeploymentId, after: u64) -> Result<Vec<Decision>, Fault>;
    /// Takes the lock of a target, waiting its turn. Freed by drop and by death.
    async fn lock_target(&self, key: &str) -> Result<TargetLock, Fault>;
}

/// Time. The engine knows no other.
///
/// Two clocks, because the one on the wall may be set, forward or back, in the middle of a deployment.
#[async_trait]
pub trait Clock: Send + Sync {
    /// Now, by the clock on the wall: for what people and other systems read.
    fn now(&self) -> Timestamp;
    /// The time since some moment before, which only grows, at its own pace: for how long something takes.
    fn elapsed(&self) -> Duration;
    /// Returns after `duration`.
    async fn sleep(&self, duration: Duration);
}

/// Something that people watching want to see at once. Not journaled, may be lost.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "progress", rename_all = "kebab-case")]
pub enum Progress {
    /// An entry was journaled.
    Journaled {
        /// Which.
        #[serde(flatten)]
        event: Box<Event>,
    },
    /// A line of preflight.
    Found {
        /// Which.
        #[serde(flatten)]
        finding: Finding,
    },
    /// A check's answer.
    Checked {
        /// The check's name.
        check: String,
        /// The backend, where one was asked.
        backend: Option<BackendId>,
        /// The answer.
        verdict: Verdict,
    },
    /// How a wait goes on, with the measured value and its limit.
    Waiting {
        /// The step's index.
        step: usize,
        /// In words.
        message: String,
    },
    /// What the prober counts, about once a second while it runs.
    Probe {
        /// So far.
        report: ProbeReport,
    },
}

/// Is told what happens. Must not block.
pub trait Observer: Send + Sync {
    /// Takes one piece of progress.
    fn tell(&self, progress: Progress);
}

// What the plugin host needs of the others: it may not know Docker or the store.

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
    /// Where it runs.
    pub place: CommandPlace,
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
    /// Its parent's.
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
    #[error("the pid file `{0}` holds no process number")]
    BadPidFile(String),
    /// The process is gone, or the container does not run.
    #[error("{0} is not running")]
    NotRunning(String),
    /// Anything else.
    #[error("{0}")]
    Other(Fault),
}

/// Runs and inspects programs, on the host and in containers. Called by the broker, after it has authorised the effect; decides nothing itself.
#[async_trait]
pub trait Commands: Send + Sync {
    /// Runs a program to its end. Dropping the call kills its process group.
    async fn run(&self, command: &CommandSpec) -> Result<CommandOutput, Fault>;
    /// The processes of a target, parents before children.
    async fn tree(&self, target: &ProcessTarget) -> Result<Vec<ProcessInfo>, ProcessError>;
    /// The established TCP connections of those processes.
    async fn connections(&self, target: &ProcessTarget) -> Result<Vec<ConnectionInfo>, ProcessError>;
    /// Sends a signal, by name without `SIG`, to the top process.
    async fn signal(&self, target: &ProcessTarget, signal: &str) -> Result<(), ProcessError>;
    /// The present end of a log: a file's length, or milliseconds since the epoch for `container:<name>`.
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

/// The small memory of plugins.
#[async_trait]
pub trait PluginMemory: Send + Sync {
    /// Reads a value.
    async fn get(&self, plugin: &str, scope: &Scope, key: &str) -> Result<Option<Vec<u8>>, Fault>;
    /// Sets or removes a value; refuses beyond 64 KiB for all keys and values of a plugin in a scope.
    async fn set(&self, plugin: &str, scope: &Scope, key: &str, value: Option<&[u8]>) -> Result<(), Fault>;
}
