//! The port `HealthCheck`: each check is asked through the plugin that it names.

use crate::adapters::AnyRuntime;
use agente_engine::fault::Fault;
use agente_engine::names::PluginName;
use agente_engine::policy::CheckPolicy;
use agente_engine::ports::HealthCheck;
use agente_engine::verdict::{Subject, Verdict, VerdictKind};
use agente_wasm::WasmChecker;
use async_trait::async_trait;
use std::collections::BTreeMap;

/// The health plugins by name.
pub(crate) struct Checks {
    pub(crate) checkers: BTreeMap<PluginName, WasmChecker>,
    /// Knows where backends are reached from this machine.
    pub(crate) runtime: AnyRuntime,
}

/// The subject with addresses that this machine can reach.
pub(super) async fn reachable(runtime: &AnyRuntime, subject: &Subject) -> Result<Subject, Fault> {
    let mut subject = subject.clone();
    for backend in &mut subject.backends {
        backend.address = runtime.reachable(backend).await?;
    }
    Ok(subject)
}

#[async_trait]
impl HealthCheck for Checks {
    async fn check(&self, check: &CheckPolicy, subject: &Subject) -> Verdict {
        let errored = |reason: String| Verdict { kind: VerdictKind::Errored, value: None, reason };
        let Some(checker) = self.checkers.get(&check.plugin) else {
            return errored(format!("the plugin `{}` is not loaded", check.plugin));
        };
        match reachable(&self.runtime, subject).await {
            Ok(subject) => checker.check(check, &subject).await,
            Err(fault) => errored(fault.message),
        }
    }
}
