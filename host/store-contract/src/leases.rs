//! The promises of `Leases`: who gets one, and when.

use crate::sample::{Opened, entry, open_state, scope, started};
use crate::stores::{Scene, Stores};
use agente_engine::ports::{
    AppendError, Clock, Fence, HEARTBEAT, Holding, Journal, Lease, LeaseError, Leases, Liveness,
    SILENCE,
};
use futures_util::future::join_all;
use futures_util::poll;
use std::pin::pin;
use std::time::Duration;

crate::promises!("leases":
    a_free_lease_is_given_at_once_and_each_scope_has_its_own,
    a_second_taker_is_told_who_has_it_since_when_and_for_what,
    a_holder_that_asks_again_is_held_up_by_itself,
    a_lease_that_was_given_back_is_free_and_nobodys,
    a_dead_holder_frees_the_lease_at_once_and_its_deployment_stays_open,
    every_token_is_newer_than_all_before,
    waiting_gets_the_lease_when_it_is_given_back,
    waiting_lasts_as_long_as_it_may_and_no_longer,
    a_holder_that_lives_keeps_it_however_silent_and_whatever_the_clock_says,
    of_many_that_race_one_has_it,
    a_dropped_call_leaves_the_lease_free,
    a_free_lease_is_taken_over_at_once,
    whoever_is_taken_over_from_writes_nothing_from_the_first_moment_on,
    nobody_gets_the_lease_before_the_old_owner_has_let_go,
    an_owner_that_does_not_let_go_is_named_after_the_wait,
    a_dropped_takeover_leaves_the_old_owner_passed_over,
    of_several_that_take_over_at_once_one_gets_it_and_can_write,
    giving_back_late_takes_nothing_from_the_new_holder,
);

const MINUTE: Duration = Duration::from_mins(1);

fn held(result: Result<Box<dyn Lease>, LeaseError>) -> Holding {
    match result {
        Err(LeaseError::Held(holding)) => *holding,
        other => panic!("{other:?}"),
    }
}

async fn a_free_lease_is_given_at_once_and_each_scope_has_its_own<S: Stores>(
    Scene { stores, clock }: Scene<S>,
) {
    let (store, other) = (stores.open().await, stores.open().await);
    let began = clock.elapsed();
    assert_eq!(store.holding(&scope("shop")).await.unwrap(), None);
    let shop = store.acquire(&scope("shop"), stores.holder(), None).await.unwrap();
    let cart = other.acquire(&scope("cart"), stores.holder(), Some(MINUTE)).await.unwrap();
    assert_eq!((shop.fence(), shop.scope()), (Fence(1), &scope("shop")));
    assert_eq!((cart.fence(), cart.scope()), (Fence(1), &scope("cart")));
    assert_eq!(clock.elapsed(), began, "it waited for nobody");
}

async fn a_second_taker_is_told_who_has_it_since_when_and_for_what<S: Stores>(
    Scene { stores, clock }: Scene<S>,
) {
    let (store, other) = (stores.open().await, stores.open().await);
    let open = Opened::first(&store, stores.holder(), "shop").await;
    let acquired = clock.now();
    clock.advance(Duration::from_secs(1));
    let shop = scope("shop");
    let taking = other.acquire(&shop, stores.holder(), None);
    let holding = held(clock.within(MINUTE, taking).await.unwrap());
    assert_eq!((&holding.scope, &holding.holder), (&scope("shop"), &stores.holder()));
    assert_eq!((holding.fence, holding.acquired), (open.fence(), acquired));
    assert_eq!(
        (holding.deployment.as_ref(), holding.liveness),
        (Some(&open.deployment), Liveness::Alive)
    );
    let looked = other.holding(&scope("shop")).await.unwrap().unwrap();
    assert_eq!((looked.holder, looked.fence), (holding.holder, holding.fence));
    assert_eq!(looked.seen, clock.now());
}

async fn a_holder_that_asks_again_is_held_up_by_itself<S: Stores>(
    Scene { stores, clock }: Scene<S>,
) {
    let store = stores.open().await;
    let shop = scope("shop");
    let lease = store.acquire(&shop, stores.holder(), None).await.unwrap();
    let again = store.acquire(&shop, stores.holder(), None);
    assert_eq!(held(clock.within(MINUTE, again).await.unwrap()).fence, lease.fence());
}

