//! Runs backends: local processes, each under a supervisor of its own, and containers of the Docker
//! Engine.

pub mod adopted;
pub mod commands;
pub mod docker;
mod findings;
pub mod process;
mod running;

pub use running::{Running, RunningBy};
