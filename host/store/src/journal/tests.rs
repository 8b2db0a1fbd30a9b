use crate::other_process::{Other, child_folder};
use crate::sample;
use crate::store::EmbeddedStore;
use agente_engine::deployment::DeploymentKind;
use agente_engine::fault::{Fault, FaultKind};
use agente_engine::journal::{ChainState, Decision, DecisionKind, Entry, Event, Outcome};
use agente_engine::names::{DeploymentId, ReleaseNumber, Timestamp};
use agente_engine::ports::{AppendError, Fence, History, Journal, Leases, Releases, Store as _};
use agente_engine::state::ServiceState;
use agente_engine::step::{StepEvent, StepOutput};
use std::time::Duration;

fn started(step: usize) -> Event {
    Event::Step { step, event: StepEvent::Started }
}

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

fn fault_of(result: Result<(), AppendError>) -> Fault {
    match result {
        Err(AppendError::Unavailable(fault)) => fault,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn every_event_is_read_back_as_it_was_written_after_reopening() {
    let folder = tempfile::tempdir().unwrap();
    let store = sample::store(folder.path()).await;
    let open = sample::open_deployment(&store, "shop").await;
    let scope = sample::scope("shop");
    let state = sample::open_state(&open.deployment);
    let mut events = vec![Event::Opened { plan: Box::new(sample::plan("d-1", &scope, 1)) }];
    for event in middle_events() {
        open.append(&event, &state).await.unwrap();
        events.push(event);
    }
    assert_eq!(store.open_deployment(&scope).await.unwrap(), Some(open.deployment.clone()));
    assert_eq!(store.state(&scope).await.unwrap(), state);
    let last = Event::Closed { outcome: sample::promoted() };
    open.append(&last, &sample::closed_state()).await.unwrap();
    events.push(last);
    let id = store.id().to_owned();
    open.lease.release().await.unwrap();
    store.close().await;

    let store = sample::store(folder.path()).await;
    assert_eq!(store.id(), id, "the id stays with the store");
    let entries = store.entries(&open.deployment).await.unwrap();
    assert_eq!(
        entries.iter().map(|entry| entry.sequence).collect::<Vec<_>>(),
        (0..events.len() as u64).collect::<Vec<_>>()
    );
    assert!(
        entries.is_sorted_by_key(|entry| entry.at) && entries[0].at > Timestamp(1_700_000_000_000)
    );
    assert_eq!(entries.iter().map(|entry| entry.event.clone()).collect::<Vec<_>>(), events);
    assert_eq!(store.entries_after(&open.deployment, Some(9)).await.unwrap(), entries[10..]);
    assert_eq!(store.entries_after(&open.deployment, Some(11)).await.unwrap(), []);
    assert_eq!(store.open_deployment(&scope).await.unwrap(), None);
    assert_eq!(store.state(&scope).await.unwrap(), sample::closed_state());
    assert_eq!(store.scopes().await.unwrap(), [scope]);
    assert_eq!(store.state(&sample::scope("other")).await.unwrap(), ServiceState::default());
}

#[tokio::test]
async fn history_has_a_row_per_deployment_newest_first() {
    let folder = tempfile::tempdir().unwrap();
    let store = sample::store(folder.path()).await;
    let open = sample::open_deployment(&store, "shop").await;
    let second = open.next("d-0-sorts-before-the-first", 2).await;
    store
        .create_release(&sample::scope("other"), sample::file_artifact('b'), sample::runtime())
        .await
        .unwrap();

    let scope = sample::scope("shop");
    let rows = store.history(&scope, 10).await.unwrap();
    assert_eq!(
        rows.iter().map(|row| row.id.clone()).collect::<Vec<_>>(),
        [second.clone(), open.deployment.clone()]
    );
    assert_eq!(
        (rows[0].closed, &rows[0].outcome, rows[0].release),
        (None, &None, ReleaseNumber(2))
    );
    assert_eq!(
        (rows[1].kind, rows[1].by.as_str(), rows[1].artifact.as_str()),
        (DeploymentKind::Rollback { fast: true }, "ann@desk", "shop (aaaaaaaaaaaa)")
    );
    assert_eq!(rows[1].outcome, Some(sample::promoted()));
    assert!(rows[1].closed >= Some(rows[1].opened));
    assert_eq!(store.history(&scope, 1).await.unwrap(), rows[..1]);
    assert_eq!(store.deployment(&second).await.unwrap().as_ref(), Some(&rows[0]));
    assert_eq!(store.deployment(&DeploymentId("d-none".into())).await.unwrap(), None);
}

#[tokio::test]
async fn a_stale_fence_is_refused_and_nothing_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let store = sample::store(folder.path()).await;
    let open = sample::open_deployment(&store, "shop").await;
    let (stale, scope) = (open.fence(), sample::scope("shop"));
    let (deployment, before) = (open.deployment.clone(), sample::open_state(&open.deployment));
    open.lease.release().await.unwrap();
    let next = store.acquire(&scope, sample::holder(), None).await.unwrap();
    assert_eq!(next.fence(), Fence(stale.0 + 1));

    let entry = sample::entry(&deployment, 1, started(0));
    let refused = store.append(stale, &entry, &ServiceState::default()).await;
    assert_eq!(refused, Err(AppendError::Fenced { scope: scope.clone(), fence: stale }));
    let refused = store.append(Fence(99), &entry, &ServiceState::default()).await;
    assert_eq!(refused, Err(AppendError::Fenced { scope: scope.clone(), fence: Fence(99) }));
    assert_eq!(store.entries(&deployment).await.unwrap().len(), 1);
    assert_eq!(store.state(&scope).await.unwrap(), before);
    store.append(next.fence(), &entry, &before).await.unwrap();
}

#[tokio::test]
async fn a_scope_that_nobody_ever_leased_takes_no_entry() {
    let folder = tempfile::tempdir().unwrap();
    let store = sample::store(folder.path()).await;
    let scope = sample::scope("shop");
    let opened = sample::opened("d-1", &scope, 1);
    let refused = store.append(Fence(0), &opened, &ServiceState::default()).await;
    assert_eq!(refused, Err(AppendError::Fenced { scope, fence: Fence(0) }));
    assert_eq!(store.deployment(&opened.deployment).await.unwrap(), None);
}

#[tokio::test]
async fn the_same_entry_again_adds_nothing_and_another_in_its_place_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let store = sample::store(folder.path()).await;
    let open = sample::open_deployment(&store, "shop").await;
    let (id, fence) = (&open.deployment, open.fence());
    let state = sample::open_state(id);
    let first = sample::entry(id, 1, started(0));
    for _ in 0..3 {
        store.append(fence, &first, &state).await.unwrap();
    }
    let second = sample::entry(id, 2, started(1));
    store.append(fence, &second, &state).await.unwrap();
    store.append(fence, &first, &state).await.unwrap();
    assert_eq!(store.entries(id).await.unwrap()[1..], [first.clone(), second]);

    let out_of_order = |found| Err(AppendError::OutOfOrder { expected: 3, found });
    for other in [
        sample::entry(id, 1, started(3)),
        Entry { at: Timestamp(first.at.0 + 1), ..first.clone() },
        sample::entry(id, 4, started(2)),
    ] {
        assert_eq!(store.append(fence, &other, &state).await, out_of_order(other.sequence));
    }
    let other_state = store.append(fence, &first, &sample::closed_state()).await;
    assert_eq!(other_state, out_of_order(1));
    assert_eq!(store.entries(id).await.unwrap().len(), 3);

    let closed = sample::entry(id, 3, Event::Closed { outcome: sample::promoted() });
    store.append(fence, &closed, &sample::closed_state()).await.unwrap();
    store.append(fence, &closed, &sample::closed_state()).await.unwrap();
    assert_eq!(store.entries(id).await.unwrap().len(), 4);
}

