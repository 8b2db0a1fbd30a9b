//! What one of `[[analysis.checks]]` measures: its queries and their limits.

use super::Judge;
use crate::mistake::Complaint;
use crate::raw::{RawAnalysisCheck, RawMeasure, RawMost, RawQuery};
use crate::tree::KeyPath;
use agente_engine::names::PluginName;
use agente_engine::policy::Measure;
use agente_engine::ports::MetricQuery;
use agente_units::{Share, Span};
use serde_json::{Map, Value as Json};
use std::time::Duration;

/// The odds ratio that counts failed requests unless the manifest says otherwise.
const ERRORS_RATIO: f64 = 1.5;

/// How many times as slow as stable the tail may be where the manifest has no limit at all.
const LATENCY_RATIO: f64 = 2.0;

/// The tail that is limited unless the manifest says otherwise.
const QUANTILE: f64 = 0.99;

/// From here on a probability of superiority is called a medium effect (Vargha and Delaney);
/// smaller ones are not worth a way back.
const MAX_SLOWER: f64 = 0.64;

/// The additional share that is not missed unless the manifest says otherwise.
const DETECT: f64 = 0.01;

/// How many healthy looks in a row pass a number of now unless the manifest says otherwise: it has
/// no statistics of its own.
const COUNT: u32 = 3;

/// Who is asked, and for how long; the same for all queries of a measure.
pub(super) struct Asking<'p> {
    /// None where it is not known, which has been reported.
    pub(super) plugin: Option<PluginName>,
    pub(super) timeout: Duration,
    /// The table of the measure.
    pub(super) at: &'p KeyPath,
}

/// Judges what is measured; none where a mistake was reported.
pub(super) fn judge(
    judge: &mut Judge<'_, '_>,
    asking: &Asking<'_>,
    measure: RawMeasure,
    raw: &RawAnalysisCheck,
) -> Option<Measure> {
    match measure {
        RawMeasure::Errors => errors(judge, asking, raw),
        RawMeasure::Latency => latency(judge, asking, raw),
        RawMeasure::Value => value(judge, asking, raw),
    }
}

impl Asking<'_> {
    /// Makes a query of what stands under a key that the measure needs.
    fn query(
        &self,
        judge: &mut Judge<'_, '_>,
        key: &str,
        measure: &str,
        raw: Option<&RawQuery>,
    ) -> Option<MetricQuery> {
        let at = self.at.key(key);
        let Some(raw) = raw else {
            if !judge.is_taken_out(&at) {
                let message = format!("`{at}` is missing: `measure = \"{measure}\"` needs it");
                judge.object(
                    self.at,
                    Complaint::new(
                        message,
                        format!(
                            "add `{key}` with a query, as a string or as a table in the plugin's \
                            format"
                        ),
                    ),
                );
            }
            return None;
        };
        let spec = match raw {
            RawQuery::Text(text) => {
                Map::from_iter([("query".to_owned(), Json::from(text.as_str()))])
            }
            RawQuery::Table(table) => table.clone(),
        };
        let empty = match raw {
            RawQuery::Text(text) => text.trim().is_empty(),
            RawQuery::Table(table) => table.is_empty(),
        };
        if empty {
            judge.object(
                &at,
                Complaint::new(
                    format!("`{at}` is empty"),
                    "write a query, as a string or as a table in the plugin's format",
                ),
            );
            return None;
        }
        Some(MetricQuery {
            plugin: self.plugin.clone()?,
            spec: Json::Object(spec),
            timeout: self.timeout,
        })
    }
}

fn errors(
    judge: &mut Judge<'_, '_>,
    asking: &Asking<'_>,
    raw: &RawAnalysisCheck,
) -> Option<Measure> {
    let at = asking.at;
    judge.belong(at, "RawAnalysisCheck", "errors");
    let errors = asking.query(judge, "errors", "errors", raw.errors.as_ref());
    let total = asking.query(judge, "total", "errors", raw.total.as_ref());
    if raw.errors.is_some() && raw.errors == raw.total {
        let complaint = Complaint::new(
            "`total` is the same query as `errors`, so every request would have failed",
            "make `total` count all requests",
        );
        judge.object(&at.key("total"), complaint);
    }
    let max = match &raw.max {
        None => Some(None),
        Some(most) => judge.accept(&at.key("max"), greatest_share(most)).map(Some),
    };
    let detect = detect(judge, at, raw);
    Some(Measure::Errors {
        errors: errors?,
        total: total?,
        max: max?,
        max_ratio_to_stable: raw.max_ratio_to_stable.unwrap_or(ERRORS_RATIO),
        detect: detect?,
    })
}

