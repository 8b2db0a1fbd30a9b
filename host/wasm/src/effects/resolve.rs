//! From an allowed name to the very addresses that a connection may be made to.

use crate::bindings::any::agente::types::types::Failure;
use crate::broker::{Denied, Effect, Reach};
use crate::operation::Operation;
use agente_engine::fault::FaultKind;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

/// How many names a plugin looks up at a time. A look-up that stalls holds a thread of the host for
/// as long as the system's resolver likes, also when nobody waits for it any more; few of them keep
/// a plugin from the threads of the others.
pub(crate) const LOOKUPS: usize = 4;

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
            ConnectError::NoAddress(why) => Failure::new(
                FaultKind::Unavailable,
                format!("the name `{host}` has no address: {why}"),
            ),
            ConnectError::Denied(denied) => denied.into(),
            ConnectError::TimedOut(limit) => Failure::new(
                FaultKind::Unavailable,
                format!("connecting to `{host}:{port}` took more than {} ms", limit.as_millis()),
            ),
            ConnectError::Io(error) => {
                Failure::io(format_args!("connecting to `{host}:{port}`"), &error)
            }
        }
    }
}

/// Connects to a name that the broker has allowed: each of its addresses is judged, and the
/// connection is made to one that passed.
pub(crate) async fn connect(
    operation: &Operation,
    effect: &Effect,
    reach: Reach,
    host: &str,
    port: u16,
    limit: Duration,
) -> Result<TcpStream, ConnectError> {
    let limit = limit.min(operation.remaining());
    tokio::time::timeout(limit, async {
        let addresses = addresses(&operation.household.lookups, host, port).await?;
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

async fn addresses(
    lookups: &Arc<Semaphore>,
    host: &str,
    port: u16,
) -> Result<Vec<SocketAddr>, ConnectError> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    let host = host.to_owned();
    look_up(lookups, move || (host.as_str(), port).to_socket_addrs().map(Iterator::collect)).await
}

/// Looks a name up on a thread that may block. Its place is free again when the look-up has
/// returned, not when its caller has given up.
async fn look_up(
    lookups: &Arc<Semaphore>,
    look: impl FnOnce() -> std::io::Result<Vec<SocketAddr>> + Send + 'static,
) -> Result<Vec<SocketAddr>, ConnectError> {
    let no_address = |error: &dyn std::fmt::Display| ConnectError::NoAddress(error.to_string());
    let place = Arc::clone(lookups).acquire_owned().await.map_err(|closed| no_address(&closed))?;
    let looking = tokio::task::spawn_blocking(move || {
        let found = look();
        drop(place);
        found
    });
    looking.await.map_err(|error| no_address(&error))?.map_err(|error| no_address(&error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[tokio::test]
    async fn a_lookup_that_stalls_keeps_its_place_when_nobody_waits_for_it_any_more() {
        let lookups = Arc::new(Semaphore::new(1));
        let (release, stalled) = mpsc::channel::<()>();
        let (begun, has_begun) = tokio::sync::oneshot::channel();
        let stalling = look_up(&lookups, move || {
            begun.send(()).unwrap();
            stalled.recv().unwrap();
            Ok(Vec::new())
        });
        tokio::select! {
            _ = stalling => panic!("it has not returned yet"),
            begun = has_begun => begun.unwrap(),
        }
        assert_eq!(lookups.available_permits(), 0, "its place was given away while it goes on");
        // The next one waits instead of taking another thread.
        let mut next =
            Box::pin(look_up(&lookups, || Ok(vec![SocketAddr::from(([192, 0, 2, 1], 1))])));
        assert!(tokio::time::timeout(Duration::ZERO, &mut next).await.is_err());
        release.send(()).unwrap();
        assert_eq!(next.await.unwrap().len(), 1);
    }
}
