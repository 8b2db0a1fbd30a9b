//! The trail of effects: each one that a plugin asked for, allowed or not, without secrets and
//! bounded.

use crate::broker::Phase;
use agente_engine::names::PluginName;
use serde::Serialize;
use std::time::Duration;

/// How long the words of one effect may be.
pub(crate) const MAX_EFFECT_BYTES: usize = 512;

/// How many effects of one operation that change nothing are recorded, and how many that were
/// denied; the others are counted. What changes something and each program always are, for nothing
/// that came before may hide them.
pub(crate) const MAX_EFFECTS: u32 = 1000;

/// One effect that a plugin asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EffectRecord {
    pub plugin: PluginName,
    pub version: String,
    /// The deployment; empty outside one.
    pub deployment: String,
    /// The operation: `apply`, `observe`, `check` …
    pub operation: &'static str,
    pub phase: Phase,
    /// In words, without secrets, at most 512 bytes.
    pub effect: String,
    /// Why it was denied; none where it was allowed.
    pub denied: Option<String>,
}

/// Why a call gave no answer that could be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum CallFault {
    /// It trapped.
    Trapped,
    /// It used up a budget.
    OverBudget,
    /// It took too long by the clock.
    TimedOut,
    /// It, or its answer, does not fit the contract.
    Unfit,
    /// The host could not run it.
    Host,
}

impl CallFault {
    /// The word that people and metrics see.
    pub fn name(self) -> &'static str {
        match self {
            CallFault::Trapped => "trapped",
            CallFault::OverBudget => "over-budget",
            CallFault::TimedOut => "timed-out",
            CallFault::Unfit => "unfit",
            CallFault::Host => "host",
        }
    }
}

/// How a call of a plugin ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum CallEnd {
    /// It answered.
    Answered,
    /// It answered with a failure of its own: it works, and could not do it.
    Failed,
    /// It gave no answer that could be used.
    Faulted(CallFault),
    /// Nobody waited for its answer any more: an abort, the end of a step.
    Dropped,
}

impl CallEnd {
    /// The word that people and metrics see.
    pub fn name(self) -> &'static str {
        match self {
            CallEnd::Answered => "answered",
            CallEnd::Failed => "failed",
            CallEnd::Faulted(_) => "faulted",
            CallEnd::Dropped => "dropped",
        }
    }
}

/// One call of a plugin that has ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CallRecord {
    /// Who was called.
    pub plugin: PluginName,
    /// The deployment; empty outside one.
    pub deployment: String,
    /// The operation: `apply`, `observe`, `check` …
    pub operation: &'static str,
    /// From its beginning to its answer, its own instance included.
    pub took: Duration,
    pub end: CallEnd,
}

/// Is told each effect and each call. Must not block.
pub trait Audit: Send + Sync {
    /// Takes one effect, before it is done.
    fn record(&self, record: EffectRecord);
    /// Takes one call, when it has ended.
    fn called(&self, call: CallRecord) {
        let _ = call;
    }
}

/// How grave a plugin's message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogLevel {
    /// Something failed.
    Error,
    /// Something is odd.
    Warn,
    /// Worth knowing.
    Info,
    /// For the plugin's author.
    Debug,
    /// For the plugin's author, in detail.
    Trace,
}

impl LogLevel {
    /// Reads the contract's word; an unknown one is `info`.
    pub(crate) fn from_word(word: &str) -> Self {
        match word {
            "error" => Self::Error,
            "warn" => Self::Warn,
            "debug" => Self::Debug,
            "trace" => Self::Trace,
            _ => Self::Info,
        }
    }
}

/// A message of a plugin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PluginMessage {
    pub plugin: PluginName,
    /// The operation it belongs to.
    pub operation: &'static str,
    /// How grave.
    pub level: LogLevel,
    /// The text, without secrets.
    pub message: String,
    /// Names and values.
    pub fields: Vec<(String, String)>,
}

/// Takes what plugins tell people. Must not block.
pub trait PluginLog: Send + Sync {
    /// Takes one message.
    fn write(&self, message: PluginMessage);
    /// Takes how far a long operation is.
    fn progress(&self, plugin: &PluginName, percent: Option<u8>, note: &str) {
        let _ = (plugin, percent, note);
    }
}

/// Cuts a text to so many bytes, at a character's border.
pub(crate) fn cut(mut text: String, max_bytes: usize) -> String {
    if text.len() > max_bytes {
        let mut end = max_bytes;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        text.push('…');
    }
    text
}
