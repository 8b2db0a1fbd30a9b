//! The promises of `Store` itself.

use crate::stores::{Scene, Stores};
use agente_engine::ports::Store;

crate::promises!("store":
    the_id_is_the_same_for_all_and_after_reopening_and_another_for_another_store,
);

async fn the_id_is_the_same_for_all_and_after_reopening_and_another_for_another_store<S: Stores>(
    Scene { stores, clock }: Scene<S>,
) {
    let (store, other) = (stores.open().await, stores.open().await);
    let id = store.id().to_owned();
    assert!(!id.is_empty());
    assert_eq!(other.id(), id);
    drop((store, other));
    assert_eq!(stores.open().await.id(), id);
    let another = S::make(clock).await;
    assert_ne!(another.open().await.id(), id);
}
