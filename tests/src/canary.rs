//! Canaries on real servers: a service behind NGINX under load, a Prometheus that scrapes its
//! backends, and candidates that are good or bad in every way the sample service knows.
//!
//! Invariants: what analysis is to catch is left to it, for our own outside requests have a budget
//! that nothing can exceed; times come from the journal and from the load, which knows what became
//! of each single request.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::missing_panics_doc,
    clippy::indexing_slicing,
    reason = "a test's harness says what it expected and ends the test"
)]

mod aborts;
mod candidate;
mod chance;
mod climb;
mod journal;
mod stand;
mod trial;

pub use aborts::{Aborted, Moment, abort_at};
pub use candidate::{Candidate, Watched};
pub use chance::interval;
pub use climb::{Climbed, Share, climb};
pub use journal::{InForce, Story};
pub use stand::Stand;
pub use trial::{Caught, catch};