#[tokio::test]
async fn entries_that_do_not_fit_are_refused_and_leave_no_trace() {
    let folder = tempfile::tempdir().unwrap();
    let store = sample::store(folder.path()).await;
    let open = sample::open_deployment(&store, "shop").await;
    let (scope, state) = (sample::scope("shop"), sample::open_state(&open.deployment));
    let other = DeploymentId("d-2".into());
    let refused = async |entry: &Entry| fault_of(store.append(open.fence(), entry, &state).await);

    let never_opened = refused(&sample::entry(&other, 0, started(0))).await;
    assert!(
        never_opened.kind == FaultKind::Internal
            && never_opened.message.contains("`d-2` was never opened"),
        "{never_opened}"
    );
    let another_is_open = refused(&sample::opened("d-2", &scope, 2)).await;
    assert!(
        another_is_open.kind == FaultKind::Conflict
            && another_is_open.message.contains("`d-1` of shop/production is still open"),
        "{another_is_open}"
    );
    let of_another_plan = Entry { deployment: other.clone(), ..sample::opened("d-3", &scope, 2) };
    let wrong_plan = refused(&of_another_plan).await;
    assert!(wrong_plan.message.contains("`d-3`"), "{wrong_plan}");
    assert_eq!(store.deployment(&other).await.unwrap(), None);

    open.append(&started(0), &state).await.unwrap();
    let twice = refused(&Entry { sequence: 2, ..sample::opened("d-1", &scope, 1) }).await;
    assert!(twice.message.contains("was opened before"), "{twice}");
    open.append(
        &Event::Closed { outcome: Outcome::Refused { fault: twice } },
        &ServiceState::default(),
    )
    .await
    .unwrap();
    let ended = fault_of(open.append(&started(1), &state).await);
    assert!(ended.message.contains("has ended"), "{ended}");
    assert_eq!(store.state(&scope).await.unwrap(), ServiceState::default());
    assert_eq!(store.entries(&open.deployment).await.unwrap().len(), 3);
}

