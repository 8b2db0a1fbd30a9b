//! Answers about health: five different things.

use crate::names::ReleaseNumber;
use crate::route::{Backend, Slot};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The five answers. `Errored` (could not ask), `NoData` and `Inconclusive` are not kinds of
/// unhealthy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum VerdictKind {
    /// Within its limits.
    Healthy,
    /// Outside them.
    Unhealthy,
    /// The question could not be asked.
    Errored,
    /// Asked, and nothing was there to judge.
    NoData,
    /// Something was there, too little to judge.
    Inconclusive,
}

impl fmt::Display for VerdictKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            VerdictKind::Healthy => "healthy",
            VerdictKind::Unhealthy => "unhealthy",
            VerdictKind::Errored => "errored",
            VerdictKind::NoData => "no-data",
            VerdictKind::Inconclusive => "inconclusive",
        })
    }
}

/// One answer of one check.
#[derive(Debug, Clone, PartialEq, JsonSchema, Serialize, Deserialize)]
pub struct Verdict {
    pub kind: VerdictKind,
    /// The measured number, where there is one.
    pub value: Option<f64>,
    /// What was seen and what the limit was.
    pub reason: String,
}

/// What a check is asked about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// The slot; none for a dependency or the public side.
    pub slot: Option<Slot>,
    /// The release that should answer; none for a dependency.
    pub release: Option<ReleaseNumber>,
    /// The instances to ask; empty for a dependency.
    pub backends: Vec<Backend>,
    /// The service's public URL, where the check is of the outside.
    pub public_url: Option<String>,
}
