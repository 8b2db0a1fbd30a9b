//! The promises of `Lease::lost`: when an owner hears that it is one no more, and when not.

use crate::sample::scope;
use crate::stores::{Scene, Stores};
use agente_engine::fault::{Fault, FaultKind};
use agente_engine::ports::{BELIEF, Clock, HEARTBEAT, Lease, Leases};
use futures_util::future::join_all;
use std::pin::pin;
use std::time::Duration;

crate::promises!("lease":
    while_it_is_held_nobody_hears_otherwise_however_long,
    the_owner_hears_within_a_heartbeat_that_it_was_passed_over,
    all_who_ask_hear_it_and_hear_it_again,
    an_owner_that_comes_late_hears_at_its_first_look,
    an_owner_that_comes_late_and_was_not_passed_over_goes_on,
    no_setting_of_the_wall_clock_loses_a_lease_or_hides_its_loss,
    a_store_that_can_not_be_used_for_a_while_loses_no_lease,
    an_owner_stops_believing_when_it_can_not_tell_for_too_long,
    an_owner_that_comes_late_and_can_not_tell_stops_at_once,
);

/// A long time, in which an owner must look many times.
const LONG: Duration = Duration::from_mins(2);
const DAY: i64 = 24 * 60 * 60;

/// Whether an owner hears of its loss before so much time has passed.
async fn heard<S>(scene: &Scene<S>, lease: &dyn Lease, within: Duration) -> Option<Fault> {
    scene.clock.within(within, lease.lost()).await
}

/// Passes an owner over. The new one waits, and gets nothing, because this drops it.
async fn pass_over<S: Stores>(scene: &Scene<S>) {
    let other = scene.stores.open().await;
    let shop = scope("shop");
    let taking = other.take_over(&shop, scene.stores.holder(), Duration::from_mins(1));
    assert!(scene.clock.within(Duration::ZERO, taking).await.is_none());
}

async fn owner<S: Stores>(scene: &Scene<S>) -> Box<dyn Lease> {
    let store = scene.stores.open().await;
    store.acquire(&scope("shop"), scene.stores.holder(), None).await.unwrap()
}

async fn while_it_is_held_nobody_hears_otherwise_however_long<S: Stores>(scene: Scene<S>) {
    let lease = owner(&scene).await;
    assert_eq!(heard(&scene, &*lease, LONG).await, None);
    // Others who look, wait and give up don't matter.
    let other = scene.stores.open().await;
    let shop = scope("shop");
    let waiting = other.acquire(&shop, scene.stores.holder(), Some(HEARTBEAT));
    assert!(scene.clock.within(LONG, waiting).await.unwrap().is_err());
    other.holding(&shop).await.unwrap();
    assert_eq!(heard(&scene, &*lease, LONG).await, None);
}

async fn the_owner_hears_within_a_heartbeat_that_it_was_passed_over<S: Stores>(scene: Scene<S>) {
    // At any moment between two looks.
    for moment in [0, 1, 500, 1_000, 1_999, 2_000, 2_001] {
        let lease = owner(&scene).await;
        let mut lost = pin!(lease.lost());
        let moment = Duration::from_millis(moment);
        assert_eq!(scene.clock.within(moment, &mut lost).await, None);
        pass_over(&scene).await;
        let heard = scene.clock.within(HEARTBEAT, &mut lost).await;
        assert_eq!(heard.expect("it does not hear of it").kind, FaultKind::LeaseLost);
    }
}

async fn all_who_ask_hear_it_and_hear_it_again<S: Stores>(scene: Scene<S>) {
    let lease = owner(&scene).await;
    let mut all = pin!(join_all((0..3).map(|_| lease.lost())));
    assert_eq!(scene.clock.within(HEARTBEAT * 3, &mut all).await, None);
    // One that asked and looked away.
    assert_eq!(heard(&scene, &*lease, HEARTBEAT / 2).await, None);
    pass_over(&scene).await;
    let heard_by_all = scene.clock.within(HEARTBEAT, &mut all).await.expect("one does not hear");
    assert_eq!(heard_by_all.len(), 3);
    for fault in heard_by_all {
        assert_eq!(heard(&scene, &*lease, Duration::ZERO).await, Some(fault));
    }
}

