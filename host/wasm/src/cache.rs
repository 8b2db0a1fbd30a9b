//! Compiled components, kept between runs.
//!
//! Loading compiled code trusts it as our own, so a file is only used when all of this holds, on
//! every load:
//!
//! - the folder is this user's and nobody else can enter it; the file is this user's alone, and no
//!   link;
//! - its bytes have the right authentication code: keyed BLAKE3, with a random key that lies in the
//!   same folder. The key is a different one for each file name, so that one component's code can't
//!   stand for another's;
//! - its name fits: made of the component's digest, the compiler's settings and our version;
//! - what is mapped is the very file that was proven, by its descriptor: a file that takes its name
//!   meanwhile is not looked at.
//!
//! Which component a path held last is remembered, so that its code can be proven while the
//! component is still being read. That is a guess and no more: the code is used only once the
//! component's digest is known to be the guessed one. With it stands a keyed BLAKE3 of the
//! component's bytes under that digest: bytes that have it are the ones whose SHA-256 was taken
//! before, and it is four times as fast to take.
//!
//! Whatever is not as it should be is deleted and compiled again. A failing cache never fails a
//! load.

use agente_engine::names::Digest;
use sha2::{Digest as _, Sha256};
use std::fs;
use std::hash::{Hash as _, Hasher};
use std::io::{Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{
    DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _,
};
use std::path::{Path, PathBuf};
use wasmtime::Engine;
use wasmtime::component::Component;

const KEY_BYTES: usize = blake3::KEY_LEN;

/// How much is read and proven at a time: what stays in the processor's own cache.
const PROOF_BUFFER_BYTES: usize = 64 << 10;

/// A folder of compiled components.
#[derive(Debug)]
pub(crate) struct Cache {
    folder: PathBuf,
    key: [u8; KEY_BYTES],
}

/// Whether a component had to be compiled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compiled {
    /// It was in the cache.
    Cached,
    /// It was compiled now.
    Now,
}

impl Cache {
    /// Opens the folder, making it if need be; nothing where it can't be private or used.
    pub(crate) fn open(folder: &Path) -> Option<Self> {
        match Self::try_open(folder) {
            Ok(cache) => Some(cache),
            Err(error) => {
                tracing::warn!(folder = %folder.display(), %error, "the cache of compiled plugins \
                can't be used; plugins are compiled on every run");
                None
            }
        }
    }

