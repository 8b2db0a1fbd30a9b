//! Plans, routes and standings in words.

use crate::times::{local, span};
use agente_engine::deployment::DeploymentKind;
use agente_engine::plan::Plan;
use agente_engine::policy::Measure;
use agente_engine::route::{Backend, Routes};
use agente_engine::standing::Standing;
use agente_engine::statistics::{Acceptance, Counts, Proportion};
use agente_engine::steps::{Step, TimeoutAction};

/// `blue 100 % → 127.0.0.1:18100 (r3) · green 0 %`.
pub(crate) fn routes_line(routes: &Routes) -> String {
    if routes.routes.is_empty() {
        return "nothing".to_owned();
    }
    let parts: Vec<String> = routes
        .routes
        .iter()
        .map(|route| {
            let release = route.release.map(|release| format!(" ({release})")).unwrap_or_default();
            let to = if route.backends.is_empty() {
                String::new()
            } else {
                format!(
                    " → {}{release}",
                    addresses(route.backends.iter().map(|to| to.address.as_str()))
                )
            };
            format!("{} {}{to}", route.slot, route.weight)
        })
        .collect();
    let overrides = if routes.overrides.is_empty() {
        String::new()
    } else {
        format!(" · {} overrides", routes.overrides.len())
    };
    format!("{}{overrides}", parts.join(" · "))
}

fn addresses<'a>(addresses: impl Iterator<Item = &'a str>) -> String {
    addresses.collect::<Vec<_>>().join(", ")
}

fn addresses_of(backends: &[Backend]) -> String {
    addresses(backends.iter().map(|backend| backend.address.as_str()))
}

/// `r3 on blue (127.0.0.1:18100), since …`.
pub(crate) fn standing_line(standing: &Standing) -> String {
    let adopted = if standing.is_adopted() { ", adopted" } else { "" };
    format!(
        "{} on {} ({}{adopted}) since {}",
        standing.release,
        standing.slot,
        addresses_of(&standing.backends),
        local(standing.since)
    )
}

fn timeout_words(step: &Step) -> String {
    let then = match step.on_timeout {
        TimeoutAction::Unwind => "unwind",
        TimeoutAction::KeepAndTell => "keep the old side and report it",
        TimeoutAction::Cut => "cut remaining connections",
        TimeoutAction::GoOn => "continue",
        TimeoutAction::Stuck => "stop and wait for an operator",
    };
    format!("{}, then {then}", span(step.timeout))
}

/// The plan, for people.
pub(crate) fn plan_lines(plan: &Plan) -> Vec<String> {
    let kind = match plan.kind {
        DeploymentKind::Deploy => "deploy",
        DeploymentKind::Adopt => "adopt",
        DeploymentKind::Rollback { fast: true } => "roll back (its backends are still running) to",
        DeploymentKind::Rollback { fast: false } => "roll back (by relaunching it) to",
    };
    let mut lines = vec![format!(
        "{kind} release {} of {}: {}",
        plan.release.number,
        plan.scope,
        plan.release.artifact.describe()
    )];
    lines.push(match &plan.stable {
        Some(stable) => format!("stable now: {}", standing_line(stable)),
        None => "stable now: none; this is the first release".to_owned(),
    });
    lines.push(String::new());
    for (index, step) in plan.steps.iter().enumerate() {
        lines.push(format!("{:>3}. {:<14} {}", index + 1, step.kind.name(), step.kind.words()));
        lines.push(format!("     {:<14} at most {}", "", timeout_words(step)));
    }
    lines.extend(measure_lines(plan));
    lines.push(String::new());
    lines.push(format!("worst case: {}", span(plan.worst_case())));
    lines.push(way_back(plan));
    for warning in &plan.warnings {
        lines.push(format!("warning: {warning}"));
    }
    lines
}

/// What the candidate is measured by, and how many requests it takes at least until that can pass.
fn measure_lines(plan: &Plan) -> Vec<String> {
    let measured = plan.steps.iter().any(|step| step.kind.facts().measures);
    let Some(analysis) =
        plan.policy.analysis.as_ref().filter(|_| measured && plan.stable.is_some())
    else {
        return Vec::new();
    };
    let mut lines = vec![String::new(), format!("measured every {}:", span(analysis.interval))];
    for check in &analysis.checks {
        let mut limits = Vec::new();
        let mut least = None;
        match &check.measure {
            Measure::Errors { max, max_ratio_to_stable, detect, .. } => {
                limits.extend(max.map(|max| format!("at most {}", percent(max))));
                limits.push(format!(
                    "at most {max_ratio_to_stable} times stable's odds of failing; an increase of \
                    {} goes undetected in at most {} of cases",
                    percent(*detect),
                    percent(analysis.missed)
                ));
                least = least_requests(analysis.missed, Some(*detect), *max);
            }
            Measure::Latency { quantile, max, max_ratio_to_stable, max_slower, .. } => {
                limits.extend(max.map(|max| format!("{quantile} quantile at most {max} s")));
                limits
                    .extend(max_ratio_to_stable.map(|ratio| {
                        format!("{quantile} quantile at most {ratio} times stable's")
                    }));
                limits.push(format!(
                    "slower than stable in less than {} of comparisons",
                    percent(*max_slower)
                ));
                least = least_requests(analysis.missed, None, Some(1.0 - quantile));
            }
            Measure::Value { max, min, max_ratio_to_stable, count, .. } => {
                limits.extend(max.map(|max| format!("at most {max}")));
                limits.extend(min.map(|min| format!("at least {min}")));
                limits.extend(
                    max_ratio_to_stable.map(|ratio| format!("at most {ratio} times stable's")),
                );
                limits.push(format!("{count} consecutive readings"));
            }
        }
        let only = if check.report_only { " (report only)" } else { "" };
        lines.push(format!("     {:<14} {}{only}", check.name, limits.join(", ")));
        lines.extend(least.map(|least| {
            format!(
                "     {:<14} needs at least {least} candidate requests at each weight to pass",
                ""
            )
        }));
    }
    lines
}

/// How many flawless requests pass a measure.
fn least_requests(missed: f64, margin: Option<f64>, limit: Option<f64>) -> Option<u64> {
    let proportion = |value: f64| Proportion::new(value).ok();
    Acceptance::new(proportion(missed)?, margin.and_then(proportion), limit.and_then(proportion))
        .requests_to_pass(Counts::NONE, None)
}

/// A share for people.
fn percent(share: f64) -> String {
    let text = format!("{:.4}", share * 100.0);
    format!("{} %", text.trim_end_matches('0').trim_end_matches('.'))
}

/// How it is taken back, until when, and how long that takes.
fn way_back(plan: &Plan) -> String {
    let limit = span(plan.policy.timeouts.shift);
    let how = match &plan.stable {
        Some(stable) if plan.thinned_out().next().is_some() => {
            format!(
                "relaunch the removed backends of {} on {}, then shift back to it (at most \
                {limit} for the shift)",
                stable.release, stable.slot
            )
        }
        Some(stable) => format!(
            "shift back to {} on {} (usually one reload of the target; at most {limit})",
            stable.release, stable.slot
        ),
        None => "none, there is no earlier release: the candidate is removed".to_owned(),
    };
    match plan.point_of_no_return() {
        Some(index) => {
            format!("rollback: {how}, until step {} begins, the point of no return", index + 1)
        }
        None if plan.stable.is_some() => format!(
            "rollback: {how}; after the deployment with `agente-host rollback`, while the old \
            side is kept"
        ),
        None => format!("rollback: {how}"),
    }
}
