//! The container part of the port `Commands`: programs in containers, and a look at what runs in
//! them.

use super::call::{CallError, Engine};
use super::command_runs::now_ms;
use super::containers::is_container_name;
use super::endpoint::DockerSettings;
use super::host_processes::{HostProcesses, parse_table};
use super::reference::Reference;
use super::state::Container;
use agente_engine::fault::{Fault, FaultKind};
use agente_engine::names::Timestamp;
use agente_engine::ports::{
    CommandOutput, CommandPlace, CommandSpec, Commands, ConnectionInfo, ProcessError, ProcessInfo,
    ProcessTarget,
};
use async_trait::async_trait;
use bollard::query_parameters::TopOptionsBuilder;
use std::collections::{BTreeMap, BTreeSet};

/// The columns of `ps` that a tree is made from. The last one takes the rest of its line.
const COLUMNS: &str = "-ww -eo pid,ppid,args";

/// How a container is named where a path or a target is expected.
const CONTAINER_PREFIX: &str = "container:";

/// Runs and inspects programs in containers of one engine. Refuses what is of the host's own
/// machine: its caller asks another for that.
#[derive(Debug, Clone)]
pub struct ContainerCommands {
    engine: Engine,
}

impl ContainerCommands {
    /// On the engine that the settings name. Connects to nothing yet.
    pub fn new(settings: DockerSettings) -> Self {
        Self { engine: Engine::new(settings) }
    }

    /// The container of a target, running.
    async fn running(&self, target: &ProcessTarget) -> Result<Container, ProcessError> {
        let ProcessTarget::Container(name) = target else {
            return Err(ProcessError::Other(elsewhere("a pid file")));
        };
        let name = container_name(name).map_err(ProcessError::Other)?;
        match self.engine.look_at(name).await.map_err(ProcessError::Other)? {
            Some(standing) if standing.pid != 0 => Ok(standing),
            Some(_) | None => Err(ProcessError::NotRunning(format!("the container `{name}`"))),
        }
    }

    async fn processes(&self, standing: &Container) -> Result<Vec<ProcessInfo>, ProcessError> {
        let options = TopOptionsBuilder::default().ps_args(COLUMNS).build();
        let what = format!("list the processes of the container `{}`", standing.name);
        let client = self.engine.client().map_err(ProcessError::Other)?;
        let top = self
            .engine
            .ask(&what, client.top_processes(&standing.id, Some(options)))
            .await
            .map_err(|error| ended(&standing.name, error))?;
        let here = HostProcesses::of_container(&standing.id);
        let rows = top.processes.unwrap_or_default();
        let processes = rows.iter().filter_map(|row| {
            let mut columns = row.iter();
            let pid = columns.next()?.trim().parse().ok()?;
            let parent = columns.next()?.trim().parse().ok()?;
            let title = columns.map(String::as_str).collect::<Vec<_>>().join(" ");
            Some(ProcessInfo { pid, parent, title, started_ms: here.started_ms(pid) })
        });
        Ok(parents_first(processes.collect(), standing.pid))
    }
}

/// A name that may become part of a path of the engine's API.
fn container_name(name: &str) -> Result<&str, Fault> {
    if is_container_name(name) {
        return Ok(name);
    }
    Err(Fault::new(FaultKind::InvalidConfig, format!("`{name}` is not the name of a container")))
}

fn elsewhere(what: &str) -> Fault {
    Fault::new(
        FaultKind::Internal,
        format!("{what} of this machine was requested from a Docker Engine"),
    )
}

fn container_of(path: &str) -> Result<&str, Fault> {
    container_name(path.strip_prefix(CONTAINER_PREFIX).ok_or_else(|| elsewhere("a log file"))?)
}

/// A container that ended between the look at it and the call.
fn ended(name: &str, error: CallError) -> ProcessError {
    if error.is_absent() || error.is_conflict() || error.said.contains("is not running") {
        return ProcessError::NotRunning(format!("the container `{name}`"));
    }
    ProcessError::Other(error.fault)
}

/// Process 1 of the container, then what it started, each after its parent; then what came in from
/// outside.
fn parents_first(processes: Vec<ProcessInfo>, first: u32) -> Vec<ProcessInfo> {
    let pids: BTreeSet<u32> = processes.iter().map(|process| process.pid).collect();
    let mut below: BTreeMap<Option<u32>, Vec<ProcessInfo>> = BTreeMap::new();
    for process in processes {
        let parent =
            (process.pid != first && pids.contains(&process.parent)).then_some(process.parent);
        below.entry(parent).or_default().push(process);
    }
    let mut ordered = Vec::with_capacity(pids.len());
    let mut waiting = below.remove(&None).unwrap_or_default();
    // The last one is taken next.
    waiting.sort_by_key(|process| (process.pid == first, std::cmp::Reverse(process.pid)));
    while let Some(process) = waiting.pop() {
        let mut children = below.remove(&Some(process.pid)).unwrap_or_default();
        children.sort_by_key(|child| std::cmp::Reverse(child.pid));
        ordered.push(process);
        waiting.extend(children);
    }
    ordered
}

