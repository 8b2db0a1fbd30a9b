//! Why a plugin was not admitted: each layer has its own error with its own fix.

use crate::capability::Capabilities;
use crate::component::ComponentError;
use crate::grant::Difference;
use crate::limits::OverBudget;
use crate::plugin::ConfigProblem;
use crate::request::RequestError;
use crate::running::CallError;
use agente_engine::names::{Digest, PluginName, Scope};
use std::path::PathBuf;

/// A refusal for want of a grant, with all that is needed to give one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotGranted {
    pub plugin: PluginName,
    pub version: String,
    /// For whom it was to run.
    pub scope: Scope,
    /// The component.
    pub path: PathBuf,
    /// Of its bytes.
    pub digest: Digest,
    /// What it asks for.
    pub asks: Capabilities,
    /// How that differs from what was granted; none if nothing was.
    pub difference: Option<Difference>,
}

impl NotGranted {
    /// What it asks for, or what changed, one rule a line.
    pub fn lines(&self) -> Vec<String> {
        match &self.difference {
            Some(difference) => difference.lines(),
            None => self.asks.lines().into_iter().collect(),
        }
    }

    /// The command that grants it.
    pub fn command(&self) -> String {
        format!(
            "agente-host plugin add {} --env {} --yes",
            shell_word(&self.path.display().to_string()),
            self.scope.environment
        )
    }
}

fn shell_word(text: &str) -> String {
    let plain = |c: char| {
        c.is_ascii_alphanumeric()
            || matches!(c, '/' | '.' | '-' | '_' | '+' | '=' | ':' | '@' | '%')
    };
    if !text.is_empty() && text.chars().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

/// Why a plugin was not admitted.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file could not be read.
    #[error("the plugin `{plugin}` was not found: `{}` can't be read", path.display())]
    NotFound {
        plugin: PluginName,
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    /// The file is not a plugin.
    #[error("`{}` is not a plugin", path.display())]
    NotAPlugin {
        path: PathBuf,
        #[source]
        source: ComponentError,
    },
    /// Its request doesn't fit the manifest.
    #[error("the request of the plugin `{plugin}` can't be filled in from the manifest")]
    Request {
        plugin: PluginName,
        #[source]
        source: RequestError,
    },
    /// It was built against another contract, or for another purpose.
    #[error("the plugin `{plugin}` has the wrong contract: {why}")]
    WrongContract {
        plugin: PluginName,
        /// What doesn't fit.
        why: String,
    },
    /// It was never granted anything, or has changed since.
    #[error("the plugin `{}` {} {} {}", .0.plugin, .0.version, if .0.difference.is_some() { "does not match its grant for" } else { "has no grant for" }, .0.scope)]
    NotGranted(Box<NotGranted>),
    /// It could not be compiled.
    #[error("the plugin `{plugin}` can't be compiled: {why}")]
    Compile { plugin: PluginName, why: String },
    /// It used up a budget while it was admitted.
    #[error("the plugin `{plugin}` exceeded its limits while it was being loaded")]
    OverBudget {
        plugin: PluginName,
        #[source]
        source: OverBudget,
    },
    /// It trapped or hung while it was admitted.
    #[error("the plugin `{plugin}` failed while it was being loaded")]
    Crashed {
        plugin: PluginName,
        #[source]
        source: CallError,
    },
    /// It refused its section of the manifest.
    #[error("the plugin `{plugin}` rejects its configuration")]
    ConfigRefused {
        plugin: PluginName,
        /// What is wrong with it.
        problems: Vec<ConfigProblem>,
    },
}

impl LoadError {
    /// What to type or change.
    pub fn hint(&self) -> Option<String> {
        match self {
            LoadError::NotFound { plugin, .. } => Some(format!(
                "set `path` in `[plugins.{plugin}]`, or build it; bundled plugins are found by \
                name next to agente-host"
            )),
            LoadError::NotAPlugin { .. } => Some(
                "a plugin is a `wasm32-wasip2` component with its plugin.toml embedded".to_owned(),
            ),
            LoadError::Request { plugin, .. } => {
                Some(format!("correct the value in `[plugins.{plugin}.config]`"))
            }
            LoadError::WrongContract { .. } => Some(format!(
                "this is agente-host {}; build the plugin against its `wit/`, or use the host \
                 version it was built for",
                env!("CARGO_PKG_VERSION")
            )),
            LoadError::NotGranted(refused) => {
                Some(format!("review its request, then grant it with `{}`", refused.command()))
            }
            LoadError::Compile { .. } => Some("download or build the component again".to_owned()),
            LoadError::OverBudget { source, .. } => source.hint(),
            LoadError::Crashed { .. } => {
                Some("this is a bug in the plugin; report it to its author".to_owned())
            }
            LoadError::ConfigRefused { plugin, .. } => {
                Some(format!("correct the values in `[plugins.{plugin}.config]`"))
            }
        }
    }
}
