//! The plugin `tcp-health`: connects to backends or to something that the service needs, sends
//! bytes, and compares what comes back.
//!
//! Enough for Redis (`PING`) and `PostgreSQL` (an `SSLRequest`). Invariants: one connection per
//! question, closed at its end; an answer is read only until it is decided; nothing that could not
//! be asked is ever called unhealthy, and nothing that was not answered as expected is ever called
//! healthy.

pub mod check;
pub mod spec;

use crate::spec::{Spec, SpecTable};
use agente_plugin_sdk::health::Outcome;
use agente_plugin_sdk::schemars::{self, JsonSchema};
use agente_plugin_sdk::{
    Description, Failure, HealthCheck, Host, Plugin, Problem, Subject, Verdict,
};
use serde::Deserialize;
use std::borrow::Cow;

/// The plugin.
#[derive(Debug)]
pub struct TcpHealth;

/// The plugin's section of the manifest: nothing to set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "The section of tcp-health")]
pub struct Config {}

impl Plugin for TcpHealth {
    type Config = Config;

    fn describe() -> Description {
        let summary = "Connects over TCP, optionally sends bytes, and compares the response with \
        what is expected.";
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

    fn check_config(_config: &Config) -> Vec<Problem> {
        Vec::new()
    }
}

impl HealthCheck for TcpHealth {
    type Spec = SpecTable;

    fn check_spec(spec: &SpecTable) -> Vec<Problem> {
        Spec::read(spec).err().unwrap_or_default()
    }

    fn check<H: Host>(
        host: &H,
        _config: &Config,
        subject: &Subject,
        spec: &SpecTable,
    ) -> Result<Verdict, Failure> {
        match Spec::read(spec) {
            Ok(spec) => Ok(check::check(host, subject, &spec)),
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
agente_plugin_sdk::export_health_check!(TcpHealth);
