//! A component around a plugin, per kind. Only converts; the macros of the crate root put it together.

use crate::bindings::health::exports::agente::health::checker as wit_health;
use crate::bindings::imports::agente::types::types as wit;
use crate::bindings::meta::exports::agente::plugin::meta;
use crate::bindings::traffic::exports::agente::traffic::switcher as wit_traffic;
use crate::config;
use crate::failure::Failure;
use crate::health::{HealthCheck, Subject};
use crate::host::Host;
use crate::plugin::Plugin;
use crate::traffic::{Backend, Desired, MatchRule, Route, TrafficSwitcher};
use crate::wit_host::WitHost;
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

fn fail(failure: Failure) -> wit::Failure {
    wit::Failure { code: failure.code.as_str().into(), retryable: failure.retryable, message: failure.message, hint: failure.hint, labels: failure.labels }
}

fn configured<P: Plugin>() -> Result<P::Config, wit::Failure> {
    config::load::<P>(&WitHost.config()).map_err(fail)
}

fn backend(one: wit::Backend) -> Backend {
    Backend { id: one.id, address: one.address, labels: one.labels }
}

fn desired(wanted: wit::Desired) -> Desired {
    Desired {
        fence: wanted.fence,
        routes: wanted
            .routes
            .into_iter()
            .map(|route| Route { slot: route.slot, weight: route.weight, backends: route.backends.into_iter().map(backend).collect(), labels: route.labels })
            .collect(),
        overrides: wanted
            .overrides
            .into_iter()
            .map(|rule| MatchRule { slot: rule.slot, by: rule.by, name: rule.name, value: rule.value, labels: rule.labels })
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
                backends: route.backends.into_iter().map(|one| wit::Backend { id: one.id, address: one.address, labels: one.labels }).collect(),
                labels: route.labels,
            })
            .collect(),
        overrides: seen
            .overrides
            .into_iter()
            .map(|rule| wit::MatchRule { slot: rule.slot, by: rule.by, name: rule.name, value: rule.value, labels: rule.labels })
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
        config::check::<P>(&config_json).into_iter().map(|problem| meta::Problem { path: problem.path, message: problem.message }).collect()
    }
}

impl<P: TrafficSwitcher> wit_traffic::Guest for Traffic<P> {
    fn features() -> Result<wit_traffic::Abilities, wit::Failure> {
        let features = P::features(&WitHost, &configured::<P>()?).map_err(fail)?;
        Ok(wit_traffic::Abilities { names: features.names, lock_key: features.lock_key, warnings: features.warnings, labels: features.labels })
    }

    fn plan(wanted: wit::Desired) -> Result<String, wit::Failure> {
        P::plan(&WitHost, &configured::<P>()?, &desired(wanted)).map_err(fail)
    }

    fn apply(op_id: String, wanted: wit::Desired) -> Result<wit_traffic::Observed, wit::Failure> {
        P::apply(&WitHost, &configured::<P>()?, &op_id, &desired(wanted)).map(observed).map_err(fail)
    }

    fn observe() -> Result<wit_traffic::Observed, wit::Failure> {
        P::observe(&WitHost, &configured::<P>()?).map(observed).map_err(fail)
    }

    fn drain(op_id: String, slot: String) -> Result<wit_traffic::Drained, wit::Failure> {
        let drained = P::drain(&WitHost, &configured::<P>()?, &op_id, &slot).map_err(fail)?;
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
    fn check(subject: wit_health::Subject, spec_json: String) -> Result<wit_health::Verdict, wit::Failure> {
        let spec: P::Spec = config::parse(&spec_json).map_err(|problem| fail(Failure::invalid_config(format!("`{}`: {}", problem.path, problem.message))))?;
        let subject =
            Subject { slot: subject.slot, release: subject.release, backends: subject.backends.into_iter().map(backend).collect(), labels: subject.labels };
        let verdict = P::check(&WitHost, &configured::<P>()?, &subject, &spec).map_err(fail)?;
        Ok(wit_health::Verdict { outcome: verdict.outcome.as_str().into(), value: verdict.value, reason: verdict.reason, labels: verdict.labels })
    }

    fn check_spec(spec_json: String) -> Vec<(String, String)> {
        match config::parse::<P::Spec>(&spec_json) {
            Ok(spec) => P::check_spec(&spec).into_iter().map(|problem| (problem.path, problem.message)).collect(),
            Err(problem) => vec![(problem.path, problem.message)],
        }
    }
}
