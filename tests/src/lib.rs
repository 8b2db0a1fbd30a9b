//! Tests that span crates, on real servers

#![expect(clippy::missing_panics_doc, reason = "a harness for tests: it panics with what it saw")]

pub mod canary;
pub mod load;
pub mod own_folder;
pub mod scene;
pub mod soak;
