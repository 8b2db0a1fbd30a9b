//! One number held against its limits. Only a number that is one, of one series, complete and
//! fresh, is ever healthy or unhealthy.

use crate::api::{Api, Point};
use crate::missing::never_seen;
use crate::placeholder::{Values, duration};
use crate::promql::Expression;
use crate::query::{QueryTable, Question, Template};
use crate::source::{doubts, filled, not_a_number, shown, values};
use agente_plugin_sdk::health::Outcome;
use agente_plugin_sdk::schemars::{self, JsonSchema};
use agente_plugin_sdk::{Failure, Host, Problem, Verdict, Wanted, config};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::time::Duration;

/// Series that a reason names.
const NAMED: usize = 3;

/// The label by which the answers about selectors are told apart.
const SELECTOR: &str = "agente_selector";

/// How far back a check's `{{window}}` reaches where the check doesn't say it.
const WINDOW: Duration = Duration::from_mins(2);

/// How old the newest sample may be where the check doesn't say it: two scrapes at the slowest
/// interval that is common.
const MAX_AGE: Duration = Duration::from_mins(2);

/// What one check asks, and what the answer must be.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "The table of a check by prometheus-health")]
pub struct CheckTable {
    /// A PromQL expression that gives one number, as in a query.
    #[serde(default)]
    pub query: Option<String>,
    /// An expression that the plugin writes, as in a query.
    #[serde(default)]
    pub template: Option<Template>,
    /// As in a query.
    #[serde(default)]
    pub metric: Option<String>,
    /// As in a query.
    #[serde(default)]
    pub status_label: Option<String>,
    /// As in a query.
    #[serde(default)]
    pub pattern: Option<String>,
    /// As in a query.
    #[serde(default)]
    pub selector: Option<String>,
    /// As in a query.
    #[serde(default)]
    pub quantile: Option<f64>,
    /// As in a query.
    #[serde(default)]
    pub of: Option<String>,
    /// The highest value that is healthy.
    #[serde(default)]
    pub max: Option<f64>,
    /// The lowest value that is healthy.
    #[serde(default)]
    pub min: Option<f64>,
    /// What `{{window}}` stands for: `"90s"`, `"5m"`; at least four scrape intervals. Default:
    /// `"2m"`.
    #[serde(default)]
    pub window: Option<String>,
    /// How old the newest sample of each metric may be. Default: `"2m"`.
    #[serde(default)]
    pub max_age: Option<String>,
}

/// A valid check.
#[derive(Debug, Clone, PartialEq)]
pub struct Check {
    /// What it asks.
    pub question: Question,
    /// The highest value that is healthy.
    pub max: Option<f64>,
    /// The lowest value that is healthy.
    pub min: Option<f64>,
    /// How far back it looks.
    pub window: Duration,
    /// How old the newest sample may be.
    pub max_age: Duration,
}

impl CheckTable {
    fn query(&self) -> QueryTable {
        QueryTable {
            query: self.query.clone(),
            template: self.template,
            metric: self.metric.clone(),
            status_label: self.status_label.clone(),
            pattern: self.pattern.clone(),
            selector: self.selector.clone(),
            quantile: self.quantile,
            of: self.of.clone(),
        }
    }

    /// Reads the table.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with its values, each with its place.
    pub fn check(&self) -> Result<Check, Vec<Problem>> {
        let mut problems = Vec::new();
        let question = self.query().question(Wanted::Value).unwrap_or_else(|found| {
            problems.extend(found);
            Question { text: String::new(), expression: Expression::default() }
        });
        if self.max.is_none() && self.min.is_none() {
            problems.push(Problem::new("max", "set a `max` or a `min` to compare the value with"));
        }
        for (place, limit) in [("max", self.max), ("min", self.min)] {
            if limit.is_some_and(|limit| !limit.is_finite()) {
                problems.push(Problem::new(place, "must be a finite number"));
            }
        }
        if let (Some(min), Some(max)) = (self.min, self.max)
            && min > max
        {
            problems.push(Problem::new("min", format!("{min} is above `max`, which is {max}")));
        }
        let window = read_duration("window", self.window.as_deref(), WINDOW, &mut problems);
        let max_age = read_duration("max_age", self.max_age.as_deref(), MAX_AGE, &mut problems);
        if problems.is_empty() {
            Ok(Check { question, max: self.max, min: self.min, window, max_age })
        } else {
            Err(problems)
        }
    }
}

