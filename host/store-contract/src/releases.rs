//! The promises of `Releases`.

use crate::sample::{file_artifact, runtime, scope};
use crate::stores::{Scene, Stores};
use agente_engine::names::ReleaseNumber;
use agente_engine::ports::{Clock, Releases};
use agente_engine::release::{Artifact, Release};
use futures_util::future::join_all;
use std::collections::BTreeSet;
use std::time::Duration;

crate::promises!("releases":
    a_release_is_read_back_as_it_was_made_by_others_and_after_reopening,
    the_same_artifact_again_is_a_new_release,
    releases_made_at_once_get_numbers_without_gaps_or_repeats,
    the_newest_come_first_and_scopes_count_for_themselves,
);

async fn a_release_is_read_back_as_it_was_made_by_others_and_after_reopening<S: Stores>(
    Scene { stores, clock }: Scene<S>,
) {
    let (store, other) = (stores.open().await, stores.open().await);
    clock.advance(Duration::from_hours(1));
    let made = store.create_release(&scope("shop"), file_artifact('a'), runtime()).await.unwrap();
    let expected = Release {
        scope: scope("shop"),
        number: ReleaseNumber(1),
        artifact: file_artifact('a'),
        runtime: runtime(),
        created: clock.now(),
    };
    assert_eq!(made, expected);
    let read = other.release(&scope("shop"), ReleaseNumber(1)).await.unwrap();
    assert_eq!(read, Some(expected.clone()));
    drop((store, other));
    let store = stores.open().await;
    assert_eq!(store.release(&scope("shop"), ReleaseNumber(1)).await.unwrap(), Some(expected));
    for number in [0, 2, u64::MAX] {
        assert_eq!(store.release(&scope("shop"), ReleaseNumber(number)).await.unwrap(), None);
    }
    assert_eq!(store.release(&scope("cart"), ReleaseNumber(1)).await.unwrap(), None);
}

async fn the_same_artifact_again_is_a_new_release<S: Stores>(Scene { stores, .. }: Scene<S>) {
    let store = stores.open().await;
    for number in 1..=3 {
        let made = store.create_release(&scope("shop"), file_artifact('a'), runtime()).await;
        assert_eq!(made.unwrap().number, ReleaseNumber(number));
    }
}

async fn releases_made_at_once_get_numbers_without_gaps_or_repeats<S: Stores>(
    Scene { stores, .. }: Scene<S>,
) {
    let both = [stores.open().await, stores.open().await];
    let shop = scope("shop");
    let calls =
        (0..20).map(|call| both[call % 2].create_release(&shop, Artifact::Adopted, runtime()));
    let numbers: BTreeSet<u64> =
        join_all(calls).await.into_iter().map(|made| made.unwrap().number.0).collect();
    assert_eq!(numbers, (1..=20).collect());
}

async fn the_newest_come_first_and_scopes_count_for_themselves<S: Stores>(
    Scene { stores, .. }: Scene<S>,
) {
    let store = stores.open().await;
    let mut made = Vec::new();
    for digit in ['a', 'b', 'c'] {
        let release = store.create_release(&scope("shop"), file_artifact(digit), runtime()).await;
        made.insert(0, release.unwrap());
    }
    let cart = store.create_release(&scope("cart"), Artifact::Adopted, runtime()).await.unwrap();
    assert_eq!(cart.number, ReleaseNumber(1));
    assert_eq!(store.releases(&scope("shop"), 10).await.unwrap(), made);
    assert_eq!(store.releases(&scope("shop"), 2).await.unwrap(), made[..2]);
    assert_eq!(store.releases(&scope("shop"), 0).await.unwrap(), []);
    assert_eq!(store.releases(&scope("mail"), 10).await.unwrap(), []);
}
