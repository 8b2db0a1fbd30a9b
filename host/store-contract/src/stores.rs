//! Where tests get their store.

use crate::clock::HandClock;
use agente_engine::ports::{Holder, Lease, Store};
use async_trait::async_trait;
use libtest_mimic::Trial;
use std::sync::Arc;

/// One place where a store is kept, and those who use it.
#[async_trait]
pub trait Stores: Sized + Send + Sync + 'static {
    /// What the engine and people use.
    type Store: Store + Clone + 'static;

    /// Makes an empty store. All who open it date and wait by `clock`.
    async fn make(clock: Arc<HandClock>) -> Self;

    /// Opens the store as somebody else would: what was opened before is another's.
    async fn open(&self) -> Self::Store;

    /// Who somebody that lives says they are.
    fn holder(&self) -> Holder;

    /// Ends an owner as death would: nothing is given back.
    async fn end(&self, owner: Self::Store, lease: Box<dyn Lease>) {
        drop((lease, owner));
    }

    /// Makes the store unusable: whoever has it open can neither read nor write.
    async fn cut(&self);

    /// Makes it usable again; what was there is there.
    async fn mend(&self);
}

/// What a test has: a place with a store in it, and the time there.
pub(crate) struct Scene<S> {
    pub(crate) stores: S,
    pub(crate) clock: Arc<HandClock>,
}

/// Makes a test of a promise, with a scene and a runtime of its own.
pub(crate) fn trial<S, F>(
    name: &'static str,
    promise: impl FnOnce(Scene<S>) -> F + Send + 'static,
) -> Trial
where
    S: Stores,
    F: Future<Output = ()>,
{
    Trial::test(name, move || {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        runtime.block_on(async {
            let clock = Arc::new(HandClock::default());
            let stores = S::make(clock.clone()).await;
            promise(Scene { stores, clock }).await;
        });
        Ok(())
    })
}
