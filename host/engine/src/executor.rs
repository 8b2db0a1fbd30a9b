//! The saga executor: one loop for a fresh run, a resume and an abort.
//!
//! Invariants: before an effect its `started` is durable, after it its result is; while the journal
//! can't be written no new effect begins, except putting the last acknowledged routes back; an
//! abort is heard in every wait until the point of no return has begun.
//!
//! It knows no kind of step: it runs and undoes what a plan lists.

mod back;
mod forward;
mod listener;
mod mail;
mod outcome;
mod outlast;
mod trust;
mod writing;

use crate::attempt::{Attempt, Direction, JournalDamage};
use crate::context::{Place, SoFar, StepContext};
use crate::fault::Fault;
use crate::journal::{Entry, Event, Outcome};
use crate::plan::Plan;
use crate::ports::Lease;
use crate::state::ServiceState;
use crate::world::World;
use mail::Mail;

/// Why the executor stopped without an outcome.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Halt {
    /// The lease is not ours any more; whoever has it goes on with the deployment.
    #[error("the lease was lost, and this host has stopped")]
    LeaseLost {
        /// How it was lost.
        #[source]
        fault: Fault,
    },
    /// The journal can't be written, and somebody wants no more waiting for it.
    #[error("the journal can't be written; {}", in_force.as_deref().unwrap_or("the routes could not be put back"))]
    JournalUnavailable {
        #[source]
        fault: Fault,
        /// Where requests go, in words; none where the routes that should be in force are not.
        in_force: Option<String>,
    },
    /// The journal did not take the plan.
    #[error("the journal can't be written; nothing was changed")]
    NothingBegan(#[source] Fault),
    /// What is in the journal can't have been written by us.
    #[error("the journal is damaged")]
    Damaged(#[from] JournalDamage),
}

/// Opens a deployment: makes the plan durable and runs it to its end.
///
/// Called once per deployment, by the holder of the lease.
pub async fn begin(
    world: World<'_>,
    lease: &dyn Lease,
    plan: Plan,
    state: ServiceState,
) -> Result<Outcome, Halt> {
    let opened = Event::Opened { plan: Box::new(plan.clone()) };
    let mut run = Run::new(world, lease, Attempt::opened(plan), state);
    run.open(opened).await?;
    run.finish().await
}

/// Takes a deployment up again from its journal, whatever it was doing when it stopped.
///
/// Called by the holder of the lease; as often as needed.
pub async fn resume(
    world: World<'_>,
    lease: &dyn Lease,
    entries: &[Entry],
    state: ServiceState,
    by: String,
) -> Result<Outcome, Halt> {
    let attempt = Attempt::fold(entries)?;
    if let Some(outcome) = &attempt.outcome {
        return Ok(outcome.clone());
    }
    let mut run = Run::new(world, lease, attempt, state);
    run.write(Event::Resumed { by }).await?;
    run.trust().await
}

/// Turns an open deployment back, whoever left it, and unwinds it; past the point of no return it
/// is finished instead.
pub async fn unwind(
    world: World<'_>,
    lease: &dyn Lease,
    entries: &[Entry],
    state: ServiceState,
    by: String,
    fault: Fault,
) -> Result<Outcome, Halt> {
    let attempt = Attempt::fold(entries)?;
    if let Some(outcome) = &attempt.outcome {
        return Ok(outcome.clone());
    }
    let mut run = Run::new(world, lease, attempt, state);
    let turns =
        run.attempt.direction == Direction::Forward && !run.attempt.past_point_of_no_return();
    // Requests need not wait for the two entries.
    run.overdue = turns.then(|| fault.clone());
    run.write(Event::Resumed { by }).await?;
    if turns {
        run.write(Event::TurnedBack { fault }).await?;
    }
    run.overdue = None;
    run.trust().await
}

/// A deployment that this process works on.
#[derive(Clone)]
struct Run<'a> {
    world: World<'a>,
    lease: &'a dyn Lease,
    mail: Mail<'a>,
    /// Outside of any step.
    context: StepContext<'a>,
    attempt: Attempt,
    state: ServiceState,
    /// What spoke against the candidate while it could not be written down.
    overdue: Option<Fault>,
}

impl<'a> Run<'a> {
    fn new(world: World<'a>, lease: &'a dyn Lease, attempt: Attempt, state: ServiceState) -> Self {
        let deployment = attempt.plan.deployment.clone();
        let mail = Mail::new(&world, deployment.id.clone());
        let context = StepContext::new(world.ports(), lease.fence(), deployment);
        Self { world, lease, mail, context, attempt, state, overdue: None }
    }

    /// What step `index` works with.
    fn context_at(&self, index: usize) -> StepContext<'a> {
        let plan = &self.attempt.plan;
        let (candidate, stable) = plan.standing_at(index);
        let limit = plan.steps.get(index).map(|step| step.timeout).unwrap_or_default();
        let so_far = SoFar {
            drained: self.attempt.drained(),
            shift_began: self.attempt.shift_began(),
            routes_are_back: self.attempt.routes_are_back(),
        };
        self.context.at(
            &plan.deployment,
            Place { step: Some(index), limit, candidate, stable },
            so_far,
        )
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
}
