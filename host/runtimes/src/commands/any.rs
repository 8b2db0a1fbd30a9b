//! One door to programs and processes wherever they are.

use crate::commands::HostCommands;
use agente_engine::fault::Fault;
use agente_engine::ports::{
    CommandOutput, CommandPlace, CommandSpec, Commands, ConnectionInfo, ProcessError, ProcessInfo,
    ProcessTarget,
};
use async_trait::async_trait;
use std::sync::Arc;

/// The prefix of a log that is a container's output rather than a file.
const CONTAINER_LOG: &str = "container:";

/// Sends each call to where it belongs: this machine, or containers.
#[derive(Clone, Default)]
pub struct AnyCommands {
    host: HostCommands,
    containers: Option<Arc<dyn Commands>>,
}

impl AnyCommands {
    /// Joins them. Without `containers`, what needs one is answered as unsupported.
    pub fn new(host: HostCommands, containers: Option<Arc<dyn Commands>>) -> Self {
        Self { host, containers }
    }

    fn containers(&self) -> &dyn Commands {
        match &self.containers {
            Some(containers) => containers.as_ref(),
            // Its answer names what is missing.
            None => &self.host,
        }
    }

    fn of_target(&self, target: &ProcessTarget) -> &dyn Commands {
        match target {
            ProcessTarget::PidFile(_) => &self.host,
            ProcessTarget::Container(_) => self.containers(),
        }
    }

    fn of_log(&self, path: &str) -> &dyn Commands {
        if path.starts_with(CONTAINER_LOG) { self.containers() } else { &self.host }
    }
}

#[async_trait]
impl Commands for AnyCommands {
    async fn run(&self, command: &CommandSpec) -> Result<CommandOutput, Fault> {
        match &command.place {
            CommandPlace::Host => self.host.run(command).await,
            CommandPlace::Container(_) | CommandPlace::Image(_) => {
                self.containers().run(command).await
            }
        }
    }

    async fn tree(&self, target: &ProcessTarget) -> Result<Vec<ProcessInfo>, ProcessError> {
        self.of_target(target).tree(target).await
    }

    async fn connections(
        &self,
        target: &ProcessTarget,
    ) -> Result<Vec<ConnectionInfo>, ProcessError> {
        self.of_target(target).connections(target).await
    }

    async fn signal(&self, target: &ProcessTarget, signal: &str) -> Result<(), ProcessError> {
        self.of_target(target).signal(target, signal).await
    }

    async fn log_mark(&self, path: &str) -> Result<u64, Fault> {
        self.of_log(path).log_mark(path).await
    }

    async fn log_since(&self, path: &str, mark: u64, max_bytes: usize) -> Result<Vec<u8>, Fault> {
        self.of_log(path).log_since(path, mark, max_bytes).await
    }
}
