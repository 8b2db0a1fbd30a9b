//! Which backends of a service run, by the records of their supervisors and by the supervisors
//! themselves.

use crate::process::directory::BackendDirectory;
use crate::process::record::RunPhase;
use crate::process::runtime::ProcessRuntime;
use crate::running::{Running, RunningBy};
use agente_engine::names::{BackendId, Scope};
use procfs::process::{Process, all_processes};
use std::fs;
use std::path::{Path, PathBuf};

impl ProcessRuntime {
    /// The backends of a service that run: those of this state directory by their records, whoever
    /// made them, and further ones by their supervisors, whichever state directory those run for.
    /// What can't be read is passed over.
    pub fn running(&self, scope: &Scope) -> Vec<Running> {
        let own = self.backends();
        let folders = fs::read_dir(&own).into_iter().flatten().flatten();
        let mut running: Vec<Running> =
            folders.filter_map(|folder| recorded(folder.path(), scope)).collect();
        let is_recorded = |one: &Running| running.iter().any(|known| known.backend == one.backend);
        let supervised: Vec<Running> = supervised(scope)
            .into_iter()
            .filter(|one| !(is_of(one, &self.config.state) && is_recorded(one)))
            .collect();
        running.extend(supervised);
        running.sort_by(|one, other| one.backend.cmp(&other.backend));
        running
    }
}

fn recorded(folder: PathBuf, scope: &Scope) -> Option<Running> {
    let directory = BackendDirectory::at(folder);
    let identity = directory.spec().ok()??.identity;
    if identity.scope != *scope {
        return None;
    }
    let status = directory.status().ok()??;
    let (process, since) = match status.phase {
        RunPhase::Running { process, since }
        | RunPhase::Stopping { process: Some(process), since } => (process, since),
        RunPhase::Waiting { .. } | RunPhase::Ended { .. } | RunPhase::Stopping { .. } => {
            return None;
        }
    };
    process.is_alive().then_some(Running {
        backend: BackendId(identity.backend),
        address: Some(identity.address),
        release: Some(identity.release),
        store: Some(identity.store),
        since: Some(since),
        by: RunningBy::Records { pid: process.pid },
    })
}

/// Whether it is by a supervisor of this state directory.
fn is_of(running: &Running, state: &Path) -> bool {
    matches!(&running.by, RunningBy::Supervisor { state: theirs, .. } if theirs == state)
}

/// What supervisors run: each names its backend's directory on its command line.
fn supervised(scope: &Scope) -> Vec<Running> {
    let of = |process: Process| {
        let command = process.cmdline().ok()?;
        let folder = match command.as_slice() {
            [_, word, folder] if word == "supervise" => PathBuf::from(folder),
            _ => return None,
        };
        let backend = BackendId(folder.file_name()?.to_str()?.to_owned());
        let backends = folder.parent().filter(|backends| backends.ends_with("backends"))?;
        if !backend.is_of(scope) {
            return None;
        }
        let identity = BackendDirectory::at(&folder).spec().ok().flatten();
        let identity = identity.map(|spec| spec.identity).filter(|it| it.backend == backend.0);
        Some(Running {
            address: identity.as_ref().map(|identity| identity.address.clone()),
            release: identity.as_ref().map(|identity| identity.release),
            store: identity.map(|identity| identity.store),
            backend,
            since: None,
            by: RunningBy::Supervisor {
                pid: u32::try_from(process.pid).ok()?,
                state: backends.parent()?.to_owned(),
            },
        })
    };
    all_processes().into_iter().flatten().flatten().filter_map(of).collect()
}
