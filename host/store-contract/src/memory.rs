//! The promises of `Memory`.

use crate::sample::scope;
use crate::stores::{Scene, Stores};
use agente_engine::fault::FaultKind;
use agente_engine::ports::{MEMORY_BYTES, Memory};

crate::promises!("memory":
    values_are_kept_apart_by_plugin_scope_and_key_and_survive_reopening,
    the_last_value_counts_and_a_removed_one_is_gone,
    others_see_a_value_at_once,
    a_plugin_may_remember_exactly_the_limit_per_scope,
    what_is_too_much_leaves_the_old_value,
);

async fn values_are_kept_apart_by_plugin_scope_and_key_and_survive_reopening<S: Stores>(
    Scene { stores, .. }: Scene<S>,
) {
    let store = stores.open().await;
    let (shop, cart) = (scope("shop"), scope("cart"));
    let all = [
        ("nginx-switch", &shop, "since", b"1".as_slice()),
        ("nginx-switch", &shop, "Since", b"2"),
        ("nginx-switch", &cart, "since", b"3"),
        ("alb-switch", &shop, "since", b"\0\xff"),
        ("alb-switch", &shop, "", b""),
    ];
    for (plugin, scope, key, value) in all {
        assert_eq!(store.get(plugin, scope, key).await.unwrap(), None);
        store.set(plugin, scope, key, Some(value)).await.unwrap();
    }
    drop(store);
    let store = stores.open().await;
    for (plugin, scope, key, value) in all {
        assert_eq!(store.get(plugin, scope, key).await.unwrap().as_deref(), Some(value));
    }
}

async fn the_last_value_counts_and_a_removed_one_is_gone<S: Stores>(
    Scene { stores, .. }: Scene<S>,
) {
    let (store, shop) = (stores.open().await, scope("shop"));
    for value in [Some(b"1".as_slice()), Some(b"1"), Some(b"22"), None, None, Some(b"3"), None] {
        store.set("p", &shop, "key", value).await.unwrap();
        assert_eq!(store.get("p", &shop, "key").await.unwrap().as_deref(), value);
    }
    store.set("p", &scope("never"), "key", None).await.unwrap();
    assert_eq!(store.get("p", &scope("never"), "key").await.unwrap(), None);
}

async fn others_see_a_value_at_once<S: Stores>(Scene { stores, .. }: Scene<S>) {
    let (store, other, shop) = (stores.open().await, stores.open().await, scope("shop"));
    for value in [Some(b"1".as_slice()), Some(b"2"), None] {
        store.set("p", &shop, "key", value).await.unwrap();
        assert_eq!(other.get("p", &shop, "key").await.unwrap().as_deref(), value);
    }
}

async fn a_plugin_may_remember_exactly_the_limit_per_scope<S: Stores>(
    Scene { stores, .. }: Scene<S>,
) {
    let (store, shop, cart) = (stores.open().await, scope("shop"), scope("cart"));
    let limit = usize::try_from(MEMORY_BYTES).unwrap();
    store.set("p", &shop, "a", Some(&vec![0; 40_000])).await.unwrap();
    // Bytes of keys count, not their letters.
    store.set("p", &shop, "é", Some(&vec![0; limit - 40_001 - 2])).await.unwrap();
    let refused = store.set("p", &shop, "c", Some(b"")).await.unwrap_err();
    assert_eq!(refused.kind, FaultKind::Rejected);
    assert!(refused.message.contains("65537 of 65536"), "{refused}");
    assert_eq!(store.get("p", &shop, "c").await.unwrap(), None);
    // A key's old value doesn't count against its new one; another scope or plugin not at all.
    store.set("p", &shop, "a", Some(&vec![1; 40_000])).await.unwrap();
    store.set("p", &cart, "a", Some(&vec![1; limit - 1])).await.unwrap();
    store.set("q", &shop, "a", Some(&vec![1; limit - 1])).await.unwrap();
    store.set("p", &shop, "é", None).await.unwrap();
    store.set("p", &shop, "c", Some(&vec![1; limit - 40_001 - 1])).await.unwrap();
}

async fn what_is_too_much_leaves_the_old_value<S: Stores>(Scene { stores, .. }: Scene<S>) {
    let (store, shop) = (stores.open().await, scope("shop"));
    let limit = usize::try_from(MEMORY_BYTES).unwrap();
    store.set("p", &shop, "key", Some(b"old")).await.unwrap();
    let refused = store.set("p", &shop, "key", Some(&vec![1; limit])).await.unwrap_err();
    assert_eq!(refused.kind, FaultKind::Rejected);
    assert_eq!(store.get("p", &shop, "key").await.unwrap().as_deref(), Some(b"old".as_slice()));
}
