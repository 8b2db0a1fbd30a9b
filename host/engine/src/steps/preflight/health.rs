//! Asking the checks before anything is touched. Who goes back to a side that still stands is in a
//! hurry: what is stable is likely to be bad, and what else is down must not hold that up.

use super::findings::Findings;
use crate::fault::FaultKind;
use crate::policy::{CheckMoment, CheckOf};
use crate::ports::{Finding, FindingResult};
use crate::verdict::VerdictKind;

/// Asks what must be healthy before a deployment begins.
pub(super) async fn ask_what_serves(findings: &mut Findings<'_, '_>) {
    let context = findings.context;
    if context.deployment.goes_back_fast() {
        return;
    }
    for check in context.deployment.policy.checks_at(CheckMoment::Preflight) {
        let subject = format!("check {}", check.name);
        let verdict = match (&check.of, &context.deployment.stable) {
            (CheckOf::Dependency, _) => context.ask(check, None, None, &[]).await,
            (CheckOf::Backends | CheckOf::Public, Some(stable)) => {
                let (slot, release) = (Some(stable.slot), Some(stable.release));
                context.ask(check, slot, release, &stable.backends).await
            }
            (CheckOf::Backends | CheckOf::Public, None) => {
                findings.line(&subject, FindingResult::Good, "skipped: nothing is serving yet");
                continue;
            }
        };
        let result = match verdict.kind {
            VerdictKind::Healthy => FindingResult::Good,
            _ if check.report_only => FindingResult::Warning,
            VerdictKind::Unhealthy
            | VerdictKind::Errored
            | VerdictKind::NoData
            | VerdictKind::Inconclusive => FindingResult::Bad,
        };
        let message = format!("{}: {}", verdict.kind, verdict.reason);
        findings.add(Finding { subject, result, message, hint: None }, FaultKind::Unhealthy);
    }
}

/// Asks of the stable release what the candidate will be asked before it takes requests, once. What
/// serves now is told as it is; a sick stable release must not forbid the deployment that heals it.
pub(super) async fn ask_stable(findings: &mut Findings<'_, '_>) {
    let context = findings.context;
    let stable = context.deployment.stable.as_ref();
    let Some(stable) = stable.filter(|_| !context.deployment.goes_back_fast()) else { return };
    for check in context.deployment.policy.checks_at(CheckMoment::Ready) {
        if check.of != CheckOf::Backends || check.when.contains(&CheckMoment::Preflight) {
            continue;
        }
        let (slot, release) = (Some(stable.slot), Some(stable.release));
        let verdict = context.ask(check, slot, release, &stable.backends).await;
        let (result, whose) = match verdict.kind {
            VerdictKind::Healthy => (FindingResult::Good, "the stable release is"),
            _ => (FindingResult::Warning, "the stable release itself is"),
        };
        findings.line(
            &format!("check {}", check.name),
            result,
            format!("{whose} {}: {}", verdict.kind, verdict.reason),
        );
    }
}
