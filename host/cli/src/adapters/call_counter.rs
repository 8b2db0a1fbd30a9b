//! The port `Audit`: how plugins were called by this process and what they did, by deployment.

use super::{PluginLines, now};
use agente_engine::names::DeploymentId;
use agente_engine::ports::{PluginCalls, PluginEffect, PluginEffects};
use agente_wasm::{Audit, CallEnd, CallRecord, EffectRecord};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Deployment, plugin, operation.
type Key = (String, String, &'static str);

/// Effects of one deployment that wait here to be written: a second's, or what a full disk does not
/// take. Those beyond are counted.
const MAX_WAITING: usize = 2000;

/// Counts the calls of plugins on their way to the log, and keeps what they did until it is written.
#[derive(Default)]
pub(crate) struct CallCounter {
    calls: Mutex<BTreeMap<Key, PluginCalls>>,
    effects: Mutex<HashMap<String, PluginEffects>>,
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

    /// Takes the effects on behalf of a deployment that wait to be written.
    pub(crate) fn take_effects(&self, deployment: &DeploymentId) -> PluginEffects {
        self.effects().remove(&deployment.0).unwrap_or_default()
    }

    /// Puts back what could not be written; it comes before what has been added since.
    pub(crate) fn put_back(&self, deployment: &DeploymentId, effects: PluginEffects) {
        let mut all = self.effects();
        let waiting = all.entry(deployment.0.clone()).or_default();
        let newer = std::mem::replace(waiting, effects);
        waiting.kept.extend(newer.kept);
        waiting.lost += newer.lost;
        let beyond = waiting.kept.len().saturating_sub(MAX_WAITING);
        waiting.kept.truncate(MAX_WAITING);
        waiting.lost += beyond as u64;
    }

    fn effects(&self) -> MutexGuard<'_, HashMap<String, PluginEffects>> {
        self.effects.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn calls(&self) -> MutexGuard<'_, BTreeMap<Key, PluginCalls>> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Audit for CallCounter {
    fn record(&self, record: EffectRecord) {
        if !record.deployment.is_empty() {
            let mut all = self.effects();
            let waiting = all.entry(record.deployment.clone()).or_default();
            if waiting.kept.len() < MAX_WAITING {
                waiting.kept.push(PluginEffect {
                    at: now(),
                    plugin: record.plugin.to_string(),
                    version: record.version.clone(),
                    operation: record.operation.to_owned(),
                    phase: record.phase.as_str().to_owned(),
                    effect: record.effect.clone(),
                    denied: record.denied.clone(),
                });
            } else {
                waiting.lost += 1;
            }
        }
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

    #[test]
    fn effects_wait_to_be_written_and_those_beyond_a_bound_are_counted() {
        let counter = CallCounter::default();
        let record = |deployment: &str, number: usize| EffectRecord {
            plugin: PluginName::new("nginx-switch").unwrap(),
            version: "0.1.0".to_owned(),
            deployment: deployment.to_owned(),
            operation: "apply",
            phase: agente_wasm::Phase::Write,
            effect: number.to_string(),
            denied: None,
        };
        counter.record(record("d-2", 0));
        counter.record(record("", 0));
        for number in 0..MAX_WAITING + 2 {
            counter.record(record("d-1", number));
        }
        let id = DeploymentId("d-1".to_owned());
        let taken = counter.take_effects(&id);
        assert_eq!((taken.kept.len(), taken.lost), (MAX_WAITING, 2));
        // The disk is full, and the deployment goes on.
        counter.record(record("d-1", 7));
        counter.put_back(&id, taken);
        let again = counter.take_effects(&id);
        assert_eq!((again.kept.len(), again.lost), (MAX_WAITING, 3));
        assert_eq!(again.kept[0].effect, "0");
        assert_eq!(counter.take_effects(&id), PluginEffects::default());
    }
}
