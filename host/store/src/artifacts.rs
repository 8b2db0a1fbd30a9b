//! Artifacts: program files, kept under the digest of their bytes.
//!
//! A file under its digest is whole: it is copied beside, hashed while it is copied, synced, and
//! only then moved to its name. What a run that was cut off left beside is swept away by the next
//! one. Imports and pruning take turns.

use crate::directory::Access;
use crate::faults;
use crate::file_lock::{FileLock, LockKind};
use crate::numbers::to_sql;
use crate::patience;
use crate::store::EmbeddedStore;
use agente_engine::fault::{Fault, FaultKind};
use agente_engine::names::{Digest, ReleaseNumber};
use agente_engine::ports::{History, Journal, Releases};
use agente_engine::release::Artifact;
use agente_engine::state::ServiceState;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

/// Begins the names of what is not whole yet, or not whole any more.
const PARTIAL: &str = ".partial-";
/// What was imported within this time is not pruned: its release may be about to be made.
const YOUNG: Duration = Duration::from_hours(1);
/// How much is read at a time.
const BUFFER_BYTES: usize = 128 * 1024;

/// Why a file was not imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// There is nothing.
    #[error("the artifact `{}` does not exist", path.display())]
    Missing {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// There is a directory.
    #[error("the artifact `{}` is a directory", path.display())]
    Directory { path: PathBuf },
    /// There is a pipe, a device …
    #[error("the artifact `{}` is not a regular file", path.display())]
    NotAFile { path: PathBuf },
    /// There are no bytes in it.
    #[error("the artifact `{}` is empty", path.display())]
    Empty { path: PathBuf },
    /// Its name is not text.
    #[error("the name of the artifact `{}` is not UTF-8", path.display())]
    Name { path: PathBuf },
    /// Somebody wrote to it meanwhile.
    #[error("the artifact `{}` changed while it was being copied", path.display())]
    Changed { path: PathBuf },
    /// It can't be read.
    #[error("the artifact `{}` can't be read", path.display())]
    Unreadable {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// The store can't take it.
    #[error("the artifact can't be stored at `{}`", path.display())]
    Unwritable {
        /// Where it was to go.
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// Another import or pruning is in the way, and can't be waited for.
    #[error("{0}")]
    Unavailable(Fault),
}

impl From<ImportError> for Fault {
    fn from(error: ImportError) -> Fault {
        let message = error.to_string();
        let invalid = |hint: &str| Fault::new(FaultKind::InvalidConfig, message.clone()).hint(hint);
        match &error {
            ImportError::Missing { .. } => invalid("build it first, or correct `artifact`"),
            ImportError::Directory { .. } | ImportError::NotAFile { .. } => {
                invalid("set `artifact` to the program file itself")
            }
            ImportError::Empty { .. } => invalid("build it again"),
            ImportError::Name { .. } => invalid("rename it"),
            ImportError::Changed { .. } => {
                invalid("wait until it is built, then try again").retryable()
            }
            ImportError::Unreadable { source, .. } => {
                invalid("check its owner and mode").because(source)
            }
            ImportError::Unwritable { source, path } => {
                let folder = path.parent().unwrap_or(path).display().to_string();
                let hint = if matches!(
                    source.kind(),
                    io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
                ) {
                    format!("free some space (see `df -h {folder}`), then try again")
                } else {
                    format!("check with `ls -ld {folder}` that you can write there")
                };
                Fault::new(FaultKind::Unavailable, message).hint(hint).because(source)
            }
            ImportError::Unavailable(fault) => fault.clone(),
        }
    }
}

/// What pruning removed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Pruned {
    /// The digests of the artifacts, in order.
    pub digests: Vec<Digest>,
    /// Their size together.
    pub bytes: u64,
}

impl EmbeddedStore {
    /// Copies a program file into the store. The same bytes under the same name are kept once; a
    /// damaged copy is replaced.
    ///
    /// It stays executable if it was, and nobody may write to it any more.
    pub async fn import_artifact(&self, source: &Path) -> Result<Artifact, ImportError> {
        let lock = self.lock_artifacts().await.map_err(ImportError::Unavailable)?;
        let folder = self.directory.artifacts();
        let unwritable = |source| ImportError::Unwritable { path: folder.clone(), source };
        let access = self.directory.access().map_err(unwritable)?;
        let (source, folder) = (source.to_owned(), folder.clone());
        // If the caller stops waiting, the copy goes on under its lock to its end.
        let copied = tokio::task::spawn_blocking(move || {
            let _turn = lock;
            import(&source, &folder, access)
        });
        copied.await.map_err(|error| {
            ImportError::Unavailable(
                Fault::new(
                    FaultKind::Internal,
                    "copying the artifact was \
                interrupted",
                )
                .because(&error),
            )
        })?
    }

    /// Where an artifact lies, whether it is there or not.
    pub fn artifact_path(&self, digest: &Digest, name: &str) -> Result<PathBuf, Fault> {
        let mut parts = Path::new(name).components();
        let is_a_name = match (parts.next(), parts.next()) {
            (Some(Component::Normal(part)), None) => part == OsStr::new(name),
            _ => false,
        };
        if !is_a_name {
            return Err(Fault::new(
                FaultKind::InvalidConfig,
                format!("`{name}` is not a file name"),
            )
            .hint("give a file name without a directory"));
        }
        Ok(folder_of(&self.directory.artifacts(), digest).join(name))
    }

    /// Reads an artifact to its end and says whether it still has its digest. For preflight and
    /// before a launch.
    pub async fn verify_artifact(&self, digest: &Digest, name: &str) -> Result<(), Fault> {
        let path = self.artifact_path(digest, name)?;
        let wanted = digest.clone();
        let hint = "deploy the program file again: that replaces the copy";
        let read = tokio::task::spawn_blocking(move || match digest_of(&path) {
            Ok(found) if found == wanted => Ok(()),
            Ok(found) => {
                let message = format!(
                    "the artifact `{}` is corrupt: its digest is {}, not {}",
                    path.display(),
                    found.short(),
                    wanted.short()
                );
                Err(Fault::new(FaultKind::Conflict, message).hint(hint))
            }
            Err(error) => Err(Fault::new(
                FaultKind::Unavailable,
                format!("the artifact `{}` can't be read", path.display()),
            )
            .hint(hint)
            .because(&error)),
        });
        read.await.map_err(|error| {
            Fault::new(FaultKind::Internal, "reading the artifact was interrupted").because(&error)
        })?
    }

    /// Removes the artifacts that no release needs which is among the newest `keep` of its scope,
    /// or stands, or is being deployed.
    ///
    /// Releases themselves stay. What was imported within the last hour stays too.
    pub async fn prune_artifacts(&self, keep: u32) -> Result<Pruned, Fault> {
        let lock = self.lock_artifacts().await?;
        let needed = self.needed_artifacts(keep).await?;
        let folder = self.directory.artifacts();
        let removed = tokio::task::spawn_blocking(move || {
            let _turn = lock;
            prune(&folder, &needed)
        });
        let removed = removed.await.map_err(|error| {
            Fault::new(FaultKind::Internal, "pruning artifacts was interrupted").because(&error)
        })?;
        removed.map_err(|error| {
            let folder = self.directory.artifacts();
            let message = format!("old artifacts in `{}` can't be removed", folder.display());
            Fault::new(FaultKind::Unavailable, message)
                .hint(format!("check with `ls -l {}`", folder.display()))
                .because(&error)
        })
    }

    async fn lock_artifacts(&self) -> Result<FileLock, Fault> {
        let attempted = "the artifacts can't be locked";
        let path = self.directory.locks().join("artifacts.lock");
        FileLock::take(&path, self.access(), LockKind::Exclusive, patience::ARTIFACTS)
            .await
            .map_err(|error| faults::lock(attempted, &error))
    }

    /// The digests that must stay, as the names of their folders.
    async fn needed_artifacts(&self, keep: u32) -> Result<BTreeSet<String>, Fault> {
        let unreadable =
            |error: sqlx::Error| self.database.unreadable("the releases can't be read", &error);
        let newest: Vec<(String,)> = self
            .database
            .fetch_all(
                sqlx::query_as(
                    "SELECT artifact_digest FROM release WHERE artifact_digest IS NOT NULL
             AND number > (SELECT max(number) FROM release AS newest WHERE newest.scope = \
             release.scope) - ?",
                )
                .bind(to_sql(u64::from(keep))),
            )
            .await
            .map_err(unreadable)?;
        let being_deployed: Vec<(String,)> = self
            .database
            .fetch_all(sqlx::query_as(
                "SELECT artifact_digest FROM deployment JOIN release ON release.scope = \
             deployment.scope AND release.number = deployment.release
             WHERE closed IS NULL AND artifact_digest IS NOT NULL",
            ))
            .await
            .map_err(unreadable)?;
        let mut needed: BTreeSet<String> = newest
            .into_iter()
            .chain(being_deployed)
            .map(|(digest,)| folder_name(&digest))
            .collect();
        for scope in self.scopes().await? {
            for number in standing(&self.state(&scope).await?) {
                if let Some(Artifact::File { digest, .. }) =
                    self.release(&scope, number).await?.map(|release| release.artifact)
                {
                    needed.insert(folder_name(digest.as_str()));
                }
            }
        }
        Ok(needed)
    }
}

/// The releases whose programs may run, or may be started again.
fn standing(state: &ServiceState) -> Vec<ReleaseNumber> {
    let routed = state
        .routes
        .iter()
        .flat_map(|routes| routes.routes.iter().filter_map(|route| route.release));
    let stable = state.stable.iter().map(|standing| standing.release);
    let kept = state.kept.iter().map(|kept| kept.standing.release);
    stable.chain(kept).chain(routed).collect()
}

/// A digest's digits: what its folder is called.
fn folder_name(digest: &str) -> String {
    digest.strip_prefix("sha256:").unwrap_or(digest).to_owned()
}

fn folder_of(artifacts: &Path, digest: &Digest) -> PathBuf {
    artifacts.join(folder_name(digest.as_str()))
}

fn import(source: &Path, artifacts: &Path, access: Access) -> Result<Artifact, ImportError> {
    let path = || source.to_owned();
    let unreadable = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => ImportError::Missing { path: path() },
        _ => ImportError::Unreadable { path: path(), source: error },
    };
    let metadata = std::fs::metadata(source).map_err(unreadable)?;
    if metadata.is_dir() {
        return Err(ImportError::Directory { path: path() });
    }
    if !metadata.is_file() {
        return Err(ImportError::NotAFile { path: path() });
    }
    if metadata.len() == 0 {
        return Err(ImportError::Empty { path: path() });
    }
    let name = source
        .file_name()
        .and_then(OsStr::to_str)
        .ok_or_else(|| ImportError::Name { path: path() })?
        .to_owned();
    let mode = if metadata.permissions().mode() & 0o111 == 0 { 0o444 } else { 0o555 };

    let digest = digest_of(source).map_err(unreadable)?;
    let folder = folder_of(artifacts, &digest);
    let target = folder.join(&name);
    let unwritable = |source| ImportError::Unwritable { path: target.clone(), source };
    sweep(artifacts).map_err(unwritable)?;
    access.make_folder(&folder).map_err(unwritable)?;
    if digest_of(&target).is_ok_and(|found| found == digest) {
        std::fs::set_permissions(&target, Permissions::from_mode(mode))
            .or_else(|error| same_mode(&target, mode).ok_or(error))
            .map_err(unwritable)?;
    } else {
        let partial =
            artifacts.join(format!("{PARTIAL}{}", hex::encode(rand::random::<[u8; 8]>())));
        let copied = copy(source, &partial, mode, access, &digest, &target);
        if copied.is_err() {
            // The next import sweeps what is left now.
            let _ = std::fs::remove_file(&partial);
        }
        copied?;
        std::fs::rename(&partial, &target).map_err(unwritable)?;
        sync_folder(&folder).and_then(|()| sync_folder(artifacts)).map_err(unwritable)?;
    }
    make_young(&folder).map_err(unwritable)?;
    Ok(Artifact::File { digest, name })
}

