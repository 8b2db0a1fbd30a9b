//! Accepts connections, and stops without losing a request.
//!
//! On SIGTERM (or SIGINT): what has been accepted by the kernel already is still served, the
//! listener is closed, idle kept-alive connections are closed, requests in flight are answered with
//! `Connection: close`, and then the process exits with 0.

use std::convert::Infallible;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::{interval, sleep, timeout};

use crate::routes;
use crate::shared::{InFlight, Shared};

/// How long a connection that has sent nothing yet may still do so after SIGTERM.
const LAST_CHANCE: Duration = Duration::from_secs(1);
/// How long to wait after `accept` failed, usually for lack of file handles.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How many connections may wait to be taken. The usual 128 are there within half a second of a
/// busy machine, and whoever comes then waits for a second.
const BACKLOG: u32 = 1024;

/// Serves until `stop` ends, then lets what is in flight end within `grace`. Says how many
/// connections had to be cut.
pub(crate) async fn serve(
    listener: TcpListener,
    shared: Arc<Shared>,
    stop: impl Future<Output = ()>,
    grace: Duration,
) -> usize {
    let (stopping, stopped) = watch::channel(false);
    let mut connections = JoinSet::new();
    let mut stop = pin!(stop);
    loop {
        tokio::select! {
            () = &mut stop => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(connection(stream, Arc::clone(&shared), stopped.clone()));
                }
                Err(_) => sleep(ACCEPT_PAUSE).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
    // Closing a listener resets whatever waits in its queue, so the queue is emptied first.
    for stream in waiting(listener) {
        connections.spawn(connection(stream, Arc::clone(&shared), stopped.clone()));
    }
    let _ = stopping.send(true);
    let _ = timeout(grace, async { while connections.join_next().await.is_some() {} }).await;
    connections.len()
}

/// Takes what waits in the listener's queue, without waiting for more, and closes it.
fn waiting(listener: TcpListener) -> Vec<TcpStream> {
    let Ok(listener) = listener.into_std() else { return Vec::new() };
    let accepted = std::iter::from_fn(|| listener.accept().ok());
    accepted
        .filter_map(|(stream, _)| {
            stream.set_nonblocking(true).and_then(|()| TcpStream::from_std(stream)).ok()
        })
        .collect()
}

async fn connection(stream: TcpStream, shared: Arc<Shared>, mut stopped: watch::Receiver<bool>) {
    let _ = stream.set_nodelay(true);
    let busy = Arc::new(AtomicUsize::new(0));
    let spoken = Arc::new(Notify::new());
    let service = {
        let (shared, busy, spoken) = (Arc::clone(&shared), Arc::clone(&busy), Arc::clone(&spoken));
        service_fn(move |request| {
            spoken.notify_one();
            let (shared, in_flight) = (Arc::clone(&shared), InFlight::new(&shared, &busy));
            async move {
                let response = routes::answer(&shared.behaviour, &shared.metrics, request).await;
                Ok::<_, Infallible>(response.map(|content| content.until_sent(in_flight)))
            }
        })
    };
    let mut serving = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(shared.keep_alive)
            .serve_connection(TokioIo::new(stream), service)
    );
    tokio::select! {
        // An error here is the client's doing; there is nobody to tell.
        _ = serving.as_mut() => return,
        _ = stopped.wait_for(|stopped| *stopped) => {}
    }
    // A connection whose first request is still on its way would be closed under it.
    tokio::select! {
        _ = serving.as_mut() => return,
        () = spoken.notified() => {}
        () = sleep(LAST_CHANCE) => {}
    }
    serving.as_mut().graceful_shutdown();
    let mut quiet = false;
    let mut checks = interval(LAST_CHANCE);
    checks.tick().await;
    loop {
        tokio::select! {
            _ = serving.as_mut() => return,
            _ = checks.tick() => {
                let idle = busy.load(Ordering::Relaxed) == 0;
                if idle && quiet {
                    return;
                }
                quiet = idle;
            }
        }
    }
}

/// Listens on the address.
pub(crate) fn listen(address: std::net::SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}
