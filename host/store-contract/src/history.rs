//! The promises of `History`.

use crate::sample::{
    self, Opened, closed, closed_state, file_artifact, open_state, promoted, runtime, scope,
    started,
};
use crate::stores::{Scene, Stores};
use agente_engine::deployment::DeploymentKind;
use agente_engine::journal::ChainState;
use agente_engine::names::{DeploymentId, ReleaseNumber};
use agente_engine::ports::{Fence, History, Journal, Leases, Memory, Releases};
use std::collections::BTreeSet;

crate::promises!("history":
    entries_of_a_scope_come_in_the_order_in_which_they_were_written,
    each_deployment_has_a_row_that_says_what_its_entries_say,
    what_was_opened_last_comes_first_whatever_its_name,
    scopes_with_a_deployment_or_a_release_are_known_by_name,
    the_newest_entry_of_a_scope_tells_its_token,
    an_untouched_chain_is_intact_and_its_head_is_another_after_each_entry,
);

async fn entries_of_a_scope_come_in_the_order_in_which_they_were_written<S: Stores>(
    Scene { stores, .. }: Scene<S>,
) {
    let store = stores.open().await;
    let open = Opened::first(&store, stores.holder(), "shop").await;
    open.append(started(0), &open_state(&open.deployment)).await.unwrap();
    let second = open.next("d-0-sorts-before-the-first", 2).await;
    let state = open_state(&second);
    sample::append(&store, open.fence(), &second, started(0), &state).await.unwrap();
    let mut expected = store.entries(&open.deployment).await.unwrap();
    expected.extend(store.entries(&second).await.unwrap());
    assert_eq!(expected.len(), 5);
    assert_eq!(store.entries_of_scope(&scope("shop")).await.unwrap(), expected);
    assert_eq!(store.entries_of_scope(&scope("cart")).await.unwrap(), []);
}

async fn the_newest_entry_of_a_scope_tells_its_token<S: Stores>(Scene { stores, .. }: Scene<S>) {
    let store = stores.open().await;
    assert_eq!(store.newest_fence(&scope("shop")).await.unwrap(), None);
    let open = Opened::first(&store, stores.holder(), "shop").await;
    assert_eq!(store.newest_fence(&scope("shop")).await.unwrap(), Some(open.fence()));
    // A lease alone writes nothing.
    let _cart = store.acquire(&scope("cart"), stores.holder(), None).await.unwrap();
    assert_eq!(store.newest_fence(&scope("cart")).await.unwrap(), None);
}

async fn each_deployment_has_a_row_that_says_what_its_entries_say<S: Stores>(
    Scene { stores, .. }: Scene<S>,
) {
    let store = stores.open().await;
    let open = Opened::first(&store, stores.holder(), "shop").await;
    let entries = store.entries(&open.deployment).await.unwrap();
    let row = store.deployment(&open.deployment).await.unwrap().unwrap();
    assert_eq!((&row.id, &row.scope), (&open.deployment, &scope("shop")));
    assert_eq!(
        (row.kind, row.release),
        (DeploymentKind::Rollback { fast: true }, ReleaseNumber(1))
    );
    assert_eq!((row.by.as_str(), row.artifact.as_str()), ("ann@desk", "shop (aaaaaaaaaaaa)"));
    assert_eq!((row.opened, row.closed, row.outcome), (entries[0].at, None, None));

    open.append(started(0), &open_state(&open.deployment)).await.unwrap();
    open.append(closed(), &closed_state()).await.unwrap();
    let entries = store.entries(&open.deployment).await.unwrap();
    let row = store.deployment(&open.deployment).await.unwrap().unwrap();
    assert_eq!(row.opened, entries[0].at);
    assert_eq!((row.closed, row.outcome), (Some(entries[2].at), Some(promoted())));
    assert_eq!(store.deployment(&DeploymentId("d-none".into())).await.unwrap(), None);
}

async fn what_was_opened_last_comes_first_whatever_its_name<S: Stores>(
    Scene { stores, .. }: Scene<S>,
) {
    let store = stores.open().await;
    let mut open = Opened::first(&store, stores.holder(), "shop").await;
    for (id, number) in [("d-0", 2), ("d-9", 3), ("d-5", 4)] {
        open.deployment = open.next(id, number).await;
    }
    let rows = store.history(&scope("shop"), 10).await.unwrap();
    let ids: Vec<_> = rows.iter().map(|row| row.id.0.as_str()).collect();
    assert_eq!(ids, ["d-5", "d-9", "d-0", "d-1"]);
    assert_eq!(store.history(&scope("shop"), 2).await.unwrap(), rows[..2]);
    assert_eq!(store.history(&scope("shop"), 0).await.unwrap(), []);
    assert_eq!(store.history(&scope("cart"), 10).await.unwrap(), []);
    assert_eq!(store.deployment(&rows[3].id).await.unwrap().as_ref(), Some(&rows[3]));
}

async fn scopes_with_a_deployment_or_a_release_are_known_by_name<S: Stores>(
    Scene { stores, .. }: Scene<S>,
) {
    let store = stores.open().await;
    assert_eq!(store.scopes().await.unwrap(), []);
    let leased = store.acquire(&scope("leased"), stores.holder(), None).await.unwrap();
    store.set("nginx-switch", &scope("remembered"), "key", Some(b"1")).await.unwrap();
    assert_eq!(store.scopes().await.unwrap(), []);
    let _open = Opened::first(&store, stores.holder(), "shop").await;
    store.create_release(&scope("cart"), file_artifact('b'), runtime()).await.unwrap();
    leased.release().await.unwrap();
    assert_eq!(store.scopes().await.unwrap(), [scope("cart"), scope("shop")]);
}

async fn an_untouched_chain_is_intact_and_its_head_is_another_after_each_entry<S: Stores>(
    Scene { stores, .. }: Scene<S>,
) {
    let store = stores.open().await;
    let heads = async |expected: u64, heads: &mut BTreeSet<String>| {
        let first = store.verify_chain(&scope("shop")).await.unwrap();
        let ChainState::Intact { entries, head } = &first else { panic!("{first:?}") };
        assert_eq!(*entries, expected);
        assert!(heads.insert(head.clone()), "the head of before: {head}");
        assert_eq!(store.verify_chain(&scope("shop")).await.unwrap(), first);
    };
    let mut seen = BTreeSet::new();
    heads(0, &mut seen).await;
    let open = Opened::first(&store, stores.holder(), "shop").await;
    heads(1, &mut seen).await;
    // The same event again and again.
    for step in 0..3 {
        open.append(started(0), &open_state(&open.deployment)).await.unwrap();
        heads(step + 2, &mut seen).await;
    }
    let second = sample::opened("d-2", &scope("shop"), 2);
    store.append(Fence(99), &second, &closed_state()).await.unwrap_err();
    let ChainState::Intact { entries: 4, head } = store.verify_chain(&scope("shop")).await.unwrap()
    else {
        panic!("what was refused left a trace")
    };
    assert!(seen.contains(&head));
}
