//! Watching the stable release from outside before anything is touched.

use super::action::{Action, Facts};
use crate::context::StepContext;
use crate::context::budget::identity_of;
use crate::fault::{Failure, Fault, FaultKind};
use crate::policy::{FailingBaseline, Policy, ProbePolicy};
use crate::ports::ProbeReport;
use crate::step::StepOutput;
use crate::words::{micros, span};
use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::Duration;

const FACTS: Facts = Facts::named("baseline");

/// What it may take beyond the watching and one request: starting the prober.
const MARGIN: Duration = Duration::from_secs(5);

/// Watches the stable release from outside, and decides what the probe's budget is.
#[derive(Debug, Clone, PartialEq, JsonSchema, Serialize, Deserialize)]
pub struct Baseline {
    pub duration: Duration,
}

#[async_trait]
impl Action for Baseline {
    fn facts(&self) -> Facts {
        FACTS
    }

    fn words(&self) -> String {
        format!("watch the stable release from outside for {}", span(self.duration))
    }

    fn limit(&self, policy: &Policy) -> Duration {
        let request = policy.probe.as_ref().map_or(Duration::ZERO, |probe| probe.timeout);
        self.duration + request + MARGIN
    }

    async fn run(&self, context: &StepContext<'_>) -> Result<StepOutput, Failure> {
        let (Some(prober), Some(policy)) = (context.ports.prober, &context.deployment.policy.probe)
        else {
            return Ok(StepOutput::default());
        };
        let refused = |fault| Failure::Refused { fault };
        prober.start().await.map_err(refused)?;
        let before = prober.report();
        let lasts = span(self.duration);
        context.waiting(format!("watching the stable release from outside for {lasts}"));
        context.ports.clock.sleep(self.duration).await;
        let report = prober.report();
        let sent = report.sent.saturating_sub(before.sent);
        let failures = |report| context.probe_failures(report);
        let failed = failures(&report).saturating_sub(failures(&before));
        if sent == 0 {
            return Err(refused(Fault::new(
                FaultKind::Errored,
                "no probe request was sent during the baseline",
            )));
        }
        expect_identity(context, &report, policy).map_err(refused)?;
        let mut notes = vec![format!(
            "baseline: {sent} requests, {failed} failed, p50 {}, p99 {}",
            micros(report.latency_us[0]),
            micros(report.latency_us[2])
        )];
        if failed > 0 {
            let sample = report.samples.first().cloned().unwrap_or_default();
            let message = format!(
                "the stable release is already failing: {failed} of {sent} requests in the \
                baseline; first: {sample}"
            );
            match policy.on_failing_baseline {
                FailingBaseline::Refuse => {
                    let hint = "fix the stable release, or set `[probe] on_failing_baseline = \
                    \"relative\"`";
                    return Err(refused(Fault::new(FaultKind::Unhealthy, message).hint(hint)));
                }
                FailingBaseline::Relative => {
                    notes.push(format!("{message}; the budget is raised by that rate"));
                }
            }
        }
        #[expect(clippy::cast_precision_loss, reason = "counts of requests stay far below 2^52")]
        let rate = failed as f64 / sent as f64;
        context.shared(|shared| {
            shared.baseline_rate = rate;
            shared.budget_from = Some(report);
        });
        Ok(StepOutput { notes, ..StepOutput::default() })
    }
}

/// The public URL must be answered by the slot that is stable, or requests do not go through the
/// target that we change.
fn expect_identity(
    context: &StepContext<'_>,
    report: &ProbeReport,
    policy: &ProbePolicy,
) -> Result<(), Fault> {
    let (Some(header), Some(stable)) = (&policy.identity_header, &context.deployment.stable) else {
        return Ok(());
    };
    let expected = identity_of(&policy.identity_value, stable.slot, stable.release.0);
    let answered: u64 = report.by_identity.values().sum();
    let matching = report.by_identity.get(&expected).copied().unwrap_or_default();
    if answered == 0 || matching * 2 > answered {
        return Ok(());
    }
    let seen: Vec<String> = report
        .by_identity
        .iter()
        .map(|(value, count)| {
            format!("`{}` {count} times", if value.is_empty() { "none" } else { value })
        })
        .collect();
    let message = format!(
        "`{}` is not answered by the stable side: `{header}` should be `{expected}`, but is {}",
        policy.url,
        seen.join(", ")
    );
    let hint = "make the public server pass its requests to this service's pool (`agente-host \
    status` shows the configuration lines)";
    Err(Fault::new(FaultKind::Conflict, message).hint(hint))
}
