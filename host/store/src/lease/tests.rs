use super::*;
use crate::other_process::{Other, child_folder};
use crate::process::{self, ProcessState};
use crate::sample;
use agente_engine::journal::Event;
use agente_engine::names::DeploymentId;
use agente_engine::ports::{AppendError, Holder, Holding, Journal, LeaseError, Leases, Liveness};
use agente_store_contract::HandClock;
use futures_util::poll;
use std::path::Path;
use std::sync::Arc;
use std::task::Poll;

/// What a child does: takes the lease, opens a deployment, and then lives until it is ended.
async fn hold(folder: &Path) {
    let store = sample::store(folder).await;
    let open = sample::open_deployment(&store, "shop").await;
    println!("child: {}", open.fence().0);
    // Ends with the parent, whose end of the pipe closes; until then on each line it tries to write
    // an entry.
    let (say, mut heard) = tokio::sync::mpsc::unbounded_channel();
    std::thread::spawn(move || {
        std::io::stdin().lines().for_each(|line| drop(say.send(line.unwrap())));
    });
    while let Some(by) = heard.recv().await {
        let written =
            open.append(&Event::Resumed { by }, &sample::open_state(&open.deployment)).await;
        println!(
            "child: {}",
            if matches!(written, Err(AppendError::Fenced { .. })) { "fenced" } else { "written" }
        );
    }
}

