//! `[analysis]` as it is written.

use super::policy::seconds;
use agente_engine::policy::{OnOutage, OnUndecided};
use agente_units::{Share, Span};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};

/// What is measured of the new release while it has requests.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("x-kind" = "on_outage"))]
pub(crate) struct RawAnalysis {
    /// Time from the start of one look at the metrics to the start of the next; the same for all
    /// measures.
    #[schemars(example = &"10s")]
    pub(crate) interval: Span,
    /// How long to wait after a shift before the first look, so that there is data.
    #[schemars(example = &"15s")]
    pub(crate) initial_delay: Span,
    /// How often a release that is as good as the stable one may be rolled back: over all measures
    /// and looks before promote together, and again during the bake.
    #[schemars(example = &"0.1%")]
    pub(crate) false_alarm: Share,
    /// How often a release that is worse by a measure's `detect` may pass a stage.
    #[schemars(example = &"5%")]
    pub(crate) missed: Share,
    /// How long a stage may run beyond its pause to reach a decision.
    #[schemars(example = &"30m")]
    pub(crate) extend: Span,
    /// What happens when a stage ends undecided: `unwind` rolls the new release back, `ask` waits
    /// for `agente-host promote` or `agente-host abort` for at most `timeouts.decide`.
    #[schemars(example = &"ask")]
    pub(crate) on_undecided: RawOnUndecided,
    /// What to do when the metrics source is unavailable and a measure's `errored_limit` is
    /// exceeded: `hold` waits for it until the stage's deadline, `fallback` lets the checks named
    /// in `fallback` decide meanwhile, `go-on` continues without it. The outcome mentions the
    /// latter two. An outage by itself never counts for or against the new release.
    #[schemars(example = &"fallback")]
    pub(crate) on_outage: RawOnOutage,
    /// The checks that decide while the metrics source is unavailable: names from
    /// `[[checks]]`, or of endpoints of `[health]` (`health-readyz`).
    #[schemars(length(min = 1), extend("x-kinds" = ["fallback"], "examples" = [["health-readyz"]]))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) fallback: Option<Vec<String>>,
    /// How far back preflight reads the stable release's metrics, to verify that there are any.
    #[schemars(example = &"15m")]
    pub(crate) lookback: Span,
    /// The measures. At least one.
    pub(crate) checks: Vec<RawAnalysisCheck>,
}

impl Default for RawAnalysis {
    fn default() -> Self {
        Self {
            interval: seconds(1),
            initial_delay: seconds(0),
            false_alarm: Share::from_ratio(0.01),
            missed: Share::from_ratio(0.01),
            extend: seconds(300),
            on_undecided: RawOnUndecided::Unwind,
            on_outage: RawOnOutage::Hold,
            fallback: None,
            lookback: seconds(300),
            checks: Vec::new(),
        }
    }
}

/// What a stage without a decision means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum RawOnUndecided {
    /// A person is asked.
    Ask,
    /// The new release is taken back.
    Unwind,
}

impl From<RawOnUndecided> for OnUndecided {
    fn from(raw: RawOnUndecided) -> Self {
        match raw {
            RawOnUndecided::Ask => OnUndecided::Ask,
            RawOnUndecided::Unwind => OnUndecided::Unwind,
        }
    }
}

/// What an outage of the source of the numbers means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum RawOnOutage {
    /// The stage waits.
    Hold,
    /// Other checks decide meanwhile.
    Fallback,
    /// The deployment does without.
    GoOn,
}

impl From<RawOnOutage> for OnOutage {
    fn from(raw: RawOnOutage) -> Self {
        match raw {
            RawOnOutage::Hold => OnOutage::Hold,
            RawOnOutage::Fallback => OnOutage::Fallback,
            RawOnOutage::GoOn => OnOutage::GoOn,
        }
    }
}

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum RawMeasure {
    /// Failed requests of all requests.
    Errors,
    /// A histogram of durations.
    Latency,
    /// A number of now.
    Value,
}

