//! Files on the machine of the host.
//!
//! The broker gives the path as it really is. It is opened folder by folder without following any
//! link, so that a link that appears between the decision and the deed is refused and not followed.

use crate::bindings::any::agente::host::files::Entry;
use crate::bindings::any::agente::types::types::Failure;
use crate::broker::{Allowed, Denied, DeniedBecause, Effect};
use crate::operation::Operation;
use agente_engine::fault::FaultKind;
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat};
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Entries of a folder that are listed at most.
const MAX_ENTRIES: usize = 10_000;

/// Runs file work where it may block.
async fn blocking<R: Send + 'static>(
    operation: &Arc<Operation>,
    work: impl FnOnce(&Operation) -> Result<R, Failure> + Send + 'static,
) -> Result<R, Failure> {
    let operation = Arc::clone(operation);
    tokio::task::spawn_blocking(move || work(&operation)).await.unwrap_or_else(|error| {
        Err(Failure::new(FaultKind::Internal, format!("file work of the host failed: {error}")))
    })
}

pub(crate) async fn read(
    operation: &Arc<Operation>,
    path: String,
) -> Result<Option<Vec<u8>>, Failure> {
    blocking(operation, move |operation| {
        let effect = Effect::ReadFile(path.clone());
        let real = allowed_path(operation, &effect)?;
        let limit = operation.household.limits.hostcall.bytes();
        let attempt = format!("reading `{path}`");
        let Some(file) = found(open(&real, OFlags::RDONLY | OFlags::NONBLOCK), &attempt)? else {
            return Ok(None);
        };
        let file = File::from(file);
        let facts = file.metadata().map_err(|error| Failure::io(&attempt, &error))?;
        if !facts.is_file() {
            return Err(Failure::new(FaultKind::Rejected, format!("`{path}` is not a file")));
        }
        let mut bytes = Vec::new();
        file.take(limit + 1)
            .read_to_end(&mut bytes)
            .map_err(|error| Failure::io(&attempt, &error))?;
        if bytes.len() as u64 > limit {
            let limit = operation.household.limits.hostcall;
            return Err(Failure::new(
                FaultKind::Rejected,
                format!("`{path}` is larger than {limit}, which is what a call may carry"),
            ));
        }
        Ok(Some(bytes))
    })
    .await
}

pub(crate) async fn look_at(
    operation: &Arc<Operation>,
    path: String,
) -> Result<Option<Entry>, Failure> {
    blocking(operation, move |operation| {
        let real = allowed_path(operation, &Effect::LookAtFile(path.clone()))?;
        let attempt = format!("looking at `{path}`");
        let Some((folder, name)) = open_folder_of(&real, &attempt)? else { return Ok(None) };
        let stat = rustix::fs::statat(&folder, &name, AtFlags::SYMLINK_NOFOLLOW);
        let Some(stat) = found(stat, &attempt)? else { return Ok(None) };
        let writable = is_writable(&folder, &name, &stat);
        let mut entry = entry(name, &stat);
        entry.labels.push(("writable".to_owned(), writable.to_string()));
        Ok(Some(entry))
    })
    .await
}

pub(crate) async fn list(operation: &Arc<Operation>, path: String) -> Result<Vec<Entry>, Failure> {
    blocking(operation, move |operation| {
        let real = allowed_path(operation, &Effect::ListFolder(path.clone()))?;
        let attempt = format!("listing `{path}`");
        let folder = open(&real, OFlags::RDONLY | OFlags::DIRECTORY)
            .map_err(|error| Failure::io(&attempt, &error.into()))?;
        let mut entries = Vec::new();
        for found in
            Dir::read_from(&folder).map_err(|error| Failure::io(&attempt, &error.into()))?
        {
            let name =
                found.map_err(|error| Failure::io(&attempt, &error.into()))?.file_name().to_owned();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            if entries.len() == MAX_ENTRIES {
                return Err(Failure::new(
                    FaultKind::Rejected,
                    format!("`{path}` has more than {MAX_ENTRIES} entries"),
                ));
            }
            // An entry may have gone since it was listed.
            if let Ok(stat) = rustix::fs::statat(&folder, &name, AtFlags::SYMLINK_NOFOLLOW) {
                entries.push(entry(name.to_string_lossy().into_owned(), &stat));
            }
        }
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    })
    .await
}

pub(crate) async fn replace(
    operation: &Arc<Operation>,
    path: String,
    bytes: Vec<u8>,
    mode: u32,
) -> Result<(), Failure> {
    blocking(operation, move |operation| {
        let effect = Effect::ReplaceFile(path.clone());
        let real = allowed_path(operation, &effect)?;
        let attempt = format!("replacing `{path}`");
        let no_folder = || {
            Failure::new(FaultKind::Failed, format!("{attempt} failed: its folder does not exist"))
        };
        let (folder, name) = open_folder_of(&real, &attempt)?.ok_or_else(no_folder)?;
        match rustix::fs::statat(&folder, &name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => match FileType::from_raw_mode(stat.st_mode) {
                FileType::RegularFile => {}
                FileType::Symlink => {
                    let denied = Denied {
                        plugin: operation.household.plugin.clone(),
                        effect: effect.to_string(),
                        because: DeniedBecause::Link,
                        rule: None,
                    };
                    operation.record_denied(&effect, &denied);
                    return Err(denied.into());
                }
                _ => {
                    return Err(Failure::new(
                        FaultKind::Rejected,
                        format!("{attempt} failed: what stands there is not a file"),
                    ));
                }
            },
            Err(rustix::io::Errno::NOENT) => {}
            Err(error) => return Err(Failure::io(&attempt, &error.into())),
        }
        write_and_rename(&folder, &name, &bytes, mode)
            .map_err(|error| Failure::io(&attempt, &error))
    })
    .await
}

