//! Programs in containers: in one that runs (exec), or in a new one of an image that is removed
//! afterwards.
//!
//! Invariants: what was started is ended when the call ends, be it by its time limit or because it
//! was dropped; output beyond the limit is read and thrown away, so that a talkative program does
//! not stall. A one-shot container is never started twice, never restarted, and carries the
//! moment after which it is certainly over, so that one whose host died is removed by the next run.

use super::call::{Engine, one_line};
use super::containers::{restart_policy, short};
use super::host_processes::HostProcesses;
use super::labels;
use super::streams::{Capture, Feeding};
use agente_engine::fault::{Fault, FaultKind};
use agente_engine::ports::{CommandOutput, CommandSpec, TargetLock};
use bollard::container::LogOutput;
use bollard::exec::{CreateExecOptions, StartExecOptions, StartExecResults};
use bollard::models::{
    ContainerCreateBody, ExecInspectResponse, HostConfig, HostConfigLogConfig,
    RestartPolicyNameEnum,
};
use bollard::query_parameters::AttachContainerOptionsBuilder;
use futures_util::{Stream, StreamExt};
use std::collections::HashMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::time::Instant;

/// How often it is looked whether a program has ended whose output is still open.
const END_POLL: Duration = Duration::from_millis(200);

/// How long output is still read after the program's end: a child of it may hold it open for ever.
const LAST_WORDS: Duration = Duration::from_millis(300);

/// How long after its time limit a one-shot container may still be there.
const ONE_SHOT_MARGIN: Duration = Duration::from_mins(2);

type Outputs = Pin<Box<dyn Stream<Item = Result<LogOutput, bollard::errors::Error>> + Send>>;

/// What is to be ended when the call ends early.
enum Cleanup {
    Exec {
        id: String,
        container: String,
    },
    /// By its name, which is known before the engine has answered.
    Container(String),
}

/// Ends it on drop, in the background: the caller is gone then.
struct Guard {
    engine: Engine,
    cleanup: Option<Cleanup>,
    /// Held until it has ended.
    lock: Option<TargetLock>,
}

impl Drop for Guard {
    fn drop(&mut self) {
        let Some(cleanup) = self.cleanup.take() else { return };
        let (engine, lock) = (self.engine.clone(), self.lock.take());
        let about = match &cleanup {
            Cleanup::Exec { container, .. } => container.clone(),
            // Under a name of its own: it waits for the container's creation itself.
            Cleanup::Container(name) => format!("removal of {name}"),
        };
        self.engine.leave(&about, async move {
            // What is on its way lands first: a start that comes after the kill would be missed.
            let ended = match &cleanup {
                Cleanup::Exec { id, container } => {
                    let settled = engine.settled(id).await;
                    engine.kill_exec(id, container).await.and(settled)
                }
                Cleanup::Container(name) => {
                    let settled = engine.settled(name).await;
                    engine.remove(name, true).await.and(settled)
                }
            };
            if let Err(fault) = ended {
                tracing::warn!(%fault, "a program whose call was cancelled may still be running");
            }
            drop(lock);
        });
    }
}

