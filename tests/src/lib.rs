//! Tests that span crates, on real servers
