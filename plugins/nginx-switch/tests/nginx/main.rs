//! The plugin's logic against a real NGINX: everything that a switch must do, and every way in
//! which NGINX may refuse it.
#![expect(unreachable_pub, reason = "a test has no outside")]
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "what fails here fails the test")]

mod client;
mod container;
mod drains;
mod drift;
mod refusals;
mod rig;
mod switching;
mod unusable;
mod weights;
