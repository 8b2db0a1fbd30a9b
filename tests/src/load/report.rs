//! What the load saw, for programs and for people.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::Ordering;

use agente_engine::ports::ProbeReport;
use agente_probe::{IdentityTimes, Presence, Window, now_ms};
use serde::Serialize;

use super::sender::Sender;

/// The counts of a load. Times are milliseconds since the epoch.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Where the requests went.
    pub url: String,
    /// When it began.
    pub begun_ms: u64,
    /// When this report was made.
    pub ended_ms: u64,
    /// Requests that went out, slow ones too.
    pub sent: u64,
    /// Complete answers as expected, slow ones too.
    pub succeeded: u64,
    /// All that failed, without idle resets.
    pub failed_total: u64,
    /// What failed, by class.
    pub failed: BTreeMap<String, u64>,
    /// Reused connections that ended before any byte of an answer.
    pub idle_resets: u64,
    /// Requests whose end is not known: in flight when the report was made.
    pub unfinished: u64,
    /// POST requests whose answer proved that the whole body had arrived.
    pub posts_verified: u64,
    /// How many of all were slow ones.
    pub slow: Slow,
    /// Complete answers by who gave them, slow ones too.
    pub by_identity: BTreeMap<String, u64>,
    /// When each identity answered first and last, without slow requests.
    pub identity_times: BTreeMap<String, IdentityTimes>,
    /// The moments at which another identity began to answer.
    pub switches: Vec<Switch>,
    /// Latency without slow requests.
    pub latency_us: Latency,
    /// The first failures and idle resets in words, at most ten of the usual and of the slow
    /// requests each.
    pub samples: Vec<String>,
    /// Who answered from when to when.
    pub presences: Vec<Presence>,
    /// Second by second, without slow requests.
    pub timeline: Vec<Window>,
}

/// Counts of slow requests alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Slow {
    /// That went out.
    pub sent: u64,
    /// Complete answers as expected.
    pub succeeded: u64,
    /// That failed, without idle resets.
    pub failed: u64,
    /// On reused connections that ended before any byte of an answer.
    pub idle_resets: u64,
}

/// Latency in microseconds, from when a request was due to the end of its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Latency {
    /// Half of all are below.
    pub p50: u64,
    /// 95 % are below.
    pub p95: u64,
    /// 99 % are below.
    pub p99: u64,
    /// The longest.
    pub max: u64,
}

/// A change of who answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Switch {
    /// Who answered before.
    pub from: String,
    /// Who answered then.
    pub to: String,
    /// When the first answer of the new one was complete.
    pub first_answer_ms: u64,
    /// When the last request was sent that the old one answered.
    pub last_sent_to_old_ms: u64,
    /// For how long both took new requests.
    pub overlap_ms: u64,
}

impl Report {
    pub(super) fn of(sender: &Sender, begun_ms: u64) -> Self {
        let (usual, slow) = (sender.usual.report(), sender.slow.report());
        let presences = sender.usual.presences();
        let [p50, p95, p99, max] = usual.latency_us;
        let overload = usual.failed.get("overload").copied().unwrap_or_default();
        let (sent, succeeded, idle_resets) = (
            usual.sent + slow.sent,
            usual.succeeded + slow.succeeded,
            usual.idle_resets + slow.idle_resets,
        );
        let failed_total = usual.failed_total() + slow.failed_total();
        Self {
            url: sender.url().to_owned(),
            begun_ms,
            ended_ms: now_ms(),
            sent,
            succeeded,
            failed_total,
            failed: sum(&usual.failed, &slow.failed),
            idle_resets,
            unfinished: (sent + overload).saturating_sub(succeeded + failed_total + idle_resets),
            posts_verified: sender.verified.load(Ordering::Relaxed),
            slow: slow_counts(&slow),
            by_identity: sum(&usual.by_identity, &slow.by_identity),
            identity_times: sender.usual.identity_times(),
            switches: switches(&presences),
            latency_us: Latency { p50, p95, p99, max },
            samples: usual.samples.into_iter().chain(slow.samples).collect(),
            presences,
            timeline: sender.usual.windows(),
        }
    }

