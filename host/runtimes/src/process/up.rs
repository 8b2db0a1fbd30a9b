//! Starting what should stand, for boot.

use crate::process::runtime::ProcessRuntime;
use agente_engine::fault::Failure;
use agente_engine::names::BackendId;
use agente_engine::ports::{BackendRole, BackendState, Launch, Runtime};

/// What `up` did about one backend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UpOutcome {
    /// It was not running and has been started, or was running without a supervisor and has one
    /// again.
    Started,
    /// It runs, and was left alone.
    Running,
    /// It stands aside and does not return after a reboot.
    KeptAside,
    /// It could not be started.
    Failed(Failure),
}

/// What `up` did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Up {
    /// Which backend.
    pub backend: BackendId,
    pub outcome: UpOutcome,
}

impl ProcessRuntime {
    /// Starts what should stand: each backend whose role is not `kept`. Secrets are asked for
    /// again. One that fails does not keep the others from being started. Twice is safe.
    pub async fn up(&self, launches: &[Launch]) -> Vec<Up> {
        let mut done = Vec::new();
        for launch in launches {
            done.push(Up {
                backend: launch.backend.id.clone(),
                outcome: self.up_one(launch).await,
            });
        }
        done
    }

    async fn up_one(&self, launch: &Launch) -> UpOutcome {
        let role = match self.directory(&launch.backend.id) {
            Ok(directory) => directory.role().ok().flatten(),
            Err(fault) => return UpOutcome::Failed(Failure::Refused { fault }),
        };
        if role.is_some_and(|record| record.role == BackendRole::Kept) {
            return UpOutcome::KeptAside;
        }
        let supervised = self.is_supervised(launch);
        let ran = supervised
            && matches!(
                self.inspect_backend(&launch.backend),
                Ok(BackendState::Running { .. } | BackendState::Starting { .. })
            );
        match self.ensure(launch).await {
            Ok(_) if ran => UpOutcome::Running,
            Ok(_) => UpOutcome::Started,
            Err(failure) => UpOutcome::Failed(failure),
        }
    }

    fn is_supervised(&self, launch: &Launch) -> bool {
        let record = self
            .directory(&launch.backend.id)
            .ok()
            .and_then(|directory| directory.supervisor().ok().flatten());
        record.is_some_and(|record| record.process.is_alive())
    }
}
