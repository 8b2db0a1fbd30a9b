//! Our own requests from outside, and the budget of those that may fail.

use super::StepContext;
use crate::fault::{Fault, FaultKind};
use crate::ports::{ProbeReport, Prober};

impl StepContext<'_> {
    /// Starts the prober where an earlier process had it running; a fault is left to the checks.
    pub(crate) async fn keep_probing(&self) {
        let Some(prober) = self.ports.prober else { return };
        // Before anything is stable, requests from outside can only fail.
        if self.deployment.stable.is_none() {
            return;
        }
        if prober.start().await.is_ok() {
            self.shared(|shared| {
                // The failures of what is stable must not hold up the way back.
                if shared.budget_from.is_none() && !self.deployment.goes_back() {
                    shared.budget_from = Some(prober.report());
                }
            });
        }
    }

    /// From here on requests go to what is gone back to.
    pub(crate) fn has_gone_back(&self) {
        if self.deployment.goes_back() {
            let now = self.ports.clock.elapsed();
            self.shared(|shared| {
                shared.went_back.get_or_insert(now);
            });
        }
    }

    pub(crate) fn probe_report(&self) -> Option<ProbeReport> {
        self.ports.prober.map(Prober::report).filter(|report| report.sent > 0)
    }

    /// What counts as failed.
    pub(crate) fn probe_failures(&self, report: &ProbeReport) -> u64 {
        let counted =
            self.deployment.policy.probe.as_ref().is_some_and(|policy| policy.count_idle_resets);
        report.failed_total() + if counted { report.idle_resets } else { 0 }
    }

    /// The fault of a budget that is used up. In a rollback it counts once every request that the
    /// bad release may have taken has ended.
    pub(crate) fn over_budget(&self) -> Option<Fault> {
        let (prober, policy) = (self.ports.prober?, self.deployment.policy.probe.as_ref()?);
        let (from, rate) = self.shared(|shared| (shared.budget_from.clone(), shared.baseline_rate));
        let report = prober.report();
        let Some(from) = from else {
            // Only when each request that the release before may have taken has ended.
            let went_back = self.shared(|shared| shared.went_back)?;
            if self.since(went_back) > policy.timeout {
                self.shared(|shared| shared.budget_from = Some(report));
            }
            return None;
        };
        let failed = self.probe_failures(&report).saturating_sub(self.probe_failures(&from));
        let sent = report.sent.saturating_sub(from.sent);
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a small count, never negative"
        )]
        let allowed = policy.budget + (2.0 * rate * sent as f64).ceil() as u64;
        if failed <= allowed {
            return None;
        }
        let classes: Vec<String> =
            report.failed.iter().map(|(class, count)| format!("{class} {count}")).collect();
        let mut fault = Fault::new(
            FaultKind::BudgetExceeded,
            format!(
                "{failed} of {sent} probe requests failed; the budget is {allowed} ({})",
                classes.join(", ")
            ),
        );
        fault.causes = report.samples.iter().rev().take(3).rev().cloned().collect();
        Some(fault)
    }
}

/// What the identity header of a slot and release should say.
pub(crate) fn identity_of(template: &str, slot: crate::route::Slot, release: u64) -> String {
    template.replace("{slot}", slot.as_str()).replace("{release}", &release.to_string())
}
