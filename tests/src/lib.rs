//! Tests that span crates, on real servers

pub mod load;
pub mod own_folder;
pub mod scene;
pub mod soak;
