//! The service from outside: well, badly, and at its end.
#![expect(clippy::expect_used, reason = "a test says what it expected and ends")]

mod misbehaving;
mod service;
mod serving;
mod stopping;
