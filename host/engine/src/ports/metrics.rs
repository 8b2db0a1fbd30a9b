//! Reading numbers for analysis.

use crate::fault::Fault;
use crate::names::PluginName;
use crate::names::Timestamp;
use crate::verdict::Subject;
use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;
use serde::Serialize;
use std::time::Duration;

/// A question to a source of metrics.
#[derive(Debug, Clone, PartialEq, JsonSchema, Serialize, Deserialize)]
pub struct MetricQuery {
    /// The plugin that is asked.
    pub plugin: PluginName,
    /// The plugin's own part of the table.
    pub spec: serde_json::Value,
    /// How long one answer may take.
    pub timeout: Duration,
}

/// In which shape numbers are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Wanted {
    /// An expression's value at the window's end.
    Value,
    /// The raw samples of a selector within the window: counters, histogram buckets.
    Samples,
}

/// One series of numbers.
#[derive(Debug, Clone, PartialEq, Default, JsonSchema, Serialize, Deserialize)]
pub struct Series {
    /// Its labels, in order.
    pub labels: Vec<(String, String)>,
    /// When and how much, oldest first. Never NaN.
    pub points: Vec<(Timestamp, f64)>,
}

/// What a source of metrics answered.
#[derive(Debug, Clone, PartialEq, Default, JsonSchema, Serialize, Deserialize)]
pub struct Reading {
    /// Empty where nothing is there, which is an answer and no fault.
    pub series: Vec<Series>,
    /// Why the numbers must not be relied on, one sentence each.
    pub doubts: Vec<String>,
}

/// Reads numbers for analysis. A plugin; it only reads, the engine judges.
#[async_trait]
pub trait MetricSource: Send + Sync {
    /// Reads what `query` asks for about one side, from `from` to `to`. A source that is away is a
    /// fault that is retryable.
    async fn read(
        &self,
        query: &MetricQuery,
        wanted: Wanted,
        subject: &Subject,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Reading, Fault>;
    /// The names in the query that the source has never seen. Asked in preflight.
    async fn missing(&self, query: &MetricQuery) -> Result<Vec<String>, Fault>;
}
