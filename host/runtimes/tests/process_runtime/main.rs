//! Local processes against real supervisors, real backends and real sockets.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test ends where it finds something amiss"
)]

mod commands;
mod launch;
mod logs;
mod retire;
mod stage;
mod supervision;
