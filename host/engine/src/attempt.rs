//! Where a deployment is, folded from its journal. A fresh run, a resume and an abort all start
//! from this.

use crate::fault::Fault;
use crate::journal::{Decision, DecisionKind, Entry, Event, Outcome};
use crate::plan::Plan;
use crate::step::{IllegalMove, StepState};
use crate::steps::Facts;

/// A journal that can't have been written by us.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum JournalDamage {
    /// The first entry is not the plan.
    #[error("the deployment's journal does not begin with its plan")]
    NoPlan,
    /// A gap or a repetition.
    #[error("the journal has entry {found} where entry {expected} should be")]
    Sequence {
        /// What should be there.
        expected: u64,
        /// What is there.
        found: u64,
    },
    /// An entry about a step that the plan does not have.
    #[error("entry {entry} refers to step {step}, which is not in the plan")]
    NoSuchStep { entry: u64, step: usize },
    /// A move that the table does not allow.
    #[error("entry {entry} for step {step} contradicts the entries before it")]
    Illegal {
        entry: u64,
        step: usize,
        /// The move.
        #[source]
        source: IllegalMove,
    },
    /// The store has other entries than those that were read.
    #[error("the journal does not take entry {entry}")]
    Refused {
        entry: u64,
        #[source]
        fault: Fault,
    },
    /// Something after the end, or a second plan.
    #[error("entry {0} follows the end of the deployment or repeats its start")]
    Misplaced(u64),
}

/// Which way a deployment moves.
#[derive(Debug, Clone, PartialEq)]
pub enum Direction {
    /// Steps are run in order.
    Forward,
    /// Steps are undone in reverse, and why.
    Back(Fault),
}

/// Where a deployment is.
#[derive(Debug, Clone, PartialEq)]
pub struct Attempt {
    pub plan: Plan,
    /// Where each step is.
    pub steps: Vec<StepState>,
    /// Which way it moves.
    pub direction: Direction,
    /// Whether an operator paused it.
    pub paused: bool,
    /// The abort that somebody asked for, until it is obeyed or past the point of no return: a
    /// host that dies in between must not forget it.
    pub abort: Option<Decision>,
    /// The step whose wait an operator has ended by `promote`.
    pub waived: Option<usize>,
    /// Whether an operator wants 100 % without what leads up to it.
    pub straight_up: bool,
    /// The last decision that was folded in; 0 for none.
    pub last_decision: u64,
    /// How it ended, if it did.
    pub outcome: Option<Outcome>,
    next_sequence: u64,
}

impl Attempt {
    /// A deployment of which only the plan is written.
    pub fn opened(plan: Plan) -> Self {
        let steps = vec![StepState::Pending; plan.steps.len()];
        Self {
            plan,
            steps,
            direction: Direction::Forward,
            paused: false,
            abort: None,
            waived: None,
            straight_up: false,
            last_decision: 0,
            outcome: None,
            next_sequence: 1,
        }
    }

    /// Folds a whole journal.
    pub fn fold(entries: &[Entry]) -> Result<Self, JournalDamage> {
        let mut entries = entries.iter();
        let mut attempt = match entries.next() {
            Some(Entry { sequence: 0, event: Event::Opened { plan }, .. }) => {
                Self::opened((**plan).clone())
            }
            _ => return Err(JournalDamage::NoPlan),
        };
        for entry in entries {
            if entry.sequence != attempt.next_sequence {
                return Err(JournalDamage::Sequence {
                    expected: attempt.next_sequence,
                    found: entry.sequence,
                });
            }
            attempt.apply(&entry.event)?;
        }
        Ok(attempt)
    }

    /// Folds one event more.
    pub fn apply(&mut self, event: &Event) -> Result<(), JournalDamage> {
        let entry = self.next_sequence;
        if self.outcome.is_some() {
            return Err(JournalDamage::Misplaced(entry));
        }
        self.plan.learn(event);
        match event {
            Event::Opened { .. } => return Err(JournalDamage::Misplaced(entry)),
            Event::Step { step, event } => {
                let Some(state) = self.steps.get_mut(*step) else {
                    return Err(JournalDamage::NoSuchStep { entry, step: *step });
                };
                *state = std::mem::take(state)
                    .next(event.clone())
                    .map_err(|source| JournalDamage::Illegal { entry, step: *step, source })?;
            }
            Event::Decided(decision) => {
                self.last_decision = self.last_decision.max(decision.id);
                match decision.decision {
                    DecisionKind::Pause => self.paused = true,
                    DecisionKind::Resume => self.paused = false,
                    DecisionKind::Abort => self.abort = Some(decision.clone()),
                    DecisionKind::Promote { full: true } => self.straight_up = true,
                    DecisionKind::Promote { full: false } => self.waived = self.next_step(),
                }
            }
            Event::TurnedBack { fault } => self.direction = Direction::Back(fault.clone()),
            Event::Resumed { .. } => {}
            Event::Closed { outcome } => self.outcome = Some(outcome.clone()),
        }
        self.next_sequence += 1;
        Ok(())
    }

