//! What became of all requests, in counts: in all, by second, and by who answered.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Display;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use agente_engine::ports::ProbeReport;
use hdrhistogram::Histogram;
use schemars::JsonSchema;
use serde::Serialize;

use crate::outcome::{Answer, Class, Loss};

/// How many failures are told in words.
const SAMPLES: usize = 10;
/// How many seconds are kept one by one: an hour.
const WINDOWS: usize = 3600;
/// How many presences are kept.
const PRESENCES: usize = 1000;
/// Who has not been seen for this long has gone, and comes back as another presence.
const GONE_AFTER_MS: u64 = 1000;
/// The longest latency that is told apart: ten minutes.
const LONGEST_US: u64 = 600_000_000;
/// Two digits are enough for a latency, and keep the quantiles cheap.
const DIGITS: u8 = 2;

/// What happened in one second, by when requests ended.
#[derive(Debug, Clone, PartialEq, Eq, Default, JsonSchema, Serialize)]
pub struct Window {
    /// Its begin, in milliseconds since the epoch; a multiple of 1000.
    pub begin_ms: u64,
    /// Complete answers below 500.
    pub succeeded: u64,
    /// What failed, by class.
    pub failed: BTreeMap<&'static str, u64>,
    /// Reused connections that ended before any byte of an answer.
    pub idle_resets: u64,
    /// Complete answers by identity: all, and those of 500 and above.
    pub by_identity: BTreeMap<String, (u64, u64)>,
}

/// One stretch of time during which an identity answered without a break of a second. Times are
/// milliseconds since the epoch.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema, Serialize)]
pub struct Presence {
    pub identity: String,
    /// When the first request that it answered was sent.
    pub first_sent_ms: u64,
    /// When its first answer was complete.
    pub first_answer_ms: u64,
    /// When the last request that it answered was sent: from then on, new requests went elsewhere.
    pub last_sent_ms: u64,
    /// When its last answer was complete.
    pub last_answer_ms: u64,
    /// How many answers.
    pub answers: u64,
}

/// When an identity answered first and last, over all its presences. Times are milliseconds since
/// the epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, JsonSchema, Serialize)]
pub struct IdentityTimes {
    /// When its first answer was complete.
    pub first_ms: u64,
    /// When its last answer was complete.
    pub last_ms: u64,
    /// When the last request that it answered was sent.
    pub last_sent_ms: u64,
}

struct Counts {
    sent: u64,
    succeeded: u64,
    failed: BTreeMap<Class, u64>,
    idle_resets: u64,
    by_identity: BTreeMap<String, u64>,
    times: BTreeMap<String, IdentityTimes>,
    latencies_us: Histogram<u64>,
    samples: Vec<String>,
    windows: VecDeque<Window>,
    presences: VecDeque<Presence>,
}

/// Counts what becomes of requests; shared by all that send them.
pub struct Recorder {
    begun: Instant,
    by_identity: bool,
    sample_idle_resets: bool,
    counts: Mutex<Counts>,
}

