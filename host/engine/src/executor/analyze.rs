//! Watching the candidate beside the stable release: measures, checks, and whether it still runs.

use super::hands::Hands;
use super::health::{summary, unhealthy, waits};
use super::seconds;
use super::shift::describe;
use crate::analysis::{Analysis, Question, Sides, Stand, Unmeasurable};
use crate::fault::{Failure, Fault, FaultKind};
use crate::names::Timestamp;
use crate::policy::{CheckMoment, CheckPolicy, OnUndecided, Stage};
use crate::ports::{BackendState, Progress, Reading};
use crate::state::Standing;
use crate::step::{StepKind, StepOutput};
use crate::tally::Tally;
use futures_util::future::join_all;
use std::time::Duration;

/// How often is looked whether the candidate still runs, and whether a stage is over.
const POLL: Duration = Duration::from_millis(200);

/// How long what serves after unwinding is looked at, so that the outcome can say how it is.
const RESTORED_LIMIT: Duration = Duration::from_secs(10);

/// How long something still takes, in steps so coarse that who watches is told again only when that
/// says something new.
fn coarse(left: Duration) -> String {
    let up_to = |unit: u64| {
        left.as_secs().saturating_add(u64::from(left.subsec_nanos() > 0)).div_ceil(unit).max(1)
    };
    match left.as_secs() {
        0..120 => format!("{} s", up_to(10) * 10),
        120..7200 => format!("{} min", up_to(60)),
        _ => format!("{} h", up_to(3600)),
    }
}

/// Checks that are asked again and again, each at its own interval.
pub(super) struct Asked {
    /// Each with when it was asked last, by the clock that only goes forward.
    pub(super) checks: Vec<(CheckPolicy, Tally, Option<Duration>)>,
}

impl Asked {
    pub(super) fn of<'p>(checks: impl Iterator<Item = &'p CheckPolicy>) -> Self {
        Self { checks: checks.map(|check| (check.clone(), Tally::default(), None)).collect() }
    }

    /// What is not healthy for long enough yet.
    fn open(&self) -> Vec<String> {
        let open = self.checks.iter().filter(|(check, tally, _)| {
            !tally.is_healthy() || tally.healthy_in_row < check.healthy_after
        });
        open.map(|(check, tally, _)| waits(check, tally)).collect()
    }
}

