//! Numbers for analysis: raw samples of a selector, or an expression's value. Whatever is not a
//! number is left out and named.

use crate::api::{Answer, Api, Data, Label, Point, Sampled};
use crate::placeholder::{Values, duration};
use crate::promql::Selector;
use crate::query::Question;
use agente_plugin_sdk::host::Level;
use agente_plugin_sdk::{Failure, Host, Reading, Series, Wanted, Window};
use std::time::Duration;

/// How long before the window its last earlier sample is looked for: as far as Prometheus itself
/// looks back.
const MARGIN: Duration = Duration::from_mins(5);

/// What the host takes of one answer; it refuses more.
const MAX_SERIES: usize = 2000;
const MAX_POINTS: usize = 200_000;

/// Reads what a question asks for.
pub fn read<H: Host>(
    api: &Api<'_, H>,
    question: &Question,
    values: &Values,
    wanted: Wanted,
    window: Window,
) -> Result<Reading, Failure> {
    if window.start_ms >= window.end_ms {
        return Err(Failure::invalid_config(format!(
            "the window from {} to {} has no length",
            window.start_ms, window.end_ms
        )));
    }
    let text = values.fill(&question.text, &question.expression.holes, 0..question.text.len())?;
    match (wanted, question.expression.selectors.first()) {
        (Wanted::Value, _) => value(api, &text, window.end_ms),
        (Wanted::Samples, Some(selector)) => {
            samples(api, &filled(question, selector, values)?, window)
        }
        (Wanted::Samples, None) => {
            Err(Failure::invalid_config(format!("`{text}` has no selector")))
        }
    }
}

/// A selector with its placeholders filled in, without range or offset.
pub(crate) fn filled(
    question: &Question,
    selector: &Selector,
    values: &Values,
) -> Result<String, Failure> {
    values.fill(&question.text, &question.expression.holes, selector.range.clone())
}

fn samples<H: Host>(api: &Api<'_, H>, selector: &str, window: Window) -> Result<Reading, Failure> {
    let range = Duration::from_millis(window.end_ms - window.start_ms).saturating_add(MARGIN);
    let answer = api.query(&format!("{selector}[{}]", duration(range)), Some(window.end_ms))?;
    let mut reading = Reading { series: Vec::new(), doubts: doubts(api, &answer) };
    let Data::Matrix(all) = answer.data else {
        return Err(Failure::failed(format!(
            "Prometheus did not answer `{selector}` with a range of samples"
        )));
    };
    let mut points_in_all = 0;
    for sampled in all {
        let mut points = within(&sampled.values, window);
        let before = points.len();
        points.retain(|point| point.value.is_finite());
        if points.len() < before {
            let left_out = before - points.len();
            reading.doubts.push(format!(
                "{left_out} of {before} samples of `{}` are not numbers (NaN or infinite)",
                shown(&sampled.metric)
            ));
        }
        if sampled.histograms.is_some() {
            reading.doubts.push(format!(
                "`{}` is a native histogram, which has no samples to read",
                shown(&sampled.metric)
            ));
        }
        if points.is_empty() {
            continue;
        }
        points_in_all += points.len();
        reading.series.push(series(sampled.metric, &points));
    }
    if reading.series.len() > MAX_SERIES || points_in_all > MAX_POINTS {
        let message = format!(
            "`{selector}` has {} series with {points_in_all} samples; the maximum is {MAX_SERIES} \
            with {MAX_POINTS}",
            reading.series.len()
        );
        return Err(Failure::invalid_config(message).hint("select fewer series by label"));
    }
    Ok(reading)
}

/// The samples after the window's start, and the last one up to it.
fn within(values: &[Point], window: Window) -> Vec<Point> {
    let first = values.iter().rposition(|point| point.at_ms <= window.start_ms).unwrap_or(0);
    let mut points: Vec<Point> = Vec::new();
    for point in values.iter().skip(first).filter(|point| point.at_ms <= window.end_ms) {
        if points.last().is_none_or(|last| last.at_ms < point.at_ms) {
            points.push(*point);
        }
    }
    points
}

