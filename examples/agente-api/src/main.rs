//! A sample service.
fn main() {}