fn latency(
    judge: &mut Judge<'_, '_>,
    asking: &Asking<'_>,
    raw: &RawAnalysisCheck,
) -> Option<Measure> {
    let at = asking.at;
    judge.belong(at, "RawAnalysisCheck", "latency");
    let buckets = asking.query(judge, "buckets", "latency", raw.buckets.as_ref());
    let max = match &raw.max {
        None => Some(None),
        Some(most) => judge
            .accept(&at.key("max"), greatest_duration(most))
            .map(|duration| Some(duration.as_secs_f64())),
    };
    let quantile = raw.quantile.unwrap_or(QUANTILE);
    let inside = quantile > 0.0 && quantile < 1.0;
    if !inside {
        let meant = if quantile > 1.0 && quantile < 100.0 { quantile / 100.0 } else { QUANTILE };
        let message =
            format!("`{quantile}` is not a quantile: it must be between 0 and 1, both excluded");
        judge.object(
            &at.key("quantile"),
            Complaint::new(message, format!("write `quantile = {meant}`")),
        );
    }
    let max_slower = raw.max_slower.unwrap_or(MAX_SLOWER);
    let sensible = (0.5..1.0).contains(&max_slower);
    if !sensible {
        let message = format!(
            "`max_slower` can't be {max_slower}: equal releases score 0.5, and nothing exceeds 1"
        );
        judge.object(
            &at.key("max_slower"),
            Complaint::new(
                message,
                "write a number from 0.5 up to, but not including, 1, such as `max_slower = 0.64`",
            ),
        );
    }
    let max_ratio_to_stable =
        raw.max_ratio_to_stable.or_else(|| raw.max.is_none().then_some(LATENCY_RATIO));
    (inside && sensible).then_some(())?;
    Some(Measure::Latency {
        buckets: buckets?,
        quantile,
        max: max?,
        max_ratio_to_stable,
        max_slower,
    })
}

fn value(
    judge: &mut Judge<'_, '_>,
    asking: &Asking<'_>,
    raw: &RawAnalysisCheck,
) -> Option<Measure> {
    let at = asking.at;
    judge.belong(at, "RawAnalysisCheck", "value");
    let query = asking.query(judge, "query", "value", raw.query.as_ref());
    let max = match &raw.max {
        None => Some(None),
        Some(RawMost::Number(number)) => Some(Some(*number)),
        Some(RawMost::Text(text)) => {
            let complaint = Complaint::new(
                format!(
                    "`{text}` is a string; a query's value is a plain number in the query's own \
                    unit"
                ),
                "write it without quotes and unit, such as `max = 100`",
            );
            judge.object(&at.key("max"), complaint);
            None
        }
    };
    if let (Some(Some(max)), Some(min)) = (max, raw.min)
        && min > max
    {
        let complaint = Complaint::new(
            format!("`min` is {min} and `max` is {max}: no value could pass"),
            "swap the two, or correct one of them",
        );
        judge.object(&at.key("min"), complaint);
    }
    let keys = ["max", "min", "max_ratio_to_stable"].map(|key| at.key(key));
    if raw.max.is_none()
        && raw.min.is_none()
        && raw.max_ratio_to_stable.is_none()
        && !keys.iter().any(|key| judge.is_taken_out(key))
    {
        let complaint = Complaint::new(
            "a measured `value` needs a limit, or every value passes",
            "add `max`, `min` or `max_ratio_to_stable`",
        );
        judge.object(at, complaint);
    }
    Some(Measure::Value {
        query: query?,
        max: max?,
        min: raw.min,
        max_ratio_to_stable: raw.max_ratio_to_stable,
        count: raw.count.unwrap_or(COUNT),
    })
}

/// Judges the smallest additional share that must not be missed.
fn detect(judge: &mut Judge<'_, '_>, at: &KeyPath, raw: &RawAnalysisCheck) -> Option<f64> {
    let detect = raw.detect.map_or(DETECT, agente_units::Share::ratio);
    let judged = if detect > 0.0 && detect < 1.0 {
        Ok(detect)
    } else {
        let message = format!(
            "`detect` can't be `{}`: it is the smallest increase that must not be missed",
            Share::from_ratio(detect)
        );
        Err(Complaint::new(message, "write more than `0%` and less than `100%`, such as `1%`"))
    };
    judge.accept(&at.key("detect"), judged)
}

fn greatest_share(most: &RawMost) -> Result<f64, Complaint> {
    let fix = "write the highest share of failed requests as a percentage, such as `max = \"5%\"`";
    match most {
        RawMost::Text(text) => match text.parse().map(Share::ratio) {
            Ok(share) if share > 0.0 && share < 1.0 => Ok(share),
            Ok(share) if share <= 0.0 => Err(Complaint::new(
                "no number of requests can prove that none fails, so `0%` would never pass",
                "write a small percentage, such as `max = \"0.1%\"`",
            )),
            Ok(_) => {
                Err(Complaint::new("a `max` of `100%` limits nothing", "lower it, or omit `max`"))
            }
            Err(misread) => Err(misread.into()),
        },
        RawMost::Number(number) if *number > 0.0 && *number < 1.0 => Err(Complaint::new(
            format!("`max` must be a percentage here, not the number {number}"),
            format!("write `max = \"{}\"`", Share::from_ratio(*number)),
        )),
        RawMost::Number(number) => Err(Complaint::new(
            format!("`max` must be a percentage here, not the number {number}"),
            fix,
        )),
    }
}

fn greatest_duration(most: &RawMost) -> Result<Duration, Complaint> {
    match most {
        RawMost::Text(text) => match text.parse().map(Span::duration)? {
            Duration::ZERO => Err(Complaint::new(
                "`max` can't be `0s`: no request takes no time",
                "use a duration such as `max = \"300ms\"`",
            )),
            duration => Ok(duration),
        },
        RawMost::Number(number) => {
            let milliseconds = (number * 1000.0).round();
            let fix = if (1.0..=3_600_000.0).contains(&milliseconds) {
                format!("write it with its unit, such as `max = \"{milliseconds}ms\"`")
            } else {
                "use a duration such as `max = \"300ms\"`".to_owned()
            };
            Err(Complaint::new(
                format!("`max` must be a duration here, not the number {number}"),
                fix,
            ))
        }
    }
}
