//! The chain: each entry of a scope carries a hash over the one before it and over itself, so that
//! a change, a gap or a cut end is found.
//!
//! It proves that nobody changed the past without rebuilding everything after it. Who can write the
//! file can do that; comparing the newest hash with a copy kept elsewhere shows it.

mod rows;

use crate::faults;
use crate::link::{self, Link, Linked};
use crate::numbers::from_sql;
use crate::scopes;
use crate::store::EmbeddedStore;
use agente_engine::fault::Fault;
use agente_engine::journal::ChainState;
use agente_engine::names::{DeploymentId, Scope};
use sqlx::Connection;

impl EmbeddedStore {
    /// Walks along the chain of a scope and reports the first entry that doesn't fit. Changes
    /// nothing.
    pub(crate) async fn walk_chain(&self, scope: &Scope) -> Result<ChainState, Fault> {
        let of_scope = scope.clone();
        let walked = self.database.read(move |readers| async move {
            let mut connection = readers.acquire().await?;
            // One view of all of it, whoever appends meanwhile.
            let mut view = connection.begin().await?;
            let (sound,): (String,) =
                sqlx::query_as("PRAGMA quick_check(1)").fetch_one(&mut *view).await?;
            if sound != "ok" {
                return Ok(Walked::Damaged(sound));
            }
            let Some(row) = scopes::find(&mut view, &of_scope).await? else {
                return Ok(Walked::Nothing);
            };
            let head: Head =
                sqlx::query_as("SELECT state, head_position, head_hash FROM scope WHERE id = ?")
                    .bind(row)
                    .fetch_one(&mut *view)
                    .await?;
            let columns = "SELECT position, deployment, sequence, at, fence, event, state_digest, \
                           previous_hash, hash FROM entry WHERE scope = ? ORDER BY position";
            let entries: Vec<Linked> =
                sqlx::query_as(columns).bind(row).fetch_all(&mut *view).await?;
            let deployments = rows::read(&mut view, row).await?;
            view.commit().await?;
            Ok(Walked::Scope(Box::new((head, entries, deployments))))
        });
        let walked = walked.await.map_err(|error| {
            self.database.unreadable(&format!("the journal of {scope} can't be read"), &error)
        })?;
        Ok(match walked {
            Walked::Scope(found) => {
                let ((state, position, hash), entries, deployments) = *found;
                match walk(scope, &entries, state.as_deref(), from_sql(position), &hash) {
                    ChainState::Intact { entries: count, head } => {
                        rows::compare(&entries, &deployments)
                            .unwrap_or(ChainState::Intact { entries: count, head })
                    }
                    broken @ ChainState::Broken { .. } => broken,
                }
            }
            Walked::Nothing => ChainState::Intact { entries: 0, head: hex::encode([0; 32]) },
            Walked::Damaged(what) => {
                return Err(faults::damaged(self.directory.database().as_path(), &what));
            }
        })
    }
}

/// The head that a scope's row tells: state, position, hash.
type Head = (Option<String>, i64, Vec<u8>);

/// What there is to walk along.
enum Walked {
    /// `SQLite` itself finds the file damaged.
    Damaged(String),
    /// The scope was never deployed here.
    Nothing,
    Scope(Box<(Head, Vec<Linked>, Vec<rows::DeploymentRow>)>),
}

fn walk(
    scope: &Scope,
    entries: &[Linked],
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
                "the newest entries are missing: there were {head_position}, now there are \
                {entries_found}"
            ),
        );
    }
    if head_position < entries_found || head_hash != previous {
        return broken(
            head_position + 1,
            format!("the journal does not end at entry {head_position}, as it should"),
        );
    }
    if let Some(newest) = entries.last()
        && state.is_none_or(|state| link::state_digest(state).as_slice() != newest.state_digest)
    {
        return broken(
            entries_found,
            format!("the state of {scope} does not match entry {entries_found}: it was changed"),
        );
    }
    ChainState::Intact { entries: entries_found, head: hex::encode(previous) }
}

#[cfg(test)]
mod tests;
