//! Locks of targets in memory.

use crate::store::MemoryStore;
use agente_engine::fault::Fault;
use agente_engine::ports::{TargetLock, TargetLocks};
use async_trait::async_trait;
use std::future::poll_fn;
use std::mem::take;
use std::task::{Poll, Waker};

/// Frees a lock when it is dropped.
struct Held {
    store: MemoryStore,
    key: String,
}

impl Drop for Held {
    fn drop(&mut self) {
        let waiting = {
            let locks = &mut self.store.kept().locks;
            locks.held.remove(&self.key);
            take(&mut locks.waiting)
        };
        waiting.into_iter().for_each(Waker::wake);
    }
}

#[async_trait]
impl TargetLocks for MemoryStore {
    async fn lock_target(&self, key: &str) -> Result<TargetLock, Fault> {
        // Local to the machine, so it doesn't matter whether the store can be used.
        poll_fn(|context| {
            let locks = &mut self.kept().locks;
            if locks.held.insert(key.to_owned()) {
                return Poll::Ready(());
            }
            locks.waiting.push(context.waker().clone());
            Poll::Pending
        })
        .await;
        Ok(TargetLock::new(Held { store: self.clone(), key: key.to_owned() }))
    }
}
