//! What the operator decided beforehand: how to deploy, what to check, how long to wait and what then.

use crate::names::PluginName;
use crate::route::Override;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How requests move from the stable release to the candidate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Strategy {
    /// One shift to 100 %.
    BlueGreen,
}

/// When a check is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CheckMoment {
    /// Before anything is touched. For dependencies, and for what serves now.
    Preflight,
    /// Of the candidate's backends, before they take requests.
    Ready,
    /// After the shift.
    Validate,
    /// Again and again after promote.
    Bake,
}

/// Whom a check asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum CheckOf {
    /// Each backend of the slot in question, one by one; all must be healthy.
    Backends,
    /// The service's public URL.
    Public,
    /// Something else that the service needs; the check's own table says where.
    Dependency,
}

/// One check and its limits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CheckPolicy {
    /// Unique in the manifest.
    pub name: String,
    /// The plugin that asks.
    pub plugin: PluginName,
    /// When it is asked.
    pub when: Vec<CheckMoment>,
    /// Whom it asks.
    pub of: CheckOf,
    /// The plugin's own part of the table.
    pub spec: serde_json::Value,
    /// From the start of one question to the start of the next.
    pub interval: Duration,
    /// How long one question may take; then it is `errored`.
    pub timeout: Duration,
    /// How many healthy answers in a row make it healthy.
    pub healthy_after: u32,
    /// How many unhealthy answers are tolerated while waiting for healthy (`Ready` waits until its deadline, so this counts in `Validate` and `Bake`).
    pub unhealthy_limit: u32,
    /// How many answers in a row may be `errored`, `no-data` or `inconclusive` in `Validate` and `Bake` before the policy acts.
    pub unanswered_limit: u32,
    /// Whether its answer is only reported.
    pub report_only: bool,
}

/// How our own outside requests are sent and judged.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProbePolicy {
    /// The service's public URL.
    pub url: String,
    /// `host:port` to connect to instead of the URL's own.
    pub connect: Option<String>,
    /// The `Host` header (and TLS name) instead of the URL's own.
    pub host: Option<String>,
    /// A PEM file of certificate authorities to trust instead of the system's.
    pub ca: Option<String>,
    /// Requests per second.
    pub rate: f64,
    /// How long one request may take until it counts as failed.
    pub timeout: Duration,
    /// A path that may be sent POST requests; none are sent without it.
    pub post_path: Option<String>,
    /// How long to watch the stable release first.
    pub baseline: Duration,
    /// How many failed requests are tolerated.
    pub budget: u64,
    /// Whether a reused connection that ends before any byte of an answer counts against the budget.
    pub count_idle_resets: bool,
    /// The response header that names the slot or release that answered.
    pub identity_header: Option<String>,
    /// What that header says: `{slot}` and `{release}` (the number) are filled in. `{slot}` unless the application answers with its own.
    pub identity_value: String,
    /// What a stable release that already fails means.
    pub on_failing_baseline: FailingBaseline,
}

/// What to do when the stable release fails during the baseline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailingBaseline {
    /// The budget grows by twice the failure rate of the baseline.
    Relative,
    /// The deployment is refused.
    Refuse,
}

/// What happens to the old side after promote.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum KeepPrevious {
    /// It stands at weight 0 until the next deployment.
    UntilNext,
    /// It is retired after this time, by the deployment itself.
    For {
        /// How long it stands.
        duration: Duration,
    },
    /// It is retired once drained.
    None,
}

/// What happens when a drain reaches its deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnDrainTimeout {
    /// The old side is kept and the outcome says so.
    Keep,
    /// The old side is retired; what was cut is reported.
    Cut,
}

/// How the old side's last requests are waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrainPolicy {
    /// How long.
    pub timeout: Duration,
    /// What then.
    pub on_timeout: OnDrainTimeout,
    /// Whether evidence weaker than the target's own (no open connections for a quiet time) is enough.
    pub accept_weak_evidence: bool,
}

/// How long each kind of step may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timeouts {
    /// Preflight, all of it.
    pub preflight: Duration,
    /// Starting all backends.
    pub launch: Duration,
    /// From started to healthy.
    pub healthy: Duration,
    /// From the command to the proof that it is in force.
    pub shift: Duration,
    /// The checks after the shift.
    pub validate: Duration,
    /// One undo, retries included.
    pub undo: Duration,
}

/// The policies of one environment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Policy {
    /// How requests move.
    pub strategy: Strategy,
    /// What is checked.
    pub checks: Vec<CheckPolicy>,
    /// How we watch from outside; none: “outside proof: none”.
    pub probe: Option<ProbePolicy>,
    /// How long the candidate is watched after promote.
    pub bake: Duration,
    /// How the old side drains.
    pub drain: DrainPolicy,
    /// What becomes of it.
    pub keep_previous: KeepPrevious,
    /// Limits in time.
    pub timeouts: Timeouts,
    /// Rules that send requests to the candidate before it has weight (`slot` is filled in by the planner).
    pub candidate_overrides: Vec<Override>,
    /// The free space that must be left on the store's file system.
    pub min_free_disk_bytes: u64,
}

impl Policy {
    /// The checks that are asked at a moment.
    pub fn checks_at(&self, moment: CheckMoment) -> impl Iterator<Item = &CheckPolicy> {
        self.checks.iter().filter(move |check| check.when.contains(&moment))
    }
}
