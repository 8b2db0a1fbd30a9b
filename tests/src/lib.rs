//! Tests that span crates, on real servers

pub mod load;
