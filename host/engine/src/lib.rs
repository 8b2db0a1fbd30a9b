//! The engine of agente-host: domain, plan, saga executor and ports.
//!
//! Invariants of this crate: it does no I/O, reads no clock and no environment, and knows nothing
//! of wasmtime, Docker, HTTP or SQL. It sees the world through [`ports`] alone, so that every
//! strategy runs in a deterministic simulation.

pub mod addresses;
mod analysis;
pub mod attempt;
mod context;
pub mod deployment;
pub mod executor;
pub mod fault;
mod fold;
pub mod journal;
pub mod lookout;
pub mod names;
pub mod placement;
pub mod plan;
pub mod planner;
pub mod policy;
pub mod ports;
pub mod release;
pub mod route;
pub mod standing;
pub mod state;
pub mod statistics;
pub mod step;
pub mod steps;
mod tally;
pub mod verdict;
pub mod weight;
pub mod words;
pub mod world;
