//! Local processes, each under a supervisor of its own.
//!
//! `<state>/backends/<backend id>/` is all that a host and a supervisor share. Invariants: there is
//! never a second supervisor for a backend (a lock that death frees); a process is only ever
//! signalled after its start time was compared; a host that is killed at any point leaves what the
//! next one finds and finishes; secrets reach the backend's environment and nothing else.

mod access;
mod backoff;
mod directory;
mod exit;
pub(crate) mod identity;
mod inspect;
mod launch;
mod logs;
mod mask;
mod port;
mod preflight;
mod program;
mod proven;
mod record;
mod retire;
mod running;
mod runtime;
mod specify;
mod supervisor;
mod tree;
mod up;

pub(crate) mod log_file;

pub use logs::LogLines;
pub use record::SupervisionLimits;
pub use runtime::{ArtifactPath, ProcessConfig, ProcessRuntime, SupervisorCommand};
pub use supervisor::supervise;
pub use up::{Up, UpOutcome};

pub(crate) use exit::signal_number;
pub(crate) use identity::{ProcessIdentity, has_ended};
