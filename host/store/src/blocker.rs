//! Which process keeps a file locked, for messages about waits that were too long.

use crate::directory::StateDirectory;
use crate::process;
use agente_engine::ports::Holder;
use procfs::process::{FDTarget, Process};
use std::fmt;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A process that has a lock on a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Blocker {
    pub(crate) pid: i32,
    pub(crate) command: String,
    stopped: bool,
}

impl fmt::Display for Blocker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process {} (`{}`)", self.pid, self.command)?;
        if self.stopped { f.write_str(", which is stopped") } else { Ok(()) }
    }
}

impl Blocker {
    /// What to type.
    pub(crate) fn hint(&self) -> String {
        if self.stopped {
            format!(
                "`kill -CONT {0}` resumes it, `kill -KILL {0}` kills it; then run the same \
                command again",
                self.pid
            )
        } else {
            "wait until it has finished, then run the same command again".to_owned()
        }
    }
}

/// Another process that keeps others from writing to one of these files; none where it can't be
/// seen.
pub(crate) fn of(paths: &[PathBuf]) -> Option<Blocker> {
    let locks = procfs::locks().ok()?;
    paths.iter().find_map(|path| {
        let inode = std::fs::metadata(path).ok()?.ino();
        let holders = locks
            .iter()
            .filter(|lock| lock.inode == inode && matches!(lock.kind, procfs::LockKind::Write));
        holders
            .filter_map(|lock| lock.pid)
            .filter(|pid| i64::from(*pid) != i64::from(std::process::id()))
            .find_map(|pid| look_at(pid, path))
    })
}

/// A process of this program that keeps the store of a folder locked although a signal has stopped
/// it, so that nobody can even look; none where there is no such process. Changes nothing.
pub fn stopped_blocker(directory: &StateDirectory) -> Option<Holder> {
    let path = directory.database();
    let blocker = of(&[path.with_extension("db-shm"), path]).filter(|blocker| blocker.stopped)?;
    let exe = Process::new(blocker.pid).ok()?.exe().ok()?;
    let ours = std::fs::read_link("/proc/self/exe").ok()?;
    let pid = u32::try_from(blocker.pid).ok()?;
    (where_it_was(&exe) == where_it_was(&ours)).then(|| process::process_of(pid, blocker.command))
}

/// Where a running program's file lies, or lay until somebody replaced it, as an update does.
fn where_it_was(exe: &Path) -> &[u8] {
    let exe = exe.as_os_str().as_bytes();
    exe.strip_suffix(b" (deleted)").unwrap_or(exe)
}

/// The process, if it has the file open: another file system has the same numbers for its files.
fn look_at(pid: i32, path: &Path) -> Option<Blocker> {
    let path = std::fs::canonicalize(path).ok()?;
    let process = Process::new(pid).ok()?;
    let has_open = process
        .fd()
        .ok()?
        .flatten()
        .any(|open| matches!(open.target, FDTarget::Path(open) if open == path));
    let stopped = matches!(process.stat().ok()?.state, 'T' | 't');
    let command = process.cmdline().ok()?.join(" ");
    has_open.then_some(Blocker { pid, command, stopped })
}