    /// The number that its next entry gets.
    pub fn next_sequence(&self) -> u64 {
        self.next_sequence
    }

    /// The first step that is not done.
    pub fn next_step(&self) -> Option<usize> {
        self.steps.iter().position(|state| !matches!(state, StepState::Done(_)))
    }

    /// Why nothing moves by itself any more: an undo failed, or a step past the point of no return.
    pub fn is_stuck(&self) -> Option<&Fault> {
        self.steps.iter().find_map(|state| match state {
            StepState::Failed(fault) | StepState::Stuck(fault) => Some(fault),
            _ => None,
        })
    }

    /// The step that has to be undone next, from the last to the first: of the kinds that are undone
    /// before any other, then of those by which requests go back, then of the rest. What requests
    /// may still reach is taken away after they have left it.
    pub fn next_undo(&self) -> Option<usize> {
        let last = |of: fn(&Facts) -> bool| {
            self.stands().enumerate().rev().find_map(|(index, (facts, state))| {
                let due = facts.has_undo() && of(&facts) && may_have_left_something(state);
                due.then_some(index)
            })
        };
        last(|facts| facts.undone_first)
            .or_else(|| last(|facts| facts.moves_requests || facts.commits))
            .or_else(|| last(|_| true))
    }

    /// What holds for each step, and where it is.
    fn stands(&self) -> impl DoubleEndedIterator<Item = (Facts, &StepState)> + ExactSizeIterator {
        self.plan.steps.iter().map(|step| step.kind.facts()).zip(&self.steps)
    }

    /// Whether unwinding has put the routes back that were in force before.
    pub fn routes_are_back(&self) -> bool {
        self.stands().any(|(facts, state)| facts.moves_requests && *state == StepState::Undone)
    }

    /// The first of the shifts that are undone.
    pub fn first_shift_undone(&self) -> Option<usize> {
        self.stands().position(|(facts, state)| facts.moves_requests && *state == StepState::Undone)
    }

    /// Whether a shift is left that unwinding has to undo.
    pub fn shift_is_to_be_undone(&self) -> bool {
        self.stands().any(|(facts, state)| facts.moves_requests && may_have_left_something(state))
    }

    /// Whether requests have moved and that was acknowledged.
    pub fn shift_is_done(&self) -> bool {
        self.stands().any(|(facts, state)| {
            facts.moves_requests && matches!(state, StepState::Done(output) if !output.skipped)
        })
    }

    /// Whether unwinding has begun to put the routes back that were in force before, at least.
    pub fn shift_is_undone(&self) -> bool {
        let undone = |state: &StepState| {
            matches!(state, StepState::Undoing | StepState::Undone | StepState::Stuck(_))
        };
        self.stands().any(|(facts, state)| facts.moves_requests && undone(state))
    }

    /// Whether anything outside may have been changed.
    pub fn had_effect(&self) -> bool {
        self.stands().any(|(facts, state)| facts.has_effect() && began(state))
    }

    /// Whether the deployment can only go forward.
    pub fn past_point_of_no_return(&self) -> bool {
        self.stands().any(|(facts, state)| facts.point_of_no_return && *state != StepState::Pending)
    }

    /// Whether the candidate has been given requests at any time.
    pub fn shift_began(&self) -> bool {
        self.stands().any(|(facts, state)| facts.moves_requests && began(state))
    }

    /// How the drain of the old side ended, if it did.
    pub fn drained(&self) -> Option<bool> {
        self.steps.iter().find_map(|state| match state {
            StepState::Done(output) => output.drained,
            _ => None,
        })
    }
}

/// Whether a step may have had an effect at any time.
fn began(state: &StepState) -> bool {
    !matches!(state, StepState::Pending | StepState::Refused(_))
}

fn may_have_left_something(state: &StepState) -> bool {
    match state {
        StepState::Done(output) => !output.skipped,
        StepState::Running | StepState::Unknown(_) | StepState::Undoing | StepState::Stuck(_) => {
            true
        }
        // Past the point of no return nothing is undone.
        StepState::Pending | StepState::Refused(_) | StepState::Undone | StepState::Failed(_) => {
            false
        }
    }
}
