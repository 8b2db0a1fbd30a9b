//! Reading the journal back, and what is folded from it. Nothing here changes anything.

use crate::append::scope_of;
use crate::database::{from_sql, to_sql};
use crate::faults;
use crate::store::EmbeddedStore;
use agente_engine::fault::Fault;
use agente_engine::journal::{Entry, Outcome};
use agente_engine::names::{DeploymentId, ReleaseNumber, Scope, Timestamp};
use agente_engine::plan::DeploymentKind;
use agente_engine::state::ServiceState;
use serde::Serialize;
use sqlx::sqlite::SqliteRow;
use sqlx::{FromRow, Row as _};

/// One deployment, as `history` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HistoryRow {
    /// The deployment.
    pub id: DeploymentId,
    pub scope: Scope,
    pub kind: DeploymentKind,
    /// The release that it deployed.
    pub release: ReleaseNumber,
    /// What that release runs, in short.
    pub artifact: String,
    pub by: String,
    /// When it was opened.
    pub opened: Timestamp,
    /// When it ended; none while it is open.
    pub closed: Option<Timestamp>,
    /// How it ended; none while it is open.
    pub outcome: Option<Outcome>,
}

struct DeploymentColumns {
    id: String,
    service: String,
    environment: String,
    kind: String,
    release: i64,
    artifact: String,
    by: String,
    opened: i64,
    closed: Option<i64>,
    outcome: Option<String>,
}

impl FromRow<'_, SqliteRow> for DeploymentColumns {
    fn from_row(row: &SqliteRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            id: row.try_get("id")?,
            service: row.try_get("service")?,
            environment: row.try_get("environment")?,
            kind: row.try_get("kind")?,
            release: row.try_get("release")?,
            artifact: row.try_get("artifact")?,
            by: row.try_get("by")?,
            opened: row.try_get("opened")?,
            closed: row.try_get("closed")?,
            outcome: row.try_get("outcome")?,
        })
    }
}

impl DeploymentColumns {
    fn read(self) -> Result<HistoryRow, Fault> {
        let damaged = |error: &serde_json::Error| {
            faults::unreadable_row(&format!("deployment `{}` in the store", self.id), error)
        };
        Ok(HistoryRow {
            kind: serde_json::from_str(&self.kind).map_err(|error| damaged(&error))?,
            outcome: self
                .outcome
                .as_deref()
                .map(serde_json::from_str)
                .transpose()
                .map_err(|error| damaged(&error))?,
            scope: scope_of(self.service, self.environment)?,
            id: DeploymentId(self.id),
            release: ReleaseNumber(from_sql(self.release)),
            artifact: self.artifact,
            by: self.by,
            opened: Timestamp(from_sql(self.opened)),
            closed: self.closed.map(|at| Timestamp(from_sql(at))),
        })
    }
}

impl EmbeddedStore {
    /// The deployments of a scope, newest first, at most `limit`.
    pub async fn history(&self, scope: &Scope, limit: u32) -> Result<Vec<HistoryRow>, Fault> {
        let rows: Result<Vec<DeploymentColumns>, _> = sqlx::query_as(
            "SELECT deployment.id, service, environment, kind, release, artifact, by, opened, \
             closed, outcome
             FROM deployment JOIN scope ON scope.id = deployment.scope WHERE service = ? AND \
             environment = ? ORDER BY number DESC LIMIT ?",
        )
        .bind(scope.service.as_str())
        .bind(scope.environment.as_str())
        .bind(limit)
        .fetch_all(self.database.readers())
        .await;
        let rows = rows.map_err(|error| {
            self.database.unreadable(&format!("the history of {scope} can't be read"), &error)
        })?;
        rows.into_iter().map(DeploymentColumns::read).collect()
    }

