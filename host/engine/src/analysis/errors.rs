//! Failed requests of all requests, on both sides.

use super::counters::{Counters, Growth};
use super::{Readings, Unmeasurable, verdict};
use crate::names::Timestamp;
use crate::policy::Measure;
use crate::statistics::{
    Counts, ErrorTest, ErrorTestOptions, JudgementKind, LimitTest, Multiple, ParameterError,
    Proportion, upper_bound,
};
use crate::verdict::{Verdict, VerdictKind};

/// The two counters of one side.
#[derive(Debug, Default)]
struct Pair {
    errors: Counters,
    total: Counters,
    /// Errors whose requests are only counted at the next scrape.
    unpaired: u64,
    all: Counts,
}

/// What the candidate is held against.
#[derive(Debug)]
enum Against {
    /// The stable release beside it.
    Stable,
    /// What the stable release was, once that has no requests any more; none where nothing is known
    /// of it.
    Past(Option<LimitTest>),
}

/// What is known of a check's errors.
#[derive(Debug)]
pub(super) struct Errors {
    options: ErrorTestOptions,
    test: ErrorTest,
    against: Against,
    candidate: Pair,
    stable: Pair,
    in_stage: Counts,
}

impl Errors {
    pub(super) fn new(
        measure: &Measure,
        false_alarm: Proportion,
        missed: Proportion,
    ) -> Result<Self, ParameterError> {
        let mut options = ErrorTestOptions { false_alarm, missed, ..ErrorTestOptions::default() };
        if let Measure::Errors { max, max_ratio_to_stable, detect, .. } = measure {
            options.ratio = Multiple::new(*max_ratio_to_stable)?;
            options.margin = Proportion::new(*detect)?;
            options.limit = max.map(Proportion::new).transpose()?;
        }
        let test = ErrorTest::new(options);
        Ok(Self {
            options,
            test,
            against: Against::Stable,
            candidate: Pair::default(),
            stable: Pair::default(),
            in_stage: Counts::NONE,
        })
    }

    pub(super) fn begin_stage(&mut self) {
        self.test.begin_stage();
        self.in_stage = Counts::NONE;
    }

    /// What the stable release did before there was a candidate: what a candidate is held against
    /// where nothing runs beside it.
    pub(super) fn learn(
        &mut self,
        stable: Readings<'_>,
        origin: Timestamp,
    ) -> Result<String, Unmeasurable> {
        let mut before = Pair::default();
        let counts = before.advance(stable, origin, false);
        if !before.total.has_any() {
            return Err(Unmeasurable::Wrong(
                "`total` has no data for the stable release".to_owned(),
            ));
        }
        self.stable.all = self.stable.all.plus(counts);
        let none =
            if before.errors.has_any() { "" } else { "; `errors` has no series and counts as 0" };
        Ok(format!("{counts} requests of the stable release failed{none}"))
    }

    pub(super) fn alone(&mut self) {
        if matches!(self.against, Against::Past(_)) {
            return;
        }
        self.in_stage = Counts::NONE;
        let known = (self.stable.all.total() > 0).then(|| {
            let worst = upper_bound(self.stable.all, self.options.missed);
            worst * self.options.ratio.value() + self.options.margin.value()
        });
        let limit =
            known.into_iter().chain(self.options.limit.map(Proportion::value)).reduce(f64::min);
        self.against =
            Against::Past(limit.and_then(|limit| Proportion::new(limit).ok()).map(LimitTest::new));
    }

    /// Takes a look in and judges.
    pub(super) fn look(
        &mut self,
        candidate: Readings<'_>,
        stable: Option<Readings<'_>>,
        origin: Timestamp,
        now: Timestamp,
    ) -> Verdict {
        let counted = self.candidate.advance(candidate, origin, true);
        let beside = stable.map(|stable| self.stable.advance(stable, origin, false));
        self.in_stage = self.in_stage.plus(counted);
        match &mut self.against {
            Against::Stable => self.test.add(counted, beside),
            Against::Past(Some(limit)) => limit.add(counted),
            Against::Past(None) => {}
        }
        if let Some(silent) = self.candidate.silent("the candidate", now) {
            return silent;
        }
        if stable.is_some()
            && let Some(silent) = self.stable.silent("the stable side", now)
        {
            return silent;
        }
        if self.in_stage.total() == 0 {
            return verdict(VerdictKind::NoData, None, "the candidate has received no request yet");
        }
        let rate = self.in_stage.rate();
        let Against::Past(limit) = &self.against else {
            let judgement = self.test.judge();
            let kind = match judgement.kind {
                JudgementKind::Fail => VerdictKind::Unhealthy,
                JudgementKind::Pass => VerdictKind::Healthy,
                JudgementKind::Undecided => VerdictKind::Inconclusive,
            };
            return verdict(kind, rate, judgement.to_string());
        };
        let said = format!("{} requests failed", self.in_stage);
        match limit {
            None => verdict(
                VerdictKind::Healthy,
                rate,
                format!("{said}; there is no earlier rate to compare with, and `max` is not set"),
            ),
            Some(limit) if limit.rejects(self.options.false_alarm) => verdict(
                VerdictKind::Unhealthy,
                rate,
                format!(
                    "{said}: more than the previous release, or more than `max` (p = {:.2e})",
                    limit.p_value()
                ),
            ),
            Some(_) => verdict(VerdictKind::Healthy, rate, said),
        }
    }
}

impl Pair {
    /// Takes the readings of `errors` and `total` in.
    fn advance(&mut self, readings: Readings<'_>, origin: Timestamp, from_zero: bool) -> Counts {
        let [errors, total] = readings else { return Counts::NONE };
        let failed = whole(&self.errors.advance(errors, origin, from_zero)) + self.unpaired;
        let requests = whole(&self.total.advance(total, origin, from_zero));
        let paired = failed.min(requests);
        self.unpaired = failed - paired;
        let counts = Counts::new(paired, requests).unwrap_or(Counts::NONE);
        self.all = self.all.plus(counts);
        counts
    }

    /// The verdict where nothing, or nothing new, is known of this side.
    fn silent(&self, of: &str, now: Timestamp) -> Option<Verdict> {
        if !self.total.has_any() {
            return Some(verdict(
                VerdictKind::NoData,
                None,
                format!("`total` has no series for {of}"),
            ));
        }
        let age = self.total.stale(now)?;
        Some(verdict(
            VerdictKind::NoData,
            None,
            format!("the newest sample for {of} is {} s old", age.as_secs()),
        ))
    }
}

/// Counters count whole things; a source that scales them is rounded.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a growth is never negative, and far below 2^53"
)]
pub(super) fn whole(growth: &Growth) -> u64 {
    growth.total().round() as u64
}
