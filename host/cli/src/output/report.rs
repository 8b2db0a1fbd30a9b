//! What our own requests saw, at the end of a deployment.

use agente_engine::plan::Plan;
use agente_engine::ports::{ProbeReport, Prober};
use agente_probe::{HttpProber, Presence};
use schemars::JsonSchema;
use serde::Serialize;

/// The prober's report, and who answered from when to when.
#[derive(Debug, JsonSchema, Serialize)]
pub(crate) struct ProbeSummary {
    /// The counts.
    #[serde(flatten)]
    pub(crate) report: ProbeReport,
    /// Milliseconds from the last request that the old side answered to the first answer of the
    /// new one; negative while both answered. Null where nobody can tell them apart.
    pub(crate) handover_ms: Option<i64>,
    /// Who answered from when to when.
    pub(crate) presences: Vec<Presence>,
}

impl ProbeSummary {
    pub(crate) fn of(plan: &Plan, prober: &HttpProber) -> Self {
        let presences = prober.presences();
        let identity = |slot: agente_engine::route::Slot, release: u64| {
            let template = plan
                .policy
                .probe
                .as_ref()
                .map(|probe| probe.identity_value.clone())
                .unwrap_or_default();
            template.replace("{slot}", slot.as_str()).replace("{release}", &release.to_string())
        };
        let new = identity(plan.slot, plan.release.number.0);
        let first = presences
            .iter()
            .find(|presence| presence.identity == new)
            .map(|presence| presence.first_answer_ms);
        let old = plan.stable.as_ref().map(|stable| identity(stable.slot, stable.release.0));
        let last = old.and_then(|old| {
            presences
                .iter()
                .rev()
                .find(|presence| presence.identity == old)
                .map(|presence| presence.last_sent_ms)
        });
        let handover_ms = match (first, last) {
            (Some(first), Some(last)) => {
                Some(i64::try_from(first).unwrap_or(i64::MAX) - i64::try_from(last).unwrap_or(0))
            }
            _ => None,
        };
        Self { report: prober.report(), handover_ms, presences }
    }

    /// Lines for people.
    pub(crate) fn lines(&self) -> Vec<String> {
        let report = &self.report;
        if report.sent == 0 {
            return Vec::new();
        }
        let mut lines = vec![format!(
            "from outside: {} requests, {} failed, {} idle connections reset; p50 {:.1} ms, p99 \
             {:.1} ms, max {:.1} ms",
            report.sent,
            report.failed_total(),
            report.idle_resets,
            millis(report.latency_us[0]),
            millis(report.latency_us[2]),
            millis(report.latency_us[3]),
        )];
        for (class, count) in &report.failed {
            lines.push(format!("  {class}: {count}"));
        }
        lines.extend(report.samples.iter().take(3).map(|sample| format!("  {sample}")));
        lines
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "latencies of hours would be needed to lose a digit"
)]
fn millis(micros: u64) -> f64 {
    micros as f64 / 1000.0
}
