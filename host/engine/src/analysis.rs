//! Analysis: measures of the candidate beside the stable release become verdicts. Pure; the
//! executor reads what the questions ask for.
//!
//! Invariants: a look is taken in whole or not at all, so that one that is interrupted loses
//! nothing; an outage, a lack of data and a lack of evidence are never good and never bad.

mod counters;
mod errors;
mod latency;
mod value;

use crate::fault::Fault;
use crate::names::Timestamp;
use crate::policy::{AnalysisCheck, AnalysisPolicy, Measure, OnOutage};
use crate::ports::{MetricQuery, Reading, Wanted};
use crate::statistics::{ParameterError, Proportion};
use crate::tally::Tally;
use crate::verdict::{Subject, Verdict, VerdictKind};
use std::time::Duration;

/// How far before a window is read as well: the last sample before it is where counters are counted
/// from.
pub(crate) const MARGIN: Duration = Duration::from_mins(1);

/// How old the newest sample that is asked for must be, so that all of a scrape is there.
const SETTLED: Duration = Duration::from_millis(500);

/// The two sides that are compared.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Sides {
    pub(crate) candidate: Subject,
    /// None before anything is stable, and once it has no requests any more.
    pub(crate) stable: Option<Subject>,
}

/// Which side a question is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Candidate,
    Stable,
}

/// What a look has to read.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Question {
    check: usize,
    side: Side,
    pub(crate) query: MetricQuery,
    pub(crate) wanted: Wanted,
    pub(crate) subject: Subject,
    pub(crate) from: Timestamp,
    pub(crate) to: Timestamp,
}

/// How a stage stands.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Stand {
    /// What is not yet passed, a sentence each; empty where all is.
    pub(crate) open: Vec<String>,
    /// What was measured, a sentence each.
    pub(crate) notes: Vec<String>,
    /// Whether all measures have earned an end before the pause is over.
    pub(crate) early: bool,
    /// Whether more waiting is not wanted.
    pub(crate) undecided: bool,
    /// Whether the fallback's checks are to be asked.
    pub(crate) fallback: bool,
}

/// Why preflight finds that something can't be measured.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Unmeasurable {
    /// The source is away.
    Away(Fault),
    /// The query, the limit or the data is not as it must be; in words.
    Wrong(String),
}

/// The readings of one check and side, in the order of its queries.
pub(super) type Readings<'r> = &'r [Reading];

/// What is measured in one check.
#[derive(Debug)]
enum State {
    Errors(Box<errors::Errors>),
    Latency(Box<latency::Latency>),
    Value,
}

#[derive(Debug)]
struct Measured {
    check: AnalysisCheck,
    /// Up to when its source was read: one that is away must not make the others read all of that
    /// time again.
    read_until: Timestamp,
    tally: Tally,
    state: State,
}

/// All measures of one deployment, from the candidate's first weight on.
#[derive(Debug)]
pub(crate) struct Analysis {
    policy: AnalysisPolicy,
    origin: Timestamp,
    /// By the clock that only goes forward.
    next_look: Duration,
    checks: Vec<Measured>,
    /// Whether the candidate has requests.
    begun: bool,
    /// Whether it has all of them.
    alone: bool,
    /// Which outages were stepped over since the last change of weight, for the outcome.
    outages: Vec<String>,
}

impl Analysis {
    /// Begins to measure at `now`.
    ///
    /// # Errors
    ///
    /// A limit or a rate outside what it can be.
    pub(crate) fn new(policy: &AnalysisPolicy, now: Timestamp) -> Result<Self, ParameterError> {
        let deciding = policy.checks.iter().filter(|check| !check.report_only).count().max(1);
        let parts = u32::try_from(deciding).unwrap_or(u32::MAX);
        let false_alarm = Proportion::new(policy.false_alarm)?.split(parts);
        let missed = Proportion::new(policy.missed)?;
        let checks = policy.checks.iter().map(|check| {
            let state = match &check.measure {
                Measure::Errors { .. } => State::Errors(Box::new(errors::Errors::new(
                    &check.measure,
                    false_alarm,
                    missed,
                )?)),
                Measure::Latency { .. } => State::Latency(Box::new(latency::Latency::new(
                    &check.measure,
                    false_alarm,
                    missed,
                )?)),
                Measure::Value { .. } => State::Value,
            };
            Ok(Measured { check: check.clone(), read_until: now, tally: Tally::default(), state })
        });
        let checks = checks.collect::<Result<Vec<_>, ParameterError>>()?;
        Ok(Self {
            policy: policy.clone(),
            origin: now,
            next_look: Duration::ZERO,
            checks,
            begun: false,
            alone: false,
            outages: Vec::new(),
        })
    }

    /// Begins to count, with the candidate's first requests; once. `elapsed` is the same moment by
    /// the clock that only goes forward, here and below.
    pub(crate) fn begin(&mut self, now: Timestamp, elapsed: Duration) {
        if std::mem::replace(&mut self.begun, true) {
            return;
        }
        self.origin = now;
        for measured in &mut self.checks {
            measured.read_until = now;
        }
        self.next_look = elapsed + self.policy.initial_delay;
    }

