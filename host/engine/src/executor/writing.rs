//! Writing the journal: each event is numbered and dated, made durable, and folded.

use super::{Halt, Run};
use crate::attempt::{Attempt, JournalDamage};
use crate::fault::{Fault, FaultKind};
use crate::journal::{Entry, Event};
use crate::ports::AppendError;
use crate::state::ServiceState;

/// An event in its place, with what follows from it.
pub(super) struct Addition {
    entry: Entry,
    pub(super) after: Attempt,
    pub(super) state: ServiceState,
}

impl Run<'_> {
    /// Makes an event durable, however long that takes, then folds it. No call to the target is
    /// under way. A promotion is given up if the candidate turns bad before it is written.
    pub(super) async fn write(&mut self, event: Event) -> Result<(), Halt> {
        let addition = self.addition(event)?;
        let taken = match self.offer(&addition).await? {
            Ok(()) => true,
            Err(fault) => self.outlast(&addition, fault).await?,
        };
        if taken {
            self.fold(addition);
        }
        Ok(())
    }

    /// Makes an event durable and folds it, if the journal takes it now.
    pub(super) async fn try_write(&mut self, event: Event) -> Result<Result<(), Fault>, Halt> {
        let addition = self.addition(event)?;
        Ok(match self.offer(&addition).await? {
            Ok(()) => {
                self.fold(addition);
                Ok(())
            }
            Err(fault) => Err(fault),
        })
    }

    /// Writes the first entry, which holds the plan. Nothing has begun that would have to be
    /// outlasted.
    pub(super) async fn open(&mut self, opened: Event) -> Result<(), Halt> {
        let at = self.world.clock.now();
        let state = self.state.after(&self.attempt.plan, &opened, at);
        let deployment = self.attempt.plan.id.clone();
        let entry = Entry { sequence: 0, at, deployment, event: opened };
        let addition = Addition { entry, after: self.attempt.clone(), state };
        match self.offer(&addition).await? {
            Ok(()) => {
                self.fold(addition);
                Ok(())
            }
            Err(fault) => Err(Halt::NothingBegan(fault)),
        }
    }

    fn addition(&self, event: Event) -> Result<Addition, JournalDamage> {
        let mut after = self.attempt.clone();
        after.apply(&event)?;
        let at = self.world.clock.now();
        let state = self.state.after(&after.plan, &event, at);
        let (sequence, deployment) = (self.attempt.next_sequence(), self.attempt.plan.id.clone());
        Ok(Addition { entry: Entry { sequence, at, deployment, event }, after, state })
    }

    /// Offers an addition to the journal.
    pub(super) async fn offer(&self, addition: &Addition) -> Result<Result<(), Fault>, Halt> {
        let Addition { entry, state, .. } = addition;
        match self.world.journal.append(self.context.fence, entry, state).await {
            Ok(()) => Ok(Ok(())),
            Err(AppendError::Unavailable(_)) if self.is_written(entry).await => Ok(Ok(())),
            Err(AppendError::Unavailable(fault)) => Ok(Err(fault)),
            // The plan, which may have come too late: another deployment is open.
            Err(AppendError::Refused(fault)) if entry.sequence == 0 => Ok(Err(fault)),
            Err(AppendError::Refused(fault)) => {
                Err(JournalDamage::Refused { entry: entry.sequence, fault }.into())
            }
            Err(AppendError::OutOfOrder { expected, found }) => {
                Err(JournalDamage::Sequence { expected, found }.into())
            }
            Err(error @ AppendError::Fenced { .. }) => {
                let fault = Fault::new(FaultKind::LeaseLost, error.to_string());
                Err(Halt::LeaseLost { fault })
            }
        }
    }

    /// Whether an entry is there although writing it was said to have failed: it may have failed
    /// after it was durable.
    async fn is_written(&self, entry: &Entry) -> bool {
        let before = entry.sequence.checked_sub(1);
        let entries = self.world.journal.entries_after(&entry.deployment, before).await;
        entries.is_ok_and(|entries| entries.contains(entry))
    }

    fn fold(&mut self, Addition { entry, after, state }: Addition) {
        self.attempt = after;
        self.context.follow(&self.attempt.plan.deployment);
        self.state = state;
        self.world.observer.journaled(entry);
    }
}
