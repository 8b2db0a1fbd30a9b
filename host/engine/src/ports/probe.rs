//! Our own requests from outside.

use crate::fault::Fault;
use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;
use serde::Serialize;
use std::collections::BTreeMap;

/// What our own outside requests saw, in counts since the prober began.
#[derive(Debug, Clone, PartialEq, Default, JsonSchema, Serialize, Deserialize)]
pub struct ProbeReport {
    /// Requests that were due and sent.
    pub sent: u64,
    /// Complete answers below 500.
    pub succeeded: u64,
    /// What failed, by class: `connect`, `reset`, `truncated`, `timeout`, `status-5xx`, `tls`,
    /// `protocol`, `overload` (could not be sent in time).
    pub failed: BTreeMap<String, u64>,
    /// Reused connections that ended before any byte of an answer: counted apart.
    pub idle_resets: u64,
    /// Complete answers by what the identity header said.
    pub by_identity: BTreeMap<String, u64>,
    /// Latency of complete answers in microseconds: p50, p95, p99, max.
    pub latency_us: [u64; 4],
    /// The first failures in words, at most ten.
    pub samples: Vec<String>,
}

impl ProbeReport {
    /// All classes of failure together, without idle resets.
    pub fn failed_total(&self) -> u64 {
        self.failed.values().sum()
    }
}

/// Sends our own requests from outside while a deployment runs.
#[async_trait]
pub trait Prober: Send + Sync {
    /// Starts sending; started already is success. Stops when the prober is dropped.
    async fn start(&self) -> Result<(), Fault>;
    /// The counts so far. Cheap; asked several times a second.
    fn report(&self) -> ProbeReport;
    /// Sends `count` requests on fresh connections now and tells the identity each answer carried;
    /// an answer without one is an empty text.
    async fn identities(&self, count: usize) -> Result<Vec<String>, Fault>;
}
