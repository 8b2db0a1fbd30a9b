//! TCP connections of guests.

use crate::address::plain_host;
use crate::bindings::any::agente::types::types::Failure;
use crate::broker::{Allowed, Effect};
use crate::effects::resolve;
use crate::operation::Operation;
use agente_engine::fault::FaultKind;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What one read returns at most.
const MAX_READ_BYTES: u32 = 1024 * 1024;

/// An open connection; dropping it closes it.
#[expect(unreachable_pub, reason = "the generated bindings name it again")]
pub struct Connection {
    stream: TcpStream,
    /// `host:port`, as the guest asked for it.
    peer: String,
    _place: OwnedSemaphorePermit,
}

/// Takes one of the operation's connections.
pub(crate) fn take_place(
    connections: &Arc<Semaphore>,
    limit: u32,
) -> Result<OwnedSemaphorePermit, Failure> {
    Arc::clone(connections).try_acquire_owned().map_err(|_| {
        Failure::new(FaultKind::Failed, format!("the plugin holds {limit} connections already"))
            .hint(format!(
                "close some, or ask for more: `limits = {{ connections = {} }}` in plugin.toml \
                 and in the grant",
                limit.saturating_mul(2)
            ))
    })
}

pub(crate) async fn connect(
    operation: &Arc<Operation>,
    host: &str,
    port: u16,
    timeout_ms: u32,
) -> Result<Connection, Failure> {
    let host = plain_host(host);
    let effect = Effect::Connect { host: host.clone(), port };
    let Allowed::Egress { reach, .. } = operation.authorize(&effect)? else {
        return Err(Failure::new(
            FaultKind::Internal,
            "the broker allowed a connection without its reach",
        ));
    };
    let place = take_place(&operation.connections, operation.household.limits.connections)?;
    let limit = Duration::from_millis(u64::from(timeout_ms));
    let stream = resolve::connect(operation, &effect, reach, &host, port, limit)
        .await
        .map_err(|error| error.into_failure(&host, port))?;
    Ok(Connection { stream, peer: format!("{host}:{port}"), _place: place })
}

impl Connection {
    pub(crate) async fn read(
        &mut self,
        max_bytes: u32,
        timeout_ms: u32,
    ) -> Result<Vec<u8>, Failure> {
        let mut bytes = vec![0; max_bytes.clamp(1, MAX_READ_BYTES) as usize];
        let attempt = format!("reading from `{}`", self.peer);
        let read = within(&attempt, timeout_ms, self.stream.read(&mut bytes)).await?;
        bytes.truncate(read);
        Ok(bytes)
    }

    pub(crate) async fn write(&mut self, bytes: &[u8], timeout_ms: u32) -> Result<(), Failure> {
        let attempt = format!("writing to `{}`", self.peer);
        within(&attempt, timeout_ms, self.stream.write_all(bytes)).await
    }
}

async fn within<R>(
    attempt: &str,
    timeout_ms: u32,
    work: impl Future<Output = std::io::Result<R>>,
) -> Result<R, Failure> {
    match tokio::time::timeout(Duration::from_millis(u64::from(timeout_ms)), work).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(Failure::io(attempt, &error)),
        Err(_) => Err(Failure::new(
            FaultKind::TimedOut,
            format!("{attempt} took more than {timeout_ms} ms"),
        )),
    }
}
