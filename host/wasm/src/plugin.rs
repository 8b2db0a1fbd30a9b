//! An admitted plugin. Each operation gets a fresh instance, which is gone when the operation ends,
//! however it ends.

use crate::bindings::any::agente::types::types as wit;
use crate::bindings::any::{AnyPlugin, AnyPluginPre};
use crate::cache::Compiled;
use crate::calls::{Call, DESCRIBE};
use crate::capability::Capabilities;
use crate::exports::{Exports, Instantiate};
use crate::grant::Grant;
use crate::guest::Guest;
use crate::host::Shared;
use crate::household::Household;
use crate::limits::Limits;
use crate::operation::{Operation, OperationContext};
use crate::request::{PluginHeader, PluginKind};
use crate::running::{self, CallError, Running, Undone, bounded, store};
use agente_engine::fault::Fault;
use agente_engine::names::{Digest, PluginName};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;
use wasmtime::Store;

/// How a plugin describes itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Description {
    pub name: String,
    pub version: String,
    /// What it is for.
    pub kind: PluginKind,
    /// What it does, in one sentence.
    #[serde(default)]
    pub summary: String,
    /// A JSON Schema of its section of the manifest.
    #[serde(default)]
    pub config: serde_json::Value,
    /// A JSON Schema of the table of a check that uses it; none where it has none.
    #[serde(default)]
    pub spec: Option<serde_json::Value>,
    /// A JSON Schema of the table of a query, where it is a source of metrics.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query: Option<serde_json::Value>,
}

/// Something wrong with a plugin's section of the manifest, or the table of a check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigProblem {
    /// Where, as keys joined by dots; empty for the whole.
    pub path: String,
    /// What is wrong and what would be right.
    pub message: String,
}

impl ConfigProblem {
    /// As the contract has them.
    pub(crate) fn all(pairs: Vec<(String, String)>) -> Vec<Self> {
        pairs.into_iter().map(|(path, message)| Self { path, message }).collect()
    }
}

/// How long the parts of loading took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoadTimes {
    /// Whether it had to be compiled.
    pub compiled: Compiled,
    /// Reading and judging the file without running it.
    pub read: Duration,
    /// Compiling, or taking it from the cache.
    pub compile: Duration,
    /// Linking, the first instance, `describe` and `check-config`.
    pub admit: Duration,
}

/// An admitted plugin, cheap to clone.
#[derive(Clone)]
pub struct Plugin(pub(crate) Arc<Admitted>);

pub(crate) struct Admitted {
    pub(crate) shared: Arc<Shared>,
    pub(crate) household: Arc<Household>,
    pub(crate) any: AnyPluginPre<Guest>,
    pub(crate) exports: Exports,
    pub(crate) header: PluginHeader,
    pub(crate) description: Description,
    pub(crate) digest: Digest,
    pub(crate) size_bytes: u64,
    pub(crate) asks: Capabilities,
    pub(crate) times: LoadTimes,
}

impl Plugin {
    /// Its name in the manifest.
    pub fn name(&self) -> &PluginName {
        &self.0.household.plugin
    }

    /// How it describes itself.
    pub fn description(&self) -> &Description {
        &self.0.description
    }

    /// Its request's head.
    pub fn header(&self) -> &PluginHeader {
        &self.0.header
    }

    /// Of the component's bytes.
    pub fn digest(&self) -> &Digest {
        &self.0.digest
    }

    /// The size of the component.
    pub fn size_bytes(&self) -> u64 {
        self.0.size_bytes
    }

    /// What it asks for, with the manifest's values filled in.
    pub fn asks(&self) -> &Capabilities {
        &self.0.asks
    }

    /// A grant of all that it asks for, for the lock file.
    pub fn grant_of_all(&self, source: impl Into<String>) -> Grant {
        Grant::of_all(source, self.0.digest.clone(), self.0.asks.clone())
    }

    /// How much one operation may use up.
    pub fn limits(&self) -> Limits {
        self.0.household.limits
    }

    /// How long loading it took.
    pub fn times(&self) -> LoadTimes {
        self.0.times
    }

    /// A fresh instance and one call that does nothing outside: what each operation costs at least.
    pub async fn describe_afresh(&self) -> Result<String, CallError> {
        let (mut warm, operation) = self.instance().await?;
        bounded(&operation, warm.describe_text()).await
    }

    /// An instance that is kept for many calls: what the call itself costs. For measurements;
    /// operations never share an instance.
    pub async fn warm(&self) -> Result<WarmInstance, CallError> {
        Ok(self.instance().await?.0)
    }

    async fn instance(&self) -> Result<(WarmInstance, Arc<Operation>), CallError> {
        let operation = Arc::new(Operation::new(
            Arc::clone(&self.0.household),
            DESCRIBE,
            OperationContext::default(),
            Duration::MAX,
        ));
        let mut store = store(&self.0.shared, &operation)?;
        let exports = bounded(&operation, self.0.any.instantiate_async(&mut store)).await?;
        Ok((WarmInstance { store, exports }, operation))
    }

    /// The plugin and its version, for messages.
    pub(crate) fn whose(&self) -> String {
        self.0.household.whose()
    }

    /// A call that is about to be made. `wall`: the longest that the caller waits for it.
    pub(crate) fn operation(
        &self,
        call: Call,
        context: &OperationContext,
        wall: Duration,
    ) -> Operation {
        Operation::new(Arc::clone(&self.0.household), call, context.clone(), wall)
    }

    /// Runs an exported function on a fresh instance.
    pub(crate) async fn run<E: Instantiate, R>(
        &self,
        operation: &Arc<Operation>,
        exports: &E,
        call: impl for<'a> FnOnce(&'a E::Functions, &'a mut Store<Guest>) -> Running<'a, R> + Send,
    ) -> Result<R, Fault> {
        running::run(&self.0.shared, operation, exports, call).await
    }

    /// As [`Self::run`], for a function that may say no.
    pub(crate) async fn ask<E: Instantiate, R>(
        &self,
        operation: &Arc<Operation>,
        exports: &E,
        function: impl for<'a> FnOnce(
            &'a E::Functions,
            &'a mut Store<Guest>,
        ) -> Running<'a, Result<R, wit::Failure>>
        + Send,
    ) -> Result<R, Undone> {
        running::ask(&self.0.shared, operation, exports, function).await
    }
}

/// An instance that is kept for many calls.
pub struct WarmInstance {
    store: Store<Guest>,
    exports: AnyPlugin,
}

impl WarmInstance {
    /// Calls `describe`.
    pub async fn describe(&mut self) -> Result<String, CallError> {
        self.describe_text().await.map_err(|error| CallError::Host(format!("{error:#}")))
    }

    async fn describe_text(&mut self) -> wasmtime::Result<String> {
        self.exports.agente_plugin_meta().call_describe(&mut self.store).await
    }
}
