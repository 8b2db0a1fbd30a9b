//! Calls that were given up in the middle of an effect: nothing of it lands later, and the target's
//! lock is not free before nothing of it is on its way any more.

use crate::fixture::{World, nothing_new};
use agente_engine::names::OpId;
use agente_engine::ports::{TargetLock, TrafficSwitcher as _};
use agente_wasm::{
    Answer, CallName, Effect, EffectError, Follow, Handle, OperationContext, Paths, Performer,
    Permit, Seam,
};
use async_trait::async_trait;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc, oneshot};

/// Holds what would change something until it is told to go on.
struct Holding {
    begun: mpsc::UnboundedSender<()>,
    go_on: Arc<Semaphore>,
}

struct Holder {
    world: Arc<dyn Performer>,
    begun: mpsc::UnboundedSender<()>,
    go_on: Arc<Semaphore>,
}

impl Seam for Holding {
    fn performer(&self, _call: CallName, world: Arc<dyn Performer>) -> Arc<dyn Performer> {
        Arc::new(Holder { world, begun: self.begun.clone(), go_on: Arc::clone(&self.go_on) })
    }
}

impl Paths for Holder {
    fn follow(&self, path: &Path, how: Follow) -> Vec<PathBuf> {
        self.world.follow(path, how)
    }
}

#[async_trait]
impl Performer for Holder {
    async fn look_up(
        &self,
        host: &str,
        port: u16,
        limit: Duration,
    ) -> Result<Vec<SocketAddr>, EffectError> {
        self.world.look_up(host, port, limit).await
    }

    async fn perform(&self, permit: &Permit) -> Result<Answer, EffectError> {
        if matches!(
            permit.effect,
            Effect::ReplaceFile { .. } | Effect::RemoveFile(_) | Effect::Remember { .. }
        ) {
            self.begun.send(()).unwrap();
            let _turn = self.go_on.acquire().await.unwrap();
            return self.world.perform(permit).await;
        }
        self.world.perform(permit).await
    }

    fn close(&self, handle: Handle) {
        self.world.close(handle);
    }
}

/// Says when it is dropped.
struct Held(Option<oneshot::Sender<()>>);

impl Drop for Held {
    fn drop(&mut self) {
        let _ = self.0.take().unwrap().send(());
    }
}

/// Gives an `apply` up in the middle of its effect, and comes back when its lock is free.
async fn give_up(config: Value) -> World {
    let (begun, mut has_begun) = mpsc::unbounded_channel();
    let go_on = Arc::new(Semaphore::new(0));
    let world = World::behind(Arc::new(Holding { begun, go_on: Arc::clone(&go_on) }));
    let switcher = world.load(config).await.switcher(OperationContext::default()).unwrap();
    let (freed, mut is_free) = oneshot::channel();
    let applying = tokio::spawn(async move {
        let lock = TargetLock::new(Held(Some(freed)));
        switcher.apply(&OpId("op-1".to_owned()), &nothing_new(), &lock).await
    });
    has_begun.recv().await.unwrap();
    applying.abort();
    assert!(applying.await.unwrap_err().is_cancelled());
    let was_free = is_free.try_recv().is_ok();
    go_on.add_permits(1);
    assert!(!was_free, "the lock was freed while the effect was on its way");
    is_free.await.unwrap();
    world
}

#[tokio::test]
async fn a_file_is_not_replaced_for_a_call_that_was_given_up() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.conf");
    std::fs::write(&path, "old").unwrap();
    give_up(json!({ "act": "replace", "path": path, "text": "late", "may": { "write": path } }))
        .await;
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "old");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "something was left behind");
}

#[tokio::test]
async fn a_file_is_not_removed_for_a_call_that_was_given_up() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.conf");
    std::fs::write(&path, "old").unwrap();
    give_up(json!({ "act": "remove", "path": path, "may": { "write": path } })).await;
    assert!(path.exists());
}

#[tokio::test]
async fn the_memory_is_not_changed_for_a_call_that_was_given_up() {
    let world = give_up(json!({ "act": "remember", "key": "k", "text": "late" })).await;
    assert_eq!(world.remembered(), Vec::<String>::new());
}