/// Makes an artifact young again, so that pruning leaves it until its release is made.
fn make_young(folder: &Path) -> io::Result<()> {
    // “Now” may be set by all who can write; a time of one's own choice, only by the owner.
    let now = rustix::fs::Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_NOW };
    let both = rustix::fs::Timestamps { last_access: now, last_modification: now };
    Ok(rustix::fs::futimens(File::open(folder)?, &both)?)
}

/// Whether a file that belongs to another user of the group has the mode that it should have.
fn same_mode(path: &Path, mode: u32) -> Option<()> {
    let found = std::fs::metadata(path).ok()?.permissions().mode() & 0o777;
    (found == mode).then_some(())
}

/// Copies, hashes and syncs.
fn copy(
    source: &Path,
    partial: &Path,
    mode: u32,
    access: Access,
    wanted: &Digest,
    target: &Path,
) -> Result<(), ImportError> {
    let unwritable = |source| ImportError::Unwritable { path: target.to_owned(), source };
    let mut from = File::open(source)
        .map_err(|error| ImportError::Unreadable { path: source.to_owned(), source: error })?;
    let mut to = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(partial)
        .map_err(unwritable)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let read = from
            .read(&mut buffer)
            .map_err(|error| ImportError::Unreadable { path: source.to_owned(), source: error })?;
        let Some(bytes) = buffer.get(..read).filter(|bytes| !bytes.is_empty()) else { break };
        hasher.update(bytes);
        to.write_all(bytes).map_err(unwritable)?;
    }
    if finish(hasher) != Some(wanted.clone()) {
        return Err(ImportError::Changed { path: source.to_owned() });
    }
    access.hand_over(&to, mode).map_err(unwritable)?;
    to.sync_all().map_err(unwritable)
}

