//! What holds while a store can't be used, and after.

use crate::sample::{
    Opened, closed_state, entry, file_artifact, open_state, opened, runtime, scope, started,
};
use crate::stores::{Scene, Stores};
use agente_engine::fault::FaultKind;
use agente_engine::journal::DecisionKind;
use agente_engine::names::ReleaseNumber;
use agente_engine::ports::{
    AppendError, Figures, History, Journal, LeaseError, Leases, Mailbox, Memory, PluginEffects,
    Releases, RunFigures, Trail,
};

crate::promises!("outage":
    a_store_that_can_not_be_used_says_so_and_never_that_nothing_is_there,
    afterwards_everything_is_there_and_what_failed_can_be_done_again,
);

async fn a_store_that_can_not_be_used_says_so_and_never_that_nothing_is_there<S: Stores>(
    Scene { stores, .. }: Scene<S>,
) {
    let (store, shop) = (stores.open().await, scope("shop"));
    let open = Opened::first(&store, stores.holder(), "shop").await;
    let id = &open.deployment;
    stores.cut().await;
    macro_rules! fails {
        ($($call:expr),+ $(,)?) => {
            $(match $call.await {
                Ok(answer) => panic!("{}: {answer:?}", stringify!($call)),
                Err(fault) => assert!(
                    matches!(fault.kind, FaultKind::Unavailable | FaultKind::JournalUnavailable),
                    "{}: {fault:?}", stringify!($call)
                ),
            })+
        };
    }
    fails!(
        store.entries(id),
        store.state(&shop),
        store.open_deployment(&shop),
        store.entries_of_scope(&shop),
        store.deployment(id),
        store.history(&shop, 1),
        store.scopes(),
        store.verify_chain(&shop),
        store.create_release(&shop, file_artifact('a'), runtime()),
        store.release(&shop, ReleaseNumber(1)),
        store.releases(&shop, 1),
        store.holding(&shop),
        store.leave(id, DecisionKind::Abort, "ann", None),
        store.decisions(id, 0),
        store.get("p", &shop, "key"),
        store.set("p", &shop, "key", Some(b"1")),
        store.keep_figures(id, open.fence(), &RunFigures::default()),
        store.figures(&shop),
        store.keep_effects(id, &PluginEffects::default()),
        store.effects(id),
    );
    let taken = store.acquire(&scope("cart"), stores.holder(), None).await;
    assert!(matches!(taken, Err(LeaseError::Unavailable(_))), "{taken:?}");
    let taken = store.take_over(&shop, stores.holder(), std::time::Duration::ZERO).await;
    assert!(matches!(taken, Err(LeaseError::Unavailable(_))), "{taken:?}");
    let written = store.append(open.fence(), &entry(id, 1, started(0)), &closed_state()).await;
    assert!(matches!(written, Err(AppendError::Unavailable(_))), "{written:?}");
    assert!(open.lease.release().await.is_err());
    stores.mend().await;
}

async fn afterwards_everything_is_there_and_what_failed_can_be_done_again<S: Stores>(
    Scene { stores, .. }: Scene<S>,
) {
    let (store, shop) = (stores.open().await, scope("shop"));
    let open = Opened::first(&store, stores.holder(), "shop").await;
    let (id, state) = (&open.deployment, open_state(&open.deployment));
    let next = entry(id, 1, started(0));
    stores.cut().await;
    store.append(open.fence(), &next, &state).await.unwrap_err();
    store.leave(id, DecisionKind::Pause, "ann", None).await.unwrap_err();
    stores.mend().await;
    assert_eq!(store.entries(id).await.unwrap(), [opened("d-1", &shop, 1)]);
    assert_eq!(store.state(&shop).await.unwrap(), state);
    assert_eq!(store.decisions(id, 0).await.unwrap(), []);
    assert_eq!(store.holding(&shop).await.unwrap().unwrap().fence, open.fence());
    store.append(open.fence(), &next, &state).await.unwrap();
    assert_eq!(store.entries_after(id, Some(0)).await.unwrap(), [next]);
    store.leave(id, DecisionKind::Pause, "ann", None).await.unwrap();
}
