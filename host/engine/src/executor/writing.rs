//! Writing the journal, and the one thing that is done when it can't be written.

use super::{Halt, Run};
use crate::attempt::JournalDamage;
use crate::fault::{Fault, FaultKind};
use crate::journal::{Entry, Event};
use crate::ports::{AppendError, Progress};
use crate::route::Routes;
use futures_util::{FutureExt, pin_mut, select_biased};

/// Why nothing more is done by this process.
#[derive(Debug)]
pub(super) enum Stop {
    /// An event does not fit what came before.
    Damaged(JournalDamage),
    /// The journal did not take an entry.
    Unwritten(AppendError),
    /// Somebody else may have the lease.
    LeaseLost(Fault),
}

impl Run<'_> {
    /// Makes an event durable, then folds it.
    pub(super) async fn write(&mut self, event: Event) -> Result<(), Halt> {
        match self.append(event).await {
            Ok(()) => Ok(()),
            Err(stop) => Err(self.halt(stop).await),
        }
    }

    /// Writes the first entry, which holds the plan.
    pub(super) async fn open(&mut self, opened: Event) -> Result<(), Halt> {
        match self.append_unfolded(0, opened).await {
            Ok(()) => Ok(()),
            Err(stop) => Err(self.halt(stop).await),
        }
    }

    /// As [`write`](Self::write), leaving it to the caller to [`halt`](Self::halt): where a call to
    /// the target is under way, that has to be dropped first.
    pub(super) async fn append(&mut self, event: Event) -> Result<(), Stop> {
        let mut after = self.attempt.clone();
        after.apply(&event).map_err(Stop::Damaged)?;
        self.append_unfolded(self.attempt.next_sequence(), event).await?;
        self.attempt = after;
        Ok(())
    }

    /// Numbers and dates an event, and makes it durable with the state that follows from it.
    async fn append_unfolded(&mut self, sequence: u64, event: Event) -> Result<(), Stop> {
        let plan = &self.attempt.plan;
        let (at, deployment) = (self.world.clock.now(), plan.id.clone());
        let entry = Entry { sequence, at, deployment, event };
        let state = self.state.after(plan, &entry.event, at);
        match self.world.journal.append(self.context.fence, &entry, &state).await {
            Ok(()) => {}
            Err(AppendError::Unavailable(_)) if self.is_written(&entry).await => {}
            Err(error) => return Err(Stop::Unwritten(error)),
        }
        self.state = state;
        self.world.observer.tell(Progress::Journaled { event: Box::new(entry.event) });
        Ok(())
    }

    /// Whether an entry is there although writing it was said to have failed: it may have failed
    /// after it was durable.
    async fn is_written(&self, entry: &Entry) -> bool {
        let before = entry.sequence.checked_sub(1);
        let entries = self.world.journal.entries_after(&entry.deployment, before).await;
        entries.is_ok_and(|entries| entries.contains(entry))
    }

    /// Stops.
    pub(super) async fn halt(&self, stop: Stop) -> Halt {
        match stop {
            Stop::Damaged(damage) => Halt::Damaged(damage),
            Stop::LeaseLost(fault) => Halt::LeaseLost { fault },
            Stop::Unwritten(error @ AppendError::Fenced { .. }) => {
                Halt::LeaseLost { fault: Fault::new(FaultKind::LeaseLost, error.to_string()) }
            }
            Stop::Unwritten(AppendError::OutOfOrder { expected, found }) => {
                Halt::Damaged(JournalDamage::Sequence { expected, found })
            }
            Stop::Unwritten(AppendError::Unavailable(fault)) => Halt::JournalUnavailable {
                fault,
                routes_restored: self.restore_acknowledged().await,
            },
        }
    }

    /// Puts the last acknowledged routes back, without a journal: the one effect that is allowed
    /// then, for as long as the lease is ours.
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
        let restoring = self.context.within(limit, self.context.set_routes(&op, routes, None));
        let (restoring, lost) = (restoring.fuse(), self.lease.lost().fuse());
        pin_mut!(restoring, lost);
        select_biased! {
            _ = lost => false,
            restored = restoring => restored.is_some_and(|result| result.is_ok()),
        }
    }
}