    /// The weight has changed: what passes a stage is earned anew. What speaks against the
    /// candidate is kept.
    pub(crate) fn begin_stage(&mut self, elapsed: Duration) {
        self.next_look = self.next_look.max(elapsed + self.policy.initial_delay);
        self.outages.clear();
        for measured in &mut self.checks {
            measured.tally = Tally { unhealthy: measured.tally.unhealthy, ..Tally::default() };
            match &mut measured.state {
                State::Errors(errors) => errors.begin_stage(),
                State::Latency(latency) => latency.begin_stage(),
                State::Value => {}
            }
        }
    }

    /// What preflight reads of the stable release.
    pub(crate) fn survey(&self, stable: &Subject, now: Timestamp) -> Vec<Question> {
        let back = |age: Duration| {
            Timestamp(now.0.saturating_sub(u64::try_from(age.as_millis()).unwrap_or(u64::MAX)))
        };
        let (from, to) = (back(self.policy.lookback), back(SETTLED));
        let checks = self.checks.iter().enumerate();
        let questions = checks.flat_map(|(index, measured)| {
            measured
                .check
                .measure
                .queries()
                .into_iter()
                .map(move |(query, wanted)| (index, query, wanted))
        });
        questions
            .map(|(check, query, wanted)| Question {
                check,
                side: Side::Stable,
                query: query.clone(),
                wanted,
                subject: stable.clone(),
                from,
                to,
            })
            .collect()
    }

    /// What is to be read now; nothing where no look is due.
    pub(crate) fn questions(
        &self,
        sides: &Sides,
        now: Timestamp,
        elapsed: Duration,
    ) -> Vec<Question> {
        if elapsed < self.next_look {
            return Vec::new();
        }
        let before = |at: Timestamp, age: Duration| {
            Timestamp(at.0.saturating_sub(u64::try_from(age.as_millis()).unwrap_or_default()))
        };
        let to = before(now, SETTLED);
        let mut questions = Vec::new();
        for (index, measured) in self.checks.iter().enumerate() {
            // The clock on the wall may have been set back.
            let from = before(measured.read_until.min(now), MARGIN);
            let both = [
                (Side::Candidate, Some(&sides.candidate)),
                (Side::Stable, sides.stable.as_ref().filter(|_| !self.alone)),
            ];
            for (side, subject) in
                both.into_iter().filter_map(|(side, subject)| Some((side, subject?)))
            {
                for (query, wanted) in measured.check.measure.queries() {
                    questions.push(Question {
                        check: index,
                        side,
                        query: query.clone(),
                        wanted,
                        subject: subject.clone(),
                        from,
                        to,
                    });
                }
            }
        }
        questions
    }

    /// Takes the answers of a look in, in the order of its questions, and gives each check's
    /// verdict.
    pub(crate) fn take(
        &mut self,
        questions: &[Question],
        answers: &[Result<Reading, Fault>],
        now: Timestamp,
        elapsed: Duration,
    ) -> Vec<(String, Verdict)> {
        self.next_look = elapsed + self.policy.interval;
        let mut verdicts = Vec::new();
        for (index, measured) in self.checks.iter_mut().enumerate() {
            let mut sides = [Vec::new(), Vec::new()];
            let mut fault = None;
            for (question, answer) in
                questions.iter().zip(answers).filter(|(question, _)| question.check == index)
            {
                match (answer, question.side) {
                    (Ok(reading), Side::Candidate) => sides[0].push(reading.clone()),
                    (Ok(reading), Side::Stable) => sides[1].push(reading.clone()),
                    (Err(found), _) => fault = fault.or(Some(found)),
                }
            }
            let [candidate, stable] = sides;
            let stable = questions
                .iter()
                .any(|question| question.check == index && question.side == Side::Stable)
                .then_some(stable.as_slice());
            let doubt = candidate
                .iter()
                .chain(stable.into_iter().flatten())
                .find_map(|reading| reading.doubts.first());
            let verdict = match (fault, doubt) {
                (Some(fault), _) => verdict(
                    VerdictKind::Errored,
                    None,
                    format!("the metrics source can't be read: {fault}"),
                ),
                (None, Some(doubt)) => verdict(
                    VerdictKind::Inconclusive,
                    None,
                    format!("the data is not reliable: {doubt}"),
                ),
                (None, None) => {
                    measured.read_until = now;
                    match &mut measured.state {
                        State::Errors(errors) => errors.look(&candidate, stable, self.origin, now),
                        State::Latency(latency) => {
                            latency.look(&candidate, stable, self.origin, now)
                        }
                        State::Value => value::look(&measured.check.measure, &candidate, stable),
                    }
                }
            };
            measured.tally.count(verdict.clone());
            verdicts.push((measured.check.name.clone(), verdict));
        }
        verdicts
    }

