//! Artifacts whose bytes were compared with their digest.

use sha2::Digest as _;
use std::collections::BTreeSet;
use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// Artifacts whose bytes were compared with their digest. An artifact is read once per run of the
/// host.
#[derive(Debug, Default)]
pub(super) struct ProvenArtifacts(Mutex<BTreeSet<ProvenFile>>);

/// What tells a file from what it was, or from another in its place.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct ProvenFile {
    path: PathBuf,
    inode: u64,
    size_bytes: u64,
    changed: (i64, i64),
}

impl ProvenArtifacts {
    /// Whether this very file was compared already.
    pub(super) fn has(&self, path: &Path, about: &Metadata) -> bool {
        self.0.lock().is_ok_and(|proven| proven.contains(&ProvenFile::of(path, about)))
    }

    /// Remembers that it was.
    pub(super) fn add(&self, path: &Path, about: &Metadata) {
        if let Ok(mut proven) = self.0.lock() {
            proven.insert(ProvenFile::of(path, about));
        }
    }
}

impl ProvenFile {
    fn of(path: &Path, about: &Metadata) -> Self {
        Self {
            path: path.to_owned(),
            inode: about.ino(),
            size_bytes: about.len(),
            changed: (about.ctime(), about.ctime_nsec()),
        }
    }
}

/// The digest of a file's bytes.
pub(super) fn digest_of(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut hash = sha2::Sha256::new();
    let mut buffer = vec![0; 128 * 1024];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(format!("sha256:{}", hex::encode(hash.finalize()))),
            read => hash.update(buffer.get(..read).unwrap_or_default()),
        }
    }
}
