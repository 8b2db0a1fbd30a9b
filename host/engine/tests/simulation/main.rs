//! The engine against fake ports and virtual time: every strategy fails, dies and is aborted
//! everywhere, and the invariants hold throughout.

#![allow(
    clippy::pedantic,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    unreachable_pub,
    reason = "a harness: what is not as it should be ends the test, with the log of the simulated \
              world"
)]

mod canary;
mod deployments;
mod everywhere;
mod frozen;
mod full_journal;
mod hosts;
mod late;
mod lookouts;
mod mishaps;
mod mixtures;
mod moves;
mod others;
mod scene;
mod shapes;
mod targets;
mod time;
mod trust;
mod unsure;
mod unwound;
mod world;
