//! The strict open-loop prober: our own requests from outside, and what became of each.
//!
//! Invariants of this crate: a request is never sent twice, whatever happens to it; requests are
//! due on a fixed schedule, so that a slow answer never thins out what follows; every connection is
//! opened, used and ended by this crate alone, so that an end or reset can be told apart by where
//! it struck; redirects are not followed; every request ends in exactly one class.
//!
//! [`HttpProber`] is the engine's `Prober`. The parts below it ([`Target`], [`Connection`],
//! [`Recorder`]) also carry the load client of the acceptance tests, so that both judge by the same
//! rules.

mod connection;
mod outcome;
mod pool;
mod prober;
mod recorder;
mod target;
mod watched;

pub use connection::{Ask, Connection};
pub use outcome::{Answer, Class, Loss};
pub use pool::Pool;
pub use prober::HttpProber;
pub use recorder::{IdentityTimes, Presence, Recorder, Window, now_ms};
pub use target::{Target, TargetError};
