//! Unwinding: undoing step after step, from the last to the first, whatever goes wrong meanwhile.

use super::listener::{Listener, Signal};
use super::{Halt, Run};
use crate::context::StepContext;
use crate::fault::{Fault, FaultKind};
use crate::journal::{Event, Outcome};
use crate::policy::CheckMoment;
use crate::ports::Progress;
use crate::step::{StepEvent, StepOutput};
use crate::steps::StepKind;
use crate::words::span;
use futures_util::{FutureExt, pin_mut, select_biased};
use std::time::Duration;

/// How long what serves after unwinding is looked at, so that the outcome can say how it is.
const RESTORED_LIMIT: Duration = Duration::from_secs(10);

/// How soon a failed undo is tried again, at first; twice as long after each.
const FIRST_PAUSE: Duration = Duration::from_millis(200);

/// How soon it is tried again in the end.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

impl Run<'_> {
    /// Undoes the last step that needs it, or closes the deployment. An outcome is returned only
    /// when it is stuck.
    pub(super) async fn back(&mut self, cause: Fault) -> Result<Option<Outcome>, Halt> {
        let Some(index) = self.attempt.next_undo() else {
            let stable = self.state.stable.as_ref().map(|stable| stable.release);
            // Requests are back already; that what serves them is well is looked at, not waited
            // for.
            let context = self.context.clone();
            let mut notes = if self.attempt.routes_are_back() {
                self.hearing(Box::pin(look_at_restored(&context))).await?
            } else {
                Vec::new()
            };
            notes.extend(self.mail.note());
            let outcome = Outcome::Unwound { fault: cause, stable, notes };
            self.write(Event::Closed { outcome }).await?;
            return Ok(None);
        };
        self.undo(index, cause).await
    }

    /// Undoes one step. An outcome is returned only when that got stuck.
    pub(super) async fn undo(
        &mut self,
        index: usize,
        cause: Fault,
    ) -> Result<Option<Outcome>, Halt> {
        let Some(step) = self.attempt.plan.steps.get(index).cloned() else { return Ok(None) };
        self.note(index, StepEvent::UndoStarted).await?;
        let context = self.context_at(index);
        match self.hearing(Box::pin(undo_with_retries(&context, &step.kind))).await? {
            Ok(output) => {
                self.note(index, StepEvent::Undone { output }).await?;
                Ok(None)
            }
            Err(fault) => {
                self.note(index, StepEvent::UndoFailed { fault: fault.clone() }).await?;
                let instructions = self.instructions(&fault);
                Ok(Some(Outcome::Stuck { cause: Some(cause), fault, instructions }))
            }
        }
    }

    /// Does what unwinding does while writing decisions down: nothing is left to decide, but who
    /// decided must know that it was heard.
    pub(super) async fn hearing<T>(&mut self, work: impl Future<Output = T>) -> Result<T, Halt> {
        let work = work.fuse();
        pin_mut!(work);
        let context = self.context.clone();
        let mut listener = Listener::new(self, &context);
        listener.turns_back_no_more();
        loop {
            let signal = {
                let next = listener.next().fuse();
                pin_mut!(next);
                select_biased! {
                    signal = next => signal,
                    result = work => return Ok(result),
                }
            };
            match signal {
                Signal::LeaseLost(fault) => return Err(Halt::LeaseLost { fault }),
                Signal::Decision(decision) => {
                    if self.try_write(Event::Decided(decision.clone())).await?.is_err() {
                        listener.again(decision);
                    }
                }
                Signal::TurnBack(_) => {}
            }
        }
    }
}

/// Undoes a step again and again, with back-off, until its limit.
async fn undo_with_retries(
    context: &StepContext<'_>,
    kind: &StepKind,
) -> Result<StepOutput, Fault> {
    let clock = context.ports.clock;
    let timeouts = context.deployment.policy.timeouts;
    let waits = kind.undo_waits(context);
    let limit = timeouts.undo + waits;
    // One attempt that hangs must leave time for another.
    let attempt_limit = timeouts.shift + waits;
    let took_longer = |than: Duration| {
        let message = format!("undoing step `{}` took longer than {}", kind.name(), span(than));
        Fault::new(FaultKind::TimedOut, message)
    };
    let began = clock.elapsed();
    let mut pause = FIRST_PAUSE;
    let mut last: Option<Fault> = None;
    loop {
        let left = limit.saturating_sub(context.since(began));
        let fault = match context.within(left.min(attempt_limit), kind.undo(context)).await {
            Some(Ok(output)) => return Ok(output),
            Some(Err(failure)) => failure.fault().clone(),
            None if attempt_limit < left => took_longer(attempt_limit),
            None => {
                let causes = last.into_iter().map(|fault| fault.message).collect();
                return Err(Fault { causes, ..took_longer(limit) });
            }
        };
        context.tell(Progress::Waiting {
            step: context.place.step,
            message: format!("undo failed, retrying: {fault}"),
        });
        if context.since(began) + pause >= limit {
            return Err(fault);
        }
        last = Some(fault);
        clock.sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Says how what serves again after unwinding is; the checks of a promoted release are asked of it
/// once.
async fn look_at_restored(context: &StepContext<'_>) -> Vec<String> {
    let Some(stable) = &context.deployment.stable else { return Vec::new() };
    let ask = async {
        let mut notes = Vec::new();
        for check in context.deployment.policy.checks_at(CheckMoment::Validate) {
            let (slot, release) = (Some(stable.slot), Some(stable.release));
            let verdict = context.ask(check, slot, release, &stable.backends).await;
            notes.push(format!(
                "back on release {}: check `{}` is {}: {}",
                stable.release, check.name, verdict.kind, verdict.reason
            ));
        }
        notes
    };
    context.within(RESTORED_LIMIT, ask).await.unwrap_or_else(|| {
        vec![format!(
            "release {} is serving again; its checks did not answer within {}",
            stable.release,
            span(RESTORED_LIMIT)
        )]
    })
}
