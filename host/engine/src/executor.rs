//! The saga executor: one loop for a fresh run, a resume and an abort.
//!
//! Invariants: before an effect its `started` is durable, after it its result is; while the journal
//! can't be written no new effect begins, except putting the last acknowledged routes back; an
//! abort is heard in every wait until the point of no return has begun.

mod analyze;
mod back;
mod drain;
mod hands;
mod health;
mod preflight;
mod shift;
mod watch;

use crate::attempt::{Attempt, Direction, JournalDamage};
use crate::fault::{Failure, Fault, FaultKind};
use crate::journal::{DecisionKind, Entry, Event, Outcome};
use crate::names::Timestamp;
use crate::plan::Plan;
use crate::ports::{
    AppendError, Clock, Fence, Finding, HealthCheck, Journal, Mailbox, MetricSource, Observer,
    Prober, Progress, Runtime, TargetLocks, TrafficSwitcher,
};
use crate::route::{Routes, Slot};
use crate::state::ServiceState;
use crate::step::{StepEvent, StepKind, StepOutput, StepState, TimeoutAction};
use futures_util::{FutureExt, pin_mut, select_biased};
use hands::{Hands, with_deadline};
use std::time::Duration;
use watch::{Signal, Watch};

/// The ports that one deployment runs with.
#[derive(Clone, Copy)]
pub struct World<'a> {
    /// Starts and stops backends.
    pub runtime: &'a dyn Runtime,
    /// Changes the target.
    pub switcher: &'a dyn TrafficSwitcher,
    /// Asks checks.
    pub checks: &'a dyn HealthCheck,
    /// Reads numbers for analysis.
    pub metrics: &'a dyn MetricSource,
    /// Our outside requests, where the policy has them.
    pub prober: Option<&'a dyn Prober>,
    /// Remembers what was done.
    pub journal: &'a dyn Journal,
    /// Brings decisions.
    pub mailbox: &'a dyn Mailbox,
    /// Whose turn it is at the target.
    pub targets: &'a dyn TargetLocks,
    /// Time.
    pub clock: &'a dyn Clock,
    /// Who watches.
    pub observer: &'a dyn Observer,
}

/// Why the executor stopped without an outcome.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Halt {
    /// Another host took the lease; it goes on with the deployment.
    #[error("another host took over the deployment")]
    LeaseLost(#[source] AppendError),
    /// The journal can't be written.
    #[error("the journal can't be written; {}", if *.routes_restored { "the last acknowledged routes are in force" } else { "the routes could not be put back" })]
    JournalUnavailable {
        #[source]
        fault: Fault,
        /// Whether the last acknowledged routes were applied and seen in force.
        routes_restored: bool,
    },
    /// What is in the journal can't have been written by us.
    #[error("the journal is damaged")]
    Damaged(#[from] JournalDamage),
}

/// Opens a deployment: makes the plan durable and runs it to its end.
///
/// Called once per deployment, by the holder of the lease.
pub async fn begin(
    world: World<'_>,
    fence: Fence,
    plan: Plan,
    state: ServiceState,
) -> Result<Outcome, Halt> {
    let opened = Event::Opened { plan: Box::new(plan.clone()) };
    let mut run = Run::new(world, fence, Attempt::opened(plan), state);
    if let Err(unwritten) = run.append_unfolded(0, opened).await {
        return Err(run.halt(unwritten).await);
    }
    run.finish().await
}

/// Takes a deployment up again from its journal, whatever it was doing when it stopped.
///
/// Called by the holder of the lease; as often as needed.
pub async fn resume(
    world: World<'_>,
    fence: Fence,
    entries: &[Entry],
    state: ServiceState,
    by: String,
) -> Result<Outcome, Halt> {
    let attempt = Attempt::fold(entries)?;
    if let Some(outcome) = &attempt.outcome {
        return Ok(outcome.clone());
    }
    let mut run = Run::new(world, fence, attempt, state);
    run.write(Event::Resumed { by }).await?;
    run.finish().await
}

/// Turns an open deployment back, whoever left it, and unwinds it; past the point of no return it
/// is finished instead.
pub async fn unwind(
    world: World<'_>,
    fence: Fence,
    entries: &[Entry],
    state: ServiceState,
    by: String,
    fault: Fault,
) -> Result<Outcome, Halt> {
    let attempt = Attempt::fold(entries)?;
    if let Some(outcome) = &attempt.outcome {
        return Ok(outcome.clone());
    }
    let mut run = Run::new(world, fence, attempt, state);
    run.write(Event::Resumed { by }).await?;
    if run.attempt.direction == Direction::Forward && !run.attempt.past_point_of_no_return() {
        run.write(Event::TurnedBack { fault }).await?;
    }
    run.finish().await
}

/// Watches what is stable, with the checks and measures of the bake, until something is wrong with
/// it; that is the answer. Changes nothing, writes nothing, and needs no lease; dropped when it is
/// no longer wanted.
///
/// `plan` is of [`crate::planner::watch`]; `promoted` is since when it is stable.
pub async fn watch(world: World<'_>, plan: Plan, promoted: Timestamp) -> Fault {
    let hands = Hands::new(world, Fence(0), plan);
    hands.learn_of_before(hands.plan.kept.as_ref().map(|kept| &kept.standing), promoted).await;
    hands.bake(0, Duration::MAX).await.map_or_else(
        |failure| failure.fault().clone(),
        |_| Fault::new(FaultKind::Internal, "watching ended by itself"),
    )
}

/// Reads of the stable release what a candidate will be measured by, as preflight does; a line for
/// each measure. What is bad is bad configuration. Changes nothing, and needs no lease.
///
/// `plan` is of [`crate::planner::survey`].
pub async fn survey(world: World<'_>, plan: Plan) -> Vec<Finding> {
    Hands::new(world, Fence(0), plan).survey().await
}

/// How a forward step ended.
enum StepEnd {
    Succeeded(StepOutput),
    Failed(Failure),
    /// Past the point of no return: the step stays begun, a person looks.
    Stuck(Fault),
}

/// Why an entry is not in the journal.
enum Unwritten {
    Damaged(JournalDamage),
    Store(AppendError),
}

#[derive(Clone)]
struct Run<'a> {
    hands: Hands<'a>,
    attempt: Attempt,
    state: ServiceState,
}