async fn a_lease_that_was_given_back_is_free_and_nobodys<S: Stores>(
    Scene { stores, .. }: Scene<S>,
) {
    let (store, other) = (stores.open().await, stores.open().await);
    let shop = scope("shop");
    store.acquire(&shop, stores.holder(), None).await.unwrap().release().await.unwrap();
    assert_eq!(other.holding(&shop).await.unwrap(), None);
    let next = other.acquire(&shop, stores.holder(), None).await.unwrap();
    assert_eq!(next.fence(), Fence(2));
}

async fn a_dead_holder_frees_the_lease_at_once_and_its_deployment_stays_open<S: Stores>(
    Scene { stores, clock }: Scene<S>,
) {
    let (store, other) = (stores.open().await, stores.open().await);
    let shop = scope("shop");
    let open = Opened::first(&store, stores.holder(), "shop").await;
    let began = clock.elapsed();
    drop(open.store);
    stores.end(store, open.lease).await;
    let dead = other.holding(&shop).await.unwrap();
    assert!(dead.is_none_or(|dead| dead.liveness == Liveness::Gone), "it lives on");
    let lease = other.acquire(&shop, stores.holder(), None).await.unwrap();
    assert_eq!(clock.elapsed(), began, "its last sign of life was waited out");
    assert_eq!(lease.fence(), Fence(2));
    assert_eq!(other.open_deployment(&shop).await.unwrap(), Some(open.deployment));
}

async fn every_token_is_newer_than_all_before<S: Stores>(Scene { stores, clock }: Scene<S>) {
    let (mut store, shop) = (stores.open().await, scope("shop"));
    let mut last = Fence(0);
    for round in 0..9 {
        let lease = store.acquire(&shop, stores.holder(), None).await.unwrap();
        assert!(lease.fence() > last);
        last = lease.fence();
        match round % 3 {
            0 => lease.release().await.unwrap(),
            1 => drop(lease),
            _ => {
                let other = stores.open().await;
                let taken = other.take_over(&shop, stores.holder(), HEARTBEAT);
                assert!(clock.within(MINUTE, taken).await.unwrap().is_err());
                stores.end(store, lease).await;
                store = other;
            }
        }
    }
    drop(store);
    let store = stores.open().await;
    let lease = store.acquire(&shop, stores.holder(), None).await.unwrap();
    assert!(lease.fence() > last, "after reopening too");
}

async fn waiting_gets_the_lease_when_it_is_given_back<S: Stores>(
    Scene { stores, clock }: Scene<S>,
) {
    let (store, other) = (stores.open().await, stores.open().await);
    let shop = scope("shop");
    let first = store.acquire(&shop, stores.holder(), None).await.unwrap();
    let mut waiting = pin!(other.acquire(&shop, stores.holder(), Some(MINUTE)));
    assert!(clock.within(Duration::from_secs(30), &mut waiting).await.is_none());
    first.release().await.unwrap();
    let next = clock.within(HEARTBEAT, waiting).await.expect("it is free").unwrap();
    assert_eq!(next.fence(), Fence(2));
}

async fn waiting_lasts_as_long_as_it_may_and_no_longer<S: Stores>(
    Scene { stores, clock }: Scene<S>,
) {
    let (store, other) = (stores.open().await, stores.open().await);
    let shop = scope("shop");
    let _first = store.acquire(&shop, stores.holder(), None).await.unwrap();
    for wait in [Duration::ZERO, Duration::from_millis(700), MINUTE] {
        let began = clock.elapsed();
        let waiting = other.acquire(&shop, stores.holder(), Some(wait));
        held(clock.within(wait + HEARTBEAT, waiting).await.expect("it waits on"));
        assert!(clock.elapsed() >= began + wait, "it gave up too early");
    }
}

async fn a_holder_that_lives_keeps_it_however_silent_and_whatever_the_clock_says<S: Stores>(
    Scene { stores, clock }: Scene<S>,
) {
    let (store, other) = (stores.open().await, stores.open().await);
    let shop = scope("shop");
    let lease = store.acquire(&shop, stores.holder(), None).await.unwrap();
    let day = 24 * 60 * 60;
    for wall in [0, day, -2 * day, day] {
        clock.set_wall(wall);
        // Its heart comes late.
        clock.advance(SILENCE * 100);
        let taking = other.acquire(&shop, stores.holder(), None);
        let holding = held(clock.within(MINUTE, taking).await.unwrap());
        assert_eq!(holding.fence, lease.fence());
        assert!(
            matches!(holding.liveness, Liveness::Alive | Liveness::Silent),
            "{:?}",
            holding.liveness
        );
    }
}

