//! The store as a whole.

use super::{Figures, History, Journal, Leases, Mailbox, Memory, Releases, Trail};

/// All that a store keeps, wherever it is: one machine's file or a server that several share. What
/// belongs to a machine alone (artifacts, the locks of targets, turns to choose addresses) is not
/// among it.
pub trait Store:
    Journal + History + Releases + Leases + Mailbox + Memory + Figures + Trail
{
    /// The store's id: random, made with it, and written on everything that belongs to it.
    fn id(&self) -> &str;
}
