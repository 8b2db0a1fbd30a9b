//! The kind `health-check`: answers one question about health.

use crate::failure::{Failure, Labels};
use crate::host::Host;
use crate::plugin::{Plugin, Problem};
use crate::traffic::Backend;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;

/// What is judged.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Subject {
    /// `blue` or `green`; empty for a dependency, which belongs to no slot.
    pub slot: String,
    /// The release's number; 0 for a dependency.
    pub release: u64,
    /// The instances to ask; empty for a dependency.
    pub backends: Vec<Backend>,
    /// `url`: the service's public URL, where the check is of the outside.
    pub labels: Labels,
}

/// The kinds of answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// As it should be.
    Healthy,
    /// Measured, and not as it should be.
    Unhealthy,
    /// The question could not be asked.
    Errored,
    /// It was asked, and there is nothing to judge.
    NoData,
    /// There is something, and it is not enough to judge by.
    Inconclusive,
}

impl Outcome {
    /// As the contract writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
            Self::Errored => "errored",
            Self::NoData => "no-data",
            Self::Inconclusive => "inconclusive",
        }
    }
}

/// The answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Verdict {
    /// Its kind.
    pub outcome: Outcome,
    /// The measured number, where there is one.
    pub value: Option<f64>,
    /// What was seen and what the limit was, for each part of it that matters.
    pub reason: String,
    /// `unit`, `limit`, `latency-ms` …
    pub labels: Labels,
}

impl Verdict {
    /// An answer with its reason.
    pub fn new(outcome: Outcome, reason: impl Into<String>) -> Self {
        Self { outcome, value: None, reason: reason.into(), labels: Labels::new() }
    }

    /// Adds the measured number.
    #[must_use]
    pub fn value(mut self, value: f64) -> Self {
        self.value = Some(value);
        self
    }

    /// Adds a label.
    #[must_use]
    pub fn label(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.labels.push((name.into(), value.into()));
        self
    }
}

/// Answers one question about health. The host repeats, counts and times.
pub trait HealthCheck: Plugin {
    /// A check's own table in the manifest.
    type Spec: DeserializeOwned + JsonSchema;

    /// Judges a check's table that has the right shape. Called with every effect denied; an empty
    /// list means good.
    fn check_spec(spec: &Self::Spec) -> Vec<Problem>;

    /// Asks once. Read phase.
    fn check<H: Host>(
        host: &H,
        config: &Self::Config,
        subject: &Subject,
        spec: &Self::Spec,
    ) -> Result<Verdict, Failure>;
}
