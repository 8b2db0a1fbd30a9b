//! The plan: everything a deployment will do, decided before it begins and journaled whole.

use crate::deployment::Deployment;
use crate::route::Backend;
use crate::steps::Step;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::ops::{Deref, DerefMut};
use std::time::Duration;

/// The plan of one deployment: what it is about, which is read as the plan's own, and the steps.
#[derive(Debug, Clone, PartialEq, JsonSchema, Serialize, Deserialize)]
pub struct Plan {
    #[serde(flatten)]
    pub deployment: Deployment,
    /// The steps, in order.
    pub steps: Vec<Step>,
    /// What the operator should know, one sentence each: “outside proof: none” …
    pub warnings: Vec<String>,
}

impl Deref for Plan {
    type Target = Deployment;

    fn deref(&self) -> &Deployment {
        &self.deployment
    }
}

impl DerefMut for Plan {
    fn deref_mut(&mut self) -> &mut Deployment {
        &mut self.deployment
    }
}

impl Plan {
    /// The candidate's backends that stand when step `index` begins, and the stable side's.
    pub fn standing_at(&self, index: usize) -> (Vec<Backend>, Vec<Backend>) {
        let before = || self.steps.iter().take(index);
        // What is rolled back to, or adopted, stood before.
        let launched = self.steps.iter().any(|step| !step.kind.starts().is_empty());
        let candidate = if launched {
            before().flat_map(|step| step.kind.starts()).cloned().collect()
        } else {
            self.backends.clone()
        };
        let gone: Vec<&Backend> = before().flat_map(|step| step.kind.thins_out()).collect();
        let stable = self.stable.iter().flat_map(|stable| &stable.backends);
        (candidate, stable.filter(|backend| !gone.contains(backend)).cloned().collect())
    }

    /// Whether `promote --full` passes a step over: the waits, and the weights where all of the
    /// candidate stands already. A rolling deployment keeps its batches, whose old backends
    /// must lose their requests before they go.
    pub fn passes_over(&self, index: usize) -> bool {
        self.steps.get(index).is_some_and(|step| {
            step.kind.facts().awaits_decision
                || step.kind.leads_up() && self.thinned_out().next().is_none()
        })
    }

    /// What a rolling deployment removes of the stable side before promote.
    pub fn thinned_out(&self) -> impl Iterator<Item = &Backend> {
        self.steps.iter().flat_map(|step| step.kind.thins_out())
    }

    /// The longest the deployment can take going forward: the sum of its time limits.
    pub fn worst_case(&self) -> Duration {
        self.steps.iter().map(|step| step.timeout).sum()
    }

    /// The index of the step from which there is no way back, if there is one.
    pub fn point_of_no_return(&self) -> Option<usize> {
        self.steps.iter().position(|step| step.kind.facts().point_of_no_return)
    }

    /// The index of promote.
    pub fn promote_step(&self) -> Option<usize> {
        self.steps.iter().position(|step| step.kind.facts().commits)
    }
}
