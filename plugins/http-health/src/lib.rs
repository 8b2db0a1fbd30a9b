//! The plugin `http-health`: asks backends, or the service's public URL, over HTTP, and compares
//! the answers with what the check expects.
//!
//! Invariants: every question is asked on a connection of its own and no redirect is followed; an
//! answer is complete or it counts as none; nothing that could not be asked is ever called
//! unhealthy, and nothing that was not answered as expected is ever called healthy.

pub mod check;
pub mod config;
pub mod expectation;
pub mod grammar;
pub mod spec;
pub mod status;
pub mod target;
pub mod whom;

use crate::config::Config;
use crate::spec::{Spec, SpecTable};
use agente_plugin_sdk::health::Outcome;
use agente_plugin_sdk::{
    Description, Failure, HealthCheck, Host, Plugin, Problem, Subject, Verdict,
};
use std::borrow::Cow;

/// The plugin.
#[derive(Debug)]
pub struct HttpHealth;

impl Plugin for HttpHealth {
    type Config = Config;

    fn describe() -> Description {
        let summary = "Sends HTTP requests to backends or a URL and compares status, headers, \
        JSON fields, body text and latency with what is expected.";
        Description::new::<Config>(
            env!("CARGO_PKG_NAME"),
            env!("CARGO_PKG_VERSION"),
            "health-check",
            summary,
        )
        .with_spec::<SpecTable>()
    }

    fn description() -> Cow<'static, str> {
        include_str!("../description.json").into()
    }

    fn check_config(config: &Config) -> Vec<Problem> {
        config.problems()
    }
}

impl HealthCheck for HttpHealth {
    type Spec = SpecTable;

    fn check_spec(spec: &SpecTable) -> Vec<Problem> {
        Spec::read(spec).err().unwrap_or_default()
    }

    fn check<H: Host>(
        host: &H,
        config: &Config,
        subject: &Subject,
        spec: &SpecTable,
    ) -> Result<Verdict, Failure> {
        match Spec::read(spec) {
            Ok(spec) => check::check(host, config, subject, &spec),
            Err(problems) => {
                let told: Vec<String> = problems
                    .into_iter()
                    .map(|problem| format!("`{}`: {}", problem.path, problem.message))
                    .collect();
                Ok(Verdict::new(
                    Outcome::Errored,
                    format!("the check's table is invalid at {}", told.join("; ")),
                ))
            }
        }
    }
}

#[cfg(target_arch = "wasm32")]
agente_plugin_sdk::export_health_check!(HttpHealth);
