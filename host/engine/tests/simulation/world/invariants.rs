//! What holds at every moment, checked after every event.

use super::Inner;
use agente_engine::journal::Event;
use agente_engine::names::BackendId;
use agente_engine::step::{StepEvent, StepState};

impl Inner {
    /// The invariants that hold at every moment.
    pub(super) fn check(&self, now: u64) {
        for desired in self.loaded.iter().chain(self.applied.iter().map(|(desired, _)| desired)) {
            let total: u32 =
                desired.routes.routes.iter().map(|route| route.weight.basis_points()).sum();
            assert!(desired.routes.routes.is_empty() || total == 10_000, "weights sum to {total}");
            for route in desired.routes.routes.iter().filter(|route| !route.weight.is_zero()) {
                let enough = u64::from(route.weight.basis_points()) * self.least_serving as u64
                    <= route.backends.len() as u64 * 10_000;
                assert!(
                    enough || self.by_hand.as_ref() == Some(desired),
                    "{now}: {} has {} on {} backends\n{}",
                    route.slot,
                    route.weight,
                    route.backends.len(),
                    self.log.join("\n")
                );
                for backend in &route.backends {
                    let proven = self.by_hand.as_ref() == Some(desired)
                        || self.proven.contains(&backend.id)
                        || self.served_before.contains(&backend.id);
                    assert!(
                        proven,
                        "{now}: {} has weight and was not proven\n{}",
                        backend.id,
                        self.log.join("\n")
                    );
                    assert!(
                        self.backends.contains_key(&backend.id),
                        "{now}: {} has weight and is not there\n{}",
                        backend.id,
                        self.log.join("\n")
                    );
                }
            }
        }
    }

    /// What is told of a backend that runs is where it runs.
    pub(super) fn check_address(&self, id: &BackendId, told: &str) {
        if let Some(backend) = self.backends.get(id) {
            assert_eq!(told, backend.address, "{id} is elsewhere\n{}", self.log.join("\n"));
        }
    }

    /// Requests have left the candidate before any of it is taken away.
    pub(super) fn check_undo(&self, event: &Event) {
        let Event::Step { step, event: StepEvent::UndoStarted } = event else { return };
        let attempt = self.attempt().expect("the plan is written");
        let removes = !attempt.plan.steps[*step].kind.starts().is_empty();
        assert!(
            !removes || !attempt.shift_is_to_be_undone(),
            "backends of step {step} go before requests have left them\n{}",
            self.log.join("\n")
        );
    }

    /// Before an effect, its `started` is durable.
    pub(super) fn check_journaled(&self, what: &str) {
        if self.journal_fails_from.is_some() && what == "apply" {
            return; // Putting the last acknowledged routes back is allowed without a journal.
        }
        let attempt = self.attempt().expect("nothing is done before the plan is written");
        let open = attempt
            .steps
            .iter()
            .any(|step| matches!(step, StepState::Running | StepState::Undoing));
        assert!(open, "{what} without a journaled start\n{}", self.log.join("\n"));
    }
}
