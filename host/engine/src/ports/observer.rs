//! Telling those who watch.

use super::Finding;
use super::ProbeReport;
use crate::names::BackendId;
use crate::verdict::Verdict;
use schemars::JsonSchema;
use serde::Serialize;

/// Something that people watching want to see at once. Not journaled, may be lost.
#[derive(Debug, Clone, PartialEq, JsonSchema, Serialize)]
#[serde(tag = "progress", rename_all = "kebab-case")]
pub enum Progress {
    /// A line of preflight.
    Found {
        #[serde(flatten)]
        finding: Finding,
    },
    /// A check's answer.
    Checked {
        /// The check's name.
        check: String,
        /// The backend, where one was asked.
        backend: Option<BackendId>,
        verdict: Verdict,
    },
    /// How a wait goes on, with the measured value and its limit.
    Waiting {
        /// The step's index; none outside of any step.
        #[serde(skip_serializing_if = "Option::is_none")]
        step: Option<usize>,
        message: String,
    },
    /// What the prober counts, about once a second while it runs.
    Probe {
        /// So far.
        report: ProbeReport,
    },
}

/// Is told what happens. Must not block.
pub trait Observer: Send + Sync {
    /// Takes one piece of progress.
    fn tell(&self, progress: Progress);
}