#[async_trait]
impl Commands for ContainerCommands {
    async fn run(&self, command: &CommandSpec) -> Result<CommandOutput, Fault> {
        if command.argv.first().is_none_or(String::is_empty) {
            return Err(Fault::new(
                FaultKind::InvalidConfig,
                "there is no program to run: the command is empty",
            ));
        }
        match &command.place {
            CommandPlace::Host => Err(elsewhere("a program")),
            CommandPlace::Container(name) => {
                self.engine.run_in_container(container_name(name)?, command).await
            }
            CommandPlace::Image(image) => {
                Reference::parse(image)?;
                self.engine.run_in_image(image, command).await
            }
        }
    }

    async fn tree(&self, target: &ProcessTarget) -> Result<Vec<ProcessInfo>, ProcessError> {
        let standing = self.running(target).await?;
        self.processes(&standing).await
    }

    async fn connections(
        &self,
        target: &ProcessTarget,
    ) -> Result<Vec<ConnectionInfo>, ProcessError> {
        let standing = self.running(target).await?;
        let pids: Vec<u32> =
            self.processes(&standing).await?.iter().map(|process| process.pid).collect();
        if let Some(seen) = HostProcesses::of_container(&standing.id).connections(&pids) {
            return Ok(seen);
        }
        // The engine's processes are not to be seen from here: the container is asked to tell
        // itself.
        let command = CommandSpec {
            argv: vec!["cat".to_owned(), "/proc/net/tcp".to_owned(), "/proc/net/tcp6".to_owned()],
            stdin: Vec::new(),
            env: BTreeMap::new(),
            cwd: None,
            wall: self.engine.settings.call_timeout,
            max_output_bytes: 64 * 1024 * 1024,
            place: CommandPlace::Container(standing.name.clone()),
            lock: None,
        };
        match self.engine.run_in_container(&standing.name, &command).await {
            Ok(output) if !output.stdout.is_empty() && !output.timed_out => {
                Ok(parse_table(&String::from_utf8_lossy(&output.stdout)))
            }
            Ok(output) => Err(ProcessError::Other(unreadable(
                &standing.name,
                &String::from_utf8_lossy(&output.stderr),
            ))),
            Err(fault) => Err(ProcessError::Other(unreadable(&standing.name, &fault.message))),
        }
    }

    async fn signal(&self, target: &ProcessTarget, signal: &str) -> Result<(), ProcessError> {
        if signal.is_empty()
            || !signal.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit())
        {
            return Err(ProcessError::Other(Fault::new(
                FaultKind::InvalidConfig,
                format!("`{signal}` is not the name of a signal, without `SIG`"),
            )));
        }
        let standing = self.running(target).await?;
        self.engine.kill(&standing.id, signal).await.map_err(|error| ended(&standing.name, error))
    }

    async fn log_mark(&self, path: &str) -> Result<u64, Fault> {
        let name = container_of(path)?;
        match self.engine.look_at(name).await? {
            Some(_) => Ok(now_ms()),
            None => Err(no_log(name)),
        }
    }

    async fn log_since(&self, path: &str, mark: u64, max_bytes: usize) -> Result<Vec<u8>, Fault> {
        let name = container_of(path)?;
        if self.engine.look_at(name).await?.is_none() {
            return Err(no_log(name));
        }
        self.engine.log_bytes_since(name, Timestamp(mark), max_bytes).await
    }
}

fn no_log(container: &str) -> Fault {
    Fault::new(
        FaultKind::Unavailable,
        format!("there is no container `{container}` whose log could be read"),
    )
    .hint("docker ps --all")
}

fn unreadable(container: &str, why: &str) -> Fault {
    let mut fault = Fault::new(
        FaultKind::Unsupported,
        format!("the connections of the container `{container}` can't be read"),
    )
    .hint("run agente-host as root on the engine's machine, or use an image that contains `cat`");
    fault.causes.push(why.trim().to_owned());
    fault
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(pid: u32, parent: u32) -> ProcessInfo {
        ProcessInfo { pid, parent, title: String::new(), started_ms: 0 }
    }

    #[test]
    fn process_1_comes_first_and_everybody_after_their_parent() {
        let ordered = parents_first(
            vec![
                process(40, 7),
                process(12, 30),
                process(30, 7),
                process(30_000, 5),
                process(7, 5),
            ],
            7,
        );
        assert_eq!(
            ordered.iter().map(|process| process.pid).collect::<Vec<_>>(),
            [7, 30, 12, 40, 30_000]
        );
    }

    #[test]
    fn a_name_that_would_change_the_path_of_a_call_is_refused() {
        for bad in ["", "../x", "a/b", "a?b", "-a", "a b"] {
            assert!(container_name(bad).is_err(), "`{bad}` was taken");
        }
    }
}
