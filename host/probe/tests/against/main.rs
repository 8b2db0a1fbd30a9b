//! The prober against servers that do exactly what they are told, over real sockets.

#![expect(clippy::expect_used, reason = "a test says what it expected and ends")]

mod counting;
mod encrypted;
mod identities;
mod nginx;
mod schedule;
mod server;
