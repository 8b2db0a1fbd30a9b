//! A component around a plugin, per kind. Only converts; the macros of the crate root put it
//! together.

use crate::bindings::health::exports::agente::health::checker as wit_health;
use crate::bindings::imports::agente::types::types as wit;
use crate::bindings::meta::exports::agente::plugin::meta;
use crate::bindings::metrics::exports::agente::health::metrics as wit_metrics;
use crate::bindings::traffic::exports::agente::traffic::switcher as wit_traffic;
use crate::config;
use crate::failure::Failure;
use crate::health::{HealthCheck, Subject};
use crate::host::Host;
use crate::metrics::{MetricSource, Wanted, Window};
use crate::plugin::{Plugin, Problem};
use crate::traffic::{Backend, Desired, MatchRule, Route, TrafficSwitcher};
use crate::wit_host::WitHost;
use serde::de::DeserializeOwned;
use std::marker::PhantomData;

/// What every component exports.
#[derive(Debug)]
pub struct Meta<P>(PhantomData<P>);

/// What a component of kind `traffic-switcher` exports.
#[derive(Debug)]
pub struct Traffic<P>(PhantomData<P>);

/// What a component of kind `health-check` exports.
#[derive(Debug)]
pub struct Health<P>(PhantomData<P>);

/// What a component that is a source of metrics exports beside [`Health`].
#[derive(Debug)]
pub struct Metrics<P>(PhantomData<P>);

fn fail(failure: Failure) -> wit::Failure {
    wit::Failure {
        code: failure.code.as_str().into(),
        retryable: failure.retryable,
        message: failure.message,
        hint: failure.hint,
        labels: failure.labels,
    }
}

fn configured<P: Plugin>() -> Result<P::Config, wit::Failure> {
    config::load::<P>(&WitHost.config()).map_err(fail)
}

fn backend(one: wit::Backend) -> Backend {
    Backend { id: one.id, address: one.address, labels: one.labels }
}

fn subject(about: wit::Subject) -> Subject {
    Subject {
        slot: about.slot,
        release: about.release,
        backends: about.backends.into_iter().map(backend).collect(),
        labels: about.labels,
    }
}

/// Reads the own table of a check or a query for an operation.
fn table<T: DeserializeOwned>(json: &str) -> Result<T, wit::Failure> {
    config::parse(json).map_err(|problem| {
        fail(Failure::invalid_config(format!("`{}`: {}", problem.path, problem.message)))
    })
}

/// Judges the own table of a check or a query: its shape, then its values.
fn problems<T: DeserializeOwned>(
    json: &str,
    judge: impl FnOnce(&T) -> Vec<Problem>,
) -> Vec<(String, String)> {
    let problems = match config::parse(json) {
        Ok(table) => judge(&table),
        Err(problem) => vec![problem],
    };
    problems.into_iter().map(|problem| (problem.path, problem.message)).collect()
}

fn desired(wanted: wit::Desired) -> Desired {
    Desired {
        fence: wanted.fence,
        routes: wanted
            .routes
            .into_iter()
            .map(|route| Route {
                slot: route.slot,
                weight: route.weight,
                backends: route.backends.into_iter().map(backend).collect(),
                labels: route.labels,
            })
            .collect(),
        overrides: wanted
            .overrides
            .into_iter()
            .map(|rule| MatchRule {
                slot: rule.slot,
                by: rule.by,
                name: rule.name,
                value: rule.value,
                labels: rule.labels,
            })
            .collect(),
        labels: wanted.labels,
    }
}

fn observed(seen: crate::Observed) -> wit_traffic::Observed {
    wit_traffic::Observed {
        state: seen.state.as_str().into(),
        generation: seen.generation,
        fence: seen.fence,
        routes: seen
            .routes
            .into_iter()
            .map(|route| wit::Route {
                slot: route.slot,
                weight: route.weight,
                backends: route
                    .backends
                    .into_iter()
                    .map(|one| wit::Backend {
                        id: one.id,
                        address: one.address,
                        labels: one.labels,
                    })
                    .collect(),
                labels: route.labels,
            })
            .collect(),
        overrides: seen
            .overrides
            .into_iter()
            .map(|rule| wit::MatchRule {
                slot: rule.slot,
                by: rule.by,
                name: rule.name,
                value: rule.value,
                labels: rule.labels,
            })
            .collect(),
        message: seen.message,
        labels: seen.labels,
    }
}

