//! What an outcome tells people.

use super::Run;
use crate::fault::Fault;
use crate::route::Slot;
use crate::step::StepState;

impl Run<'_> {
    /// What the outcome tells of its steps; what several say the same is told once.
    pub(super) fn closing_notes(&self) -> Vec<String> {
        let mut told = std::collections::BTreeSet::new();
        let steps = self.attempt.plan.steps.iter().zip(&self.attempt.steps);
        steps
            .filter(|(step, _)| step.kind.facts().noted_in_outcome)
            .filter_map(|(_, state)| match state {
                StepState::Done(output) => Some(output.notes.clone()),
                _ => None,
            })
            .flatten()
            .chain(self.mail.note())
            .filter(|note| told.insert(note.clone()))
            .collect()
    }

    /// What a person looks at and types when nothing moves by itself any more.
    pub(super) fn instructions(&self, fault: &Fault) -> Vec<String> {
        let scope = &self.attempt.plan.scope;
        let mut lines =
            vec![format!("`agente-host status --env {}` shows what is live", scope.environment)];
        if let Some(hint) = &fault.hint {
            lines.push(hint.clone());
        }
        if let Some(routes) = &self.state.routes {
            let weights: Vec<String> =
                Slot::BOTH.iter().map(|&slot| format!("{slot} {}", routes.weight(slot))).collect();
            lines.push(format!("routes last seen in force: {}", weights.join(", ")));
        }
        lines.push(format!(
            "once the cause is fixed, `agente-host resume --env {}` retries from here",
            scope.environment
        ));
        lines
    }
}
