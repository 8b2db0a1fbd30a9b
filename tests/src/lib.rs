//! Tests that span crates, on real servers

#![expect(
    clippy::missing_panics_doc,
    clippy::indexing_slicing,
    clippy::return_self_not_must_use,
    reason = "a harness for tests: it panics with what it saw, and an index that is not there fails the test"
)]

pub mod load;
pub mod own_folder;
pub mod scene;
pub mod soak;
