//! The embedded store: journal, releases, artifacts, lease, mailbox and the small memory of
//! plugins, in one folder with one `SQLite` file.
//!
//! Invariants of this crate:
//! - An entry of the journal, the state that follows from it and the row of its deployment are one
//!   transaction, synced before `append` returns.
//! - Nothing is appended under a fence that is not the newest of its scope, whoever comes back from
//!   the dead.
//! - Entries are only ever added, each chained to the one before it in its scope by hash: the
//!   journal is the audit log.
//! - A write that has begun ends whole even if its caller stops waiting; the same append again adds
//!   nothing.
//! - A lock of a process ends with the process: no lock file ever needs cleaning up.
//! - Space for taking a release back is kept beforehand, and a deployment begins only where it is.
//! - With no byte free the store can be opened and read.
//! - An artifact is either whole under its digest or not there.
//! - Nothing here reads arguments, the environment or the terminal: paths and names come in as
//!   values.

mod append;
mod artifacts;
mod blocker;
mod chain;
mod clock;
mod database;
mod directory;
mod faults;
mod figures;
mod file_lock;
mod held_file;
mod history;
mod holding;
mod journal;
mod lease;
mod leases;
mod link;
mod mailbox;
mod memory;
mod numbers;
mod patience;
mod process;
mod releases;
mod reservations;
mod reserve;
mod schema;
mod scopes;
mod store;
mod target_locks;
mod trail;
mod unwritten;
mod unwritten_leases;

#[cfg(test)]
mod other_process;
#[cfg(test)]
mod sample;

pub use artifacts::{ImportError, Pruned};
pub use blocker::stopped_blocker;
pub use database::OpenError;
pub use directory::{DirectoryError, Origin, StateDirectory, StateInputs};
pub use process::{kill_stopped, tell_to_take_back, this_process};
pub use reservations::ReservationTurn;
pub use store::EmbeddedStore;
