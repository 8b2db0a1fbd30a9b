//! The judgement of a candidate by its errors, look after look.

use super::acceptance::Acceptance;
use super::counts::Counts;
use super::limit_test::LimitTest;
use super::parameters::{Multiple, Proportion};
use super::ratio_test::RatioTest;
use std::fmt;

/// The three answers. Nothing that is undecided passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JudgementKind {
    /// The candidate is worse than allowed.
    Fail,
    /// It is as good as demanded.
    Pass,
    /// The data do not say yet.
    Undecided,
}

/// What a candidate's errors are judged by.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ErrorTestOptions {
    /// The probability that a candidate within `ratio` and `limit` ever fails.
    pub false_alarm: Proportion,
    /// The probability, at each stage, that a candidate beyond `margin` or `limit` passes.
    pub missed: Proportion,
    /// The candidate fails when its odds of an error are more than this many times stable's.
    pub ratio: Multiple,
    /// The candidate passes when its error rate is less than this above stable's.
    pub margin: Proportion,
    /// The candidate fails above this error rate, and passes only below it.
    pub limit: Option<Proportion>,
}

impl Default for ErrorTestOptions {
    /// 1 % each way, one and a half times stable's errors, a margin of 1 %, no limit.
    fn default() -> Self {
        ErrorTestOptions {
            false_alarm: Proportion::ONE_PERCENT,
            missed: Proportion::ONE_PERCENT,
            ratio: Multiple::ONE_AND_A_HALF,
            margin: Proportion::ONE_PERCENT,
            limit: None,
        }
    }
}

/// Judges a candidate's errors, against stable's and against a limit.
#[derive(Debug, Clone)]
pub struct ErrorTest {
    options: ErrorTestOptions,
    acceptance: Acceptance,
    worse: RatioTest,
    above: Option<LimitTest>,
    candidate: Counts,
    stable: Option<Counts>,
}

/// A judgement, with the numbers it rests on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Judgement {
    /// Fail, pass or undecided.
    pub kind: JudgementKind,
    /// The candidate's errors in this stage.
    pub candidate: Counts,
    /// Stable's errors in this stage; none where they were never told.
    pub stable: Option<Counts>,
    /// At most the probability, for a candidate within the ratio, of evidence like that which was
    /// seen since the beginning.
    pub worse_p_value: f64,
    /// The same for a candidate within the limit; none without a limit.
    pub above_p_value: Option<f64>,
    /// The p-value at or below which either of them fails the candidate.
    pub fails_at: f64,
    pub ratio: Multiple,
    pub limit: Option<Proportion>,
    /// The candidate's error rate is below this, but for the miss rate.
    pub at_most: f64,
    /// A pass needs that bound below this.
    pub needed: f64,
    /// How many more requests of the candidate would make it pass if the rates stay; 0 where it
    /// passes, none where it never would.
    pub requests_to_pass: Option<u64>,
}

impl ErrorTest {
    /// Builds the test.
    pub fn new(options: ErrorTestOptions) -> ErrorTest {
        ErrorTest {
            options,
            acceptance: Acceptance::new(options.missed, Some(options.margin), options.limit),
            worse: RatioTest::new(options.ratio),
            above: options.limit.map(LimitTest::new),
            candidate: Counts::NONE,
            stable: None,
        }
    }

    /// Takes what one look adds: the requests and errors of both sides since the look before,
    /// stable's where they are known.
    ///
    /// The comparison with stable lags one look behind, because the sides are read at different
    /// instants.
    pub fn add(&mut self, candidate: Counts, stable: Option<Counts>) {
        self.worse.add(candidate, stable);
        if let Some(above) = &mut self.above {
            above.add(candidate);
        }
        self.candidate = self.candidate.plus(candidate);
        if let Some(stable) = stable {
            self.stable = Some(self.stable.unwrap_or_default().plus(stable));
        }
    }

    /// Begins a new stage, when the weights have changed: a pass must be earned anew. Evidence
    /// against the candidate is kept.
    pub fn begin_stage(&mut self) {
        self.candidate = Counts::NONE;
        self.stable = None;
    }

