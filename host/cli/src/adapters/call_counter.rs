//! The port `Audit`: how plugins were called by this process, by deployment.

use super::PluginLines;
use agente_engine::names::DeploymentId;
use agente_engine::ports::PluginCalls;
use agente_wasm::{Audit, CallEnd, CallRecord, EffectRecord};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Deployment, plugin, operation.
type Key = (String, String, &'static str);

/// Counts the calls of plugins on their way to the log.
#[derive(Default)]
pub(crate) struct CallCounter {
    calls: Mutex<BTreeMap<Key, PluginCalls>>,
}

impl CallCounter {
    /// The calls on behalf of a deployment so far, by plugin and operation.
    pub(crate) fn of(&self, deployment: &DeploymentId) -> Vec<PluginCalls> {
        self.calls()
            .iter()
            .filter(|((of, ..), _)| *of == deployment.0)
            .map(|(_, calls)| calls.clone())
            .collect()
    }

    fn calls(&self) -> MutexGuard<'_, BTreeMap<Key, PluginCalls>> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Audit for CallCounter {
    fn record(&self, record: EffectRecord) {
        PluginLines.record(record);
    }

    fn called(&self, call: CallRecord) {
        let CallRecord { plugin, deployment, operation, took, end } = call;
        tracing::debug!(%plugin, operation, ?took, "{}", end.name());
        let mut all = self.calls();
        let counted =
            all.entry((deployment, plugin.to_string(), operation)).or_insert_with(|| PluginCalls {
                plugin: plugin.to_string(),
                operation: operation.to_owned(),
                ..PluginCalls::default()
            });
        *counted.results.entry(end.name().to_owned()).or_default() += 1;
        if let CallEnd::Faulted(fault) = end {
            *counted.faults.entry(fault.name().to_owned()).or_default() += 1;
        }
        counted.micros =
            counted.micros.saturating_add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test")]

    use super::*;
    use agente_engine::names::PluginName;
    use agente_wasm::CallFault;
    use std::time::Duration;

    #[test]
    fn calls_are_counted_by_deployment_plugin_operation_and_end() {
        let counter = CallCounter::default();
        let call = |deployment: &str, operation, end| CallRecord {
            plugin: PluginName::new("nginx-switch").unwrap(),
            deployment: deployment.to_owned(),
            operation,
            took: Duration::from_millis(3),
            end,
        };
        counter.called(call("d-1", "apply", CallEnd::Answered));
        counter.called(call("d-1", "apply", CallEnd::Faulted(CallFault::Trapped)));
        counter.called(call("d-1", "observe", CallEnd::Failed));
        counter.called(call("d-2", "apply", CallEnd::Dropped));
        counter.called(call("", "features", CallEnd::Answered));
        let calls = counter.of(&DeploymentId("d-1".to_owned()));
        assert_eq!(
            calls.iter().map(|calls| calls.operation.as_str()).collect::<Vec<_>>(),
            ["apply", "observe"]
        );
        assert_eq!(
            calls[0].results,
            BTreeMap::from([("answered".to_owned(), 1), ("faulted".to_owned(), 1)])
        );
        assert_eq!(
            (calls[0].faults.clone(), calls[0].micros),
            (BTreeMap::from([("trapped".to_owned(), 1)]), 6_000)
        );
        assert!(calls[1].faults.is_empty());
    }
}
