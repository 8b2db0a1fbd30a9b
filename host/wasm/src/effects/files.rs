//! Files on the machine of the host.
//!
//! The broker has judged the path as it really is. It is opened without following any link, so that
//! a link that appears between the decision and the deed is refused and not followed. All of it
//! blocks, and runs where that is allowed.

use super::live::Live;
use crate::answer::{Answer, EffectError, FileEntry};
use crate::blob::Blob;
use crate::broker::Allowed;
use agente_engine::fault::FaultKind;
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags, Stat};
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::path::Path;

/// Entries of a folder that are listed at most.
const MAX_ENTRIES: usize = 10_000;

pub(super) fn read(live: &Live, path: &str, allowed: &Allowed) -> Result<Answer, EffectError> {
    let limit = live.household.limits.hostcall;
    let attempt = format!("reading `{path}`");
    let opened = open(real(allowed)?, OFlags::RDONLY | OFlags::NONBLOCK);
    let Some(file) = found(opened, &attempt)? else { return Ok(Answer::Bytes(None)) };
    let file = File::from(file);
    let facts = file.metadata().map_err(|error| EffectError::io(&attempt, &error))?;
    if !facts.is_file() {
        return Err(EffectError::new(FaultKind::Rejected, format!("`{path}` is not a file")));
    }
    let mut bytes = Vec::new();
    file.take(limit.bytes() + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| EffectError::io(&attempt, &error))?;
    if bytes.len() as u64 > limit.bytes() {
        return Err(EffectError::new(
            FaultKind::Rejected,
            format!("`{path}` is larger than {limit}, the most a call may carry"),
        ));
    }
    Ok(Answer::Bytes(Some(Blob(bytes))))
}

pub(super) fn look_at(path: &str, allowed: &Allowed) -> Result<Answer, EffectError> {
    let attempt = format!("looking at `{path}`");
    let Some((folder, name)) = open_folder_of(real(allowed)?, &attempt)? else {
        return Ok(Answer::Entry(None));
    };
    let stat = rustix::fs::statat(&folder, &name, AtFlags::SYMLINK_NOFOLLOW);
    let Some(stat) = found(stat, &attempt)? else { return Ok(Answer::Entry(None)) };
    let writable = is_writable(&folder, &name, &stat);
    let mut entry = entry(name, &stat);
    entry.labels.push(("writable".to_owned(), writable.to_string()));
    Ok(Answer::Entry(Some(entry)))
}

pub(super) fn list(path: &str, allowed: &Allowed) -> Result<Answer, EffectError> {
    let attempt = format!("listing `{path}`");
    let failed = |error: rustix::io::Errno| EffectError::io(&attempt, &error.into());
    let folder = open(real(allowed)?, OFlags::RDONLY | OFlags::DIRECTORY).map_err(failed)?;
    let mut entries = Vec::new();
    for found in Dir::read_from(&folder).map_err(failed)? {
        let name = found.map_err(failed)?.file_name().to_owned();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        if entries.len() == MAX_ENTRIES {
            return Err(EffectError::new(
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
    Ok(Answer::Entries(entries))
}

pub(super) fn replace(
    live: &Live,
    path: &str,
    bytes: &[u8],
    mode: u32,
    allowed: &Allowed,
) -> Result<Answer, EffectError> {
    let attempt = format!("replacing `{path}`");
    let rejected =
        |why: &str| EffectError::new(FaultKind::Rejected, format!("{attempt} failed: {why}"));
    let no_folder = || {
        EffectError::new(
            FaultKind::Failed,
            format!(
                "{attempt} failed: its directory does not \
        exist"
            ),
        )
    };
    let (folder, name) = open_folder_of(real(allowed)?, &attempt)?.ok_or_else(no_folder)?;
    match rustix::fs::statat(&folder, &name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => {}
            FileType::Symlink => {
                return Err(EffectError::new(
                    FaultKind::Denied,
                    format!(
                        "{attempt} failed: it is a symbolic link, and writing would replace the \
                        link, not its target"
                    ),
                ));
            }
            _ => return Err(rejected("it is not a regular file")),
        },
        Err(rustix::io::Errno::NOENT) => {}
        Err(error) => return Err(EffectError::io(&attempt, &error.into())),
    }
    write_and_rename(live, &folder, &name, bytes, mode, &attempt)?;
    Ok(Answer::Done)
}

pub(super) fn remove(live: &Live, path: &str, allowed: &Allowed) -> Result<Answer, EffectError> {
    let attempt = format!("removing `{path}`");
    let Some((folder, name)) = open_folder_of(real(allowed)?, &attempt)? else {
        return Ok(Answer::Removed(false));
    };
    let removed = live
        .wanted
        .commit(|| found(rustix::fs::unlinkat(&folder, &name, AtFlags::empty()), &attempt))?;
    if removed.is_none() {
        return Ok(Answer::Removed(false));
    }
    rustix::fs::fsync(&folder).map_err(|error| EffectError::io(&attempt, &error.into()))?;
    Ok(Answer::Removed(true))
}

/// The path that was judged.
fn real(allowed: &Allowed) -> Result<&Path, EffectError> {
    match allowed {
        Allowed::Path(path) => Ok(path),
        _ => Err(EffectError::mismatch()),
    }
}

/// Opens a real path; a link anywhere in it is an error.
fn open(path: &Path, flags: OFlags) -> Result<OwnedFd, rustix::io::Errno> {
    use rustix::io::Errno;
    let flags = flags | OFlags::CLOEXEC | OFlags::NOCTTY;
    let opened = rustix::fs::openat2(
        rustix::fs::CWD,
        path,
        flags,
        Mode::empty(),
        ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS,
    );
    match opened {
        // A kernel without it, or a sandbox that doesn't know it.
        Err(Errno::NOSYS | Errno::PERM) => open_by_steps(path, flags),
        opened => opened,
    }
}

/// The same folder by folder.
fn open_by_steps(path: &Path, flags: OFlags) -> Result<OwnedFd, rustix::io::Errno> {
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
fn open_folder_of(path: &Path, attempt: &str) -> Result<Option<(OwnedFd, String)>, EffectError> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(EffectError::new(
            FaultKind::Rejected,
            format!("{attempt} failed: the path names no file"),
        ));
    };
    let folder = found(open(folder, OFlags::RDONLY | OFlags::DIRECTORY), attempt)?;
    Ok(folder.map(|folder| (folder, name.to_string_lossy().into_owned())))
}

fn found<R>(result: Result<R, rustix::io::Errno>, attempt: &str) -> Result<Option<R>, EffectError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(rustix::io::Errno::NOENT) => Ok(None),
        Err(error) => Err(EffectError::io(attempt, &error.into())),
    }
}

