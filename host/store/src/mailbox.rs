//! The mailbox: where operators leave decisions for the lease's holder. Leaving one needs no lease.

use crate::clock;
use crate::database::Problem;
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
            Err(Problem::Sql(error))
                if decision == DecisionKind::Abort
                    && faults::is_full(&error)
                    && self.give_up_reserve() =>
            {
                self.leave_once(deployment, &kind, by, reason).await
            }
            left => left,
        };
        left.map_err(|problem| {
            self.database.unwritable(
                &format!("the decision on deployment `{deployment}` was not left"),
                problem,
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
    ) -> Result<u64, Problem> {
        let (id, kind) = (deployment.clone(), kind.to_owned());
        let (by, reason) = (by.to_owned(), reason.map(str::to_owned));
        let written = self.database.write(move |connection| {
            Box::pin(async move {
                let row: Option<(Option<i64>,)> =
                    sqlx::query_as("SELECT closed FROM deployment WHERE id = ?")
                        .bind(&id.0)
                        .fetch_optional(&mut *connection)
                        .await?;
                match row {
                    None => {
                        return Err(Problem::Fault(Fault::new(
                            FaultKind::Conflict,
                            format!("there is no deployment `{id}` in this store"),
                        )));
                    }
                    Some((Some(_),)) => {
                        return Err(Problem::Fault(Fault::new(
                            FaultKind::Conflict,
                            format!("the deployment `{id}` has ended already"),
                        )));
                    }
                    Some((None,)) => {}
                }
                let put = "INSERT INTO decision (deployment, decision, by, reason, at) VALUES (?, \
                           ?, ?, ?, ?) RETURNING id";
                let put = sqlx::query_as(put)
                    .bind(&id.0)
                    .bind(kind)
                    .bind(by)
                    .bind(reason)
                    .bind(to_sql(clock::now().0));
                let (number,): (i64,) = put.fetch_one(connection).await?;
                Ok(from_sql(number))
            })
        });
        written.await
    }
}

#[cfg(test)]
mod tests {
    use crate::sample;
    use agente_engine::fault::FaultKind;
    use agente_engine::journal::{DecisionKind, Event};
    use agente_engine::names::DeploymentId;
    use agente_engine::ports::Mailbox;
    use std::collections::BTreeSet;
    use std::time::{Duration, Instant};

    #[tokio::test(flavor = "multi_thread")]
    async fn a_hundred_writers_at_once_lose_nothing() {
        let folder = tempfile::tempdir().unwrap();
        // Ten stores, as ten processes have them, with ten writers each.
        let mut stores = Vec::new();
        for _ in 0..10 {
            stores.push(sample::store(folder.path()).await);
        }
        let open = sample::open_deployment(&stores[0], "shop").await;
        let tasks: Vec<_> = (0..100)
            .map(|number| {
                let (store, deployment) = (stores[number % 10].clone(), open.deployment.clone());
                tokio::spawn(async move {
                    store
                        .leave(
                            &deployment,
                            DecisionKind::Pause,
                            &format!("user{number}@host"),
                            Some("why"),
                        )
                        .await
                        .unwrap()
                })
            })
            .collect();
        let mut numbers = BTreeSet::new();
        for task in tasks {
            numbers.insert(task.await.unwrap());
        }
        let decisions = stores[3].decisions(&open.deployment, 0).await.unwrap();
        assert_eq!(decisions.iter().map(|decision| decision.id).collect::<BTreeSet<_>>(), numbers);
        assert_eq!(
            decisions.iter().map(|decision| decision.by.clone()).collect::<BTreeSet<_>>().len(),
            100
        );
        assert!(decisions.is_sorted_by_key(|decision| decision.id));
        let late = stores[3].decisions(&open.deployment, decisions[97].id).await.unwrap();
        assert_eq!(late, decisions[98..]);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_decision_left_by_another_process_is_seen_within_250_ms() {
        let folder = tempfile::tempdir().unwrap();
        let (holder, operator) =
            (sample::store(folder.path()).await, sample::store(folder.path()).await);
        let open = sample::open_deployment(&holder, "shop").await;
        let deployment = open.deployment.clone();
        let seen = tokio::spawn(async move {
            loop {
                if let Some(decision) = holder.decisions(&deployment, 0).await.unwrap().pop() {
                    return (Instant::now(), decision);
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        });
        operator
            .leave(&open.deployment, DecisionKind::Abort, "ann@desk", Some("it burns"))
            .await
            .unwrap();
        let left = Instant::now();
        let (when, decision) = seen.await.unwrap();
        assert_eq!(
            (decision.decision, decision.by.as_str(), decision.reason.as_deref()),
            (DecisionKind::Abort, "ann@desk", Some("it burns"))
        );
        assert!(
            when.saturating_duration_since(left) < Duration::from_millis(250),
            "seen after {:?}",
            when.saturating_duration_since(left)
        );
    }

    #[tokio::test]
    async fn a_decision_on_nothing_or_on_what_has_ended_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let store = sample::store(folder.path()).await;
        let fault = store
            .leave(&DeploymentId("d-none".into()), DecisionKind::Abort, "ann", None)
            .await
            .unwrap_err();
        assert!(
            fault.kind == FaultKind::Conflict && fault.message.contains("no deployment `d-none`"),
            "{fault}"
        );

        let open = sample::open_deployment(&store, "shop").await;
        open.append(&Event::Closed { outcome: sample::promoted() }, &sample::closed_state())
            .await
            .unwrap();
        let fault =
            store.leave(&open.deployment, DecisionKind::Abort, "ann", None).await.unwrap_err();
        assert!(fault.message.contains("has ended already"), "{fault}");
        assert_eq!(store.decisions(&open.deployment, 0).await.unwrap(), []);
    }
}
