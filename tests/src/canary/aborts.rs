//! Aborts: how soon a candidate has no requests any more once a person has typed it.

use super::candidate::Candidate;
use super::journal::Story;
use super::stand::Stand;
use crate::load::Record;
use crate::scene::{Run, Setup};
use serde_json::Value;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// When an abort is typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// The kind of the step.
    pub step: &'static str,
    /// Which of its kind, from 0.
    pub number: usize,
    /// What the table calls it.
    pub name: &'static str,
}

impl Moment {
    const fn new(step: &'static str, number: usize, name: &'static str) -> Self {
        Self { step, number, name }
    }

    /// Every step of a canary that an abort can meet, in order.
    pub const ALL: [Self; 12] = [
        Self::new("launch", 0, "launch"),
        Self::new("await-healthy", 0, "wait for health"),
        Self::new("shift", 0, "shift to 10 %"),
        Self::new("analyze", 0, "analysis at 10 %"),
        Self::new("shift", 1, "shift to 25 %"),
        Self::new("analyze", 1, "analysis at 25 %"),
        Self::new("shift", 2, "shift to 50 %"),
        Self::new("analyze", 2, "wait for a person at 50 %"),
        Self::new("shift", 3, "shift to 100 %"),
        Self::new("validate", 0, "validation"),
        Self::new("promote", 0, "promote"),
        Self::new("bake", 0, "bake, right after promote"),
    ];
}

/// What an abort took, from typing it.
#[derive(Debug, Clone)]
pub struct Aborted {
    pub moment: Moment,
    /// Until weight 0 was verified, by the journal; none where the candidate had no weight yet.
    pub verified: Option<Duration>,
    /// How much of that is the target's: writing, testing, reloading and its proof.
    pub reload: Duration,
    /// Until the last request was sent that the candidate answered, by the load; zero where none
    /// was sent after the abort.
    pub last_sent: Duration,
}

impl Aborted {
    /// What is left without the target's own part.
    pub fn beyond_reload(&self) -> Duration {
        self.verified.unwrap_or_default().saturating_sub(self.reload)
    }
}

/// Aborts a deployment of a good candidate at each moment; gives what each took, and what became of
/// each request.
#[track_caller]
pub fn abort_at(moments: &[Moment]) -> (Vec<Aborted>, Vec<Record>) {
    let candidate = Candidate { detect: "25%", quantile: 0.75, ..Candidate::HEALTHY };
    let stand = Stand::new(&candidate, 1);
    let stages = "[{ weight = 10 }, { weight = 25 }, { weight = 50, wait = true }]";
    let mut told = Vec::new();
    for moment in moments {
        let strategy = format!("kind = \"canary\"\npause = \"500ms\"\nstages = {stages}\n");
        let mut setup =
            Setup { strategy, bake: "60s".to_owned(), ..stand.setup(&candidate, "candidate") };
        if ["launch", "await-healthy"].contains(&moment.step) {
            setup = setup.flag("--startup 20");
        }
        let run = stand.shop.begin_deploy(&setup);
        let plan = run.plan();
        let index = step_of(&plan, moment);
        let waits = step_of(&plan, &Moment { step: "analyze", number: 2, name: "" });
        if index > waits {
            wait_begun(&run, waits);
            stand.shop.host(&["promote"]).expect_code(0);
        }
        wait_begun(&run, index);
        let typed = now();
        stand.shop.host(&["abort"]).expect_code(0);
        let id = run.id();
        let ended = run.wait().expect_code(1);
        assert_eq!(ended.outcome()["outcome"], "unwound", "{moment:?}");
        assert_eq!(stand.shop.serving(), "stable", "{moment:?}");
        let back = Story::of(&stand.shop, &id).back();
        told.push((*moment, typed, now(), back));
    }
    let records = stand.end();
    let aborted = told.into_iter().map(|(moment, typed, until, back)| {
        let after = records.iter().filter(|record| {
            record.identity == "candidate" && (typed..until).contains(&record.sent_ms)
        });
        let last = after.map(|record| record.sent_ms - typed).max().unwrap_or_default();
        if let Some((verified, _)) = back {
            assert!(
                typed + last <= verified,
                "{moment:?}: the candidate answers nobody once weight 0 is verified"
            );
        }
        Aborted {
            moment,
            verified: back.map(|(verified, _)| Duration::from_millis(verified - typed)),
            reload: Duration::from_millis(back.map_or(0, |(_, reload)| reload)),
            last_sent: Duration::from_millis(last),
        }
    });
    (aborted.collect(), records)
}

fn step_of(plan: &Value, moment: &Moment) -> usize {
    let steps = plan["steps"].as_array().expect("steps").iter().enumerate();
    let found = steps.filter(|(_, step)| step["kind"] == moment.step).nth(moment.number);
    found.unwrap_or_else(|| panic!("the plan has no such step: {moment:?}")).0
}

#[track_caller]
fn wait_begun(run: &Run, index: usize) {
    assert!(run.wait_step_at(index, "started"), "the deployment ended before step {index}");
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("a time after 1970");
    u64::try_from(since.as_millis()).expect("milliseconds fit")
}
