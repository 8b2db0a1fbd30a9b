//! Releases: immutable, numbered from 1 within their scope, never renumbered and never removed.

use crate::faults;
use crate::numbers::{from_sql, to_sql};
use crate::scopes;
use crate::store::EmbeddedStore;
use agente_engine::fault::{Fault, FaultKind};
use agente_engine::names::{ReleaseNumber, Scope};
use agente_engine::ports::Releases;
use agente_engine::release::{Artifact, Release, RuntimeSpec};
use async_trait::async_trait;

#[async_trait]
impl Releases for EmbeddedStore {
    async fn create_release(
        &self,
        scope: &Scope,
        artifact: Artifact,
        runtime: RuntimeSpec,
    ) -> Result<Release, Fault> {
        let (of_scope, created) = (scope.clone(), self.clock.now());
        let written = self.database.write(move |connection| {
            Box::pin(async move {
                let row = scopes::ensure(connection, &of_scope).await?;
                let (number,): (i64,) = sqlx::query_as(
                    "SELECT coalesce(max(number), 0) + 1 FROM release WHERE scope = ?",
                )
                .bind(row)
                .fetch_one(&mut *connection)
                .await?;
                let release = Release {
                    scope: of_scope,
                    number: ReleaseNumber(from_sql(number)),
                    artifact,
                    runtime,
                    created,
                };
                let digest = match &release.artifact {
                    Artifact::File { digest, .. } => Some(digest.as_str().to_owned()),
                    Artifact::Image { .. } | Artifact::Adopted => None,
                };
                let body = serde_json::to_string(&release).map_err(|error| {
                    Fault::new(FaultKind::Internal, "a release can't be written as JSON")
                        .because(&error)
                })?;
                sqlx::query(
                    "INSERT INTO release (scope, number, artifact_digest, body, created) VALUES \
                     (?, ?, ?, ?, ?)",
                )
                .bind(row)
                .bind(number)
                .bind(digest)
                .bind(body)
                .bind(to_sql(created.0))
                .execute(connection)
                .await?;
                Ok(release)
            })
        });
        written.await.map_err(|error| {
            self.database.unwritable(&format!("the release of {scope} was not made"), error)
        })
    }

    async fn release(
        &self,
        scope: &Scope,
        number: ReleaseNumber,
    ) -> Result<Option<Release>, Fault> {
        let row: Result<Option<(String,)>, _> = self.database.fetch_optional(sqlx::query_as(
            "SELECT body FROM release JOIN scope ON scope.id = release.scope WHERE service = ? \
             AND environment = ? AND number = ?",
        )
        .bind(scope.service.as_str())
        .bind(scope.environment.as_str())
        .bind(to_sql(number.0)))
        .await;
        let row = row.map_err(|error| {
            self.database.unreadable(&format!("release {number} of {scope} can't be read"), &error)
        })?;
        row.map(|(body,)| read(scope, &body)).transpose()
    }

    async fn releases(&self, scope: &Scope, limit: u32) -> Result<Vec<Release>, Fault> {
        let rows: Result<Vec<(String,)>, _> = self.database.fetch_all(sqlx::query_as(
            "SELECT body FROM release JOIN scope ON scope.id = release.scope WHERE service = ? \
             AND environment = ? ORDER BY number DESC LIMIT ?",
        )
        .bind(scope.service.as_str())
        .bind(scope.environment.as_str())
        .bind(limit))
        .await;
        let rows = rows.map_err(|error| {
            self.database.unreadable(&format!("the releases of {scope} can't be read"), &error)
        })?;
        rows.into_iter().map(|(body,)| read(scope, &body)).collect()
    }
}

fn read(scope: &Scope, body: &str) -> Result<Release, Fault> {
    serde_json::from_str(body)
        .map_err(|error| faults::unreadable_row(&format!("a release of {scope}"), &error))
}