async fn of_many_that_race_one_has_it<S: Stores>(Scene { stores, clock }: Scene<S>) {
    let shop = scope("shop");
    let mut all = Vec::new();
    for _ in 0..8 {
        all.push(stores.open().await);
    }
    let mut last = Fence(0);
    for _ in 0..5 {
        let takers = all.iter().map(|store| store.acquire(&shop, stores.holder(), None));
        let results = clock.within(MINUTE, join_all(takers)).await.unwrap();
        let mut got: Vec<_> = results.into_iter().filter_map(std::result::Result::ok).collect();
        assert_eq!(got.len(), 1, "{got:?}");
        let lease = got.remove(0);
        assert!(lease.fence() > last);
        last = lease.fence();
        lease.release().await.unwrap();
    }
}

async fn a_dropped_call_leaves_the_lease_free<S: Stores>(Scene { stores, .. }: Scene<S>) {
    let (store, other) = (stores.open().await, stores.open().await);
    let shop = scope("shop");
    for polls in 1..40 {
        {
            let mut taking = pin!(store.acquire(&shop, stores.holder(), None));
            for _ in 0..polls {
                if poll!(&mut taking).is_ready() {
                    break;
                }
                tokio::task::yield_now().await;
            }
        }
        let next = other.acquire(&shop, stores.holder(), None).await;
        next.unwrap_or_else(|error| panic!("{error} after {polls} polls")).release().await.unwrap();
    }
}

async fn a_free_lease_is_taken_over_at_once<S: Stores>(Scene { stores, clock }: Scene<S>) {
    let (store, other) = (stores.open().await, stores.open().await);
    let shop = scope("shop");
    let began = clock.elapsed();
    let first = store.take_over(&shop, stores.holder(), MINUTE).await.unwrap();
    let fence = first.fence();
    stores.end(store, first).await;
    let next = other.take_over(&shop, stores.holder(), MINUTE).await.unwrap();
    assert!(next.fence() > fence);
    assert_eq!(clock.elapsed(), began, "it waited for nobody");
}

async fn whoever_is_taken_over_from_writes_nothing_from_the_first_moment_on<S: Stores>(
    Scene { stores, clock }: Scene<S>,
) {
    let (store, other) = (stores.open().await, stores.open().await);
    let shop = scope("shop");
    let open = Opened::first(&store, stores.holder(), "shop").await;
    let mut taking = pin!(other.take_over(&shop, stores.holder(), MINUTE));
    assert!(clock.within(Duration::ZERO, &mut taking).await.is_none());
    let late = open.append(started(0), &open_state(&open.deployment)).await;
    assert_eq!(late, Err(AppendError::Fenced { scope: shop.clone(), fence: open.fence() }));
    let (old, deployment) = (open.fence(), open.deployment);
    drop(open.lease);
    let lease = clock.within(HEARTBEAT, taking).await.expect("it is free").unwrap();
    assert!(lease.fence() > old);
    let next = entry(&deployment, 1, started(0));
    other.append(lease.fence(), &next, &open_state(&deployment)).await.unwrap();
    assert_eq!(store.entries_after(&deployment, Some(0)).await.unwrap(), [next]);
}

async fn nobody_gets_the_lease_before_the_old_owner_has_let_go<S: Stores>(
    Scene { stores, clock }: Scene<S>,
) {
    let (store, other, third) = (stores.open().await, stores.open().await, stores.open().await);
    let shop = scope("shop");
    let old = store.acquire(&shop, stores.holder(), None).await.unwrap();
    let mut taking = pin!(other.take_over(&shop, stores.holder(), MINUTE * 60));
    assert!(clock.within(MINUTE * 10, &mut taking).await.is_none());
    let beside = third.acquire(&shop, stores.holder(), None);
    held(clock.within(MINUTE, beside).await.unwrap());
    old.release().await.unwrap();
    clock.within(HEARTBEAT, taking).await.expect("it is free").unwrap();
}

