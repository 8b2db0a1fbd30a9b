//! The port `MetricSource`: each query is asked through the plugin that it names.

use crate::adapters::AnyRuntime;
use agente_engine::fault::{Fault, FaultKind};
use agente_engine::names::{PluginName, Timestamp};
use agente_engine::ports::{MetricQuery, MetricSource, Reading, Wanted};
use agente_engine::verdict::Subject;
use agente_wasm::{OperationContext, Plugin, WasmMetrics};
use async_trait::async_trait;
use std::collections::BTreeMap;

/// The plugins that give numbers, by name.
pub(crate) struct Measures {
    /// A plugin that gives none has its fault, which is told when it is asked.
    pub(crate) sources: BTreeMap<PluginName, Result<WasmMetrics, Fault>>,
    /// Knows where backends are reached from this machine, which is how a metrics server on it
    /// knows them.
    pub(crate) runtime: AnyRuntime,
}

impl Measures {
    /// The sources among loaded plugins, for a context.
    pub(crate) fn of(
        plugins: &BTreeMap<PluginName, Plugin>,
        context: &OperationContext,
        runtime: AnyRuntime,
    ) -> Self {
        let sources = plugins
            .iter()
            .map(|(name, plugin)| (name.clone(), plugin.metrics(context.clone())))
            .collect();
        Self { sources, runtime }
    }

    fn source(&self, plugin: &PluginName) -> Result<&WasmMetrics, Fault> {
        match self.sources.get(plugin) {
            Some(source) => source.as_ref().map_err(Clone::clone),
            None => Err(Fault::new(
                FaultKind::InvalidConfig,
                format!("the plugin `{plugin}` is not loaded"),
            )),
        }
    }
}

#[async_trait]
impl MetricSource for Measures {
    async fn read(
        &self,
        query: &MetricQuery,
        wanted: Wanted,
        subject: &Subject,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Reading, Fault> {
        let source = self.source(&query.plugin)?;
        let subject = super::checks::reachable(&self.runtime, subject).await?;
        source.read(query, wanted, &subject, from, to).await
    }

    async fn missing(&self, query: &MetricQuery) -> Result<Vec<String>, Fault> {
        self.source(&query.plugin)?.missing(query).await
    }
}
