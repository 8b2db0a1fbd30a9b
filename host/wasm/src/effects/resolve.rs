//! From an allowed name to the addresses that it stands for.

use crate::answer::{EffectError, NetworkTrouble};
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

/// Looks a name up.
pub(super) async fn look_up(
    lookups: &Arc<Semaphore>,
    host: &str,
    port: u16,
    limit: Duration,
) -> Result<Vec<SocketAddr>, EffectError> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    let name = host.to_owned();
    let looking =
        apart(lookups, move || (name.as_str(), port).to_socket_addrs().map(Iterator::collect));
    match tokio::time::timeout(limit, looking).await {
        Ok(found) => found.map_err(|error| no_address(host, &error)),
        Err(_) => Err(timed_out(host, port, limit)),
    }
}

/// Connects to the first of the addresses that takes the connection.
pub(super) async fn connect(
    host: &str,
    port: u16,
    addresses: &[SocketAddr],
    limit: Duration,
) -> Result<TcpStream, EffectError> {
    let connecting = async {
        let mut last = None;
        for address in addresses {
            match TcpStream::connect(address).await {
                Ok(stream) => {
                    let _ = stream.set_nodelay(true);
                    return Ok(stream);
                }
                Err(error) => last = Some(error),
            }
        }
        Err(match last {
            Some(error) => {
                let trouble = if error.kind() == std::io::ErrorKind::ConnectionRefused {
                    NetworkTrouble::Refused
                } else {
                    NetworkTrouble::Broken
                };
                EffectError::io(format_args!("connecting to `{host}:{port}`"), &error)
                    .network(trouble)
            }
            None => no_address(host, &"nothing was found"),
        })
    };
    tokio::time::timeout(limit, connecting)
        .await
        .unwrap_or_else(|_| Err(timed_out(host, port, limit)))
}

fn no_address(host: &str, why: &dyn std::fmt::Display) -> EffectError {
    let message = format!("the name `{host}` does not resolve: {why}");
    EffectError::new(FaultKind::Unavailable, message).network(NetworkTrouble::NoAddress)
}

fn timed_out(host: &str, port: u16, limit: Duration) -> EffectError {
    let message = format!("connecting to `{host}:{port}` took more than {} ms", limit.as_millis());
    EffectError::new(FaultKind::Unavailable, message).network(NetworkTrouble::ConnectTimedOut)
}

/// Looks on a thread that may block. Its place is free again when the look-up has returned, not
/// when its caller has given up.
async fn apart(
    lookups: &Arc<Semaphore>,
    look: impl FnOnce() -> std::io::Result<Vec<SocketAddr>> + Send + 'static,
) -> std::io::Result<Vec<SocketAddr>> {
    let place = Arc::clone(lookups).acquire_owned().await.map_err(std::io::Error::other)?;
    let looking = tokio::task::spawn_blocking(move || {
        let found = look();
        drop(place);
        found
    });
    looking.await.map_err(std::io::Error::other)?
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
        let stalling = apart(&lookups, move || {
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
            Box::pin(apart(&lookups, || Ok(vec![SocketAddr::from(([192, 0, 2, 1], 1))])));
        assert!(tokio::time::timeout(Duration::ZERO, &mut next).await.is_err());
        release.send(()).unwrap();
        assert_eq!(next.await.unwrap().len(), 1);
    }
}
