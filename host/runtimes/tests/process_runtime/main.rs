//! Local processes against real supervisors, real backends and real sockets.

mod adopted;
mod commands;
mod launch;
mod logs;
mod retire;
mod stage;
mod supervision;
