//! Appending to the journal: the one place where entries, deployments and states are written.
//!
//! All of it is one transaction: the fence and the entry's number are compared, the entry is
//! chained and inserted, the deployment's row opened or closed, the state replaced.

use crate::database::WriteError;
use crate::faults;
use crate::link::{self, Link};
use crate::numbers::{from_sql, to_sql};
use crate::reserve;
use crate::scopes;
use crate::store::EmbeddedStore;
use crate::unwritten_leases::UnwrittenLeases;
use agente_engine::deployment::DeploymentKind;
use agente_engine::fault::{Fault, FaultKind};
use agente_engine::journal::{Entry, Event};
use agente_engine::names::{DeploymentId, Scope};
use agente_engine::plan::Plan;
use agente_engine::ports::{AppendError, Fence};
use agente_engine::state::ServiceState;
use sqlx::SqliteConnection;

/// What is appended, ready to be written.
struct Addition {
    deployment: DeploymentId,
    sequence: u64,
    at: i64,
    fence: Fence,
    /// The plan, if this is the first entry.
    opening: Option<Box<Plan>>,
    /// The outcome as JSON, if this is the last entry.
    closing: Option<String>,
    event: String,
    state: String,
    /// Where the lease may be that this is written under.
    unwritten_leases: UnwrittenLeases,
}

/// Why an entry was not written.
enum Refusal {
    Fenced(Scope),
    OutOfOrder {
        expected: u64,
    },
    /// It contradicts what is there.
    Contradiction(Fault),
    Write(WriteError),
}

impl From<sqlx::Error> for Refusal {
    fn from(error: sqlx::Error) -> Self {
        Self::Write(error.into())
    }
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        Self::Write(fault.into())
    }
}

impl EmbeddedStore {
    /// Makes an entry and the state that follows from it durable, as one.
    pub(crate) async fn append_entry(
        &self,
        fence: Fence,
        entry: &Entry,
        state: &ServiceState,
    ) -> Result<(), AppendError> {
        if let Event::Opened { plan } = &entry.event {
            self.can_be_taken_back(plan).map_err(AppendError::Unavailable)?;
        }
        let mut addition = Addition::new(fence, entry, state).map_err(AppendError::Refused)?;
        addition.unwritten_leases = self.unwritten_leases.clone();
        let written = self
            .database
            .write(move |connection| Box::pin(async move { addition.write(connection).await }))
            .await;
        if written.is_ok() {
            self.write_what_is_held().await;
        }
        written.map_err(|refusal| match refusal {
            Refusal::Fenced(scope) => AppendError::Fenced { scope, fence },
            Refusal::OutOfOrder { expected } => {
                AppendError::OutOfOrder { expected, found: entry.sequence }
            }
            Refusal::Contradiction(fault) => AppendError::Refused(fault),
            Refusal::Write(error) => {
                let attempted =
                    format!("the entry of deployment `{}` was not written", entry.deployment);
                AppendError::Unavailable(self.database.unwritable(&attempted, error))
            }
        })
    }
}

impl EmbeddedStore {
    /// Sees to it that there is space for taking a deployment back, whatever becomes of the disk. A
    /// rollback needs none: it is itself what the space is kept for.
    fn can_be_taken_back(&self, plan: &Plan) -> Result<(), Fault> {
        let kept = reserve::keep(&self.directory, self.access());
        let back = matches!(plan.kind, DeploymentKind::Rollback { .. });
        let (attempted, file) = ("a deployment can't begin", self.directory.database());
        match kept {
            _ if back => Ok(()),
            Ok(true) => Ok(()),
            Ok(false) => {
                let (words, hint, _) = faults::full(&file);
                let message = format!("{attempted}: {words}");
                Err(Fault::new(FaultKind::JournalUnavailable, message).hint(hint).retryable())
            }
            Err(error) => {
                let message = format!(
                    "{attempted}: space for taking it back can't be kept beside `{}`",
                    file.display()
                );
                Err(Fault::new(FaultKind::JournalUnavailable, message).because(&error))
            }
        }
    }
}

