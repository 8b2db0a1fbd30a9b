//! The program as a user meets it: the real binary in a folder of its own, with an empty
//! environment; what it writes, and how it ends.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that can't go on has failed"
)]

mod first_steps;
mod grants;
mod help;
mod metrics;
mod mistakes;
mod output;
mod reference;
mod sandbox;
mod signals;
