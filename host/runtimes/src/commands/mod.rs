//! Programs and processes, for plugins, after the broker has allowed the effect: on this machine
//! here, in containers through the runtime that has them.

mod any;
mod connections;
mod group;
mod log;
mod run;
mod target;

pub use any::AnyCommands;

use agente_engine::fault::{Fault, FaultKind};
use agente_engine::ports::{
    CommandOutput, CommandPlace, CommandSpec, Commands, ConnectionInfo, ProcessError, ProcessInfo,
    ProcessTarget,
};
use async_trait::async_trait;

/// Programs and processes of this machine. Decides nothing: what it is asked for has been allowed.
#[derive(Debug, Clone, Copy, Default)]
pub struct HostCommands;

fn in_container(what: &str) -> Fault {
    Fault::new(
        FaultKind::Unsupported,
        format!("{what} needs a container engine, but none is configured"),
    )
    .hint("configure the Docker Engine, or name a program or a pid file of this machine")
}

#[async_trait]
impl Commands for HostCommands {
    async fn run(&self, command: &CommandSpec) -> Result<CommandOutput, Fault> {
        match &command.place {
            CommandPlace::Host => run::run(command).await,
            CommandPlace::Container(name) => {
                Err(in_container(&format!("running a program in the container `{name}`")))
            }
            CommandPlace::Image(name) => {
                Err(in_container(&format!("running a program in the image `{name}`")))
            }
        }
    }

    async fn tree(&self, target: &ProcessTarget) -> Result<Vec<ProcessInfo>, ProcessError> {
        let path = pid_file(target)?;
        off_thread(move || Ok(target::tree(&path)?.into_iter().map(|member| member.info).collect()))
            .await
    }

    async fn connections(
        &self,
        target: &ProcessTarget,
    ) -> Result<Vec<ConnectionInfo>, ProcessError> {
        let path = pid_file(target)?;
        off_thread(move || connections::established(&target::tree(&path)?)).await
    }

    async fn signal(&self, target: &ProcessTarget, signal: &str) -> Result<(), ProcessError> {
        target::signal(&pid_file(target)?, signal)
    }

    async fn log_mark(&self, path: &str) -> Result<u64, Fault> {
        log::mark(path)
    }

    async fn log_since(&self, path: &str, mark: u64, max_bytes: usize) -> Result<Vec<u8>, Fault> {
        let path = path.to_owned();
        match tokio::task::spawn_blocking(move || log::since(&path, mark, max_bytes)).await {
            Ok(read) => read,
            Err(error) => Err(Fault::new(
                FaultKind::Internal,
                "reading a log was \
                interrupted",
            )
            .because(&error)),
        }
    }
}

fn pid_file(target: &ProcessTarget) -> Result<String, ProcessError> {
    match target {
        ProcessTarget::PidFile(path) => Ok(path.clone()),
        ProcessTarget::Container(name) => {
            Err(ProcessError::Other(in_container(&format!("inspecting the container `{name}`"))))
        }
    }
}

/// Reading many files of `/proc` takes milliseconds, which the others should not wait for.
async fn off_thread<T: Send + 'static>(
    read: impl FnOnce() -> Result<T, ProcessError> + Send + 'static,
) -> Result<T, ProcessError> {
    match tokio::task::spawn_blocking(read).await {
        Ok(read) => read,
        Err(error) => Err(ProcessError::Other(
            Fault::new(FaultKind::Internal, "reading processes was interrupted").because(&error),
        )),
    }
}
