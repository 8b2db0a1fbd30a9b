use super::*;
use crate::sample;
use agente_engine::journal::Event;
use agente_engine::ports::{History, Leases};
use agente_engine::step::StepEvent;

/// A journal of two deployments and seven entries; the second deployment begins at position 5.
async fn journal(store: &EmbeddedStore) -> Scope {
    let open = sample::open_deployment(store, "shop").await;
    let state = sample::open_state(&open.deployment);
    for step in 0..2 {
        open.append(&Event::Step { step, event: StepEvent::Started }, &state).await.unwrap();
    }
    open.next("d-2", 2).await;
    let second = DeploymentId("d-2".into());
    for step in 0..2 {
        let event = Event::Step { step, event: StepEvent::Started };
        let state = sample::open_state(&second);
        sample::append(store, open.fence(), &second, &event, &state).await.unwrap();
    }
    open.lease.release().await.unwrap();
    sample::scope("shop")
}

/// Runs statements on the file as somebody with another program would, past the triggers.
async fn tamper(store: &EmbeddedStore, statements: &'static str) {
    let free = "DROP TRIGGER IF EXISTS entry_is_never_changed; DROP TRIGGER IF EXISTS \
                entry_is_never_removed; PRAGMA foreign_keys = OFF;";
    sqlx::raw_sql(free).execute(store.database.writer()).await.unwrap();
    sqlx::raw_sql(statements).execute(store.database.writer()).await.unwrap();
}

async fn first_broken(statements: &'static str) -> (u64, String) {
    let folder = tempfile::tempdir().unwrap();
    let store = sample::store(folder.path()).await;
    let scope = journal(&store).await;
    let ChainState::Intact { entries: 7, .. } = store.verify_chain(&scope).await.unwrap() else {
        panic!("broken before it was tampered with")
    };
    tamper(&store, statements).await;
    match store.verify_chain(&scope).await.unwrap() {
        ChainState::Broken { position, message, .. } => (position, message),
        ChainState::Intact { .. } => panic!("not noticed: {statements}"),
    }
}

#[tokio::test]
async fn each_changed_column_of_an_entry_is_found_where_it_is() {
    for statement in [
        "UPDATE entry SET event = replace(event, 'started', 'undo-started') WHERE position = 3",
        "UPDATE entry SET at = at + 1 WHERE position = 3",
        "UPDATE entry SET fence = 2 WHERE position = 3",
        "UPDATE entry SET sequence = 9 WHERE position = 3",
        "UPDATE entry SET deployment = 'd-2', sequence = 9 WHERE position = 3",
        "UPDATE entry SET state_digest = zeroblob(32) WHERE position = 3",
        "UPDATE entry SET hash = zeroblob(32) WHERE position = 3",
    ] {
        let (position, message) = first_broken(statement).await;
        assert!(
            position == 3 && message.contains("was changed"),
            "{statement}: {position} {message}"
        );
    }
}

#[tokio::test]
async fn removed_swapped_and_cut_entries_are_found() {
    let (position, message) = first_broken("DELETE FROM entry WHERE position = 4").await;
    assert!(position == 4 && message.contains("entry 4 is missing"), "{position} {message}");
    let (position, message) = first_broken("DELETE FROM entry WHERE position >= 6").await;
    assert!(
        position == 6 && message.contains("there were 7, now there are 5"),
        "{position} {message}"
    );
    let (position, _) = first_broken(
        "DELETE FROM entry WHERE position = 1; UPDATE entry SET position = position - 1",
    )
    .await;
    assert_eq!(position, 1);
    let swap = "UPDATE entry SET position = 99 WHERE position = 2; UPDATE entry SET position = 2 \
                WHERE position = 3; UPDATE entry SET position = 3 WHERE position = 99";
    assert_eq!(first_broken(swap).await.0, 2);
    let (position, _) =
        first_broken("DELETE FROM entry WHERE position = 7; UPDATE scope SET head_position = 6")
            .await;
    assert_eq!(position, 7, "the end was moved without its hash");
}

#[tokio::test]
async fn a_changed_state_is_found_by_the_newest_entry() {
    let (position, message) =
        first_broken("UPDATE scope SET state = replace(state, 'd-2', 'd-1')").await;
    assert!(position == 7 && message.contains("state of shop/production"), "{position} {message}");
    let (position, _) = first_broken("UPDATE scope SET state = NULL").await;
    assert_eq!(position, 7);
}

#[tokio::test]
async fn a_changed_history_is_found_by_the_entries() {
    for (statement, wanted) in [
        ("UPDATE deployment SET by = 'mallory' WHERE id = 'd-2'", 5),
        ("UPDATE deployment SET opened = opened - 1 WHERE id = 'd-2'", 5),
        ("UPDATE deployment SET release = 9 WHERE id = 'd-1'", 1),
        ("UPDATE deployment SET kind = '{\"kind\":\"deploy\"}' WHERE id = 'd-1'", 1),
        (
            "UPDATE deployment SET outcome = '{\"outcome\":\"promoted\",\"notes\":[]}' WHERE id = \
             'd-1'",
            1,
        ),
        ("UPDATE deployment SET closed = 1 WHERE id = 'd-2'", 5),
        ("DELETE FROM deployment WHERE id = 'd-2'", 5),
    ] {
        let (position, message) = first_broken(statement).await;
        assert!(
            position == wanted && message.contains("history"),
            "{statement}: {position} {message}"
        );
    }
}

#[tokio::test]
async fn appending_after_a_cut_does_not_hide_it() {
    let folder = tempfile::tempdir().unwrap();
    let store = sample::store(folder.path()).await;
    let scope = journal(&store).await;
    tamper(&store, "DELETE FROM entry WHERE position = 7").await;
    let lease = store.acquire(&scope, sample::holder(), None).await.unwrap();
    let deployment = DeploymentId("d-2".into());
    let event = Event::Resumed { by: "ann".into() };
    let state = sample::open_state(&deployment);
    sample::append(&store, lease.fence(), &deployment, &event, &state).await.unwrap();
    let found = store.verify_chain(&scope).await.unwrap();
    assert!(matches!(found, ChainState::Broken { position: 7, .. }), "{found:?}");
}

#[tokio::test]
async fn entries_can_not_be_changed_or_removed_through_the_file_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let store = sample::store(folder.path()).await;
    let scope = journal(&store).await;
    for statement in ["UPDATE entry SET at = 0", "DELETE FROM entry"] {
        let refused = sqlx::raw_sql(statement).execute(store.database.writer()).await.unwrap_err();
        assert!(refused.to_string().contains("are never"), "{refused}");
    }
    assert!(matches!(
        store.verify_chain(&scope).await.unwrap(),
        ChainState::Intact { entries: 7, .. }
    ));
    let nothing = store.verify_chain(&sample::scope("other")).await.unwrap();
    assert!(matches!(nothing, ChainState::Intact { entries: 0, .. }));
}

#[test]
fn no_two_entries_give_the_same_bytes() {
    let link = Link {
        service: "a",
        environment: "bc",
        position: 1,
        deployment: "d",
        sequence: 0,
        at: 5,
        fence: 1,
        event: "{}",
        state_digest: &[0; 32],
    };
    let hash = link.hash(&[0; 32]);
    assert_eq!(hash, Link { service: "a", ..link }.hash(&[0; 32]));
    assert_ne!(hash, Link { service: "ab", environment: "c", ..link }.hash(&[0; 32]));
    assert_ne!(hash, link.hash(&[1; 32]));
}
