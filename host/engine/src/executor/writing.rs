//! Writing the journal, and the one thing that is done when it can't be written.

use super::{Halt, Run};
use crate::attempt::JournalDamage;
use crate::journal::{Entry, Event};
use crate::ports::{AppendError, Progress};
use crate::route::Routes;

/// Why an event could not be written.
#[derive(Debug)]
pub(super) enum Unwritten {
    /// It does not fit what came before.
    Damaged(JournalDamage),
    /// The journal did not take it.
    Refused(AppendError),
}

impl Run<'_> {
    /// Makes an event durable, then folds it.
    pub(super) async fn write(&mut self, event: Event) -> Result<(), Halt> {
        match self.append(event).await {
            Ok(()) => Ok(()),
            Err(unwritten) => Err(self.halt(unwritten).await),
        }
    }

    /// Writes the first entry, which holds the plan.
    pub(super) async fn open(&mut self, opened: Event) -> Result<(), Halt> {
        match self.append_unfolded(0, opened).await {
            Ok(()) => Ok(()),
            Err(unwritten) => Err(self.halt(unwritten).await),
        }
    }

    /// As [`write`](Self::write), leaving it to the caller to [`halt`](Self::halt): where a call to
    /// the target is under way, that has to be dropped first.
    pub(super) async fn append(&mut self, event: Event) -> Result<(), Unwritten> {
        let mut after = self.attempt.clone();
        after.apply(&event).map_err(Unwritten::Damaged)?;
        self.append_unfolded(self.attempt.next_sequence(), event).await?;
        self.attempt = after;
        Ok(())
    }

    /// Numbers and dates an event, and makes it durable with the state that follows from it.
    async fn append_unfolded(&mut self, sequence: u64, event: Event) -> Result<(), Unwritten> {
        let plan = &self.attempt.plan;
        let (at, deployment) = (self.world.clock.now(), plan.id.clone());
        let entry = Entry { sequence, at, deployment, event };
        let state = self.state.after(plan, &entry.event, at);
        let appended = self.world.journal.append(self.context.fence, &entry, &state).await;
        appended.map_err(Unwritten::Refused)?;
        self.state = state;
        self.world.observer.tell(Progress::Journaled { event: Box::new(entry.event) });
        Ok(())
    }

    /// Stops where the journal is lost.
    pub(super) async fn halt(&self, unwritten: Unwritten) -> Halt {
        match unwritten {
            Unwritten::Damaged(damage) => Halt::Damaged(damage),
            Unwritten::Refused(fenced @ AppendError::Fenced { .. }) => Halt::LeaseLost(fenced),
            Unwritten::Refused(AppendError::OutOfOrder { expected, found }) => {
                Halt::Damaged(JournalDamage::Sequence { expected, found })
            }
            Unwritten::Refused(AppendError::Unavailable(fault)) => Halt::JournalUnavailable {
                fault,
                routes_restored: self.restore_acknowledged().await,
            },
        }
    }

    /// Puts the last acknowledged routes back, without a journal: the one effect that is allowed
    /// then.
    async fn restore_acknowledged(&self) -> bool {
        if !self.attempt.shift_began() || self.attempt.past_point_of_no_return() {
            return true; // Nothing that we did can have changed them.
        }
        // Requests that have begun to go back are not sent to the candidate again.
        let routes = if self.attempt.shift_is_undone() {
            self.attempt.plan.routes_before.clone().or(Some(Routes::none()))
        } else {
            self.state.routes.clone()
        };
        let Some(routes) = &routes else { return false };
        let limit = self.attempt.plan.policy.timeouts.shift;
        let op = self.context.op_id("restore");
        let restoring = self.context.set_routes(&op, routes, None);
        self.context.within(limit, restoring).await.is_some_and(|result| result.is_ok())
    }
}