fn value<H: Host>(api: &Api<'_, H>, expression: &str, at_ms: u64) -> Result<Reading, Failure> {
    let answer = api.query(expression, Some(at_ms))?;
    let mut reading = Reading { series: Vec::new(), doubts: doubts(api, &answer) };
    for (labels, point) in values(expression, answer.data)? {
        match point {
            Some(point) if point.value.is_finite() => reading.series.push(series(labels, &[point])),
            Some(point) => reading.doubts.push(not_a_number(&labels, point.value)),
            None => reading
                .doubts
                .push(format!("`{}` is a native histogram, not a number", shown(&labels))),
        }
    }
    if reading.series.len() > MAX_SERIES {
        let message = format!(
            "`{expression}` returns {} series; the maximum is {MAX_SERIES}",
            reading.series.len()
        );
        return Err(Failure::invalid_config(message).hint("aggregate them: `sum(…)`"));
    }
    Ok(reading)
}

/// The values of an expression by their labels; none for a native histogram.
pub(crate) fn values(expression: &str, data: Data) -> Result<Vec<(Label, Option<Point>)>, Failure> {
    match data {
        Data::Vector(all) => {
            Ok(all.into_iter().map(|Sampled { metric, value, .. }| (metric, value)).collect())
        }
        Data::Scalar(point) => Ok(vec![(Label::new(), Some(point))]),
        Data::Matrix(_) => Err(Failure::invalid_config(format!(
            "`{expression}` returns a range of samples instead of a value"
        ))
        .hint("wrap it in `rate(…)`")),
        Data::String(_) => Err(Failure::invalid_config(format!(
            "`{expression}` returns a string instead of a value"
        ))),
    }
}

/// What is said of a value that is none.
pub(crate) fn not_a_number(labels: &Label, value: f64) -> String {
    let of = if labels.is_empty() { String::new() } else { format!(" of `{}`", shown(labels)) };
    if value.is_nan() {
        format!(
            "the value{of} is NaN: 0 divided by 0, or a NaN sample; usually there was no traffic"
        )
    } else {
        let sign = if value.is_sign_negative() { "-" } else { "+" };
        format!("the value{of} is {sign}Inf: a division by 0, or a value above the highest bucket")
    }
}

/// The server's own doubts. Its remarks go to the log: they are about style, not about the data.
pub(crate) fn doubts<H: Host, T>(api: &Api<'_, H>, answer: &Answer<T>) -> Vec<String> {
    for info in &answer.infos {
        api.host().log(Level::Info, "Prometheus has a remark on the query", &[("remark", info)]);
    }
    answer
        .warnings
        .iter()
        .map(|warning| {
            format!(
                "the server warns that the answer may be partial: {}",
                crate::api::quoted(warning)
            )
        })
        .collect()
}

fn series(labels: Label, points: &[Point]) -> Series {
    Series {
        labels: labels.into_iter().collect(),
        points: points.iter().map(|point| (point.at_ms, point.value)).collect(),
    }
}

/// A series as Prometheus writes it, cut.
pub(crate) fn shown(labels: &Label) -> String {
    let name = labels.get("__name__").map_or("", String::as_str);
    let others: Vec<String> = labels
        .iter()
        .filter(|(label, _)| *label != "__name__")
        .take(8)
        .map(|(label, value)| format!("{label}={value:?}"))
        .collect();
    format!("{name}{{{}}}", others.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_sample_before_the_window_is_kept_and_earlier_ones_are_not() {
        let at = |at_ms| Point { at_ms, value: 1.0 };
        let kept = |times: &[u64]| {
            let points: Vec<Point> = times.iter().map(|at_ms| at(*at_ms)).collect();
            within(&points, Window { start_ms: 100, end_ms: 200 })
                .into_iter()
                .map(|point| point.at_ms)
                .collect::<Vec<_>>()
        };
        assert_eq!(kept(&[50, 90, 110, 200, 201]), [90, 110, 200]);
        assert_eq!(kept(&[50, 100, 150]), [100, 150]);
        assert_eq!(kept(&[120, 120, 130]), [120, 130]);
        assert_eq!(kept(&[10, 20]), [20]);
        assert_eq!(kept(&[]), [0; 0]);
    }
}