/// Counts what one append writes, in one view.
async fn counts(store: &EmbeddedStore) -> (i64, i64, String) {
    let all = "SELECT (SELECT count(*) FROM entry), (SELECT head_position FROM scope), (SELECT \
               state FROM scope)";
    store.database.fetch_optional(sqlx::query_as(all)).await.unwrap().unwrap()
}

#[tokio::test]
async fn an_append_that_fails_half_way_leaves_nothing_of_itself() {
    let folder = tempfile::tempdir().unwrap();
    let store = sample::store(folder.path()).await;
    let open = sample::open_deployment(&store, "shop").await;
    let before = counts(&store).await;
    // Fails the last statement of the transaction, after the entry and the deployment's row.
    let trip = "CREATE TRIGGER trip BEFORE UPDATE OF state ON scope BEGIN SELECT RAISE(ABORT, \
                'tripped'); END";
    sqlx::query(trip).execute(store.database.writer()).await.unwrap();
    let closed = Event::Closed { outcome: sample::promoted() };
    let fault = fault_of(open.append(&closed, &sample::closed_state()).await);
    assert!(
        fault.kind == FaultKind::JournalUnavailable
            && fault.causes.iter().any(|cause| cause.contains("tripped")),
        "{fault:?}"
    );
    assert_eq!(counts(&store).await, before);
    assert_eq!(
        store.open_deployment(&sample::scope("shop")).await.unwrap(),
        Some(open.deployment.clone())
    );

    sqlx::query("DROP TRIGGER trip").execute(store.database.writer()).await.unwrap();
    open.append(&closed, &sample::closed_state()).await.unwrap();
    assert_eq!(counts(&store).await.0, before.0 + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_beside_a_writer_always_see_whole_appends() {
    let folder = tempfile::tempdir().unwrap();
    let (store, other) = (sample::store(folder.path()).await, sample::store(folder.path()).await);
    let open = sample::open_deployment(&store, "shop").await;
    let (done, mut finished) = tokio::sync::watch::channel(false);
    let readers: Vec<_> = [store.clone(), other.clone(), other]
        .into_iter()
        .map(|store| {
            let finished = done.subscribe();
            tokio::spawn(async move {
                let (mut looks, mut newest) = (0, 0);
                while !*finished.borrow() {
                    let (entries, position, state) = counts(&store).await;
                    assert_eq!(entries, position, "an entry without its end of the chain");
                    let state: ServiceState = serde_json::from_str(&state).unwrap();
                    let since = state.stable.map_or(0, |standing| standing.since.0);
                    assert_eq!(since, position.cast_unsigned() - 1, "an entry without its state");
                    assert!(position >= newest, "time went back");
                    newest = position;
                    looks += 1;
                }
                looks
            })
        })
        .collect();
    for number in 1..=150_u64 {
        let mut state = sample::closed_state();
        state.stable.as_mut().unwrap().since = Timestamp(number);
        open.append(&started(usize::try_from(number).unwrap()), &state).await.unwrap();
    }
    done.send(true).unwrap();
    finished.changed().await.unwrap();
    for reader in readers {
        assert!(reader.await.unwrap() > 10, "the readers had to wait for the writer");
    }
    assert_eq!(counts(&store).await.0, 151);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_append_whose_caller_stops_waiting_is_there_once_when_it_is_asked_for_again() {
    let folder = tempfile::tempdir().unwrap();
    let store = sample::store(folder.path()).await;
    let open = sample::open_deployment(&store, "shop").await;
    let state = sample::open_state(&open.deployment);
    let mut written = Vec::new();
    for number in 1..=60_u64 {
        let step = usize::try_from(number).unwrap();
        let entry = sample::entry(&open.deployment, number, started(step));
        let limit = Duration::from_micros(number * 40);
        let _ = tokio::time::timeout(limit, store.append(open.fence(), &entry, &state)).await;
        store.append(open.fence(), &entry, &state).await.unwrap();
        written.push(entry);
    }
    let entries = store.entries(&open.deployment).await.unwrap();
    assert_eq!(entries[1..], written);
    let (count, position, _) = counts(&store).await;
    assert_eq!((count, position.cast_unsigned()), (position, entries.len() as u64));
    assert!(matches!(
        store.verify_chain(&sample::scope("shop")).await.unwrap(),
        ChainState::Intact { .. }
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_is_killed_while_it_writes_loses_nothing_that_was_acknowledged() {
    if let Some(folder) = child_folder() {
        let store = sample::store(&folder).await;
        let open = sample::open_deployment(&store, "shop").await;
        let state = sample::open_state(&open.deployment);
        for step in 0.. {
            open.append(&started(step), &state).await.unwrap();
            println!("child: {step}");
        }
    }
    // Killed after so many acknowledged entries, somewhere in the next one.
    for acknowledged in [0, 1, 7, 40] {
        let folder = tempfile::tempdir().unwrap();
        let mut other = Other::start(
            "journal::tests::a_host_that_is_killed_while_it_writes_loses_nothing_that_was_acknowledged",
            folder.path(),
        );
        while other.says() != acknowledged.to_string() {}
        other.kill();
        let mut last = acknowledged;
        while let Some(words) = other.heard() {
            last = words.parse().unwrap();
        }
        let (store, scope) = (sample::store(folder.path()).await, sample::scope("shop"));
        let entries = store.entries(&DeploymentId("d-1".into())).await.unwrap();
        // The first entry has the plan; the last may have been written and not acknowledged.
        assert!(
            [last + 2, last + 3].contains(&entries.len()),
            "{last} acknowledged, {} there",
            entries.len()
        );
        assert!(
            matches!(store.verify_chain(&scope).await.unwrap(), ChainState::Intact { entries: n, .. } if n == entries.len() as u64)
        );
        let lease = store.acquire(&scope, sample::holder(), None).await.unwrap();
        let (deployment, state) = (DeploymentId("d-1".into()), store.state(&scope).await.unwrap());
        let event = Event::Resumed { by: "ann".into() };
        sample::append(&store, lease.fence(), &deployment, &event, &state).await.unwrap();
    }
}
