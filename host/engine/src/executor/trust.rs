//! A host that takes a deployment up looks before it trusts what the journal says: the target may
//! have been changed while no host ran.

use super::{Halt, Run};
use crate::attempt::Direction;
use crate::context::StepContext;
use crate::context::routes::in_force;
use crate::fault::{Fault, FaultKind};
use crate::journal::Outcome;
use crate::ports::ObservedState;
use crate::route::Routes;
use crate::step::StepState;
use std::time::Duration;

/// How often the target is looked at until it is certain what it holds.
const POLL: Duration = Duration::from_millis(100);

impl Run<'_> {
    /// Compares the target with what was acknowledged last, deals with a difference, and goes on to
    /// the end. Forward, a difference turns the deployment back: somebody has decided otherwise.
    /// Backward, the routes of before are put back once more.
    pub(super) async fn trust(&mut self) -> Result<Outcome, Halt> {
        let expected = self.expected();
        if !expected.is_empty() {
            let context = self.context.clone();
            let limit = context.deployment.policy.timeouts.shift;
            let looked = self.hearing(Box::pin(look(&context, &expected, limit))).await?;
            if let Err(fault) = looked {
                let stuck = match self.attempt.direction.clone() {
                    Direction::Forward => {
                        self.turn_back(fault).await?;
                        None
                    }
                    Direction::Back(cause) => match self.attempt.first_shift_undone() {
                        Some(shift) => self.undo(shift, cause).await?,
                        None => None,
                    },
                };
                if let Some(stuck) = stuck {
                    return Ok(stuck);
                }
            }
        }
        self.finish().await
    }

    /// The routes that may be in force, where anything is trusted to be: none where the next step,
    /// or an undo, sets and proves them anyway, and past the point of no return, where each removal
    /// looks by itself.
    fn expected(&self) -> Vec<Routes> {
        let attempt = &self.attempt;
        let acknowledged = self.state.routes.clone();
        match attempt.direction {
            _ if attempt.past_point_of_no_return() => Vec::new(),
            Direction::Forward if attempt.shift_is_done() => {
                // A host that died in a shift may have set its routes or not.
                let next = attempt.next_step();
                let begun =
                    next.filter(|&step| attempt.steps.get(step) == Some(&StepState::Running));
                let sets = begun.and_then(|step| attempt.plan.steps.get(step)?.kind.sets());
                acknowledged.into_iter().chain(sets.cloned()).collect()
            }
            Direction::Back(_) if attempt.routes_are_back() && !attempt.shift_is_to_be_undone() => {
                vec![acknowledged.unwrap_or(Routes::none())]
            }
            Direction::Forward | Direction::Back(_) => Vec::new(),
        }
    }
}

/// Looks at the target until it is certain what it holds. A fault where that is none of `expected`,
/// or can't be told in time.
async fn look(
    context: &StepContext<'_>,
    expected: &[Routes],
    limit: Duration,
) -> Result<(), Fault> {
    let began = context.ports.clock.elapsed();
    loop {
        let conflict = |message| {
            let message = format!("the target was changed while no host was running: {message}");
            Fault::new(FaultKind::Conflict, message)
        };
        let left = limit.saturating_sub(context.since(began));
        let observed = context.within(left, context.ports.switcher.observe()).await;
        let observed = observed
            .unwrap_or_else(|| Err(Fault::new(FaultKind::TimedOut, "the target did not answer")));
        let fault = match observed {
            Ok(observed) if expected.iter().any(|routes| in_force(routes, &observed)) => {
                return Ok(());
            }
            Ok(observed) if observed.state == ObservedState::Pending => conflict(observed.message),
            Ok(observed) => return Err(conflict(observed.message)),
            Err(fault) => Fault {
                message: format!("the target's routes can't be read: {}", fault.message),
                ..fault
            },
        };
        if context.since(began) >= limit {
            return Err(fault);
        }
        context.waiting(fault.message);
        context.ports.clock.sleep(POLL).await;
    }
}
