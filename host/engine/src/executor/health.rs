//! Asking checks: before the candidate takes requests, after the shift, and while it bakes.

use super::analyze::Asked;
use super::hands::{Hands, with_deadline};
use super::seconds;
use super::shift::describe;
use crate::fault::{Failure, Fault, FaultKind};
use crate::names::ReleaseNumber;
use crate::plan::DeploymentKind;
use crate::policy::{CheckMoment, CheckOf, CheckPolicy};
use crate::ports::{BackendState, Progress};
use crate::route::{Backend, Routes, Slot};
use crate::step::StepOutput;
use crate::tally::Tally;
use crate::verdict::{Subject, Verdict, VerdictKind};
use futures_util::future::join_all;
use std::time::Duration;

/// How often a backend without checks is looked at.
const POLL: Duration = Duration::from_millis(100);

/// A backend that has restarted this often while we wait for it is not going to be healthy.
const CRASH_LOOP_RESTARTS: u32 = 3;

/// How long a backend without any check must have run.
const SETTLED: Duration = Duration::from_secs(1);

impl Hands<'_> {
    /// Asks one check of everything it is about. The worst answer counts: unhealthy, then errored,
    /// no-data, inconclusive.
    pub(super) async fn ask(
        &self,
        check: &CheckPolicy,
        slot: Option<Slot>,
        release: Option<ReleaseNumber>,
        backends: &[Backend],
    ) -> Verdict {
        let url = self.plan.policy.probe.as_ref().map(|probe| probe.url.clone());
        let subjects: Vec<(Option<&Backend>, Subject)> = match check.of {
            CheckOf::Backends => backends
                .iter()
                .map(|backend| {
                    (
                        Some(backend),
                        Subject {
                            slot,
                            release,
                            backends: vec![backend.clone()],
                            public_url: None,
                        },
                    )
                })
                .collect(),
            CheckOf::Public => {
                vec![(None, Subject { slot, release, backends: Vec::new(), public_url: url })]
            }
            CheckOf::Dependency => vec![(
                None,
                Subject { slot: None, release: None, backends: Vec::new(), public_url: None },
            )],
        };
        let verdicts = join_all(subjects.iter().map(|(backend, subject)| async move {
            let asked = with_deadline(
                self.world.clock,
                check.timeout,
                self.world.checks.check(check, subject),
            )
            .await;
            let verdict = asked.unwrap_or_else(|| Verdict {
                kind: VerdictKind::Errored,
                value: None,
                reason: format!("no answer within {}", seconds(check.timeout)),
            });
            let backend = backend.map(|backend| backend.id.clone());
            self.world.observer.tell(Progress::Checked {
                check: check.name.clone(),
                backend,
                verdict: verdict.clone(),
            });
            verdict
        }))
        .await;
        let severity = |verdict: &Verdict| match verdict.kind {
            VerdictKind::Healthy => 0,
            VerdictKind::Inconclusive => 1,
            VerdictKind::NoData => 2,
            VerdictKind::Errored => 3,
            VerdictKind::Unhealthy => 4,
        };
        let nothing = Verdict {
            kind: VerdictKind::NoData,
            value: None,
            reason: "there was nothing to ask".to_owned(),
        };
        verdicts.into_iter().max_by_key(severity).unwrap_or(nothing)
    }

    /// Asks everything that is asked before anything is touched; one line each.
    pub(super) async fn ask_preflight(&self) -> Vec<(CheckPolicy, Option<Verdict>)> {
        let stable = self.plan.stable.as_ref();
        let mut answers = Vec::new();
        if self.in_a_hurry() {
            return answers;
        }
        for check in self.plan.policy.checks_at(CheckMoment::Preflight) {
            let verdict = match (&check.of, stable) {
                (CheckOf::Dependency, _) => Some(self.ask(check, None, None, &[]).await),
                (CheckOf::Backends | CheckOf::Public, Some(stable)) => Some(
                    self.ask(check, Some(stable.slot), Some(stable.release), &stable.backends)
                        .await,
                ),
                (CheckOf::Backends | CheckOf::Public, None) => None, /* A first deployment has
                                                                      * nothing that serves. */
            };
            answers.push((check.clone(), verdict));
        }
        answers
    }

    /// Whether somebody goes back to a side that still stands: what is stable is likely to be bad,
    /// and what else is down must not hold that up.
    fn in_a_hurry(&self) -> bool {
        self.plan.kind == DeploymentKind::Rollback { fast: true }
    }

    /// Asks of the stable release what the candidate will be asked before it takes requests, once.
    pub(super) async fn ask_stable(&self) -> Vec<(CheckPolicy, Verdict)> {
        let Some(stable) = self.plan.stable.as_ref().filter(|_| !self.in_a_hurry()) else {
            return Vec::new();
        };
        let mut answers = Vec::new();
        let asked = |check: &&CheckPolicy| {
            check.of == CheckOf::Backends && !check.when.contains(&CheckMoment::Preflight)
        };
        for check in self.plan.policy.checks_at(CheckMoment::Ready).filter(asked) {
            let verdict =
                self.ask(check, Some(stable.slot), Some(stable.release), &stable.backends).await;
            answers.push((check.clone(), verdict));
        }
        answers
    }

    /// Waits until each backend runs and has passed each check; the caller limits the time.
    pub(super) async fn await_healthy(
        &self,
        index: usize,
        slot: Slot,
        release: ReleaseNumber,
        backends: &[Backend],
    ) -> Result<StepOutput, Failure> {
        let kind = crate::step::StepKind::AwaitHealthy { slot, backends: backends.to_vec() };
        let mut checks: Vec<(CheckPolicy, Tally)> = self
            .plan
            .policy
            .checks_at(CheckMoment::Ready)
            .map(|check| (check.clone(), Tally::default()))
            .collect();
        let began = self.world.clock.elapsed();
        loop {
            let round = self.world.clock.elapsed();
            let mut not_running = Vec::new();
            let mut settled = true;
            for backend in backends {
                let state = self
                    .world
                    .runtime
                    .inspect(backend)
                    .await
                    .map_err(|fault| Failure::Unknown { fault })?;
                match &state {
                    BackendState::Running { since, healthy, restarts }
                        if *restarts < CRASH_LOOP_RESTARTS =>
                    {
                        settled &= self.world.clock.now().since(*since) >= SETTLED;
                        if *healthy == Some(false) {
                            not_running.push(format!(
                                "{}: its own health check does not pass yet",
                                backend.id
                            ));
                        }
                    }
                    BackendState::Starting { restarts, .. } if *restarts < CRASH_LOOP_RESTARTS => {
                        not_running.push(format!("{} is {}", backend.id, describe(&state)));
                    }
                    BackendState::Absent
                    | BackendState::Starting { .. }
                    | BackendState::Running { .. }
                    | BackendState::Ended { .. } => {
                        let message = format!("{} is {}", backend.id, describe(&state));
                        let fault = Fault {
                            causes: self.evidence(&kind).await,
                            ..Fault::new(FaultKind::Unhealthy, message)
                        };
                        return Err(Failure::Unknown { fault });
                    }
                }
            }
            let mut open = not_running;
            if open.is_empty() {
                for (check, tally) in &mut checks {
                    let verdict = self.ask(check, Some(slot), Some(release), backends).await;
                    tally.count(verdict);
                    if tally.healthy_in_row < check.healthy_after && !check.report_only {
                        open.push(waits(check, tally));
                    }
                }
                open = unhappy_first(open, &checks);
                // Running is all there is to see, so it must have lasted.
                if checks.is_empty() && !settled {
                    open.push(format!(
                        "no check to ask; waiting until each has run for {}",
                        seconds(SETTLED)
                    ));
                }
            }
            if open.is_empty() {
                let took = seconds(self.world.clock.elapsed().saturating_sub(began));
                let count = |many: usize, noun: &str| {
                    format!("{many} {noun}{}", if many == 1 { "" } else { "s" })
                };
                let what = format!(
                    "{}, {}",
                    count(backends.len(), "backend"),
                    count(checks.len(), "check")
                );
                return Ok(StepOutput::note(format!("{slot} healthy after {took}: {what}")));
            }
            self.waiting(index, open.join("; "));
            let interval = checks.iter().map(|(check, _)| check.interval).min().unwrap_or(POLL);
            self.world
                .clock
                .sleep(
                    interval
                        .saturating_sub(self.world.clock.elapsed().saturating_sub(round))
                        .max(Duration::from_millis(10)),
                )
                .await;
        }
    }

    /// One more look before requests move: what was proved may have died since. Sides that served
    /// before are not judged again.
    pub(super) async fn still_ready(&self, after: &Routes) -> Result<(), Failure> {
        // Wherever they stand: a split by number puts them into the stable side's pool.
        let about: Vec<Backend> = self
            .plan
            .backends
            .iter()
            .filter(|backend| after.reaches(&backend.id))
            .cloned()
            .collect();
        if about.is_empty() {
            return Ok(());
        }
        for backend in &about {
            let state = self
                .world
                .runtime
                .inspect(backend)
                .await
                .map_err(|fault| Failure::Refused { fault })?;
            if !matches!(state, BackendState::Running { .. }) {
                let message =
                    format!("{} passed its checks and is now {}", backend.id, describe(&state));
                return Err(Failure::Refused { fault: Fault::new(FaultKind::Unhealthy, message) });
            }
        }
        for check in
            self.plan.policy.checks_at(CheckMoment::Ready).filter(|check| !check.report_only)
        {
            let mut unhealthy = 0;
            loop {
                let verdict = self
                    .ask(check, Some(self.plan.slot), Some(self.plan.release.number), &about)
                    .await;
                match verdict.kind {
                    VerdictKind::Healthy => break,
                    VerdictKind::Unhealthy => unhealthy += 1,
                    // Not an answer about the candidate: asked again until the step's limit.
                    VerdictKind::Errored | VerdictKind::NoData | VerdictKind::Inconclusive => {}
                }
                if unhealthy > check.limits.unhealthy {
                    let message = format!(
                        "check `{}` passed before and now says: {}",
                        check.name, verdict.reason
                    );
                    return Err(Failure::Refused {
                        fault: Fault::new(FaultKind::Unhealthy, message),
                    });
                }
                self.world.clock.sleep(check.interval).await;
            }
        }
        Ok(())
    }

    /// Asks the checks of what now serves until each is healthy, or one is unhealthy too often; the
    /// caller limits the time.
    pub(super) async fn validate(&self, index: usize, slot: Slot) -> Result<StepOutput, Failure> {
        let mut checks: Vec<(CheckPolicy, Tally)> = self
            .plan
            .policy
            .checks_at(CheckMoment::Validate)
            .map(|check| (check.clone(), Tally::default()))
            .collect();
        loop {
            let mut open = Vec::new();
            for (check, tally) in &mut checks {
                if tally.healthy_in_row >= check.healthy_after {
                    continue;
                }
                let verdict = self
                    .ask(check, Some(slot), Some(self.plan.release.number), &self.plan.backends)
                    .await;
                tally.count(verdict);
                if check.report_only {
                    continue;
                }
                if tally.unhealthy > check.limits.unhealthy {
                    return Err(Failure::Unknown { fault: unhealthy(check, tally) });
                }
                if tally.healthy_in_row < check.healthy_after {
                    open.push(waits(check, tally));
                }
            }
            if open.is_empty() {
                let mut notes = vec![format!(
                    "{} of {} checks healthy",
                    checks.iter().filter(|(_, tally)| tally.is_healthy()).count(),
                    checks.len()
                )];
                notes.extend(checks.iter().map(|(check, tally)| summary(check, tally)));
                return Ok(StepOutput { notes, ..StepOutput::default() });
            }
            self.waiting(index, unhappy_first(open, &checks).join("; "));
            let interval = checks.iter().map(|(check, _)| check.interval).min().unwrap_or(POLL);
            self.world.clock.sleep(interval).await;
        }
    }

    /// Watches the promoted release. Unhealthy takes it back; a check that does not answer is
    /// waited for as long again, then reported.
    pub(super) async fn bake(
        &self,
        index: usize,
        duration: Duration,
    ) -> Result<StepOutput, Failure> {
        let mut asked = Asked::of(self.plan.policy.checks_at(CheckMoment::Bake));
        let began = self.world.clock.elapsed();
        // Another process has read what the release before did, and is gone.
        if self.analysis.lock().await.is_none() && self.plan.stable.is_some() {
            self.learn_of_before(self.plan.stable.as_ref(), self.plan.created).await;
        }
        self.measure_alone().await;
        let mut fallback = None;
        loop {
            self.still_runs(index).await?;
            self.ask_due(index, &mut asked).await?;
            let stand = self.look(index, Some(&mut fallback)).await?;
            let passed = self.world.clock.elapsed().saturating_sub(began);
            let silent: Vec<String> = asked
                .checks
                .iter()
                .filter(|(check, tally, _)| !check.report_only && tally.is_silent(&check.limits))
                .map(|(check, tally, _)| waits(check, tally))
                .chain(stand.open)
                .collect();
            let patience = if silent.is_empty() { duration } else { duration.saturating_mul(2) };
            if passed >= patience {
                let mut notes = vec![format!("baked for {}", seconds(passed))];
                notes.extend(silent.iter().map(|open| format!("not confirmed, {open}")));
                notes.extend(self.outages().await);
                return Ok(StepOutput { notes, ..StepOutput::default() });
            }
            let left = patience.saturating_sub(passed);
            let next = asked
                .checks
                .iter()
                .map(|(check, _, at)| {
                    at.map_or(Duration::ZERO, |at| {
                        check.interval.saturating_sub(self.world.clock.elapsed().saturating_sub(at))
                    })
                })
                .min()
                .unwrap_or(POLL * 5);
            self.world
                .clock
                .sleep(
                    next.clamp(Duration::from_millis(10), POLL * 5)
                        .min(left.max(Duration::from_millis(1))),
                )
                .await;
        }
    }
}