    /// The check that takes the candidate back, if one does.
    pub(crate) fn failed(&self) -> Option<(&AnalysisCheck, &Tally)> {
        let failed = |measured: &&Measured| {
            !measured.check.report_only
                && measured.tally.unhealthy > measured.check.limits.unhealthy
        };
        self.checks.iter().find(failed).map(|measured| (&measured.check, &measured.tally))
    }

    /// How the stage stands. `fallback_open`: what the fallback's checks still wait for, where they
    /// stand in; none while they were not asked.
    pub(crate) fn stand(&mut self, fallback_open: Option<&[String]>) -> Stand {
        let mut stand = Stand { early: !self.checks.is_empty(), ..Stand::default() };
        for measured in &self.checks {
            let (check, tally) = (&measured.check, &measured.tally);
            let described = match &tally.last {
                None => format!("check `{}` has not been evaluated at this weight yet", check.name),
                Some(last) => format!("check `{}` is {}: {}", check.name, last.kind, last.reason),
            };
            if check.report_only {
                stand.notes.push(format!("{described} (report only)"));
                continue;
            }
            let needed = match &check.measure {
                Measure::Value { count, .. } => *count,
                Measure::Errors { .. } | Measure::Latency { .. } => 1,
            };
            if tally.is_healthy() && tally.healthy_in_row >= needed {
                stand.early &=
                    check.consecutive_success.is_some_and(|enough| tally.healthy_in_row >= enough);
                stand.notes.push(described);
                continue;
            }
            stand.early = false;
            if tally.is_away(&check.limits) && !check.required {
                match self.policy.on_outage {
                    OnOutage::Hold => {}
                    OnOutage::GoOn => {
                        let note = format!(
                            "continued without check `{}`: its source was unavailable",
                            check.name
                        );
                        stand.notes.push(described);
                        if !self.outages.contains(&note) {
                            self.outages.push(note);
                        }
                        continue;
                    }
                    OnOutage::Fallback => {
                        stand.fallback = true;
                        match fallback_open {
                            Some([]) => {
                                let note = format!(
                                    "check `{}` was replaced by {} (weaker): its source was \
                                    unavailable",
                                    check.name,
                                    self.policy.fallback.join(", ")
                                );
                                if !self.outages.contains(&note) {
                                    self.outages.push(note);
                                }
                                stand.notes.push(described);
                                continue;
                            }
                            Some(open) => stand.open.extend(open.iter().cloned()),
                            None => {}
                        }
                    }
                }
            }
            stand.undecided |= tally.is_undecided(&check.limits);
            stand.open.push(described);
        }
        stand
    }

    /// Whether a source is away that a deciding check asks.
    pub(crate) fn is_away(&self) -> bool {
        self.checks.iter().any(|measured| {
            !measured.check.report_only && measured.tally.is_away(&measured.check.limits)
        })
    }

    /// What the outcome must say about outages.
    pub(crate) fn outages(&self) -> &[String] {
        &self.outages
    }

    /// The names of the checks that stand in during an outage.
    pub(crate) fn fallback(&self) -> &[String] {
        &self.policy.fallback
    }

    /// Takes what preflight read of the stable release in, in the order of its questions: what a
    /// candidate alone is held against later. Gives what was found of each check: good, or why
    /// it can't be measured.
    pub(crate) fn learn(
        &mut self,
        questions: &[Question],
        answers: &[Result<Reading, Fault>],
    ) -> Vec<(AnalysisCheck, Result<String, Unmeasurable>)> {
        let mut found = Vec::new();
        for (index, measured) in self.checks.iter_mut().enumerate() {
            let mut of_check =
                questions.iter().zip(answers).filter(|(question, _)| question.check == index);
            let readings: Result<Vec<Reading>, Unmeasurable> =
                of_check.try_fold(Vec::new(), |mut all, (_, answer)| match answer {
                    Ok(reading) => {
                        all.push(reading.clone());
                        Ok(all)
                    }
                    Err(fault) if fault.retryable => Err(Unmeasurable::Away(fault.clone())),
                    Err(fault) => Err(Unmeasurable::Wrong(fault.message.clone())),
                });
            let origin = questions.first().map_or(self.origin, |question| question.from);
            let answer = readings.and_then(|readings| match &mut measured.state {
                State::Errors(errors) => errors.learn(&readings, origin),
                State::Latency(latency) => latency.learn(&readings),
                State::Value => value::learn(&readings),
            });
            found.push((measured.check.clone(), answer));
        }
        found
    }

    /// The stable release has no requests any more: from here on the candidate is held against what
    /// stable was.
    pub(crate) fn alone(&mut self) {
        self.alone = true;
        self.outages.clear();
        for measured in &mut self.checks {
            measured.tally = Tally { unhealthy: measured.tally.unhealthy, ..Tally::default() };
            match &mut measured.state {
                State::Errors(errors) => errors.alone(),
                State::Latency(latency) => latency.alone(),
                State::Value => {}
            }
        }
    }
}

pub(super) fn verdict(kind: VerdictKind, value: Option<f64>, reason: impl Into<String>) -> Verdict {
    Verdict { kind, value, reason: reason.into() }
}