    /// The answer alone. May be asked at any time, any number of times.
    pub fn kind(&self) -> JudgementKind {
        let each = self.each();
        if self.worse.rejects(each) || self.above.as_ref().is_some_and(|above| above.rejects(each))
        {
            JudgementKind::Fail
        } else if self.acceptance.passes(self.candidate, self.stable) {
            JudgementKind::Pass
        } else {
            JudgementKind::Undecided
        }
    }

    /// The error rate of each test that can fail the candidate.
    fn each(&self) -> Proportion {
        self.options.false_alarm.split(if self.above.is_some() { 2 } else { 1 })
    }

    /// The answer and the numbers behind it.
    pub fn judge(&self) -> Judgement {
        let accepted = self.acceptance.judge(self.candidate, self.stable);
        Judgement {
            kind: self.kind(),
            candidate: self.candidate,
            stable: self.stable,
            worse_p_value: self.worse.p_value(),
            above_p_value: self.above.as_ref().map(LimitTest::p_value),
            fails_at: self.each().value(),
            ratio: self.options.ratio,
            limit: self.options.limit,
            at_most: accepted.at_most,
            needed: accepted.needed,
            requests_to_pass: if accepted.passes {
                Some(0)
            } else {
                self.acceptance.requests_to_pass(self.candidate, self.stable)
            },
        }
    }
}

impl fmt::Display for JudgementKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            JudgementKind::Fail => "fail",
            JudgementKind::Pass => "pass",
            JudgementKind::Undecided => "undecided",
        })
    }
}

impl fmt::Display for Judgement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "candidate {}", Shown(self.candidate))?;
        if let Some(stable) = self.stable {
            write!(f, ", stable {}", Shown(stable))?;
        }
        match (self.kind, self.above_p_value, self.limit) {
            (JudgementKind::Fail, Some(p_value), Some(limit)) if p_value <= self.fails_at => {
                write!(f, ": above the limit of {} (p = {p_value:.2e})", Percent(limit.value()))
            }
            (JudgementKind::Fail, ..) => write!(
                f,
                ": more than {} times stable's odds of failing (p = {:.2e})",
                self.ratio, self.worse_p_value
            ),
            (JudgementKind::Pass, ..) => write!(
                f,
                ": at most {}, and {} is allowed",
                Percent(self.at_most),
                Percent(self.needed)
            ),
            (JudgementKind::Undecided, ..) => {
                write!(
                    f,
                    ": at most {}, and a pass needs {}",
                    Percent(self.at_most),
                    Percent(self.needed)
                )?;
                match self.requests_to_pass {
                    Some(requests) => write!(f, ": {requests} more requests at this rate"),
                    None => f.write_str(", which it never reaches at this rate"),
                }
            }
        }
    }
}

/// Counts with their rate, as people read them.
pub(super) struct Shown(pub(super) Counts);

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.rate() {
            Some(rate) => write!(f, "{} ({})", self.0, Percent(rate)),
            None => f.write_str("without requests"),
        }
    }
}

