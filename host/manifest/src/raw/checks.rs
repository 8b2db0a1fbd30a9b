//! `[[checks]]` and `[health]` as they are written.

use agente_engine::policy::{CheckMoment, CheckOf};
use agente_units::Span;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};
use std::collections::BTreeMap;

/// When a check is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum RawMoment {
    /// Before anything is touched.
    Preflight,
    /// Of the new backends, before they take requests.
    Ready,
    /// Again and again while both releases have requests.
    Analysis,
    /// After the shift.
    Validate,
    /// Again and again after promote.
    Bake,
}

impl From<RawMoment> for CheckMoment {
    fn from(moment: RawMoment) -> Self {
        match moment {
            RawMoment::Preflight => CheckMoment::Preflight,
            RawMoment::Ready => CheckMoment::Ready,
            RawMoment::Analysis => CheckMoment::Analysis,
            RawMoment::Validate => CheckMoment::Validate,
            RawMoment::Bake => CheckMoment::Bake,
        }
    }
}

/// Whom a check asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum RawOf {
    /// Each backend of the slot in question; all must be healthy.
    Backends,
    /// The service's public URL, as `[probe]` has it.
    Public,
    /// Something else that the service needs; `spec` says where.
    Dependency,
}

impl From<RawOf> for CheckOf {
    fn from(of: RawOf) -> Self {
        match of {
            RawOf::Backends => CheckOf::Backends,
            RawOf::Public => CheckOf::Public,
            RawOf::Dependency => CheckOf::Dependency,
        }
    }
}

/// One check and its limits.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RawCheck {
    /// The check's name in reports; unique.
    #[schemars(required, extend("x-required" = true), example = &"redis")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<String>,
    /// The plugin that runs it.
    #[schemars(required, extend("x-required" = true), example = &"tcp-health")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) plugin: Option<String>,
    /// What it checks: `backends`, every backend of the slot in question, all of which must be
    /// healthy; `public`, the URL of `[probe]`; `dependency`, something else, which `spec` names.
    #[schemars(example = &"dependency")]
    pub(crate) of: RawOf,
    /// When it runs: `preflight` (before anything is changed), `ready` (on new backends, before
    /// they take requests), `analysis` (repeatedly, while the new release takes part of the
    /// requests with `canary` or `rolling`), `validate` (after the shift), `bake` (repeatedly,
    /// after promotion). Without it: `["ready", "analysis", "validate", "bake"]` of backends,
    /// `["validate", "bake"]` of the public side, `["preflight"]` of a dependency.
    #[schemars(length(min = 1), extend("examples" = [["preflight"]]))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) when: Option<Vec<RawMoment>>,
    /// The plugin's own settings: what exactly is checked, and what is expected.
    #[schemars(extend("examples" = [{"address": "127.0.0.1:6379", "send": "PING\r\n", "expect": "+PONG"}]))]
    pub(crate) spec: Map<String, Json>,
    /// The rhythm and the limits, in the same table.
    #[serde(flatten)]
    pub(crate) limits: RawLimits,
    /// Whether the answer is only reported and changes nothing.
    #[schemars(example = true)]
    pub(crate) report_only: bool,
}

impl Default for RawCheck {
    fn default() -> Self {
        Self {
            name: None,
            plugin: None,
            of: RawOf::Backends,
            when: None,
            spec: Map::new(),
            limits: RawLimits::default(),
            report_only: false,
        }
    }
}

/// How often a check is asked, and how many answers decide.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(default)]
pub(crate) struct RawLimits {
    /// Time from the start of one check to the start of the next.
    #[schemars(example = &"500ms")]
    pub(crate) interval: Span,
    /// How long one check may take before it counts as `errored`. Without it: the interval, but at
    /// least `1s`.
    #[schemars(example = &"500ms")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) timeout: Option<Span>,
    /// How many consecutive healthy answers make it healthy.
    #[schemars(range(min = 1, max = 1000), example = 3)]
    pub(crate) healthy_after: u32,
    /// How many unhealthy answers are tolerated in total, during analysis, after the shift and in
    /// the bake; one more rolls the new release back.
    #[schemars(range(min = 0, max = 1000), example = 0)]
    pub(crate) unhealthy_limit: u32,
    /// How many consecutive answers may be `errored` (the check could not be run). One more leaves
    /// the check undecided: a stage ends at once, a bake is reported as not confirmed.
    #[schemars(range(min = 0, max = 1000), example = 10)]
    pub(crate) errored_limit: u32,
    /// How many consecutive answers may be `no-data`; one more acts as with `errored_limit`.
    #[schemars(range(min = 0, max = 1000), example = 10)]
    pub(crate) no_data_limit: u32,
    /// How many consecutive answers may be `inconclusive`; one more acts as with `errored_limit`.
    #[schemars(range(min = 0, max = 1000), example = 10)]
    pub(crate) inconclusive_limit: u32,
}

