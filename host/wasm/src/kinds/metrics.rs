//! A source of metrics of contract 0.1 as the engine's port. What a plugin answers is judged before
//! the engine sees it: numbers that are none, times that run backwards and more data than any
//! analysis needs are faults.

use super::nouns::write_subject;
use crate::bindings::metrics::MetricsPluginPre;
use crate::bindings::metrics::exports::agente::health::metrics as guest;
use crate::calls::{Call, Export};
use crate::exports::Exports;
use crate::guest::Guest;
use crate::operation::OperationContext;
use crate::plugin::{ConfigProblem, Plugin};
use crate::running::Undone;
use agente_engine::fault::{Fault, FaultKind};
use agente_engine::names::Timestamp;
use agente_engine::ports::{MetricQuery, MetricSource, Reading, Series, Wanted};
use agente_engine::verdict::Subject;
use async_trait::async_trait;
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;

const QUERY: Call = Call::reading("query");
const MISSING: Call = Call::reading("missing");
const CHECK_QUERY: Call = Call::judging("check-query");

/// What a health check that gives numbers exports beside its own.
pub(super) const EXPORT: Export =
    Export { interface: METRICS, required: false, calls: &[QUERY, MISSING, CHECK_QUERY] };

/// The interface through which a health check gives numbers as well.
pub(crate) const METRICS: &str = "agente:health/metrics@0.1.0";

/// The series of one answer: far more than the instances, statuses and buckets of one service make.
pub const MAX_SERIES: usize = 2000;

/// The points of one answer, all series together: 2,000 series over 100 scrapes.
pub const MAX_POINTS: usize = 200_000;

/// Sentences of doubt that are kept.
const MAX_DOUBTS: usize = 20;

/// A plugin that gives numbers for analysis.
#[derive(Clone)]
pub struct WasmMetrics {
    plugin: Plugin,
    context: OperationContext,
}

/// The contract's word for a shape of numbers.
fn word(wanted: Wanted) -> &'static str {
    match wanted {
        Wanted::Value => "value",
        Wanted::Samples => "samples",
    }
}

impl Plugin {
    /// As a source of metrics.
    ///
    /// # Errors
    ///
    /// [`FaultKind::Unsupported`] where the plugin does not export `agente:health/metrics`.
    pub fn metrics(&self, context: OperationContext) -> Result<WasmMetrics, Fault> {
        let source = WasmMetrics { plugin: self.clone(), context };
        source.exports().map(drop)?;
        Ok(source)
    }
}

impl WasmMetrics {
    /// Judges a query's own table. It runs with every effect denied.
    pub async fn check_query(
        &self,
        spec: &Value,
        wanted: Wanted,
    ) -> Result<Vec<ConfigProblem>, Fault> {
        let operation = Arc::new(self.plugin.operation(CHECK_QUERY, &self.context, Duration::MAX));
        let spec = spec.to_string();
        let problems = self
            .plugin
            .run(&operation, self.exports()?, move |plugin, store| {
                let metrics = plugin.agente_health_metrics();
                Box::pin(async move { metrics.call_check_query(store, &spec, word(wanted)).await })
            })
            .await?;
        Ok(ConfigProblem::all(problems))
    }

    fn exports(&self) -> Result<&MetricsPluginPre<Guest>, Fault> {
        let Exports::Checker(_, Some(exports)) = &self.plugin.0.exports else {
            let message = format!(
                "the plugin {} provides no metrics for analysis: it does not export `{METRICS}`",
                self.plugin.whose()
            );
            return Err(Fault::new(FaultKind::Unsupported, message)
                .hint("use one that does, such as the bundled `prometheus-health`"));
        };
        Ok(exports)
    }
}

/// Only a source that did not answer may answer later without anybody changing anything, whatever
/// the plugin says.
fn failed(undone: Undone) -> Fault {
    let mut fault = Fault::from(undone);
    fault.retryable &= matches!(fault.kind, FaultKind::Unavailable | FaultKind::TimedOut);
    fault
}