impl Hands<'_> {
    /// Both sides as they stand now, and where they are read.
    pub(super) fn sides(&self, index: usize) -> Sides {
        let (backends, beside) = self.plan.standing_at(index);
        let candidate = crate::verdict::Subject {
            slot: Some(self.plan.slot),
            release: Some(self.plan.release.number),
            backends,
            public_url: None,
        };
        let stable = self.plan.stable.as_ref().map(|stable| crate::verdict::Subject {
            slot: Some(stable.slot),
            release: Some(stable.release),
            backends: beside,
            public_url: None,
        });
        Sides { candidate, stable }
    }

    /// Asks the checks that are due. Unhealthy too often is a failure.
    pub(super) async fn ask_due(&self, index: usize, asked: &mut Asked) -> Result<(), Failure> {
        let (backends, _) = self.plan.standing_at(index);
        for (check, tally, at) in &mut asked.checks {
            let now = self.world.clock.elapsed();
            if at.is_some_and(|at| now.saturating_sub(at) < check.interval) {
                continue;
            }
            *at = Some(now);
            tally.count(
                self.ask(check, Some(self.plan.slot), Some(self.plan.release.number), &backends)
                    .await,
            );
            if !check.report_only && tally.unhealthy > check.limits.unhealthy {
                return Err(Failure::Unknown { fault: unhealthy(check, tally) });
            }
        }
        Ok(())
    }

    /// A candidate that ended, or was started again since it was found healthy, has crashed.
    pub(super) async fn still_runs(&self, index: usize) -> Result<(), Failure> {
        if matches!(self.plan.release.runtime, crate::release::RuntimeSpec::Adopted { .. }) {
            return Ok(());
        }
        for backend in &self.plan.standing_at(index).0 {
            match self.world.runtime.inspect(backend).await {
                Ok(BackendState::Running { restarts, .. })
                    if !self.restarted(&backend.id, restarts) => {}
                Ok(state) => {
                    let kind = StepKind::AwaitHealthy {
                        slot: self.plan.slot,
                        backends: vec![backend.clone()],
                    };
                    let fault = Fault::new(
                        FaultKind::Unhealthy,
                        format!("{} has requests and is {}", backend.id, describe(&state)),
                    );
                    return Err(Failure::Unknown {
                        fault: Fault { causes: self.evidence(&kind).await, ..fault },
                    });
                }
                Err(fault) => {
                    self.waiting(index, format!("{} can't be looked at: {fault}", backend.id));
                }
            }
        }
        Ok(())
    }

    fn restarted(&self, backend: &crate::names::BackendId, restarts: u32) -> bool {
        self.seen(|seen| *seen.restarts.entry(backend.clone()).or_insert(restarts) < restarts)
    }

    /// Watches until the stage is passed; the caller limits the time and hears decisions.
    pub(super) async fn analyze(&self, index: usize, stage: Stage) -> Result<StepOutput, Failure> {
        let began = self.world.clock.elapsed();
        self.begin_stage().await;
        let policy = self.plan.policy.analysis.as_ref();
        let mut asked = Asked::of(self.plan.policy.checks_at(CheckMoment::Analysis));
        let mut fallback = None;
        let (extend, on_undecided) = policy
            .map_or((Duration::ZERO, OnUndecided::Unwind), |policy| {
                (policy.initial_delay + policy.extend, policy.on_undecided)
            });
        // Who is to decide anyway is asked about what can't be decided, too.
        let on_undecided = if stage.wait { OnUndecided::Ask } else { on_undecided };
        loop {
            self.still_runs(index).await?;
            self.ask_due(index, &mut asked).await?;
            let mut stand = self.look(index, Some(&mut fallback)).await?;
            for (check, tally, _) in asked.checks.iter().filter(|(check, ..)| !check.report_only) {
                if !tally.is_healthy() || tally.healthy_in_row < check.healthy_after {
                    stand.open.push(waits(check, tally));
                    stand.early = false;
                }
                stand.undecided |= tally.is_silent(&check.limits);
            }
            let passed = self.world.clock.elapsed().saturating_sub(began);
            let left = stage.pause.saturating_sub(passed);
            if stand.open.is_empty() && (left.is_zero() || stand.early) && !stage.wait {
                let outages = self.outages().await;
                let mut notes = vec![if outages.is_empty() {
                    format!("{} earned in {}", stage.weight, seconds(passed))
                } else {
                    format!(
                        "{} passed after {}, without all that was to be measured",
                        stage.weight,
                        seconds(passed)
                    )
                }];
                notes.extend(outages);
                notes.extend(stand.notes);
                notes.extend(asked.checks.iter().map(|(check, tally, _)| summary(check, tally)));
                return Ok(StepOutput { notes, ..StepOutput::default() });
            }
            let weight = stage.weight;
            let decide = "`agente-host promote` goes on, `agente-host abort` takes it back";
            let person = coarse(
                self.plan
                    .steps
                    .get(index)
                    .map(|step| step.timeout)
                    .unwrap_or_default()
                    .saturating_sub(passed),
            );
            let open = stand.open.join("; ");
            let message = if stand.open.is_empty() && left.is_zero() {
                format!(
                    "{weight} is earned and waits for a person, {person} more at most: {decide}"
                )
            } else if stand.open.is_empty() {
                format!("{weight}: good so far, {} more; {}", coarse(left), stand.notes.join("; "))
            } else if passed < stage.pause + extend && !stand.undecided {
                let then = if on_undecided == OnUndecided::Ask {
                    "a person is asked"
                } else {
                    "it is taken back"
                };
                format!(
                    "{weight}: not decided yet, {} more at most, then {then}; {open}",
                    coarse((stage.pause + extend).saturating_sub(passed))
                )
            } else if on_undecided == OnUndecided::Ask {
                format!(
                    "{weight}: undecided, a person is asked, {person} more at most: {decide}; \
                     {open}"
                )
            } else {
                let message = format!(
                    "whether the candidate is good at {weight} could not be decided in {}: {open}",
                    seconds(passed)
                );
                let hint = if self.analysis.lock().await.as_ref().is_some_and(Analysis::is_away) {
                    "repair the source of the numbers and deploy again; `[analysis] extend` and \
                     `on_outage` say for how long, and whether, a stage waits for it"
                } else {
                    "more requests decide sooner: a longer `[analysis] extend`, a greater weight, \
                     or a greater `detect`"
                };
                return Err(Failure::Unknown {
                    fault: Fault::new(FaultKind::Undecided, message).hint(hint),
                });
            };
            self.waiting(index, message);
            self.world.clock.sleep(POLL).await;
        }
    }

    /// Watches while the deployment is paused between two steps. Ends only with what takes it back;
    /// dropped when the pause is over.
    pub(super) async fn watch_paused(&self, index: usize) -> Fault {
        loop {
            if let Err(failure) = self.look(index, None).await {
                return failure.fault().clone();
            }
            self.world.clock.sleep(super::watch::POLL).await;
        }
    }

    async fn begin_stage(&self) {
        self.begin_analysis().await;
        if let Some(analysis) = self.analysis.lock().await.as_mut() {
            analysis.begin_stage(self.world.clock.elapsed());
        }
    }

    /// Begins to measure with the candidate's first requests, where there is something to measure.
    pub(super) async fn begin_analysis(&self) {
        let now = self.world.clock.now();
        let mut analysis = self.analysis.lock().await;
        if analysis.is_none() {
            // The manifest has been judged; what it can't be is told in preflight.
            *analysis = self
                .plan
                .policy
                .analysis
                .as_ref()
                .and_then(|policy| Analysis::new(policy, now).ok());
        }
        if let Some(analysis) = analysis.as_mut() {
            analysis.begin(now, self.world.clock.elapsed());
        }
    }

    /// Reads what the release before did until it had no requests any more, where it still stands:
    /// what is stable is held against that.
    pub(super) async fn learn_of_before(&self, before: Option<&Standing>, until: Timestamp) {
        let Some(policy) = self.plan.policy.analysis.as_ref() else { return };
        let Ok(mut analysis) = Analysis::new(policy, self.world.clock.now()) else { return };
        let alone = |why: String| {
            self.waiting(0, format!("measures are held against their own limits alone: {why}"));
        };
        match before {
            None => alone("the release before is not kept".to_owned()),
            Some(standing) => {
                let (slot, release) = (Some(standing.slot), Some(standing.release));
                let before = crate::verdict::Subject {
                    slot,
                    release,
                    backends: standing.backends.clone(),
                    public_url: None,
                };
                let questions = analysis.survey(&before, until);
                let answers = join_all(questions.iter().map(|question| self.read(question))).await;
                for (check, found) in analysis.learn(&questions, &answers) {
                    match found {
                        Ok(_) => {}
                        Err(Unmeasurable::Away(fault)) => {
                            alone(format!("check `{}`: the source is away: {fault}", check.name));
                        }
                        Err(Unmeasurable::Wrong(message)) => {
                            alone(format!("check `{}`: {message}", check.name));
                        }
                    }
                }
            }
        }
        *self.analysis.lock().await = Some(analysis);
    }

    /// From here on nothing is there to compare with.
    pub(super) async fn measure_alone(&self) {
        self.begin_analysis().await;
        if let Some(analysis) = self.analysis.lock().await.as_mut() {
            analysis.alone();
        }
    }

    /// Takes a look at the measures where one is due, and tells how they stand. A look that is
    /// dropped half-way counts for nothing. `fallback`: what was asked of the checks that stand
    /// in during an outage; none where nothing stands in.
    pub(super) async fn look(
        &self,
        index: usize,
        fallback: Option<&mut Option<Asked>>,
    ) -> Result<Stand, Failure> {
        let mut analysis = self.analysis.lock().await;
        let Some(analysis) = analysis.as_mut() else { return Ok(Stand::default()) };
        let now = self.world.clock.now();
        let questions = analysis.questions(&self.sides(index), now, self.world.clock.elapsed());
        if !questions.is_empty() {
            let answers = join_all(questions.iter().map(|question| self.read(question))).await;
            for (check, verdict) in
                analysis.take(&questions, &answers, now, self.world.clock.elapsed())
            {
                self.world.observer.tell(Progress::Checked { check, backend: None, verdict });
            }
        }
        if let Some((check, tally)) = analysis.failed() {
            let reason = tally.last.as_ref().map(|last| last.reason.clone()).unwrap_or_default();
            let fault =
                Fault::new(FaultKind::Unhealthy, format!("analysis `{}`: {reason}", check.name));
            return Err(Failure::Unknown { fault });
        }
        let open = fallback.as_deref().and_then(|asked| asked.as_ref()).map(Asked::open);
        let stand = analysis.stand(open.as_deref());
        let Some(fallback) = fallback else { return Ok(stand) };
        if stand.fallback {
            let names = analysis.fallback();
            let asked = fallback.get_or_insert_with(|| {
                Asked::of(
                    self.plan.policy.checks.iter().filter(|check| names.contains(&check.name)),
                )
            });
            self.ask_due(index, asked).await?;
        } else {
            *fallback = None;
        }
        Ok(stand)
    }

    pub(super) async fn read(&self, question: &Question) -> Result<Reading, Fault> {
        let Question { query, wanted, subject, from, to, .. } = question;
        let answer = super::hands::with_deadline(
            self.world.clock,
            query.timeout,
            self.world.metrics.read(query, *wanted, subject, *from, *to),
        )
        .await;
        answer.unwrap_or_else(|| {
            Err(Fault::new(
                FaultKind::TimedOut,
                format!("`{}` did not answer within {}", query.plugin, seconds(query.timeout)),
            )
            .retryable())
        })
    }

    /// What stepping over an outage means for the outcome, since the last change of weight.
    pub(super) async fn outages(&self) -> Vec<String> {
        self.analysis
            .lock()
            .await
            .as_ref()
            .map(|analysis| analysis.outages().to_vec())
            .unwrap_or_default()
    }

    /// Says how what serves again after unwinding is; the checks of a promoted release are asked of
    /// it once.
    pub(super) async fn look_at_restored(&self) -> Vec<String> {
        let Some(stable) = &self.plan.stable else { return Vec::new() };
        let ask = async {
            let mut notes = Vec::new();
            for check in self.plan.policy.checks_at(CheckMoment::Validate) {
                let verdict = self
                    .ask(check, Some(stable.slot), Some(stable.release), &stable.backends)
                    .await;
                notes.push(format!(
                    "release {} again: check `{}` is {}: {}",
                    stable.release, check.name, verdict.kind, verdict.reason
                ));
            }
            notes
        };
        super::hands::with_deadline(self.world.clock, RESTORED_LIMIT, ask).await.unwrap_or_else(
            || {
                vec![format!(
                    "release {} serves again; its checks did not answer within {}",
                    stable.release,
                    seconds(RESTORED_LIMIT)
                )]
            },
        )
    }
}
