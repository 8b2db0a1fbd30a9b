//! The way from no requests for the candidate to all of them.

use super::{Inputs, sharing};
use crate::names::ReleaseNumber;
use crate::policy::Stage;
use crate::route::{Backend, Override, Routes, Slot};
use crate::standing::Standing;
use crate::steps::{Analyze, AwaitHealthy, Launch, Shift, Step, StepKind};
use crate::weight::Weight;

/// The steps so far, and the routes after the last of them.
pub(super) struct Climb<'a> {
    pub(super) inputs: &'a Inputs,
    pub(super) number: ReleaseNumber,
    pub(super) slot: Slot,
    /// The candidate's.
    pub(super) backends: &'a [Backend],
    pub(super) routes: Option<Routes>,
    pub(super) steps: Vec<Step>,
}

impl<'a> Climb<'a> {
    pub(super) fn new(
        inputs: &'a Inputs,
        number: ReleaseNumber,
        slot: Slot,
        backends: &'a [Backend],
    ) -> Self {
        let routes = inputs.state.routes.clone();
        Self { inputs, number, slot, backends, routes, steps: Vec::new() }
    }

    pub(super) fn push(&mut self, kind: StepKind) {
        self.steps.push(Step::new(kind, &self.inputs.policy));
    }

    /// Starts some of the candidate's backends and waits until they are healthy.
    pub(super) fn launch(&mut self, backends: &[Backend]) {
        let (slot, backends) = (self.slot, backends.to_vec());
        self.push(StepKind::Launch(Launch { slot, backends: backends.clone() }));
        self.await_healthy(backends);
    }

    pub(super) fn await_healthy(&mut self, backends: Vec<Backend>) {
        let slot = self.slot;
        self.push(StepKind::AwaitHealthy(AwaitHealthy { slot, backends }));
    }

    pub(super) fn shift(&mut self, after: Routes) {
        let before = self.routes.replace(after.clone());
        self.push(StepKind::Shift(Shift { before, after }));
    }

    pub(super) fn analyze(&mut self, stage: Stage) {
        self.push(StepKind::Analyze(Analyze { stage }));
    }

    pub(super) fn overrides(&self) -> Vec<Override> {
        let rules = self.inputs.policy.candidate_overrides.iter();
        rules.map(|rule| Override { slot: self.slot, ..rule.clone() }).collect()
    }

    /// Rules that lead to the candidate come before any weight.
    pub(super) fn preview(&mut self, stable: &Standing) {
        let overrides = self.overrides();
        if !overrides.is_empty() {
            let candidate = (self.number, self.backends.to_vec());
            let routes = sharing::split(stable, candidate, Weight::ZERO);
            self.shift(routes.with_overrides(overrides));
        }
    }

    /// All requests to the candidate; `stable` may stand beside it at weight 0.
    pub(super) fn take_all(&mut self, stable: Option<(ReleaseNumber, Vec<Backend>)>) {
        self.shift(Routes::all_to(self.slot, self.number, self.backends.to_vec(), stable));
    }
}