async fn an_owner_that_comes_late_hears_at_its_first_look<S: Stores>(scene: Scene<S>) {
    let lease = owner(&scene).await;
    let mut lost = pin!(lease.lost());
    assert_eq!(scene.clock.within(HEARTBEAT * 3, &mut lost).await, None);
    // Its machine is busy: nobody polls it for long, and meanwhile it is passed over.
    scene.clock.advance(LONG);
    pass_over(&scene).await;
    scene.clock.advance(LONG);
    // No time passes before it has heard.
    let heard = scene.clock.within(Duration::ZERO, lost).await;
    assert_eq!(heard.expect("it does not hear of it").kind, FaultKind::LeaseLost);
}

async fn an_owner_that_comes_late_and_was_not_passed_over_goes_on<S: Stores>(scene: Scene<S>) {
    let lease = owner(&scene).await;
    let mut lost = pin!(lease.lost());
    for _ in 0..5 {
        scene.clock.advance(LONG);
        assert_eq!(scene.clock.within(HEARTBEAT * 3, &mut lost).await, None);
    }
}

async fn no_setting_of_the_wall_clock_loses_a_lease_or_hides_its_loss<S: Stores>(scene: Scene<S>) {
    for by in [DAY, -DAY, -DAY, DAY, 20, -20] {
        let lease = owner(&scene).await;
        let mut lost = pin!(lease.lost());
        assert_eq!(scene.clock.within(HEARTBEAT / 2, &mut lost).await, None);
        scene.clock.set_wall(by);
        assert_eq!(scene.clock.within(HEARTBEAT * 3, &mut lost).await, None, "set by {by} s");
        pass_over(&scene).await;
        scene.clock.set_wall(-by);
        let heard = scene.clock.within(HEARTBEAT, &mut lost).await;
        assert_eq!(heard.expect("it does not hear of it").kind, FaultKind::LeaseLost);
    }
}

async fn a_store_that_can_not_be_used_for_a_while_loses_no_lease<S: Stores>(scene: Scene<S>) {
    let lease = owner(&scene).await;
    let mut lost = pin!(lease.lost());
    // Longer than it believes, all in all; each time it has been told in between.
    for _ in 0..4 {
        scene.stores.cut().await;
        assert_eq!(scene.clock.within(BELIEF - HEARTBEAT * 3, &mut lost).await, None);
        scene.stores.mend().await;
        assert_eq!(scene.clock.within(HEARTBEAT + HEARTBEAT / 2, &mut lost).await, None);
    }
    pass_over(&scene).await;
    assert!(scene.clock.within(HEARTBEAT, &mut lost).await.is_some(), "it does not hear of it");
}

async fn an_owner_stops_believing_when_it_can_not_tell_for_too_long<S: Stores>(scene: Scene<S>) {
    let lease = owner(&scene).await;
    let mut lost = pin!(lease.lost());
    assert_eq!(scene.clock.within(Duration::ZERO, &mut lost).await, None);
    // It was told right now.
    let told = scene.clock.elapsed();
    scene.stores.cut().await;
    let fault = scene.clock.within(BELIEF, &mut lost).await.expect("it believes on");
    assert_eq!(fault.kind, FaultKind::LeaseLost);
    assert!(fault.message.contains("has been unknown"), "{fault}");
    assert_eq!(scene.clock.elapsed(), told + BELIEF, "it was told a moment ago");
    scene.stores.mend().await;
}

async fn an_owner_that_comes_late_and_can_not_tell_stops_at_once<S: Stores>(scene: Scene<S>) {
    let lease = owner(&scene).await;
    scene.stores.cut().await;
    scene.clock.advance(LONG);
    let heard = heard(&scene, &*lease, Duration::ZERO).await;
    assert_eq!(heard.expect("it believes on").kind, FaultKind::LeaseLost);
    scene.stores.mend().await;
}
