//! `[probe]`, `[timeouts]` and `[disk]` as they are written.

use agente_engine::policy::FailingBaseline;
use agente_units::{Size, Span};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub(super) fn seconds(seconds: u64) -> Span {
    Span::seconds(seconds)
}

/// Our own requests from outside.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RawProbe {
    /// The service's public URL, `http` or `https`, with a path that has no side effects.
    #[schemars(required, extend("x-required" = true), example = &"https://shop.example/healthz")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) url: Option<String>,
    /// The `host:port` to connect to instead of the URL's own, for a load balancer on this machine.
    #[schemars(example = &"127.0.0.1:443")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) connect: Option<String>,
    /// The `Host` header and TLS name instead of the URL's own.
    #[schemars(example = &"shop.example")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) host: Option<String>,
    /// A PEM file of certificate authorities to trust instead of the system's, relative to the
    /// manifest.
    #[schemars(example = &"ca.pem")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ca: Option<String>,
    /// Requests per second.
    #[schemars(range(min = 0.01, max = 10_000), example = 50)]
    pub(crate) rate: f64,
    /// How long one request may take before it counts as failed.
    #[schemars(example = &"2s")]
    pub(crate) timeout: Span,
    /// A path that accepts POST requests. Without it: none are sent.
    #[schemars(example = &"/api/echo")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) post_path: Option<String>,
    /// How long to watch the stable release first: at least `5s`, or `0s` to skip it.
    #[schemars(example = &"10s")]
    pub(crate) baseline: Span,
    /// How many failed requests are tolerated.
    #[schemars(example = 3)]
    pub(crate) budget: u64,
    /// Whether a kept-alive connection that ends before any byte of an answer counts against the
    /// budget.
    #[schemars(example = true)]
    pub(crate) count_idle_resets: bool,
    /// How a response identifies the side that sent it, if not by the switcher's own header.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) identity: Option<RawIdentity>,
    /// What to do when the stable release already fails requests: `relative` raises the budget by
    /// twice the baseline's failure rate, `refuse` refuses the deployment.
    #[schemars(example = &"refuse")]
    pub(crate) on_failing_baseline: RawFailingBaseline,
}

impl Default for RawProbe {
    fn default() -> Self {
        Self {
            url: None,
            connect: None,
            host: None,
            ca: None,
            rate: 20.0,
            timeout: seconds(5),
            post_path: None,
            baseline: seconds(5),
            budget: 0,
            count_idle_resets: false,
            identity: None,
            on_failing_baseline: RawFailingBaseline::Relative,
        }
    }
}

/// The response header that names who answered.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RawIdentity {
    /// The header's name.
    #[schemars(required, extend("x-required" = true), example = &"X-Release")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) header: Option<String>,
    /// The header's value; `{slot}` or `{release}` (the number) is filled in, and one of them must
    /// be present.
    #[schemars(example = &"{release}")]
    pub(crate) value: String,
}

impl Default for RawIdentity {
    fn default() -> Self {
        Self { header: None, value: "{slot}".to_owned() }
    }
}

/// What a stable release that already fails means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum RawFailingBaseline {
    /// The budget grows.
    Relative,
    /// The deployment is refused.
    Refuse,
}

impl From<RawFailingBaseline> for FailingBaseline {
    fn from(raw: RawFailingBaseline) -> Self {
        match raw {
            RawFailingBaseline::Relative => FailingBaseline::Relative,
            RawFailingBaseline::Refuse => FailingBaseline::Refuse,
        }
    }
}

/// How long each kind of step may take. What happens at a limit is fixed: before promote the
/// deployment is unwound.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RawTimeouts {
    /// All of preflight.
    #[schemars(example = &"1m")]
    pub(crate) preflight: Span,
    /// Starting all backends.
    #[schemars(example = &"2m")]
    pub(crate) launch: Span,
    /// From a backend's start until it is healthy.
    #[schemars(example = &"5m")]
    pub(crate) healthy: Span,
    /// From the shift command until it is verified to be in force.
    #[schemars(example = &"1m")]
    pub(crate) shift: Span,
    /// The checks after the shift.
    #[schemars(example = &"2m")]
    pub(crate) validate: Span,
    /// Undoing one step, including all attempts.
    #[schemars(example = &"2m")]
    pub(crate) undo: Span,
    /// How long to wait for a decision when a stage waits for `promote` or is undecided; after that
    /// the deployment unwinds.
    #[schemars(example = &"1h")]
    pub(crate) decide: Span,
}

impl Default for RawTimeouts {
    fn default() -> Self {
        Self {
            preflight: seconds(30),
            launch: seconds(60),
            healthy: seconds(60),
            shift: seconds(30),
            validate: seconds(60),
            undo: seconds(60),
            decide: seconds(86_400),
        }
    }
}

/// The disk space that must be free before a deployment starts.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RawDisk {
    /// The free space required on the store's file system.
    #[schemars(example = &"2GiB")]
    pub(crate) min_free: Size,
}

impl Default for RawDisk {
    fn default() -> Self {
        Self { min_free: Size::mebibytes(500) }
    }
}
