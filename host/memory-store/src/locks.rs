//! Which targets are locked.

use std::collections::BTreeSet;
use std::task::Waker;

/// The locks that are held, and who waits for any of them.
#[derive(Clone, Default)]
pub(crate) struct Locks {
    pub(crate) held: BTreeSet<String>,
    pub(crate) waiting: Vec<Waker>,
}
