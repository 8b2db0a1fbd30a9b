//! `[strategy]` as it is written.

use super::policy::seconds;
use crate::forms::KeepText;
use agente_engine::policy::{KeepPrevious, OnDrainTimeout, OnOpen, SplitBy};
use agente_engine::route::OverrideBy;
use agente_units::Span;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How requests move to the new release.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("x-kind" = "kind", "x-at-most-one" = ["weights", "stages"]))]
pub(crate) struct RawStrategy {
    /// `blue-green` shifts all requests at once; `canary` shifts growing shares, each watched
    /// before the next; `rolling` replaces backends in batches.
    #[schemars(example = &"canary")]
    pub(crate) kind: RawStrategyKind,
    /// The shares of requests that the new release gets, one after the other, in percent with up
    /// to two decimals, each greater than the one before. A final `100` may be omitted.
    /// Without it: `[10, 25, 50, 100]` for `canary`; `blue-green` has exactly one, `[100]`.
    #[schemars(length(min = 1, max = 100), example = [5, 20, 50, 100], extend("x-kinds" = ["blue-green", "canary"]))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) weights: Option<Vec<f64>>,
    /// The minimum time for which the new release is watched at each share (`canary`) or after each
    /// batch (`rolling`). Without it: `30s` for `canary`, `10s` for `rolling`.
    #[schemars(example = &"2m", extend("x-kinds" = ["canary", "rolling"]))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) pause: Option<Span>,
    /// How a canary splits requests: by the target's own `weight`, or, for a target without
    /// weights, by how many `instances` of the new release run beside those of the old one. Without
    /// it: `weight`.
    #[schemars(example = &"instances", extend("x-kinds" = ["canary"]))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) by: Option<RawSplitBy>,
    /// The shares of a canary one by one, instead of `weights`; each may have a pause of its own,
    /// and may wait for a decision.
    #[schemars(length(min = 1, max = 100), extend("x-kinds" = ["canary"]))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) stages: Option<Vec<RawStage>>,
    /// How many backends beyond the usual number may run during the replacement. Without it: 1.
    #[schemars(range(min = 0, max = 500), example = 2, extend("x-kinds" = ["rolling"]))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) max_surge: Option<u16>,
    /// How many backends may be missing during the replacement. Must not be 0 where `max_surge` is
    /// 0. Without it: 0.
    #[schemars(range(min = 0, max = 500), example = 1, extend("x-kinds" = ["rolling"]))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) max_unavailable: Option<u16>,
    /// What `deploy` does when another deployment is running: `refuse` gives up, `queue` waits
    /// until the other has finished, `supersede` aborts the other, waits until it has unwound, then
    /// starts.
    #[schemars(example = &"queue")]
    pub(crate) on_open: RawOnOpen,
    /// How long the new release is watched after promotion, with a rollback at
    /// hand.
    #[schemars(example = &"5m")]
    pub(crate) bake: Span,
    /// How long the old side is kept at weight 0, ready for a rollback within seconds:
    /// `"until-next"` (until the next deployment), a duration, or `"none"`. It has no effect with
    /// `rolling`, which leaves no complete side to roll back to.
    #[schemars(example = &"1h")]
    pub(crate) keep_previous: KeepText,
    /// How to wait for the old side's last requests.
    pub(crate) drain: RawDrain,
    /// Rules that send individual requests to the new release before it has any weight, as a
    /// preview; at most 16.
    #[serde(rename = "override")]
    #[schemars(length(max = 16))]
    pub(crate) overrides: Vec<RawOverride>,
}

impl Default for RawStrategy {
    fn default() -> Self {
        Self {
            kind: RawStrategyKind::BlueGreen,
            weights: None,
            pause: None,
            by: None,
            stages: None,
            max_surge: None,
            max_unavailable: None,
            on_open: RawOnOpen::Refuse,
            bake: seconds(30),
            keep_previous: KeepText(KeepPrevious::UntilNext),
            drain: RawDrain::default(),
            overrides: Vec::new(),
        }
    }
}