/// What a wait is told to wait for: what is not healthy; where all are, how far they are.
fn unhappy_first(open: Vec<String>, checks: &[(CheckPolicy, Tally)]) -> Vec<String> {
    let unhappy: Vec<String> = checks
        .iter()
        .filter(|(check, tally)| !check.report_only && !tally.is_healthy())
        .map(|(check, tally)| waits(check, tally))
        .collect();
    let row = checks
        .iter()
        .filter(|(check, _)| !check.report_only)
        .map(|(_, tally)| tally.healthy_in_row)
        .min()
        .unwrap_or_default();
    match (unhappy.is_empty(), open.len()) {
        (true, 0) => open,
        (true, _) => vec![format!("all checks are healthy; answers in a row so far: {row}")],
        (false, _) => unhappy,
    }
}

pub(super) fn waits(check: &CheckPolicy, tally: &Tally) -> String {
    match &tally.last {
        None => format!("check `{}` was not asked yet", check.name),
        Some(last) if last.kind == VerdictKind::Healthy => {
            format!(
                "check `{}` is healthy {} of {} times in a row",
                check.name, tally.healthy_in_row, check.healthy_after
            )
        }
        Some(last) => format!("check `{}` is {}: {}", check.name, last.kind, last.reason),
    }
}

pub(super) fn summary(check: &CheckPolicy, tally: &Tally) -> String {
    let last = tally
        .last
        .as_ref()
        .map(|last| format!("{}: {}", last.kind, last.reason))
        .unwrap_or_default();
    let report_only = if check.report_only { " (report only)" } else { "" };
    format!("check `{}`{report_only} {last}", check.name)
}

pub(super) fn unhealthy(check: &CheckPolicy, tally: &Tally) -> Fault {
    let reason = tally.last.as_ref().map(|last| last.reason.clone()).unwrap_or_default();
    let times = tally.unhealthy;
    Fault::new(
        FaultKind::Unhealthy,
        format!(
            "check `{}` was unhealthy {times} times and the limit is {}: {reason}",
            check.name, check.limits.unhealthy
        ),
    )
}
