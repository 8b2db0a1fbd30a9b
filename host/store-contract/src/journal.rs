//! The promises of `Journal`.

use crate::sample::{
    self, Opened, closed, closed_state, entry, open_state, opened, scope, started,
};
use crate::stores::{Scene, Stores};
use agente_engine::fault::{Fault, FaultKind};
use agente_engine::journal::{ChainState, Decision, DecisionKind, Entry, Event};
use agente_engine::names::{DeploymentId, Timestamp};
use agente_engine::ports::{AppendError, Fence, History, Journal, Leases};
use agente_engine::state::ServiceState;
use agente_engine::step::{StepEvent, StepOutput};
use futures_util::poll;

crate::promises!("journal":
    every_event_is_read_back_as_it_was_written_by_others_and_after_reopening,
    entries_beyond_a_number_come_in_order_and_there_are_none_of_what_is_not_known,
    a_service_that_was_never_deployed_has_the_state_of_one,
    scopes_do_not_meet,
    only_the_newest_token_writes,
    a_scope_that_nobody_ever_leased_takes_no_entry,
    a_deployment_begins_with_its_own_plan,
    one_deployment_of_a_scope_is_open_at_a_time,
    nothing_follows_the_last_entry,
    a_gap_and_another_entry_in_the_place_of_one_are_out_of_order,
    the_same_call_again_adds_nothing_however_much_was_written_since,
    the_same_call_under_another_token_is_not_the_same,
    of_two_that_come_at_once_in_one_place_one_is_written,
    readers_beside_a_writer_never_see_an_entry_without_its_state,
    a_dropped_call_is_written_whole_or_not_at_all_and_never_later,
);

/// One of each event that can come between the first entry and the last.
fn middle_events() -> Vec<Event> {
    let fault = Fault::new(FaultKind::Unhealthy, "the check `ready` said: „no“\n")
        .hint("look")
        .because(&std::io::Error::other("refused"))
        .retryable();
    let output = StepOutput {
        notes: vec!["two notes".into(), "ünïcode".into()],
        drained: Some(true),
        ..StepOutput::default()
    };
    let step = |event| Event::Step { step: 1, event };
    vec![
        step(StepEvent::Started),
        step(StepEvent::Succeeded { output: output.clone() }),
        step(StepEvent::Refused { fault: fault.clone() }),
        step(StepEvent::Lost { fault: fault.clone() }),
        Event::Decided(Decision {
            id: 7,
            decision: DecisionKind::Abort,
            by: "bob@desk".into(),
            reason: Some("why not".into()),
            at: Timestamp(9),
        }),
        Event::TurnedBack { fault: fault.clone() },
        step(StepEvent::UndoStarted),
        step(StepEvent::UndoFailed { fault }),
        Event::Resumed { by: "ann@desk".into() },
        step(StepEvent::Undone { output }),
    ]
}

fn refusal(result: Result<(), AppendError>) -> Fault {
    match result {
        Err(AppendError::Refused(fault)) => fault,
        other => panic!("{other:?}"),
    }
}

/// A state that says how many entries there are.
fn state_of(open: &DeploymentId, entries: u64) -> ServiceState {
    let mut state = ServiceState { open: Some(open.clone()), ..closed_state() };
    state.stable.as_mut().unwrap().since = Timestamp(entries);
    state
}

async fn every_event_is_read_back_as_it_was_written_by_others_and_after_reopening<S: Stores>(
    Scene { stores, .. }: Scene<S>,
) {
    let (store, other) = (stores.open().await, stores.open().await);
    let shop = scope("shop");
    let open = Opened::first(&store, stores.holder(), "shop").await;
    let mut written = vec![opened("d-1", &shop, 1)];
    let state = open_state(&open.deployment);
    for (event, sequence) in middle_events().into_iter().zip(1..) {
        let entry = entry(&open.deployment, sequence, event);
        store.append(open.fence(), &entry, &state).await.unwrap();
        written.push(entry);
        assert_eq!(other.entries(&open.deployment).await.unwrap(), written);
    }
    assert_eq!(other.open_deployment(&shop).await.unwrap(), Some(open.deployment.clone()));
    assert_eq!(other.state(&shop).await.unwrap(), state);
    let last = entry(&open.deployment, written.len() as u64, closed());
    store.append(open.fence(), &last, &closed_state()).await.unwrap();
    written.push(last);
    stores.end(other, open.lease).await;
    drop((store, open.store));

    let store = stores.open().await;
    assert_eq!(store.entries(&open.deployment).await.unwrap(), written);
    assert_eq!(store.open_deployment(&shop).await.unwrap(), None);
    assert_eq!(store.state(&shop).await.unwrap(), closed_state());
}

