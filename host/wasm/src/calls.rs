//! A call of a plugin as the table of its kind has it.

use crate::broker::Phase;
use std::time::Duration;

/// How long a plugin may take to judge a configuration.
const JUDGING: Duration = Duration::from_secs(10);

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