pub(crate) async fn remove(operation: &Arc<Operation>, path: String) -> Result<bool, Failure> {
    blocking(operation, move |operation| {
        let real = allowed_path(operation, &Effect::RemoveFile(path.clone()))?;
        let attempt = format!("removing `{path}`");
        let Some((folder, name)) = open_folder_of(&real, &attempt)? else { return Ok(false) };
        if found(rustix::fs::unlinkat(&folder, &name, AtFlags::empty()), &attempt)?.is_none() {
            return Ok(false);
        }
        rustix::fs::fsync(&folder).map_err(|error| Failure::io(&attempt, &error.into()))?;
        Ok(true)
    })
    .await
}

fn allowed_path(operation: &Operation, effect: &Effect) -> Result<PathBuf, Failure> {
    match operation.authorize(effect)? {
        Allowed::Path(path) => Ok(path),
        _ => Err(Failure::new(
            FaultKind::Internal,
            "the broker allowed an effect on a file without its path",
        )),
    }
}

/// Opens a real path, folder by folder; a link anywhere in it is an error.
fn open(path: &Path, flags: OFlags) -> Result<OwnedFd, rustix::io::Errno> {
    let step = OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NOCTTY;
    let mut folder = rustix::fs::open("/", OFlags::PATH | OFlags::DIRECTORY | step, Mode::empty())?;
    let mut parts = path.components().skip(1).peekable();
    while let Some(part) = parts.next() {
        let last = parts.peek().is_none();
        let how = if last { flags } else { OFlags::PATH | OFlags::DIRECTORY };
        folder = rustix::fs::openat(&folder, part.as_os_str(), how | step, Mode::empty())?;
        if last {
            return Ok(folder);
        }
    }
    rustix::fs::open("/", flags | step, Mode::empty())
}

/// Opens the folder of a real path; none if there is none.
fn open_folder_of(path: &Path, attempt: &str) -> Result<Option<(OwnedFd, String)>, Failure> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(Failure::new(
            FaultKind::Rejected,
            format!("{attempt} failed: it is no entry of a folder"),
        ));
    };
    let folder = found(open(folder, OFlags::RDONLY | OFlags::DIRECTORY), attempt)?;
    Ok(folder.map(|folder| (folder, name.to_string_lossy().into_owned())))
}

fn found<R>(result: Result<R, rustix::io::Errno>, attempt: &str) -> Result<Option<R>, Failure> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(rustix::io::Errno::NOENT) => Ok(None),
        Err(error) => Err(Failure::io(attempt, &error.into())),
    }
}

/// Temporary file in the same folder, sync, mode, rename, sync of the folder: a reader sees the old
/// bytes or the new ones.
fn write_and_rename(folder: &OwnedFd, name: &str, bytes: &[u8], mode: u32) -> std::io::Result<()> {
    // The name must not end like a file that a server includes (`*.conf`), and must not be in the
    // way of an earlier one.
    let temporary =
        format!(".{}.{:016x}.agente-new", name.get(..100).unwrap_or(name), rand::random::<u64>());
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let mut file =
        File::from(rustix::fs::openat(folder, &temporary, flags, Mode::RUSR | Mode::WUSR)?);
    let written = (|| {
        file.write_all(bytes)?;
        // Set after opening, so that the umask has no say; never set-user-id and its like.
        rustix::fs::fchmod(&file, Mode::from_raw_mode(mode & 0o777))?;
        file.sync_all()?;
        rustix::fs::renameat(folder, &temporary, folder, name)?;
        Ok(())
    })();
    if written.is_err() {
        let _ = rustix::fs::unlinkat(folder, &temporary, AtFlags::empty());
        return written;
    }
    rustix::fs::fsync(folder)?;
    Ok(())
}

/// Whether this process may write there: into a folder, entries; into a file, bytes. The kernel's
/// word, so that read-only mounts count, too.
fn is_writable(folder: &OwnedFd, name: &str, stat: &Stat) -> bool {
    use rustix::fs::Access;
    let wanted = match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => Access::WRITE_OK | Access::EXEC_OK,
        // What a link may lead to was not asked.
        FileType::Symlink => return false,
        _ => Access::WRITE_OK,
    };
    rustix::fs::accessat(folder, name, wanted, AtFlags::EACCESS).is_ok()
}

fn entry(name: String, stat: &Stat) -> Entry {
    let kind = match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => "file",
        FileType::Directory => "folder",
        FileType::Symlink => "link",
        _ => "other",
    };
    let modified = i128::from(stat.st_mtime) * 1000 + i128::from(stat.st_mtime_nsec) / 1_000_000;
    let labels = [
        ("mode", format!("{:o}", stat.st_mode & 0o7777)),
        ("uid", stat.st_uid.to_string()),
        ("gid", stat.st_gid.to_string()),
        ("device", stat.st_dev.to_string()),
        ("inode", stat.st_ino.to_string()),
        ("modified-ms", modified.to_string()),
    ];
    let size_bytes = if kind == "file" { u64::try_from(stat.st_size).unwrap_or(0) } else { 0 };
    Entry {
        name,
        kind: kind.to_owned(),
        size_bytes,
        labels: labels.map(|(name, value)| (name.to_owned(), value)).to_vec(),
    }
}
