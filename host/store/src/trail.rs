//! What plugins did, kept with the journal of the deployment that they did it for.

use crate::database::WriteError;
use crate::faults;
use crate::numbers::{from_sql, to_sql};
use crate::store::EmbeddedStore;
use agente_engine::fault::{Fault, FaultKind};
use agente_engine::names::DeploymentId;
use agente_engine::ports::{KEPT_EFFECTS, PluginEffects, Trail};
use async_trait::async_trait;

#[async_trait]
impl Trail for EmbeddedStore {
    async fn keep_effects(
        &self,
        deployment: &DeploymentId,
        effects: &PluginEffects,
    ) -> Result<bool, Fault> {
        let bodies: Result<Vec<String>, _> =
            effects.kept.iter().map(serde_json::to_string).collect();
        let bodies = bodies.map_err(|error| {
            Fault::new(FaultKind::Internal, "effects can't be written as JSON").because(&error)
        })?;
        let (of, lost) = (deployment.0.clone(), effects.lost);
        let written = self.database.write(move |connection| {
            Box::pin(async move {
                let known: Option<(i64,)> =
                    sqlx::query_as("SELECT number FROM deployment WHERE id = ?")
                        .bind(&of)
                        .fetch_optional(&mut *connection)
                        .await?;
                if known.is_none() {
                    return Ok(false);
                }
                let (there,): (i64,) =
                    sqlx::query_as("SELECT count(*) FROM effect WHERE deployment = ?")
                        .bind(&of)
                        .fetch_one(&mut *connection)
                        .await?;
                let there = usize::try_from(there).unwrap_or(KEPT_EFFECTS);
                let room = KEPT_EFFECTS.saturating_sub(there);
                for body in bodies.iter().take(room) {
                    sqlx::query("INSERT INTO effect (deployment, body) VALUES (?, ?)")
                        .bind(&of)
                        .bind(body)
                        .execute(&mut *connection)
                        .await?;
                }
                let lost = lost + bodies.len().saturating_sub(room) as u64;
                if lost > 0 {
                    let add = "INSERT INTO lost_effects (deployment, count) VALUES (?, ?) ON \
                               CONFLICT DO UPDATE SET count = count + excluded.count";
                    sqlx::query(add).bind(&of).bind(to_sql(lost)).execute(connection).await?;
                }
                Ok::<bool, WriteError>(true)
            })
        });
        written.await.map_err(|error| {
            let attempted =
                format!("effects of plugins in deployment `{deployment}` were not kept");
            self.database.unwritable(&attempted, error)
        })
    }

    async fn effects(&self, deployment: &DeploymentId) -> Result<PluginEffects, Fault> {
        let what = || format!("the effects of plugins in deployment `{deployment}`");
        let unreadable =
            |error| self.database.unreadable(&format!("{} can't be read", what()), &error);
        let rows: Vec<(String,)> = self
            .database
            .fetch_all(
                sqlx::query_as("SELECT body FROM effect WHERE deployment = ? ORDER BY id")
                    .bind(&deployment.0),
            )
            .await
            .map_err(unreadable)?;
        let lost: Option<(i64,)> = self
            .database
            .fetch_optional(
                sqlx::query_as("SELECT count FROM lost_effects WHERE deployment = ?")
                    .bind(&deployment.0),
            )
            .await
            .map_err(unreadable)?;
        let read = |(body,): (String,)| {
            serde_json::from_str(&body).map_err(|error| faults::unreadable_row(&what(), &error))
        };
        Ok(PluginEffects {
            kept: rows.into_iter().map(read).collect::<Result<_, _>>()?,
            lost: lost.map_or(0, |(count,)| from_sql(count)),
        })
    }
}
