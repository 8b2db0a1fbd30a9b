//! One link of the chain: what an entry's hash covers.

use sha2::{Digest as _, Sha256};
use sqlx::sqlite::SqliteRow;
use sqlx::{FromRow, Row as _};

/// Begins the hashed bytes of an entry, so that they can't be mistaken for something else.
const TAG: &str = "agente-host journal entry, version 1";

/// What an entry's hash covers.
#[derive(Clone, Copy)]
pub(crate) struct Link<'a> {
    pub(crate) service: &'a str,
    pub(crate) environment: &'a str,
    pub(crate) position: u64,
    pub(crate) deployment: &'a str,
    pub(crate) sequence: u64,
    pub(crate) at: u64,
    pub(crate) fence: u64,
    pub(crate) event: &'a str,
    pub(crate) state_digest: &'a [u8],
}

impl Link<'_> {
    /// SHA-256 over the previous hash and the fields in the order above. Each text is preceded by
    /// its length, so that no two entries give the same bytes.
    pub(crate) fn hash(&self, previous: &[u8]) -> [u8; 32] {
        let mut hasher = Sha256::new();
        let mut text = |bytes: &[u8]| {
            hasher.update((bytes.len() as u64).to_be_bytes());
            hasher.update(bytes);
        };
        text(previous);
        text(TAG.as_bytes());
        text(self.service.as_bytes());
        text(self.environment.as_bytes());
        text(&self.position.to_be_bytes());
        text(self.deployment.as_bytes());
        text(&self.sequence.to_be_bytes());
        text(&self.at.to_be_bytes());
        text(&self.fence.to_be_bytes());
        text(self.event.as_bytes());
        text(self.state_digest);
        hasher.finalize().into()
    }
}

/// The digest by which an entry vouches for the state that follows from it.
pub(crate) fn state_digest(state: &str) -> [u8; 32] {
    Sha256::digest(state.as_bytes()).into()
}

/// An entry with its place in the chain, as the file has it.
pub(crate) struct Linked {
    pub(crate) position: i64,
    pub(crate) deployment: String,
    pub(crate) sequence: i64,
    pub(crate) at: i64,
    pub(crate) fence: i64,
    pub(crate) event: String,
    pub(crate) state_digest: Vec<u8>,
    pub(crate) previous_hash: Vec<u8>,
    pub(crate) hash: Vec<u8>,
}

impl FromRow<'_, SqliteRow> for Linked {
    fn from_row(row: &SqliteRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            position: row.try_get("position")?,
            deployment: row.try_get("deployment")?,
            sequence: row.try_get("sequence")?,
            at: row.try_get("at")?,
            fence: row.try_get("fence")?,
            event: row.try_get("event")?,
            state_digest: row.try_get("state_digest")?,
            previous_hash: row.try_get("previous_hash")?,
            hash: row.try_get("hash")?,
        })
    }
}
