//! The contract of a store: each promise that the engine's ports make about one is a test here, and
//! runs against every store that there is.
//!
//! A store has a test target without the usual harness that fills [`Stores`] and calls [`run`]:
//!
//! ```toml
//! [[test]]
//! name = "contract"
//! harness = false
//! ```
//!
//! Invariants of this crate:
//! - Time is a [`HandClock`]: nothing here waits for time to pass, and no promise rests on how fast
//!   the machine is.
//! - Each test has a store of its own.
//! - What only one store can do, or does beyond its promises, is tested beside that store.
#![expect(
    clippy::missing_panics_doc,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::unchecked_time_subtraction,
    reason = "it is all tests"
)]

mod clock;
mod figures;
mod history;
mod identity;
mod journal;
mod leases;
mod loss;
mod mailbox;
mod memory;
mod outage;
mod releases;
pub mod sample;
mod stores;
mod target_locks;
mod trail;

pub use clock::HandClock;
pub use stores::Stores;

use agente_engine::ports::TargetLocks;
use libtest_mimic::{Arguments, Trial};
use std::process::ExitCode;

/// Names tests and makes trials of them.
macro_rules! promises {
    ($group:literal: $($name:ident),+ $(,)?) => {
        crate::promises!($group, crate::Stores: $($name),+);
    };
    ($group:literal, $stores:path: $($name:ident),+ $(,)?) => {
        /// The promises of this file.
        pub(crate) fn promises<S: $stores>() -> Vec<libtest_mimic::Trial> {
            vec![$(crate::stores::trial(concat!($group, "::", stringify!($name)), $name::<S>)),+]
        }
    };
}
use promises;

/// Tests every promise of `Store` against a kind of store. The command line is that of any test.
pub fn run<S: Stores>() -> ExitCode {
    conclude(promises_of_store::<S>())
}

/// The same with the promises of `TargetLocks`, which is a machine's own: a store that is a machine's
/// own, too, may have it.
pub fn run_with_target_locks<S: Stores<Store: TargetLocks>>() -> ExitCode {
    let mut trials = promises_of_store::<S>();
    trials.extend(target_locks::promises::<S>());
    conclude(trials)
}

fn conclude(trials: Vec<Trial>) -> ExitCode {
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

fn promises_of_store<S: Stores>() -> Vec<Trial> {
    [
        identity::promises::<S>(),
        journal::promises::<S>(),
        history::promises::<S>(),
        releases::promises::<S>(),
        leases::promises::<S>(),
        loss::promises::<S>(),
        mailbox::promises::<S>(),
        memory::promises::<S>(),
        figures::promises::<S>(),
        trail::promises::<S>(),
        outage::promises::<S>(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