/// The strategies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum RawStrategyKind {
    /// One shift of all requests.
    BlueGreen,
    /// Growing shares, each watched before the next.
    Canary,
    /// Replacement in batches.
    Rolling,
}

/// By what a canary splits requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum RawSplitBy {
    /// By the target's weights.
    Weight,
    /// By the number of backends.
    Instances,
}

impl From<RawSplitBy> for SplitBy {
    fn from(raw: RawSplitBy) -> Self {
        match raw {
            RawSplitBy::Weight => SplitBy::Weight,
            RawSplitBy::Instances => SplitBy::Instances,
        }
    }
}

/// One share of a canary.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RawStage {
    /// The new release's share of requests, in percent with up to two decimals.
    #[schemars(required, extend("x-required" = true), example = 10)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) weight: Option<f64>,
    /// The minimum time for which the new release is watched at this share. Without it: the `pause`
    /// of `[strategy]`.
    #[schemars(example = &"10m")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) pause: Option<Span>,
    /// Whether the next share waits for `agente-host promote`.
    #[schemars(example = true)]
    pub(crate) wait: bool,
}

/// What `deploy` does when it meets an open deployment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum RawOnOpen {
    /// It gives up.
    Refuse,
    /// It waits for the other's end.
    Queue,
    /// It aborts the other.
    Supersede,
}

impl From<RawOnOpen> for OnOpen {
    fn from(raw: RawOnOpen) -> Self {
        match raw {
            RawOnOpen::Refuse => OnOpen::Refuse,
            RawOnOpen::Queue => OnOpen::Queue,
            RawOnOpen::Supersede => OnOpen::Supersede,
        }
    }
}

/// How to wait for the old side's last requests.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RawDrain {
    /// How long to wait. Make it longer than the longest request, or the old side is not retired in
    /// time.
    #[schemars(example = &"2m")]
    pub(crate) timeout: Span,
    /// What happens when it times out: `keep` keeps the old side and reports it, `cut` retires it
    /// and reports what was cut.
    #[schemars(example = &"cut")]
    pub(crate) on_timeout: RawOnTimeout,
    /// Whether weaker evidence than the target's own is enough: no open connections for a while.
    #[schemars(example = true)]
    pub(crate) accept_weak_evidence: bool,
}

impl Default for RawDrain {
    fn default() -> Self {
        Self { timeout: seconds(30), on_timeout: RawOnTimeout::Keep, accept_weak_evidence: false }
    }
}

/// What happens when a drain reaches its deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum RawOnTimeout {
    /// The old side is kept.
    Keep,
    /// The old side is retired.
    Cut,
}

impl From<RawOnTimeout> for OnDrainTimeout {
    fn from(raw: RawOnTimeout) -> Self {
        match raw {
            RawOnTimeout::Keep => OnDrainTimeout::Keep,
            RawOnTimeout::Cut => OnDrainTimeout::Cut,
        }
    }
}

/// A rule that sends a request to the new release.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RawOverride {
    /// What is matched: a `header` or a `cookie`.
    #[schemars(example = &"cookie")]
    pub(crate) by: RawOverrideBy,
    /// The header's or cookie's name.
    #[schemars(required, extend("x-required" = true), example = &"X-Preview")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<String>,
    /// The value that it must equal.
    #[schemars(required, extend("x-required" = true), example = &"candidate")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) value: Option<String>,
}

impl Default for RawOverride {
    fn default() -> Self {
        Self { by: RawOverrideBy::Header, name: None, value: None }
    }
}

/// What an override looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum RawOverrideBy {
    /// A request header.
    Header,
    /// A cookie.
    Cookie,
}

impl From<RawOverrideBy> for OverrideBy {
    fn from(raw: RawOverrideBy) -> Self {
        match raw {
            RawOverrideBy::Header => OverrideBy::Header,
            RawOverrideBy::Cookie => OverrideBy::Cookie,
        }
    }
}