impl<'a> Run<'a> {
    fn new(world: World<'a>, fence: Fence, attempt: Attempt, state: ServiceState) -> Self {
        let hands = Hands::new(world, fence, attempt.plan.clone());
        Self { hands, attempt, state }
    }

    /// Makes an event durable, then folds it.
    async fn write(&mut self, event: Event) -> Result<(), Halt> {
        match self.append(event).await {
            Ok(()) => Ok(()),
            Err(unwritten) => Err(self.halt(unwritten).await),
        }
    }

    /// The same, leaving it to the caller to [`halt`](Self::halt): where a call to the target is
    /// under way, that has to be dropped first.
    async fn append(&mut self, event: Event) -> Result<(), Unwritten> {
        let mut after = self.attempt.clone();
        after.apply(&event).map_err(Unwritten::Damaged)?;
        self.append_unfolded(self.attempt.next_sequence(), event).await?;
        self.attempt = after;
        Ok(())
    }

    /// Numbers and dates an event, and makes it durable with the state that follows from it.
    async fn append_unfolded(&mut self, sequence: u64, event: Event) -> Result<(), Unwritten> {
        let Hands { world, fence, .. } = &self.hands;
        let deployment = self.attempt.plan.id.clone();
        let entry = Entry { sequence, at: world.clock.now(), deployment, event };
        let state = self.state.after(&self.attempt.plan, &entry.event, entry.at);
        world.journal.append(*fence, &entry, &state).await.map_err(Unwritten::Store)?;
        world.observer.tell(Progress::Journaled { event: Box::new(entry.event) });
        self.state = state;
        Ok(())
    }

