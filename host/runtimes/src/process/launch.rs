//! Ensuring a backend: adopt it, replace it, or start it under a new supervisor.

use crate::process::directory::BackendDirectory;
use crate::process::port;
use crate::process::record::{Handover, RoleRecord, RunPhase, Spec, StartReport};
use crate::process::runtime::{ProcessRuntime, refused, unknown, unusable};
use crate::process::tree::Traces;
use agente_engine::fault::{Failure, Fault, FaultKind};
use agente_engine::names::BackendId;
use agente_engine::ports::{BackendRole, Launch};
use agente_engine::release::ProcessSpec;
use std::collections::BTreeMap;
use std::fs::File;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;
use tokio::time::{Instant, sleep, timeout};

/// How long a supervisor may take to start its backend. Far more than it needs: a machine under
/// load must not fail a deployment.
const STARTED_WITHIN: Duration = Duration::from_secs(20);

/// How often another supervisor's status is looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// How many of a failed backend's lines are told.
const TOLD_LINES: usize = 10;

/// What stands in a directory whose supervisor's lock is ours now.
struct Cleared {
    /// Keeps supervisors away.
    lock: File,
    /// Whether the wanted backend runs there without a supervisor.
    running: bool,
    /// Whether something was stopped.
    stopped: bool,
}

/// What became of a directory that another supervisor had.
enum Supervised {
    /// It runs the wanted backend.
    Stands,
    /// It has ended, and its lock is ours.
    Gone(File),
}

impl ProcessRuntime {
    pub(super) async fn ensure_process(
        &self,
        launch: &Launch,
        process: &ProcessSpec,
    ) -> Result<(), Failure> {
        let wanted = self.specify(launch, process).map_err(refused)?;
        let directory = self.directory(&launch.backend.id).map_err(refused)?;
        let _guard = self.guard(&directory, true).await.map_err(refused)?;
        let standing = directory.spec().ok().flatten();
        let ended = self.ensure_in(&directory, standing.as_ref(), &wanted, launch, process).await;
        if matches!(ended, Err(Failure::Refused { .. })) && standing.is_none() {
            // Nothing began: nothing is left. A supervisor that reported a failure is gone, or
            // about to be.
            if let Ok(_lock) = self.supervisor_gone(&directory, LOOK_AGAIN * 100).await {
                let _left_for_retire = directory.remove();
            }
        }
        ended
    }

    async fn ensure_in(
        &self,
        directory: &BackendDirectory,
        standing: Option<&Spec>,
        wanted: &Spec,
        launch: &Launch,
        process: &ProcessSpec,
    ) -> Result<(), Failure> {
        let unusable = |error: std::io::Error| refused(unusable(directory, &error));
        if let Some(standing) = standing
            && (standing.identity.store != wanted.identity.store
                || standing.identity.scope != wanted.identity.scope)
        {
            return Err(refused(foreign(standing, wanted)));
        }
        let same = standing.is_some_and(|standing| standing.fingerprint == wanted.fingerprint);
        let mut free = directory.try_supervisor_lock().map_err(unusable)?;
        if free.is_none() && same && matches!(directory.stop(), Ok(None)) && !is_ending(directory) {
            directory.write_role(RoleRecord { role: BackendRole::Live }).map_err(unusable)?;
            match self.await_supervised(directory, wanted).await? {
                Supervised::Stands => return Ok(()),
                Supervised::Gone(lock) => free = Some(lock),
            }
        }
        // What may fail without harm comes before anything is stopped.
        self.prove_artifact(&launch.release).await.map_err(refused)?;
        let secrets = self.look_up(&wanted.identity.secrets).await.map_err(refused)?;
        let cleared = self.clear(directory, free, standing, wanted, process.stop_grace).await?;
        let fail = |fault: Fault| if cleared.stopped { unknown(fault) } else { refused(fault) };
        if cleared.running {
            // A leftover request would end it again.
            directory
                .write_spec(wanted)
                .and_then(|()| directory.clear_stop())
                .map_err(|error| fail(crate::process::runtime::unusable(directory, &error)))?;
        } else {
            if let Some(port) = port::port_of(&wanted.identity.address)
                && !port::is_free(port)
            {
                return Err(fail(port_taken(wanted, port)));
            }
            directory
                .clear_run()
                .and_then(|()| directory.write_spec(wanted))
                .map_err(|error| fail(crate::process::runtime::unusable(directory, &error)))?;
        }
        directory
            .write_role(RoleRecord { role: BackendRole::Live })
            .map_err(|error| fail(crate::process::runtime::unusable(directory, &error)))?;
        let stopped = cleared.stopped;
        drop(cleared.lock);
        match self.start_supervisor(directory, wanted, secrets).await? {
            StartReport::Running => Ok(()),
            StartReport::Supervised => match self.await_supervised(directory, wanted).await? {
                Supervised::Stands => Ok(()),
                Supervised::Gone(_) => Err(unknown(slow(wanted))),
            },
            StartReport::Failed { message } => {
                let fault = self
                    .with_tail(
                        Fault::new(
                            FaultKind::Failed,
                            format!("backend `{}` can't be started", wanted.identity.backend),
                        ),
                        wanted,
                        message,
                    )
                    .await;
                Err(if stopped { unknown(fault) } else { refused(fault) })
            }
        }
    }

