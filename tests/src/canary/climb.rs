//! A good candidate, from 10 % to all.

use super::candidate::Candidate;
use super::chance::interval;
use super::journal::{InForce, Story};
use super::stand::Stand;
use crate::load::Record;
use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

/// How many users come again and again.
const REGULARS: u64 = 200;

/// What was measured at one weight.
#[derive(Debug, Clone)]
pub struct Share {
    /// The weight, in percent.
    pub weight: f64,
    /// For how long it was in force.
    pub took: Duration,
    /// How many users who came once asked meanwhile.
    pub users: u32,
    /// How many of them got the candidate.
    pub candidate: u32,
    /// How many chance may give, with 99.9 %.
    pub interval: RangeInclusive<u32>,
}

/// How a good candidate fared.
#[derive(Debug, Clone)]
pub struct Climbed {
    /// What was measured at each weight below 100 %.
    pub shares: Vec<Share>,
    /// From typing `deploy` to its end.
    pub took: Duration,
    /// Requests in all.
    pub requests: usize,
    /// Of them bad.
    pub bad: usize,
    /// Users who came again and again.
    pub regulars: usize,
    /// Of them those who were sent back from the candidate to the stable release.
    pub moved_back: Vec<u64>,
}

/// Deploys a good candidate under load, with users who come once and users who come again and
/// again.
#[track_caller]
pub fn climb(scrape_seconds: u64) -> Climbed {
    let stand = Stand::new(&Candidate::HEALTHY, scrape_seconds);
    let regulars = stand.regulars(REGULARS, 40.0);
    let run = stand.begin(&Candidate::HEALTHY);
    let id = run.id();
    let ended = run.wait().expect_code(0);
    assert_eq!(ended.outcome()["outcome"], "promoted");
    assert_eq!(stand.shop.serving(), "candidate");
    let story = Story::of(&stand.shop, &id);
    let regulars = regulars.finish();
    let once = stand.end();

    let share = |found: &InForce| {
        // Sent when it was in force for sure: after it was verified, and before the next change was
        // begun.
        let until = found.until.unwrap_or(u64::MAX);
        let of_then: Vec<&Record> = once
            .iter()
            .filter(|record| record.sent_ms > found.from && record.ended_ms < until)
            .collect();
        let count = |count: usize| u32::try_from(count).expect("few requests");
        let users = count(of_then.len());
        #[expect(clippy::cast_precision_loss, reason = "basis points are small")]
        let weight = found.weight as f64 / 100.0;
        Share {
            weight,
            took: Duration::from_millis(until.saturating_sub(found.from)),
            users,
            candidate: count(
                of_then.iter().filter(|record| record.identity == "candidate").count(),
            ),
            interval: interval(users, weight / 100.0),
        }
    };
    let shares = story.weights().iter().filter(|found| found.weight < 10_000).map(share).collect();
    let mut visits: BTreeMap<u64, Vec<&Record>> = BTreeMap::new();
    for record in &regulars {
        visits.entry(record.user).or_default().push(record);
    }
    Climbed {
        shares,
        took: ended.took,
        requests: once.len() + regulars.len(),
        bad: once.iter().chain(&regulars).filter(|record| record.is_bad()).count(),
        regulars: visits.len(),
        moved_back: visits
            .into_iter()
            .filter(|(_, visits)| moves_back(visits))
            .map(|(user, _)| user)
            .collect(),
    }
}

/// Whether a user got the stable release with a request that was sent after the candidate had
/// answered another of theirs.
fn moves_back(visits: &[&Record]) -> bool {
    let first = visits
        .iter()
        .filter(|record| record.identity == "candidate")
        .map(|record| record.ended_ms)
        .min();
    first.is_some_and(|first| {
        visits.iter().any(|record| record.identity == "stable" && record.sent_ms > first)
    })
}
