//! The judgement of two series of values, one value per interval, looked at once.

use super::error_test::JudgementKind;
use super::parameters::Proportion;
use super::rank_test::{RankComparison, RankTestError, compare_samples};

/// How series are judged.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SampleOptions {
    /// The probability of a false alarm.
    pub false_alarm: Proportion,
    /// The least probability of superiority that matters; below, a difference is no reason to
    /// fail.
    pub smallest_effect: Proportion,
    /// The values that a side needs for a pass.
    pub min_samples: usize,
}

impl Default for SampleOptions {
    /// 2 % (the customary confidence of 98 %), a medium effect, ten values a side.
    fn default() -> Self {
        SampleOptions {
            false_alarm: Proportion::TWO_PERCENT,
            smallest_effect: Proportion::MEDIUM_EFFECT,
            min_samples: 10,
        }
    }
}

/// What two series tell.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SampleJudgement {
    /// Fail, pass or undecided.
    pub kind: JudgementKind,
    /// The numbers behind it.
    pub comparison: RankComparison,
}

/// Judges whether the candidate's values are higher than stable's.
///
/// Fail: the ranks are that high by chance with at most `false_alarm`, and the effect is one that
/// matters. Pass: both sides have enough values, and no effect that matters is seen. Undecided:
/// everything else. The error rate holds for one look at a number of values that was fixed
/// before; a pass says that no difference was seen, not that there is none.
///
/// # Errors
///
/// As [`compare_samples`].
pub fn judge_samples(
    candidate: &[f64],
    stable: &[f64],
    options: &SampleOptions,
) -> Result<SampleJudgement, RankTestError> {
    let comparison = compare_samples(candidate, stable)?;
    let matters = comparison.effect >= options.smallest_effect.value();
    let enough = candidate.len().min(stable.len()) >= options.min_samples;
    let kind = match (matters, enough) {
        (true, _) if comparison.p_value <= options.false_alarm.value() => JudgementKind::Fail,
        (false, true) => JudgementKind::Pass,
        (true, _) | (false, false) => JudgementKind::Undecided,
    };
    Ok(SampleJudgement { kind, comparison })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(candidate: &[f64], stable: &[f64]) -> JudgementKind {
        judge_samples(candidate, stable, &SampleOptions::default()).unwrap().kind
    }

    #[test]
    fn series_that_others_let_pass_are_judged_by_their_ranks() {
        let nothing = [0.0; 10];
        let some = [0.0, 0.048, 0.0, 0.18, 0.089, 0.0, 0.098, 0.035, 0.0, 0.0];
        let jumped = [100.0, 100.0, 100.0, 100.0, 100.0, 100.0, 100.0, 1.0, 1.0, 1.0];
        assert_eq!(kind(&some, &nothing), JudgementKind::Fail);
        assert_eq!(kind(&jumped, &[1.0; 10]), JudgementKind::Fail);
        assert_eq!(kind(&[0.0, 1.0, 2.0, 1.0, 0.0, 0.0], &nothing[..6]), JudgementKind::Undecided);
        assert_eq!(kind(&nothing, &nothing), JudgementKind::Pass);
    }

    #[test]
    fn few_values_never_pass_and_a_visible_effect_never_does() {
        assert_eq!(kind(&[0.0; 9], &[0.0; 30]), JudgementKind::Undecided);
        // Effect 0.66, p about 0.11: neither proved nor absent.
        let candidate: Vec<f64> = (0..10).map(|i| f64::from(i) + 1.6).collect();
        let stable: Vec<f64> = (0..10).map(f64::from).collect();
        assert_eq!(kind(&candidate, &stable), JudgementKind::Undecided);
        assert_eq!(kind(&stable, &candidate), JudgementKind::Pass);
    }
}