    /// Takes the supervisor's lock, stopping what stands there when it isn't the wanted one.
    async fn clear(
        &self,
        directory: &BackendDirectory,
        free: Option<File>,
        standing: Option<&Spec>,
        wanted: &Spec,
        grace: Duration,
    ) -> Result<Cleared, Failure> {
        let supervised = free.is_none();
        let lock = match free {
            Some(lock) => lock,
            None => self.stop_supervised(directory, grace).await.map_err(unknown)?,
        };
        let traces = traces(directory, &wanted.identity.backend);
        let same = standing.is_some_and(|standing| standing.fingerprint == wanted.fingerprint);
        let running = same
            && !supervised
            && traces
                .leader
                .as_ref()
                .is_some_and(crate::process::identity::ProcessIdentity::is_alive);
        let mut stopped = supervised;
        if !running {
            stopped |= self.stop_orphans(&traces, grace).await.map_err(unknown)?.found;
        }
        Ok(Cleared { lock, running, stopped })
    }

    /// Waits until the supervisor that has the directory says what it does, or has ended.
    async fn await_supervised(
        &self,
        directory: &BackendDirectory,
        wanted: &Spec,
    ) -> Result<Supervised, Failure> {
        let deadline = Instant::now() + STARTED_WITHIN;
        let unusable = |error: &dyn std::error::Error| unknown(unusable(directory, error));
        loop {
            // A supervisor that is dying holds its lock to the last: its files alone don't say that
            // it stands.
            let alive = directory
                .supervisor()
                .map_err(|error| unusable(&error))?
                .is_some_and(|record| record.process.is_alive());
            let status = directory.status().map_err(|error| unusable(&error))?;
            if alive && status.is_some_and(|status| status.fingerprint == wanted.fingerprint) {
                return Ok(Supervised::Stands);
            }
            if let Some(lock) = directory.try_supervisor_lock().map_err(|error| unusable(&error))? {
                return Ok(Supervised::Gone(lock));
            }
            if Instant::now() >= deadline {
                return Err(unknown(slow(wanted)));
            }
            sleep(LOOK_AGAIN).await;
        }
    }

    /// Asks for today's values of secrets: variable to value.
    pub(super) async fn look_up(
        &self,
        names: &BTreeMap<String, String>,
    ) -> Result<BTreeMap<String, String>, Fault> {
        let mut values = BTreeMap::new();
        for (variable, name) in names {
            let value = self.config.secrets.value(name).await?;
            if value.expose().contains('\0') {
                return Err(Fault::new(
                    FaultKind::InvalidConfig,
                    format!(
                        "the secret `{name}` contains a NUL character and can't be the value of \
                        `{variable}`"
                    ),
                )
                .hint("encode it, for example as base64"));
            }
            values.insert(variable.clone(), value.expose().to_owned());
        }
        Ok(values)
    }

