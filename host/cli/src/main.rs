//! The command line of agente-host.
fn main() {}
