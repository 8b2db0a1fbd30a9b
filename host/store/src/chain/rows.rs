//! The rows of deployments, which `history` shows, against the entries that they were folded from.

use crate::link::Linked;
use crate::numbers::{from_sql, to_sql};
use agente_engine::deployment::DeploymentKind;
use agente_engine::journal::{ChainState, Event, Outcome};
use agente_engine::names::DeploymentId;
use sqlx::SqliteConnection;
use std::collections::BTreeMap;

/// What an entry says about its deployment's row.
#[derive(PartialEq)]
struct Summary {
    kind: DeploymentKind,
    release: u64,
    by: String,
    opened: i64,
    closed: Option<i64>,
    outcome: Option<Outcome>,
}

/// `id`, `kind`, `release`, `by`, `opened`, `closed`, `outcome`.
pub(super) type DeploymentRow = (String, String, i64, String, i64, Option<i64>, Option<String>);

/// The rows of a scope's deployments.
pub(super) async fn read(
    connection: &mut SqliteConnection,
    scope: i64,
) -> Result<Vec<DeploymentRow>, sqlx::Error> {
    let all = "SELECT id, kind, release, by, opened, closed, outcome FROM deployment WHERE scope \
               = ? ORDER BY number";
    sqlx::query_as(all).bind(scope).fetch_all(connection).await
}

/// The first row that does not follow from the entries, whose own chain is intact; none if all do.
pub(super) fn compare(entries: &[Linked], rows: &[DeploymentRow]) -> Option<ChainState> {
    let mut told: BTreeMap<&str, (u64, Summary)> = BTreeMap::new();
    for entry in entries
        .iter()
        .filter(|entry| entry.event.contains("\"opened\"") || entry.event.contains("\"closed\""))
    {
        // An event of a newer host says nothing that can be compared.
        let Ok(event) = serde_json::from_str::<Event>(&entry.event) else { return None };
        match event {
            Event::Opened { plan } => {
                let (kind, release, by) = (plan.kind, plan.release.number.0, plan.deployment.by);
                let summary =
                    Summary { kind, release, by, opened: entry.at, closed: None, outcome: None };
                told.insert(&entry.deployment, (from_sql(entry.position), summary));
            }
            Event::Closed { outcome } => {
                if let Some((_, summary)) = told.get_mut(entry.deployment.as_str()) {
                    summary.closed = Some(entry.at);
                    summary.outcome = Some(outcome);
                }
            }
            Event::Step { .. }
            | Event::Decided(_)
            | Event::TurnedBack { .. }
            | Event::Resumed { .. } => {}
        }
    }
    let broken = |position, id: &str, message| {
        Some(ChainState::Broken {
            position,
            deployment: Some(DeploymentId(id.to_owned())),
            message,
        })
    };
    for row in rows {
        let Some((position, summary)) = told.remove(row.0.as_str()) else {
            return broken(
                1,
                &row.0,
                format!(
                    "deployment `{}` is in the history, but was never opened in the journal",
                    row.0
                ),
            );
        };
        if !matches(row, &summary) {
            return broken(
                position,
                &row.0,
                format!(
                    "the history row of deployment `{}` does not match the journal: it was changed",
                    row.0
                ),
            );
        }
    }
    let (id, (position, _)) = told.first_key_value()?;
    broken(
        *position,
        id,
        format!("deployment `{id}` is in the journal, but missing from the history"),
    )
}

fn matches(
    (_, kind, release, by, opened, closed, outcome): &DeploymentRow,
    told: &Summary,
) -> bool {
    let Ok(outcome) = outcome.as_deref().map(serde_json::from_str::<Outcome>).transpose() else {
        return false;
    };
    serde_json::from_str(kind).is_ok_and(|kind: DeploymentKind| kind == told.kind)
        && *release == to_sql(told.release)
        && (by, *opened, *closed, &outcome) == (&told.by, told.opened, told.closed, &told.outcome)
}
