//! Looking at a backend: what its supervisor wrote, and whether that still holds.

use crate::process::launch::traces;
use crate::process::record::{Phase, Status, now};
use crate::process::{ProcessIdentity, ProcessRuntime, unusable};
use agente_engine::fault::Fault;
use agente_engine::ports::BackendState;
use agente_engine::route::Backend;

impl ProcessRuntime {
    pub(super) fn inspect_backend(&self, backend: &Backend) -> Result<BackendState, Fault> {
        let directory = self.directory(&backend.id)?;
        let spec = directory.spec().map_err(|error| unusable(&directory, &error))?;
        if spec.is_none_or(|spec| spec.identity.address != backend.address) {
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
                detail: "it runs without a supervisor; `agente-host up` gives it one".to_owned(),
                restarts: 0,
            },
        })
    }
}

fn state(status: &Status, supervised: bool) -> BackendState {
    let restarts = status.restarts;
    let last = status.last_exit.as_deref();
    match &status.phase {
        Phase::Running { process, since } | Phase::Stopping { process: Some(process), since }
            if process.is_alive() =>
        {
            BackendState::Running { since: *since, restarts, healthy: None }
        }
        Phase::Running { .. } if supervised => {
            let detail = last.map_or_else(
                || "it ended a moment ago".to_owned(),
                |last| format!("{last} before, and ended again a moment ago"),
            );
            BackendState::Starting { detail, restarts }
        }
        Phase::Waiting { until } if supervised => {
            let detail = format!(
                "{}; started again in {} ms",
                last.unwrap_or("ended"),
                until.since(now()).as_millis()
            );
            BackendState::Starting { detail, restarts }
        }
        Phase::Ended { reason, .. } => BackendState::Ended { detail: reason.clone() },
        Phase::Stopping { .. } => {
            BackendState::Ended { detail: "it was told to end, and has".to_owned() }
        }
        Phase::Running { process, .. } => {
            BackendState::Ended { detail: without_supervisor(process) }
        }
        Phase::Waiting { .. } => BackendState::Ended {
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
        "the machine was started again since; `agente-host up` starts it".to_owned()
    }
}
