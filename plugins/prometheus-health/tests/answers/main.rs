//! What the plugin makes of the answers of servers: of a real Prometheus, and of those that
//! misbehave.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod odd;
mod real;
mod servers;
