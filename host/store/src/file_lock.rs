//! Locks of the operating system on files: held by an open file, freed by its close and so by the
//! death of the process.
//!
//! Lock files are never removed by us. One that somebody else removed or replaced is noticed, so
//! that two processes never hold locks on two files of one name. Symbolic links, pipes and the like
//! are refused: lock files may lie in a folder where every user can write.

use crate::blocker::{self, Blocker};
use crate::directory::Access;
use rustix::fs::OFlags;
use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::time::Instant;

/// Between two tries, at first: what a lock that changes hands quickly needs.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
/// Between two tries, at last: a lock that is held for long is noticed within this.
const LONGEST_PAUSE: Duration = Duration::from_millis(100);
/// How often a file that vanishes or appears under our hands is tried again.
const OPEN_TRIES: u32 = 32;

/// Why a lock could not be tried.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FileLockError {
    /// Somebody put a link there.
    #[error("the lock file `{}` is a symbolic link", path.display())]
    Link { path: PathBuf },
    /// Somebody put something else there.
    #[error("the lock file `{}` is not a regular file", path.display())]
    NotAFile { path: PathBuf },
    /// It keeps being replaced.
    #[error("the lock file `{}` keeps being replaced", path.display())]
    Replaced { path: PathBuf },
    /// It belongs to somebody who does not share it with us.
    #[error("the lock file `{}` belongs to another user or group", path.display())]
    NotOurs { path: PathBuf },
    /// Others have kept it for too long.
    #[error("`{}` was locked for {} s{}", path.display(), waited.as_secs(), by(blocker.as_ref()))]
    Busy {
        path: PathBuf,
        waited: Duration,
        /// Who, where that can be seen.
        blocker: Option<Blocker>,
    },
    /// The system says no.
    #[error("the lock file `{}` can't be used", path.display())]
    Io {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

fn by(blocker: Option<&Blocker>) -> String {
    blocker.map(|blocker| format!(" by {blocker}")).unwrap_or_default()
}

/// A lock that is held. Dropping it frees it.
#[derive(Debug)]
pub(crate) struct FileLock {
    #[expect(dead_code, reason = "its close frees the lock")]
    file: File,
}

/// Who else may hold it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LockKind {
    /// Others that share it.
    Shared,
    /// Nobody.
    Exclusive,
}

impl FileLock {
    /// Takes the lock for itself if nobody holds it.
    pub(crate) fn try_take(path: &Path, access: Access) -> Result<Option<Self>, FileLockError> {
        Self::try_kind(path, access, LockKind::Exclusive)
    }

    fn try_kind(
        path: &Path,
        access: Access,
        kind: LockKind,
    ) -> Result<Option<Self>, FileLockError> {
        for _ in 0..OPEN_TRIES {
            let file = open(path, access)?;
            let tried = match kind {
                LockKind::Shared => file.try_lock_shared(),
                LockKind::Exclusive => file.try_lock(),
            };
            match tried {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Ok(None),
                Err(TryLockError::Error(source)) => {
                    return Err(FileLockError::Io { path: path.to_owned(), source });
                }
            }
            if is_still_at(&file, path)? {
                return Ok(Some(Self { file }));
            }
        }
        Err(FileLockError::Replaced { path: path.to_owned() })
    }

