//! TCP connections: raw bytes, in both directions, until one side closes.

use super::live::Live;
use super::open::{Connection, Open};
use super::resolve;
use crate::answer::{Answer, EffectError};
use crate::blob::Blob;
use crate::effect::Handle;
use agente_engine::fault::FaultKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::Mutex;

/// What one read returns at most.
const MAX_READ_BYTES: u32 = 1024 * 1024;

pub(super) async fn connect(
    live: &Live,
    host: &str,
    port: u16,
    timeout_ms: u32,
    addresses: &[SocketAddr],
) -> Result<Answer, EffectError> {
    let place = live.open.take_place()?;
    let limit = Duration::from_millis(u64::from(timeout_ms)).min(live.remaining());
    let stream = resolve::connect(host, port, addresses, limit).await?;
    let connection = Connection { stream, peer: format!("{host}:{port}"), place };
    let open = Open::Connection(Arc::new(Mutex::new(connection)));
    Ok(Answer::Connected(live.open.keep(open)))
}

pub(super) async fn receive(
    live: &Live,
    from: Handle,
    max_bytes: u32,
    timeout_ms: u32,
) -> Result<Answer, EffectError> {
    let connection = connection(live, from)?;
    let mut connection = connection.lock().await;
    let mut bytes = vec![0; max_bytes.clamp(1, MAX_READ_BYTES) as usize];
    let attempt = format!("reading from `{}`", connection.peer);
    let read = within(&attempt, timeout_ms, connection.stream.read(&mut bytes)).await?;
    bytes.truncate(read);
    Ok(Answer::Bytes(Some(Blob(bytes))))
}

pub(super) async fn send(
    live: &Live,
    to: Handle,
    bytes: &[u8],
    timeout_ms: u32,
) -> Result<Answer, EffectError> {
    let connection = connection(live, to)?;
    let mut connection = connection.lock().await;
    let attempt = format!("writing to `{}`", connection.peer);
    within(&attempt, timeout_ms, connection.stream.write_all(bytes)).await?;
    Ok(Answer::Done)
}

fn connection(live: &Live, handle: Handle) -> Result<Arc<Mutex<Connection>>, EffectError> {
    match live.open.get(handle) {
        Some(Open::Connection(connection)) => Ok(connection),
        _ => Err(EffectError::new(FaultKind::Failed, "the connection is closed")),
    }
}

async fn within<R>(
    attempt: &str,
    timeout_ms: u32,
    work: impl Future<Output = std::io::Result<R>>,
) -> Result<R, EffectError> {
    match tokio::time::timeout(Duration::from_millis(u64::from(timeout_ms)), work).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(EffectError::io(attempt, &error)),
        Err(_) => Err(EffectError::new(
            FaultKind::TimedOut,
            format!("{attempt} took more than {timeout_ms} ms"),
        )),
    }
}
