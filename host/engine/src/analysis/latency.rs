//! Durations of requests, from histogram buckets of both sides.

use super::counters::{Counters, Growth};
use super::{Readings, Unmeasurable, verdict};
use crate::names::Timestamp;
use crate::policy::Measure;
use crate::ports::Reading;
use crate::statistics::{
    BucketBounds, Histogram, JudgementKind, LatencyTest, LatencyTestOptions, Multiple,
    ParameterError, Proportion, QuantileEstimate,
};
use crate::verdict::{Verdict, VerdictKind};

/// What is known of a check's durations. The buckets are those that the first look finds.
#[derive(Debug)]
pub(super) struct Latency {
    options: LatencyTestOptions,
    bounds: Option<BucketBounds>,
    test: Option<LatencyTest>,
    candidate: Counters,
    stable: Counters,
    in_stage: u64,
}

impl Latency {
    pub(super) fn new(
        measure: &Measure,
        false_alarm: Proportion,
        missed: Proportion,
    ) -> Result<Self, ParameterError> {
        let mut options = LatencyTestOptions {
            false_alarm,
            missed,
            quantile: Proportion::new(0.99)?,
            max_seconds: None,
            max_ratio_to_stable: None,
            smallest_effect: None,
        };
        if let Measure::Latency { quantile, max, max_ratio_to_stable, max_slower, .. } = measure {
            options.quantile = Proportion::new(*quantile)?;
            options.max_seconds = *max;
            options.max_ratio_to_stable = max_ratio_to_stable.map(Multiple::new).transpose()?;
            options.smallest_effect = Some(Proportion::new(*max_slower)?);
        }
        Ok(Self {
            options,
            bounds: None,
            test: None,
            candidate: Counters::default(),
            stable: Counters::default(),
            in_stage: 0,
        })
    }

    pub(super) fn begin_stage(&mut self) {
        self.in_stage = 0;
        if let Some(test) = &mut self.test {
            test.begin_stage();
        }
    }

    /// Whether the stable release's buckets can be held against the limits.
    pub(super) fn learn(&mut self, stable: Readings<'_>) -> Result<String, Unmeasurable> {
        let Some(bounds) = stable.first().and_then(bounds_of) else {
            return Err(Unmeasurable::Wrong(
                "`buckets` has no series for the stable release with the label `le`".to_owned(),
            ));
        };
        LatencyTest::new(&bounds, self.options)
            .map_err(|error| Unmeasurable::Wrong(causes(&error)))?;
        let edges = bounds.seconds();
        Ok(format!("{} buckets up to {} s", edges.len(), edges.last().copied().unwrap_or_default()))
    }

    /// Nothing runs beside the candidate any more: what remains is its own limit.
    pub(super) fn alone(&mut self) {
        self.options.max_ratio_to_stable = None;
        self.options.smallest_effect = None;
        self.in_stage = 0;
        self.test =
            self.bounds.as_ref().and_then(|bounds| LatencyTest::new(bounds, self.options).ok());
    }

