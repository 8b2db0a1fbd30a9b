//! What a deployment's journal tells of its weights, with times.

use crate::scene::Service;
use serde_json::Value;

/// A weight that was in force. Weights are basis points, times milliseconds since the epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InForce {
    /// The candidate's share.
    pub weight: u64,
    /// When it was verified.
    pub from: u64,
    /// When the next change began; none where none did.
    pub until: Option<u64>,
}

/// A deployment's journal.
#[derive(Debug, Clone)]
pub struct Story {
    entries: Vec<Value>,
    slot: String,
}

impl Story {
    /// Reads the journal of a deployment.
    pub fn of(service: &Service, id: &str) -> Self {
        let entries = service.journal(id);
        let slot =
            entries[0]["event"]["plan"]["slot"].as_str().expect("the candidate's slot").to_owned();
        Self { entries, slot }
    }

    fn plan(&self) -> &Value {
        &self.entries[0]["event"]["plan"]
    }

    /// The weight that a shift gives the candidate; none where the step is no shift.
    fn weight(&self, step: &Value) -> Option<u64> {
        let step = &self.plan()["steps"][usize::try_from(step.as_u64()?).ok()?];
        if step["kind"] != "shift" {
            return None;
        }
        step["after"]["routes"]
            .as_array()?
            .iter()
            .find(|route| route["slot"] == self.slot.as_str())?["weight"]
            .as_u64()
    }

    /// When each event of a shift was written, with its weight.
    fn shifts<'s>(&'s self, event: &'s str) -> impl Iterator<Item = (u64, u64)> + 's {
        let of_shift = move |entry: &Value| {
            let told = &entry["event"];
            (told["entry"] == "step" && told["event"] == event)
                .then(|| Some((entry["at"].as_u64()?, self.weight(&told["step"])?)))
                .flatten()
        };
        self.entries.iter().filter_map(of_shift)
    }

    /// The candidate's weights, in order, with the times at which they were in force.
    pub fn weights(&self) -> Vec<InForce> {
        let changes: Vec<u64> =
            self.shifts("started").chain(self.shifts("undo-started")).map(|(at, _)| at).collect();
        let next = |from: u64| changes.iter().copied().filter(|at| *at >= from).min();
        self.shifts("succeeded")
            .map(|(from, weight)| InForce { weight, from, until: next(from) })
            .collect()
    }

    /// When it turned back, and why.
    pub fn turned_back(&self) -> Option<(u64, String)> {
        let entry = self.entries.iter().find(|entry| entry["event"]["entry"] == "turned-back")?;
        Some((entry["at"].as_u64()?, entry["event"]["fault"]["message"].as_str()?.to_owned()))
    }

    /// When it was verified that the candidate has no requests any more, and how long setting that
    /// took.
    pub fn back(&self) -> Option<(u64, u64)> {
        let (done, _) = self.shifts("undone").next()?;
        let (began, _) = self.shifts("undo-started").next()?;
        Some((done, done - began))
    }
}