impl Default for RawLimits {
    fn default() -> Self {
        Self {
            interval: Span::seconds(1),
            timeout: None,
            healthy_after: 2,
            unhealthy_limit: 2,
            errored_limit: 5,
            no_data_limit: 5,
            inconclusive_limit: 5,
        }
    }
}

/// The health endpoints of the service.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RawHealth {
    /// Paths, or tables with a path and what is expected there. Each becomes a check of its own,
    /// named after its path (`/readyz` becomes `health-readyz`), run against every backend before
    /// it takes requests, during analysis, after the shift and during the bake.
    #[schemars(required, extend("x-required" = true), length(min = 1), extend("examples" = [["/healthz", {"path": "/readyz", "json": {"/database": "up"}}]]))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) endpoints: Option<Vec<RawEndpoint>>,
    /// The rhythm and the limits of each endpoint's check.
    #[serde(flatten)]
    pub(crate) limits: RawLimits,
}

/// A path, or a table with a path and what is expected there.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum RawEndpoint {
    /// A path that answers 200 to 299.
    Path(String),
    /// A path and what is expected there.
    Table(RawEndpointTable),
}

/// A path and what is expected there: the `spec` of `http-health`.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RawEndpointTable {
    /// The path, with a query if needed.
    #[schemars(required, extend("x-required" = true), example = &"/readyz")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) path: Option<String>,
    /// The method. Without it: `GET`.
    #[schemars(example = &"HEAD")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) method: Option<RawMethod>,
    /// The expected status: one (`200`), a range (`"200-299"`), or a list of those. Redirects are
    /// not followed. Without it: `"200-299"`.
    #[schemars(extend("examples" = ["200-204"]))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) status: Option<RawStatus>,
    /// Headers that the response must have: the exact value, or `{ contains = "…" }`.
    #[schemars(extend("examples" = [{"content-type": {"contains": "json"}}]))]
    pub(crate) headers: BTreeMap<String, RawExpectedText>,
    /// Fields of a JSON response, by JSON Pointer, with their expected values.
    #[schemars(extend("examples" = [{"/status": "ok", "/queue/length": 0}]))]
    pub(crate) json: BTreeMap<String, Json>,
    /// A string that the response body must contain.
    #[schemars(example = &"ready")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) body_contains: Option<String>,
    /// How long the response may take.
    #[schemars(example = &"500ms")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) max_latency: Option<Span>,
    /// The `Host` header instead of the backend's address.
    #[schemars(example = &"shop.example")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) host: Option<String>,
    /// The response header that must contain the number of the release being checked.
    #[schemars(example = &"X-Release")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) release_header: Option<String>,
}

/// An exact text, or a part of it.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum RawExpectedText {
    /// Exactly this.
    Equals(String),
    /// Anything with this in it.
    Contains(RawContains),
}

/// Anything with this text in it.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RawContains {
    /// The text.
    #[schemars(required, extend("x-required" = true), example = &"json")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) contains: Option<String>,
}

/// The methods of a health question: those that change nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub(crate) enum RawMethod {
    /// With a body in the answer.
    Get,
    /// Without.
    Head,
}

/// One status, a range, or several of those.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum RawStatus {
    /// Exactly this.
    One(#[schemars(range(min = 100, max = 599))] u16),
    /// First and last, such as `200-299`.
    Range(String),
    /// Any of these.
    Several(#[schemars(length(min = 1))] Vec<RawOneStatus>),
}

/// One status or a range.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum RawOneStatus {
    /// Exactly this.
    One(#[schemars(range(min = 100, max = 599))] u16),
    /// First and last, such as `200-299`.
    Range(String),
}