    /// Takes a look in and judges.
    pub(super) fn look(
        &mut self,
        candidate: Readings<'_>,
        stable: Option<Readings<'_>>,
        origin: Timestamp,
        now: Timestamp,
    ) -> Verdict {
        let (Some(first), Some(bounds)) =
            (candidate.first(), candidate.first().and_then(bounds_of))
        else {
            return verdict(
                VerdictKind::NoData,
                None,
                "`buckets` has no series for the candidate with the label `le`",
            );
        };
        if self.bounds.as_ref().is_some_and(|known| *known != bounds)
            || stable
                .and_then(|stable| bounds_of(stable.first()?))
                .is_some_and(|other| other != bounds)
        {
            return verdict(
                VerdictKind::Inconclusive,
                None,
                "the two releases have different buckets and can't be compared",
            );
        }
        let counted = counts(&self.candidate.advance(first, origin, true), &bounds);
        let beside = stable
            .and_then(<[Reading]>::first)
            .map(|reading| counts(&self.stable.advance(reading, origin, false), &bounds));
        if self.test.is_none()
            && (self.options.max_seconds.is_some()
                || self.options.max_ratio_to_stable.is_some()
                || self.options.smallest_effect.is_some())
        {
            match LatencyTest::new(&bounds, self.options) {
                Ok(test) => self.test = Some(test),
                Err(error) => {
                    return verdict(
                        VerdictKind::Inconclusive,
                        None,
                        format!("the buckets don't fit the limit: {}", causes(&error)),
                    );
                }
            }
        }
        self.bounds = Some(bounds);
        let (Some(counted), beside) = (counted, beside.flatten()) else {
            return verdict(
                VerdictKind::Inconclusive,
                None,
                "the buckets do not add up to a histogram",
            );
        };
        self.in_stage += counted.total();
        if let Some(test) = &mut self.test
            && let Err(error) = test.add(&counted, beside.as_ref())
        {
            return verdict(
                VerdictKind::Inconclusive,
                None,
                format!("the buckets can't be judged: {}", causes(&error)),
            );
        }
        for (counters, of) in [
            (Some(&self.candidate), "the candidate"),
            (stable.is_some().then_some(&self.stable), "the stable side"),
        ] {
            match counters {
                Some(counters) if !counters.has_any() => {
                    return verdict(
                        VerdictKind::NoData,
                        None,
                        format!("`buckets` has no series for {of}"),
                    );
                }
                Some(counters) => {
                    if let Some(age) = counters.stale(now) {
                        return verdict(
                            VerdictKind::NoData,
                            None,
                            format!("the newest sample for {of} is {} s old", age.as_secs()),
                        );
                    }
                }
                None => {}
            }
        }
        if self.in_stage == 0 {
            return verdict(VerdictKind::NoData, None, "the candidate has received no request yet");
        }
        let Some(test) = &self.test else {
            return verdict(
                VerdictKind::Healthy,
                None,
                "nothing runs beside the candidate to compare with, and `max` is not set",
            );
        };
        let judgement = test.judge();
        let kind = match judgement.kind {
            JudgementKind::Fail => VerdictKind::Unhealthy,
            JudgementKind::Pass => VerdictKind::Healthy,
            JudgementKind::Undecided => VerdictKind::Inconclusive,
        };
        let value = match judgement.candidate {
            QuantileEstimate::Within { seconds } | QuantileEstimate::AboveTop { seconds } => {
                Some(seconds)
            }
            QuantileEstimate::Empty => None,
        };
        verdict(kind, value, judgement.to_string())
    }
}

fn causes(error: &dyn std::error::Error) -> String {
    let mut all = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        all.push_str(": ");
        all.push_str(&error.to_string());
        next = error.source();
    }
    all
}

/// The upper bound that a series' label `le` names; infinity for the last bucket.
fn bound(labels: &[(String, String)]) -> Option<f64> {
    let (_, le) = labels.iter().find(|(name, _)| name == "le")?;
    le.parse().ok()
}

/// The finite bounds of all series of a reading, in order.
pub(super) fn bounds_of(reading: &Reading) -> Option<BucketBounds> {
    let mut all: Vec<f64> = reading
        .series
        .iter()
        .filter_map(|series| bound(&series.labels))
        .filter(|bound| bound.is_finite())
        .collect();
    all.sort_by(f64::total_cmp);
    all.dedup();
    BucketBounds::new(&all).ok()
}

/// What was counted in each bucket: all series of a bound together, the last bucket being that of
/// all requests.
fn counts(growth: &Growth, bounds: &BucketBounds) -> Option<Histogram> {
    let of = |wanted: &dyn Fn(f64) -> bool| {
        let grown: f64 = growth
            .by_labels
            .iter()
            .filter(|(labels, _)| bound(labels).is_some_and(wanted))
            .map(|(_, grown)| grown)
            .sum();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a growth is never negative, and far below 2^53"
        )]
        {
            grown.round() as u64
        }
    };
    let mut cumulative: Vec<u64> =
        bounds.seconds().iter().map(|edge| of(&|bound| bound.total_cmp(edge).is_eq())).collect();
    cumulative.push(of(&|bound: f64| bound.is_infinite()));
    // Buckets of one scrape belong together; one that is cut in the middle is mended by the next.
    let mut most = 0;
    for count in &mut cumulative {
        most = most.max(*count);
        *count = most;
    }
    bounds.cumulative(&cumulative).ok()
}