/// Whose outputs are read.
#[derive(Clone, Copy)]
enum Program<'a> {
    /// The exec of this id.
    Exec(&'a str),
    /// The container of this id.
    Container(&'a str),
}

/// How reading ended.
enum Ending {
    Ended,
    TimedOut,
}

impl Engine {
    /// Runs a program in a running container. The container's own environment stands beneath the
    /// command's: Docker can't take it away.
    pub(crate) async fn run_in_container(
        &self,
        container: &str,
        command: &CommandSpec,
    ) -> Result<CommandOutput, Fault> {
        let deadline = Instant::now() + command.wall;
        let what = format!("run `{}` in the container `{container}`", program(command));
        let standing = self
            .look_at(container)
            .await?
            .filter(|standing| standing.pid != 0)
            .ok_or_else(|| not_running(container))?;
        // What an earlier call left there is ended before something else begins.
        self.settled(&standing.id).await?;
        let options = CreateExecOptions {
            attach_stdin: Some(!command.stdin.is_empty()),
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            env: Some(command.env.iter().map(|(name, value)| format!("{name}={value}")).collect()),
            cmd: Some(command.argv.clone()),
            working_dir: command.cwd.clone(),
            ..CreateExecOptions::default()
        };
        let id = match self.ask(&what, self.client()?.create_exec(&standing.id, options)).await {
            Ok(made) => made.id,
            Err(error) if error.is_conflict() => return Err(not_running(container)),
            Err(error) => return Err(error.fault),
        };
        let mut guard = Guard {
            engine: self.clone(),
            cleanup: Some(Cleanup::Exec { id: id.clone(), container: standing.id.clone() }),
            lock: command.lock.clone(),
        };
        let (client, exec) = (self.client()?, id.clone());
        let start = async move { client.start_exec(&exec, None::<StartExecOptions>).await };
        let (outputs, input) = match self
            .change(&id, self.settings.start_timeout, &what, start)
            .await
        {
            Ok(StartExecResults::Attached { output, input }) => (output, input),
            Ok(StartExecResults::Detached) => {
                return Err(Fault::new(FaultKind::Internal, "an attached exec came back detached"));
            }
            Err(error) if error.said.contains("OCI runtime exec failed") => {
                guard.cleanup = None;
                return Err(no_program(command, container, &error.said));
            }
            Err(error) => return Err(error.fault),
        };
        let _feeding =
            (!command.stdin.is_empty()).then(|| Feeding::start(input, command.stdin.clone()));
        let mut capture = Capture::new(command.max_output_bytes);
        let ending = self.read(outputs, &mut capture, deadline, &what, Program::Exec(&id)).await?;
        if let Ending::TimedOut = ending {
            let killed = self.kill_exec(&id, &standing.id).await;
            guard.cleanup = None;
            killed?;
            return Ok(capture.finish(None, Some(9), true));
        }
        let code = loop {
            let seen = self.inspect_exec(&id).await?;
            if has_ended(&seen) {
                break seen.exit_code;
            }
            if Instant::now() >= deadline {
                let killed = self.kill_exec(&id, &standing.id).await;
                guard.cleanup = None;
                killed?;
                return Ok(capture.finish(None, Some(9), true));
            }
            // The outputs close a moment before the engine knows of the end.
            tokio::time::sleep(Duration::from_millis(10)).await;
        };
        guard.cleanup = None;
        let code = code.and_then(|code| i32::try_from(code).ok());
        if matches!(code, Some(126 | 127)) && capture.out.starts_with(b"OCI runtime exec failed") {
            return Err(no_program(command, container, &String::from_utf8_lossy(&capture.out)));
        }
        Ok(capture.finish(code, None, false))
    }

    async fn inspect_exec(&self, id: &str) -> Result<ExecInspectResponse, Fault> {
        Ok(self.ask("inspect a program in a container", self.client()?.inspect_exec(id)).await?)
    }

    /// Kills a program in a container with all it started. The engine has no call for that; its pid
    /// is one of this machine where the engine is.
    async fn kill_exec(&self, id: &str, container: &str) -> Result<(), Fault> {
        let asked = Instant::now();
        loop {
            let seen = match self
                .ask("inspect a program in a container", self.client()?.inspect_exec(id))
                .await
            {
                Ok(seen) => seen,
                // Its container is gone, and it with it.
                Err(error) if error.is_absent() => return Ok(()),
                Err(error) => return Err(error.fault),
            };
            let pid = seen.pid.and_then(|pid| u32::try_from(pid).ok()).unwrap_or(0);
            let runs = seen.running.unwrap_or(false);
            if has_ended(&seen) {
                return Ok(());
            }
            // Neither running nor ended: its start never reached the engine.
            if !runs {
                return Ok(());
            }
            if pid != 0 {
                HostProcesses::of_container(container).kill_with_descendants(pid);
            }
            if asked.elapsed() >= self.settings.call_timeout {
                let message = format!(
                    "a program in the container {} was to be killed but is still running (pid \
                    {pid} on the engine's machine)",
                    short(container)
                );
                return Err(Fault::new(FaultKind::TimedOut, message).hint(format!(
                    "run `kill -KILL {pid}` on that machine, or restart the container"
                )));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn program_ended(&self, program: Program<'_>) -> Result<bool, Fault> {
        match program {
            Program::Exec(id) => Ok(has_ended(&self.inspect_exec(id).await?)),
            Program::Container(id) => Ok(self.look_at(id).await?.is_none_or(|seen| seen.pid == 0)),
        }
    }

    /// Reads outputs until they close, the program has ended, or the deadline.
    async fn read(
        &self,
        mut outputs: Outputs,
        capture: &mut Capture,
        deadline: Instant,
        what: &str,
        program: Program<'_>,
    ) -> Result<Ending, Fault> {
        let mut ended_at: Option<Instant> = None;
        loop {
            let look_again = ended_at.unwrap_or_else(|| Instant::now() + END_POLL).min(deadline);
            match tokio::time::timeout_at(look_again, outputs.next()).await {
                Ok(None) => return Ok(Ending::Ended),
                Ok(Some(Ok(output))) => capture.take(output),
                Ok(Some(Err(error))) => return Err(self.explain(what, error).fault),
                Err(_) if ended_at.is_some_and(|end| Instant::now() >= end) => {
                    return Ok(Ending::Ended);
                }
                Err(_) if Instant::now() >= deadline => return Ok(Ending::TimedOut),
                Err(_) if self.program_ended(program).await? => {
                    ended_at = Some(Instant::now() + LAST_WORDS);
                }
                Err(_) => {}
            }
        }
    }

    /// Runs a program in a new container of an image, and removes the container.
    pub(crate) async fn run_in_image(
        &self,
        image: &str,
        command: &CommandSpec,
    ) -> Result<CommandOutput, Fault> {
        self.remove_ended_one_shots().await?;
        let deadline = Instant::now() + command.wall;
        let what = format!("run `{}` in the image `{image}`", program(command));
        let name = one_shot_name();
        // However this ends, the container is removed; also when the call is dropped while the
        // engine is still making it.
        let mut guard = Guard {
            engine: self.clone(),
            cleanup: Some(Cleanup::Container(name.clone())),
            lock: command.lock.clone(),
        };
        let id = match self.create(&name, self.one_shot(image, command)).await {
            Ok(id) => id,
            Err(error) => {
                if error.status.is_some() {
                    guard.cleanup = None;
                }
                if error.is_absent() {
                    return Err(Fault::new(
                        FaultKind::Rejected,
                        format!(
                            "the engine has no image `{image}` to run `{}` in",
                            program(command)
                        ),
                    )
                    .hint(format!("docker pull {image}")));
                }
                return Err(error.fault);
            }
        };
        let outcome = self.run_one_shot(&id, image, command, deadline, &what).await;
        let removed = self.remove(&id, true).await;
        if removed.is_ok() {
            guard.cleanup = None;
        }
        let output = outcome?;
        removed?;
        Ok(output)
    }

    async fn run_one_shot(
        &self,
        id: &str,
        image: &str,
        command: &CommandSpec,
        deadline: Instant,
        what: &str,
    ) -> Result<CommandOutput, Fault> {
        let options = AttachContainerOptionsBuilder::default()
            .stdin(!command.stdin.is_empty())
            .stdout(true)
            .stderr(true)
            .stream(true)
            .build();
        // Attached before the start, so that no output is missed.
        let attached = self.ask(what, self.client()?.attach_container(id, Some(options))).await?;
        if let Err(error) = self.start(id).await {
            return Err(if error.status.is_some() && error.said.contains("exec") {
                no_program(command, image, &error.said)
            } else {
                error.fault
            });
        }
        let _feeding = (!command.stdin.is_empty())
            .then(|| Feeding::start(attached.input, command.stdin.clone()));
        let mut capture = Capture::new(command.max_output_bytes);
        if let Ending::TimedOut =
            self.read(attached.output, &mut capture, deadline, what, Program::Container(id)).await?
        {
            return Ok(capture.finish(None, Some(9), true));
        }
        loop {
            let Some(seen) = self.look_at(id).await? else {
                return Err(Fault::new(
                    FaultKind::Conflict,
                    format!(
                        "the container of `{}` was removed while it was running",
                        program(command)
                    ),
                ));
            };
            if seen.pid == 0 {
                if seen.was_out_of_memory() {
                    return Err(Fault::new(
                        FaultKind::Failed,
                        format!(
                            "`{}` in the image `{image}` was {}",
                            program(command),
                            seen.ending()
                        ),
                    ));
                }
                return Ok(capture.finish(i32::try_from(seen.exit_code()).ok(), None, false));
            }
            if Instant::now() >= deadline {
                return Ok(capture.finish(None, Some(9), true));
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    fn one_shot(&self, image: &str, command: &CommandSpec) -> ContainerCreateBody {
        let over = now_ms().saturating_add(
            u64::try_from((command.wall + ONE_SHOT_MARGIN).as_millis()).unwrap_or(u64::MAX),
        );
        let mut argv = command.argv.iter().cloned();
        let input = !command.stdin.is_empty();
        ContainerCreateBody {
            image: Some(image.to_owned()),
            // The image's own entry point would take the program for an argument.
            entrypoint: Some(argv.by_ref().take(1).collect()),
            cmd: Some(argv.collect()),
            env: Some(command.env.iter().map(|(name, value)| format!("{name}={value}")).collect()),
            working_dir: command.cwd.clone(),
            attach_stdin: Some(input),
            open_stdin: Some(input),
            stdin_once: Some(input),
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            labels: Some(HashMap::from([
                (labels::STORE.to_owned(), self.settings.store.clone()),
                (labels::ONE_SHOT.to_owned(), over.to_string()),
            ])),
            host_config: Some(HostConfig {
                restart_policy: Some(restart_policy(RestartPolicyNameEnum::NO)),
                // Its output goes to the caller, and nowhere else.
                log_config: Some(HostConfigLogConfig {
                    typ: Some("none".to_owned()),
                    config: None,
                }),
                ..HostConfig::default()
            }),
            ..ContainerCreateBody::default()
        }
    }

    /// Removes one-shot containers of ours whose time is over: their hosts died.
    async fn remove_ended_one_shots(&self) -> Result<(), Fault> {
        let now = now_ms();
        for container in self
            .list(&[
                format!("{}={}", labels::STORE, self.settings.store),
                labels::ONE_SHOT.to_owned(),
            ])
            .await?
        {
            let over = container
                .labels
                .as_ref()
                .and_then(|labels| labels.get(labels::ONE_SHOT))
                .and_then(|over| over.parse::<u64>().ok());
            if let (Some(id), true) = (container.id, over.is_some_and(|over| over < now)) {
                self.remove(&id, true).await?;
            }
        }
        Ok(())
    }
}

/// Whether a program has run and does no more. Before its start it has no exit code either.
fn has_ended(seen: &ExecInspectResponse) -> bool {
    !seen.running.unwrap_or(false) && seen.exit_code.is_some()
}

fn program(command: &CommandSpec) -> &str {
    command.argv.first().map_or("", String::as_str)
}

fn not_running(container: &str) -> Fault {
    Fault::new(FaultKind::Unavailable, format!("the container `{container}` is not running"))
        .hint(format!("docker ps --all --filter name={container}"))
}

fn no_program(command: &CommandSpec, place: &str, said: &str) -> Fault {
    let mut fault = Fault::new(
        FaultKind::InvalidConfig,
        format!("`{}` can't be run in `{place}`", program(command)),
    )
    .hint(
        "give the absolute path of a program in the image, and a working directory that exists \
        there",
    );
    fault.causes.push(one_line(said));
    fault
}

/// A name that no other container has: nobody looks for it by name.
fn one_shot_name() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let nanoseconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    format!(
        "agente-run-{:x}-{}-{}",
        nanoseconds,
        std::process::id(),
        COUNT.fetch_add(1, Ordering::Relaxed)
    )
}

pub(crate) fn now_ms() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis())
        .unwrap_or(u64::MAX)
}
