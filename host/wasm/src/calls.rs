//! The tables of kinds of plugin: what one exports, its calls, their phases and what a failure of
//! each means. A kind fills its own in, in its file under `kinds/`.

use crate::broker::Phase;
use std::time::Duration;

/// How long a plugin may take to judge a configuration.
const JUDGING: Duration = Duration::from_secs(10);

/// What the host knows of one kind.
pub(crate) struct Kind {
    /// The package of the contract.
    pub(crate) package: &'static str,
    /// The interfaces that the host calls.
    pub(crate) exports: &'static [Export],
}

/// One interface that plugins of a kind export.
pub(crate) struct Export {
    /// With its version: `agente:traffic/switcher@0.1.0`.
    pub(crate) interface: &'static str,
    /// Whether a plugin of the kind must have it.
    pub(crate) required: bool,
    /// Its functions, in the order of the contract.
    #[cfg_attr(not(test), expect(dead_code, reason = "a table; the host calls by its parts"))]
    pub(crate) calls: &'static [Call],
}

/// One function that a plugin exports and the host calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Call {
    /// Its name: `apply`, `observe`, `check` …
    pub(crate) name: &'static str,
    /// Which grants are in force.
    pub(crate) phase: Phase,
    /// The longest it may take by the clock, whatever was granted.
    pub(crate) wall: Duration,
    pub(crate) on_failure: OnFailure,
}

/// What it means that a call did not do what was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OnFailure {
    /// A fault. Nothing was changed.
    Fault,
    /// A verdict of its own, `errored`: neither healthy nor unhealthy.
    Errored,
    /// Nobody knows what was changed, unless the plugin itself said no and was allowed nothing
    /// that changes anything: then it is a refusal.
    Unknown,
}

impl Call {
    /// One that judges a configuration, with every effect denied.
    pub(crate) const fn judging(name: &'static str) -> Self {
        Self { name, phase: Phase::Closed, wall: JUDGING, on_failure: OnFailure::Fault }
    }

    /// One that only looks.
    pub(crate) const fn reading(name: &'static str) -> Self {
        let wall = Duration::MAX;
        Self { name, phase: Phase::Read, wall, on_failure: OnFailure::Fault }
    }
}

/// How a plugin describes itself. Every plugin has it.
pub(crate) const DESCRIBE: Call = Call::judging("describe");

/// Whether its section of the manifest is good. Every plugin has it.
pub(crate) const CHECK_CONFIG: Call = Call::judging("check-config");