impl<P: Plugin> meta::Guest for Meta<P> {
    fn describe() -> String {
        P::description().into_owned()
    }

    fn check_config(config_json: String) -> Vec<meta::Problem> {
        config::check::<P>(&config_json)
            .into_iter()
            .map(|problem| meta::Problem { path: problem.path, message: problem.message })
            .collect()
    }
}

impl<P: TrafficSwitcher> wit_traffic::Guest for Traffic<P> {
    fn features() -> Result<wit_traffic::Abilities, wit::Failure> {
        let features = P::features(&WitHost, &configured::<P>()?).map_err(fail)?;
        Ok(wit_traffic::Abilities {
            names: features.names,
            lock_key: features.lock_key,
            warnings: features.warnings,
            labels: features.labels,
        })
    }

    fn plan(wanted: wit::Desired) -> Result<String, wit::Failure> {
        P::plan(&WitHost, &configured::<P>()?, &desired(wanted)).map_err(fail)
    }

    fn apply(op_id: String, wanted: wit::Desired) -> Result<wit_traffic::Observed, wit::Failure> {
        P::apply(&WitHost, &configured::<P>()?, &op_id, &desired(wanted))
            .map(observed)
            .map_err(fail)
    }

    fn observe() -> Result<wit_traffic::Observed, wit::Failure> {
        P::observe(&WitHost, &configured::<P>()?).map(observed).map_err(fail)
    }

    fn drain(
        op_id: String,
        slot: String,
        backends: Vec<wit::Backend>,
    ) -> Result<wit_traffic::Drained, wit::Failure> {
        let backends: Vec<Backend> = backends.into_iter().map(backend).collect();
        let drained =
            P::drain(&WitHost, &configured::<P>()?, &op_id, &slot, &backends).map_err(fail)?;
        Ok(wit_traffic::Drained {
            state: if drained.done { "drained".into() } else { "draining".into() },
            remaining: drained.remaining,
            evidence: drained.evidence,
            message: drained.message,
            labels: drained.labels,
        })
    }
}

impl<P: HealthCheck> wit_health::Guest for Health<P> {
    fn check(about: wit::Subject, spec_json: String) -> Result<wit_health::Verdict, wit::Failure> {
        let spec: P::Spec = table(&spec_json)?;
        let verdict =
            P::check(&WitHost, &configured::<P>()?, &subject(about), &spec).map_err(fail)?;
        Ok(wit_health::Verdict {
            outcome: verdict.outcome.as_str().into(),
            value: verdict.value,
            reason: verdict.reason,
            labels: verdict.labels,
        })
    }

    fn check_spec(spec_json: String) -> Vec<(String, String)> {
        problems(&spec_json, P::check_spec)
    }
}

impl<P: MetricSource> wit_metrics::Guest for Metrics<P> {
    fn query(
        about: wit::Subject,
        spec_json: String,
        wanted: String,
        start_ms: u64,
        end_ms: u64,
    ) -> Result<wit_metrics::Reading, wit::Failure> {
        let query: P::Query = table(&spec_json)?;
        let wanted = Wanted::from_text(&wanted).ok_or_else(|| {
            fail(Failure::unsupported(format!(
                "numbers as `{wanted}` are not known to this plugin"
            )))
        })?;
        let reading = P::query(
            &WitHost,
            &configured::<P>()?,
            &subject(about),
            &query,
            wanted,
            Window { start_ms, end_ms },
        )
        .map_err(fail)?;
        Ok(wit_metrics::Reading {
            series: reading
                .series
                .into_iter()
                .map(|series| wit_metrics::Series { labels: series.labels, points: series.points })
                .collect(),
            doubts: reading.doubts,
        })
    }

    fn missing(spec_json: String) -> Result<Vec<String>, wit::Failure> {
        P::missing(&WitHost, &configured::<P>()?, &table(&spec_json)?).map_err(fail)
    }

    fn check_query(spec_json: String, wanted: String) -> Vec<(String, String)> {
        problems(&spec_json, |query| match Wanted::from_text(&wanted) {
            Some(wanted) => P::check_query(query, wanted),
            None => vec![Problem::new(
                "",
                format!("numbers as `{wanted}` are not known to this plugin"),
            )],
        })
    }
}
