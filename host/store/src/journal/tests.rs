use crate::other_process::{Other, child_folder};
use crate::sample;
use crate::store::EmbeddedStore;
use agente_engine::fault::{Fault, FaultKind};
use agente_engine::journal::{ChainState, Event};
use agente_engine::names::{DeploymentId, Timestamp};
use agente_engine::ports::{AppendError, History, Journal, Leases};
use agente_engine::state::ServiceState;

fn fault_of(result: Result<(), AppendError>) -> Fault {
    match result {
        Err(AppendError::Unavailable(fault)) => fault,
        other => panic!("{other:?}"),
    }
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
        open.append(&sample::started(usize::try_from(number).unwrap()), &state).await.unwrap();
    }
    done.send(true).unwrap();
    finished.changed().await.unwrap();
    for reader in readers {
        assert!(reader.await.unwrap() > 10, "the readers had to wait for the writer");
    }
    assert_eq!(counts(&store).await.0, 151);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_is_killed_while_it_writes_loses_nothing_that_was_acknowledged() {
    if let Some(folder) = child_folder() {
        let store = sample::store(&folder).await;
        let open = sample::open_deployment(&store, "shop").await;
        let state = sample::open_state(&open.deployment);
        for step in 0.. {
            open.append(&sample::started(step), &state).await.unwrap();
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
        let ChainState::Intact { entries: count, .. } = store.verify_chain(&scope).await.unwrap()
        else {
            panic!("the chain is broken");
        };
        assert_eq!(count, entries.len() as u64);
        let lease = store.acquire(&scope, sample::holder(), None).await.unwrap();
        let (deployment, state) = (DeploymentId("d-1".into()), store.state(&scope).await.unwrap());
        let event = Event::Resumed { by: "ann".into() };
        sample::append(&store, lease.fence(), &deployment, &event, &state).await.unwrap();
    }
}
