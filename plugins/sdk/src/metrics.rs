//! Numbers for analysis: what a plugin of kind `health-check` may give beside verdicts.

use crate::failure::{Failure, Labels};
use crate::health::{HealthCheck, Subject};
use crate::host::Host;
use crate::plugin::Problem;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;

/// In which shape numbers are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// The raw samples of a selector within the window, as they were scraped: counters, histogram
    /// buckets.
    Samples,
    /// An expression's value at the window's end.
    Value,
}

impl Wanted {
    /// As the contract writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Samples => "samples",
            Self::Value => "value",
        }
    }

    /// From what the contract writes; none for a word of a newer host.
    pub fn from_text(text: &str) -> Option<Self> {
        match text {
            "samples" => Some(Self::Samples),
            "value" => Some(Self::Value),
            _ => None,
        }
    }
}

/// The time that is asked about, in milliseconds since the epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Its begin.
    pub start_ms: u64,
    /// Its end.
    pub end_ms: u64,
}

/// One series of numbers.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Series {
    /// Its labels.
    pub labels: Labels,
    /// Milliseconds since the epoch, and the value; oldest first, each later than the one before.
    /// All are finite numbers.
    pub points: Vec<(u64, f64)>,
}

/// What was read.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Reading {
    /// Empty where nothing is there, which is an answer and no failure.
    pub series: Vec<Series>,
    /// Why the numbers must not be relied on, one sentence each.
    pub doubts: Vec<String>,
}

/// Reads numbers for analysis. The host judges them, the plugin only reads.
pub trait MetricSource: HealthCheck {
    /// A query's own table in the manifest.
    type Query: DeserializeOwned + JsonSchema;

    /// Judges a query's table that has the right shape. Called with every effect denied; an empty
    /// list means good.
    fn check_query(query: &Self::Query, wanted: Wanted) -> Vec<Problem>;

    /// Reads what the query asks for. Read phase.
    fn query<H: Host>(
        host: &H,
        config: &Self::Config,
        subject: &Subject,
        query: &Self::Query,
        wanted: Wanted,
        window: Window,
    ) -> Result<Reading, Failure>;

    /// The names in the query that the source has never seen; empty where it knows all of them.
    /// Read phase.
    fn missing<H: Host>(
        host: &H,
        config: &Self::Config,
        query: &Self::Query,
    ) -> Result<Vec<String>, Failure>;
}

#[cfg(test)]
mod tests {
    use super::Wanted;

    #[test]
    fn the_words_of_the_contract_lead_back_to_themselves() {
        for wanted in [Wanted::Samples, Wanted::Value] {
            assert_eq!(Wanted::from_text(wanted.as_str()), Some(wanted));
        }
        assert_eq!(Wanted::from_text("histograms"), None);
    }
}
