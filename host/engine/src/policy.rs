//! What the operator decided beforehand: how to deploy, what to check, how long to wait and what
//! then.

use crate::names::PluginName;
use crate::ports::{MetricQuery, Wanted};
use crate::route::Override;
use crate::weight::Weight;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How requests move from the stable release to the candidate.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Strategy {
    /// One shift to 100 %.
    BlueGreen,
    /// Shifts with analysis between them.
    Canary {
        /// In growing order; what follows the last is 100 %.
        stages: Vec<Stage>,
        /// By what requests are split.
        by: SplitBy,
    },
    /// Replacement in batches: the stable side shrinks while the candidate grows.
    Rolling {
        /// How many backends there may be beyond a slot's number.
        max_surge: u16,
        /// How many may be missing meanwhile. Not zero where `max_surge` is.
        max_unavailable: u16,
        /// How long each batch is watched before the next.
        pause: Duration,
    },
}

/// One weight of a canary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub struct Stage {
    /// The candidate's share.
    pub weight: Weight,
    /// How long it is watched at least.
    pub pause: Duration,
    /// Whether it then waits for `promote`.
    #[serde(default)]
    pub wait: bool,
}

/// By what a canary splits requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SplitBy {
    /// By the target's weights.
    Weight,
    /// By how many of the candidate's backends stand in the stable side's pool, for a target
    /// without weights.
    Instances,
}

/// What `deploy` does when it meets an open deployment that somebody runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnOpen {
    /// It is refused.
    Refuse,
    /// It waits until the other has ended.
    Queue,
    /// It aborts the other, waits until that is unwound, then begins.
    Supersede,
}

/// When a check is asked.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, JsonSchema, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum CheckMoment {
    /// Before anything is touched. For dependencies, and for what serves now.
    Preflight,
    /// Of the candidate's backends, before they take requests.
    Ready,
    /// Again and again while candidate and stable share the requests.
    Analysis,
    /// After the shift.
    Validate,
    /// Again and again after promote.
    Bake,
}

/// Whom a check asks.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
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
#[derive(Debug, Clone, PartialEq, JsonSchema, Serialize, Deserialize)]
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
    /// How many other answers are tolerated in `Analysis`, `Validate` and `Bake` (`Ready` waits
    /// until its deadline).
    pub limits: Limits,
    /// Whether its answer is only reported.
    pub report_only: bool,
}

/// How many answers of each kind are tolerated before the policy for that kind acts; each on its
/// own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub struct Limits {
    /// `unhealthy`, in all: one more takes the candidate back.
    pub unhealthy: u32,
    /// `errored`, in a row: one more, and the outage policy acts.
    pub errored: u32,
    /// `no-data`, in a row: one more, and the policy for what can't be decided acts before its
    /// deadline.
    pub no_data: Option<u32>,
    /// `inconclusive`, in a row: one more, and the policy for what can't be decided acts before
    /// its deadline.
    pub inconclusive: Option<u32>,
}

/// What is measured of the candidate while it has requests, and what the measures mean.
#[derive(Debug, Clone, PartialEq, JsonSchema, Serialize, Deserialize)]
pub struct AnalysisPolicy {
    /// From the start of one look to the start of the next.
    pub interval: Duration,
    /// How long after a shift the first look comes.
    pub initial_delay: Duration,
    /// How often a candidate that is as good as stable may be taken back: over all checks and
    /// looks of one deployment.
    pub false_alarm: f64,
    /// How often a candidate that is worse by a check's `detect` may pass a stage.
    pub missed: f64,
    /// How long beyond its pause a stage waits for a decision.
    pub extend: Duration,
    /// What happens then.
    pub on_undecided: OnUndecided,
    /// What an outage of the source of metrics means.
    pub on_outage: OnOutage,
    /// The checks that are asked instead during an outage.
    pub fallback: Vec<String>,
    /// How far back the stable release is read in preflight.
    pub lookback: Duration,
    /// The measures.
    pub checks: Vec<AnalysisCheck>,
}

/// What a stage without a decision at its deadline means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnUndecided {
    /// The deployment unwinds.
    Unwind,
    /// A person is asked: `promote` or `abort`.
    Ask,
}

/// What an outage of the source of metrics means. It never counts for or against the candidate by
/// itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnOutage {
    /// The stage waits for it, up to its deadline.
    Hold,
    /// Other checks decide meanwhile, and the outcome says so.
    Fallback,
    /// The deployment goes on without it, and the outcome says so.
    GoOn,
}

/// One measure and its limits.
#[derive(Debug, Clone, PartialEq, JsonSchema, Serialize, Deserialize)]
pub struct AnalysisCheck {
    /// Unique in the manifest.
    pub name: String,
    /// What is measured.
    #[serde(flatten)]
    pub measure: Measure,
    /// How many answers of each kind are tolerated.
    pub limits: Limits,
    /// With so many healthy looks in a row it need not wait for the end of the pause; none for
    /// never.
    pub consecutive_success: Option<u32>,
    /// Whether its answer is only reported.
    pub report_only: bool,
    /// Whether nothing else can stand in for it: neither `fallback` nor `go-on`.
    pub required: bool,
}

