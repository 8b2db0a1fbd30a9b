//! What an operator should know of a plan.

use super::Inputs;
use crate::deployment::DeploymentKind;
use crate::policy::{CheckMoment, Strategy};

/// One sentence each.
pub(super) fn of(inputs: &Inputs, kind: DeploymentKind) -> Vec<String> {
    let mut warnings = Vec::new();
    match &inputs.policy.probe {
        None => warnings.push(
            "outside proof: none; without `[probe]` nothing watches the public URL while traffic \
            moves",
        ),
        Some(probe) if probe.identity_header.is_none() => warnings.push(
            "outside proof: none; the target adds no identity header and `[probe] identity` names \
            none, so only the switcher can tell which side answers",
        ),
        Some(_) => {}
    }
    let climbs = kind == DeploymentKind::Deploy && inputs.policy.strategy != Strategy::BlueGreen;
    if climbs && inputs.state.stable.is_none() {
        warnings.push(
            "nothing is stable yet, so there is nothing to compare with: the first release gets \
            all traffic at once, without analysis",
        );
    }
    if climbs && inputs.state.stable.is_some() && !measures(inputs) {
        warnings.push(
            "nothing is measured between the weights: only the pauses hold back the next one; add \
            `[analysis]` to measure",
        );
    }
    if inputs.policy.checks_at(CheckMoment::Ready).next().is_none() {
        warnings.push(
            "no check runs before the candidate takes requests; a running backend counts as \
            healthy",
        );
    }
    warnings.into_iter().map(str::to_owned).collect()
}

/// Whether anything but time earns a weight.
fn measures(inputs: &Inputs) -> bool {
    let analysis = inputs.policy.analysis.as_ref();
    analysis.is_some_and(|analysis| analysis.checks.iter().any(|check| !check.report_only))
        || inputs.policy.checks_at(CheckMoment::Analysis).any(|check| !check.report_only)
}
