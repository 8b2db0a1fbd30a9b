//! Telling those who watch what is durable.

use super::Observer;
use crate::journal::Entry;

/// Is told of progress, and of each entry once it is in the journal. Must not block.
pub trait JournalObserver: Observer {
    /// Takes an entry that was journaled.
    fn journaled(&self, entry: Entry);
}
