//! The plugin `prometheus-health`: verdicts, and numbers for analysis, from Prometheus or a server
//! that speaks its HTTP API.
//!
//! Invariants: a value that is no number, of several series, partial or stale is never healthy; an
//! empty answer is an answer and no failure; a server that does not answer is a failure that may
//! pass, and one that refuses the query is a failure that does not; a placeholder's value can't end
//! the text it stands in; only GET is used and no redirect is followed.

pub mod api;
pub mod check;
pub mod config;
pub mod missing;
pub mod placeholder;
pub mod promql;
pub mod query;
pub mod source;

use crate::api::Api;
use crate::check::CheckTable;
use crate::config::Config;
use crate::placeholder::Values;
use crate::query::{QueryTable, Question};
use agente_plugin_sdk::{
    Description, Failure, HealthCheck, Host, MetricSource, Plugin, Problem, Reading, Subject,
    Verdict, Wanted, Window,
};
use std::borrow::Cow;
use std::time::Duration;

/// The plugin.
#[derive(Debug)]
pub struct PrometheusHealth;

impl Plugin for PrometheusHealth {
    type Config = Config;

    fn describe() -> Description {
        let summary = "Queries Prometheus, or a server with the same HTTP API, for verdicts and \
        for the metrics that analysis judges.";
        Description::new::<Config>(
            env!("CARGO_PKG_NAME"),
            env!("CARGO_PKG_VERSION"),
            "health-check",
            summary,
        )
        .with_spec::<CheckTable>()
        .with_query::<QueryTable>()
    }

    fn description() -> Cow<'static, str> {
        include_str!("../description.json").into()
    }

    fn check_config(config: &Config) -> Vec<Problem> {
        config.problems()
    }
}

impl HealthCheck for PrometheusHealth {
    type Spec = CheckTable;

    fn check_spec(spec: &CheckTable) -> Vec<Problem> {
        spec.check().err().unwrap_or_default()
    }

    fn check<H: Host>(
        host: &H,
        config: &Config,
        subject: &Subject,
        spec: &CheckTable,
    ) -> Result<Verdict, Failure> {
        let check = spec.check().map_err(|problems| wrong("check", &problems))?;
        check::check(&Api::new(host, config)?, &check, &values(host, subject, check.window))
    }
}

impl MetricSource for PrometheusHealth {
    type Query = QueryTable;

    fn check_query(query: &QueryTable, wanted: Wanted) -> Vec<Problem> {
        query.question(wanted).err().unwrap_or_default()
    }

    fn query<H: Host>(
        host: &H,
        config: &Config,
        subject: &Subject,
        query: &QueryTable,
        wanted: Wanted,
        window: Window,
    ) -> Result<Reading, Failure> {
        let question = read(query, wanted)?;
        let length = Duration::from_millis(window.end_ms.saturating_sub(window.start_ms));
        source::read(
            &Api::new(host, config)?,
            &question,
            &values(host, subject, length),
            wanted,
            window,
        )
    }

    fn missing<H: Host>(
        host: &H,
        config: &Config,
        query: &QueryTable,
    ) -> Result<Vec<String>, Failure> {
        // Which shape is wanted is not said here; the metrics are the same for both.
        let question = read(query, Wanted::Value).or_else(|_| read(query, Wanted::Samples))?;
        missing::missing(&Api::new(host, config)?, &question)
    }
}

fn read(query: &QueryTable, wanted: Wanted) -> Result<Question, Failure> {
    query.question(wanted).map_err(|problems| wrong("query", &problems))
}

fn wrong(what: &str, problems: &[Problem]) -> Failure {
    let told: Vec<String> =
        problems.iter().map(|problem| format!("`{}`: {}", problem.path, problem.message)).collect();
    Failure::invalid_config(format!("the table of the {what} is invalid at {}", told.join("; ")))
}

fn values<H: Host>(host: &H, subject: &Subject, window: Duration) -> Values {
    let context = host.context();
    Values::new(subject, &context.service, &context.environment, window)
}

#[cfg(target_arch = "wasm32")]
agente_plugin_sdk::export_metric_source!(PrometheusHealth);
