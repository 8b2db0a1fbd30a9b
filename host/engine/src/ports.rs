//! The engine's view of the world. Everything outside is one of these traits.
//!
//! Rules for all of them: a call may be dropped at any await point (an abort, a deadline), and its
//! effect is then unknown; every call that changes something may come again with the same arguments
//! and must then end in the same state; nothing here retries on its own unless it says so.

mod clock;
mod figures;
mod health;
mod history;
mod journal;
mod journal_observer;
mod leases;
mod mailbox;
mod memory;
mod metrics;
mod observer;
mod plugins;
mod probe;
mod releases;
mod runtime;
mod store;
mod targets;
mod traffic;
mod trail;

pub use clock::Clock;
pub use figures::{Figures, PluginCalls, RunFigures, RunRow};
pub use health::HealthCheck;
pub use history::History;
pub use journal::{AppendError, Journal};
pub use journal_observer::JournalObserver;
pub use leases::{
    BELIEF, Fence, HEARTBEAT, Holder, Holding, Lease, LeaseError, Leases, Liveness, SILENCE,
};
pub use mailbox::Mailbox;
pub use memory::{MEMORY_BYTES, Memory};
pub use metrics::{MetricQuery, MetricSource, Reading, Series, Wanted};
pub use observer::{Observer, Progress};
pub use plugins::{
    CommandOutput, CommandPlace, CommandSpec, Commands, ConnectionInfo, ProcessError, ProcessInfo,
    ProcessTarget, SecretValue, Secrets,
};
pub use probe::{ProbeReport, Prober};
pub use releases::Releases;
pub use runtime::{
    BackendRole, BackendState, Finding, FindingResult, Launch, Launched, Retired, Runtime,
};
pub use store::Store;
pub use targets::{TargetLock, TargetLocks};
pub use traffic::{Desired, Drained, Features, Observed, ObservedState, TrafficSwitcher};
pub use trail::{KEPT_EFFECTS, PluginEffect, PluginEffects, Trail};