/// One measure and its limits.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("x-kind" = "measure"))]
pub(crate) struct RawAnalysisCheck {
    /// The measure's name in reports; unique among all checks.
    #[schemars(required, extend("x-required" = true), example = &"errors")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<String>,
    /// The plugin that reads the metrics. It may be omitted if the manifest has exactly one
    /// `[plugins.<name>]` table of a plugin other than the switcher, `http-health` and
    /// `tcp-health`: then that one is used.
    #[schemars(example = &"prometheus-health")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) plugin: Option<String>,
    /// What is measured: `errors` compares shares of failed requests, `latency` compares request
    /// durations from a histogram, `value` is a current number such as a queue length.
    #[schemars(required, extend("x-required" = true), example = &"errors")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) measure: Option<RawMeasure>,
    /// `errors`: failed requests, a counter; a missing series counts as 0. A string is short for `{
    /// query = "…" }`; a table is passed to the plugin as it is.
    #[schemars(extend("x-kinds" = ["errors"], "examples" = ["http_requests_total{slot=\"{{slot}}\",code=~\"5..\"}"]))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) errors: Option<RawQuery>,
    /// `errors`: all requests, a counter. Written like `errors`.
    #[schemars(extend("x-kinds" = ["errors"], "examples" = ["http_requests_total{slot=\"{{slot}}\"}"]))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) total: Option<RawQuery>,
    /// `latency`: the buckets of a histogram in seconds (label `le`), which are counters. Written
    /// like `errors`.
    #[schemars(extend("x-kinds" = ["latency"], "examples" = ["http_request_duration_seconds_bucket{slot=\"{{slot}}\"}"]))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) buckets: Option<RawQuery>,
    /// `value`: a query that returns exactly one number. Written like `errors`.
    #[schemars(extend("x-kinds" = ["value"], "examples" = ["max(queue_length{slot=\"{{slot}}\"})"]))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) query: Option<RawQuery>,
    /// The highest acceptable value: a share of failed requests (`"5%"`) for `errors`, a duration
    /// (`"300ms"`) for `latency`, a number for `value`.
    #[schemars(extend("examples" = ["5%"]))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) max: Option<RawMost>,
    /// `value`: the lowest acceptable value.
    #[schemars(example = 1, extend("x-kinds" = ["value"]))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) min: Option<f64>,
    /// The highest acceptable ratio to the stable side: of the odds of failing for `errors`
    /// (without it: 1.5), of the quantile for `latency` (without it: 2, if there is no `max`),
    /// of the number for `value`.
    #[schemars(range(min = 1), example = 1.2)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) max_ratio_to_stable: Option<f64>,
    /// `latency`: which quantile is limited, between 0 and 1. Without it: 0.99.
    #[schemars(example = 0.95, extend("x-kinds" = ["latency"]))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) quantile: Option<f64>,
    /// `latency`: how often a request to the new release may be slower than one to the stable
    /// release, from 0.5 (as often as not) to below 1. Without it: 0.64.
    #[schemars(example = 0.6, extend("x-kinds" = ["latency"]))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) max_slower: Option<f64>,
    /// `errors`: the smallest additional share of failed requests that must not be missed. Without
    /// it: `1%`.
    #[schemars(example = &"0.5%", extend("x-kinds" = ["errors"]))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) detect: Option<Share>,
    /// `value`: how many consecutive healthy looks pass it. Without it: 3.
    #[schemars(range(min = 1, max = 1000), example = 5, extend("x-kinds" = ["value"]))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) count: Option<u32>,
    /// How long one query may take before the look counts as `errored`. Without it: `5s`.
    #[schemars(example = &"2s")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) timeout: Option<Span>,
    /// How many unhealthy looks are tolerated in total; one more rolls the new release back.
    /// Without it: 0 for `errors` and `latency`, 2 for `value`.
    #[schemars(range(min = 0, max = 1000), example = 1)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) unhealthy_limit: Option<u32>,
    /// How many consecutive looks may be `errored` (the source could not be read); one more, and
    /// `on_outage` acts. Without it: 2.
    #[schemars(range(min = 0, max = 1000), example = 5)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) errored_limit: Option<u32>,
    /// How many consecutive looks may find no data; one more, and `on_undecided` acts. Without it:
    /// unlimited until the stage's deadline.
    #[schemars(range(min = 0, max = 1000), example = 10)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) no_data_limit: Option<u32>,
    /// How many consecutive looks may be `inconclusive` (too few requests yet, or unreliable data);
    /// one more, and `on_undecided` acts. Without it: unlimited until the stage's deadline.
    #[schemars(range(min = 0, max = 1000), example = 100)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) inconclusive_limit: Option<u32>,
    /// After this many consecutive healthy looks the measure no longer keeps a stage waiting for
    /// the end of its pause. Without it: it always does.
    #[schemars(range(min = 1, max = 1000), example = 10)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) consecutive_success: Option<u32>,
    /// Whether the answer is only reported and changes nothing.
    #[schemars(example = true)]
    pub(crate) report_only: bool,
    /// Whether nothing may replace the measure while its source is unavailable: neither `fallback`
    /// nor `go-on`.
    #[schemars(example = true)]
    pub(crate) required: bool,
}

/// A query: in short, or the plugin's own table.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum RawQuery {
    /// Short for `{ query = "…" }`.
    Text(String),
    /// Handed to the plugin as it is.
    Table(Map<String, Json>),
}

/// The highest acceptable value: a share, a duration or a number.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum RawMost {
    /// A share or a duration.
    Text(String),
    /// A number.
    Number(f64),
}
