//! The rows of scopes, which everything else in the file belongs to.

use crate::faults;
use agente_engine::fault::Fault;
use agente_engine::names::{EnvironmentName, Scope, ServiceName};
use sqlx::SqliteConnection;

/// The row of a scope; none where nothing was ever written about it.
pub(crate) async fn find(
    connection: &mut SqliteConnection,
    scope: &Scope,
) -> Result<Option<i64>, sqlx::Error> {
    let row: Option<(i64,)> =
        sqlx::query_as("SELECT id FROM scope WHERE service = ? AND environment = ?")
            .bind(scope.service.as_str())
            .bind(scope.environment.as_str())
            .fetch_optional(connection)
            .await?;
    Ok(row.map(|(id,)| id))
}

/// The row of a scope, made if it is missing.
pub(crate) async fn ensure(
    connection: &mut SqliteConnection,
    scope: &Scope,
) -> Result<i64, sqlx::Error> {
    if let Some(id) = find(connection, scope).await? {
        return Ok(id);
    }
    let (id,): (i64,) =
        sqlx::query_as("INSERT INTO scope (service, environment) VALUES (?, ?) RETURNING id")
            .bind(scope.service.as_str())
            .bind(scope.environment.as_str())
            .fetch_one(connection)
            .await?;
    Ok(id)
}

/// Parses a scope's row.
pub(crate) fn parse(service: String, environment: String) -> Result<Scope, Fault> {
    let damaged =
        |error| faults::unreadable_row("the name of a service or environment in the store", &error);
    Ok(Scope {
        service: ServiceName::new(service).map_err(damaged)?,
        environment: EnvironmentName::new(environment).map_err(damaged)?,
    })
}