fn read_duration(
    place: &str,
    text: Option<&str>,
    default: Duration,
    problems: &mut Vec<Problem>,
) -> Duration {
    let Some(text) = text else { return default };
    match config::duration(text, place) {
        Ok(duration)
            if duration >= Duration::from_secs(1) && duration <= Duration::from_hours(24) =>
        {
            duration
        }
        Ok(_) => {
            problems.push(Problem::new(
                place,
                format!("`{text}` is not between 1 second and 24 hours"),
            ));
            default
        }
        Err(problem) => {
            problems.push(problem);
            default
        }
    }
}

/// Asks once.
pub fn check<H: Host>(
    api: &Api<'_, H>,
    check: &Check,
    subject_values: &Values,
) -> Result<Verdict, Failure> {
    let question = &check.question;
    let text =
        subject_values.fill(&question.text, &question.expression.holes, 0..question.text.len())?;
    let answer = api.query(&text, None)?;
    let warned = doubts(api, &answer);
    let found = values(&text, answer.data)?;
    let unsure =
        |outcome, reason: String| Ok(Verdict::new(outcome, reason).label("query", text.clone()));
    if let Some(first) = warned.first() {
        return unsure(Outcome::Inconclusive, first.clone());
    }
    let (labels, point) = match found.as_slice() {
        [] => {
            let mut reason = "the query returns no series: no such metric, no matching label, or \
            no recent sample"
                .to_owned();
            if let Some(names) = never_seen(api, question)?.filter(|names| !names.is_empty()) {
                reason = format!(
                    "the query returns no series: the server has never seen {}",
                    names.join(", ")
                );
            }
            return unsure(Outcome::NoData, reason);
        }
        [one] => one,
        several => {
            let named: Vec<String> = several
                .iter()
                .take(NAMED)
                .map(|(labels, _)| format!("`{}`", shown(labels)))
                .collect();
            let reason = format!(
                "the query returns {} series, but must return one: {}…; aggregate them with \
                `sum(…)` or `max(…)`",
                several.len(),
                named.join(", ")
            );
            return unsure(Outcome::Inconclusive, reason);
        }
    };
    let value = match point {
        Some(Point { value, .. }) if value.is_finite() => *value,
        Some(Point { value, .. }) => {
            return unsure(Outcome::Inconclusive, not_a_number(labels, *value));
        }
        None => {
            return unsure(
                Outcome::Inconclusive,
                "the query returns a native histogram, not a number".to_owned(),
            );
        }
    };
    if let Some(reason) = stale(api, check, subject_values)? {
        return Ok(Verdict::new(
            Outcome::Inconclusive,
            format!("the value {value} is not reliable: {reason}"),
        )
        .value(value)
        .label("query", text));
    }
    Ok(judged(check, value).label("query", text))
}

fn judged(check: &Check, value: f64) -> Verdict {
    let limits = match (check.min, check.max) {
        (Some(min), Some(max)) => format!("the limits are {min} and {max}"),
        (Some(min), None) => format!("the limit is at least {min}"),
        (None, Some(max)) => format!("the limit is at most {max}"),
        (None, None) => "there is no limit".to_owned(),
    };
    let good = check.max.is_none_or(|max| value <= max) && check.min.is_none_or(|min| value >= min);
    let outcome = if good { Outcome::Healthy } else { Outcome::Unhealthy };
    let broken = check.max.filter(|max| value > *max).or(check.min);
    let limit = if good { check.max.or(check.min) } else { broken };
    let verdict = Verdict::new(outcome, format!("the value is {value}; {limits}")).value(value);
    match limit {
        Some(limit) => verdict.label("limit", limit.to_string()),
        None => verdict,
    }
}

