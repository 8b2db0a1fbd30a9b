//! What is listened for while a step runs: the lease, the mailbox, and the budget of our own
//! requests.

use super::Run;
use super::mail::Mail;
use crate::context::StepContext;
use crate::fault::{Fault, FaultKind};
use crate::journal::Decision;
use crate::ports::Progress;
use futures_util::future::{BoxFuture, Fuse};
use futures_util::{FutureExt, pin_mut, select_biased};
use std::collections::VecDeque;
use std::sync::OnceLock;
use std::time::Duration;

/// How often is looked: an abort must be heard within 250 ms.
pub(super) const POLL: Duration = Duration::from_millis(100);

/// How many looks lie between two reports of the prober to those who watch.
const LOOKS_PER_REPORT: u32 = 10;

/// Something that a running step must answer to.
pub(super) enum Signal {
    /// The lease is lost: nothing more may be done.
    LeaseLost(Fault),
    /// An operator decided something.
    Decision(Decision),
    /// Too many of our own requests failed, or somebody asked to stop past the mailbox.
    TurnBack(Fault),
}

/// Listens, from the last decision that was folded in.
pub(super) struct Listener<'a> {
    context: StepContext<'a>,
    lost: Fuse<BoxFuture<'a, Fault>>,
    mail: Mail<'a>,
    last_decision: u64,
    waiting: VecDeque<Decision>,
    unwritten: VecDeque<Decision>,
    interrupted: &'a OnceLock<Fault>,
    may_turn_back: bool,
    looks: u32,
}

impl<'a> Listener<'a> {
    /// `context`: of what runs meanwhile.
    pub(super) fn new(run: &Run<'a>, context: &StepContext<'a>) -> Self {
        Self {
            context: context.clone(),
            lost: run.lease.lost().fuse(),
            mail: run.mail.clone(),
            last_decision: run.attempt.last_decision,
            waiting: VecDeque::new(),
            unwritten: VecDeque::new(),
            interrupted: run.world.interrupted,
            may_turn_back: true,
            looks: 0,
        }
    }

    /// Past the point of no return, and on the way back, only decisions are listened for.
    pub(super) fn turns_back_no_more(&mut self) {
        self.may_turn_back = false;
    }

    /// Takes a decision back that could not be written down; it comes again after a while.
    pub(super) fn again(&mut self, decision: Decision) {
        self.unwritten.push_back(decision);
    }

    /// The next signal; never ends by itself.
    pub(super) async fn next(&mut self) -> Signal {
        loop {
            if let Some(decision) = self.waiting.pop_front() {
                self.last_decision = self.last_decision.max(decision.id);
                return Signal::Decision(decision);
            }
            let look = async {
                self.context.ports.clock.sleep(POLL).await;
                self.mail.read(self.context.place.step, self.last_decision).await
            };
            let look = look.fuse();
            pin_mut!(look);
            let mut lost = &mut self.lost;
            select_biased! {
                fault = lost => return Signal::LeaseLost(fault),
                decisions = look => self.waiting.extend(decisions),
            }
            self.waiting.append(&mut self.unwritten);
            if self.waiting.is_empty()
                && self.may_turn_back
                && let Some(fault) =
                    self.interrupted.get().cloned().or_else(|| self.context.over_budget())
            {
                return Signal::TurnBack(fault);
            }
            self.looks += 1;
            if self.looks.is_multiple_of(LOOKS_PER_REPORT)
                && let Some(report) = self.context.probe_report()
            {
                self.context.tell(Progress::Probe { report });
            }
        }
    }
}

/// The fault of an abort.
pub(super) fn aborted(decision: &Decision) -> Fault {
    let reason = decision.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
    Fault::new(FaultKind::Aborted, format!("aborted by {}{reason}", decision.by))
}
