//! Reading of the stable release what the candidate will be measured by: a misspelt metric must not
//! be found at 10 %.

use super::findings::Findings;
use crate::analysis::{Analysis, Unmeasurable};
use crate::context::StepContext;
use crate::fault::{Fault, FaultKind};
use crate::policy::{AnalysisCheck, AnalysisPolicy, OnOutage};
use crate::ports::{Finding, FindingResult};

/// The part of preflight that reads measures, by itself.
pub(crate) async fn survey(context: &StepContext<'_>) -> Vec<Finding> {
    let mut findings = Findings::new(context);
    read(&mut findings).await;
    findings.all
}

/// Reads each measure, and remembers what was read for the deployment.
pub(super) async fn read(findings: &mut Findings<'_, '_>) {
    let context = findings.context;
    let policy = context.deployment.policy.analysis.as_ref();
    let Some(policy) = policy.filter(|policy| !policy.checks.is_empty()) else { return };
    let now = context.ports.clock.now();
    let mut analysis = match Analysis::new(policy, now) {
        Ok(analysis) => analysis,
        Err(error) => {
            let fault = Fault::new(FaultKind::InvalidConfig, error.to_string());
            return findings.fault("analysis", fault);
        }
    };
    if context.deployment.goes_back_fast() {
        return;
    }
    let Some(stable) = context.sides().stable else {
        return findings.line(
            "analysis",
            FindingResult::Good,
            "skipped: nothing is serving yet, so there is nothing to compare with",
        );
    };
    let questions = analysis.survey(&stable, now);
    let answers = context.read_all(&questions).await;
    for (check, found) in analysis.learn(&questions, &answers) {
        let finding = finding_of(context, policy, &check, found).await;
        findings.add(finding, FaultKind::InvalidConfig);
    }
    *context.analysis.lock().await = Some(analysis);
}

async fn finding_of(
    context: &StepContext<'_>,
    policy: &AnalysisPolicy,
    check: &AnalysisCheck,
    found: Result<String, Unmeasurable>,
) -> Finding {
    let bad = if check.report_only { FindingResult::Warning } else { FindingResult::Bad };
    let (result, message, hint) = match found {
        Err(Unmeasurable::Away(fault)) => {
            let holds = policy.on_outage == OnOutage::Hold || check.required;
            let hint = "fix the source, or deploy without it: `[analysis] on_outage = \
            \"fallback\"` or `\"go-on\"`";
            let result = if holds { bad } else { FindingResult::Warning };
            (result, format!("the source is unavailable: {fault}"), Some(hint))
        }
        answer => match (unknown_names(context, check).await, answer) {
            (Err(fault), _) | (Ok(_), Err(Unmeasurable::Away(fault))) => (bad, fault.message, None),
            (Ok(names), _) if !names.is_empty() => {
                let message = format!("the source does not know {}", names.join(", "));
                let hint =
                    "correct the name, or have the service export the metric as 0 from its start";
                (bad, message, Some(hint))
            }
            (Ok(_), Ok(message)) => (FindingResult::Good, message, None),
            (Ok(_), Err(Unmeasurable::Wrong(message))) => {
                let hint = "run the query by hand with the stable release's values; `[analysis] \
                lookback` sets how far back it reads";
                (bad, message, Some(hint))
            }
        },
    };
    let subject = format!("analysis {}", check.name);
    Finding { subject, result, message, hint: hint.map(str::to_owned) }
}

/// The names in a check's queries that the source has never seen.
async fn unknown_names(
    context: &StepContext<'_>,
    check: &AnalysisCheck,
) -> Result<Vec<String>, Fault> {
    let mut names = Vec::new();
    for (query, _) in check.measure.queries() {
        let missing = context.within(query.timeout, context.ports.metrics.missing(query)).await;
        let missing = missing.unwrap_or_else(|| {
            Err(Fault::new(
                FaultKind::TimedOut,
                "the source did not list the metric names it \
            knows",
            ))
        })?;
        names.extend(missing.into_iter().map(|name| format!("`{name}`")));
    }
    names.dedup();
    Ok(names)
}