fn digest_of(path: &Path) -> io::Result<Digest> {
    let mut file = File::open(path)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let read = file.read(&mut buffer)?;
        let Some(bytes) = buffer.get(..read).filter(|bytes| !bytes.is_empty()) else { break };
        hasher.update(bytes);
    }
    finish(hasher).ok_or_else(|| io::Error::other("a digest of the wrong length"))
}

fn finish(hasher: Sha256) -> Option<Digest> {
    Digest::new(format!("sha256:{}", hex::encode(hasher.finalize()))).ok()
}

fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Removes what runs that were cut off have left. The caller has the lock, so nobody is at it.
fn sweep(artifacts: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(artifacts)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(PARTIAL) {
            if entry.file_type()?.is_dir() {
                std::fs::remove_dir_all(entry.path())?;
            } else {
                std::fs::remove_file(entry.path())?;
            }
        }
    }
    Ok(())
}

fn prune(artifacts: &Path, needed: &BTreeSet<String>) -> io::Result<Pruned> {
    sweep(artifacts)?;
    let mut pruned = Pruned::default();
    for entry in std::fs::read_dir(artifacts)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let Ok(digest) = Digest::new(format!("sha256:{name}")) else { continue };
        let age = entry.metadata()?.modified()?.elapsed().unwrap_or_default();
        if needed.contains(&name) || age < YOUNG {
            continue;
        }
        for file in std::fs::read_dir(entry.path())? {
            pruned.bytes += file?.metadata()?.len();
        }
        // In one move, so that no half of it is ever found under its digest.
        let partial = artifacts.join(format!("{PARTIAL}{name}"));
        std::fs::rename(entry.path(), &partial)?;
        std::fs::remove_dir_all(&partial)?;
        pruned.digests.push(digest);
    }
    pruned.digests.sort();
    Ok(pruned)
}

#[cfg(test)]
mod tests;
