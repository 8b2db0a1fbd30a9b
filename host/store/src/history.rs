//! Looking back over the journal.

use crate::faults;
use crate::journal::{EntryColumns, read_entry};
use crate::numbers::from_sql;
use crate::scopes;
use crate::store::EmbeddedStore;
use agente_engine::fault::Fault;
use agente_engine::journal::{ChainState, Entry, HistoryRow};
use agente_engine::names::{DeploymentId, ReleaseNumber, Scope, Timestamp};
use agente_engine::ports::{Fence, History};
use async_trait::async_trait;
use sqlx::sqlite::SqliteRow;
use sqlx::{FromRow, Row as _};

/// A deployment's row, folded from its entries.
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
            scope: scopes::parse(self.service, self.environment)?,
            id: DeploymentId(self.id),
            release: ReleaseNumber(from_sql(self.release)),
            artifact: self.artifact,
            by: self.by,
            opened: Timestamp(from_sql(self.opened)),
            closed: self.closed.map(|at| Timestamp(from_sql(at))),
        })
    }
}

#[async_trait]
impl History for EmbeddedStore {
    async fn entries_of_scope(&self, scope: &Scope) -> Result<Vec<Entry>, Fault> {
        let rows: Result<Vec<EntryColumns>, _> = self
            .database
            .fetch_all(
                sqlx::query_as(
                    "SELECT deployment, sequence, at, event FROM entry JOIN scope ON scope.id = \
             entry.scope WHERE service = ? AND environment = ? ORDER BY position",
                )
                .bind(scope.service.as_str())
                .bind(scope.environment.as_str()),
            )
            .await;
        let rows = rows.map_err(|error| {
            self.database.unreadable(&format!("the journal of {scope} can't be read"), &error)
        })?;
        rows.into_iter().map(read_entry).collect()
    }

    async fn deployment(&self, deployment: &DeploymentId) -> Result<Option<HistoryRow>, Fault> {
        let row: Result<Option<DeploymentColumns>, _> = self.database.fetch_optional(sqlx::query_as(
            "SELECT deployment.id, service, environment, kind, release, artifact, by, opened, \
             closed, outcome
             FROM deployment JOIN scope ON scope.id = deployment.scope WHERE deployment.id = ?",
        )
        .bind(&deployment.0))
        .await;
        let row = row.map_err(|error| {
            self.database.unreadable(&format!("deployment `{deployment}` can't be read"), &error)
        })?;
        row.map(DeploymentColumns::read).transpose()
    }

    async fn history(&self, scope: &Scope, limit: u32) -> Result<Vec<HistoryRow>, Fault> {
        let rows: Result<Vec<DeploymentColumns>, _> = self.database.fetch_all(sqlx::query_as(
            "SELECT deployment.id, service, environment, kind, release, artifact, by, opened, \
             closed, outcome
             FROM deployment JOIN scope ON scope.id = deployment.scope WHERE service = ? AND \
             environment = ? ORDER BY number DESC LIMIT ?",
        )
        .bind(scope.service.as_str())
        .bind(scope.environment.as_str())
        .bind(limit))
        .await;
        let rows = rows.map_err(|error| {
            self.database.unreadable(&format!("the history of {scope} can't be read"), &error)
        })?;
        rows.into_iter().map(DeploymentColumns::read).collect()
    }

    async fn scopes(&self) -> Result<Vec<Scope>, Fault> {
        let rows: Result<Vec<(String, String)>, _> = self
            .database
            .fetch_all(sqlx::query_as(
                "SELECT service, environment FROM scope
             WHERE EXISTS (SELECT 1 FROM deployment WHERE scope = scope.id) OR EXISTS (SELECT 1 \
             FROM release WHERE scope = scope.id)
             ORDER BY service, environment",
            ))
            .await;
        let rows = rows.map_err(|error| {
            self.database.unreadable("the services in the store can't be read", &error)
        })?;
        rows.into_iter().map(|(service, environment)| scopes::parse(service, environment)).collect()
    }

    async fn newest_fence(&self, scope: &Scope) -> Result<Option<Fence>, Fault> {
        let row: Result<Option<(i64,)>, _> = self
            .database
            .fetch_optional(
                sqlx::query_as(
                    "SELECT fence FROM entry JOIN scope ON scope.id = entry.scope WHERE service = \
                     ? AND environment = ? ORDER BY position DESC LIMIT 1",
                )
                .bind(scope.service.as_str())
                .bind(scope.environment.as_str()),
            )
            .await;
        let row = row.map_err(|error| {
            self.database.unreadable(&format!("the journal of {scope} can't be read"), &error)
        })?;
        Ok(row.map(|(fence,)| Fence(from_sql(fence))))
    }

    async fn verify_chain(&self, scope: &Scope) -> Result<ChainState, Fault> {
        self.walk_chain(scope).await
    }
}
