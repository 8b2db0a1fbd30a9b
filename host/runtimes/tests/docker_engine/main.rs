//! The Docker runtime against a real Docker Engine of our own, with images that hold one static
//! program.
//!
//! One engine serves the whole binary and ends with it. Each test has a store, a service and ports
//! of its own.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "what the tests share may fail as loudly as the tests themselves"
)]

mod backends;
mod commands;
mod crashes;
mod daemon;
mod endings;
mod faults;
mod images;
mod left_calls;
mod logs;
mod networks;
mod ownership;
mod planning;
mod proxy;
mod reboot;
mod registry;
mod scene;