/// An answer as the engine takes it.
///
/// # Errors
///
/// A clause that says why the answer can't be used.
fn judged(answer: guest::Reading) -> Result<Reading, String> {
    let points: usize = answer.series.iter().map(|series| series.points.len()).sum();
    if answer.series.len() > MAX_SERIES {
        return Err(format!(
            "{} series; an answer may have at most {MAX_SERIES}",
            answer.series.len()
        ));
    }
    if points > MAX_POINTS {
        return Err(format!("{points} points; an answer may have at most {MAX_POINTS}"));
    }
    let series =
        answer.series.into_iter().map(judged_series).collect::<Result<Vec<_>, String>>()?;
    Ok(Reading { series, doubts: answer.doubts.into_iter().take(MAX_DOUBTS).collect() })
}

fn judged_series(series: guest::Series) -> Result<Series, String> {
    let named = |labels: &[(String, String)]| {
        let labels: Vec<String> =
            labels.iter().take(8).map(|(name, value)| format!("{name}={value:?}")).collect();
        format!("the series {{{}}}", labels.join(", "))
    };
    if let Some((at, value)) = series.points.iter().find(|(_, value)| !value.is_finite()) {
        return Err(format!(
            "{} has `{value}` at {at}, which is not a finite number",
            named(&series.labels)
        ));
    }
    if let Some([(before, _), (after, _)]) =
        series.points.array_windows().find(|[(before, _), (after, _)]| before >= after)
    {
        return Err(format!(
            "the timestamps of {} go backwards, from {before} to {after}",
            named(&series.labels)
        ));
    }
    let mut points = Vec::with_capacity(series.points.len());
    for (at, value) in series.points {
        points.push((Timestamp(at), value));
    }
    Ok(Series { labels: series.labels, points })
}

#[async_trait]
impl MetricSource for WasmMetrics {
    async fn read(
        &self,
        query: &MetricQuery,
        wanted: Wanted,
        subject: &Subject,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Reading, Fault> {
        let backends = subject.backends.iter().map(|backend| backend.address.as_str());
        let operation = self.plugin.operation(QUERY, &self.context, query.timeout);
        let operation = Arc::new(operation.with_backends(backends));
        let (subject, spec) = (write_subject(subject), query.spec.to_string());
        let answer = self
            .plugin
            .ask(&operation, self.exports()?, move |plugin, store| {
                let metrics = plugin.agente_health_metrics();
                let wanted = word(wanted);
                Box::pin(async move {
                    metrics.call_query(store, &subject, &spec, wanted, from.0, to.0).await
                })
            })
            .await
            .map_err(failed)?;
        let reading = judged(answer).map_err(|why| {
            let message = operation.redact(format!(
                "the plugin {} gave an unusable answer to `query`: {why}",
                self.plugin.whose()
            ));
            Fault::new(FaultKind::PluginCrashed, message)
        })?;
        Ok(Reading {
            doubts: reading.doubts.into_iter().map(|doubt| operation.redact(doubt)).collect(),
            ..reading
        })
    }

    async fn missing(&self, query: &MetricQuery) -> Result<Vec<String>, Fault> {
        let operation = self.plugin.operation(MISSING, &self.context, query.timeout);
        let spec = query.spec.to_string();
        self.plugin
            .ask(&Arc::new(operation), self.exports()?, |plugin, store| {
                let metrics = plugin.agente_health_metrics();
                Box::pin(async move { metrics.call_missing(store, &spec).await })
            })
            .await
            .map_err(failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(series: u64, points: u64) -> guest::Reading {
        let one = || guest::Series {
            labels: Vec::new(),
            points: (0..points).map(|at| (at, 1.0)).collect(),
        };
        guest::Reading {
            series: (0..series).map(|_| one()).collect(),
            doubts: vec!["odd".to_owned(); 50],
        }
    }

    #[test]
    fn an_answer_at_the_limits_is_taken_and_one_beyond_them_is_not() {
        let full = judged(reading(2000, 100)).unwrap();
        assert_eq!((full.series.len(), full.doubts.len()), (MAX_SERIES, MAX_DOUBTS));
        assert!(judged(reading(2001, 1)).unwrap_err().contains("2001 series"));
        assert!(judged(reading(1, 200_001)).unwrap_err().contains("200001 points"));
    }
}
