//! What all connections share, and the mark of a request that is being answered.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::behaviour::Behaviour;
use crate::metrics::Metrics;

/// What all connections share.
pub(crate) struct Shared {
    pub(crate) behaviour: Behaviour,
    pub(crate) metrics: Metrics,
    pub(crate) keep_alive: Duration,
}

/// Marks one request as being answered, for the metrics and for its connection, until it is
/// dropped.
pub(crate) struct InFlight {
    shared: Arc<Shared>,
    connection: Arc<AtomicUsize>,
}

impl InFlight {
    pub(crate) fn new(shared: &Arc<Shared>, connection: &Arc<AtomicUsize>) -> Self {
        shared.metrics.begin();
        connection.fetch_add(1, Ordering::Relaxed);
        Self { shared: Arc::clone(shared), connection: Arc::clone(connection) }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.shared.metrics.end();
        self.connection.fetch_sub(1, Ordering::Relaxed);
    }
}
