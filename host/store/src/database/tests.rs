use super::*;
use crate::other_process::{Other, child_folder};
use crate::sample;
use crate::store::EmbeddedStore;
use agente_engine::journal::Event;
use agente_engine::ports::{AppendError, Journal, Memory, Store as _};
use agente_engine::step::StepEvent;
use sqlx::AssertSqlSafe;
use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

const STARTED: Event = Event::Step { step: 0, event: StepEvent::Started };

async fn set(store: &EmbeddedStore, pragma: &'static str) {
    sqlx::raw_sql(pragma).execute(store.database.writer()).await.unwrap();
}

fn fault_of(result: Result<(), AppendError>) -> Fault {
    match result {
        Err(AppendError::Unavailable(fault)) => fault,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn commits_are_synced_to_a_log_and_foreign_keys_hold() {
    let folder = tempfile::tempdir().unwrap();
    let store = sample::store(folder.path()).await;
    let ask = |question: &'static str| {
        let store = store.clone();
        async move {
            sqlx::query_scalar::<_, String>(question)
                .fetch_one(store.database.writer())
                .await
                .unwrap()
        }
    };
    assert_eq!(ask("SELECT journal_mode FROM pragma_journal_mode").await, "wal");
    assert_eq!(ask("SELECT CAST(synchronous AS TEXT) FROM pragma_synchronous").await, "2");
    assert_eq!(ask("SELECT CAST(foreign_keys AS TEXT) FROM pragma_foreign_keys").await, "1");
    assert_eq!(std::fs::metadata(store.database.path()).unwrap().mode() & 0o777, 0o600);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_first_openings_at_once_make_one_store() {
    let folder = tempfile::tempdir().unwrap();
    let tasks: Vec<_> = (0..16)
        .map(|_| tokio::spawn(EmbeddedStore::open(sample::directory(folder.path()))))
        .collect();
    let mut ids = BTreeSet::new();
    for task in tasks {
        ids.insert(task.await.unwrap().unwrap().id().to_owned());
    }
    assert_eq!(ids.len(), 1, "{ids:?}");
    assert_eq!(ids.first().unwrap().len(), 32);
}

#[tokio::test]
async fn looking_for_a_store_makes_none() {
    let folder = tempfile::tempdir().unwrap();
    let directory = sample::directory(&folder.path().join("state"));
    assert!(EmbeddedStore::open_existing(directory.clone()).await.unwrap().is_none());
    assert!(!directory.root().exists());
    let id = EmbeddedStore::open(directory.clone()).await.unwrap().id().to_owned();
    assert_eq!(EmbeddedStore::open_existing(directory).await.unwrap().unwrap().id(), id);
}

#[tokio::test]
async fn a_newer_schema_is_refused_and_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let store = sample::store(folder.path()).await;
    sqlx::raw_sql(AssertSqlSafe(format!("PRAGMA user_version = {}", schema::VERSION + 1)))
        .execute(store.database.writer())
        .await
        .unwrap();
    store.close().await;
    let before = std::fs::read(store.database.path()).unwrap();

    let error = EmbeddedStore::open(sample::directory(folder.path())).await.unwrap_err();
    assert!(
        matches!(error, OpenError::Newer { found, known, .. } if found == known + 1),
        "{error:?}"
    );
    let fault = Fault::from(error);
    assert!(
        fault.message.contains("was written by a newer agente-host") && fault.hint.is_some(),
        "{fault:?}"
    );
    assert_eq!(std::fs::read(store.database.path()).unwrap(), before);
}

#[tokio::test]
async fn another_programs_database_and_what_is_no_database_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let directory = sample::directory(folder.path());
    let options =
        SqliteConnectOptions::new().filename(directory.database()).create_if_missing(true);
    let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
    sqlx::raw_sql("CREATE TABLE recipes (name TEXT)").execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    let error = EmbeddedStore::open(directory.clone()).await.unwrap_err();
    assert!(matches!(error, OpenError::Foreign { .. }), "{error:?}");

    std::fs::write(
        directory.database(),
        "no database at all, but long enough to be looked at ".repeat(50),
    )
    .unwrap();
    let fault = Fault::from(EmbeddedStore::open(directory).await.unwrap_err());
    assert!(
        fault.message.contains("damaged, or not a SQLite file")
            && fault.hint.unwrap().contains("backup"),
        "{}",
        fault.message
    );
}

