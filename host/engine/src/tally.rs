//! What is kept of a check's answers: each kind on its own.

use crate::policy::Limits;
use crate::verdict::{Verdict, VerdictKind};

/// The answers of one check so far.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tally {
    pub(crate) healthy_in_row: u32,
    pub(crate) unhealthy: u32,
    pub(crate) errored_in_row: u32,
    pub(crate) no_data_in_row: u32,
    pub(crate) inconclusive_in_row: u32,
    pub(crate) last: Option<Verdict>,
}

impl Tally {
    pub(crate) fn is_healthy(&self) -> bool {
        self.last.as_ref().is_some_and(|last| last.kind == VerdictKind::Healthy)
    }

    /// Counts an answer. An answer of another kind ends a row.
    pub(crate) fn count(&mut self, verdict: Verdict) {
        let row = |of: VerdictKind, so_far: u32| if verdict.kind == of { so_far + 1 } else { 0 };
        self.healthy_in_row = row(VerdictKind::Healthy, self.healthy_in_row);
        self.errored_in_row = row(VerdictKind::Errored, self.errored_in_row);
        self.no_data_in_row = row(VerdictKind::NoData, self.no_data_in_row);
        self.inconclusive_in_row = row(VerdictKind::Inconclusive, self.inconclusive_in_row);
        self.unhealthy += u32::from(verdict.kind == VerdictKind::Unhealthy);
        self.last = Some(verdict);
    }

    /// Whether what asks could not be asked too often.
    pub(crate) fn is_away(&self, limits: &Limits) -> bool {
        self.errored_in_row > limits.errored
    }

    /// Whether there was nothing to judge, or too little, too often.
    pub(crate) fn is_undecided(&self, limits: &Limits) -> bool {
        limits.no_data.is_some_and(|limit| self.no_data_in_row > limit)
            || limits.inconclusive.is_some_and(|limit| self.inconclusive_in_row > limit)
    }

    /// Whether its newest answers leave it open how it is.
    pub(crate) fn is_silent(&self, limits: &Limits) -> bool {
        self.is_away(limits) || self.is_undecided(limits)
    }
}