async fn entries_beyond_a_number_come_in_order_and_there_are_none_of_what_is_not_known<
    S: Stores,
>(
    Scene { stores, .. }: Scene<S>,
) {
    let store = stores.open().await;
    let open = Opened::first(&store, stores.holder(), "shop").await;
    for step in 0..5 {
        open.append(started(step), &open_state(&open.deployment)).await.unwrap();
    }
    let all = store.entries(&open.deployment).await.unwrap();
    assert_eq!(all.iter().map(|entry| entry.sequence).collect::<Vec<_>>(), [0, 1, 2, 3, 4, 5]);
    assert_eq!(store.entries_after(&open.deployment, None).await.unwrap(), all);
    for (sequence, index) in (0_u64..6).zip(1..) {
        let beyond = store.entries_after(&open.deployment, Some(sequence)).await.unwrap();
        assert_eq!(beyond, all[index..]);
    }
    assert_eq!(store.entries_after(&open.deployment, Some(99)).await.unwrap(), []);
    assert_eq!(store.entries(&DeploymentId("d-none".into())).await.unwrap(), []);
}

async fn a_service_that_was_never_deployed_has_the_state_of_one<S: Stores>(
    Scene { stores, .. }: Scene<S>,
) {
    let store = stores.open().await;
    let shop = scope("shop");
    assert_eq!(store.state(&shop).await.unwrap(), ServiceState::default());
    assert_eq!(store.open_deployment(&shop).await.unwrap(), None);
    let _lease = store.acquire(&shop, stores.holder(), None).await.unwrap();
    assert_eq!(store.state(&shop).await.unwrap(), ServiceState::default(), "leased, not deployed");
}

async fn scopes_do_not_meet<S: Stores>(Scene { stores, .. }: Scene<S>) {
    let store = stores.open().await;
    let shop = Opened::first(&store, stores.holder(), "shop").await;
    let cart = store.acquire(&scope("cart"), stores.holder(), None).await.unwrap();
    assert_eq!(cart.fence(), Fence(1), "each scope counts for itself");
    let opened = opened("d-2", &scope("cart"), 1);
    store.append(cart.fence(), &opened, &open_state(&opened.deployment)).await.unwrap();
    let open = async |service| store.open_deployment(&scope(service)).await.unwrap();
    assert_eq!(open("shop").await, Some(shop.deployment.clone()));
    assert_eq!(open("cart").await, Some(opened.deployment));
    shop.append(closed(), &closed_state()).await.unwrap();
    assert_eq!((open("shop").await, open("cart").await.is_some()), (None, true));
    assert_eq!(store.state(&scope("mail")).await.unwrap(), ServiceState::default());
}

async fn only_the_newest_token_writes<S: Stores>(Scene { stores, .. }: Scene<S>) {
    let store = stores.open().await;
    let open = Opened::first(&store, stores.holder(), "shop").await;
    let (stale, shop, deployment) = (open.fence(), scope("shop"), open.deployment);
    let before = open_state(&deployment);
    open.lease.release().await.unwrap();
    let next = store.acquire(&shop, stores.holder(), None).await.unwrap();

    let entry = entry(&deployment, 1, started(0));
    for fence in [stale, Fence(0), Fence(99)] {
        let refused = store.append(fence, &entry, &ServiceState::default()).await;
        assert_eq!(refused, Err(AppendError::Fenced { scope: shop.clone(), fence }));
    }
    // Not even what is there already: whoever was passed over must hear of it.
    let again = store.append(stale, &opened("d-1", &shop, 1), &before).await;
    assert_eq!(again, Err(AppendError::Fenced { scope: shop.clone(), fence: stale }));
    assert_eq!(store.entries(&deployment).await.unwrap().len(), 1);
    assert_eq!(store.state(&shop).await.unwrap(), before);
    store.append(next.fence(), &entry, &before).await.unwrap();
}

