//! A number of now against its limits. Nothing is remembered from look to look; the tally counts.

use super::{Readings, Unmeasurable, verdict};
use crate::policy::Measure;
use crate::ports::Reading;
use crate::verdict::{Verdict, VerdictKind};

/// Whether the stable release has exactly one such number.
pub(super) fn learn(stable: Readings<'_>) -> Result<String, Unmeasurable> {
    only(stable, "the stable release")
        .map(|value| format!("the stable release has {value:.4}"))
        .map_err(|verdict| Unmeasurable::Wrong(verdict.reason))
}

pub(super) fn look(
    measure: &Measure,
    candidate: Readings<'_>,
    stable: Option<Readings<'_>>,
) -> Verdict {
    let Measure::Value { max, min, max_ratio_to_stable, .. } = measure else {
        return verdict(VerdictKind::Errored, None, "this measure does not yield a single number");
    };
    let value = match only(candidate, "the candidate") {
        Ok(value) => value,
        Err(verdict) => return verdict,
    };
    let mut said = vec![format!("{value:.4}")];
    let mut unhealthy = false;
    if let Some(max) = max {
        unhealthy |= value > *max;
        said.push(format!("at most {max}"));
    }
    if let Some(min) = min {
        unhealthy |= value < *min;
        said.push(format!("at least {min}"));
    }
    if let (Some(ratio), Some(stable)) = (max_ratio_to_stable, stable) {
        let beside = match only(stable, "the stable side") {
            Ok(beside) => beside,
            // A limit of its own that is broken is broken whatever stable does.
            Err(_) if unhealthy => 0.0,
            Err(verdict) => return verdict,
        };
        unhealthy |= value > beside * ratio;
        said.push(format!("at most {ratio} times stable's {beside:.4}"));
    }
    verdict(
        if unhealthy { VerdictKind::Unhealthy } else { VerdictKind::Healthy },
        Some(value),
        said.join(", "),
    )
}

/// The only number of a reading.
fn only(readings: Readings<'_>, of: &str) -> Result<f64, Verdict> {
    let series: Vec<_> = readings.iter().flat_map(|reading: &Reading| &reading.series).collect();
    match series.as_slice() {
        [] => Err(verdict(VerdictKind::NoData, None, format!("there is no value for {of}"))),
        [one] => one.points.last().map(|(_, value)| *value).ok_or_else(|| {
            verdict(VerdictKind::NoData, None, format!("there is no value for {of}"))
        }),
        many => Err(verdict(
            VerdictKind::Inconclusive,
            None,
            format!(
                "there are {} values for {of}, but there must be one: aggregate with `sum`, \
            or select one",
                many.len()
            ),
        )),
    }
}