/// What an analysis measures.
#[derive(Debug, Clone, PartialEq, JsonSchema, Serialize, Deserialize)]
#[serde(tag = "measure", rename_all = "kebab-case")]
pub enum Measure {
    /// Failed requests of all requests; both are counters. Shares are from 0 to 1.
    Errors {
        /// What counts as failed; nothing there counts as 0.
        errors: MetricQuery,
        /// What counts at all.
        total: MetricQuery,
        /// The greatest share of failed requests.
        max: Option<f64>,
        /// The greatest ratio of the candidate's odds of failing to the stable side's.
        max_ratio_to_stable: f64,
        /// The smallest additional share of failed requests that must not be missed.
        detect: f64,
    },
    /// A histogram of durations.
    Latency {
        /// Its buckets (label `le`, upper bounds in seconds), which are counters.
        buckets: MetricQuery,
        /// Which quantile is limited, from 0 to 1.
        quantile: f64,
        /// Its greatest value in seconds.
        max: Option<f64>,
        /// The greatest ratio of the candidate's quantile to the stable side's.
        max_ratio_to_stable: Option<f64>,
        /// The smallest effect that the rank test minds: how often a request to the candidate may
        /// be slower than one to stable, from 0.5 (equal) to 1.
        max_slower: f64,
    },
    /// A number of now: saturation, a queue's length, memory.
    Value {
        /// What gives exactly one number.
        query: MetricQuery,
        /// Its greatest value.
        max: Option<f64>,
        /// Its smallest value.
        min: Option<f64>,
        /// The greatest ratio to the stable side's number.
        max_ratio_to_stable: Option<f64>,
        /// How many healthy looks in a row pass it.
        count: u32,
    },
}

impl Measure {
    /// Every query of the measure, and in which shape it is wanted.
    pub fn queries(&self) -> Vec<(&MetricQuery, Wanted)> {
        match self {
            Measure::Errors { errors, total, .. } => {
                vec![(errors, Wanted::Samples), (total, Wanted::Samples)]
            }
            Measure::Latency { buckets, .. } => vec![(buckets, Wanted::Samples)],
            Measure::Value { query, .. } => vec![(query, Wanted::Value)],
        }
    }
}

/// How our own outside requests are sent and judged.
#[derive(Debug, Clone, PartialEq, JsonSchema, Serialize, Deserialize)]
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
    /// Whether a reused connection that ends before any byte of an answer counts against the
    /// budget.
    pub count_idle_resets: bool,
    /// The response header that names the slot or release that answered.
    pub identity_header: Option<String>,
    /// What that header says: `{slot}` and `{release}` (the number) are filled in. `{slot}` unless
    /// the application answers with its own.
    pub identity_value: String,
    /// What a stable release that already fails means.
    pub on_failing_baseline: FailingBaseline,
}

/// What to do when the stable release fails during the baseline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailingBaseline {
    /// The budget grows by twice the failure rate of the baseline.
    Relative,
    /// The deployment is refused.
    Refuse,
}

/// What happens to the old side after promote.
#[derive(Debug, Clone, Copy, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnDrainTimeout {
    /// The old side is kept and the outcome says so.
    Keep,
    /// The old side is retired; what was cut is reported.
    Cut,
}

/// How the old side's last requests are waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub struct DrainPolicy {
    pub timeout: Duration,
    pub on_timeout: OnDrainTimeout,
    /// Whether evidence weaker than the target's own (no open connections for a quiet time) is
    /// enough.
    pub accept_weak_evidence: bool,
}

/// How long each kind of step may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
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
    /// How long a person is waited for; then the deployment unwinds.
    pub decide: Duration,
}

/// The policies of one environment.
#[derive(Debug, Clone, PartialEq, JsonSchema, Serialize, Deserialize)]
pub struct Policy {
    /// How requests move.
    pub strategy: Strategy,
    /// What is checked.
    pub checks: Vec<CheckPolicy>,
    /// What is measured while the candidate has requests.
    #[serde(default)]
    pub analysis: Option<AnalysisPolicy>,
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
    /// Rules that send requests to the candidate before it has weight (`slot` is filled in by the
    /// planner).
    pub candidate_overrides: Vec<Override>,
    /// What `deploy` does when it meets an open deployment.
    pub on_open: OnOpen,
    /// The free space that must be left on the store's file system.
    pub min_free_disk_bytes: u64,
}

impl Policy {
    /// The checks that are asked at a moment.
    pub fn checks_at(&self, moment: CheckMoment) -> impl Iterator<Item = &CheckPolicy> {
        self.checks.iter().filter(move |check| check.when.contains(&moment))
    }
}