async fn a_scope_that_nobody_ever_leased_takes_no_entry<S: Stores>(Scene { stores, .. }: Scene<S>) {
    let store = stores.open().await;
    let shop = scope("shop");
    let opened = opened("d-1", &shop, 1);
    for fence in [Fence(0), Fence(1)] {
        let refused = store.append(fence, &opened, &open_state(&opened.deployment)).await;
        assert_eq!(refused, Err(AppendError::Fenced { scope: shop.clone(), fence }));
    }
    assert_eq!(store.entries(&opened.deployment).await.unwrap(), []);
    assert_eq!(store.state(&shop).await.unwrap(), ServiceState::default());
}

async fn a_deployment_begins_with_its_own_plan<S: Stores>(Scene { stores, .. }: Scene<S>) {
    let store = stores.open().await;
    let lease = store.acquire(&scope("shop"), stores.holder(), None).await.unwrap();
    let id = DeploymentId("d-1".into());
    let state = open_state(&id);
    let append = async |entry: &Entry| store.append(lease.fence(), entry, &state).await;

    let no_plan = refusal(append(&entry(&id, 0, started(0))).await);
    assert!(
        no_plan.kind == FaultKind::Internal && no_plan.message.contains("`d-1` was never opened"),
        "{no_plan}"
    );
    let too_far = append(&entry(&id, 3, started(0))).await;
    assert_eq!(too_far, Err(AppendError::OutOfOrder { expected: 0, found: 3 }));
    let late = Entry { sequence: 1, ..opened("d-1", &scope("shop"), 1) };
    assert_eq!(append(&late).await, Err(AppendError::OutOfOrder { expected: 0, found: 1 }));
    let of_another = Entry { deployment: id.clone(), ..opened("d-3", &scope("shop"), 2) };
    let of_another = refusal(append(&of_another).await);
    assert!(of_another.message.contains("`d-3`"), "{of_another}");
    assert_eq!(store.entries(&id).await.unwrap(), []);
    assert_eq!(store.state(&scope("shop")).await.unwrap(), ServiceState::default());

    append(&opened("d-1", &scope("shop"), 1)).await.unwrap();
    let twice = refusal(append(&Entry { sequence: 1, ..opened("d-1", &scope("shop"), 1) }).await);
    assert!(twice.message.contains("was already opened"), "{twice}");
}

async fn one_deployment_of_a_scope_is_open_at_a_time<S: Stores>(Scene { stores, .. }: Scene<S>) {
    let store = stores.open().await;
    let open = Opened::first(&store, stores.holder(), "shop").await;
    let second = opened("d-2", &scope("shop"), 2);
    let state = open_state(&second.deployment);
    let refused = refusal(store.append(open.fence(), &second, &state).await);
    assert!(
        refused.kind == FaultKind::Conflict
            && refused.message.contains("`d-1` of shop/production is still open"),
        "{refused}"
    );
    assert_eq!(store.entries(&second.deployment).await.unwrap(), []);
    assert_eq!(store.state(&scope("shop")).await.unwrap(), open_state(&open.deployment));
    assert_eq!(open.next("d-2", 2).await, second.deployment);
    assert_eq!(store.open_deployment(&scope("shop")).await.unwrap(), Some(second.deployment));
}

