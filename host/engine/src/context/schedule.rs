//! Checks that are asked again and again, each at its own interval.

use super::StepContext;
use crate::fault::{Failure, Fault, FaultKind};
use crate::policy::CheckPolicy;
use crate::tally::Tally;
use crate::words::waits;
use std::time::Duration;

/// A check, its answers so far, and when it was asked last by the clock that only goes forward.
pub(crate) struct Scheduled {
    pub(crate) check: CheckPolicy,
    pub(crate) tally: Tally,
    asked: Option<Duration>,
}

impl Scheduled {
    /// Whether it is not healthy for long enough yet.
    pub(crate) fn is_open(&self) -> bool {
        !self.tally.is_healthy() || self.tally.healthy_in_row < self.check.healthy_after
    }

    pub(crate) fn waits(&self) -> String {
        waits(&self.check, &self.tally)
    }
}

/// Checks with when each is due.
pub(crate) struct Schedule {
    pub(crate) checks: Vec<Scheduled>,
}

impl Schedule {
    pub(crate) fn of<'p>(checks: impl Iterator<Item = &'p CheckPolicy>) -> Self {
        let scheduled = |check: &CheckPolicy| Scheduled {
            check: check.clone(),
            tally: Tally::default(),
            asked: None,
        };
        Self { checks: checks.map(scheduled).collect() }
    }

    /// What is not healthy for long enough yet.
    pub(crate) fn open(&self) -> Vec<String> {
        self.checks.iter().filter(|one| one.is_open()).map(Scheduled::waits).collect()
    }

    /// What does not say how it is, and matters.
    pub(crate) fn silent(&self) -> Vec<String> {
        let silent =
            |one: &&Scheduled| !one.check.report_only && one.tally.is_silent(&one.check.limits);
        self.checks.iter().filter(silent).map(Scheduled::waits).collect()
    }

    /// How long until the next check is due; none without checks.
    pub(crate) fn next(&self, now: Duration) -> Option<Duration> {
        let due = |one: &Scheduled| {
            one.asked.map_or(Duration::ZERO, |asked| {
                one.check.interval.saturating_sub(now.saturating_sub(asked))
            })
        };
        self.checks.iter().map(due).min()
    }
}

impl StepContext<'_> {
    /// Asks the checks that are due about the candidate. Unhealthy too often is a failure.
    pub(crate) async fn ask_due(&self, schedule: &mut Schedule) -> Result<(), Failure> {
        for Scheduled { check, tally, asked } in &mut schedule.checks {
            if asked.is_some_and(|asked| self.since(asked) < check.interval) {
                continue;
            }
            *asked = Some(self.ports.clock.elapsed());
            let slot = Some(self.deployment.slot);
            let release = Some(self.deployment.release.number);
            tally.count(self.ask(check, slot, release, &self.place.candidate).await);
            if !check.report_only && tally.unhealthy > check.limits.unhealthy {
                return Err(Failure::Unknown { fault: unhealthy(check, tally) });
            }
        }
        Ok(())
    }
}

/// The fault of a check that was unhealthy too often.
pub(crate) fn unhealthy(check: &CheckPolicy, tally: &Tally) -> Fault {
    let reason = tally.last.as_ref().map(|last| last.reason.clone()).unwrap_or_default();
    let times = tally.unhealthy;
    Fault::new(
        FaultKind::Unhealthy,
        format!(
            "check `{}` was unhealthy {times} times; the limit is {}: {reason}",
            check.name, check.limits.unhealthy
        ),
    )
}