fn held(result: Result<Box<dyn Lease>, LeaseError>) -> Holding {
    match result {
        Err(LeaseError::Held(holding)) => *holding,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn whoever_wants_a_held_lease_reads_who_has_it_and_what_to_type() {
    let folder = tempfile::tempdir().unwrap();
    let (store, other) = (sample::store(folder.path()).await, sample::store(folder.path()).await);
    let _open = sample::open_deployment(&store, "shop").await;
    let error = other.acquire(&sample::scope("shop"), sample::holder(), None).await.unwrap_err();
    let fault = Fault::from(error);
    let expected = format!(
        "the lease of shop/production is held by `ann@{}`, process {} (`agente-host deploy`) for ",
        sample::holder().host,
        std::process::id()
    );
    assert!(
        fault.message.starts_with(&expected) && fault.message.ends_with("s, deployment `d-1`"),
        "{fault}"
    );
    assert!(fault.kind == FaultKind::LeaseLost && fault.hint.unwrap().contains("--lock-wait"));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_that_race_one_at_a_time_has_it_and_no_fence_comes_twice() {
    if let Some(folder) = child_folder() {
        let store = sample::store(&folder).await;
        println!("child: ready");
        std::io::stdin().read_line(&mut String::new()).unwrap();
        for _ in 0..5 {
            let lease = store
                .acquire(&sample::scope("shop"), sample::holder(), Some(Duration::from_mins(1)))
                .await
                .unwrap();
            // Fails if somebody else is inside too.
            let inside = std::fs::OpenOptions::new()
                .write(true)
                .create_new(true)
                .open(folder.join("inside"));
            assert!(inside.is_ok(), "two at once");
            let fence = lease.fence().0;
            tokio::task::yield_now().await;
            std::fs::remove_file(folder.join("inside")).unwrap();
            lease.release().await.unwrap();
            println!("child: {fence}");
        }
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut others: Vec<_> = (0..4)
        .map(|_| {
            Other::start(
                "lease::tests::of_many_that_race_one_at_a_time_has_it_and_no_fence_comes_twice",
                folder.path(),
            )
        })
        .collect();
    for other in &mut others {
        assert_eq!(other.says(), "ready");
    }
    for other in &mut others {
        other.tell("go");
    }
    let mut fences: Vec<u64> = others
        .iter_mut()
        .flat_map(|other| (0..5).map(|_| other.says().parse().unwrap()).collect::<Vec<u64>>())
        .collect();
    fences.sort_unstable();
    assert_eq!(fences, (1..=20).collect::<Vec<_>>());
    for other in &mut others {
        other.ended_well();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_holder_frees_the_lease_at_once_and_leaves_its_deployment_open() {
    if let Some(folder) = child_folder() {
        return hold(&folder).await;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut other = Other::start(
        "lease::tests::a_killed_holder_frees_the_lease_at_once_and_leaves_its_deployment_open",
        folder.path(),
    );
    assert_eq!(other.says(), "1");
    let (store, scope) = (sample::store(folder.path()).await, sample::scope("shop"));
    let holding = held(store.acquire(&scope, sample::holder(), None).await);
    assert_eq!(
        (holding.holder.pid, holding.liveness, process::state_of(&holding.holder)),
        (other.pid(), Liveness::Alive, ProcessState::Running)
    );

    other.kill();
    let dead = store.holding(&scope).await.unwrap().unwrap();
    assert_eq!((dead.liveness, dead.deployment.unwrap().0.as_str()), (Liveness::Gone, "d-1"));
    // Its heartbeat is fresh, but it is dead: whoever doesn't want to wait gets the lease.
    let lease = store.acquire(&scope, sample::holder(), None).await.unwrap();
    assert_eq!(lease.fence(), Fence(2));
    assert_eq!(store.open_deployment(&scope).await.unwrap().unwrap().0, "d-1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_living_holder_that_does_not_let_go_is_fenced_and_named() {
    if let Some(folder) = child_folder() {
        return hold(&folder).await;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut other = Other::start(
        "lease::tests::a_living_holder_that_does_not_let_go_is_fenced_and_named",
        folder.path(),
    );
    assert_eq!(other.says(), "1");
    let (store, scope) = (sample::store(folder.path()).await, sample::scope("shop"));
    let error =
        store.take_over(&scope, sample::holder(), Duration::from_millis(50)).await.unwrap_err();
    let LeaseError::StillRuns { holding, .. } = error else { panic!("{error:?}") };
    assert_eq!(holding.holder.pid, other.pid(), "its name stays while it holds the lock");
    other.tell("zombie");
    assert_eq!(other.says(), "fenced");

    let waiting = tokio::spawn({
        let (store, scope) = (store.clone(), scope.clone());
        async move { store.take_over(&scope, sample::holder(), Duration::from_mins(1)).await }
    });
    other.kill();
    let lease = waiting.await.unwrap().unwrap();
    assert!(lease.fence() > Fence(2));
    assert_eq!(store.entries(&DeploymentId("d-1".into())).await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_holder_keeps_the_lease_until_it_is_taken_over_which_kills_it() {
    if let Some(folder) = child_folder() {
        return hold(&folder).await;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut other = Other::start(
        "lease::tests::a_stopped_holder_keeps_the_lease_until_it_is_taken_over_which_kills_it",
        folder.path(),
    );
    assert_eq!(other.says(), "1");
    let (store, scope) = (sample::store(folder.path()).await, sample::scope("shop"));
    other.signal(rustix::process::Signal::STOP);
    while store.holding(&scope).await.unwrap().unwrap().liveness != Liveness::Stopped {
        tokio::task::yield_now().await;
    }
    held(store.acquire(&scope, sample::holder(), None).await);
    let lease = store.take_over(&scope, sample::holder(), Duration::from_mins(1)).await.unwrap();
    assert!(lease.fence() > Fence(1));
    assert_eq!(other.heard(), None, "it is dead");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_that_was_stopped_before_it_wrote_its_name_is_known_by_its_lock_and_taken_over() {
    if let Some(folder) = child_folder() {
        let store = sample::store(&folder).await;
        let path = store.lease_lock(&sample::scope("shop"));
        let _held = FileLock::try_take(&path, store.access()).unwrap().unwrap();
        println!("child: locked");
        std::io::stdin().read_line(&mut String::new()).unwrap();
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (store, scope) = (sample::store(folder.path()).await, sample::scope("shop"));
    store.acquire(&scope, sample::holder(), None).await.unwrap().release().await.unwrap();
    let mut other = Other::start(
        "lease::tests::an_owner_that_was_stopped_before_it_wrote_its_name_is_known_by_its_lock_and_taken_over",
        folder.path(),
    );
    assert_eq!(other.says(), "locked");
    let holding = held(store.acquire(&scope, sample::holder(), None).await);
    assert_eq!((holding.holder.pid, holding.liveness), (other.pid(), Liveness::Alive));
    other.signal(rustix::process::Signal::STOP);
    while store.holding(&scope).await.unwrap().unwrap().liveness != Liveness::Stopped {
        tokio::task::yield_now().await;
    }
    store.take_over(&scope, sample::holder(), Duration::from_mins(1)).await.unwrap();
    assert_eq!(other.heard(), None, "it is dead");
}

#[tokio::test]
async fn a_holder_without_a_sign_of_life_is_silent_and_keeps_the_lease() {
    let folder = tempfile::tempdir().unwrap();
    let (store, other) = (sample::store(folder.path()).await, sample::store(folder.path()).await);
    let scope = sample::scope("shop");
    let _lease = store.acquire(&scope, sample::holder(), None).await.unwrap();
    sqlx::query("UPDATE lease SET heartbeat = heartbeat - 3600000")
        .execute(store.database.writer())
        .await
        .unwrap();
    let holding = held(other.acquire(&scope, sample::holder(), None).await);
    assert_eq!(holding.liveness, Liveness::Silent, "a live lock wins over an old heartbeat");
}

#[tokio::test]
async fn a_holder_of_another_machine_is_believed_for_as_long_as_its_heartbeat_is_fresh() {
    let folder = tempfile::tempdir().unwrap();
    let store = sample::store(folder.path()).await;
    let scope = sample::scope("shop");
    let elsewhere = Holder { boot: "another".into(), host: "another".into(), ..sample::holder() };
    store.acquire(&scope, elsewhere, None).await.unwrap().release().await.unwrap();
    // Its lock can't be seen from here.
    sqlx::query("UPDATE lease SET released = NULL").execute(store.database.writer()).await.unwrap();
    assert_eq!(held(store.acquire(&scope, sample::holder(), None).await).holder.host, "another");
    for shift in ["heartbeat - 60000", "heartbeat + 3600000"] {
        let mut query = sqlx::QueryBuilder::<sqlx::Sqlite>::new("UPDATE lease SET heartbeat = ");
        query.push(shift).build().execute(store.database.writer()).await.unwrap();
        assert_eq!(
            store.holding(&scope).await.unwrap().unwrap().liveness,
            Liveness::Gone,
            "{shift}"
        );
    }
    assert_eq!(store.acquire(&scope, sample::holder(), None).await.unwrap().fence(), Fence(2));
}

#[tokio::test]
async fn a_lock_without_a_name_is_reported_as_such() {
    let folder = tempfile::tempdir().unwrap();
    let store = sample::store(folder.path()).await;
    let scope = sample::scope("shop");
    let _stranger = FileLock::try_take(&store.lease_lock(&scope), store.access()).unwrap().unwrap();
    let error = store.acquire(&scope, sample::holder(), None).await.unwrap_err();
    assert!(Fault::from(error).hint.unwrap().contains("fuser"));
}

#[tokio::test]
async fn looking_at_a_lease_never_makes_a_taker_fail() {
    let folder = tempfile::tempdir().unwrap();
    let (store, viewer) = (sample::store(folder.path()).await, sample::store(folder.path()).await);
    let scope = sample::scope("shop");
    let path = viewer.lease_lock(&scope);
    let done = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let looking = std::thread::spawn({
        let (path, done) = (path.clone(), done.clone());
        move || {
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                FileLock::is_held(&path).unwrap();
            }
        }
    });
    for _ in 0..20 {
        store.acquire(&scope, sample::holder(), None).await.unwrap().release().await.unwrap();
    }
    done.store(true, std::sync::atomic::Ordering::Relaxed);
    looking.join().unwrap();
    assert!(!FileLock::is_held(&path).unwrap(), "a look leaves no lock behind");
}

#[tokio::test]
async fn an_owner_whose_look_hangs_believes_no_longer_than_one_whose_look_fails() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(HandClock::default());
    let directory = sample::directory(folder.path());
    let store = EmbeddedStore::open_with_clock(directory, clock.clone()).await.unwrap();
    let lease = store.acquire(&sample::scope("shop"), sample::holder(), None).await.unwrap();
    let mut lost = pin!(lease.lost());
    assert_eq!(clock.within(Duration::ZERO, &mut lost).await, None);
    let busy = store.database.take_all_readers().await;
    let passes =
        [HEARTBEAT, HEARTBEAT, BELIEF.saturating_sub(HEARTBEAT * 2 + Duration::from_millis(1))];
    for time in passes {
        clock.advance(time);
        assert!(poll!(&mut lost).is_pending(), "it was told a moment ago");
    }
    clock.advance(Duration::from_millis(1));
    let Poll::Ready(fault) = poll!(&mut lost) else { panic!("it believes on") };
    assert_eq!(fault.kind, FaultKind::LeaseLost);
    assert!(fault.message.contains("for 10 s it has been unknown"), "{fault}");
    drop(busy);
}

#[tokio::test]
async fn an_owner_that_comes_late_gets_one_look_however_old_what_it_knows() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(HandClock::default());
    let directory = sample::directory(folder.path());
    let store = EmbeddedStore::open_with_clock(directory, clock.clone()).await.unwrap();
    let lease = store.acquire(&sample::scope("shop"), sample::holder(), None).await.unwrap();
    clock.advance(BELIEF * 100);
    let busy = store.database.take_all_readers().await;
    let mut lost = pin!(lease.lost());
    assert!(poll!(&mut lost).is_pending(), "it did not look");
    drop(busy);
    assert_eq!(clock.within(BELIEF * 2, &mut lost).await, None, "nobody has passed it over");

    clock.advance(BELIEF * 100);
    let busy = store.database.take_all_readers().await;
    assert!(poll!(&mut lost).is_pending(), "it did not look");
    clock.advance(LATE_LOOK);
    assert!(poll!(&mut lost).is_ready(), "it waits for a look that hangs");
    drop(busy);
}

#[tokio::test]
async fn a_slow_taker_passes_over_the_holder_that_it_saw_and_not_the_one_that_was_quicker() {
    let folder = tempfile::tempdir().unwrap();
    let (store, slow) = (sample::store(folder.path()).await, sample::store(folder.path()).await);
    let scope = sample::scope("shop");
    let seen = store.acquire(&scope, sample::holder(), None).await.unwrap().fence();
    let quick = store.take_over(&scope, sample::holder(), Duration::ZERO).await.unwrap();
    slow.revoke(&scope, Some(seen)).await.unwrap();
    assert_eq!(store.holding(&scope).await.unwrap().unwrap().fence, quick.fence());
    slow.revoke(&scope, Some(quick.fence())).await.unwrap();
    assert!(store.holding(&scope).await.unwrap().unwrap().fence > quick.fence());
}
