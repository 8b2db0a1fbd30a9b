//! The table of a query in the manifest, and the expression it stands for.

use crate::promql::{self, Expression};
use agente_plugin_sdk::schemars::{self, JsonSchema};
use agente_plugin_sdk::{Problem, Wanted};
use serde::Deserialize;

/// The longest expression: encoded, and with a placeholder's values in it, it must fit into the URL
/// of a request.
pub const MAX_EXPRESSION_BYTES: usize = 2048;

/// What a query asks for: an expression in `query`, or one that a `template` makes.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "The table of a query by prometheus-health")]
pub struct QueryTable {
    /// A PromQL expression; `{{slot}}`, `{{release}}`, `{{service}}`, `{{environment}}`,
    /// `{{backends}}` and `{{window}}` are filled in.
    #[serde(default)]
    pub query: Option<String>,
    /// An expression that the plugin writes.
    #[serde(default)]
    pub template: Option<Template>,
    /// For templates: the metric's name. Default: the one that the usual client libraries give.
    #[serde(default)]
    pub metric: Option<String>,
    /// For `http-errors`: the label that holds the status. Default: `code`.
    #[serde(default)]
    pub status_label: Option<String>,
    /// For `http-errors`: which statuses are errors, a regular expression of the whole status.
    /// Default: `5..`.
    #[serde(default)]
    pub pattern: Option<String>,
    /// For templates: the matchers between the braces. Default: `instance=~"{{backends}}"`.
    #[serde(default)]
    pub selector: Option<String>,
    /// For `latency`: the quantile, from 0 to 1. Default: 0.95.
    #[serde(default)]
    pub quantile: Option<f64>,
    /// For `saturation`: the metric that holds the capacity; the value is then a share of it.
    #[serde(default)]
    pub of: Option<String>,
}

/// Expressions that the plugin writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Template {
    /// The share of requests that failed, from 0 to 1; as samples: the counters of failed requests.
    HttpErrors,
    /// Requests per second; as samples: the counters of all requests.
    HttpRequests,
    /// A quantile of the latency, in the unit of the histogram; as samples: the counters of its
    /// buckets.
    Latency,
    /// The highest value of a gauge, or of its share of another metric; as samples: the gauge.
    Saturation,
}

impl Template {
    fn name(self) -> &'static str {
        match self {
            Template::HttpErrors => "http-errors",
            Template::HttpRequests => "http-requests",
            Template::Latency => "latency",
            Template::Saturation => "saturation",
        }
    }

    fn knows(self, parameter: &str) -> bool {
        match parameter {
            "metric" | "selector" => true,
            "status_label" | "pattern" => self == Template::HttpErrors,
            "quantile" => self == Template::Latency,
            "of" => self == Template::Saturation,
            _ => false,
        }
    }
}

/// An expression that can be asked, with what was read of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Question {
    /// The expression, placeholders and all.
    pub text: String,
    /// What is in it.
    pub expression: Expression,
}

impl QueryTable {
    /// Reads the table as a question for numbers of a shape.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with its values, each with its place.
    pub fn question(&self, wanted: Wanted) -> Result<Question, Vec<Problem>> {
        let text = match (&self.query, self.template) {
            (Some(_), Some(_)) => {
                return Err(vec![Problem::new(
                    "template",
                    "`query` and `template` exclude each other; remove one",
                )]);
            }
            (None, None) => {
                return Err(vec![Problem::new("query", "set `query` or `template`")]);
            }
            (Some(query), None) => {
                let problems = self.parameters(wanted).map(|(name, _)| {
                    Problem::new(name, format!("`{name}` is for templates; remove it"))
                });
                let problems: Vec<Problem> = problems.collect();
                if !problems.is_empty() {
                    return Err(problems);
                }
                query.clone()
            }
            (None, Some(template)) => self.written(template, wanted)?,
        };
        let place = if self.query.is_some() { "query" } else { "template" };
        let problem = |message: String| vec![Problem::new(place, message)];
        if text.len() > MAX_EXPRESSION_BYTES {
            return Err(problem(format!(
                "it is {} bytes long; the maximum is {MAX_EXPRESSION_BYTES}; a recording rule \
                keeps queries short",
                text.len()
            )));
        }
        let expression = promql::read(&text).map_err(|error| problem(error.told(&text)))?;
        if wanted == Wanted::Samples && !expression.plain {
            let message = "raw samples need a plain selector such as \
            `http_requests_total{job=\"shop\"}`, without function, operator, range, offset or \
            `@`; the host computes rates and ratios itself";
            return Err(problem(message.to_owned()));
        }
        if wanted == Wanted::Value
            && expression.plain
            && expression
                .selectors
                .first()
                .and_then(|one| one.metric.as_deref())
                .is_some_and(is_counter)
        {
            let message = "the value of a counter means nothing by itself; write \
            `rate(…[{{window}}])`"
                .to_owned();
            return Err(problem(message));
        }
        Ok(Question { text, expression })
    }