/// Temporary file in the same folder, sync, mode, rename, sync of the folder: a reader sees the old
/// bytes or the new ones.
fn write_and_rename(
    live: &Live,
    folder: &OwnedFd,
    name: &str,
    bytes: &[u8],
    mode: u32,
    attempt: &str,
) -> Result<(), EffectError> {
    let failed = |error: std::io::Error| EffectError::io(attempt, &error);
    // The name must not end like a file that a server includes (`*.conf`), and must not be in the
    // way of an earlier one.
    let temporary =
        format!(".{}.{:016x}.agente-new", name.get(..100).unwrap_or(name), rand::random::<u64>());
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let opened = rustix::fs::openat(folder, &temporary, flags, Mode::RUSR | Mode::WUSR);
    let mut file = File::from(opened.map_err(|error| failed(error.into()))?);
    let prepared = (|| {
        file.write_all(bytes)?;
        // Set after opening, so that the umask has no say; never set-user-id and its like.
        rustix::fs::fchmod(&file, Mode::from_raw_mode(mode & 0o777))?;
        file.sync_all()
    })();
    let rename = || {
        rustix::fs::renameat(folder, &temporary, folder, name).map_err(|error| failed(error.into()))
    };
    let replaced = prepared.map_err(failed).and_then(|()| live.wanted.commit(rename));
    if replaced.is_err() {
        let _ = rustix::fs::unlinkat(folder, &temporary, AtFlags::empty());
        return replaced;
    }
    rustix::fs::fsync(folder).map_err(|error| failed(error.into()))
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

fn entry(name: String, stat: &Stat) -> FileEntry {
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
    FileEntry {
        name,
        kind: kind.to_owned(),
        size_bytes,
        labels: labels.map(|(name, value)| (name.to_owned(), value)).to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::io::Errno;

    #[test]
    fn no_way_to_open_a_path_follows_a_link() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        std::fs::create_dir(root.join("folder")).unwrap();
        std::fs::write(root.join("folder/file"), "x").unwrap();
        std::os::unix::fs::symlink(root.join("folder"), root.join("to-folder")).unwrap();
        std::os::unix::fs::symlink("file", root.join("folder/to-file")).unwrap();
        for open in [open, open_by_steps] {
            assert!(open(&root.join("folder/file"), OFlags::RDONLY).is_ok());
            assert!(open(Path::new("/"), OFlags::RDONLY | OFlags::DIRECTORY).is_ok());
            for path in ["to-folder/file", "folder/to-file"] {
                let refused = open(&root.join(path), OFlags::RDONLY).unwrap_err();
                assert!(matches!(refused, Errno::LOOP | Errno::NOTDIR), "{path}: {refused}");
            }
        }
    }
}
