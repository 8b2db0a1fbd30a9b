//! What `SQLite`, the file system and damaged rows say, in words that tell an operator what to do.

use crate::blocker;
use crate::file_lock::FileLockError;
use crate::patience;
use crate::reserve;
use agente_engine::fault::{Fault, FaultKind};
use std::path::Path;
use std::time::Duration;

/// Says why something did not work on the store's file.
pub(crate) fn sql(kind: FaultKind, attempted: &str, path: &Path, error: &sqlx::Error) -> Fault {
    let file = path.display();
    let folder = path.parent().unwrap_or(path).display();
    let mut kind = kind;
    let (words, hint, retryable) = match error {
        sqlx::Error::Database(found) => match primary_code(found.code().as_deref()) {
            Some(13) => full(path),
            // No room for the index of the log.
            Some(10) if found.code().as_deref() == Some(NO_ROOM_FOR_INDEX) => full(path),
            Some(8) => (
                format!("`{file}` can't be written to"),
                format!(
                    "check with `ls -l {folder}` that it belongs to you or your group, and with \
                    `findmnt -T {folder}` that the disk is not read-only"
                ),
                false,
            ),
            Some(5 | 6) => {
                let (words, hint) = locked(path, patience::BUSY);
                (words, hint, true)
            }
            Some(14) => (
                format!("`{file}` can't be opened"),
                format!("check with `ls -l {folder}` that it belongs to you or your group"),
                false,
            ),
            Some(10) => (
                format!("the disk that holds `{file}` reports an error"),
                "check `dmesg`, and restore the state directory from a backup if it is lost"
                    .to_owned(),
                false,
            ),
            Some(11 | 26) => {
                // Whatever was asked of it: nothing that it says counts any more.
                kind = FaultKind::JournalUnavailable;
                (format!("`{file}` is damaged, or not a SQLite file"), restore(path), false)
            }
            _ => (
                format!("`{file}` rejected it"),
                "this is a bug; the journal is unchanged".to_owned(),
                false,
            ),
        },
        sqlx::Error::PoolTimedOut => {
            let (words, hint) = locked(path, patience::TURN);
            (words, hint, true)
        }
        sqlx::Error::PoolClosed | sqlx::Error::WorkerCrashed => {
            (format!("`{file}` is being closed"), "run the same command again".to_owned(), true)
        }
        _ => (format!("`{file}` could not be used"), format!("check `{folder}`"), false),
    };
    let fault = Fault::new(kind, format!("{attempted}: {words}")).hint(hint).because(error);
    let fault = Fault { causes: without_repeats(fault.causes), ..fault };
    if retryable { fault.retryable() } else { fault }
}

/// `SQLITE_IOERR_SHMSIZE`.
const NO_ROOM_FOR_INDEX: &str = "4874";

/// Says how full the disk is, how much is needed, and what to do.
pub(crate) fn full(path: &Path) -> (String, String, bool) {
    let folder = path.parent().unwrap_or(path);
    let free = reserve::free_bytes(folder).filter(|free| *free < reserve::NEEDED_BYTES);
    let free = free.map_or_else(String::new, |bytes| format!("{} KiB are free, ", bytes >> 10));
    let needed = format!("{} MiB", reserve::NEEDED_BYTES >> 20);
    let words =
        format!("the disk that holds `{}` is full ({free}{needed} are needed)", path.display());
    let hint = format!(
        "free at least {needed} (`df -h {}` shows how much there is), then run the same command \
        again",
        folder.display()
    );
    (words, hint, true)
}

/// Whether a write failed because the disk is full.
pub(crate) fn is_full(error: &sqlx::Error) -> bool {
    let sqlx::Error::Database(found) = error else { return false };
    let code = found.code();
    primary_code(code.as_deref()) == Some(13) || code.as_deref() == Some(NO_ROOM_FOR_INDEX)
}

/// Says what `SQLite` found when it looked through the whole file.
pub(crate) fn damaged(path: &Path, found: &str) -> Fault {
    let message = format!("`{}` is damaged: {found}", path.display());
    Fault::new(FaultKind::JournalUnavailable, message).hint(restore(path))
}

/// What to do about a database that is lost.
pub(crate) fn restore(path: &Path) -> String {
    format!(
        "restore `{}` from a backup; don't remove it, because it knows what is live",
        path.parent().unwrap_or(path).display()
    )
}

/// Says who has kept the store from being used, for how long, and what to do.
fn locked(path: &Path, waited: Duration) -> (String, String) {
    let (file, waited) = (path.display(), waited.as_secs());
    // SQLite locks the file itself, and the index of its log.
    match blocker::of(&[path.with_extension("db-shm"), path.to_owned()]) {
        Some(blocker) => {
            (format!("`{file}` has been locked for {waited} s by {blocker}"), blocker.hint())
        }
        None => (
            format!("`{file}` was busy for {waited} s"),
            format!(
                "find out what uses it with `fuser -v {file}`, then run the same command \
            again"
            ),
        ),
    }
}

/// Says why a lock could not be tried.
pub(crate) fn lock(attempted: &str, error: &FileLockError) -> Fault {
    let kind = match error {
        FileLockError::Busy { .. } => FaultKind::TimedOut,
        _ => FaultKind::Unavailable,
    };
    let fault = Fault::new(kind, format!("{attempted}: {error}"));
    let fault = match std::error::Error::source(error) {
        Some(source) => fault.because(source),
        None => fault,
    };
    match error {
        FileLockError::Link { path } | FileLockError::NotAFile { path } => fault.hint(format!(
            "agente-host did not create it: check with `ls -l {0}`, then remove `{0}`",
            path.display()
        )),
        FileLockError::Replaced { path } => {
            fault.hint(format!("find out what removes `{}`", path.display()))
        }
        FileLockError::NotOurs { .. } => fault.hint(
            "everyone who deploys to a target must share a group: keep the state in a directory \
            of that group (`install -d -m 2770 -g <group> /var/lib/agente-host`), then remove the \
            lock file",
        ),
        FileLockError::Busy { blocker: Some(blocker), .. } => {
            fault.hint(blocker.hint()).retryable()
        }
        FileLockError::Busy { path, blocker: None, .. } => fault
            .hint(format!("find out what has it open with `fuser -v {}`", path.display()))
            .retryable(),
        FileLockError::Io { path, .. } => {
            fault.hint(format!("check with `ls -l {}` that you can use it", path.display()))
        }
    }
}

/// Says that a row holds what this host can't read.
pub(crate) fn unreadable_row(what: &str, error: &dyn std::error::Error) -> Fault {
    Fault::new(FaultKind::Unavailable, format!("{what} can't be parsed"))
        .hint("a newer agente-host wrote it, or the store is damaged: use the newest agente-host")
        .because(error)
}

/// `SQLite`'s result code without its extension.
fn primary_code(code: Option<&str>) -> Option<i32> {
    code?.parse::<i32>().ok().map(|code| code & 0xff)
}

/// The layers of the client library say the same thing over and over.
fn without_repeats(causes: Vec<String>) -> Vec<String> {
    let mut kept: Vec<String> = Vec::new();
    for cause in causes.into_iter().rev() {
        if !kept.iter().any(|known| cause.contains(known.as_str())) {
            kept.push(cause);
        }
    }
    kept.reverse();
    kept
}