    /// One deployment; none if this store never had it.
    pub async fn deployment(&self, deployment: &DeploymentId) -> Result<Option<HistoryRow>, Fault> {
        let row: Result<Option<DeploymentColumns>, _> = sqlx::query_as(
            "SELECT deployment.id, service, environment, kind, release, artifact, by, opened, \
             closed, outcome
             FROM deployment JOIN scope ON scope.id = deployment.scope WHERE deployment.id = ?",
        )
        .bind(&deployment.0)
        .fetch_optional(self.database.readers())
        .await;
        let row = row.map_err(|error| {
            self.database.unreadable(&format!("deployment `{deployment}` can't be read"), &error)
        })?;
        row.map(DeploymentColumns::read).transpose()
    }

    /// All entries of a deployment, in order; empty if this store never had it.
    pub async fn entries(&self, deployment: &DeploymentId) -> Result<Vec<Entry>, Fault> {
        self.entries_after(deployment, None).await
    }

    /// The entries of a deployment beyond a sequence number, in order; all of them without one.
    /// Cheap enough to ask several times a second.
    pub async fn entries_after(
        &self,
        deployment: &DeploymentId,
        sequence: Option<u64>,
    ) -> Result<Vec<Entry>, Fault> {
        let rows: Result<Vec<(i64, i64, String)>, _> = sqlx::query_as(
            "SELECT sequence, at, event FROM entry WHERE deployment = ? AND sequence > ? ORDER BY \
             sequence",
        )
        .bind(&deployment.0)
        .bind(sequence.map_or(-1, to_sql))
        .fetch_all(self.database.readers())
        .await;
        let rows = rows.map_err(|error| {
            self.database.unreadable(
                &format!("the journal of deployment `{deployment}` can't be read"),
                &error,
            )
        })?;
        let read = rows.into_iter().map(|(sequence, at, event)| {
            let event = serde_json::from_str(&event).map_err(|error| {
                faults::unreadable_row(
                    &format!("entry {sequence} of deployment `{deployment}`"),
                    &error,
                )
            })?;
            Ok(Entry {
                sequence: from_sql(sequence),
                at: Timestamp(from_sql(at)),
                deployment: deployment.clone(),
                event,
            })
        });
        read.collect()
    }

    /// The deployment of a scope that has not ended, whether anybody works on it or not.
    pub async fn open_deployment(&self, scope: &Scope) -> Result<Option<DeploymentId>, Fault> {
        let row: Result<Option<(String,)>, _> = sqlx::query_as(
            "SELECT deployment.id FROM deployment JOIN scope ON scope.id = deployment.scope WHERE \
             service = ? AND environment = ? AND closed IS NULL",
        )
        .bind(scope.service.as_str())
        .bind(scope.environment.as_str())
        .fetch_optional(self.database.readers())
        .await;
        let row = row.map_err(|error| {
            self.database
                .unreadable(&format!("the open deployment of {scope} can't be read"), &error)
        })?;
        Ok(row.map(|(id,)| DeploymentId(id)))
    }

    /// The state of a scope; that of a service which was never deployed where nothing is known.
    pub async fn state(&self, scope: &Scope) -> Result<ServiceState, Fault> {
        let row: Result<Option<(Option<String>,)>, _> =
            sqlx::query_as("SELECT state FROM scope WHERE service = ? AND environment = ?")
                .bind(scope.service.as_str())
                .bind(scope.environment.as_str())
                .fetch_optional(self.database.readers())
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

    /// All services and environments that ever had a deployment or a release, by name.
    pub async fn scopes(&self) -> Result<Vec<Scope>, Fault> {
        let rows: Result<Vec<(String, String)>, _> = sqlx::query_as(
            "SELECT service, environment FROM scope
             WHERE EXISTS (SELECT 1 FROM deployment WHERE scope = scope.id) OR EXISTS (SELECT 1 \
             FROM release WHERE scope = scope.id)
             ORDER BY service, environment",
        )
        .fetch_all(self.database.readers())
        .await;
        let rows = rows.map_err(|error| {
            self.database.unreadable("the services in the store can't be read", &error)
        })?;
        rows.into_iter().map(|(service, environment)| scope_of(service, environment)).collect()
    }
}

#[cfg(test)]
mod tests;