    /// How long the load has lasted.
    pub fn seconds(&self) -> f64 {
        std::time::Duration::from_millis(self.ended_ms.saturating_sub(self.begun_ms)).as_secs_f64()
    }
}

fn slow_counts(report: &ProbeReport) -> Slow {
    Slow {
        sent: report.sent,
        succeeded: report.succeeded,
        failed: report.failed_total(),
        idle_resets: report.idle_resets,
    }
}

fn sum(one: &BTreeMap<String, u64>, other: &BTreeMap<String, u64>) -> BTreeMap<String, u64> {
    let mut all = one.clone();
    for (key, count) in other {
        *all.entry(key.clone()).or_default() += count;
    }
    all
}

/// The changes between presences, which are in the order of their first requests.
fn switches(presences: &[Presence]) -> Vec<Switch> {
    let changes = presences
        .iter()
        .zip(presences.iter().skip(1))
        .filter(|(old, new)| old.identity != new.identity);
    changes
        .map(|(old, new)| Switch {
            from: old.identity.clone(),
            to: new.identity.clone(),
            first_answer_ms: new.first_answer_ms,
            last_sent_to_old_ms: old.last_sent_ms,
            overlap_ms: old.last_sent_ms.saturating_sub(new.first_sent_ms),
        })
        .collect()
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.seconds();
        #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
        let rate = if seconds > 0.0 { self.sent as f64 / seconds } else { 0.0 };
        writeln!(f, "{} for {seconds:.1} s", self.url)?;
        writeln!(f, "  sent         {} ({rate:.0}/s), {} of them slow", self.sent, self.slow.sent)?;
        writeln!(f, "  succeeded    {} ({} POST verified)", self.succeeded, self.posts_verified)?;
        writeln!(f, "  failed       {}", self.failed_total)?;
        for (class, count) in &self.failed {
            writeln!(f, "    {class:<12} {count}")?;
        }
        writeln!(f, "  idle resets  {}", self.idle_resets)?;
        if self.unfinished > 0 {
            writeln!(f, "  unfinished   {}", self.unfinished)?;
        }
        let ms = |us: u64| std::time::Duration::from_micros(us).as_secs_f64() * 1000.0;
        let Latency { p50, p95, p99, max } = self.latency_us;
        writeln!(
            f,
            "  latency      p50 {:.1} ms, p95 {:.1} ms, p99 {:.1} ms, max {:.1} ms",
            ms(p50),
            ms(p95),
            ms(p99),
            ms(max)
        )?;
        for (identity, count) in &self.by_identity {
            writeln!(
                f,
                "  answered by  {}: {count}",
                if identity.is_empty() { "(nobody named)" } else { identity }
            )?;
        }
        for Switch { from, to, first_answer_ms, overlap_ms, .. } in &self.switches {
            let at =
                std::time::Duration::from_millis(first_answer_ms.saturating_sub(self.begun_ms))
                    .as_secs_f64();
            writeln!(f, "  switch       {from} -> {to} at +{at:.3} s, both for {overlap_ms} ms")?;
        }
        for sample in &self.samples {
            writeln!(f, "  {sample}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn presence(identity: &str, first: u64, last: u64) -> Presence {
        Presence {
            identity: identity.to_owned(),
            first_sent_ms: first,
            first_answer_ms: first + 5,
            last_sent_ms: last,
            last_answer_ms: last + 5,
            answers: 1,
        }
    }

    #[test]
    fn a_switch_lies_between_two_identities_and_not_between_two_stretches_of_one() {
        let all = [
            presence("1", 0, 1000),
            presence("1", 3000, 4000),
            presence("2", 3900, 9000),
            presence("3", 9100, 9900),
        ];
        let switches = switches(&all);
        assert_eq!(
            switches
                .iter()
                .map(|switch| (switch.from.as_str(), switch.to.as_str()))
                .collect::<Vec<_>>(),
            [("1", "2"), ("2", "3")]
        );
        assert_eq!(switches.iter().map(|switch| switch.overlap_ms).collect::<Vec<_>>(), [100, 0]);
        assert_eq!(switches[0].first_answer_ms, 3905);
    }
}