/// Why the value is too old to be judged, where that can be told.
///
/// An instant query gives its own time with every value, so that `rate` over a window goes on
/// falling after its target has died. The samples themselves are asked: a selector that had samples
/// within the window and has none now, or whose newest one is too old, is stale. One that never had
/// any is no sign: a counter of errors comes with the first error.
fn stale<H: Host>(
    api: &Api<'_, H>,
    check: &Check,
    subject_values: &Values,
) -> Result<Option<String>, Failure> {
    let question = &check.question;
    let mut selectors: Vec<String> = Vec::new();
    for selector in
        question.expression.selectors.iter().filter(|selector| selector.metric.is_some())
    {
        let selector = filled(question, selector, subject_values)?;
        if !selectors.contains(&selector) {
            selectors.push(selector);
        }
    }
    if selectors.is_empty() {
        return Ok(None);
    }
    let range = duration(check.window.max(check.max_age));
    let newest = together(&selectors, |selector| format!("time() - max(timestamp({selector}))"));
    let recent =
        together(&selectors, |selector| format!("count(count_over_time({selector}[{range}]))"));
    let newest = by_selector(api, &newest, "age")?;
    let recent = by_selector(api, &recent, "count")?;
    for (index, selector) in selectors.iter().enumerate() {
        let index = index.to_string();
        match newest.get(&index) {
            Some(age) if *age > check.max_age.as_secs_f64() => {
                return Ok(Some(format!(
                    "the newest sample for `{selector}` is {age:.0} s old, and {:.0} s is the most",
                    check.max_age.as_secs_f64()
                )));
            }
            None if recent.get(&index).is_some_and(|count| *count > 0.0) => {
                return Ok(Some(format!(
                    "`{selector}` is stale: it had samples within {range} but has none now, as if \
                    its target were gone"
                )));
            }
            _ => {}
        }
    }
    Ok(None)
}

/// One expression that asks the same of several selectors.
fn together(selectors: &[String], ask: impl Fn(&str) -> String) -> String {
    let parts: Vec<String> = selectors
        .iter()
        .enumerate()
        .map(|(index, selector)| {
            format!("label_replace({}, \"{SELECTOR}\", \"{index}\", \"\", \"\")", ask(selector))
        })
        .collect();
    parts.join(" or ")
}

fn by_selector<H: Host>(
    api: &Api<'_, H>,
    expression: &str,
    what: &str,
) -> Result<BTreeMap<String, f64>, Failure> {
    let answer = api.query(expression, None).map_err(|failure| {
        failure.while_doing(format!("the {what} of the samples can't be queried"))
    })?;
    let found = values(expression, answer.data)?.into_iter();
    Ok(found
        .filter_map(|(mut labels, point)| {
            point.map(|point| (labels.remove(SELECTOR).unwrap_or_default(), point.value))
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_at_its_limit_is_healthy_and_beyond_it_is_not() {
        let verdict = |json: &str, value: f64| {
            let table: CheckTable = serde_json::from_str(json).unwrap();
            judged(&table.check().unwrap(), value)
        };
        assert_eq!(verdict(r#"{"query": "up", "max": 0.05}"#, 0.05).outcome, Outcome::Healthy);
        let above = verdict(r#"{"query": "up", "max": 0.05, "min": 0}"#, 0.06);
        assert_eq!((above.outcome, above.value), (Outcome::Unhealthy, Some(0.06)));
        assert_eq!(above.reason, "the value is 0.06; the limits are 0 and 0.05");
        assert_eq!(above.labels, [("limit".to_owned(), "0.05".to_owned())]);
        let below = verdict(r#"{"query": "up", "max": 5, "min": 1}"#, 0.0);
        assert_eq!(
            (below.outcome, below.labels),
            (Outcome::Unhealthy, vec![("limit".to_owned(), "1".to_owned())])
        );
    }
    #[test]
    fn a_check_is_held_against_a_limit() {
        let problems = |json: &str| {
            let table: CheckTable = serde_json::from_str(json).unwrap();
            table
                .check()
                .err()
                .unwrap_or_default()
                .into_iter()
                .map(|problem| problem.path)
                .collect::<Vec<_>>()
        };
        assert_eq!(problems(r#"{"query": "up", "min": 1}"#), [""; 0]);
        assert_eq!(problems(r#"{"query": "up"}"#), ["max"]);
        assert_eq!(problems(r#"{"query": "up", "min": 2, "max": 1}"#), ["min"]);
        assert_eq!(
            problems(r#"{"query": "up", "min": 1, "window": "soon", "max_age": "1ms"}"#),
            ["window", "max_age"]
        );
        assert_eq!(problems(r#"{"query": "up("}"#), ["query", "max"]);
    }
}
