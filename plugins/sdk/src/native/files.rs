//! Files, with the standard library.

use crate::failure::{Code, Failure};
use crate::host::Entry;
use std::fs;
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

fn broken(attempt: &str, path: &str, error: &std::io::Error) -> Failure {
    let code =
        if error.kind() == ErrorKind::PermissionDenied { Code::Denied } else { Code::Failed };
    Failure::new(code, format!("can't {attempt} `{path}`: {error}"))
}

pub(super) fn read(path: &str) -> Result<Option<Vec<u8>>, Failure> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(broken("read", path, &error)),
    }
}

fn entry(name: String, metadata: &fs::Metadata) -> Entry {
    let kind = if metadata.is_symlink() {
        "link"
    } else if metadata.is_dir() {
        "folder"
    } else if metadata.is_file() {
        "file"
    } else {
        "other"
    };
    let modified_ms = metadata.mtime() * 1000 + metadata.mtime_nsec() / 1_000_000;
    let labels = [
        ("mode", format!("{:o}", metadata.mode() & 0o7777)),
        ("uid", metadata.uid().to_string()),
        ("gid", metadata.gid().to_string()),
        ("device", metadata.dev().to_string()),
        ("inode", metadata.ino().to_string()),
        ("modified-ms", modified_ms.to_string()),
    ];
    Entry {
        name,
        kind: kind.into(),
        size_bytes: if metadata.is_file() { metadata.len() } else { 0 },
        labels: labels.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
    }
}

pub(super) fn stat(path: &str) -> Result<Option<Entry>, Failure> {
    match fs::symlink_metadata(path) {
        Ok(metadata) => {
            let name = Path::new(path)
                .file_name()
                .map_or_else(|| path.to_owned(), |name| name.to_string_lossy().into_owned());
            let mut entry = entry(name, &metadata);
            let writable = rustix::fs::access(path, rustix::fs::Access::WRITE_OK).is_ok();
            entry.labels.push(("writable".to_owned(), writable.to_string()));
            Ok(Some(entry))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(broken("look at", path, &error)),
    }
}

pub(super) fn list(path: &str) -> Result<Vec<Entry>, Failure> {
    let mut entries = Vec::new();
    for found in fs::read_dir(path).map_err(|error| broken("list", path, &error))? {
        let found = found.map_err(|error| broken("list", path, &error))?;
        if let Ok(metadata) = found.metadata() {
            entries.push(entry(found.file_name().to_string_lossy().into_owned(), &metadata));
        }
    }
    entries.sort_by(|left, right| left.name.cmp(&right.name));
    Ok(entries)
}

fn folder_of(path: &str) -> Result<&Path, Failure> {
    Path::new(path)
        .parent()
        .ok_or_else(|| Failure::invalid_config(format!("`{path}` is in no folder")))
}

fn sync_folder(path: &str) -> Result<(), Failure> {
    let folder = folder_of(path)?;
    fs::File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(|error| broken("sync the folder of", path, &error))
}

pub(super) fn replace(path: &str, bytes: &[u8], mode: u32) -> Result<(), Failure> {
    let failed = |error: std::io::Error| broken("replace", path, &error);
    let mut file = tempfile::Builder::new()
        .prefix(".agente-")
        .suffix(".part")
        .tempfile_in(folder_of(path)?)
        .map_err(failed)?;
    file.write_all(bytes).map_err(failed)?;
    file.as_file().set_permissions(fs::Permissions::from_mode(mode)).map_err(failed)?;
    file.as_file().sync_all().map_err(failed)?;
    file.persist(path).map_err(|error| failed(error.error))?;
    sync_folder(path)
}

pub(super) fn remove(path: &str) -> Result<bool, Failure> {
    match fs::remove_file(path) {
        Ok(()) => sync_folder(path).map(|()| true),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(broken("remove", path, &error)),
    }
}

pub(super) fn log_mark(path: &str) -> Result<u64, Failure> {
    match fs::metadata(path) {
        Ok(metadata) => Ok(metadata.len()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(0),
        Err(error) => Err(broken("look at the log", path, &error)),
    }
}

pub(super) fn log_since(path: &str, mark: u64, max_bytes: u32) -> Result<Vec<u8>, Failure> {
    let failed = |error: std::io::Error| broken("read the log", path, &error);
    let mut file = match fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    let length = file.metadata().map_err(failed)?.len();
    let mark = if length < mark { 0 } else { mark }; // rotated since
    file.seek(SeekFrom::Start(mark.max(length.saturating_sub(u64::from(max_bytes)))))
        .map_err(failed)?;
    let mut bytes = Vec::new();
    file.take(u64::from(max_bytes)).read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes)
}
