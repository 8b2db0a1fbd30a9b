//! The numbers of one deployment, folded from its journal.
//!
//! Steps, kinds and ends are called as the journal calls them, so that a new one needs nothing
//! here.

use agente_engine::journal::{Entry, Event};
use agente_engine::names::{ReleaseNumber, Timestamp};
use agente_engine::route::Slot;
use agente_engine::step::StepEvent;
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Duration;

/// The events that end a step or its undo.
const ENDS: [&str; 6] = ["succeeded", "refused", "lost", "failed", "undone", "undo-failed"];

/// How long one step took, or its undo.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StepTime {
    /// The step's name.
    pub(crate) step: &'static str,
    /// How it ended: `succeeded`, `refused`, `lost`, `undone`, `undo-failed`.
    pub(crate) result: &'static str,
    /// From its last start.
    pub(crate) took: Duration,
}

/// How a deployment ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct End {
    pub(crate) at: Timestamp,
    /// The outcome's name.
    pub(crate) outcome: String,
    /// From turning back, or from the start of a rollback, to the routes seen in force; none where
    /// no requests had to go back.
    pub(crate) way_back: Option<Duration>,
}

/// The numbers of one deployment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Figures {
    /// What kind: `deploy`, `adopt`, `rollback`.
    pub(crate) kind: String,
    /// Where its candidate goes.
    pub(crate) slot: Slot,
    /// Its candidate.
    pub(crate) release: ReleaseNumber,
    /// When it began.
    pub(crate) opened: Timestamp,
    /// How it ended; none while it is open.
    pub(crate) end: Option<End>,
    /// The steps that ended.
    pub(crate) steps: Vec<StepTime>,
    /// Whether an undo failed and nobody went on since.
    pub(crate) stuck: bool,
    /// The number of the newest entry.
    pub(crate) newest: u64,
}

/// The word by which a value of the journal tells its kind.
fn word(value: &impl Serialize, key: &str) -> String {
    let found = serde_json::to_value(value)
        .ok()
        .and_then(|value| value.get(key).and_then(|word| word.as_str().map(str::to_owned)));
    found.unwrap_or_else(|| "unknown".to_owned())
}

impl Figures {
    /// Folds a journal; none where it does not begin with a plan.
    pub(crate) fn fold(entries: &[Entry]) -> Option<Self> {
        let (first, rest) = entries.split_first()?;
        let Event::Opened { plan } = &first.event else { return None };
        let mut figures = Self {
            kind: word(&plan.kind, "kind"),
            slot: plan.slot,
            release: plan.release.number,
            opened: first.at,
            end: None,
            steps: Vec::new(),
            stuck: false,
            newest: first.sequence,
        };
        let mut begun: BTreeMap<usize, Timestamp> = BTreeMap::new();
        let (mut turned, mut shifted, mut shifted_back) = (None, None, None);
        for entry in rest {
            figures.newest = entry.sequence;
            match &entry.event {
                Event::Step { step, event } => {
                    let Some(facts) = plan.steps.get(*step).map(|step| step.kind.facts()) else {
                        continue;
                    };
                    let Some(result) = figures.step(event, *step, entry.at, &mut begun) else {
                        continue;
                    };
                    match event {
                        StepEvent::Succeeded { .. } if facts.moves_requests => {
                            shifted = Some(entry.at);
                        }
                        StepEvent::Undone { .. } if facts.moves_requests => {
                            shifted_back = Some(entry.at);
                        }
                        _ => {}
                    }
                    let took =
                        begun.get(step).map_or(Duration::ZERO, |began| entry.at.since(*began));
                    figures.steps.push(StepTime { step: facts.name, result, took });
                }
                Event::TurnedBack { .. } => turned = turned.or(Some(entry.at)),
                Event::Closed { outcome } => {
                    let outcome = word(outcome, "outcome");
                    let way_back = match turned {
                        Some(turned) => shifted_back.map(|at| at.since(turned)),
                        None if figures.kind == "rollback" => {
                            shifted.map(|at| at.since(figures.opened))
                        }
                        None => None,
                    };
                    figures.end = Some(End { at: entry.at, outcome, way_back });
                }
                _ => {}
            }
        }
        figures.stuck &= figures.end.is_none();
        Some(figures)
    }

    /// Takes one event of a step; gives how the step ended, if it did.
    fn step(
        &mut self,
        event: &StepEvent,
        step: usize,
        at: Timestamp,
        begun: &mut BTreeMap<usize, Timestamp>,
    ) -> Option<&'static str> {
        if matches!(event, StepEvent::Started | StepEvent::UndoStarted) {
            begun.insert(step, at);
            self.stuck = false;
        }
        let word = word(event, "event");
        let end = ENDS.into_iter().find(|end| *end == word);
        self.stuck |= matches!(event, StepEvent::Failed { .. } | StepEvent::UndoFailed { .. });
        end
    }
}

#[cfg(test)]
mod tests;
