//! How long the store waits for what. Nothing in it waits without one of these.

use std::time::Duration;

/// For another process to finish its write: many commits' time, and short of what a person takes
/// for a hang.
pub(crate) const BUSY: Duration = Duration::from_secs(10);
/// For a connection of this process: longer than one statement may wait, so that a lock is told as
/// a lock.
pub(crate) const TURN: Duration = Duration::from_secs(30);
/// For another host to choose addresses: nobody takes longer than an engine or a plugin takes to
/// answer.
pub(crate) const RESERVATION: Duration = Duration::from_mins(1);
/// For another host to copy an artifact, or to remove old ones.
pub(crate) const ARTIFACTS: Duration = Duration::from_mins(5);
/// For another service's turn at a target: longer than any change of it takes.
pub(crate) const TARGET: Duration = Duration::from_mins(1);