    /// Starts a supervisor, hands the secrets over through a pipe, and hears what came of it.
    async fn start_supervisor(
        &self,
        directory: &BackendDirectory,
        spec: &Spec,
        secrets: BTreeMap<String, String>,
    ) -> Result<StartReport, Failure> {
        let handover =
            serde_json::to_vec(&Handover { fingerprint: spec.fingerprint.clone(), secrets })
                .map_err(|error| {
                    refused(
                        Fault::new(FaultKind::Internal, "the handover file can't be written")
                            .because(&error),
                    )
                })?;
        let program = &self.config.supervisor.program;
        let failed = |error: &std::io::Error| {
            Fault::new(
                FaultKind::Failed,
                format!(
                    "the supervisor of backend `{}` can't be started from `{}`",
                    spec.identity.backend,
                    program.display()
                ),
            )
            .because(error)
        };
        let mut supervisor = Command::new(program)
            .args(&self.config.supervisor.args)
            .arg(directory.path())
            .env_clear()
            .current_dir("/")
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| refused(failed(&error)))?;
        let talk = async {
            if let Some(mut input) = supervisor.stdin.take() {
                input.write_all(&handover).await?;
            }
            let mut answer = Vec::new();
            if let Some(mut output) = supervisor.stdout.take() {
                output.read_to_end(&mut answer).await?;
            }
            // It has left this process behind by then.
            supervisor.wait().await?;
            Ok(answer)
        };
        match timeout(STARTED_WITHIN, talk).await {
            Err(_) => Err(unknown(slow(spec))),
            Ok(Err(error)) => Err(unknown(failed(&error))),
            Ok(Ok(answer)) => {
                if let Ok(report) = serde_json::from_slice(&answer) {
                    return Ok(report);
                }
                let message = format!(
                    "the supervisor of backend `{}` exited before starting it",
                    spec.identity.backend
                );
                let fault = Fault::new(FaultKind::Failed, message).retryable();
                Err(unknown(
                    self.with_tail(fault, spec, format!("`{}` gave no answer", program.display()))
                        .await,
                ))
            }
        }
    }

    /// Adds a cause and what the backend wrote last.
    async fn with_tail(&self, mut fault: Fault, spec: &Spec, cause: String) -> Fault {
        let backend = BackendId(spec.identity.backend.clone());
        fault.causes.push(cause);
        for line in self.masked_tail(&backend, TOLD_LINES).await.unwrap_or_default() {
            if !fault.causes.iter().any(|cause| line.ends_with(cause.as_str())) {
                fault.causes.push(format!("log: {line}"));
            }
        }
        fault
    }
}

/// Whether the supervisor is on its way out.
fn is_ending(directory: &BackendDirectory) -> bool {
    directory.status().ok().flatten().is_some_and(|status| {
        matches!(status.phase, RunPhase::Stopping { .. } | RunPhase::Ended { .. })
    })
}

/// What a backend without a supervisor is found by.
pub(super) fn traces(directory: &BackendDirectory, backend: &str) -> Traces {
    let leader = directory.status().ok().flatten().and_then(|status| status.process().cloned());
    let record = directory.supervisor().ok().flatten();
    let supervisors = record
        .map(|record| std::iter::once(record.process).chain(record.before).collect())
        .unwrap_or_default();
    Traces { backend: backend.to_owned(), leader, supervisors }
}

fn slow(spec: &Spec) -> Fault {
    Fault::new(
        FaultKind::TimedOut,
        format!(
            "the supervisor of backend `{}` did not start it within {} s",
            spec.identity.backend,
            STARTED_WITHIN.as_secs()
        ),
    )
    .retryable()
}

fn foreign(standing: &Spec, wanted: &Spec) -> Fault {
    let (there, here) = (&standing.identity, &wanted.identity);
    let message = if there.store == here.store {
        format!("the backend `{}` belongs to {}, not to {}", there.backend, there.scope, here.scope)
    } else {
        format!(
            "the backend `{}` belongs to the store `{}`, not to `{}`",
            there.backend, there.store, here.store
        )
    };
    Fault::new(FaultKind::Conflict, message)
        .hint("restore that store, or use another state directory")
}

fn port_taken(wanted: &Spec, port: u16) -> Fault {
    Fault::new(
        FaultKind::Conflict,
        format!(
            "the port {port} of backend `{}` is in use by {}",
            wanted.identity.backend,
            port::holder(port)
        ),
    )
    .hint("stop whatever uses the port, or deploy again to get another port")
}
