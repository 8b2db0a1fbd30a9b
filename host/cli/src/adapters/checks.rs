//! The port `HealthCheck`: each check is asked through the plugin that it names.

use agente_engine::fault::Fault;
use agente_engine::names::PluginName;
use agente_engine::policy::CheckPolicy;
use agente_engine::ports::HealthCheck;
use agente_engine::verdict::{Subject, Verdict, VerdictKind};
use agente_runtimes::docker::DockerRuntime;
use agente_wasm::WasmChecker;
use async_trait::async_trait;
use std::collections::BTreeMap;

/// The health plugins by name.
pub(crate) struct Checks {
    pub(crate) checkers: BTreeMap<PluginName, WasmChecker>,
    /// Where containers are reached from this machine; none where there are no containers.
    pub(crate) docker: Option<DockerRuntime>,
}

/// The subject with addresses that this machine can reach: a container on a network of its own is
/// called by a name that only the network knows.
pub(super) async fn reachable(
    docker: Option<&DockerRuntime>,
    subject: &Subject,
) -> Result<Subject, Fault> {
    let mut subject = subject.clone();
    let Some(docker) = docker else { return Ok(subject) };
    for backend in &mut subject.backends {
        if backend.address.starts_with(&format!("{}:", backend.id)) {
            backend.address = docker.reachable_address(backend).await?;
        }
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
        match reachable(self.docker.as_ref(), subject).await {
            Ok(subject) => checker.check(check, &subject).await,
            Err(fault) => errored(fault.message),
        }
    }
}
