//! A service's state, folded from the journal, and what a plan learns from it.

use crate::deployment::Deployment;
use crate::journal::{Entry, Event};
use crate::names::Timestamp;
use crate::plan::Plan;
use crate::state::ServiceState;
use crate::step::StepEvent;

impl Plan {
    /// Takes in what an entry tells of where backends are reached, for all that comes after it.
    pub(crate) fn learn(&mut self, event: &Event) {
        let Event::Step {
            event: StepEvent::Succeeded { output } | StepEvent::Undone { output },
            ..
        } = event
        else {
            return;
        };
        let told = &output.addresses;
        if told.is_empty() {
            return;
        }
        let Deployment { backends, stable, kept, routes_before, .. } = &mut self.deployment;
        let standing = stable.iter_mut().chain(kept.as_mut().map(|kept| &mut kept.standing));
        told.correct(backends.iter_mut().chain(standing.flat_map(|one| &mut one.backends)));
        if let Some(routes) = routes_before {
            told.correct_routes(routes);
        }
        for step in &mut self.steps {
            step.kind.learn(told);
        }
    }
}

impl ServiceState {
    /// The state after further entries of a scope, in the order in which they were written; after
    /// all of them where nothing was before. A stored state is this, remembered.
    #[must_use]
    pub fn fold<'e>(self, entries: impl IntoIterator<Item = &'e Entry>) -> ServiceState {
        let mut plan = None;
        let mut state = self;
        for Entry { at, event, .. } in entries {
            if let Event::Opened { plan: opened } = event {
                plan = Some((**opened).clone());
            }
            if let Some(plan) = &mut plan {
                plan.learn(event);
                state = state.after(plan, event, *at);
            }
        }
        state
    }

    /// The state after an entry of `plan`'s deployment, the plan as the entry leaves it; the only
    /// place where a service's state changes. What a step changes in it is said by the step's kind.
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
