//! `[metrics]` as it is written.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where the numbers about deployments go when a run ends.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RawMetrics {
    /// A file for the textfile collector of `node_exporter`, relative to the manifest; its name
    /// ends in `.prom`, and no other service may use it. It is replaced atomically.
    #[schemars(example = &"/var/lib/node_exporter/agente-shop.prom")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) textfile: Option<String>,
    /// The URL of a Pushgateway; the metrics are grouped there by service and environment. An
    /// unreachable one is only a warning.
    #[schemars(example = &"http://127.0.0.1:9091")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) push: Option<String>,
}
