//! Real components against the plugin host: what they may do, and what becomes of those that
//! misbehave.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "in tests, also outside test functions"
)]

mod aborted;
mod admission;
mod budgets;
mod cached;
mod calls;
mod dropped;
mod egress;
mod files;
mod fixture;
mod metrics;
mod operations;
mod programs;
mod seam;
