//! A backend's directory: what lies where, written whole or not at all, and changed by one host at
//! a time.
//!
//! `<state>/backends/<backend id>/` holds `spec.json`, `supervisor.json`, `status.json`, `role`,
//! `stop`, `lock`, `log`, `log.1` … Two locks guard it, both freed by death: a host holds one on
//! the directory itself while it changes it, the supervisor holds the one on `lock` for its whole
//! life.

use crate::process::access;
use crate::process::record::{RoleRecord, Spec, Status, StopRequest, SupervisorRecord};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Where one backend's files are.
#[derive(Debug, Clone)]
pub(crate) struct BackendDirectory {
    path: PathBuf,
}

/// Why a record could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RecordError {
    /// The system said no.
    #[error("`{path}` can't be read")]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// It is not what it should be.
    #[error("`{path}` is damaged")]
    Damaged {
        path: PathBuf,
        #[source]
        source: serde_json::Error,
    },
}

impl BackendDirectory {
    /// The directory at this path, which need not exist.
    pub(crate) fn at(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The current log. Older ones have `.1`, `.2` … appended.
    pub(crate) fn log(&self) -> PathBuf {
        self.path.join("log")
    }

    pub(crate) fn spec(&self) -> Result<Option<Spec>, RecordError> {
        self.read("spec.json")
    }

    pub(crate) fn write_spec(&self, spec: &Spec) -> io::Result<()> {
        self.write("spec.json", spec, true)
    }

    pub(crate) fn supervisor(&self) -> Result<Option<SupervisorRecord>, RecordError> {
        self.read("supervisor.json")
    }

    pub(crate) fn write_supervisor(&self, record: &SupervisorRecord) -> io::Result<()> {
        self.write("supervisor.json", record, false)
    }

    pub(crate) fn status(&self) -> Result<Option<Status>, RecordError> {
        self.read("status.json")
    }

    pub(crate) fn write_status(&self, status: &Status) -> io::Result<()> {
        self.write("status.json", status, false)
    }

    pub(crate) fn stop(&self) -> Result<Option<StopRequest>, RecordError> {
        self.read("stop")
    }

    pub(crate) fn write_stop(&self, request: StopRequest) -> io::Result<()> {
        self.write("stop", &request, false)
    }

    pub(crate) fn role(&self) -> Result<Option<RoleRecord>, RecordError> {
        self.read("role")
    }

    pub(crate) fn write_role(&self, role: RoleRecord) -> io::Result<()> {
        self.write("role", &role, true)
    }

    /// Forgets a request to end.
    pub(crate) fn clear_stop(&self) -> io::Result<()> {
        self.forget("stop")
    }

    /// Forgets what an earlier supervisor left, so that nothing of it is taken for its successor's.
    pub(crate) fn clear_run(&self) -> io::Result<()> {
        ["stop", "status.json", "supervisor.json"]
            .into_iter()
            .try_for_each(|name| self.forget(name))
    }

    fn forget(&self, name: &str) -> io::Result<()> {
        match fs::remove_file(self.path.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn read<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, RecordError> {
        let path = self.path.join(name);
        match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map(Some)
                .map_err(|source| RecordError::Damaged { path, source }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(RecordError::Read { path, source }),
        }
    }

    /// Replaces a file as a whole; `durable` also outlives a power cut.
    fn write<T: Serialize>(&self, name: &str, value: &T, durable: bool) -> io::Result<()> {
        let mut bytes = serde_json::to_vec(value)?;
        bytes.push(b'\n');
        // Named after the writer: a supervisor and a host may write at the same time.
        let draft = self.path.join(format!(".{name}.{}", std::process::id()));
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o660).open(&draft)?;
        access::share(&file, &self.path)?;
        file.write_all(&bytes)?;
        if durable {
            file.sync_all()?;
        }
        drop(file);
        fs::rename(&draft, self.path.join(name))?;
        if durable {
            File::open(&self.path)?.sync_all()?;
        }
        Ok(())
    }

    /// Takes the supervisor's lock; none when a supervisor has it.
    pub(crate) fn try_supervisor_lock(&self) -> io::Result<Option<File>> {
        let path = self.path.join("lock");
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o660)
            .open(&path)?;
        access::share(&file, &self.path)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            // The directory may have been removed and made again in between.
            Ok(()) if is_same(&file, &path) => Ok(Some(file)),
            Ok(()) => Err(io::Error::new(io::ErrorKind::NotFound, "the directory was removed")),
            Err(Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Takes the hosts' lock without waiting. With `create`, makes the directory, as open as the
    /// one above it.
    pub(crate) fn try_guard(&self, create: bool) -> io::Result<Guarded> {
        if create {
            access::make_folder(&self.path)?;
        }
        let folder = match File::open(&self.path) {
            Ok(folder) => folder,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(if create { Guarded::Busy } else { Guarded::Absent });
            }
            Err(error) => return Err(error),
        };
        match flock(&folder, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) if is_same(&folder, &self.path) => {
                Ok(Guarded::Held(DirectoryGuard { _folder: folder }))
            }
            Ok(()) | Err(Errno::WOULDBLOCK) => Ok(Guarded::Busy),
            Err(error) => Err(error.into()),
        }
    }

    /// Removes the directory and all in it.
    pub(crate) fn remove(&self) -> io::Result<()> {
        match fs::remove_dir_all(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

/// The answer to a try for the hosts' lock.
pub(crate) enum Guarded {
    /// Ours now.
    Held(DirectoryGuard),
    /// Another host has it, or has just removed the directory: try again.
    Busy,
    /// There is no such directory.
    Absent,
}

/// Holds the hosts' lock until it is dropped.
pub(crate) struct DirectoryGuard {
    _folder: File,
}

fn is_same(file: &File, path: &Path) -> bool {
    match (file.metadata(), fs::metadata(path)) {
        (Ok(ours), Ok(there)) => ours.dev() == there.dev() && ours.ino() == there.ino(),
        _ => false,
    }
}