async fn nothing_follows_the_last_entry<S: Stores>(Scene { stores, .. }: Scene<S>) {
    let store = stores.open().await;
    let open = Opened::first(&store, stores.holder(), "shop").await;
    open.append(closed(), &closed_state()).await.unwrap();
    for event in [started(1), closed(), Event::Resumed { by: "ann".into() }] {
        let ended = refusal(open.append(event, &open_state(&open.deployment)).await);
        assert!(ended.message.contains("has ended"), "{ended}");
    }
    assert_eq!(store.entries(&open.deployment).await.unwrap().len(), 2);
    assert_eq!(store.state(&scope("shop")).await.unwrap(), closed_state());
}

async fn a_gap_and_another_entry_in_the_place_of_one_are_out_of_order<S: Stores>(
    Scene { stores, .. }: Scene<S>,
) {
    let store = stores.open().await;
    let open = Opened::first(&store, stores.holder(), "shop").await;
    let (id, state) = (&open.deployment, open_state(&open.deployment));
    let first = entry(id, 1, started(0));
    store.append(open.fence(), &first, &state).await.unwrap();
    for other in [
        entry(id, 1, started(3)),
        Entry { at: Timestamp(first.at.0 + 1), ..first.clone() },
        entry(id, 0, started(0)),
        entry(id, 3, started(2)),
        entry(id, u64::from(u32::MAX), started(2)),
    ] {
        let refused = store.append(open.fence(), &other, &closed_state()).await;
        let found = other.sequence;
        assert_eq!(refused, Err(AppendError::OutOfOrder { expected: 2, found }));
    }
    let other_state = store.append(open.fence(), &first, &closed_state()).await;
    assert_eq!(other_state, Err(AppendError::OutOfOrder { expected: 2, found: 1 }));
    assert_eq!(store.entries(id).await.unwrap(), [opened("d-1", &scope("shop"), 1), first]);
    assert_eq!(store.state(&scope("shop")).await.unwrap(), state);
}

async fn the_same_call_again_adds_nothing_however_much_was_written_since<S: Stores>(
    Scene { stores, .. }: Scene<S>,
) {
    let store = stores.open().await;
    let open = Opened::first(&store, stores.holder(), "shop").await;
    let id = &open.deployment;
    let mut calls = vec![(opened("d-1", &scope("shop"), 1), open_state(id))];
    for number in 1..4 {
        calls.push((entry(id, number, started(0)), state_of(id, number)));
    }
    calls.push((entry(id, 4, closed()), closed_state()));
    for end in 1..=calls.len() {
        for (entry, state) in &calls[..end] {
            store.append(open.fence(), entry, state).await.unwrap();
        }
        let written: Vec<_> = calls[..end].iter().map(|(entry, _)| entry.clone()).collect();
        assert_eq!(store.entries(id).await.unwrap(), written);
        assert_eq!(store.state(&scope("shop")).await.unwrap(), calls[end - 1].1);
    }
    // The old ones are known, too, once another deployment is open.
    let next = opened("d-2", &scope("shop"), 2);
    store.append(open.fence(), &next, &open_state(&next.deployment)).await.unwrap();
    for (entry, state) in &calls {
        store.append(open.fence(), entry, state).await.unwrap();
    }
    assert_eq!(store.open_deployment(&scope("shop")).await.unwrap(), Some(next.deployment));
}

async fn the_same_call_under_another_token_is_not_the_same<S: Stores>(
    Scene { stores, .. }: Scene<S>,
) {
    let store = stores.open().await;
    let open = Opened::first(&store, stores.holder(), "shop").await;
    let state = open_state(&open.deployment);
    let first = entry(&open.deployment, 1, started(0));
    store.append(open.fence(), &first, &state).await.unwrap();
    open.lease.release().await.unwrap();
    let next = store.acquire(&scope("shop"), stores.holder(), None).await.unwrap();
    // Whoever takes a deployment up reads the journal first; this one has not.
    let refused = store.append(next.fence(), &first, &state).await;
    assert_eq!(refused, Err(AppendError::OutOfOrder { expected: 2, found: 1 }));
}