/// A share in percent, to three significant digits.
pub(super) struct Percent(pub(super) f64);

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = self.0 * 100.0;
        let decimals = if percent >= 9.995 {
            1
        } else if percent >= 0.9995 {
            2
        } else {
            3
        };
        write!(f, "{percent:.decimals$} %")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn counts(events: u64, total: u64) -> Counts {
        Counts::new(events, total).unwrap()
    }

    fn after(strata: &[(Counts, Option<Counts>)], options: ErrorTestOptions) -> Judgement {
        let mut test = ErrorTest::new(options);
        for (candidate, stable) in strata {
            test.add(*candidate, *stable);
        }
        test.judge()
    }

    #[test]
    fn nothing_seen_is_undecided_and_says_what_a_pass_needs() {
        let judgement = ErrorTest::new(ErrorTestOptions::default()).judge();
        assert_eq!(judgement.kind, JudgementKind::Undecided);
        assert!((judgement.worse_p_value - 1.0).abs() < 1e-12);
        let shown = judgement.to_string();
        assert!(
            shown.starts_with(
                "candidate without requests: at most 100.0 %, and a pass needs 1.00 %: 6"
            ),
            "{shown}"
        );
    }

    #[test]
    fn a_bad_candidate_fails_and_a_flawless_one_passes() {
        let bad = [(counts(5, 20), Some(counts(0, 180))); 4];
        let judgement = after(&bad, ErrorTestOptions::default());
        assert_eq!(judgement.kind, JudgementKind::Fail);
        assert!(
            judgement.to_string().starts_with(
                "candidate 20 of 80 (25.0 %), stable 0 of 720 (0.000 %): more than 1.5 times"
            ),
            "{judgement}"
        );
        let good = [(counts(0, 80), Some(counts(0, 720))); 10];
        assert_eq!(after(&good, ErrorTestOptions::default()).kind, JudgementKind::Pass);
    }

    #[test]
    fn without_stable_the_limit_alone_fails_and_the_margin_alone_passes() {
        let limited = ErrorTestOptions {
            limit: Some(Proportion::new(0.05).unwrap()),
            ..ErrorTestOptions::default()
        };
        let judgement = after(&[(counts(20, 100), None)], limited);
        assert_eq!(judgement.kind, JudgementKind::Fail);
        assert!(judgement.to_string().contains("above the limit of 5.00 %"), "{judgement}");
        assert_eq!(
            after(&[(counts(20, 100), None)], ErrorTestOptions::default()).kind,
            JudgementKind::Undecided
        );
        assert_eq!(after(&[(counts(0, 800), None)], limited).kind, JudgementKind::Pass);
    }

    #[test]
    fn a_new_stage_needs_a_pass_of_its_own_and_keeps_the_evidence() {
        let mut test = ErrorTest::new(ErrorTestOptions::default());
        test.add(counts(0, 1000), Some(counts(0, 9000)));
        assert_eq!(test.judge().kind, JudgementKind::Pass);
        test.begin_stage();
        assert_eq!(test.judge().kind, JudgementKind::Undecided);
        for _ in 0..4 {
            test.add(counts(10, 50), Some(counts(0, 150)));
        }
        test.begin_stage();
        assert_eq!(test.judge().kind, JudgementKind::Fail);
    }

    fn stratum() -> impl Strategy<Value = (Counts, Option<Counts>)> {
        let side = || (0_u64..=60, 0_u64..=60).prop_map(|(a, b)| counts(a.min(b), a.max(b)));
        (side(), prop::option::of(side()))
    }

    proptest! {
        #[test]
        fn judgements_hold_numbers_that_make_sense(
            strata in prop::collection::vec(stratum(), 0..25),
            limit in prop::option::of(0.001..0.999),
        ) {
            let limit = limit.map(|limit| Proportion::new(limit).unwrap());
            let options = ErrorTestOptions { limit, ..ErrorTestOptions::default() };
            let mut test = ErrorTest::new(options);
            let mut before = 1.0;
            for (candidate, stable) in strata {
                test.add(candidate, stable);
                let judgement = test.judge();
                let above = judgement.above_p_value.unwrap_or(0.0);
                for share in [judgement.worse_p_value, above, judgement.at_most, judgement.needed] {
                    prop_assert!((0.0..=1.0).contains(&share), "{judgement:?}");
                }
                prop_assert!(judgement.candidate.rate().unwrap_or(0.0) <= judgement.at_most);
                prop_assert!(judgement.worse_p_value <= before);
                before = judgement.worse_p_value;
            }
        }

        #[test]
        fn more_events_never_speak_for_the_candidate(events in 0_u64..100, stable in 0_u64..100) {
            let p_value = |events| {
                let stratum = (counts(events, 101), Some(counts(stable, 900)));
                after(&[stratum; 3], ErrorTestOptions::default()).worse_p_value
            };
            prop_assert!(p_value(events + 1) <= p_value(events) + 1e-9);
        }

        #[test]
        fn the_largest_counts_are_judged(events in 0..=Counts::MOST, total in 0..=Counts::MOST) {
            let candidate = counts(events.min(total), events.max(total));
            let judgement = after(&[(candidate, None); 3], ErrorTestOptions::default());
            prop_assert!(judgement.at_most.is_finite());
        }
    }
}
