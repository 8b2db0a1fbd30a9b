//! A service's state, folded from the journal.

use crate::journal::{Entry, Event};
use crate::names::Timestamp;
use crate::plan::Plan;
use crate::state::ServiceState;

impl ServiceState {
    /// The state that follows from all entries of a scope, in the order in which they were written.
    /// A stored state is this, remembered.
    pub fn fold<'e>(entries: impl IntoIterator<Item = &'e Entry>) -> ServiceState {
        let mut plan = None;
        let mut state = ServiceState::default();
        for Entry { at, event, .. } in entries {
            if let Event::Opened { plan: opened } = event {
                plan = Some(&**opened);
            }
            if let Some(plan) = plan {
                state = state.after(plan, event, *at);
            }
        }
        state
    }

    /// The state after an entry of `plan`'s deployment; the only place where a service's state
    /// changes. What a step changes in it is said by the step's kind.
    #[must_use]
    pub fn after(&self, plan: &Plan, event: &Event, at: Timestamp) -> ServiceState {
        let mut state = self.clone();
        match event {
            Event::Opened { plan } => state.open = Some(plan.id.clone()),
            Event::Closed { .. } => state.open = None,
            Event::Step { step, event } => {
                if let Some(step) = plan.steps.get(*step) {
                    step.kind.fold(&mut state, &plan.deployment, event, at);
                }
            }
            Event::Decided(_) | Event::TurnedBack { .. } | Event::Resumed { .. } => {}
        }
        state
    }
}