    /// The parameters of templates that are set, with whether they fit the shape.
    fn parameters(&self, wanted: Wanted) -> impl Iterator<Item = (&'static str, bool)> {
        let value_only = wanted == Wanted::Value;
        [
            ("metric", self.metric.is_some(), true),
            ("status_label", self.status_label.is_some(), true),
            ("pattern", self.pattern.is_some(), true),
            ("selector", self.selector.is_some(), true),
            ("quantile", self.quantile.is_some(), value_only),
            ("of", self.of.is_some(), value_only),
        ]
        .into_iter()
        .filter_map(|(name, set, fits)| set.then_some((name, fits)))
    }

    fn written(&self, template: Template, wanted: Wanted) -> Result<String, Vec<Problem>> {
        let mut problems = Vec::new();
        for (name, fits) in self.parameters(wanted) {
            if !template.knows(name) {
                problems.push(Problem::new(
                    name,
                    format!("the template `{}` has no such parameter", template.name()),
                ));
            } else if !fits {
                problems.push(Problem::new(name, "it has no effect on raw samples; remove it"));
            }
        }
        let metric = self.metric.as_deref().unwrap_or(match template {
            Template::HttpErrors | Template::HttpRequests => "http_requests_total",
            Template::Latency => "http_request_duration_seconds_bucket",
            Template::Saturation => "process_open_fds",
        });
        let of = self.of.as_deref().or((template == Template::Saturation && self.metric.is_none())
            .then_some("process_max_fds"));
        for (place, name) in [("metric", Some(metric)), ("of", of)] {
            if let Some(name) = name.filter(|name| !is_name(name, true)) {
                problems.push(Problem::new(
                    place,
                    format!("`{name}` is not a metric name; labels go in `selector`"),
                ));
            }
        }
        let metric = if template == Template::Latency && !metric.ends_with("_bucket") {
            format!("{metric}_bucket")
        } else {
            metric.to_owned()
        };
        let label = self.status_label.as_deref().unwrap_or("code");
        if !is_name(label, false) {
            problems.push(Problem::new("status_label", format!("`{label}` is not a label name")));
        }
        let pattern = self.pattern.as_deref().unwrap_or("5..");
        if pattern.is_empty() || pattern.contains("{{") {
            problems.push(Problem::new(
                "pattern",
                "must be a regular expression such as `5..|429`, without placeholders",
            ));
        }
        let quantile = self.quantile.unwrap_or(0.95);
        if !(quantile > 0.0 && quantile < 1.0) {
            problems.push(Problem::new("quantile", format!("`{quantile}` is not between 0 and 1")));
        }
        let selector = self
            .selector
            .as_deref()
            .unwrap_or(r#"instance=~"{{backends}}""#)
            .trim()
            .trim_end_matches(',');
        let alone = format!("x{{{selector}}}");
        match promql::read(&alone) {
            Ok(found) if found.plain => {}
            Ok(_) => problems.push(Problem::new(
                "selector",
                "must contain only matchers, such as `job=\"shop\",instance=~\"{{backends}}\"`",
            )),
            // What stands before the matchers is ours.
            Err(error) => problems.push(Problem::new(
                "selector",
                promql::SyntaxError { at: error.at.saturating_sub(2), ..error }.told(selector),
            )),
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let pattern = crate::placeholder::escaped(pattern);
        let all = format!("{metric}{{{selector}}}");
        let comma = if selector.is_empty() { "" } else { "," };
        let errors = format!("{metric}{{{selector}{comma}{label}=~\"{pattern}\"}}");
        Ok(match (wanted, template) {
            (Wanted::Samples, Template::HttpErrors) => errors,
            (
                Wanted::Samples,
                Template::HttpRequests | Template::Latency | Template::Saturation,
            ) => all,
            // Without an error so far its counter isn't there yet; without any request there is
            // nothing to judge.
            (Wanted::Value, Template::HttpErrors) => format!(
                "(sum(rate({errors}[{{{{window}}}}])) or vector(0)) / \
                 sum(rate({all}[{{{{window}}}}]))"
            ),
            (Wanted::Value, Template::HttpRequests) => format!("sum(rate({all}[{{{{window}}}}]))"),
            (Wanted::Value, Template::Latency) => {
                format!("histogram_quantile({quantile}, sum by (le) (rate({all}[{{{{window}}}}])))")
            }
            (Wanted::Value, Template::Saturation) => match of {
                Some(of) => format!("max({all} / {of}{{{selector}}})"),
                None => format!("max({all})"),
            },
        })
    }
}

fn is_name(name: &str, colons: bool) -> bool {
    name.bytes().enumerate().all(|(index, byte)| {
        byte.is_ascii_alphabetic()
            || byte == b'_'
            || (colons && byte == b':')
            || (index > 0 && byte.is_ascii_digit())
    }) && !name.is_empty()
}

fn is_counter(metric: &str) -> bool {
    metric.ends_with("_total") || metric.ends_with("_bucket")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(json: &str, wanted: Wanted) -> Result<String, Vec<String>> {
        let table: QueryTable = serde_json::from_str(json).unwrap();
        let told = |problems: Vec<Problem>| {
            problems
                .into_iter()
                .map(|problem| format!("{}: {}", problem.path, problem.message))
                .collect()
        };
        table.question(wanted).map(|question| question.text).map_err(told)
    }

    #[test]
    fn templates_write_what_the_usual_client_libraries_export() {
        let value = |json: &str| question(json, Wanted::Value).unwrap();
        let samples = |json: &str| question(json, Wanted::Samples).unwrap();
        assert_eq!(
            value(r#"{"template": "http-errors"}"#),
            r#"(sum(rate(http_requests_total{instance=~"{{backends}}",code=~"5.."}[{{window}}])) or vector(0)) / sum(rate(http_requests_total{instance=~"{{backends}}"}[{{window}}]))"#
        );
        assert_eq!(
            samples(
                r#"{"template": "http-errors", "metric": "req", "status_label": "status", "pattern": "5\\d\\d|429", "selector": "job=\"a\", "}"#
            ),
            r#"req{job="a",status=~"5\\d\\d|429"}"#
        );
        assert_eq!(
            value(r#"{"template": "http-requests", "selector": ""}"#),
            "sum(rate(http_requests_total{}[{{window}}]))"
        );
        assert_eq!(
            value(r#"{"template": "latency", "metric": "rpc_seconds", "quantile": 0.99}"#),
            r#"histogram_quantile(0.99, sum by (le) (rate(rpc_seconds_bucket{instance=~"{{backends}}"}[{{window}}])))"#
        );
        assert_eq!(
            samples(r#"{"template": "latency"}"#),
            r#"http_request_duration_seconds_bucket{instance=~"{{backends}}"}"#
        );
        assert_eq!(
            value(r#"{"template": "saturation"}"#),
            r#"max(process_open_fds{instance=~"{{backends}}"} / process_max_fds{instance=~"{{backends}}"})"#
        );
        assert_eq!(
            value(r#"{"template": "saturation", "metric": "queue_depth"}"#),
            r#"max(queue_depth{instance=~"{{backends}}"})"#
        );
    }

    #[test]
    fn mistakes_are_told_at_their_place() {
        for (json, wanted, told) in [
            ("{}", Wanted::Value, "query: set `query` or"),
            (
                r#"{"query": "up", "template": "latency"}"#,
                Wanted::Value,
                "template: `query` and `template` exclude",
            ),
            (
                r#"{"query": "up", "metric": "x"}"#,
                Wanted::Value,
                "metric: `metric` is for templates",
            ),
            (
                r#"{"query": "up ("}"#,
                Wanted::Value,
                "query: character 5: it ends where an expression",
            ),
            (
                r#"{"query": "rate(x[5m])"}"#,
                Wanted::Samples,
                "query: raw samples need a plain selector",
            ),
            (r#"{"query": "x_total"}"#, Wanted::Value, "query: the value of a counter"),
            (
                r#"{"template": "latency", "pattern": "x"}"#,
                Wanted::Value,
                "pattern: the template `latency` has no such parameter",
            ),
            (
                r#"{"template": "latency", "quantile": 0.9}"#,
                Wanted::Samples,
                "quantile: it has no effect on raw samples",
            ),
            (
                r#"{"template": "latency", "quantile": 95}"#,
                Wanted::Value,
                "quantile: `95` is not between",
            ),
            (
                r#"{"template": "http-errors", "metric": "a{b}"}"#,
                Wanted::Value,
                "metric: `a{b}` is not a metric name",
            ),
            (
                r#"{"template": "http-errors", "status_label": "a-b"}"#,
                Wanted::Value,
                "status_label: `a-b` is not",
            ),
            (
                r#"{"template": "http-errors", "selector": "a=b"}"#,
                Wanted::Value,
                "selector: character 3: found `b`",
            ),
            (
                r#"{"template": "http-errors", "selector": "a=\"b\"} or up{x=\"y\""}"#,
                Wanted::Value,
                "selector: must contain only matchers",
            ),
        ] {
            let problems = question(json, wanted).expect_err(json);
            assert!(
                problems.len() == 1 && problems.iter().all(|problem| problem.starts_with(told)),
                "{json}: {problems:?}"
            );
        }
        let long = format!(r#"{{"query": "{}"}}"#, "x+".repeat(4000));
        assert!(
            question(&long, Wanted::Value)
                .unwrap_err()
                .iter()
                .all(|told| told.contains("recording rule"))
        );
    }
}
