//! Looking at a backend: what its supervisor wrote, and whether that still holds.

use crate::process::identity::ProcessIdentity;
use crate::process::launch::traces;
use crate::process::record::{RunPhase, Status, now};
use crate::process::runtime::{ProcessRuntime, unusable};
use agente_engine::fault::Fault;
use agente_engine::ports::BackendState;
use agente_engine::route::Backend;

impl ProcessRuntime {
    pub(super) fn inspect_backend(&self, backend: &Backend) -> Result<BackendState, Fault> {
        let directory = self.directory(&backend.id)?;
        let spec = directory.spec().map_err(|error| unusable(&directory, &error))?;
        if spec.is_none_or(|spec| !spec.identity.is(backend)) {
            return Ok(BackendState::Absent);
        }
        let status = directory.status().map_err(|error| unusable(&directory, &error))?;
        let supervisor = directory.supervisor().map_err(|error| unusable(&directory, &error))?;
        let supervised = supervisor.is_some_and(|record| record.process.is_alive());
        Ok(match status {
            Some(status) => state(&status, supervised),
            None if supervised => BackendState::Starting {
                detail: "its supervisor is starting it".to_owned(),
                restarts: 0,
            },
            None if traces(&directory, &backend.id.0).find().is_empty() => BackendState::Ended {
                detail: "its start was interrupted; `agente-host up` starts it".to_owned(),
            },
            None => BackendState::Starting {
                detail: "it is running without a supervisor; `agente-host up` starts \
                one"
                .to_owned(),
                restarts: 0,
            },
        })
    }
}

fn state(status: &Status, supervised: bool) -> BackendState {
    let restarts = status.restarts;
    let last = status.last_exit.as_deref();
    match &status.phase {
        RunPhase::Running { process, since }
        | RunPhase::Stopping { process: Some(process), since }
            if process.is_alive() =>
        {
            BackendState::Running { since: *since, restarts, healthy: None }
        }
        RunPhase::Running { .. } if supervised => {
            let detail = last.map_or_else(
                || "it has just exited".to_owned(),
                |last| format!("{last}, and it has just exited again"),
            );
            BackendState::Starting { detail, restarts }
        }
        RunPhase::Waiting { until } if supervised => {
            let detail = format!(
                "{}; restarting in {} ms",
                last.unwrap_or("ended"),
                until.since(now()).as_millis()
            );
            BackendState::Starting { detail, restarts }
        }
        RunPhase::Ended { reason, .. } => BackendState::Ended { detail: reason.clone() },
        RunPhase::Stopping { .. } => {
            BackendState::Ended { detail: "stopped as requested".to_owned() }
        }
        RunPhase::Running { process, .. } => {
            BackendState::Ended { detail: without_supervisor(process) }
        }
        RunPhase::Waiting { .. } => BackendState::Ended {
            detail: format!(
                "{}, and its supervisor is gone; `agente-host up` starts it",
                last.unwrap_or("it ended")
            ),
        },
    }
}

fn without_supervisor(process: &ProcessIdentity) -> String {
    if process.boot == crate::process::identity::boot_id() {
        "it and its supervisor are gone; `agente-host up` starts it".to_owned()
    } else {
        "the machine has rebooted since; `agente-host up` starts it".to_owned()
    }
}
