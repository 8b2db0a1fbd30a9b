//! The mailbox: where operators leave decisions for the lease's holder. Leaving one needs no lease.

use crate::database::WriteError;
use crate::faults;
use crate::numbers::{from_sql, to_sql};
use crate::store::EmbeddedStore;
use agente_engine::fault::{Fault, FaultKind};
use agente_engine::journal::{Decision, DecisionKind};
use agente_engine::names::{DeploymentId, Timestamp};
use agente_engine::ports::Mailbox;
use async_trait::async_trait;

#[async_trait]
impl Mailbox for EmbeddedStore {
    async fn leave(
        &self,
        deployment: &DeploymentId,
        decision: DecisionKind,
        by: &str,
        reason: Option<&str>,
    ) -> Result<u64, Fault> {
        let kind = serde_json::to_string(&decision).map_err(|error| {
            Fault::new(FaultKind::Internal, "a decision can't be written as JSON").because(&error)
        })?;
        let left = self.leave_once(deployment, &kind, by, reason).await;
        let left = match left {
            // Whoever takes back what is bad may use what is kept for that.
            Err(WriteError::Sql(error))
                if decision == DecisionKind::Abort
                    && faults::is_full(&error)
                    && self.give_up_reserve() =>
            {
                self.leave_once(deployment, &kind, by, reason).await
            }
            left => left,
        };
        left.map_err(|error| {
            self.database.unwritable(
                &format!("the decision on deployment `{deployment}` was not left"),
                error,
            )
        })
    }

    async fn decisions(
        &self,
        deployment: &DeploymentId,
        after: u64,
    ) -> Result<Vec<Decision>, Fault> {
        type Row = (i64, String, String, Option<String>, i64);
        let rows: Result<Vec<Row>, _> = self.database.fetch_all(sqlx::query_as(
            "SELECT id, decision, by, reason, at FROM decision WHERE deployment = ? AND id > ? \
             ORDER BY id",
        )
        .bind(&deployment.0)
        .bind(to_sql(after)))
        .await;
        let rows = rows.map_err(|error| {
            self.database.unreadable(
                &format!("the mailbox of deployment `{deployment}` can't be read"),
                &error,
            )
        })?;
        let read = rows.into_iter().map(|(id, decision, by, reason, at)| {
            let decision = serde_json::from_str(&decision).map_err(|error| {
                faults::unreadable_row(
                    &format!("decision {id} on deployment `{deployment}`"),
                    &error,
                )
            })?;
            Ok(Decision { id: from_sql(id), decision, by, reason, at: Timestamp(from_sql(at)) })
        });
        read.collect()
    }
}

impl EmbeddedStore {
    async fn leave_once(
        &self,
        deployment: &DeploymentId,
        kind: &str,
        by: &str,
        reason: Option<&str>,
    ) -> Result<u64, WriteError> {
        let (id, kind) = (deployment.clone(), kind.to_owned());
        let (by, reason) = (by.to_owned(), reason.map(str::to_owned));
        let now = to_sql(self.clock.now().0);
        let written = self.database.write(move |connection| {
            Box::pin(async move {
                let row: Option<(Option<i64>,)> =
                    sqlx::query_as("SELECT closed FROM deployment WHERE id = ?")
                        .bind(&id.0)
                        .fetch_optional(&mut *connection)
                        .await?;
                match row {
                    None => {
                        return Err(WriteError::Fault(Fault::new(
                            FaultKind::Conflict,
                            format!("there is no deployment `{id}` in this store"),
                        )));
                    }
                    Some((Some(_),)) => {
                        return Err(WriteError::Fault(Fault::new(
                            FaultKind::Conflict,
                            format!("deployment `{id}` has already ended"),
                        )));
                    }
                    Some((None,)) => {}
                }
                let put = "INSERT INTO decision (deployment, decision, by, reason, at) VALUES (?, \
                           ?, ?, ?, ?) RETURNING id";
                let put =
                    sqlx::query_as(put).bind(&id.0).bind(kind).bind(by).bind(reason).bind(now);
                let (number,): (i64,) = put.fetch_one(connection).await?;
                Ok(from_sql(number))
            })
        });
        written.await
    }
}
