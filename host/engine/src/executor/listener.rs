//! What is listened for while a step runs: the mailbox, and the budget of our own requests.

use super::Run;
use crate::context::StepContext;
use crate::fault::{Fault, FaultKind};
use crate::journal::Decision;
use crate::ports::Progress;
use crate::world::World;
use std::collections::VecDeque;
use std::time::Duration;

/// How often is looked: an abort must be heard within 250 ms.
pub(super) const POLL: Duration = Duration::from_millis(100);

/// How many looks lie between two reports of the prober to those who watch.
const LOOKS_PER_REPORT: u32 = 10;

/// Something that a running step must answer to.
pub(super) enum Signal {
    /// An operator decided something.
    Decision(Decision),
    /// Too many of our own requests failed.
    OverBudget(Fault),
}

/// Listens, from the last decision that was folded in.
pub(super) struct Listener<'a> {
    world: World<'a>,
    context: StepContext<'a>,
    last_decision: u64,
    waiting: VecDeque<Decision>,
    budget: bool,
    looks: u32,
}

impl<'a> Listener<'a> {
    pub(super) fn new(run: &Run<'a>) -> Self {
        Self {
            world: run.world,
            context: run.context.clone(),
            last_decision: run.attempt.last_decision,
            waiting: VecDeque::new(),
            budget: true,
            looks: 0,
        }
    }

    /// Past the point of no return the budget is reported, not acted on.
    pub(super) fn ignore_budget(&mut self) {
        self.budget = false;
    }

    /// The next signal; never ends by itself.
    pub(super) async fn next(&mut self) -> Signal {
        loop {
            if let Some(decision) = self.waiting.pop_front() {
                self.last_decision = self.last_decision.max(decision.id);
                return Signal::Decision(decision);
            }
            self.world.clock.sleep(POLL).await;
            // A mailbox that can't be read for a moment is read the next time; the journal decides
            // whether the store is gone.
            let decisions = self
                .world
                .mailbox
                .decisions(&self.context.deployment.id, self.last_decision)
                .await
                .unwrap_or_default();
            self.waiting.extend(decisions);
            if self.waiting.is_empty()
                && self.budget
                && let Some(fault) = self.context.over_budget()
            {
                return Signal::OverBudget(fault);
            }
            self.looks += 1;
            if self.looks.is_multiple_of(LOOKS_PER_REPORT)
                && let Some(report) = self.context.probe_report()
            {
                self.world.observer.tell(Progress::Probe { report });
            }
        }
    }
}

/// The fault of an abort.
pub(super) fn aborted(decision: &Decision) -> Fault {
    let reason = decision.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
    Fault::new(FaultKind::Aborted, format!("aborted by {}{reason}", decision.by))
}
