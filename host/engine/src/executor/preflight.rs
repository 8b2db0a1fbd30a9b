//! Judging everything that can be judged before anything is touched.

use super::hands::{Hands, with_deadline};
use super::shift::describe;
use crate::analysis::{Analysis, Unmeasurable};
use crate::fault::{Failure, Fault, FaultKind};
use crate::plan::DeploymentKind;
use crate::policy::{AnalysisCheck, OnDrainTimeout, OnOutage};
use crate::ports::{BackendState, Finding, FindingResult, ObservedState, Progress};
use crate::route::Slot;
use crate::step::{StepKind, StepOutput};
use crate::verdict::VerdictKind;
use futures_util::future::join_all;
use std::time::Duration;

/// Collects findings, and the kind of the first bad one.
struct Findings<'h, 'a> {
    hands: &'h Hands<'a>,
    all: Vec<Finding>,
    bad: Option<(FaultKind, Option<String>)>,
}

impl Findings<'_, '_> {
    fn add(&mut self, finding: Finding, kind: FaultKind) {
        if finding.result == FindingResult::Bad && self.bad.is_none() {
            self.bad = Some((kind, finding.hint.clone()));
        }
        self.hands.world.observer.tell(Progress::Found { finding: finding.clone() });
        self.all.push(finding);
    }

    fn line(&mut self, subject: &str, result: FindingResult, message: impl Into<String>) {
        self.add(
            Finding { subject: subject.to_owned(), result, message: message.into(), hint: None },
            FaultKind::Failed,
        );
    }

    fn fault(&mut self, subject: &str, fault: Fault) {
        let message =
            std::iter::once(fault.message).chain(fault.causes).collect::<Vec<_>>().join(": ");
        self.add(
            Finding {
                subject: subject.to_owned(),
                result: FindingResult::Bad,
                message,
                hint: fault.hint,
            },
            fault.kind,
        );
    }
}

