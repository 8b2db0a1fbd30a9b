//! Which backends of a service run, by the labels of their containers.

use super::labels;
use super::reserve::name_of;
use super::runtime::DockerRuntime;
use crate::running::{Running, RunningBy};
use agente_engine::fault::Fault;
use agente_engine::names::{BackendId, ReleaseNumber, Scope};
use bollard::models::ContainerSummaryStateEnum;

impl DockerRuntime {
    /// The containers that are backends of a service and run, whichever store made them.
    pub async fn running(&self, scope: &Scope) -> Result<Vec<Running>, Fault> {
        let wanted = [
            labels::BACKEND.to_owned(),
            format!("{}={}", labels::SERVICE, scope.service),
            format!("{}={}", labels::ENVIRONMENT, scope.environment),
        ];
        let mut running: Vec<Running> = Vec::new();
        for container in self.engine.list(&wanted).await? {
            if container.state != Some(ContainerSummaryStateEnum::RUNNING) {
                continue;
            }
            let name = name_of(&container);
            let labels = container.labels.unwrap_or_default();
            let label = |name: &str| labels.get(name).cloned();
            running.push(Running {
                backend: BackendId(label(labels::BACKEND).unwrap_or_default()),
                address: label(labels::PORT).map(|port| format!("127.0.0.1:{port}")),
                release: label(labels::RELEASE).and_then(|n| n.parse().ok()).map(ReleaseNumber),
                store: label(labels::STORE),
                since: None,
                by: RunningBy::Container {
                    name,
                    engine: self.engine.settings.endpoint.to_string(),
                },
            });
        }
        running.sort_by(|one, other| one.backend.cmp(&other.backend));
        Ok(running)
    }
}
