//! The manifest as it is written: one type per table, with the meaning, the default and an example
//! of every key.
//!
//! These types are the one source of the JSON Schema, of the reference, and of what the check of a
//! manifest's shape accepts. Invariants: every key has a doc comment and, unless it holds a table,
//! an example; a key that must be there is optional here and `required` in the schema, so that what
//! else is wrong is found too; nothing here knows about files or other keys.

mod analysis;
mod checks;
mod metrics;
mod policy;
mod runtime;
mod strategy;

pub(crate) use analysis::*;
pub(crate) use checks::*;
pub(crate) use metrics::*;
pub(crate) use policy::*;
pub(crate) use runtime::*;
pub(crate) use strategy::*;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};
use std::collections::BTreeMap;

/// One service: how it runs, and how its traffic is switched, checked and watched.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(title = "agente.toml")]
pub(crate) struct RawManifest {
    /// The name of what is deployed: lower-case letters, digits and `-`, at most 31 characters,
    /// beginning with a letter.
    #[schemars(required, extend("x-required" = true), example = &"shop")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) service: Option<String>,
    /// How the service runs: exactly one of `[runtime.process]` and `[runtime.docker]`.
    #[schemars(required, extend("x-required" = true))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) runtime: Option<RawRuntime>,
    /// Where secrets come from, by name. Values are read when they are needed; they are never
    /// written to the manifest, a release or the journal.
    pub(crate) secrets: BTreeMap<String, RawSecret>,
    /// The plugins that this service uses, by name. `nginx-switch`, `http-health`, `tcp-health`
    /// and `prometheus-health` are bundled and need a table only for their configuration.
    pub(crate) plugins: BTreeMap<String, RawPlugin>,
    /// Which plugin changes the traffic.
    #[schemars(required, extend("x-required" = true))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) switch: Option<RawSwitch>,
    /// Health checks, each with its own limits.
    pub(crate) checks: Vec<RawCheck>,
    /// A shorthand for the service's health endpoints: each becomes an `http-health` check of every
    /// backend.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) health: Option<RawHealth>,
    /// Requests that `agente-host` itself sends from outside during a deployment. Without this
    /// table nothing is verified from outside, and the plan says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) probe: Option<RawProbe>,
    /// How traffic moves to the new release, and what happens to the old one.
    pub(crate) strategy: RawStrategy,
    /// What is measured to compare the new release with the stable one while both take requests,
    /// and again during the bake. Without this table only `[[checks]]` run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) analysis: Option<RawAnalysis>,
    /// How long each kind of step may take.
    pub(crate) timeouts: RawTimeouts,
    /// The disk space that must be free before a deployment starts.
    pub(crate) disk: RawDisk,
    /// Where the metrics of deployments go when a run ends, even a failed one. `agente-host
    /// metrics` prints them at any time.
    pub(crate) metrics: RawMetrics,
    /// What differs by environment: any table of this file except `service` and `environments`.
    /// Tables are merged key by key, lists and values are replaced; if only one of several keys is
    /// allowed (`process` or `docker`, the source of a secret), the environment's choice replaces
    /// the other; if it chooses another `strategy.kind` or `analysis.on_outage`, the keys of the
    /// other are dropped. With several environments, `--env` chooses one.
    pub(crate) environments: BTreeMap<String, RawEnvironment>,
}

/// The tables that differ in one environment. Never read as such: environments are merged before.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(transparent)]
pub(crate) struct RawEnvironment(Map<String, Json>);

/// Where a secret's value comes from: exactly one of these.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("x-exactly-one" = ["env", "file", "command"]))]
pub(crate) struct RawSecret {
    /// An environment variable of `agente-host` itself.
    #[schemars(example = &"DATABASE_URL")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) env: Option<String>,
    /// A file, relative to the manifest; a trailing line break is not part of the value.
    #[schemars(example = &"/run/secrets/database-url")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) file: Option<String>,
    /// A program and its arguments, run without a shell; its standard output is the value, without
    /// a trailing line break.
    #[schemars(example = ["pass", "show", "shop/database-url"])]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) command: Option<Vec<String>>,
}

/// One plugin.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RawPlugin {
    /// The component, relative to the manifest. Without it the plugin is found by name: as recorded
    /// in `agente.lock`, or next to the program.
    #[schemars(example = &"plugins/my-switch.wasm")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) path: Option<String>,
    /// The plugin's own configuration; `agente-host plugin inspect` lists its settings.
    #[schemars(extend("examples" = [{"directory": "/etc/nginx/agente"}]))]
    pub(crate) config: Map<String, Json>,
}

/// Which plugin changes the traffic.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RawSwitch {
    /// The plugin that sets and reads the shares of requests.
    #[schemars(required, extend("x-required" = true), example = &"nginx-switch")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) plugin: Option<String>,
}
