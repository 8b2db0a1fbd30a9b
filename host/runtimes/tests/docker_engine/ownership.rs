//! What isn't ours is never changed, whatever it is called.

use crate::scene::Scene;
use agente_engine::fault::{Failure, Fault, FaultKind};
use agente_engine::ports::{BackendRole, FindingResult, Runtime};
use agente_engine::route::Slot;
use agente_runtimes::docker::labels;
use bollard::models::HostConfig;
use std::time::Duration;

/// Every call on the backend is refused with the same conflict, and the container goes on as it
/// was.
async fn is_left_alone(scene: &Scene, stranger: &[(&str, &str)], says: &str) {
    let launch = scene.serving(1, Slot::Blue).await;
    let name = launch.backend.id.0.as_str();
    scene.stranger(name, stranger, HostConfig::default()).await;
    let before = scene.inspect(name).await;
    let refusals: Vec<Fault> = vec![
        refused(scene.runtime.ensure(&launch).await),
        refused(scene.runtime.retire(&launch.backend, Duration::from_secs(1)).await),
        refused(scene.runtime.assign(&launch.backend, BackendRole::Kept).await),
        scene.runtime.inspect(&launch.backend).await.expect_err("a look at a stranger"),
        scene.runtime.log_tail(&launch.backend, 5).await.expect_err("a stranger's log"),
    ];
    for fault in refusals {
        assert_eq!(fault.kind, FaultKind::Conflict);
        assert!(
            fault.message.contains(&format!("`{name}`"))
                && fault.message.contains(says)
                && fault.hint.is_some(),
            "{fault:?}"
        );
    }
    let finding =
        scene.runtime.preflight(&launch.release, std::slice::from_ref(&launch.backend)).await;
    assert!(
        finding
            .iter()
            .any(|finding| finding.result == FindingResult::Bad && finding.message.contains(says)),
        "{finding:?}"
    );
    assert!(scene.runtime.up(None).await.unwrap().is_empty());
    let after = scene.inspect(name).await;
    assert_eq!(
        (before.id, before.state.unwrap().started_at),
        (after.id, after.state.unwrap().started_at)
    );
}

fn refused<T: std::fmt::Debug>(answer: Result<T, Failure>) -> Fault {
    match answer.expect_err("a stranger's container") {
        Failure::Refused { fault } => fault,
        Failure::Unknown { fault } => panic!("not refused: {fault:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_container_of_the_same_name_is_refused_and_left_alone() {
    let scene = Scene::new("foreign").await;
    is_left_alone(&scene, &[], "agente-host did not create").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_of_another_store_is_refused_and_left_alone() {
    let scene = Scene::new("disputed").await;
    is_left_alone(
        &scene,
        &[(labels::STORE, "theirs"), (labels::BACKEND, "disputed.test.blue-r1-0")],
        "belongs to another store, `theirs`",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_of_ours_that_is_not_this_backend_is_left_alone() {
    let scene = Scene::new("misnamed").await;
    let store = scene.settings.store.clone();
    is_left_alone(&scene, &[(labels::STORE, &store)], "agente-host did not create").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_stores_with_one_backend_id_each_see_only_their_own() {
    let scene = Scene::new("shared-name").await;
    let launch = scene.serving(1, Slot::Blue).await;
    scene.runtime.ensure(&launch).await.unwrap();
    let theirs = scene.runtime_with(|settings| settings.store = "another".to_owned());
    let fault = theirs.inspect(&launch.backend).await.expect_err("it is not theirs");
    assert!(
        fault.message.contains("belongs to another store, `store-of-shared-name`"),
        "{fault:?}"
    );
    assert!(theirs.up(None).await.unwrap().is_empty());
    refused(theirs.retire(&launch.backend, Duration::from_secs(1)).await);
    let launch_of_ours = refused(theirs.ensure(&launch).await);
    assert_eq!(
        launch_of_ours.kind,
        FaultKind::Internal,
        "a launch of another store is a bug of the caller"
    );
}
