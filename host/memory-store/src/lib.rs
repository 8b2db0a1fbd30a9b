//! A store in memory, for tests: what the ports of the engine promise and no more, for any number
//! of scopes and hosts. It ends with the process.

mod evidence;
mod history;
mod journal;
mod leases;
mod locks;
mod mailbox;
mod memory;
mod releases;
mod seat;
mod store;
mod target_locks;

pub use store::MemoryStore;
