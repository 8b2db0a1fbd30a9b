//! The promises of `TargetLocks`.

use crate::stores::{Scene, Stores};
use agente_engine::ports::TargetLocks;
use futures_util::poll;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

crate::promises!("target_locks", LockingStores:
    a_target_is_one_holders_at_a_time_and_targets_do_not_meet,
    a_lock_lasts_as_long_as_its_last_copy,
    many_waiters_each_get_their_turn_alone,
    a_dropped_call_takes_no_lock,
);

/// Stores that have the locks of targets, too.
pub(crate) trait LockingStores: Stores<Store: TargetLocks> {}

impl<S: Stores<Store: TargetLocks>> LockingStores for S {}

/// How often a waiter is looked at before it counts as waiting.
const LOOKS: u32 = 50;

async fn a_target_is_one_holders_at_a_time_and_targets_do_not_meet<S: LockingStores>(
    Scene { stores, .. }: Scene<S>,
) {
    let (store, other) = (stores.open().await, stores.open().await);
    let held = store.lock_target("nginx:/etc/nginx").await.unwrap();
    let _elsewhere = other.lock_target("nginx:/opt/nginx").await.unwrap();
    let mut waiting = [store, other].map(|store| {
        tokio::spawn(async move { drop(store.lock_target("nginx:/etc/nginx").await.unwrap()) })
    });
    for _ in 0..LOOKS {
        for waiter in &mut waiting {
            assert!(poll!(waiter).is_pending(), "two at once");
        }
        tokio::task::yield_now().await;
    }
    drop(held);
    for waiter in waiting {
        waiter.await.unwrap();
    }
}

async fn a_lock_lasts_as_long_as_its_last_copy<S: LockingStores>(Scene { stores, .. }: Scene<S>) {
    let (store, other) = (stores.open().await, stores.open().await);
    let held = store.lock_target("nginx").await.unwrap();
    let copy = held.clone();
    drop(held);
    let mut waiter = tokio::spawn(async move { drop(other.lock_target("nginx").await.unwrap()) });
    for _ in 0..LOOKS {
        assert!(poll!(&mut waiter).is_pending(), "a copy is left");
        tokio::task::yield_now().await;
    }
    drop(copy);
    waiter.await.unwrap();
}

async fn many_waiters_each_get_their_turn_alone<S: LockingStores>(Scene { stores, .. }: Scene<S>) {
    let both = [stores.open().await, stores.open().await];
    let inside = Arc::new(AtomicU32::new(0));
    let tasks: Vec<_> = (0..20)
        .map(|number| {
            let (store, inside) = (both[number % 2].clone(), inside.clone());
            tokio::spawn(async move {
                let lock = store.lock_target("nginx").await.unwrap();
                assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0, "two at once");
                tokio::task::yield_now().await;
                inside.fetch_sub(1, Ordering::SeqCst);
                drop(lock);
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
}

async fn a_dropped_call_takes_no_lock<S: LockingStores>(Scene { stores, .. }: Scene<S>) {
    let (store, other) = (stores.open().await, stores.open().await);
    let held = store.lock_target("nginx").await.unwrap();
    {
        let mut waiting = other.lock_target("nginx");
        for _ in 0..LOOKS {
            assert!(poll!(&mut waiting).is_pending(), "two at once");
            tokio::task::yield_now().await;
        }
    }
    drop(held);
    drop(other.lock_target("nginx").await.unwrap());
    drop(store.lock_target("nginx").await.unwrap());
}