    fn try_open(folder: &Path) -> std::io::Result<Self> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let found = fs::symlink_metadata(folder)?;
        if !found.is_dir() || found.uid() != rustix::process::geteuid().as_raw() {
            return Err(std::io::Error::other("it is not a directory owned by this user"));
        }
        if found.mode() & 0o077 != 0 {
            // Somebody could have written there: what is in it is not trusted.
            for entry in fs::read_dir(folder)?.flatten() {
                let _ = fs::remove_file(entry.path());
            }
            fs::set_permissions(folder, fs::Permissions::from_mode(0o700))?;
        }
        let path = folder.join("key");
        let known =
            read_private(&path).ok().and_then(|bytes| <[u8; KEY_BYTES]>::try_from(bytes).ok());
        let key = if let Some(key) = known {
            key
        } else {
            let key: [u8; KEY_BYTES] = rand::random();
            write_private(folder, &path, &key)?;
            // Another process may have written its own at the same time; the last one stands.
            read_private(&path)?.try_into().unwrap_or(key)
        };
        Ok(Self { folder: folder.to_owned(), key })
    }

    /// The compiled component, if it is there and as we wrote it.
    pub(crate) fn load(&self, engine: &Engine, digest: &Digest) -> Option<Component> {
        let (code, proof) = self.paths(engine, digest);
        let proven = open_private(&code).and_then(|mut file| {
            let found = self.proof_of(&code, &mut file)?;
            let told = read_private(&proof)
                .ok()
                .and_then(|bytes| <[u8; blake3::OUT_LEN]>::try_from(bytes).ok());
            Ok(told.is_some_and(|told| found == told).then_some(file))
        });
        let file = match proven {
            Ok(Some(file)) => file,
            Ok(None) => {
                tracing::warn!(path = %code.display(), "a cached plugin is damaged or not ours; \
                recompiling it");
                forget(&code, &proof);
                return None;
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
            Err(error) => {
                tracing::warn!(path = %code.display(), %error, "a cached plugin can't be read; \
                recompiling it");
                forget(&code, &proof);
                return None;
            }
        };
        match deserialize(engine, &file) {
            Ok(component) => Some(component),
            Err(error) => {
                tracing::warn!(path = %code.display(), error = format!("{error:#}"), "a cached \
                plugin doesn't match this host; recompiling it");
                forget(&code, &proof);
                None
            }
        }
    }

    /// The compiled component of what a path held last, with its digest: to be used only if it
    /// still holds that.
    pub(crate) fn guess(&self, engine: &Engine, component: &Path) -> Option<(Digest, Component)> {
        let (digest, _) = self.remembered(component)?;
        let compiled = self.load(engine, &digest)?;
        Some((digest, compiled))
    }

    /// Remembers what a path holds.
    pub(crate) fn remember(&self, component: &Path, bytes: &[u8], digest: &Digest) {
        let text = format!("{digest} {}", self.proof_of_component(bytes, digest).to_hex());
        if let Err(error) = write_private(&self.folder, &self.memory_of(component), text.as_bytes())
        {
            tracing::debug!(folder = %self.folder.display(), %error, "the loaded plugins could \
            not be recorded");
        }
    }

    /// The digest of a path's bytes, if they are those that it held last.
    pub(crate) fn digest_of(&self, component: &Path, bytes: &[u8]) -> Option<Digest> {
        let (digest, proof) = self.remembered(component)?;
        (self.proof_of_component(bytes, &digest) == proof).then_some(digest)
    }

    fn remembered(&self, component: &Path) -> Option<(Digest, blake3::Hash)> {
        let text = String::from_utf8(read_private(&self.memory_of(component)).ok()?).ok()?;
        let (digest, proof) = text.split_once(' ')?;
        Some((Digest::new(digest).ok()?, blake3::Hash::from_hex(proof).ok()?))
    }

    /// The authentication code of a component's bytes, with a key for its digest alone.
    fn proof_of_component(&self, bytes: &[u8], digest: &Digest) -> blake3::Hash {
        blake3::keyed_hash(
            blake3::keyed_hash(&self.key, digest.as_str().as_bytes()).as_bytes(),
            bytes,
        )
    }

    fn memory_of(&self, component: &Path) -> PathBuf {
        let path = std::path::absolute(component).unwrap_or_else(|_| component.to_owned());
        self.folder
            .join(format!("{}.last", blake3::hash(path.as_os_str().as_encoded_bytes()).to_hex()))
    }

    /// Keeps a compiled component.
    pub(crate) fn keep(&self, engine: &Engine, digest: &Digest, component: &Component) {
        let (code, proof) = self.paths(engine, digest);
        let keep = || -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
            let bytes = component.serialize().map_err(|error| format!("{error:#}"))?;
            // Code before proof: a crash between the two leaves a file that is not proven and is
            // made again.
            write_private(&self.folder, &code, &bytes)?;
            write_private(
                &self.folder,
                &proof,
                self.proof_of(&code, &mut bytes.as_slice())?.as_bytes(),
            )?;
            Ok(())
        };
        if let Err(error) = keep() {
            tracing::warn!(folder = %self.folder.display(), %error, "a compiled plugin could not \
            be cached");
        }
    }

    /// The authentication code of a file's bytes, with a key for its name alone. Compare it with
    /// `==`, which takes the same time whatever differs.
    fn proof_of(
        &self,
        code: &Path,
        bytes: &mut dyn std::io::Read,
    ) -> std::io::Result<blake3::Hash> {
        let name = code.file_name().map(std::ffi::OsStr::as_encoded_bytes).unwrap_or_default();
        let mut hasher = blake3::Hasher::new_keyed(blake3::keyed_hash(&self.key, name).as_bytes());
        let mut buffer = vec![0; PROOF_BUFFER_BYTES];
        loop {
            match bytes.read(&mut buffer) {
                Ok(0) => return Ok(hasher.finalize()),
                Ok(length) => hasher.update(buffer.get(..length).unwrap_or_default()),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
        }
    }

    fn paths(&self, engine: &Engine, digest: &Digest) -> (PathBuf, PathBuf) {
        let mut settings = Settings(Sha256::new());
        engine.precompile_compatibility_hash().hash(&mut settings);
        settings.0.update(env!("CARGO_PKG_VERSION"));
        let settings = hex::encode(settings.0.finalize());
        let hex = digest.as_str().trim_start_matches("sha256:");
        let stem = format!("{hex}-{}", settings.get(..16).unwrap_or(&settings));
        (self.folder.join(format!("{stem}.cwasm")), self.folder.join(format!("{stem}.mac")))
    }
}

fn forget(code: &Path, proof: &Path) {
    let _ = fs::remove_file(code);
    let _ = fs::remove_file(proof);
}

#[expect(unsafe_code, reason = "loading compiled code; its bytes were just proven to be ours")]
fn deserialize(engine: &Engine, file: &fs::File) -> wasmtime::Result<Component> {
    // SAFETY: the open file was written by this user's host from the output of the same compiler,
    // as its authentication code proves, and stands in a folder that nobody else can enter. By
    // its descriptor it is the same one whatever has happened to its name.
    unsafe { Component::deserialize_file(engine, format!("/proc/self/fd/{}", file.as_raw_fd())) }
}

/// Opens a file that belongs to this user and that nobody else can use; follows no link.
fn open_private(path: &Path) -> std::io::Result<fs::File> {
    let file = fs::File::options()
        .read(true)
        .custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed())
        .open(path)?;
    let found = file.metadata()?;
    if !found.is_file()
        || found.uid() != rustix::process::geteuid().as_raw()
        || found.mode() & 0o077 != 0
    {
        return Err(std::io::Error::other("it is not a file that only this user can access"));
    }
    Ok(file)
}

/// Reads such a file whole; for the small ones.
fn read_private(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open_private(path)?.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Writes a file for this user alone, as one step.
fn write_private(folder: &Path, path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut file = tempfile::Builder::new().prefix(".new-").tempfile_in(folder)?;
    file.write_all(bytes)?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}

/// A hasher that keeps all it is given.
struct Settings(Sha256);

impl Hasher for Settings {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        0
    }
}

#[cfg(test)]
mod tests;
