//! Runs backends: local processes, each under a supervisor of its own, and containers of the Docker
//! Engine.

pub mod commands;
pub mod docker;
pub mod process;
