//! Unwinding: undoing step after step, from the last to the first, whatever goes wrong meanwhile.

use super::hands::with_deadline;
use super::shift::OutsideProof;
use super::watch::{Signal, Watch};
use super::{Halt, Run, seconds};
use crate::fault::{Failure, Fault, FaultKind};
use crate::journal::{Event, Outcome};
use crate::policy::OnDrainTimeout;
use crate::ports::Progress;
use crate::route::{Backend, Routes, Slot};
use crate::step::{StepEvent, StepKind, StepOutput};
use futures_util::{FutureExt, pin_mut, select_biased};
use std::time::Duration;

impl Run<'_> {
    /// Undoes the last step that needs it, or closes the deployment. An outcome is returned only
    /// when it is stuck.
    pub(super) async fn back(&mut self, cause: Fault) -> Result<Option<Outcome>, Halt> {
        let Some(index) = self.attempt.next_undo() else {
            let stable = self.state.stable.as_ref().map(|stable| stable.release);
            // Requests are back already; that what serves them is well is looked at, not waited
            // for.
            let hands = self.hands.clone();
            let notes = if self.attempt.routes_are_back() {
                self.hearing(Box::pin(hands.look_at_restored())).await?
            } else {
                Vec::new()
            };
            let outcome = Outcome::Unwound { fault: cause, stable, notes };
            self.write(Event::Closed { outcome }).await?;
            return Ok(None);
        };
        let Some(step) = self.attempt.plan.steps.get(index).cloned() else { return Ok(None) };
        self.write(Event::Step { step: index, event: StepEvent::UndoStarted }).await?;
        let begun = self.clone();
        match self.hearing(Box::pin(begun.undo_with_retries(index, &step.kind))).await? {
            Ok(output) => {
                self.write(Event::Step { step: index, event: StepEvent::Undone { output } })
                    .await?;
                Ok(None)
            }
            Err(fault) => {
                self.write(Event::Step {
                    step: index,
                    event: StepEvent::UndoFailed { fault: fault.clone() },
                })
                .await?;
                let instructions = self.instructions(&fault);
                Ok(Some(Outcome::Stuck { cause: Some(cause), fault, instructions }))
            }
        }
    }

    /// Undoes a step again and again, with back-off, until its limit.
    async fn undo_with_retries(&self, index: usize, kind: &StepKind) -> Result<StepOutput, Fault> {
        let clock = self.hands.world.clock;
        let timeouts = self.attempt.plan.policy.timeouts;
        let limit = timeouts.undo + self.undo_allowance(kind);
        // One attempt that hangs must leave time for another.
        let attempt_limit = timeouts.shift + self.undo_allowance(kind);
        let began = clock.elapsed();
        let mut pause = Duration::from_millis(200);
        let mut last = None;
        loop {
            let left = limit.saturating_sub(clock.elapsed().saturating_sub(began));
            let attempt =
                with_deadline(clock, left.min(attempt_limit), self.undo(index, kind)).await;
            let fault = match attempt {
                Some(Ok(output)) => return Ok(output),
                Some(Err(failure)) => failure.fault().clone(),
                None if attempt_limit < left => Fault::new(
                    FaultKind::TimedOut,
                    format!(
                        "undoing step `{}` took longer than {}",
                        kind.name(),
                        seconds(attempt_limit)
                    ),
                ),
                None => {
                    let timed_out = Fault::new(
                        FaultKind::TimedOut,
                        format!(
                            "undoing step `{}` took longer than {}",
                            kind.name(),
                            seconds(limit)
                        ),
                    );
                    return Err(last.map_or(timed_out.clone(), |fault: Fault| Fault {
                        causes: vec![fault.message],
                        ..timed_out
                    }));
                }
            };
            self.hands.world.observer.tell(Progress::Waiting {
                step: index,
                message: format!("undo failed and is tried again: {fault}"),
            });
            if clock.elapsed().saturating_sub(began) + pause >= limit {
                return Err(fault);
            }
            last = Some(fault);
            clock.sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(5));
        }
    }

    /// What an undo may wait for by right, on top of its limit: a drain, and the grace of each
    /// backend.
    fn undo_allowance(&self, kind: &StepKind) -> Duration {
        match kind {
            StepKind::Launch { backends, .. } => {
                let drain = if self.attempt.shift_began() {
                    self.attempt.plan.policy.drain.timeout
                } else {
                    Duration::ZERO
                };
                drain
                    + self.attempt.plan.release.runtime.stop_grace()
                        * u32::try_from(backends.len()).unwrap_or(u32::MAX)
            }
            StepKind::Shrink { .. } => {
                self.attempt.plan.policy.timeouts.launch + self.attempt.plan.policy.timeouts.healthy
            }
            _ => Duration::ZERO,
        }
    }

    async fn undo(&self, index: usize, kind: &StepKind) -> Result<StepOutput, Failure> {
        let op = self.attempt.plan.op_id(index, "undo");
        match kind {
            StepKind::Promote => Ok(self.hands.stand_old_up_again().await),
            StepKind::Shift { .. } => {
                // However far it climbed: at once to what was in force before the first of them.
                let before = self.attempt.plan.routes_before.clone();
                if self.attempt.routes_are_back() && self.state.routes == before {
                    return Ok(StepOutput::note("the routes of before are in force already"));
                }
                let routes = before.unwrap_or(Routes::none());
                self.hands.some_side_lives(&routes).await?;
                let identity = self
                    .attempt
                    .plan
                    .stable
                    .as_ref()
                    .map(|stable| (stable.slot, stable.release, OutsideProof::NotContradicted));
                match self.hands.set_routes(index, &op, &routes, identity).await {
                    Ok(output) => Ok(output),
                    Err(failure) => {
                        self.hands.still_in_force(index, &routes, identity).await.ok_or(failure)
                    }
                }
            }
            StepKind::Shrink { slot, backends, .. } => {
                self.hands.grow_back(index, *slot, backends).await
            }
            StepKind::Launch { slot, backends } => {
                let mut output = StepOutput::default();
                if self.attempt.shift_began() {
                    output = self.drain_candidate(index, *slot, backends).await;
                }
                let retired = self
                    .hands
                    .retire(backends, self.attempt.plan.release.runtime.stop_grace())
                    .await?;
                output.notes.extend(retired.notes);
                Ok(output)
            }
            StepKind::Preflight
            | StepKind::Baseline { .. }
            | StepKind::RetireKept { .. }
            | StepKind::AwaitHealthy { .. }
            | StepKind::Analyze { .. }
            | StepKind::Validate { .. }
            | StepKind::Bake { .. }
            | StepKind::Drain { .. }
            | StepKind::Hold { .. }
            | StepKind::Retire { .. } => Ok(StepOutput::default()),
        }
    }

    /// Gives the requests that a rejected candidate still holds the drain's time to end; then they
    /// are cut, and the note says so.
    async fn drain_candidate(&self, index: usize, slot: Slot, backends: &[Backend]) -> StepOutput {
        let policy = self.attempt.plan.policy.drain;
        self.hands
            .drain(index, slot, backends, policy.timeout, OnDrainTimeout::Cut)
            .await
            .unwrap_or_else(|failure| {
                StepOutput::note(format!(
                    "whether requests to {slot} have ended could not be told: {}",
                    failure.fault()
                ))
            })
    }

    /// Does what unwinding does while writing decisions down: nothing is left to decide, but who
    /// decided must know that it was heard.
    async fn hearing<T>(&mut self, work: impl Future<Output = T>) -> Result<T, Halt> {
        let hands = self.hands.clone();
        let result = {
            let work = work.fuse();
            pin_mut!(work);
            let mut watch = Watch::new(&hands, self.attempt.last_decision);
            watch.ignore_budget();
            loop {
                let next = watch.next().fuse();
                pin_mut!(next);
                let signal = select_biased! {
                    signal = next => signal,
                    result = work => break Ok(result),
                };
                if let Signal::Decision(decision) = signal
                    && let Err(unwritten) = self.append(Event::Decided(decision)).await
                {
                    break Err(unwritten);
                }
            }
        };
        match result {
            Ok(value) => Ok(value),
            Err(unwritten) => Err(self.halt(unwritten).await),
        }
    }
}
