//! Going forward: one step after the other, listening while each runs.

use super::listener::{Listener, POLL, Signal, aborted};
use super::{Halt, Run};
use crate::context::StepContext;
use crate::fault::{Failure, Fault, FaultKind};
use crate::journal::{Decision, DecisionKind, Event, Outcome};
use crate::ports::Progress;
use crate::step::{StepEvent, StepOutput, StepState};
use crate::steps::Step;
use crate::words::span;
use futures_util::future::FusedFuture;
use futures_util::{FutureExt, pin_mut, select_biased};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How much longer than its limit a step is waited for that waits on purpose: it ends by itself, and
/// this catches an answer that never comes.
const MARGIN: Duration = Duration::from_secs(10);

/// How long a step that changes something may take to end by itself once it is wanted no more: a
/// plugin reads `context.cancelled()` and leaves nothing half-done.
const GRACE: Duration = Duration::from_millis(500);

/// Tells that what runs is wanted no more, until it is dropped.
struct Cancelled<'a>(&'a AtomicBool);

impl Drop for Cancelled<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

/// How running a step ended.
enum StepEnd {
    Succeeded(StepOutput),
    Failed(Failure),
    /// It failed past the point of no return.
    Stuck(Fault),
}

impl Run<'_> {
    /// Runs the next step, or closes the deployment. An outcome is returned only when it is stuck.
    pub(super) async fn forward(&mut self) -> Result<Option<Outcome>, Halt> {
        // Decisions that came while nobody listened come before the next step, and before the end.
        if !self.attempt.past_point_of_no_return() {
            let asked = self.attempt.abort.as_ref().map(aborted);
            let interrupted = || self.world.interrupted.get().cloned();
            let fault = match asked.or_else(|| self.overdue.take()).or_else(interrupted) {
                Some(fault) => Some(fault),
                None => self.hear().await?,
            };
            if let Some(fault) = fault {
                self.turn_back(fault).await?;
                return Ok(None);
            }
        }
        let Some(index) = self.attempt.next_step() else {
            let outcome = Outcome::Promoted { notes: self.closing_notes() };
            self.write(Event::Closed { outcome }).await?;
            return Ok(None);
        };
        // A host died between a step's end and the turn: the turn is made up for.
        if let Some(StepState::Refused(fault) | StepState::Unknown(fault)) =
            self.attempt.steps.get(index).cloned()
        {
            self.turn_back(fault).await?;
            return Ok(None);
        }
        // Another process died in it: what this one is refused, that one may have done.
        let again = matches!(self.attempt.steps.get(index), Some(StepState::Running));
        self.note(index, StepEvent::Started).await?;
        if self.attempt.straight_up && !again && self.attempt.plan.passes_over(index) {
            let output = StepOutput {
                skipped: true,
                ..StepOutput::note("skipped: an operator promoted straight to 100 %")
            };
            self.note(index, StepEvent::Succeeded { output }).await?;
            return Ok(None);
        }
        match self.run_step(index).await? {
            StepEnd::Succeeded(output) => {
                self.note(index, StepEvent::Succeeded { output }).await?;
            }
            StepEnd::Failed(failure) => {
                let fault = failure.fault().clone();
                let event = match failure {
                    Failure::Refused { fault } if !again => StepEvent::Refused { fault },
                    Failure::Refused { fault } | Failure::Unknown { fault } => {
                        StepEvent::Lost { fault }
                    }
                };
                self.note(index, event).await?;
                self.turn_back(fault).await?;
            }
            StepEnd::Stuck(fault) => {
                self.note(index, StepEvent::Failed { fault: fault.clone() }).await?;
                let instructions = self.instructions(&fault);
                return Ok(Some(Outcome::Stuck { cause: None, fault, instructions }));
            }
        }
        Ok(None)
    }

    pub(super) async fn turn_back(&mut self, fault: Fault) -> Result<(), Halt> {
        if self.attempt.had_effect() {
            self.write(Event::TurnedBack { fault }).await
        } else {
            self.write(Event::Closed { outcome: Outcome::Refused { fault } }).await
        }
    }

    /// Writes about a step.
    pub(super) async fn note(&mut self, step: usize, event: StepEvent) -> Result<(), Halt> {
        self.write(Event::Step { step, event }).await
    }

    /// Folds waiting decisions in; a pause is waited out here. Gives the fault of an abort.
    async fn hear(&mut self) -> Result<Option<Fault>, Halt> {
        let step = self.attempt.next_step();
        let context = step.map_or_else(|| self.context.clone(), |step| self.context_at(step));
        // It goes on from one look at the mailbox to the next: an answer may take longer than those
        // are apart.
        let mut looking = Box::pin(context.look_while_paused(POLL)).fuse();
        let lease = self.lease;
        let mut lost = lease.lost().fuse();
        let mut told = false;
        loop {
            for decision in self.mail.read(step, self.attempt.last_decision).await {
                let abort = (decision.decision == DecisionKind::Abort).then(|| aborted(&decision));
                self.write(Event::Decided(decision)).await?;
                if abort.is_some() {
                    return Ok(abort);
                }
            }
            if !self.attempt.paused || self.attempt.past_point_of_no_return() {
                return Ok(None);
            }
            let interrupted = self.world.interrupted.get().cloned();
            if let Some(fault) = interrupted.or_else(|| context.over_budget()) {
                return Ok(Some(fault));
            }
            if !told {
                told = true;
                self.world.observer.tell(Progress::Waiting {
                    step,
                    message: "paused; `agente-host resume` continues, `agente-host abort` unwinds"
                        .to_owned(),
                });
            }
            let poll = self.world.clock.sleep(POLL).fuse();
            pin_mut!(poll);
            if self.attempt.shift_began() {
                select_biased! {
                    fault = lost => return Err(Halt::LeaseLost { fault }),
                    fault = looking => return Ok(Some(fault)),
                    () = poll => {}
                }
            } else {
                select_biased! {
                    fault = lost => return Err(Halt::LeaseLost { fault }),
                    () = poll => {}
                }
            }
        }
    }

    /// Runs one step while listening for decisions, the probe's budget and the time limit.
    async fn run_step(&mut self, index: usize) -> Result<StepEnd, Halt> {
        let context = self.context_at(index);
        let Some(step) = self.attempt.plan.steps.get(index).cloned() else {
            return Ok(StepEnd::Succeeded(StepOutput::default()));
        };
        let facts = step.kind.facts();
        if facts.awaits_decision && self.attempt.waived == Some(index) {
            return Ok(StepEnd::Succeeded(StepOutput::note("promoted by an operator")));
        }
        if let Some(fault) = self.overdue.take() {
            return Ok(StepEnd::Failed(Failure::Unknown { fault }));
        }
        let one_way = facts.point_of_no_return;
        let grace = if facts.has_effect() { GRACE } else { Duration::ZERO };
        let cancelled = Cancelled(self.world.cancelled);
        let result = {
            let margin = if step.on_timeout.goes_on() { MARGIN } else { Duration::ZERO };
            let work = step.kind.run(&context).fuse();
            let timer = self.world.clock.sleep(step.timeout + margin).fuse();
            pin_mut!(work, timer);
            let mut listener = Listener::new(self, &context);
            let end = loop {
                let signal = {
                    let next = listener.next().fuse();
                    pin_mut!(next);
                    select_biased! {
                        signal = next => signal,
                        result = work => break Ok((result, None)),
                        () = timer => break Ok((out_of_time(&context, &step).await, None)),
                    }
                };
                match signal {
                    Signal::LeaseLost(fault) => break Err(Halt::LeaseLost { fault }),
                    Signal::Decision(decision) => {
                        let end = ended_by(&decision, one_way, facts.awaits_decision);
                        let written = self.try_write(Event::Decided(decision.clone())).await;
                        match (written, end) {
                            (Err(halt), _) => break Err(halt),
                            (Ok(Ok(())), None) => {}
                            (Ok(Ok(())), Some(end)) => break Ok((end, None)),
                            (Ok(Err(_)), None) => listener.again(decision),
                            // Once the step's call is dropped: the target's lock may be needed
                            // before the journal can be written.
                            (Ok(Err(_)), Some(end)) => break Ok((end, Some(decision))),
                        }
                    }
                    Signal::TurnBack(fault) if !one_way => {
                        break Ok((Err(Failure::Unknown { fault }), None));
                    }
                    Signal::TurnBack(_) => listener.turns_back_no_more(),
                }
            };
            // What is wanted no more may end by itself; then it is dropped, whatever it was doing.
            cancelled.0.store(true, Ordering::Relaxed);
            if matches!(end, Ok((Err(_), _))) && !work.is_terminated() {
                context.within(grace, work).await;
            }
            end
        };
        drop(cancelled);
        let (result, unwritten) = result?;
        if let Some(decision) = unwritten {
            self.write(Event::Decided(decision)).await?;
        }
        Ok(match result {
            Ok(output) => StepEnd::Succeeded(output),
            Err(failure) if one_way => StepEnd::Stuck(failure.fault().clone()),
            Err(failure) => StepEnd::Failed(failure),
        })
    }
}