async fn of_two_that_come_at_once_in_one_place_one_is_written<S: Stores>(
    Scene { stores, .. }: Scene<S>,
) {
    let (store, other) = (stores.open().await, stores.open().await);
    let open = Opened::first(&store, stores.holder(), "shop").await;
    let (id, fence) = (&open.deployment, open.fence());
    for sequence in 1..20 {
        let [one, two] = [0, 1].map(|step| entry(id, sequence, started(step)));
        let state = state_of(id, sequence);
        let results = tokio::join!(
            store.append(fence, &one, &state),
            other.append(fence, &two, &state),
            other.append(fence, &one, &state),
            store.append(fence, &two, &state),
        );
        let out_of_order = Err(AppendError::OutOfOrder { expected: sequence + 1, found: sequence });
        let (written, first) = match results.0 {
            Ok(()) => (one, (Ok(()), out_of_order)),
            _ => (two, (out_of_order, Ok(()))),
        };
        assert_eq!((&results.0, &results.1), (&first.0, &first.1), "two in one place");
        assert_eq!((&results.2, &results.3), (&first.0, &first.1), "the same call, another answer");
        assert_eq!(store.entries_after(id, Some(sequence - 1)).await.unwrap(), [written]);
    }
}

async fn readers_beside_a_writer_never_see_an_entry_without_its_state<S: Stores>(
    Scene { stores, .. }: Scene<S>,
) {
    let store = stores.open().await;
    let open = Opened::first(&store, stores.holder(), "shop").await;
    let (done, finished) = tokio::sync::watch::channel(false);
    let mut readers = Vec::new();
    for _ in 0..3 {
        let (store, finished) = (stores.open().await, finished.clone());
        let id = open.deployment.clone();
        readers.push(tokio::spawn(async move {
            let since = async || {
                let state = store.state(&scope("shop")).await.unwrap();
                state.stable.map_or(0, |standing| standing.since.0)
            };
            loop {
                let last = *finished.borrow();
                let before = since().await;
                let newest = store.entries(&id).await.unwrap().last().unwrap().sequence;
                let after = since().await;
                assert!(before <= newest, "state {before} and not more than entry {newest}");
                assert!(newest <= after, "entry {newest} and not more than state {after}");
                if last {
                    return newest;
                }
            }
        }));
    }
    for number in 1..=100 {
        let entry = entry(&open.deployment, number, started(0));
        store.append(open.fence(), &entry, &state_of(&open.deployment, number)).await.unwrap();
        let read = store.entries_after(&open.deployment, Some(number - 1)).await.unwrap();
        assert_eq!(read, [entry], "it is there as soon as the call has returned");
    }
    done.send(true).unwrap();
    for reader in readers {
        assert_eq!(reader.await.unwrap(), 100);
    }
}

async fn a_dropped_call_is_written_whole_or_not_at_all_and_never_later<S: Stores>(
    Scene { stores, .. }: Scene<S>,
) {
    let store = stores.open().await;
    let open = Opened::first(&store, stores.holder(), "shop").await;
    let (id, fence) = (&open.deployment, open.fence());
    for number in 1..=60_u64 {
        let (dropped, kept) = (entry(id, number, started(0)), entry(id, number, started(1)));
        let state = state_of(id, number);
        {
            let mut call = store.append(fence, &dropped, &state);
            for _ in 0..number {
                if poll!(&mut call).is_ready() {
                    break;
                }
                tokio::task::yield_now().await;
            }
        }
        // Whichever is there now is what stays there.
        let written = match store.append(fence, &kept, &state).await {
            Ok(()) => kept,
            Err(AppendError::OutOfOrder { expected, found }) if expected == found + 1 => {
                store.append(fence, &dropped, &state).await.unwrap();
                dropped
            }
            other => panic!("{other:?}"),
        };
        assert_eq!(store.entries_after(id, Some(number - 1)).await.unwrap(), [written]);
        assert_eq!(store.state(&scope("shop")).await.unwrap(), state);
    }
    let chain = store.verify_chain(&scope("shop")).await.unwrap();
    assert!(matches!(chain, ChainState::Intact { entries: 61, .. }), "{chain:?}");
    assert_eq!(store.entries(id).await.unwrap().len(), 61);
    sample::append(&store, fence, id, closed(), &closed_state()).await.unwrap();
}
