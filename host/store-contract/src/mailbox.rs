//! The promises of `Mailbox`.

use crate::sample::{Opened, closed, closed_state, scope};
use crate::stores::{Scene, Stores};
use agente_engine::fault::FaultKind;
use agente_engine::journal::{Decision, DecisionKind};
use agente_engine::names::DeploymentId;
use agente_engine::ports::{Clock, Mailbox};
use futures_util::future::join_all;
use std::collections::BTreeSet;
use std::time::Duration;

crate::promises!("mailbox":
    a_decision_is_seen_by_others_as_it_was_left_and_after_reopening,
    decisions_beyond_a_number_come_in_order_and_belong_to_their_deployment,
    the_same_decision_again_is_another,
    a_decision_on_nothing_or_on_what_has_ended_is_refused,
    many_who_leave_one_at_once_lose_none,
    whoever_asks_for_what_is_beyond_the_last_one_misses_none,
);

async fn a_decision_is_seen_by_others_as_it_was_left_and_after_reopening<S: Stores>(
    Scene { stores, clock }: Scene<S>,
) {
    let (owner, operator) = (stores.open().await, stores.open().await);
    let open = Opened::first(&owner, stores.holder(), "shop").await;
    clock.advance(Duration::from_secs(7));
    let mut left = Vec::new();
    for (decision, reason) in [
        (DecisionKind::Pause, None),
        (DecisionKind::Promote { full: true }, Some("it „burns“\n")),
        (DecisionKind::Abort, Some("")),
    ] {
        let id = operator.leave(&open.deployment, decision, "ann@desk", reason).await.unwrap();
        let (by, reason) = ("ann@desk".to_owned(), reason.map(str::to_owned));
        left.push(Decision { id, decision, by, reason, at: clock.now() });
        assert_eq!(owner.decisions(&open.deployment, 0).await.unwrap(), left);
        clock.advance(Duration::from_secs(1));
    }
    // They stay with the deployment when it has ended.
    open.append(closed(), &closed_state()).await.unwrap();
    drop((owner, operator, open.store));
    assert_eq!(stores.open().await.decisions(&open.deployment, 0).await.unwrap(), left);
}

async fn decisions_beyond_a_number_come_in_order_and_belong_to_their_deployment<S: Stores>(
    Scene { stores, .. }: Scene<S>,
) {
    let store = stores.open().await;
    let shop = Opened::first(&store, stores.holder(), "shop").await;
    let mut numbers = Vec::new();
    for _ in 0..5 {
        numbers
            .push(store.leave(&shop.deployment, DecisionKind::Pause, "ann", None).await.unwrap());
    }
    assert!(numbers.is_sorted_by(|one, two| one < two), "{numbers:?}");
    let second = shop.next("d-2", 2).await;
    let other = store.leave(&second, DecisionKind::Abort, "bob", None).await.unwrap();
    let all = store.decisions(&shop.deployment, 0).await.unwrap();
    assert_eq!(all.iter().map(|decision| decision.id).collect::<Vec<_>>(), numbers);
    for (index, number) in numbers.iter().enumerate() {
        let beyond = store.decisions(&shop.deployment, *number).await.unwrap();
        assert_eq!(beyond, all[index + 1..]);
    }
    let of_second = store.decisions(&second, 0).await.unwrap();
    assert_eq!(of_second.iter().map(|decision| decision.id).collect::<Vec<_>>(), [other]);
    assert_eq!(store.decisions(&second, u64::MAX).await.unwrap(), []);
    assert_eq!(store.decisions(&DeploymentId("d-none".into()), 0).await.unwrap(), []);
}

async fn the_same_decision_again_is_another<S: Stores>(Scene { stores, .. }: Scene<S>) {
    let store = stores.open().await;
    let open = Opened::first(&store, stores.holder(), "shop").await;
    let abort = async || store.leave(&open.deployment, DecisionKind::Abort, "ann", None).await;
    let (one, two) = (abort().await.unwrap(), abort().await.unwrap());
    assert!(one < two);
    assert_eq!(store.decisions(&open.deployment, 0).await.unwrap().len(), 2);
}

async fn a_decision_on_nothing_or_on_what_has_ended_is_refused<S: Stores>(
    Scene { stores, .. }: Scene<S>,
) {
    let store = stores.open().await;
    let none = DeploymentId("d-none".into());
    let fault = store.leave(&none, DecisionKind::Abort, "ann", None).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Conflict);
    assert!(fault.message.contains("no deployment `d-none`"), "{fault}");

    let open = Opened::first(&store, stores.holder(), "shop").await;
    open.append(closed(), &closed_state()).await.unwrap();
    let fault = store.leave(&open.deployment, DecisionKind::Abort, "ann", None).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Conflict);
    assert!(fault.message.contains("has already ended"), "{fault}");
    assert_eq!(store.decisions(&open.deployment, 0).await.unwrap(), []);
    assert_eq!(open.lease.scope(), &scope("shop"));
}

async fn many_who_leave_one_at_once_lose_none<S: Stores>(Scene { stores, .. }: Scene<S>) {
    let mut all = Vec::new();
    for _ in 0..10 {
        all.push(stores.open().await);
    }
    let open = Opened::first(&all[0], stores.holder(), "shop").await;
    let users: Vec<String> = (0..100).map(|number| format!("user{number}@host")).collect();
    let calls = users
        .iter()
        .zip(all.iter().cycle())
        .map(|(user, store)| store.leave(&open.deployment, DecisionKind::Pause, user, Some("why")));
    let numbers: Vec<u64> = join_all(calls).await.into_iter().map(|left| left.unwrap()).collect();
    let found = all[3].decisions(&open.deployment, 0).await.unwrap();
    assert_eq!(found.len(), 100);
    let found: BTreeSet<_> = found.into_iter().map(|decision| (decision.id, decision.by)).collect();
    assert_eq!(found, numbers.into_iter().zip(users).collect());
}

async fn whoever_asks_for_what_is_beyond_the_last_one_misses_none<S: Stores>(
    Scene { stores, .. }: Scene<S>,
) {
    const WRITERS: usize = 8;
    const EACH: usize = 10;
    let owner = stores.open().await;
    let open = Opened::first(&owner, stores.holder(), "shop").await;
    let mut writers = Vec::new();
    for writer in 0..WRITERS {
        let (store, deployment) = (stores.open().await, open.deployment.clone());
        writers.push(tokio::spawn(async move {
            for _ in 0..EACH {
                let by = format!("user{writer}");
                store.leave(&deployment, DecisionKind::Pause, &by, None).await.unwrap();
            }
        }));
    }
    let mut seen = Vec::new();
    while seen.len() < WRITERS * EACH {
        let idle = writers.iter().all(tokio::task::JoinHandle::is_finished);
        let last = seen.last().copied().unwrap_or(0);
        let new = owner.decisions(&open.deployment, last).await.unwrap();
        assert!(!(idle && new.is_empty()), "some were missed: {seen:?}");
        seen.extend(new.iter().map(|decision| decision.id));
        tokio::task::yield_now().await;
    }
    assert!(seen.is_sorted_by(|one, two| one < two), "{seen:?}");
    for writer in writers {
        writer.await.unwrap();
    }
}
