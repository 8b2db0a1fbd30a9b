//! Where a backend runs. Decided when it is planned, journaled with the plan, and never guessed
//! again: not from its release, its address, or what a manifest says today.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The runtime that has a backend, and where that runtime is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, JsonSchema, Serialize, Deserialize)]
#[serde(tag = "runtime", rename_all = "kebab-case")]
pub enum Placement {
    /// A local process under a supervisor of ours.
    Process,
    /// A container.
    Docker {
        /// The engine's endpoint: `unix:///var/run/docker.sock`, `tcp://127.0.0.1:2375`.
        engine: String,
        /// The network on which the balancer reaches it; none where its port is published on this
        /// machine.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        network: Option<String>,
    },
    /// It ran before us: looked at, never started, stopped or changed.
    Adopted,
}

impl Placement {
    /// The endpoint of the Docker Engine that has the backend, where it is a container.
    pub fn engine(&self) -> Option<&str> {
        match self {
            Placement::Docker { engine, .. } => Some(engine),
            Placement::Process | Placement::Adopted => None,
        }
    }

    /// Whether the backend takes a port of this machine.
    pub fn has_port_of_machine(&self) -> bool {
        match self {
            Placement::Process | Placement::Adopted => true,
            Placement::Docker { network, .. } => network.is_none(),
        }
    }
}

impl fmt::Display for Placement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Placement::Process => f.write_str("process"),
            Placement::Docker { engine, network: None } => write!(f, "docker at {engine}"),
            Placement::Docker { engine, network: Some(network) } => {
                write!(f, "docker at {engine}, network {network}")
            }
            Placement::Adopted => f.write_str("adopted"),
        }
    }
}
