//! Looking at the target: whether it can do what is asked, and whether it is as we left it.

use super::findings::Findings;
use crate::context::StepContext;
use crate::fault::{Fault, FaultKind};
use crate::policy::OnDrainTimeout;
use crate::ports::{Features, FindingResult, Observed, ObservedState};
use std::time::Duration;

/// How often, and how many times, the target is looked at again while a change is under way.
const AGAIN: (Duration, u32) = (Duration::from_millis(250), 40);

/// Looks at the target. `splits`: whether both sides will have a share of the requests at once.
pub(super) async fn look(findings: &mut Findings<'_, '_>, splits: bool) {
    match findings.context.features().await {
        Ok(features) => abilities(findings, features, splits),
        Err(fault) => return findings.fault("target", fault),
    }
    match observe_settled(findings.context).await {
        Ok(observed) => compare(findings, &observed),
        Err(fault) => findings.fault("target", fault),
    }
}

fn abilities(findings: &mut Findings<'_, '_>, features: Features, splits: bool) {
    findings.line(
        "target",
        FindingResult::Good,
        format!("supports: {}", features.names.join(", ")),
    );
    if splits && !features.names.iter().any(|name| name == "weights") {
        let message = "it can't split traffic by weight, which this strategy needs";
        let hint = "split by the number of backends with `[strategy] by = \"instances\"`, or use \
        `kind = \"blue-green\"`";
        findings.fault("target", Fault::new(FaultKind::Unsupported, message).hint(hint));
    }
    for warning in features.warnings {
        findings.line("target", FindingResult::Warning, warning);
    }
}

/// Whether what is in force is what the journal says.
fn compare(findings: &mut Findings<'_, '_>, observed: &Observed) {
    let deployment = findings.context.deployment.clone();
    let ours = findings.context.fence;
    let seen = &observed.message;
    if let Some(owner) = observed.store.as_ref().filter(|owner| **owner != deployment.store) {
        let message = format!(
            "the target says this service belongs to another store, `{owner}`; this one is `{}`",
            deployment.store
        );
        let hint = "use or restore that store, or take the service over with `agente-host adopt \
        --force`";
        return conflict(findings, Fault::new(FaultKind::Conflict, message).hint(hint));
    }
    if observed.fence > ours {
        let message = format!(
            "the target holds the fencing token {} of a newer host; ours is {}",
            observed.fence.0, ours.0
        );
        return findings.fault("target", Fault::new(FaultKind::Conflict, message));
    }
    let (result, message) = match (&deployment.routes_before, observed.state) {
        (Some(expected), ObservedState::Converged) if expected.same_traffic(&observed.routes) => {
            (FindingResult::Good, format!("as agente-host left it: {seen}"))
        }
        (None, ObservedState::Absent) => {
            (FindingResult::Good, "has nothing for this service yet".to_owned())
        }
        (None, ObservedState::Converged)
            if observed.routes.routes.iter().all(|route| route.backends.is_empty()) =>
        {
            (FindingResult::Good, "serves nothing for this service yet".to_owned())
        }
        (_, ObservedState::Unsupported) => {
            (FindingResult::Warning, format!("can't be read: {seen}"))
        }
        (
            _,
            ObservedState::Converged
            | ObservedState::Drifted
            | ObservedState::Absent
            | ObservedState::Pending,
        ) => {
            let message = format!("the target is not as agente-host left it: {seen}");
            let hint = "revert the manual change, or take the target over with `agente-host adopt \
            --force`";
            return conflict(findings, Fault::new(FaultKind::Conflict, message).hint(hint));
        }
    };
    findings.line("target", result, message);
}

/// What forbids the deployment unless the operator takes the target over.
fn conflict(findings: &mut Findings<'_, '_>, fault: Fault) {
    if findings.context.deployment.force {
        findings.line("target", FindingResult::Warning, fault.message);
    } else {
        findings.fault("target", fault);
    }
}

/// Looks at the target, and again for a moment while a change that somebody made is not yet in
/// force.
async fn observe_settled(context: &StepContext<'_>) -> Result<Observed, Fault> {
    let (pause, times) = AGAIN;
    for _ in 0..times {
        let observed = context.ports.switcher.observe().await?;
        if observed.state != ObservedState::Pending {
            return Ok(observed);
        }
        context.ports.clock.sleep(pause).await;
    }
    context.ports.switcher.observe().await
}

/// Whether the slot that the candidate needs has drained from the last deployment.
pub(super) async fn kept_slot(findings: &mut Findings<'_, '_>) {
    const SUBJECT: &str = "kept slot";
    let context = findings.context;
    let deployment = &context.deployment;
    let kept = deployment.kept.as_ref().filter(|_| deployment.removes_kept());
    let Some(kept) = kept.filter(|kept| !kept.drained) else { return };
    let slot = kept.standing.slot;
    let limit = deployment.policy.timeouts.preflight / 2;
    let op = context.op_id("kept");
    let asked = context.ports.switcher.drain(&op, slot, &kept.standing.backends);
    let message = match context.within(limit, asked).await {
        Some(Ok(drained)) if context.has_drained(&drained) => {
            let message = format!("{slot} has drained: {}", drained.message);
            return findings.line(SUBJECT, FindingResult::Good, message);
        }
        Some(Ok(drained)) => drained.message,
        Some(Err(fault)) => fault.message,
        None => "the target did not answer".to_owned(),
    };
    let message = format!(
        "{slot} (release {}) is still draining from the last deployment: {message}",
        kept.standing.release
    );
    if deployment.policy.drain.on_timeout == OnDrainTimeout::Cut {
        return findings.line(
            SUBJECT,
            FindingResult::Warning,
            format!(
                "{message}; its connections \
        are cut"
            ),
        );
    }
    let hint = "wait until it has drained, or cut it with `agente-host deploy --cut`";
    findings.fault(SUBJECT, Fault::new(FaultKind::Conflict, message).hint(hint));
}
