//! Watching the candidate beside the stable release until it has earned more, or less.

use super::action::{Action, Facts};
use crate::analysis::{Analysis, Stand};
use crate::context::{Schedule, StepContext};
use crate::fault::{Failure, Fault, FaultKind};
use crate::policy::{CheckMoment, OnUndecided, Policy, Stage};
use crate::step::StepOutput;
use crate::words::{coarse, span, summary};
use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::Duration;

const FACTS: Facts = Facts {
    awaits_decision: true,
    measures: true,
    probed: true,
    noted_in_outcome: true,
    ..Facts::named("analyze")
};

/// How often is looked whether the candidate still runs, and whether the stage is over.
const POLL: Duration = Duration::from_millis(200);

/// What the last question of a stage may take beyond it.
const MARGIN: Duration = Duration::from_secs(30);

/// What a person can do about it.
const DECIDE: &str = "`agente-host promote` continues, `agente-host abort` unwinds";

/// Watches the candidate beside the stable release until it has earned more, or less.
#[derive(Debug, Clone, PartialEq, JsonSchema, Serialize, Deserialize)]
pub struct Analyze {
    /// At which weight, how long at least, and whether a person then decides.
    pub stage: Stage,
}

#[async_trait]
impl Action for Analyze {
    fn facts(&self) -> Facts {
        FACTS
    }

    fn words(&self) -> String {
        let Stage { weight, pause, wait } = self.stage;
        let wait = if wait { ", then wait for `promote`" } else { "" };
        format!("watch the candidate at {weight} for at least {}{wait}", span(pause))
    }

    /// Its pause, what it may be extended by, and the wait for a person where there may be one.
    fn limit(&self, policy: &Policy) -> Duration {
        let analysis = policy.analysis.as_ref().filter(|analysis| !analysis.checks.is_empty());
        let extend =
            analysis.map_or(Duration::ZERO, |analysis| analysis.initial_delay + analysis.extend);
        let asks = self.stage.wait
            || analysis.is_some_and(|analysis| analysis.on_undecided == OnUndecided::Ask);
        let decide = if asks { policy.timeouts.decide } else { Duration::ZERO };
        self.stage.pause + extend + decide + MARGIN
    }

    async fn run(&self, context: &StepContext<'_>) -> Result<StepOutput, Failure> {
        let stage = self.stage;
        let began = context.ports.clock.elapsed();
        begin_stage(context).await;
        let policy = &context.deployment.policy;
        let mut schedule = Schedule::of(policy.checks_at(CheckMoment::Analysis));
        let mut fallback = None;
        let (extend, on_undecided) =
            policy.analysis.as_ref().map_or((Duration::ZERO, OnUndecided::Unwind), |analysis| {
                (analysis.initial_delay + analysis.extend, analysis.on_undecided)
            });
        // Who is to decide anyway is asked about what can't be decided, too.
        let asks = stage.wait || on_undecided == OnUndecided::Ask;
        loop {
            context.still_runs().await?;
            context.ask_due(&mut schedule).await?;
            let mut stand = context.look(Some(&mut fallback)).await?;
            for one in schedule.checks.iter().filter(|one| !one.check.report_only) {
                if one.is_open() {
                    stand.open.push(one.waits());
                    stand.early = false;
                }
                stand.undecided |= one.tally.is_silent(&one.check.limits);
            }
            let passed = context.since(began);
            let left = stage.pause.saturating_sub(passed);
            if stand.open.is_empty() && (left.is_zero() || stand.early) && !stage.wait {
                return Ok(earned(context, stage, passed, stand, &schedule).await);
            }
            let weight = stage.weight;
            let person = coarse(context.place.limit.saturating_sub(passed));
            let open = stand.open.join("; ");
            let message = if stand.open.is_empty() && left.is_zero() {
                format!("{weight} passed, waiting up to {person} for a decision: {DECIDE}")
            } else if stand.open.is_empty() {
                format!(
                    "{weight}: healthy so far, {} to go; {}",
                    coarse(left),
                    stand.notes.join("; ")
                )
            } else if passed < stage.pause + extend && !stand.undecided {
                let then = if asks { "an operator must decide" } else { "unwind" };
                format!(
                    "{weight}: not decided yet, up to {} to go, then {then}; {open}",
                    coarse((stage.pause + extend).saturating_sub(passed))
                )
            } else if asks {
                format!(
                    "{weight}: undecided, waiting up to {person} for a decision: {DECIDE}; {open}"
                )
            } else {
                let fault = undecided(context, stage, passed, &open).await;
                return Err(Failure::Unknown { fault });
            };
            context.waiting(message);
            context.ports.clock.sleep(POLL).await;
        }
    }
}

async fn begin_stage(context: &StepContext<'_>) {
    context.begin_analysis().await;
    if let Some(analysis) = context.analysis.lock().await.as_mut() {
        analysis.begin_stage(context.ports.clock.elapsed());
    }
}

/// The notes of a stage that is passed.
async fn earned(
    context: &StepContext<'_>,
    stage: Stage,
    passed: Duration,
    stand: Stand,
    schedule: &Schedule,
) -> StepOutput {
    let (weight, passed) = (stage.weight, span(passed));
    let outages = context.outages().await;
    let mut notes = vec![if outages.is_empty() {
        format!("{weight} passed in {passed}")
    } else {
        format!("{weight} passed after {passed}, but not everything could be measured")
    }];
    notes.extend(outages);
    notes.extend(stand.notes);
    notes.extend(schedule.checks.iter().map(|one| summary(&one.check, &one.tally)));
    StepOutput { notes, ..StepOutput::default() }
}

/// The fault of a stage in which nothing could be decided.
async fn undecided(context: &StepContext<'_>, stage: Stage, passed: Duration, open: &str) -> Fault {
    let message =
        format!("no verdict on the candidate at {} after {}: {open}", stage.weight, span(passed));
    let hint = if context.analysis.lock().await.as_ref().is_some_and(Analysis::is_away) {
        "fix the metrics source and deploy again; `[analysis] on_outage` and `extend` set \
        whether, and how long, a stage waits for it"
    } else {
        "give the analysis more requests: a longer `[analysis] extend`, a higher weight or a \
        larger `detect`"
    };
    Fault::new(FaultKind::Undecided, message).hint(hint)
}
