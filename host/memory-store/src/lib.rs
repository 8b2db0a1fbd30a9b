//! A store in memory, for tests: what the ports of the engine promise and no more, for any number
//! of scopes and hosts. It ends with the process.

mod journal;
mod leases;
mod mailbox;
mod store;

pub use leases::HEARTBEAT;
pub use store::MemoryStore;
