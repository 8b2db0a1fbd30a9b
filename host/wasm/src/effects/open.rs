//! What a call holds open: connections, and the bodies of answers.

use crate::answer::{EffectError, NetworkTrouble};
use crate::effect::Handle;
use agente_engine::fault::FaultKind;
use hyper::body::Incoming;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinHandle;

/// An open connection; dropping it closes it.
pub(super) struct Connection {
    pub(super) stream: TcpStream,
    /// `host:port`, as the guest asked for it.
    pub(super) peer: String,
    #[expect(dead_code, reason = "held for its drop")]
    pub(super) place: OwnedSemaphorePermit,
}

/// An answer whose body is being read. Dropping it closes the connection.
pub(super) struct Exchange {
    pub(super) whom: String,
    pub(super) body: Incoming,
    pub(super) idle: Duration,
    #[expect(dead_code, reason = "held for its drop")]
    pub(super) connection: Carried,
}

/// The connection, moved by a task of its own.
pub(super) struct Carried(pub(super) JoinHandle<()>);

impl Drop for Carried {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Something open. Dropping the last of it closes it.
#[derive(Clone)]
pub(super) enum Open {
    Connection(Arc<tokio::sync::Mutex<Connection>>),
    Exchange(Arc<tokio::sync::Mutex<Exchange>>),
}

/// All that a call holds open.
pub(super) struct OpenHandles {
    limit: u32,
    /// Refuses the connection that is one too many, never waits: a guest that holds all of them
    /// would wait for itself.
    places: Arc<Semaphore>,
    all: Mutex<(Handle, HashMap<Handle, Open>)>,
}

impl OpenHandles {
    pub(super) fn new(limit: u32) -> Self {
        let places = Arc::new(Semaphore::new(limit as usize));
        Self { limit, places, all: Mutex::default() }
    }

    /// Takes one of the call's connections.
    pub(super) fn take_place(&self) -> Result<OwnedSemaphorePermit, EffectError> {
        let limit = self.limit;
        Arc::clone(&self.places).try_acquire_owned().map_err(|_| {
            let message = format!("the plugin already holds {limit} connections");
            EffectError::new(FaultKind::Failed, message).network(NetworkTrouble::TooMany).hint(
                format!(
                    "close some, or allow more: `limits = {{ connections = {} }}` in plugin.toml \
                    and in the grant",
                    limit.saturating_mul(2)
                ),
            )
        })
    }

    pub(super) fn keep(&self, open: Open) -> Handle {
        let mut all = self.all();
        let handle = all.0;
        all.0 = handle.wrapping_add(1);
        all.1.insert(handle, open);
        handle
    }

    pub(super) fn close(&self, handle: Handle) {
        let closed = self.all().1.remove(&handle);
        drop(closed);
    }

    pub(super) fn get(&self, handle: Handle) -> Option<Open> {
        self.all().1.get(&handle).cloned()
    }

    fn all(&self) -> MutexGuard<'_, (Handle, HashMap<Handle, Open>)> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