#[tokio::test]
async fn a_full_disk_is_told_in_words_and_passes() {
    let folder = tempfile::tempdir().unwrap();
    let store = sample::store(folder.path()).await;
    let open = sample::open_deployment(&store, "shop").await;
    let state = sample::open_state(&open.deployment);
    let pages: i64 =
        sqlx::query_scalar("PRAGMA page_count").fetch_one(store.database.writer()).await.unwrap();
    sqlx::raw_sql(AssertSqlSafe(format!("PRAGMA max_page_count = {pages}")))
        .execute(store.database.writer())
        .await
        .unwrap();
    let long = Event::Resumed { by: "ann".repeat(10_000) };
    let fault = fault_of(open.append(&long, &state).await);
    assert_eq!(fault.kind, FaultKind::JournalUnavailable);
    assert!(
        fault.message.contains("the entry of deployment `d-1` was not written: the disk")
            && fault.message.ends_with("is full (8 MiB are needed)"),
        "{fault}"
    );
    assert!(fault.retryable && fault.hint.as_ref().unwrap().contains("df -h"), "{fault:?}");
    assert_eq!(fault.causes.len(), 1, "{:?}", fault.causes);
    assert_eq!(store.entries(&open.deployment).await.unwrap().len(), 1);

    // Room again: the limit was the connection's, which is replaced. The same process goes on.
    open.append(&long, &state).await.unwrap();
}

#[tokio::test]
async fn a_read_only_file_is_told_in_words() {
    let folder = tempfile::tempdir().unwrap();
    let store = sample::store(folder.path()).await;
    let open = sample::open_deployment(&store, "shop").await;
    set(&store, "PRAGMA query_only = ON").await;
    let fault = fault_of(open.append(&STARTED, &sample::open_state(&open.deployment)).await);
    assert!(
        fault.kind == FaultKind::JournalUnavailable
            && fault.message.contains("can't be written to"),
        "{fault}"
    );
    assert!(fault.hint.unwrap().contains("ls -l"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_keeps_the_file_locked_is_named_and_what_is_there_can_be_read() {
    if let Some(folder) = child_folder() {
        let path = sample::directory(&folder).database();
        let options = SqliteConnectOptions::new().filename(path);
        let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
        let _locked = connection.begin_with("BEGIN IMMEDIATE").await.unwrap();
        println!("child: locked");
        std::io::stdin().read_line(&mut String::new()).unwrap();
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let store = sample::store(folder.path()).await;
    let open = sample::open_deployment(&store, "shop").await;
    let state = sample::open_state(&open.deployment);
    set(&store, "PRAGMA busy_timeout = 50").await;
    let mut other = Other::start(
        "database::tests::a_process_that_keeps_the_file_locked_is_named_and_what_is_there_can_be_read",
        folder.path(),
    );
    assert_eq!(other.says(), "locked");
    let fault = fault_of(open.append(&STARTED, &state).await);
    assert!(fault.message.contains(&format!("by process {} (`", other.pid())), "{fault}");
    assert!(fault.retryable && !fault.message.contains("stopped"), "{fault}");

    set(&store, "PRAGMA busy_timeout = 50").await;
    other.signal(rustix::process::Signal::STOP);
    let stopped = loop {
        let fault = fault_of(open.append(&STARTED, &state).await);
        if fault.message.ends_with("which is stopped") {
            break fault;
        }
    };
    assert!(stopped.hint.unwrap().contains(&format!("kill -CONT {}", other.pid())));
    assert_eq!(store.entries(&open.deployment).await.unwrap().len(), 1);
    other.kill();
    open.append(&STARTED, &state).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_nobody_polls_any_more_hold_up_no_others() {
    let folder = tempfile::tempdir().unwrap();
    let store = sample::store(folder.path()).await;
    let open = sample::open_deployment(&store, "shop").await;
    let (shop, state) = (sample::scope("shop"), sample::open_state(&open.deployment));
    let mut other = SqliteConnection::connect_with(
        &SqliteConnectOptions::new().filename(store.database.path()),
    )
    .await
    .unwrap();
    let locked = other.begin_with("BEGIN IMMEDIATE").await.unwrap();
    let busy = store.database.take_all_readers().await;
    // The first waits for the file, the others for it or for a connection; then whoever made them
    // looks away.
    let mut writes: Vec<_> =
        ["a", "b"].map(|key| store.set("p", &shop, key, Some(b"1"))).into_iter().collect();
    let mut reads: Vec<_> = (0..2 * READERS).map(|_| store.get("p", &shop, "a")).collect();
    for write in &mut writes {
        assert!(poll!(write).is_pending());
    }
    for read in &mut reads {
        assert!(poll!(read).is_pending());
    }
    locked.rollback().await.unwrap();
    drop(busy);

    let goes_on = async {
        store.state(&shop).await.unwrap();
        open.append(&STARTED, &state).await.unwrap();
    };
    tokio::time::timeout(Duration::from_mins(5), goes_on).await.expect("held up");
    for write in writes {
        write.await.unwrap();
    }
}