    /// Takes the lock, waiting its turn for as long as `patience`. Dropping the call leaves nothing
    /// behind.
    pub(crate) async fn take(
        path: &Path,
        access: Access,
        kind: LockKind,
        patience: Duration,
    ) -> Result<Self, FileLockError> {
        let begun = Instant::now();
        let mut pause = FIRST_PAUSE;
        loop {
            if let Some(lock) = Self::try_kind(path, access, kind)? {
                return Ok(lock);
            }
            if begun.elapsed() >= patience {
                let path = path.to_owned();
                let blocker = blocker::of(std::slice::from_ref(&path));
                return Err(FileLockError::Busy { path, waited: patience, blocker });
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Whether somebody holds the lock. Touches it for a moment only, and in a way that doesn't
    /// disturb others who ask the same.
    pub(crate) fn is_held(path: &Path) -> Result<bool, FileLockError> {
        let file = match OpenOptions::new().read(true).custom_flags(guard_flags()).open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(source) => return Err(refusal(path, source)),
        };
        match file.try_lock_shared() {
            Ok(()) => Ok(false),
            Err(TryLockError::WouldBlock) => Ok(true),
            Err(TryLockError::Error(source)) => {
                Err(FileLockError::Io { path: path.to_owned(), source })
            }
        }
    }
}

/// Opens a lock file, making it if it is missing.
///
/// The two are apart because Linux refuses to open an existing file of another user in a sticky
/// folder when the call could also have made it.
fn open(path: &Path, access: Access) -> Result<File, FileLockError> {
    for _ in 0..OPEN_TRIES {
        let found =
            OpenOptions::new().read(true).write(true).custom_flags(guard_flags()).open(path);
        let found = match found {
            // A lock needs no right to write.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                OpenOptions::new().read(true).custom_flags(guard_flags()).open(path)
            }
            other => other,
        };
        match found {
            Ok(file) => return regular(file, path),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(refusal(path, source)),
        }
        let mode = access.file_mode();
        match OpenOptions::new().read(true).write(true).create_new(true).mode(mode).open(path) {
            Ok(file) => {
                return access
                    .hand_over(&file, mode)
                    .map(|()| file)
                    .map_err(|source| FileLockError::Io { path: path.to_owned(), source });
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(source) => return Err(refusal(path, source)),
        }
    }
    Err(FileLockError::Replaced { path: path.to_owned() })
}

/// No link is followed, and nothing that is not a file can make the call wait.
fn guard_flags() -> i32 {
    (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed()
}

fn regular(file: File, path: &Path) -> Result<File, FileLockError> {
    match file.metadata() {
        Ok(metadata) if metadata.is_file() => Ok(file),
        Ok(_) => Err(FileLockError::NotAFile { path: path.to_owned() }),
        Err(source) => Err(FileLockError::Io { path: path.to_owned(), source }),
    }
}

fn refusal(path: &Path, source: io::Error) -> FileLockError {
    let path = path.to_owned();
    if path.is_symlink() {
        FileLockError::Link { path }
    } else if path.exists() && !path.is_file() {
        FileLockError::NotAFile { path }
    } else {
        FileLockError::Io { path, source }
    }
}

fn is_still_at(file: &File, path: &Path) -> Result<bool, FileLockError> {
    let failed = |source| FileLockError::Io { path: path.to_owned(), source };
    let held = file.metadata().map_err(failed)?;
    match std::fs::symlink_metadata(path) {
        Ok(there) => Ok((there.dev(), there.ino()) == (held.dev(), held.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(source) => Err(failed(source)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MODE: Access = Access::of_group(0);

    #[test]
    fn a_lock_excludes_a_second_one_until_it_is_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        assert!(!FileLock::is_held(&path).unwrap(), "a lock without a file is free");
        let first = FileLock::try_take(&path, MODE).unwrap().unwrap();
        assert!(FileLock::try_take(&path, MODE).unwrap().is_none());
        assert!(FileLock::is_held(&path).unwrap());
        drop(first);
        assert!(!FileLock::is_held(&path).unwrap());
        assert!(FileLock::try_take(&path, MODE).unwrap().is_some());
        assert_eq!(
            std::fs::metadata(&path).unwrap().mode() & 0o777,
            0o660,
            "the process's mask must not narrow it"
        );
    }

    #[test]
    fn links_and_pipes_in_the_lock_files_place_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let victim = folder.path().join("victim");
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&victim, &link).unwrap();
        assert!(matches!(FileLock::try_take(&link, MODE), Err(FileLockError::Link { .. })));
        assert!(!victim.exists(), "the link was followed");
        std::fs::write(&victim, "precious").unwrap();
        assert!(matches!(FileLock::try_take(&link, MODE), Err(FileLockError::Link { .. })));

        let pipe = folder.path().join("pipe");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &pipe,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::from_raw_mode(0o600),
            0,
        )
        .unwrap();
        assert!(matches!(FileLock::try_take(&pipe, MODE), Err(FileLockError::NotAFile { .. })));
        assert!(matches!(
            FileLock::try_take(folder.path(), MODE),
            Err(FileLockError::NotAFile { .. })
        ));
    }

    #[test]
    fn a_lock_file_that_was_removed_under_a_holder_does_not_confuse_a_later_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let stale = open(&path, MODE).unwrap();
        std::fs::remove_file(&path).unwrap();
        stale.lock().unwrap();
        assert!(!is_still_at(&stale, &path).unwrap());
        assert!(FileLock::try_take(&path, MODE).unwrap().is_some());
    }

    #[tokio::test]
    async fn dropping_a_waiting_call_leaks_no_lock() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let held = FileLock::try_take(&path, MODE).unwrap().unwrap();
        let waiting = tokio::spawn({
            let path = path.clone();
            let long = Duration::from_mins(1);
            async move { FileLock::take(&path, MODE, LockKind::Exclusive, long).await }
        });
        tokio::task::yield_now().await;
        waiting.abort();
        assert!(waiting.await.unwrap_err().is_cancelled());
        drop(held);
        assert!(FileLock::try_take(&path, MODE).unwrap().is_some());
    }
}
