//! What plugins did, kept with the journal of the deployment that they did it for.

use crate::database::Problem;
use crate::faults;
use crate::numbers::{from_sql, to_sql};
use crate::store::EmbeddedStore;
use agente_engine::fault::{Fault, FaultKind};
use agente_engine::names::DeploymentId;
use agente_engine::ports::{PluginEffects, Trail};
use async_trait::async_trait;

/// How many effects of one deployment are kept; a check that is asked every second for an hour has
/// a third of that.
const MAX_KEPT: usize = 10_000;

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
                let there = usize::try_from(there).unwrap_or(MAX_KEPT);
                let room = MAX_KEPT.saturating_sub(there);
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
                Ok::<bool, Problem>(true)
            })
        });
        written.await.map_err(|problem| {
            let attempted =
                format!("effects of plugins in deployment `{deployment}` were not kept");
            self.database.unwritable(&attempted, problem)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;
    use agente_engine::names::Timestamp;
    use agente_engine::ports::PluginEffect;

    fn effects(count: usize, lost: u64) -> PluginEffects {
        let one = |number| PluginEffect {
            at: Timestamp(number as u64),
            plugin: "nginx-switch".into(),
            version: "0.1.0".into(),
            operation: "apply".into(),
            phase: "write".into(),
            effect: format!("replace the file `/etc/nginx/{number}`"),
            denied: None,
        };
        PluginEffects { kept: (0..count).map(one).collect(), lost }
    }

    #[tokio::test]
    async fn what_is_kept_is_read_again_in_order_and_what_is_lost_is_counted() {
        let folder = tempfile::tempdir().unwrap();
        let store = sample::store(folder.path()).await;
        let open = sample::open_deployment(&store, "shop").await.deployment;
        assert!(store.keep_effects(&open, &effects(2, 0)).await.unwrap());
        assert!(store.keep_effects(&open, &effects(1, 3)).await.unwrap());
        assert!(store.keep_effects(&open, &effects(MAX_KEPT, 1)).await.unwrap());
        let found = store.effects(&open).await.unwrap();
        assert_eq!((found.kept.len(), found.lost), (MAX_KEPT, 3 + 1 + 3));
        assert_eq!(found.kept[..2], effects(2, 0).kept);
    }

    #[tokio::test]
    async fn nothing_is_kept_of_a_deployment_that_was_never_opened() {
        let folder = tempfile::tempdir().unwrap();
        let store = sample::store(folder.path()).await;
        let none = DeploymentId("d-none".into());
        assert!(!store.keep_effects(&none, &effects(1, 1)).await.unwrap());
        assert_eq!(store.effects(&none).await.unwrap(), PluginEffects::default());
    }
}
