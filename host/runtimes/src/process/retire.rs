//! Stopping a backend for good: asked through its supervisor, or by the host itself where the
//! supervisor is gone.

use crate::process::directory::BackendDirectory;
use crate::process::launch::traces;
use crate::process::record::{RoleRecord, RunPhase, StopRequest};
use crate::process::runtime::{ProcessRuntime, refused, unknown, unusable};
use crate::process::tree::{Traces, kill_until_gone, signal_all};
use agente_engine::fault::{Failure, Fault, FaultKind};
use agente_engine::ports::{BackendRole, Retired};
use agente_engine::route::Backend;
use rustix::process::Signal;
use std::fs::File;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How often a stopping backend is looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// How long a supervisor may take to begin with what it was asked, before it is taken for hung.
const BEGINS_WITHIN: Duration = Duration::from_secs(3);

/// How long a supervisor may take beyond the grace: to kill, to count, to write.
const BEYOND_GRACE: Duration = Duration::from_secs(8);

/// What became of processes without a supervisor.
pub(super) struct Orphans {
    /// Whether there were any.
    pub(super) found: bool,
    /// Whether they had to be killed.
    pub(super) killed: bool,
}

impl ProcessRuntime {
    pub(super) async fn retire_backend(
        &self,
        backend: &Backend,
        grace: Duration,
    ) -> Result<Retired, Failure> {
        let directory = self.directory(&backend.id).map_err(refused)?;
        let Some(_guard) = self.guard(&directory, false).await.map_err(refused)? else {
            return Ok(Retired { found: false, killed: false });
        };
        let failed = |error: std::io::Error| unknown(unusable(&directory, &error));
        let spec = directory.spec().ok().flatten();
        if let Some(other) = spec.as_ref().filter(|spec| !spec.identity.is(backend)) {
            let message = format!(
                "`{}` of {} is at {}, where `{}` was expected at {}",
                other.identity.backend,
                other.identity.scope,
                other.identity.address,
                backend.id,
                backend.address
            );
            return Err(refused(Fault::new(FaultKind::Conflict, message).hint(
                "check it with `agente-host status`: the state was changed outside agente-host",
            )));
        }
        let began = Instant::now();
        // Held until the directory is gone, so that no supervisor begins in between.
        let lock = match directory.try_supervisor_lock().map_err(failed)? {
            Some(lock) => lock,
            None => self.stop_supervised(&directory, grace).await.map_err(unknown)?,
        };
        let ended = directory.status().ok().flatten();
        let killed = ended
            .is_some_and(|status| matches!(status.phase, RunPhase::Ended { killed: true, .. }));
        let orphans = self
            .stop_orphans(&traces(&directory, &backend.id.0), grace.saturating_sub(began.elapsed()))
            .await
            .map_err(unknown)?;
        self.keep_log(&directory, &backend.id.0, spec.as_ref());
        directory.remove().map_err(failed)?;
        drop(lock);
        Ok(Retired { found: true, killed: killed || orphans.killed })
    }

    /// Asks the supervisor to stop its backend and to end. Returns its lock.
    pub(super) async fn stop_supervised(
        &self,
        directory: &BackendDirectory,
        grace: Duration,
    ) -> Result<File, Fault> {
        directory.write_stop(StopRequest { grace }).map_err(|error| unusable(directory, &error))?;
        let began = Instant::now();
        loop {
            if let Some(lock) =
                directory.try_supervisor_lock().map_err(|error| unusable(directory, &error))?
            {
                return Ok(lock);
            }
            let stops = directory.status().ok().flatten().is_some_and(|status| {
                matches!(status.phase, RunPhase::Stopping { .. } | RunPhase::Ended { .. })
            });
            let patience = if stops { grace + BEYOND_GRACE } else { BEGINS_WITHIN };
            if began.elapsed() > patience {
                return self.end_supervisor(directory).await;
            }
            sleep(LOOK_AGAIN).await;
        }
    }

    /// Kills a supervisor that does not answer. Its backend lives on and is found by its traces.
    async fn end_supervisor(&self, directory: &BackendDirectory) -> Result<File, Fault> {
        let hung = || {
            Fault::new(
                FaultKind::TimedOut,
                format!(
                    "the supervisor in `{}` does not respond and can't be killed",
                    directory.path().display()
                ),
            )
            .hint(format!(
                "kill the process named in `{}` and try again",
                directory.path().join("supervisor.json").display()
            ))
        };
        let record = directory
            .supervisor()
            .map_err(|error| unusable(directory, &error))?
            .ok_or_else(hung)?;
        if !record.process.signal(Signal::KILL).map_err(|error| hung().because(&error))? {
            return Err(hung());
        }
        self.supervisor_gone(directory, BEGINS_WITHIN).await.map_err(|_| hung())
    }

    /// Waits for the supervisor's lock.
    pub(super) async fn supervisor_gone(
        &self,
        directory: &BackendDirectory,
        within: Duration,
    ) -> Result<File, Fault> {
        let deadline = Instant::now() + within;
        loop {
            if let Some(lock) =
                directory.try_supervisor_lock().map_err(|error| unusable(directory, &error))?
            {
                return Ok(lock);
            }
            if Instant::now() >= deadline {
                return Err(Fault::new(
                    FaultKind::TimedOut,
                    format!("a supervisor still holds `{}`", directory.path().display()),
                ));
            }
            sleep(LOOK_AGAIN).await;
        }
    }

    /// Stops processes that no supervisor looks after.
    pub(super) async fn stop_orphans(
        &self,
        traces: &Traces,
        grace: Duration,
    ) -> Result<Orphans, Fault> {
        let mut left = traces.find();
        if left.is_empty() {
            return Ok(Orphans { found: false, killed: false });
        }
        let deadline = Instant::now() + grace;
        signal_all(&left, Signal::TERM);
        while !left.is_empty() && Instant::now() < deadline {
            sleep(LOOK_AGAIN).await;
            left = traces.find();
        }
        let killed = !left.is_empty();
        let own = traces.clone();
        let gone = !killed
            || tokio::task::spawn_blocking(move || kill_until_gone(|| own.find()))
                .await
                .unwrap_or(false);
        if gone {
            return Ok(Orphans { found: true, killed });
        }
        let numbers: Vec<String> = left.iter().map(|process| process.pid.to_string()).collect();
        Err(Fault::new(
            FaultKind::Failed,
            format!(
                "processes of backend `{}` can't be killed: {}",
                traces.backend,
                numbers.join(", ")
            ),
        )
        .hint("they belong to another user or are blocked in the kernel: kill them and try again"))
    }

    pub(super) async fn assign_role(
        &self,
        backend: &Backend,
        role: BackendRole,
    ) -> Result<(), Failure> {
        let directory = self.directory(&backend.id).map_err(refused)?;
        let absent = || {
            refused(Fault::new(
                FaultKind::Conflict,
                format!("there is no backend `{}` to assign a role to", backend.id),
            ))
        };
        let Some(_guard) = self.guard(&directory, false).await.map_err(refused)? else {
            return Err(absent());
        };
        match directory.spec() {
            Ok(Some(spec)) if spec.identity.is(backend) => {}
            Ok(_) => return Err(absent()),
            Err(error) => return Err(refused(unusable(&directory, &error))),
        }
        directory
            .write_role(RoleRecord { role })
            .map_err(|error| unknown(unusable(&directory, &error)))
    }
}
