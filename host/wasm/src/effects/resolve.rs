//! From an allowed name to the very addresses that a connection may be made to.

use crate::bindings::any::agente::types::types::Failure;
use crate::broker::{Denied, Effect, Reach};
use crate::operation::Operation;
use agente_engine::fault::FaultKind;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use tokio::net::TcpStream;

/// Why no connection was made.
#[derive(Debug)]
pub(crate) enum ConnectError {
    /// The name has no address.
    NoAddress(String),
    /// Each of its addresses is off limits.
    Denied(Denied),
    /// Nobody answered in time.
    TimedOut(Duration),
    /// The connection was refused, or broke.
    Io(std::io::Error),
}

impl ConnectError {
    pub(crate) fn into_failure(self, host: &str, port: u16) -> Failure {
        match self {
            ConnectError::NoAddress(why) => Failure::new(FaultKind::Unavailable, format!("the name `{host}` has no address: {why}")),
            ConnectError::Denied(denied) => denied.into(),
            ConnectError::TimedOut(limit) => {
                Failure::new(FaultKind::Unavailable, format!("connecting to `{host}:{port}` took more than {} ms", limit.as_millis()))
            }
            ConnectError::Io(error) => Failure::io(format_args!("connecting to `{host}:{port}`"), &error),
        }
    }
}

/// Connects to a name that the broker has allowed: each of its addresses is judged, and the connection is made to one that passed.
pub(crate) async fn connect(operation: &Operation, effect: &Effect, reach: Reach, host: &str, port: u16, limit: Duration) -> Result<TcpStream, ConnectError> {
    let limit = limit.min(operation.remaining());
    tokio::time::timeout(limit, async {
        let addresses = addresses(host, port).await?;
        let mut last = None;
        for address in addresses {
            if let Err(denied) = operation.judge_address(reach, effect, address.ip()) {
                last.get_or_insert(ConnectError::Denied(denied));
                continue;
            }
            match TcpStream::connect(address).await {
                Ok(stream) => {
                    let _ = stream.set_nodelay(true);
                    return Ok(stream);
                }
                Err(error) => last = Some(ConnectError::Io(error)),
            }
        }
        Err(last.unwrap_or_else(|| ConnectError::NoAddress("nothing was found".to_owned())))
    })
    .await
    .unwrap_or(Err(ConnectError::TimedOut(limit)))
}

async fn addresses(host: &str, port: u16) -> Result<Vec<SocketAddr>, ConnectError> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    let found = tokio::net::lookup_host((host, port)).await.map_err(|error| ConnectError::NoAddress(error.to_string()))?;
    Ok(found.collect())
}
