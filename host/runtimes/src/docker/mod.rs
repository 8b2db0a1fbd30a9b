//! Containers through the Docker Engine: the port `Runtime` for releases that run in containers,
//! and the container part of the port `Commands`.
//!
//! What is ours is known by labels alone ([`labels`]); names are the backends' ids; images are run
//! by id. Every call has a time limit of ours.

mod call;
mod command_runs;
mod container_commands;
mod containers;
mod credentials;
mod endpoint;
mod host_processes;
mod images;
mod in_flight;
pub mod labels;
mod logs;
mod mask;
mod network;
mod preflight;
mod reference;
mod reserve;
mod running;
mod runtime;
mod specification;
mod state;
mod streams;

pub use container_commands::ContainerCommands;
pub use endpoint::{DockerSettings, Endpoint};
pub use images::{Pruned, Pull};
pub use logs::{LogLine, LogSource};
pub use runtime::{DockerRuntime, Raised};