    /// Stops where the journal is lost.
    async fn halt(&self, unwritten: Unwritten) -> Halt {
        match unwritten {
            Unwritten::Damaged(damage) => Halt::Damaged(damage),
            Unwritten::Store(fenced @ AppendError::Fenced { .. }) => Halt::LeaseLost(fenced),
            Unwritten::Store(AppendError::OutOfOrder { expected, found }) => {
                Halt::Damaged(JournalDamage::Sequence { expected, found })
            }
            Unwritten::Store(AppendError::Unavailable(fault)) => Halt::JournalUnavailable {
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
        let goes_back = self.attempt.shift_is_undone();
        let routes = if goes_back {
            self.attempt.plan.routes_before.clone().or(Some(Routes::none()))
        } else {
            self.state.routes.clone()
        };
        let Some(routes) = &routes else { return false };
        let limit = self.attempt.plan.policy.timeouts.shift;
        let op = self.attempt.plan.op_id(usize::MAX, "restore");
        with_deadline(
            self.hands.world.clock,
            limit,
            self.hands.set_routes(usize::MAX, &op, routes, None),
        )
        .await
        .is_some_and(|result| result.is_ok())
    }

    async fn finish(&mut self) -> Result<Outcome, Halt> {
        loop {
            if let Some(outcome) = &self.attempt.outcome {
                return Ok(outcome.clone());
            }
            let outcome = match self.attempt.direction.clone() {
                Direction::Forward => self.forward().await?,
                Direction::Back(cause) => self.back(cause).await?,
            };
            if let Some(stuck) = outcome {
                return Ok(stuck);
            }
        }
    }

    /// Runs the next step, or closes the deployment. An outcome is returned only when it is stuck.
    async fn forward(&mut self) -> Result<Option<Outcome>, Halt> {
        // Decisions that came while nobody listened come before the next step, and before the end.
        if !self.attempt.past_point_of_no_return() {
            let asked = self.attempt.abort.as_ref().map(watch::aborted);
            let fault = match asked {
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
        self.write(Event::Step { step: index, event: StepEvent::Started }).await?;
        if self.attempt.straight_up && !again && self.attempt.plan.passes_over(index) {
            let output = StepOutput {
                skipped: true,
                ..StepOutput::note("passed over: an operator promoted in full")
            };
            self.write(Event::Step { step: index, event: StepEvent::Succeeded { output } }).await?;
            return Ok(None);
        }
        match self.run_step(index).await? {
            StepEnd::Succeeded(output) => {
                self.write(Event::Step { step: index, event: StepEvent::Succeeded { output } })
                    .await?;
            }
            StepEnd::Failed(failure) => {
                let fault = failure.fault().clone();
                let event = match failure {
                    Failure::Refused { fault } if !again => StepEvent::Refused { fault },
                    Failure::Refused { fault } | Failure::Unknown { fault } => {
                        StepEvent::Lost { fault }
                    }
                };
                self.write(Event::Step { step: index, event }).await?;
                self.turn_back(fault).await?;
            }
            StepEnd::Stuck(fault) => {
                let instructions = self.instructions(&fault);
                return Ok(Some(Outcome::Stuck { cause: None, fault, instructions }));
            }
        }
        Ok(None)
    }

    async fn turn_back(&mut self, fault: Fault) -> Result<(), Halt> {
        if self.attempt.had_effect() {
            self.write(Event::TurnedBack { fault }).await
        } else {
            self.write(Event::Closed { outcome: Outcome::Refused { fault } }).await
        }
    }

    /// Folds waiting decisions in; a pause is waited out here. Gives the fault of an abort.
    async fn hear(&mut self) -> Result<Option<Fault>, Halt> {
        let hands = self.hands.clone();
        let step = self.attempt.next_step().unwrap_or_default();
        // It goes on from one look at the mailbox to the next: an answer may take longer than those
        // are apart.
        let mut watching = Box::pin(hands.watch_paused(step)).fuse();
        let mut told = false;
        loop {
            let decisions = self
                .hands
                .world
                .mailbox
                .decisions(&self.attempt.plan.id, self.attempt.last_decision)
                .await
                .unwrap_or_default();
            for decision in decisions {
                let abort =
                    (decision.decision == DecisionKind::Abort).then(|| watch::aborted(&decision));
                self.write(Event::Decided(decision)).await?;
                if abort.is_some() {
                    return Ok(abort);
                }
            }
            if !self.attempt.paused || self.attempt.past_point_of_no_return() {
                return Ok(None);
            }
            if let Some(fault) = self.hands.over_budget() {
                return Ok(Some(fault));
            }
            if !told {
                told = true;
                self.hands.world.observer.tell(Progress::Waiting {
                    step,
                    message: "paused; `agente-host resume` goes on, `agente-host abort` unwinds"
                        .to_owned(),
                });
            }
            let poll = hands.world.clock.sleep(watch::POLL).fuse();
            pin_mut!(poll);
            if self.attempt.shift_began() {
                select_biased! {
                    fault = watching => return Ok(Some(fault)),
                    () = poll => {}
                }
            } else {
                poll.await;
            }
        }
    }

    /// Runs one step while listening for decisions, the probe's budget and the time limit.
    async fn run_step(&mut self, index: usize) -> Result<StepEnd, Halt> {
        let hands = self.hands.clone();
        let Some(step) = hands.plan.steps.get(index) else {
            return Ok(StepEnd::Succeeded(StepOutput::default()));
        };
        let one_way = step.kind.is_point_of_no_return();
        let waits_for_decision = matches!(step.kind, StepKind::Analyze { .. });
        if waits_for_decision && self.attempt.waived == Some(index) {
            return Ok(StepEnd::Succeeded(StepOutput::note("an operator promoted it")));
        }
        let drained = self.attempt.drained();
        let result = {
            // Steps that wait on purpose end by themselves; the margin catches an answer that never
            // comes.
            let waits_on_purpose =
                !matches!(step.on_timeout, TimeoutAction::Unwind | TimeoutAction::Stuck);
            let limit = step.timeout
                + if waits_on_purpose { Duration::from_secs(10) } else { Duration::ZERO };
            let work = hands.run(index, &step.kind, drained).fuse();
            let timer = hands.world.clock.sleep(limit).fuse();
            pin_mut!(work, timer);
            let mut watch = Watch::new(&hands, self.attempt.last_decision);
            loop {
                let signal = {
                    let next = watch.next().fuse();
                    pin_mut!(next);
                    select_biased! {
                        signal = next => signal,
                        result = work => break Ok(result),
                        () = timer => {
                            let detail = hands.last_seen().map(|seen| format!("; last seen: {seen}")).unwrap_or_default();
                            let message = format!("step `{}` took longer than {}{detail}", step.kind.name(), seconds(step.timeout));
                            if waits_on_purpose {
                                break Ok(Ok(StepOutput { drained: matches!(step.kind, StepKind::Drain { .. }).then_some(false), ..StepOutput::note(message) }));
                            }
                            let causes = hands.evidence(&step.kind).await;
                            break Ok(Err(Failure::Unknown { fault: Fault { causes, ..Fault::new(FaultKind::TimedOut, message) } }));
                        }
                    }
                };
                match signal {
                    Signal::Decision(decision) => {
                        let abort = (decision.decision == DecisionKind::Abort && !one_way)
                            .then(|| watch::aborted(&decision));
                        let promoted = matches!(decision.decision, DecisionKind::Promote { .. })
                            .then(|| {
                                let reason = decision
                                    .reason
                                    .as_ref()
                                    .map(|reason| format!(": {reason}"))
                                    .unwrap_or_default();
                                format!("promoted by {}{reason}", decision.by)
                            });
                        if let Err(unwritten) = self.append(Event::Decided(decision)).await {
                            break Err(unwritten);
                        }
                        if let Some(fault) = abort {
                            break Ok(Err(Failure::Unknown { fault }));
                        }
                        if let Some(note) = promoted.filter(|_| waits_for_decision) {
                            break Ok(Ok(StepOutput::note(note)));
                        }
                    }
                    Signal::OverBudget(fault) if !one_way => {
                        break Ok(Err(Failure::Unknown { fault }));
                    }
                    Signal::OverBudget(_) => watch.ignore_budget(),
                }
            }
        };
        match result {
            Ok(Ok(output)) => Ok(StepEnd::Succeeded(output)),
            Ok(Err(failure)) if one_way => Ok(StepEnd::Stuck(failure.fault().clone())),
            Ok(Err(failure)) => Ok(StepEnd::Failed(failure)),
            Err(unwritten) => Err(self.halt(unwritten).await),
        }
    }

    /// What the outcome tells of its steps; what several say the same is told once.
    fn closing_notes(&self) -> Vec<String> {
        let outputs = self.attempt.plan.steps.iter().zip(&self.attempt.steps);
        let mut told = std::collections::BTreeSet::new();
        outputs
            .filter_map(|(step, state)| match (&step.kind, state) {
                (
                    StepKind::Analyze { .. }
                    | StepKind::Bake { .. }
                    | StepKind::Drain { .. }
                    | StepKind::Retire { .. }
                    | StepKind::RetireKept { .. },
                    StepState::Done(output),
                ) => Some(output.notes.clone()),
                _ => None,
            })
            .flatten()
            .filter(|note| told.insert(note.clone()))
            .collect()
    }

    /// What a person looks at and types when nothing moves by itself any more.
    fn instructions(&self, fault: &Fault) -> Vec<String> {
        let scope = &self.attempt.plan.scope;
        let mut lines =
            vec![format!("see what is live: `agente-host status --env {}`", scope.environment)];
        if let Some(hint) = &fault.hint {
            lines.push(hint.clone());
        }
        if let Some(routes) = &self.state.routes {
            let weights: Vec<String> =
                Slot::BOTH.iter().map(|&slot| format!("{slot} {}", routes.weight(slot))).collect();
            lines.push(format!("the routes that were last seen in force: {}", weights.join(", ")));
        }
        lines.push(format!(
            "when the cause is gone: `agente-host resume --env {}` tries again from here",
            scope.environment
        ));
        lines
    }
}

/// A duration for people: `1.5 s`, `250 ms`, `2 min`.
pub(crate) fn seconds(duration: Duration) -> String {
    let millis = duration.as_millis();
    if millis < 1000 {
        format!("{millis} ms")
    } else if millis.is_multiple_of(60_000) {
        format!("{} min", millis / 60_000)
    } else if millis.is_multiple_of(1000) {
        format!("{} s", millis / 1000)
    } else {
        format!("{:.1} s", duration.as_secs_f64())
    }
}
