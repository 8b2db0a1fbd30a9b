//! What parts of a manifest mean where the engine has no type for it, and what the command line
//! may say instead.

use agente_engine::names::PluginName;
use serde_json::Value as Json;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// The plugins that come with the program: found by name, and usable without a table of their own.
pub const SHIPPED_PLUGINS: [&str; 4] =
    ["http-health", "nginx-switch", "prometheus-health", "tcp-health"];

/// What the command line says instead of the manifest.
#[derive(Debug, Clone, Default)]
pub struct Overrides {
    /// Which environment is meant (`--env`).
    pub environment: Option<String>,
    /// The image instead of the manifest's (`--image`).
    pub image: Option<String>,
    /// The program file instead of the manifest's; used as it is, not relative to the manifest.
    pub artifact: Option<PathBuf>,
    /// Components instead of the manifest's, by plugin (`--plugin`); they count as declared.
    pub plugins: BTreeMap<PluginName, PathBuf>,
    /// The command looks after what stands already: the artifact of a next release need not be
    /// there.
    pub standing: bool,
}

/// Where the bits of a new release come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ArtifactSource {
    /// A program file.
    File(PathBuf),
    /// An image, as the user wrote it.
    Image(String),
}

/// Where a secret's value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretSource {
    /// A variable of our own environment.
    Env(String),
    /// A file; its last line break is not part of the value.
    File(PathBuf),
    /// A program and its arguments, run without a shell in the manifest's folder; its output is the
    /// value.
    Command(Vec<String>),
}

/// What the manifest says about a plugin.
#[derive(Debug, Clone, PartialEq)]
pub struct PluginSection {
    /// The component; none where it is to be found by name.
    pub path: Option<PathBuf>,
    /// The plugin's own configuration: a JSON object, empty where there is none.
    pub config: Json,
    /// Whether the manifest has a table for it.
    pub declared: bool,
}

/// Where the numbers about deployments go when a run ends.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MetricsSection {
    /// A file for the textfile collector of `node_exporter`.
    pub textfile: Option<PathBuf>,
    /// A Pushgateway's URL, without a `/` at its end.
    pub push: Option<String>,
}
