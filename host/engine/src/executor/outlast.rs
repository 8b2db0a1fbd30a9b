//! Outlasting a journal that can't be written.
//!
//! No step goes on meanwhile. Requests stay where they were last acknowledged to be while nothing
//! speaks against the candidate, which is looked after as in a pause; they go back to what was
//! stable as soon as something does, or somebody asks for it. That is the one effect that needs no
//! entry. The entry is offered again and again, so that the deployment goes on by itself.

use super::listener::{POLL, aborted};
use super::writing::Addition;
use super::{Halt, Run};
use crate::attempt::{Attempt, Direction};
use crate::fault::{Fault, FaultKind};
use crate::journal::DecisionKind;
use crate::names::BackendId;
use crate::ports::Progress;
use crate::route::{Routes, Slot};
use crate::step::StepState;
use futures_util::{FutureExt, pin_mut, select_biased};
use std::time::Duration;

/// How often the entry is offered again.
const AGAIN: Duration = Duration::from_secs(1);

/// How often people are told that it is still so.
const TELL: Duration = Duration::from_mins(1);

/// How long the entry is still offered after somebody has asked to stop and requests are back.
const ABORTED: Duration = Duration::from_secs(10);

impl Run<'_> {
    /// Returns when the journal has taken the addition; false when it is not to take it any more,
    /// because the candidate turned bad before its promotion was written.
    pub(super) async fn outlast(
        &mut self,
        addition: &Addition,
        mut fault: Fault,
    ) -> Result<bool, Halt> {
        let after = &addition.after;
        let clock = self.world.clock;
        let at_stake = after.shift_began() && !after.past_point_of_no_return();
        let mut against = spoken_against(after);
        if against.is_none() && !after.past_point_of_no_return() {
            against.clone_from(&self.overdue);
        }
        let mut asked_to_stop = is_asked_to_stop(after, against.as_ref()).then(|| clock.elapsed());
        let context = self.context_at(after.next_step().unwrap_or_default());
        let mut looking = (at_stake && against.is_none())
            .then(|| Box::pin(context.look_while_paused(POLL)).fuse());
        let mut in_force = None;
        let mut told = None;
        // Whether what speaks against the candidate has been there since the last look.
        let mut turns = against.is_some();
        loop {
            // With room that is kept the way back is written as always, and goes on at once.
            if std::mem::take(&mut turns) && self.world.journal.make_room().await {
                match self.offer(addition).await? {
                    Ok(()) => break,
                    Err(again) => fault = again,
                }
            }
            if in_force.is_none() {
                in_force = self.put_routes(addition, against.is_some()).await;
            }
            if told.is_none_or(|told| clock.elapsed().saturating_sub(told) >= TELL) {
                told = Some(clock.elapsed());
                let back = against
                    .as_ref()
                    .map(|against| {
                        format!(", because the candidate is being rolled back ({against})")
                    })
                    .unwrap_or_default();
                let message = format!(
                    "the journal can't be written, so nothing else continues; {}{back}: \
                     {fault}",
                    where_requests_go(in_force.as_ref())
                );
                self.world.observer.tell(Progress::Waiting { step: after.next_step(), message });
            }
            let pause = clock.sleep(AGAIN).fuse();
            pin_mut!(pause);
            let mut turned = None;
            if let Some(mut looking) = looking.as_mut() {
                select_biased! {
                    bad = looking => turned = Some(bad),
                    () = pause => turned = context.over_budget(),
                }
            } else {
                pause.await;
            }
            if asked_to_stop.is_none()
                && let Some(abort) = self.asked_to_stop().await
            {
                asked_to_stop = Some(clock.elapsed());
                turned = turned.or(Some(abort)).filter(|_| !after.past_point_of_no_return());
            }
            if let Some(turned) = turned
                && against.is_none()
            {
                if after.outcome.is_some() {
                    self.overdue = Some(turned);
                    return Ok(false);
                }
                against = Some(turned);
                looking = None;
                in_force = None;
                told = None;
                turns = true;
                continue;
            }
            match self.offer(addition).await? {
                Ok(()) => break,
                Err(again) => fault = again,
            }
            if asked_to_stop.is_some_and(|since| clock.elapsed().saturating_sub(since) >= ABORTED) {
                let in_force = in_force.map(|routes| where_requests_go(Some(&routes)));
                return Err(Halt::JournalUnavailable { fault, in_force });
            }
        }
        if after.direction == Direction::Forward {
            self.overdue = against;
        }
        Ok(true)
    }

    /// Who asked to stop, in the mailbox or past it, as a fault.
    async fn asked_to_stop(&self) -> Option<Fault> {
        if let Some(fault) = self.world.interrupted.get() {
            return Some(fault.clone());
        }
        let (id, last) = (&self.attempt.plan.id, self.attempt.last_decision);
        let decisions = self.world.mailbox.decisions(id, last).await.ok()?;
        decisions.iter().find(|decision| decision.decision == DecisionKind::Abort).map(aborted)
    }

    /// Sees to it that the routes are in force that should be: those from before where requests go
    /// back, else those that were last acknowledged. None where that could not be done.
    async fn put_routes(&self, addition: &Addition, back: bool) -> Option<Routes> {
        let Addition { after, state, .. } = addition;
        if !after.shift_began() || after.past_point_of_no_return() {
            // Nothing that we did can have changed them.
            return Some(self.state.routes.clone().unwrap_or_else(Routes::none));
        }
        let before = self.attempt.plan.routes_before.clone().unwrap_or_else(Routes::none);
        let routes = if self.attempt.shift_is_undone() || (back && self.stands(&before)) {
            // Requests that have begun to go back are not sent to the candidate again.
            before
        } else if state.routes == self.state.routes {
            self.state.routes.clone().unwrap_or(before)
        } else {
            // They were set and proved just now; only that is not written yet.
            return state.routes.clone();
        };
        let limit = self.attempt.plan.policy.timeouts.shift;
        let op = self.context.op_id("restore");
        {
            let putting = self.context.within(limit, self.context.set_routes(&op, &routes, None));
            let (putting, lost) = (putting.fuse(), self.lease.lost().fuse());
            pin_mut!(putting, lost);
            select_biased! {
                _ = lost => None,
                put = putting => put?.ok(),
            }?;
        }
        Some(routes)
    }

    /// Whether all that routes lead to stands: what was removed meanwhile comes back only with an
    /// entry.
    fn stands(&self, routes: &Routes) -> bool {
        let kept = self.state.kept.as_ref().map(|kept| &kept.standing);
        let standing: Vec<&BackendId> = (self.state.stable.iter().chain(kept))
            .flat_map(|standing| standing.backends.iter().map(|backend| &backend.id))
            .collect();
        let led_to = routes.routes.iter().filter(|route| !route.weight.is_zero());
        led_to.flat_map(|route| &route.backends).all(|backend| standing.contains(&&backend.id))
    }
}

/// What speaks against the candidate by what has happened so far.
fn spoken_against(after: &Attempt) -> Option<Fault> {
    if after.past_point_of_no_return() {
        return None;
    }
    let failed = after.steps.iter().find_map(|step| match step {
        StepState::Refused(fault) | StepState::Unknown(fault) => Some(fault.clone()),
        _ => None,
    });
    match &after.direction {
        Direction::Back(fault) => Some(fault.clone()),
        Direction::Forward => after.abort.as_ref().map(aborted).or(failed),
    }
}

/// Whether somebody has asked to stop.
fn is_asked_to_stop(after: &Attempt, against: Option<&Fault>) -> bool {
    after.abort.is_some() || against.is_some_and(|fault| fault.kind == FaultKind::Aborted)
}

/// Where requests go, in words.
pub(super) fn where_requests_go(routes: Option<&Routes>) -> String {
    match routes {
        Some(routes) if routes.routes.is_empty() => "no requests are routed".to_owned(),
        Some(routes) => {
            let weights = Slot::BOTH.map(|slot| format!("{slot} {}", routes.weight(slot)));
            format!("requests go to {}", weights.join(", "))
        }
        None => "the routes could not be put back yet".to_owned(),
    }
}