async fn an_owner_that_does_not_let_go_is_named_after_the_wait<S: Stores>(
    Scene { stores, clock }: Scene<S>,
) {
    let (store, other) = (stores.open().await, stores.open().await);
    let shop = scope("shop");
    let old = store.acquire(&shop, stores.holder(), None).await.unwrap();
    for wait in [Duration::ZERO, MINUTE] {
        let began = clock.elapsed();
        let taking = other.take_over(&shop, stores.holder(), wait);
        let error = clock.within(wait + HEARTBEAT, taking).await.expect("it waits on").unwrap_err();
        let LeaseError::StillRuns { holding, waited } = error else { panic!("{error:?}") };
        assert_eq!((holding.holder, waited), (stores.holder(), wait));
        assert!(clock.elapsed() >= began + wait, "it gave up too early");
    }
    let fence = old.fence();
    drop(old);
    let next = other.acquire(&shop, stores.holder(), None).await.unwrap();
    assert!(next.fence() > fence);
}

async fn a_dropped_takeover_leaves_the_old_owner_passed_over<S: Stores>(
    Scene { stores, clock }: Scene<S>,
) {
    let (store, other) = (stores.open().await, stores.open().await);
    let shop = scope("shop");
    let open = Opened::first(&store, stores.holder(), "shop").await;
    {
        let taking = other.take_over(&shop, stores.holder(), MINUTE);
        assert!(clock.within(HEARTBEAT, taking).await.is_none());
    }
    let late = open.append(started(0), &open_state(&open.deployment)).await;
    assert!(matches!(late, Err(AppendError::Fenced { .. })), "{late:?}");
    clock.within(HEARTBEAT, open.lease.lost()).await.expect("it does not hear of it");
    drop(open.lease);
    other.acquire(&shop, stores.holder(), None).await.unwrap();
}

async fn of_several_that_take_over_at_once_one_gets_it_and_can_write<S: Stores>(
    Scene { stores, clock }: Scene<S>,
) {
    let shop = scope("shop");
    let (store, one, two) = (stores.open().await, stores.open().await, stores.open().await);
    let open = Opened::first(&store, stores.holder(), "shop").await;
    let mut both = pin!(join_all([
        one.take_over(&shop, stores.holder(), MINUTE),
        two.take_over(&shop, stores.holder(), MINUTE),
    ]));
    assert!(clock.within(HEARTBEAT, &mut both).await.is_none());
    let (old, deployment) = (open.fence(), open.deployment);
    drop(open.lease);
    let results = clock.within(MINUTE * 2, both).await.expect("they wait on");
    let (mut got, mut not) = (Vec::new(), Vec::new());
    for result in results {
        match result {
            Ok(lease) => got.push(lease),
            Err(error) => not.push(error),
        }
    }
    assert_eq!((got.len(), not.len()), (1, 1), "{got:?} {not:?}");
    let lease = &got[0];
    assert!(lease.fence() > old);
    let next = entry(&deployment, 1, started(0));
    store.append(lease.fence(), &next, &open_state(&deployment)).await.unwrap();
    // The one that came too late names the new holder, not the one that has let go.
    let LeaseError::Held(holding) = &not[0] else { panic!("{not:?}") };
    assert_eq!(holding.fence, lease.fence());
    assert!(clock.within(HEARTBEAT * 2, lease.lost()).await.is_none(), "nobody has passed it over");
}

async fn giving_back_late_takes_nothing_from_the_new_holder<S: Stores>(
    Scene { stores, clock }: Scene<S>,
) {
    let (store, other) = (stores.open().await, stores.open().await);
    let shop = scope("shop");
    let old = store.acquire(&shop, stores.holder(), None).await.unwrap();
    let mut taking = pin!(other.take_over(&shop, stores.holder(), MINUTE));
    assert!(clock.within(Duration::ZERO, &mut taking).await.is_none());
    old.release().await.unwrap();
    let lease = clock.within(HEARTBEAT, taking).await.expect("it is free").unwrap();
    let holding = store.holding(&shop).await.unwrap().unwrap();
    assert_eq!((holding.fence, holding.liveness), (lease.fence(), Liveness::Alive));
    assert!(clock.within(HEARTBEAT * 2, lease.lost()).await.is_none());
}
