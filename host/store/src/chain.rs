//! The chain: each entry of a scope carries a hash over the one before it and over itself, so that
//! a change, a gap or a cut end is found.
//!
//! It proves that nobody changed the past without rebuilding everything after it. Who can write the
//! file can do that; comparing the newest hash with a copy kept elsewhere shows it.

mod rows;

use crate::database::from_sql;
use crate::store::{EmbeddedStore, find_scope};
use agente_engine::fault::Fault;
use agente_engine::names::{DeploymentId, Scope};
use sha2::{Digest as _, Sha256};
use sqlx::sqlite::SqliteRow;
use sqlx::{Connection, FromRow, Row as _};

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

/// What a walk along a scope's chain found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChainState {
    /// Every entry fits the one before it, and the state follows from the newest.
    Intact {
        /// How many there are.
        entries: u64,
        /// The newest one's hash in hexadecimal, to be compared with a copy kept elsewhere.
        head: String,
    },
    /// Something was changed, removed or put in.
    Broken {
        /// The first position within the scope, from 1, that doesn't fit.
        position: u64,
        /// The deployment of the entry there, if there is one.
        deployment: Option<DeploymentId>,
        /// What doesn't fit, in words.
        message: String,
    },
}

struct Row {
    position: i64,
    deployment: String,
    sequence: i64,
    at: i64,
    fence: i64,
    event: String,
    state_digest: Vec<u8>,
    previous_hash: Vec<u8>,
    hash: Vec<u8>,
}

impl FromRow<'_, SqliteRow> for Row {
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

impl EmbeddedStore {
    /// Walks along the chain of a scope and reports the first entry that doesn't fit. Changes
    /// nothing.
    pub async fn verify_chain(&self, scope: &Scope) -> Result<ChainState, Fault> {
        let walked = async {
            let mut connection = self.database.readers().acquire().await?;
            // One view of all of it, whoever appends meanwhile.
            let mut view = connection.begin().await?;
            let Some(row) = find_scope(&mut view, scope).await? else { return Ok(None) };
            let head: (Option<String>, i64, Vec<u8>) =
                sqlx::query_as("SELECT state, head_position, head_hash FROM scope WHERE id = ?")
                    .bind(row)
                    .fetch_one(&mut *view)
                    .await?;
            let columns = "SELECT position, deployment, sequence, at, fence, event, state_digest, \
                           previous_hash, hash FROM entry WHERE scope = ? ORDER BY position";
            let entries: Vec<Row> = sqlx::query_as(columns).bind(row).fetch_all(&mut *view).await?;
            let deployments = rows::read(&mut view, row).await?;
            view.commit().await?;
            Ok(Some((head, entries, deployments)))
        };
        let walked = walked.await.map_err(|error| {
            self.database.unreadable(&format!("the journal of {scope} can't be read"), &error)
        })?;
        Ok(match walked {
            Some(((state, position, hash), entries, deployments)) => {
                match walk(scope, &entries, state.as_deref(), from_sql(position), &hash) {
                    ChainState::Intact { entries: count, head } => {
                        rows::compare(&entries, &deployments)
                            .unwrap_or(ChainState::Intact { entries: count, head })
                    }
                    broken @ ChainState::Broken { .. } => broken,
                }
            }
            None => ChainState::Intact { entries: 0, head: hex::encode([0; 32]) },
        })
    }
}

fn walk(
    scope: &Scope,
    entries: &[Row],
    state: Option<&str>,
    head_position: u64,
    head_hash: &[u8],
) -> ChainState {
    let mut previous = vec![0; 32];
    let mut expected = 1;
    for row in entries {
        let broken = |position, message: &str| ChainState::Broken {
            position,
            deployment: Some(DeploymentId(row.deployment.clone())),
            message: message.to_owned(),
        };
        let position = from_sql(row.position);
        if position != expected {
            return broken(expected, &format!("entry {expected} is missing"));
        }
        if row.previous_hash != previous {
            return broken(
                position,
                &format!("entry {position} does not follow the one before it"),
            );
        }
        let link = Link {
            service: scope.service.as_str(),
            environment: scope.environment.as_str(),
            position,
            deployment: &row.deployment,
            sequence: from_sql(row.sequence),
            at: from_sql(row.at),
            fence: from_sql(row.fence),
            event: &row.event,
            state_digest: &row.state_digest,
        };
        if row.hash != link.hash(&previous) {
            return broken(
                position,
                &format!(
                    "entry {position} (number {} of deployment `{}`) was changed",
                    row.sequence, row.deployment
                ),
            );
        }
        previous.clone_from(&row.hash);
        expected += 1;
    }
    let broken = |position, message| ChainState::Broken {
        position,
        deployment: entries.last().map(|row| DeploymentId(row.deployment.clone())),
        message,
    };
    let entries_found = expected - 1;
    if head_position > entries_found {
        return broken(
            expected,
            format!(
                "the newest entries are missing: there were {head_position}, there are \
                 {entries_found}"
            ),
        );
    }
    if head_position < entries_found || head_hash != previous {
        return broken(
            head_position + 1,
            format!("the journal should end at entry {head_position}, and doesn't"),
        );
    }
    if let Some(newest) = entries.last()
        && state.is_none_or(|state| state_digest(state).as_slice() != newest.state_digest)
    {
        return broken(
            entries_found,
            format!(
                "the state of {scope} does not follow from entry {entries_found}: it was changed"
            ),
        );
    }
    ChainState::Intact { entries: entries_found, head: hex::encode(previous) }
}

#[cfg(test)]
mod tests;