impl Recorder {
    /// A recorder that begins now. Whether answers are counted by identity, and whether resets
    /// of idle connections are told in words too.
    #[expect(
        clippy::expect_used,
        clippy::missing_panics_doc,
        reason = "the bounds are constants, and a test builds them"
    )]
    pub fn new(by_identity: bool, sample_idle_resets: bool) -> Self {
        let latencies_us =
            Histogram::new_with_bounds(1, LONGEST_US, DIGITS).expect("constant bounds are valid");
        let counts = Counts {
            sent: 0,
            succeeded: 0,
            failed: BTreeMap::new(),
            idle_resets: 0,
            by_identity: BTreeMap::new(),
            times: BTreeMap::new(),
            latencies_us,
            samples: Vec::new(),
            windows: VecDeque::new(),
            presences: VecDeque::new(),
        };
        Self { begun: Instant::now(), by_identity, sample_idle_resets, counts: Mutex::new(counts) }
    }

    /// Counts a request that goes out now.
    pub fn sent(&self) {
        self.counts().sent += 1;
    }

    /// Counts a request that was due but can't be sent.
    pub fn not_sent(&self, what: impl Display, loss: &Loss) {
        self.lost(&mut self.counts(), now_ms(), what, loss);
    }

    /// Counts what a request ended in. `due` is when it should have gone out, `sent_ms` when it
    /// did; `what` describes it in a sample.
    pub fn ended(
        &self,
        due: Instant,
        sent_ms: u64,
        what: impl Display,
        result: Result<&Answer, &Loss>,
    ) {
        let latency_us = u64::try_from(due.elapsed().as_micros()).unwrap_or(u64::MAX);
        let now = now_ms();
        let mut counts = self.counts();
        match result {
            Err(loss) => self.lost(&mut counts, now, what, loss),
            Ok(answer) => {
                counts.latencies_us.saturating_record(latency_us);
                if self.by_identity {
                    counts.seen(answer, sent_ms, now);
                }
                if answer.status >= 500 {
                    let by = if answer.identity.is_empty() {
                        String::new()
                    } else {
                        format!(" by `{}`", answer.identity)
                    };
                    self.lost(
                        &mut counts,
                        now,
                        what,
                        &Loss::new(Class::Status5xx, format!("answered {}{by}", answer.status)),
                    );
                } else {
                    counts.succeeded += 1;
                    counts.window(now).succeeded += 1;
                }
            }
        }
    }

    fn lost(&self, counts: &mut Counts, now: u64, what: impl Display, loss: &Loss) {
        if loss.class == Class::IdleReset {
            counts.idle_resets += 1;
            counts.window(now).idle_resets += 1;
        } else {
            *counts.failed.entry(loss.class).or_default() += 1;
            *counts.window(now).failed.entry(loss.class.name()).or_default() += 1;
        }
        if counts.samples.len() < SAMPLES
            && (loss.class != Class::IdleReset || self.sample_idle_resets)
        {
            let sample = format!("+{:.3} s: {what}: {loss}", self.begun.elapsed().as_secs_f64());
            counts.samples.push(sample);
        }
    }

    /// The counts so far, in the engine's form.
    pub fn report(&self) -> ProbeReport {
        let counts = self.counts();
        let quantile = |q| {
            if counts.latencies_us.is_empty() {
                0
            } else {
                counts.latencies_us.value_at_quantile(q).min(counts.latencies_us.max())
            }
        };
        ProbeReport {
            sent: counts.sent,
            succeeded: counts.succeeded,
            failed: counts
                .failed
                .iter()
                .map(|(class, count)| (class.name().to_owned(), *count))
                .collect(),
            idle_resets: counts.idle_resets,
            by_identity: counts.by_identity.clone(),
            latency_us: [quantile(0.5), quantile(0.95), quantile(0.99), counts.latencies_us.max()],
            samples: counts.samples.clone(),
        }
    }

    /// When each identity answered first and last.
    pub fn identity_times(&self) -> BTreeMap<String, IdentityTimes> {
        self.counts().times.clone()
    }

    /// Who answered from when to when, in the order of their first requests.
    pub fn presences(&self) -> Vec<Presence> {
        let mut presences: Vec<_> = self.counts().presences.iter().cloned().collect();
        presences.sort_by_key(|presence| presence.first_sent_ms);
        presences
    }

    /// The last hour second by second, oldest first; seconds in which nothing ended are left out.
    pub fn windows(&self) -> Vec<Window> {
        self.counts().windows.iter().cloned().collect()
    }

    /// How long it has been counting.
    pub fn elapsed(&self) -> Duration {
        self.begun.elapsed()
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Counts {
    fn seen(&mut self, answer: &Answer, sent_ms: u64, now: u64) {
        let identity = &answer.identity;
        *self.by_identity.entry(identity.clone()).or_default() += 1;
        let times = self.times.entry(identity.clone()).or_insert(IdentityTimes {
            first_ms: now,
            last_ms: now,
            last_sent_ms: sent_ms,
        });
        times.last_ms = times.last_ms.max(now);
        times.last_sent_ms = times.last_sent_ms.max(sent_ms);
        let (all, bad) = self.window(now).by_identity.entry(identity.clone()).or_default();
        *all += 1;
        *bad += u64::from(answer.status >= 500);
        self.present(identity, sent_ms, now);
    }

    /// Answers come in another order than requests went out, so the presence that a request belongs
    /// to is found by when it was sent.
    fn present(&mut self, identity: &str, sent_ms: u64, now: u64) {
        let belongs = |presence: &&mut Presence| {
            presence.identity == identity
                && presence.first_sent_ms <= sent_ms + GONE_AFTER_MS
                && sent_ms <= presence.last_sent_ms + GONE_AFTER_MS
        };
        if let Some(presence) = self.presences.iter_mut().rev().find(belongs) {
            presence.first_sent_ms = presence.first_sent_ms.min(sent_ms);
            presence.last_sent_ms = presence.last_sent_ms.max(sent_ms);
            presence.first_answer_ms = presence.first_answer_ms.min(now);
            presence.last_answer_ms = presence.last_answer_ms.max(now);
            presence.answers += 1;
            return;
        }
        if self.presences.len() == PRESENCES {
            self.presences.pop_front();
        }
        self.presences.push_back(Presence {
            identity: identity.to_owned(),
            first_sent_ms: sent_ms,
            first_answer_ms: now,
            last_sent_ms: sent_ms,
            last_answer_ms: now,
            answers: 1,
        });
    }

    fn window(&mut self, now: u64) -> &mut Window {
        let begin_ms = now - now % 1000;
        if self.windows.back().is_none_or(|window| window.begin_ms < begin_ms) {
            if self.windows.len() == WINDOWS {
                self.windows.pop_front();
            }
            self.windows.push_back(Window { begin_ms, ..Window::default() });
        }
        let last = self.windows.len() - 1;
        #[expect(clippy::indexing_slicing, reason = "one was pushed where there was none")]
        &mut self.windows[last]
    }
}

/// The time, in milliseconds since the epoch.
pub fn now_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn answer(status: u16, identity: &str) -> Answer {
        Answer {
            status,
            identity: identity.to_owned(),
            body: Bytes::new(),
            body_bytes: 0,
            reusable: true,
        }
    }

    #[test]
    fn each_request_is_counted_once_and_in_its_class() {
        let recorder = Recorder::new(true, false);
        for _ in 0..4 {
            recorder.sent();
        }
        let due = Instant::now();
        recorder.ended(due, now_ms(), "GET /", Ok(&answer(200, "blue")));
        recorder.ended(due, now_ms(), "GET /", Ok(&answer(502, "green")));
        recorder.ended(due, now_ms(), "GET /", Err(&Loss::new(Class::IdleReset, "ended")));
        recorder.ended(due, now_ms(), "GET /", Err(&Loss::new(Class::Truncated, "cut")));
        recorder.not_sent("GET /", &Loss::new(Class::Overload, "too many"));
        let report = recorder.report();
        assert_eq!((report.sent, report.succeeded, report.idle_resets), (4, 1, 1));
        assert_eq!(
            report.failed,
            BTreeMap::from([
                ("overload".into(), 1),
                ("status-5xx".into(), 1),
                ("truncated".into(), 1)
            ])
        );
        assert_eq!(report.by_identity, BTreeMap::from([("blue".into(), 1), ("green".into(), 1)]));
        assert_eq!(report.samples.len(), 3);
        assert!(
            report.samples[0].ends_with("s: GET /: status-5xx: answered 502 by `green`"),
            "{:?}",
            report.samples
        );
        let windows = recorder.windows();
        assert_eq!(
            windows
                .iter()
                .map(|window| window.succeeded
                    + window.idle_resets
                    + window.failed.values().sum::<u64>())
                .sum::<u64>(),
            5
        );
    }

    #[test]
    fn only_the_first_ten_failures_are_told() {
        let recorder = Recorder::new(false, true);
        for number in 0..15 {
            recorder.ended(
                Instant::now(),
                now_ms(),
                number,
                Err(&Loss::new(Class::IdleReset, "ended")),
            );
        }
        let report = recorder.report();
        assert_eq!((report.samples.len(), report.idle_resets), (10, 15));
        assert!(report.samples[9].contains(" 9: idle-reset"));
    }

    #[test]
    fn a_switch_gives_two_presences_and_a_late_answer_belongs_to_its_own_time() {
        let recorder = Recorder::new(true, false);
        let base = now_ms();
        let mut counts = recorder.counts();
        for ms in (0..5000).step_by(100) {
            counts.present("blue", base + ms, base + ms + 2);
        }
        for ms in (5050..9000).step_by(100) {
            counts.present("green", base + ms, base + ms + 2);
        }
        counts.present("blue", base + 4950, base + 8000); // a slow request from before
        counts.present("blue", base + 9100, base + 9102); // the way back
        drop(counts);
        let presences = recorder.presences();
        assert_eq!(
            presences.iter().map(|presence| presence.identity.as_str()).collect::<Vec<_>>(),
            ["blue", "green", "blue"]
        );
        assert_eq!(
            (
                presences[0].last_sent_ms - base,
                presences[0].last_answer_ms - base,
                presences[0].answers
            ),
            (4950, 8000, 51)
        );
        assert_eq!(
            (presences[1].first_sent_ms - base, presences[1].first_answer_ms - base),
            (5050, 5052)
        );
        assert_eq!(presences[2].answers, 1);
    }

    #[test]
    fn latencies_come_as_quantiles() {
        let recorder = Recorder::new(false, false);
        assert_eq!(recorder.report().latency_us, [0; 4]);
        for ms in 1..=100_u64 {
            let due = Instant::now().checked_sub(Duration::from_millis(ms)).unwrap();
            recorder.ended(due, now_ms(), "", Ok(&answer(200, "")));
        }
        let [p50, p95, p99, max] = recorder.report().latency_us;
        assert!((48_000..53_000).contains(&p50), "{p50}");
        assert!((93_000..98_000).contains(&p95), "{p95}");
        assert!(p99 <= max && (98_000..104_000).contains(&max), "{p99} {max}");
        assert!(recorder.report().by_identity.is_empty());
    }
}
