//! The engine's view of the world. Everything outside is one of these traits.
//!
//! Rules for all of them: a call may be dropped at any await point (an abort, a deadline), and its
//! effect is then unknown; every call that changes something may come again with the same arguments
//! and must then end in the same state; nothing here retries on its own unless it says so.

mod clock;
mod health;
mod metrics;
mod observer;
mod plugins;
mod probe;
mod runtime;
mod store;
mod traffic;

pub use clock::Clock;
pub use health::HealthCheck;
pub use metrics::{MetricQuery, MetricSource, Reading, Series, Wanted};
pub use observer::{Observer, Progress};
pub use plugins::{
    CommandOutput, CommandPlace, CommandSpec, Commands, ConnectionInfo, PluginMemory, ProcessError,
    ProcessInfo, ProcessTarget, SecretValue, Secrets,
};
pub use probe::{ProbeReport, Prober};
pub use runtime::{BackendRole, BackendState, Finding, FindingResult, Launch, Retired, Runtime};
pub use store::{AppendError, Fence, Store, TargetLock};
pub use traffic::{Desired, Drained, Features, Observed, ObservedState, TrafficSwitcher};
