//! One bad candidate, from its first bad request until nobody reaches it any more.

use super::candidate::Candidate;
use super::journal::Story;
use super::stand::Stand;
use crate::load::{Outcome, Record};
use crate::scene::{Run, kill, wait_for};
use rustix::process::Signal;
use std::time::Duration;

/// How a bad candidate was caught.
#[derive(Debug, Clone)]
pub struct Caught {
    /// Why it was taken back, in the host's words.
    pub cause: String,
    /// At which weight, in percent.
    pub weight: f64,
    /// From when its first bad request was sent until the decision to take it back.
    pub decided: Duration,
    /// From the decision until weight 0 was verified.
    pub restored: Duration,
    /// How many requests were bad.
    pub bad: usize,
    /// How many requests were sent from the first bad one to the last.
    pub meanwhile: usize,
    /// How many requests the candidate was sent or lost, in all.
    pub reached: usize,
}

impl Caught {
    /// From the first bad request until weight 0 was verified.
    pub fn took(&self) -> Duration {
        self.decided + self.restored
    }
}

/// Deploys a bad candidate under load and waits until it has been taken back; fails where it is
/// not, or where it has requests afterwards.
#[track_caller]
pub fn catch(candidate: &Candidate, scrape_seconds: u64) -> Caught {
    let stand = Stand::new(candidate, scrape_seconds);
    let run = stand.begin(candidate);
    if let Some(percent) = candidate.killed_at {
        kill_at(&stand, &run, percent * 100);
    }
    let id = run.id();
    let ended = run.wait().expect_code(1);
    assert_eq!(ended.outcome()["outcome"], "unwound");
    assert_eq!(stand.shop.serving(), "stable");
    let story = Story::of(&stand.shop, &id);
    let (turned, cause) = story.turned_back().expect("why it was taken back");
    let (back, _) = story.back().expect("when weight 0 was verified");
    assert!(cause.contains(candidate.cause), "{}: {cause}", candidate.name);
    let records = stand.end();

    let is_bad = |record: &&Record| {
        record.is_bad()
            || (record.identity == "candidate"
                && candidate.slow_ms.is_some_and(|slow| record.ended_ms - record.sent_ms > slow))
    };
    let bad: Vec<&Record> = records.iter().filter(is_bad).collect();
    let of_stable = bad.iter().filter(|record| record.identity == "stable").count();
    assert_eq!(of_stable, 0, "what is stable fails nobody");
    let first = bad.iter().map(|record| record.sent_ms).min().expect("a bad request");
    let late: Vec<_> = records
        .iter()
        .filter(|record| record.sent_ms > back && record.identity != "stable")
        .collect();
    assert!(late.is_empty(), "nobody reaches the candidate once weight 0 is verified: {late:?}");
    let weights = story.weights();
    let weight = weights
        .iter()
        .rev()
        .find(|found| found.from <= turned)
        .map(|found| found.weight)
        .expect("a weight");
    #[expect(clippy::cast_precision_loss, reason = "basis points are small")]
    let weight = weight as f64 / 100.0;
    Caught {
        cause,
        weight,
        decided: Duration::from_millis(turned.saturating_sub(first)),
        restored: Duration::from_millis(back - turned.max(first)),
        bad: bad.len(),
        meanwhile: records.iter().filter(|record| (first..=back).contains(&record.sent_ms)).count(),
        reached: records
            .iter()
            .filter(|record| record.identity == "candidate" || record.outcome == Outcome::Lost)
            .count(),
    }
}

/// Kills the candidate's process once this weight is in force.
fn kill_at(stand: &Stand, run: &Run, basis_points: u64) {
    let plan = run.plan();
    let slot = &plan["slot"];
    let gives = |step: &serde_json::Value| {
        step["after"]["routes"].as_array().is_some_and(|routes| {
            routes.iter().any(|route| route["slot"] == *slot && route["weight"] == basis_points)
        })
    };
    let step = plan["steps"]
        .as_array()
        .and_then(|steps| steps.iter().position(gives))
        .expect("a shift to that weight");
    assert!(run.wait_step_at(step, "succeeded"), "it ended before that weight");
    // In the middle of its requests.
    let before = stand.load.report().by_identity.get("candidate").copied().unwrap_or_default();
    wait_for("requests of the candidate at that weight", || {
        (stand.load.report().by_identity.get("candidate").copied().unwrap_or_default()
            >= before + 20)
            .then_some(())
    });
    let address = plan["backends"][0]["address"].as_str().expect("an address");
    let (_, pid) =
        stand.shop.backends().into_iter().find(|(found, _)| found == address).expect("its process");
    kill(pid, Signal::KILL);
}
