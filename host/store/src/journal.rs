//! The journal as the engine sees it.

use crate::faults;
use crate::numbers::{from_sql, to_sql};
use crate::store::EmbeddedStore;
use agente_engine::fault::Fault;
use agente_engine::journal::Entry;
use agente_engine::names::{DeploymentId, Scope, Timestamp};
use agente_engine::ports::{AppendError, Fence, Journal};
use agente_engine::state::ServiceState;
use async_trait::async_trait;

#[async_trait]
impl Journal for EmbeddedStore {
    async fn append(
        &self,
        fence: Fence,
        entry: &Entry,
        state: &ServiceState,
    ) -> Result<(), AppendError> {
        self.append_entry(fence, entry, state).await
    }

    async fn make_room(&self) -> bool {
        self.give_up_reserve()
    }

    async fn entries_after(
        &self,
        deployment: &DeploymentId,
        sequence: Option<u64>,
    ) -> Result<Vec<Entry>, Fault> {
        let rows: Result<Vec<EntryColumns>, _> = self.database.fetch_all(sqlx::query_as(
            "SELECT deployment, sequence, at, event FROM entry WHERE deployment = ? AND sequence \
             > ? ORDER BY sequence",
        )
        .bind(&deployment.0)
        .bind(sequence.map_or(-1, to_sql)))
        .await;
        let rows = rows.map_err(|error| {
            self.database.unreadable(
                &format!("the journal of deployment `{deployment}` can't be read"),
                &error,
            )
        })?;
        rows.into_iter().map(read_entry).collect()
    }

    async fn open_deployment(&self, scope: &Scope) -> Result<Option<DeploymentId>, Fault> {
        let row: Result<Option<(String,)>, _> = self.database.fetch_optional(sqlx::query_as(
            "SELECT deployment.id FROM deployment JOIN scope ON scope.id = deployment.scope WHERE \
             service = ? AND environment = ? AND closed IS NULL",
        )
        .bind(scope.service.as_str())
        .bind(scope.environment.as_str()))
        .await;
        let row = row.map_err(|error| {
            self.database
                .unreadable(&format!("the open deployment of {scope} can't be read"), &error)
        })?;
        Ok(row.map(|(id,)| DeploymentId(id)))
    }

    async fn state(&self, scope: &Scope) -> Result<ServiceState, Fault> {
        let row: Result<Option<(Option<String>,)>, _> = self
            .database
            .fetch_optional(
                sqlx::query_as("SELECT state FROM scope WHERE service = ? AND environment = ?")
                    .bind(scope.service.as_str())
                    .bind(scope.environment.as_str()),
            )
            .await;
        let row = row.map_err(|error| {
            self.database.unreadable(&format!("the state of {scope} can't be read"), &error)
        })?;
        match row.and_then(|(state,)| state) {
            Some(state) => serde_json::from_str(&state)
                .map_err(|error| faults::unreadable_row(&format!("the state of {scope}"), &error)),
            None => Ok(ServiceState::default()),
        }
    }
}

/// `deployment`, `sequence`, `at`, `event`.
pub(crate) type EntryColumns = (String, i64, i64, String);

/// An entry as the engine knows it.
pub(crate) fn read_entry((deployment, sequence, at, event): EntryColumns) -> Result<Entry, Fault> {
    let event = serde_json::from_str(&event).map_err(|error| {
        faults::unreadable_row(&format!("entry {sequence} of deployment `{deployment}`"), &error)
    })?;
    Ok(Entry {
        sequence: from_sql(sequence),
        at: Timestamp(from_sql(at)),
        deployment: DeploymentId(deployment),
        event,
    })
}

#[cfg(test)]
mod tests;
