//! What a run of a deployment counted, beside the journal: what the prober saw and how plugins were
//! called.
//!
//! One row per deployment and holder of its lease, replaced as the run counts on: writing the same
//! again adds nothing, and a deployment that another host took over has a row of each. The journal
//! stays what decides; these numbers are only for people and metrics.

use crate::database::WriteError;
use crate::faults;
use crate::numbers::{from_sql, to_sql};
use crate::store::EmbeddedStore;
use agente_engine::fault::{Fault, FaultKind};
use agente_engine::names::{DeploymentId, Scope};
use agente_engine::ports::{Fence, Figures, RunFigures, RunRow};
use async_trait::async_trait;

#[async_trait]
impl Figures for EmbeddedStore {
    async fn keep_figures(
        &self,
        deployment: &DeploymentId,
        fence: Fence,
        figures: &RunFigures,
    ) -> Result<(), Fault> {
        let body = serde_json::to_string(figures).map_err(|error| {
            Fault::new(FaultKind::Internal, "figures can't be written as JSON").because(&error)
        })?;
        let (of, now) = (deployment.0.clone(), to_sql(self.clock.now().0));
        let written = self.database.write(move |connection| {
            Box::pin(async move {
                let put = "INSERT INTO run (deployment, fence, figures, written) SELECT id, ?, ?, \
                           ? FROM deployment WHERE id = ?
                           ON CONFLICT (deployment, fence) DO UPDATE SET figures = \
                           excluded.figures, written = excluded.written";
                sqlx::query(put)
                    .bind(to_sql(fence.0))
                    .bind(body)
                    .bind(now)
                    .bind(of)
                    .execute(connection)
                    .await?;
                Ok::<(), WriteError>(())
            })
        });
        written.await.map_err(|error| {
            self.database.unwritable(
                &format!("the figures of deployment `{deployment}` were not kept"),
                error,
            )
        })
    }

    async fn figures(&self, scope: &Scope) -> Result<Vec<RunRow>, Fault> {
        let rows: Result<Vec<(String, i64, String)>, _> = self
            .database
            .fetch_all(
                sqlx::query_as(
                    "SELECT run.deployment, run.fence, run.figures FROM run JOIN deployment ON \
             deployment.id = run.deployment JOIN scope ON scope.id = deployment.scope
             WHERE service = ? AND environment = ? ORDER BY deployment.number, run.fence",
                )
                .bind(scope.service.as_str())
                .bind(scope.environment.as_str()),
            )
            .await;
        let rows = rows.map_err(|error| {
            self.database.unreadable(&format!("the metrics of {scope} can't be read"), &error)
        })?;
        let read = rows.into_iter().map(|(deployment, fence, body)| {
            let figures = serde_json::from_str(&body).map_err(|error| {
                faults::unreadable_row(&format!("the metrics of deployment `{deployment}`"), &error)
            })?;
            Ok(RunRow {
                deployment: DeploymentId(deployment),
                fence: Fence(from_sql(fence)),
                figures,
            })
        });
        read.collect()
    }
}
