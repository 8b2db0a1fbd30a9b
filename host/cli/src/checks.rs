//! The port `HealthCheck`: each check is asked through the plugin that it names.

use agente_engine::names::PluginName;
use agente_engine::policy::CheckPolicy;
use agente_engine::ports::HealthCheck;
use agente_engine::verdict::{Subject, Verdict, VerdictKind};
use agente_wasm::WasmChecker;
use async_trait::async_trait;
use std::collections::BTreeMap;

/// The health plugins by name.
pub(crate) struct Checks(pub BTreeMap<PluginName, WasmChecker>);

#[async_trait]
impl HealthCheck for Checks {
    async fn check(&self, check: &CheckPolicy, subject: &Subject) -> Verdict {
        match self.0.get(&check.plugin) {
            Some(checker) => checker.check(check, subject).await,
            None => Verdict { kind: VerdictKind::Errored, value: None, reason: format!("the plugin `{}` is not loaded", check.plugin) },
        }
    }
}
