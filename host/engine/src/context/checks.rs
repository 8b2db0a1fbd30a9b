//! Asking one check, and waiting until backends have passed theirs.

use super::StepContext;
use crate::fault::{Failure, Fault, FaultKind};
use crate::names::ReleaseNumber;
use crate::policy::{CheckMoment, CheckOf, CheckPolicy};
use crate::ports::{BackendState, Progress};
use crate::route::{Backend, Slot};
use crate::step::StepOutput;
use crate::tally::Tally;
use crate::verdict::{Subject, Verdict, VerdictKind};
use crate::words::{count, describe, span, unhappy_first, waits};
use futures_util::future::join_all;
use std::time::Duration;

/// How often a backend without checks is looked at.
const POLL: Duration = Duration::from_millis(100);

/// A backend that has restarted this often while we wait for it is not going to be healthy.
const CRASH_LOOP_RESTARTS: u32 = 3;

/// How long a backend without any check must have run.
const SETTLED: Duration = Duration::from_secs(1);

/// How long the shortest wait between two rounds of questions is.
const BREATH: Duration = Duration::from_millis(10);

impl StepContext<'_> {
    /// Asks one check of everything it is about. The worst answer counts: unhealthy, then errored,
    /// no-data, inconclusive.
    pub(crate) async fn ask(
        &self,
        check: &CheckPolicy,
        slot: Option<Slot>,
        release: Option<ReleaseNumber>,
        backends: &[Backend],
    ) -> Verdict {
        let subjects = self.subjects(check, slot, release, backends);
        let verdicts = join_all(subjects.iter().map(|(backend, subject)| async move {
            let asked = self.within(check.timeout, self.ports.checks.check(check, subject)).await;
            let verdict = asked.unwrap_or_else(|| Verdict {
                kind: VerdictKind::Errored,
                value: None,
                reason: format!("no answer within {}", span(check.timeout)),
            });
            self.tell(Progress::Checked {
                check: check.name.clone(),
                backend: backend.map(|backend| backend.id.clone()),
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
            reason: "there was nothing to check".to_owned(),
        };
        verdicts.into_iter().max_by_key(severity).unwrap_or(nothing)
    }

    /// What a check is asked about, one by one; with the backend, where it is about one.
    fn subjects<'b>(
        &self,
        check: &CheckPolicy,
        slot: Option<Slot>,
        release: Option<ReleaseNumber>,
        backends: &'b [Backend],
    ) -> Vec<(Option<&'b Backend>, Subject)> {
        let url = || self.deployment.policy.probe.as_ref().map(|probe| probe.url.clone());
        match check.of {
            CheckOf::Backends => backends
                .iter()
                .map(|backend| {
                    let backends = vec![backend.clone()];
                    (Some(backend), Subject { slot, release, backends, public_url: None })
                })
                .collect(),
            CheckOf::Public => {
                vec![(None, Subject { slot, release, backends: Vec::new(), public_url: url() })]
            }
            CheckOf::Dependency => {
                let subject =
                    Subject { slot: None, release: None, backends: Vec::new(), public_url: None };
                vec![(None, subject)]
            }
        }
    }

    /// The checks of a moment, none of them asked yet.
    pub(crate) fn checks_at(&self, moment: CheckMoment) -> Vec<(CheckPolicy, Tally)> {
        let checks = self.deployment.policy.checks_at(moment);
        checks.map(|check| (check.clone(), Tally::default())).collect()
    }

    /// How long to wait until these checks are asked again.
    pub(crate) fn interval(checks: &[(CheckPolicy, Tally)]) -> Duration {
        checks.iter().map(|(check, _)| check.interval).min().unwrap_or(POLL)
    }

    /// Waits until each backend runs and has passed each check; the caller limits the time.
    pub(crate) async fn await_healthy(
        &self,
        slot: Slot,
        release: ReleaseNumber,
        backends: &[Backend],
    ) -> Result<StepOutput, Failure> {
        let mut checks = self.checks_at(CheckMoment::Ready);
        let began = self.ports.clock.elapsed();
        loop {
            let round = self.ports.clock.elapsed();
            let (mut open, settled) = self.not_running(backends).await?;
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
                        "no readiness checks; waiting until each has run for {}",
                        span(SETTLED)
                    ));
                }
            }
            if open.is_empty() {
                return Ok(StepOutput::note(format!(
                    "{slot} healthy after {}: {}, {}",
                    span(self.since(began)),
                    count(backends.len(), "backend"),
                    count(checks.len(), "check")
                )));
            }
            self.waiting(open.join("; "));
            let interval = Self::interval(&checks).saturating_sub(self.since(round));
            self.ports.clock.sleep(interval.max(BREATH)).await;
        }
    }

    /// Which backends do not run yet, and whether those that do have run for long enough. One that
    /// will never run is a failure.
    async fn not_running(&self, backends: &[Backend]) -> Result<(Vec<String>, bool), Failure> {
        let mut waiting = Vec::new();
        let mut settled = true;
        for backend in backends {
            let state = self.ports.runtime.inspect(backend).await;
            let state = state.map_err(|fault| Failure::Unknown { fault })?;
            match &state {
                BackendState::Running { since, healthy, restarts }
                    if *restarts < CRASH_LOOP_RESTARTS =>
                {
                    settled &= self.ports.clock.now().since(*since) >= SETTLED;
                    if *healthy == Some(false) {
                        waiting.push(format!(
                            "{}: its own health check is not passing yet",
                            backend.id
                        ));
                    }
                }
                BackendState::Starting { restarts, .. } if *restarts < CRASH_LOOP_RESTARTS => {
                    waiting.push(format!("{} is {}", backend.id, describe(&state)));
                }
                BackendState::Absent
                | BackendState::Starting { .. }
                | BackendState::Running { .. }
                | BackendState::Ended { .. } => {
                    let message = format!("{} is {}", backend.id, describe(&state));
                    let fault = Fault {
                        causes: self.last_words(backends).await,
                        ..Fault::new(FaultKind::Unhealthy, message)
                    };
                    return Err(Failure::Unknown { fault });
                }
            }
        }
        Ok((waiting, settled))
    }
}