impl Hands<'_> {
    /// Looks at everything and tells each line; refused if one of them is bad.
    pub(super) async fn preflight(&self) -> Result<StepOutput, Failure> {
        let mut findings = Findings { hands: self, all: Vec::new(), bad: None };
        for plugin in &self.plan.plugins {
            findings.line(
                &format!("plugin {}", plugin.name),
                FindingResult::Good,
                format!("{} ({}) is loaded and granted", plugin.version, plugin.digest.short()),
            );
        }
        self.look_at_runtime(&mut findings).await;
        self.look_at_target(&mut findings).await;
        self.look_at_kept(&mut findings).await;
        for (check, verdict) in self.ask_preflight().await {
            let subject = format!("check {}", check.name);
            match verdict {
                None => {
                    findings.line(&subject, FindingResult::Good, "not asked: nothing serves yet");
                }
                Some(verdict) => {
                    let result = match verdict.kind {
                        VerdictKind::Healthy => FindingResult::Good,
                        _ if check.report_only => FindingResult::Warning,
                        VerdictKind::Unhealthy
                        | VerdictKind::Errored
                        | VerdictKind::NoData
                        | VerdictKind::Inconclusive => FindingResult::Bad,
                    };
                    let message = format!("{}: {}", verdict.kind, verdict.reason);
                    findings.add(
                        Finding { subject, result, message, hint: None },
                        FaultKind::Unhealthy,
                    );
                }
            }
        }
        self.look_at_measures(&mut findings).await;
        // What serves now is told as it is; a sick stable release must not forbid the deployment
        // that heals it.
        for (check, verdict) in self.ask_stable().await {
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
        let bad: Vec<String> = findings
            .all
            .iter()
            .filter(|finding| finding.result == FindingResult::Bad)
            .map(|finding| format!("{}: {}", finding.subject, finding.message))
            .collect();
        match findings.bad {
            None => {
                let warnings =
                    findings.all.iter().filter(|finding| finding.result == FindingResult::Warning);
                let mut notes = vec![format!("{} things looked at", findings.all.len())];
                notes.extend(
                    warnings.map(|finding| format!("{}: {}", finding.subject, finding.message)),
                );
                Ok(StepOutput { notes, ..StepOutput::default() })
            }
            Some((kind, hint)) => {
                let message = match bad.as_slice() {
                    [only] => format!("preflight: {only}"),
                    several => format!("preflight found {} problems", several.len()),
                };
                let causes = if bad.len() > 1 { bad } else { Vec::new() };
                Err(Failure::Refused {
                    fault: Fault { kind, message, hint, causes, retryable: false },
                })
            }
        }
    }

    async fn look_at_runtime(&self, findings: &mut Findings<'_, '_>) {
        let launches = matches!(
            self.plan.kind,
            DeploymentKind::Deploy | DeploymentKind::Rollback { fast: false }
        );
        if launches {
            for finding in
                self.world.runtime.preflight(&self.plan.release, &self.plan.backends).await
            {
                findings.add(finding, FaultKind::Failed);
            }
        } else {
            self.look_at_backends(findings, "candidate", &self.plan.backends).await;
        }
        if let Some(stable) = &self.plan.stable {
            self.look_at_backends(findings, "stable", &stable.backends).await;
        }
    }

    async fn look_at_backends(
        &self,
        findings: &mut Findings<'_, '_>,
        what: &str,
        backends: &[crate::route::Backend],
    ) {
        // A stable side that is down must not forbid the deployment that replaces it.
        let result = if what == "stable" { FindingResult::Warning } else { FindingResult::Bad };
        for backend in backends {
            let subject = format!("{what} backend {}", backend.id);
            match self.world.runtime.inspect(backend).await {
                Ok(state @ BackendState::Running { .. }) => {
                    findings.line(&subject, FindingResult::Good, describe(&state));
                }
                Ok(state) => findings.line(&subject, result, describe(&state)),
                Err(fault) => findings.line(&subject, result, fault.message),
            }
        }
    }

    async fn look_at_target(&self, findings: &mut Findings<'_, '_>) {
        match self.features().await {
            Ok(features) => {
                findings.line(
                    "target",
                    FindingResult::Good,
                    format!("can be used: {}", features.names.join(", ")),
                );
                let shared = |kind: &StepKind| matches!(kind, StepKind::Shift { after, .. } if Slot::BOTH.iter().all(|&slot| !after.weight(slot).is_zero()));
                if self.plan.steps.iter().any(|step| shared(&step.kind))
                    && !features.names.iter().any(|name| name == "weights")
                {
                    let fault = Fault::new(
                        FaultKind::Unsupported,
                        "it can't split requests by weight, which this strategy needs",
                    );
                    findings.fault(
                        "target",
                        fault.hint(
                            "split by number of backends with `[strategy] by = \"instances\"`, or \
                             deploy with `kind = \"blue-green\"`",
                        ),
                    );
                }
                for warning in features.warnings {
                    findings.line("target", FindingResult::Warning, warning);
                }
            }
            Err(fault) => return findings.fault("target", fault),
        }
        let observed = match self.observe_settled().await {
            Ok(observed) => observed,
            Err(fault) => return findings.fault("target", fault),
        };
        let conflict = |message: String| Fault::new(FaultKind::Conflict, message);
        if let Some(owner) = observed.store.as_ref().filter(|owner| **owner != self.plan.store) {
            let fault = conflict(format!(
                "the target says that this service belongs to another store, `{owner}`; this one \
                 is `{}`",
                self.plan.store
            ))
            .hint(
                "use that store, restore it, or take the service over with `agente-host adopt \
                 --force`",
            );
            return if self.plan.force {
                findings.line("target", FindingResult::Warning, fault.message);
            } else {
                findings.fault("target", fault);
            };
        }
        if observed.fence > self.fence {
            let fault = conflict(format!(
                "the target holds the token {} of a newer host; ours is {}",
                observed.fence.0, self.fence.0
            ));
            return findings.fault("target", fault);
        }
        match (&self.plan.routes_before, observed.state) {
            (Some(expected), ObservedState::Converged)
                if expected.same_traffic(&observed.routes) =>
            {
                findings.line(
                    "target",
                    FindingResult::Good,
                    format!("as we left it: {}", observed.message),
                );
            }
            (None, ObservedState::Absent) => {
                findings.line("target", FindingResult::Good, "holds nothing of this service yet");
            }
            (None, ObservedState::Converged)
                if observed.routes.routes.iter().all(|route| route.backends.is_empty()) =>
            {
                findings.line("target", FindingResult::Good, "serves nothing for this service yet");
            }
            (_, ObservedState::Unsupported) => findings.line(
                "target",
                FindingResult::Warning,
                format!("can't be read: {}", observed.message),
            ),
            (
                _,
                ObservedState::Converged
                | ObservedState::Drifted
                | ObservedState::Absent
                | ObservedState::Pending,
            ) => {
                let fault =
                    conflict(format!("the target is not as we left it: {}", observed.message))
                        .hint(
                            "put back what was changed by hand, or take the target over with \
                             `agente-host adopt --force`",
                        );
                if self.plan.force {
                    findings.line("target", FindingResult::Warning, fault.message);
                } else {
                    findings.fault("target", fault);
                }
            }
        }
    }

    /// The part of preflight that reads measures, by itself.
    pub(super) async fn survey(&self) -> Vec<Finding> {
        let mut findings = Findings { hands: self, all: Vec::new(), bad: None };
        self.look_at_measures(&mut findings).await;
        findings.all
    }

    /// Reads of the stable release what the candidate will be measured by: a misspelt metric must
    /// not be found at 10 %.
    async fn look_at_measures(&self, findings: &mut Findings<'_, '_>) {
        let Some(policy) =
            self.plan.policy.analysis.as_ref().filter(|policy| !policy.checks.is_empty())
        else {
            return;
        };
        let now = self.world.clock.now();
        let mut analysis = match Analysis::new(policy, now) {
            Ok(analysis) => analysis,
            Err(error) => {
                return findings
                    .fault("analysis", Fault::new(FaultKind::InvalidConfig, error.to_string()));
            }
        };
        if self.plan.kind == (DeploymentKind::Rollback { fast: true }) {
            return;
        }
        let Some(stable) = self.sides(0).stable else {
            return findings.line(
                "analysis",
                FindingResult::Good,
                "skipped: nothing serves yet, so there is nothing to compare with",
            );
        };
        let questions = analysis.survey(&stable, now);
        let answers = join_all(questions.iter().map(|question| self.read(question))).await;
        for (check, found) in analysis.learn(&questions, &answers) {
            let subject = format!("analysis {}", check.name);
            let bad = if check.report_only { FindingResult::Warning } else { FindingResult::Bad };
            let (result, message, hint) = match found {
                Err(Unmeasurable::Away(fault)) => {
                    let result = if policy.on_outage == OnOutage::Hold || check.required {
                        bad
                    } else {
                        FindingResult::Warning
                    };
                    let hint = "repair the source, or say what an outage means with `[analysis] \
                                on_outage = \"fallback\"` or `\"go-on\"`";
                    (result, format!("the source is away: {fault}"), Some(hint))
                }
                answer => match (self.unknown_names(&check).await, answer) {
                    (Err(fault), _) | (Ok(_), Err(Unmeasurable::Away(fault))) => {
                        (bad, fault.message, None)
                    }
                    (Ok(names), _) if !names.is_empty() => (
                        bad,
                        format!("the source does not know {}", names.join(", ")),
                        Some(
                            "correct the name, or let the service show the metric with 0 from its \
                             start",
                        ),
                    ),
                    (Ok(_), Ok(message)) => (FindingResult::Good, message, None),
                    (Ok(_), Err(Unmeasurable::Wrong(message))) => {
                        let hint = "ask the query by hand with the stable release's values; \
                                    `[analysis] lookback` says how far back is read";
                        (bad, message, Some(hint))
                    }
                },
            };
            findings.add(
                Finding { subject, result, message, hint: hint.map(str::to_owned) },
                FaultKind::InvalidConfig,
            );
        }
        *self.analysis.lock().await = Some(analysis);
    }

    /// The names in a check's queries that the source has never seen.
    async fn unknown_names(&self, check: &AnalysisCheck) -> Result<Vec<String>, Fault> {
        let mut names = Vec::new();
        for (query, _) in check.measure.queries() {
            let missing =
                with_deadline(self.world.clock, query.timeout, self.world.metrics.missing(query))
                    .await;
            let missing = missing.unwrap_or_else(|| {
                Err(Fault::new(FaultKind::TimedOut, "the source did not say which names it knows"))
            })?;
            names.extend(missing.into_iter().map(|name| format!("`{name}`")));
        }
        names.dedup();
        Ok(names)
    }

    /// Looks at the target, and again for a moment while a change that somebody made is not yet in
    /// force.
    async fn observe_settled(&self) -> Result<crate::ports::Observed, Fault> {
        for _ in 0..40 {
            let observed = self.world.switcher.observe().await?;
            if observed.state != ObservedState::Pending {
                return Ok(observed);
            }
            self.world.clock.sleep(Duration::from_millis(250)).await;
        }
        self.world.switcher.observe().await
    }

    async fn look_at_kept(&self, findings: &mut Findings<'_, '_>) {
        let Some(kept) =
            self.plan.kept.as_ref().filter(|kept| self.plan.retires_kept() && !kept.drained)
        else {
            return;
        };
        let slot = kept.standing.slot;
        let limit = self.plan.policy.timeouts.preflight / 2;
        let answer = with_deadline(
            self.world.clock,
            limit,
            self.world.switcher.drain(&self.plan.op_id(0, "kept"), slot, &kept.standing.backends),
        )
        .await;
        let weak = self.plan.policy.drain.accept_weak_evidence;
        let message = match answer {
            Some(Ok(drained)) if drained.done && (weak || drained.evidence != "no-connections") => {
                return findings.line(
                    "kept slot",
                    FindingResult::Good,
                    format!("{slot} has drained: {}", drained.message),
                );
            }
            Some(Ok(drained)) => drained.message,
            Some(Err(fault)) => fault.message,
            None => "the target did not answer".to_owned(),
        };
        let message = format!(
            "{slot} (release {}) still drains from the last deployment: {message}",
            kept.standing.release
        );
        if self.plan.policy.drain.on_timeout == OnDrainTimeout::Cut {
            return findings.line(
                "kept slot",
                FindingResult::Warning,
                format!("{message}; it is cut"),
            );
        }
        let fault = Fault::new(FaultKind::Conflict, message)
            .hint("wait until it has drained, or cut it with `agente-host deploy --cut`");
        findings.fault("kept slot", fault);
    }
}
