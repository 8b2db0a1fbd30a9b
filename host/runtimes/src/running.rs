//! Backends that run, by what they carry themselves and not by any journal: what is live where the
//! store is lost, or says something else.

use agente_engine::names::{BackendId, ReleaseNumber, Timestamp};
use std::fmt;
use std::path::PathBuf;

/// A backend that runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Running {
    pub backend: BackendId,
    /// Where it is reached, if it tells.
    pub address: Option<String>,
    /// Its release, if it tells.
    pub release: Option<ReleaseNumber>,
    /// The store that made it, if it tells.
    pub store: Option<String>,
    /// Since when, if that is known.
    pub since: Option<Timestamp>,
    pub by: RunningBy,
}

/// How it is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunningBy {
    /// Its supervisor's records, in the state directory that was asked.
    Records {
        /// The backend's own process.
        pid: u32,
    },
    /// A supervisor. One that runs for another state directory may be that of another service of
    /// the same name.
    Supervisor {
        /// The supervisor's process.
        pid: u32,
        /// Where its records are.
        state: PathBuf,
    },
    /// The labels of a container.
    Container {
        name: String,
        /// The engine's endpoint.
        engine: String,
    },
}

impl fmt::Display for RunningBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Records { pid } => write!(f, "process {pid}"),
            Self::Supervisor { pid, state } => {
                write!(f, "supervisor {pid}, for the state directory `{}`", state.display())
            }
            Self::Container { name, engine } => write!(f, "container `{name}` at {engine}"),
        }
    }
}
