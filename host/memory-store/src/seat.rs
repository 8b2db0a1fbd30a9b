//! Who has a lease.

use agente_engine::names::Timestamp;
use agente_engine::ports::Holder;

/// The lease of one scope.
#[derive(Clone, Default)]
pub(crate) struct Seat {
    /// The newest token, which may be nobody's yet.
    pub(crate) fence: u64,
    /// Who sits there, or died there.
    pub(crate) taken: Option<Taken>,
}

#[derive(Clone)]
pub(crate) struct Taken {
    pub(crate) holder: Holder,
    pub(crate) fence: u64,
    pub(crate) acquired: Timestamp,
    pub(crate) died: bool,
}

impl Seat {
    /// Who sits there and lives.
    pub(crate) fn living(&self) -> Option<&Taken> {
        self.taken.as_ref().filter(|taken| !taken.died)
    }
}
