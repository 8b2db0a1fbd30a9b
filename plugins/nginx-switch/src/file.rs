//! Our file as it stands on the disk.

use crate::render::FIRST_LINE;
use crate::snapshot::Snapshot;
use sha2::{Digest, Sha256};

/// What stands at the file's path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OnDisk {
    /// Nothing.
    Absent,
    /// A file without our first line.
    Foreign,
    /// A file that began as ours and was changed since.
    Edited(Option<Snapshot>),
    /// A file of ours, as it was written.
    Ours {
        /// What it says.
        snapshot: Snapshot,
        digest: String,
    },
}

impl OnDisk {
    /// Reads a file's bytes.
    pub fn read(bytes: Option<&[u8]>) -> Self {
        let Some(bytes) = bytes else { return Self::Absent };
        let Ok(text) = str::from_utf8(bytes) else { return Self::Foreign };
        let Some((first, rest)) = text.split_once('\n') else { return Self::Foreign };
        let Some(said) = first.strip_prefix(FIRST_LINE) else { return Self::Foreign };
        let comments = rest.lines().map_while(|line| line.strip_prefix("# "));
        let snapshot = Snapshot::read(comments);
        let digest = hex::encode(Sha256::digest(rest.as_bytes()));
        match snapshot {
            Some(snapshot) if digest == said.trim() => Self::Ours { snapshot, digest },
            snapshot => Self::Edited(snapshot),
        }
    }

    /// The digest of a file of ours; empty where there is none.
    pub fn digest(&self) -> &str {
        match self {
            Self::Absent | Self::Foreign | Self::Edited(_) => "",
            Self::Ours { digest, .. } => digest,
        }
    }

    /// What the file says, as far as it can be read.
    pub fn snapshot(&self) -> Option<&Snapshot> {
        match self {
            Self::Absent | Self::Foreign => None,
            Self::Edited(snapshot) => snapshot.as_ref(),
            Self::Ours { snapshot, .. } => Some(snapshot),
        }
    }
}