/// How a decision ends the step that runs, if it does.
fn ended_by(
    decision: &Decision,
    one_way: bool,
    awaits_decision: bool,
) -> Option<Result<StepOutput, Failure>> {
    match decision.decision {
        DecisionKind::Abort if !one_way => Some(Err(Failure::Unknown { fault: aborted(decision) })),
        DecisionKind::Promote { .. } if awaits_decision => {
            let reason =
                decision.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
            Some(Ok(StepOutput::note(format!("promoted by {}{reason}", decision.by))))
        }
        DecisionKind::Abort
        | DecisionKind::Promote { .. }
        | DecisionKind::Pause
        | DecisionKind::Resume => None,
    }
}

/// How a step ends whose time is over.
async fn out_of_time(context: &StepContext<'_>, step: &Step) -> Result<StepOutput, Failure> {
    let seen = context
        .shared(|shared| shared.last_answer.clone())
        .map(|seen| format!("; last seen: {seen}"))
        .unwrap_or_default();
    let message =
        format!("step `{}` took longer than {}{seen}", step.kind.name(), span(step.timeout));
    if step.on_timeout.goes_on() {
        return Ok(step.kind.timed_out(message));
    }
    let causes = context.last_words(step.kind.witnesses()).await;
    let fault = Fault { causes, ..Fault::new(FaultKind::TimedOut, message) };
    Err(Failure::Unknown { fault })
}