impl Addition {
    fn new(fence: Fence, entry: &Entry, state: &ServiceState) -> Result<Self, Fault> {
        let Entry { sequence, at, deployment, event } = entry;
        let unwritable = |error| {
            internal(format!("the entry of deployment `{deployment}` can't be written as JSON"))
                .because(&error)
        };
        let (opening, closing) = match event {
            Event::Opened { plan } if plan.id != *deployment => {
                return Err(internal(format!(
                    "the plan of deployment `{}` was given to open deployment `{deployment}`",
                    plan.id
                )));
            }
            Event::Opened { plan } => (Some(plan.clone()), None),
            Event::Closed { outcome } => {
                (None, Some(serde_json::to_string(outcome).map_err(unwritable)?))
            }
            Event::Step { .. }
            | Event::Decided(_)
            | Event::TurnedBack { .. }
            | Event::Resumed { .. } => (None, None),
        };
        Ok(Self {
            deployment: deployment.clone(),
            sequence: *sequence,
            at: to_sql(at.0),
            fence,
            opening,
            closing,
            event: serde_json::to_string(event).map_err(unwritable)?,
            state: serde_json::to_string(state).map_err(unwritable)?,
            unwritten_leases: UnwrittenLeases::default(),
        })
    }

    async fn write(self, connection: &mut SqliteConnection) -> Result<(), Refusal> {
        let known = self.find_deployment(connection).await?;
        let (row, scope) = match (&known, &self.opening) {
            (Some(known), _) => (known.scope_row, known.scope.clone()),
            (None, Some(plan)) => {
                let row = scopes::find(connection, &plan.scope).await?;
                // Nobody ever held a lease of a scope without a row.
                (row.ok_or_else(|| Refusal::Fenced(plan.scope.clone()))?, plan.scope.clone())
            }
            (None, None) if self.sequence > 0 => return Err(Refusal::OutOfOrder { expected: 0 }),
            (None, None) => {
                return Err(contradiction(format!(
                    "deployment `{}` was never opened in this store",
                    self.deployment
                )));
            }
        };

        if let Some(lease) = self.unwritten_leases.of(row, self.fence) {
            lease.write(connection, row).await?;
        }
        let newest: Option<(i64,)> = sqlx::query_as("SELECT fence FROM lease WHERE scope = ?")
            .bind(row)
            .fetch_optional(&mut *connection)
            .await?;
        if newest.map(|(fence,)| from_sql(fence)) != Some(self.fence.0) {
            return Err(Refusal::Fenced(scope));
        }

        let state_digest = link::state_digest(&self.state);
        if self.is_there(connection, &state_digest).await? {
            return Ok(());
        }
        let (expected,): (i64,) =
            sqlx::query_as("SELECT coalesce(max(sequence) + 1, 0) FROM entry WHERE deployment = ?")
                .bind(&self.deployment.0)
                .fetch_one(&mut *connection)
                .await?;
        let expected = from_sql(expected);
        if self.sequence != expected {
            return Err(Refusal::OutOfOrder { expected });
        }

        match (known, &self.opening) {
            (None, Some(plan)) => self.open(connection, row, plan).await?,
            (Some(known), _) if known.closed => {
                return Err(contradiction(format!(
                    "deployment `{}` has ended and accepts no more entries",
                    self.deployment
                )));
            }
            (Some(_), Some(_)) => {
                return Err(contradiction(format!(
                    "deployment `{}` was already opened",
                    self.deployment
                )));
            }
            (Some(_) | None, None) => {}
        }
        if let Some(outcome) = &self.closing {
            let close = sqlx::query("UPDATE deployment SET closed = ?, outcome = ? WHERE id = ?")
                .bind(self.at)
                .bind(outcome);
            close.bind(&self.deployment.0).execute(&mut *connection).await?;
        }

        let (position, previous): (i64, Vec<u8>) =
            sqlx::query_as("SELECT head_position, head_hash FROM scope WHERE id = ?")
                .bind(row)
                .fetch_one(&mut *connection)
                .await?;
        let link = Link {
            service: scope.service.as_str(),
            environment: scope.environment.as_str(),
            position: from_sql(position + 1),
            deployment: &self.deployment.0,
            sequence: self.sequence,
            at: from_sql(self.at),
            fence: self.fence.0,
            event: &self.event,
            state_digest: &state_digest,
        };
        let hash = link.hash(&previous);
        sqlx::query(
            "INSERT INTO entry (scope, position, deployment, sequence, at, fence, event, \
             state_digest, previous_hash, hash) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(row)
        .bind(position + 1)
        .bind(&self.deployment.0)
        .bind(to_sql(self.sequence))
        .bind(self.at)
        .bind(to_sql(self.fence.0))
        .bind(&self.event)
        .bind(state_digest.as_slice())
        .bind(&previous)
        .bind(hash.as_slice())
        .execute(&mut *connection)
        .await?;
        sqlx::query("UPDATE scope SET state = ?, head_position = ?, head_hash = ? WHERE id = ?")
            .bind(&self.state)
            .bind(position + 1)
            .bind(hash.as_slice())
            .bind(row)
            .execute(connection)
            .await?;
        Ok(())
    }

    /// Whether the same call has succeeded before: its caller did not hear the answer and asks
    /// again.
    async fn is_there(
        &self,
        connection: &mut SqliteConnection,
        state_digest: &[u8],
    ) -> Result<bool, sqlx::Error> {
        let same: Option<(i64,)> = sqlx::query_as(
            "SELECT id FROM entry WHERE deployment = ? AND sequence = ? AND at = ? AND fence = ? \
             AND event = ? AND state_digest = ?",
        )
        .bind(&self.deployment.0)
        .bind(to_sql(self.sequence))
        .bind(self.at)
        .bind(to_sql(self.fence.0))
        .bind(&self.event)
        .bind(state_digest)
        .fetch_optional(connection)
        .await?;
        Ok(same.is_some())
    }

    async fn find_deployment(
        &self,
        connection: &mut SqliteConnection,
    ) -> Result<Option<Known>, Refusal> {
        type Row = (i64, Option<i64>, String, String);
        let row: Option<Row> = sqlx::query_as(
            "SELECT scope.id, closed, service, environment FROM deployment JOIN scope ON scope.id \
             = deployment.scope WHERE deployment.id = ?",
        )
        .bind(&self.deployment.0)
        .fetch_optional(connection)
        .await?;
        let Some((scope_row, closed, service, environment)) = row else { return Ok(None) };
        Ok(Some(Known {
            scope_row,
            scope: scopes::parse(service, environment)?,
            closed: closed.is_some(),
        }))
    }

    async fn open(
        &self,
        connection: &mut SqliteConnection,
        row: i64,
        plan: &Plan,
    ) -> Result<(), Refusal> {
        let other: Option<(String,)> =
            sqlx::query_as("SELECT id FROM deployment WHERE scope = ? AND closed IS NULL")
                .bind(row)
                .fetch_optional(&mut *connection)
                .await?;
        if let Some((other,)) = other {
            let message = format!(
                "deployment `{}` can't be opened: `{other}` of {} is still open",
                self.deployment, plan.scope
            );
            let hint = "`agente-host resume` continues it, `agente-host abort` unwinds it";
            let fault = Fault::new(FaultKind::Conflict, message).hint(hint);
            return Err(Refusal::Contradiction(fault));
        }
        let kind = serde_json::to_string(&plan.kind).map_err(|error| {
            internal("a kind of deployment can't be written as JSON").because(&error)
        })?;
        sqlx::query(
            "INSERT INTO deployment (id, scope, kind, release, artifact, by, opened) VALUES (?, \
             ?, ?, ?, ?, ?, ?)",
        )
        .bind(&self.deployment.0)
        .bind(row)
        .bind(kind)
        .bind(to_sql(plan.release.number.0))
        .bind(plan.release.artifact.describe())
        .bind(&plan.by)
        .bind(self.at)
        .execute(connection)
        .await?;
        Ok(())
    }
}

/// A deployment that has a row.
struct Known {
    scope_row: i64,
    scope: Scope,
    closed: bool,
}

fn contradiction(message: String) -> Refusal {
    Refusal::Contradiction(internal(message))
}

fn internal(message: impl Into<String>) -> Fault {
    Fault::new(FaultKind::Internal, message).hint("this is a bug; nothing was written")
}
