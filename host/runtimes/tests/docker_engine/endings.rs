//! Containers that can't start, or don't last: each its own answer, and nothing left that blocks
//! the next attempt.

use crate::scene::{Scene, answer};
use agente_engine::fault::{Failure, FaultKind};
use agente_engine::ports::{BackendState, Runtime};
use agente_engine::route::Slot;
use bollard::models::{HostConfig, PortBinding};
use std::collections::HashMap;
use std::net::TcpListener;

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_a_program_took_is_a_conflict_that_leaves_nothing_behind() {
    let scene = Scene::new("occupied").await;
    let launch = scene.serving(1, Slot::Green).await;
    let holder = TcpListener::bind(&launch.backend.address).unwrap();
    let failure = scene.runtime.ensure(&launch).await.expect_err("the port is taken");
    let fault = failure.fault();
    assert_eq!(fault.kind, FaultKind::Conflict);
    let port = holder.local_addr().unwrap().port();
    assert_eq!(
        fault.message,
        format!(
            "the container `occupied.test.green-r1-0` could not be started: port {port} on \
             127.0.0.1 is taken"
        )
    );
    assert!(scene.containers().await.is_empty(), "the failed container is gone");
    drop(holder);
    scene.runtime.ensure(&launch).await.unwrap();
    assert_eq!(answer(&launch.backend.address).await, "green-1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_a_container_took_names_that_container() {
    let scene = Scene::new("outrun").await;
    let launch = scene.serving(1, Slot::Green).await;
    let port = launch.backend.address.rsplit(':').next().unwrap().to_owned();
    let binding = PortBinding { host_ip: Some("127.0.0.1".to_owned()), host_port: Some(port) };
    let host = HostConfig {
        port_bindings: Some(HashMap::from([("8080/tcp".to_owned(), Some(vec![binding]))])),
        ..HostConfig::default()
    };
    scene.stranger("outrun-stranger", &[], host).await;
    let failure = scene.runtime.ensure(&launch).await.expect_err("the port is taken");
    assert!(
        failure.fault().message.ends_with("is taken by the container `outrun-stranger`"),
        "{failure:?}"
    );
    assert_eq!(failure.fault().kind, FaultKind::Conflict);
    assert!(scene.containers().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_is_not_in_the_image_is_a_mistake_of_the_manifest() {
    let daemon = crate::daemon::Daemon::shared();
    let id = daemon.image("headless:1", "headless", &["ENTRYPOINT []"]).await;
    let scene = Scene::on(daemon, "headless", "headless:1", &id);
    let launch = scene.launch(1, Slot::Blue, scene.spec(&["/nowhere/serve"])).await;
    let failure = scene.runtime.ensure(&launch).await.expect_err("there is no such program");
    let Failure::Unknown { fault } = failure else { panic!("{failure:?}") };
    assert_eq!(fault.kind, FaultKind::InvalidConfig);
    assert!(
        fault.message.contains("its command can't run in its image") && fault.hint.is_some(),
        "{fault:?}"
    );
    assert!(fault.causes.iter().any(|cause| cause.contains("/nowhere/serve")), "{fault:?}");
    assert!(scene.containers().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_whose_start_failed_earlier_is_made_anew() {
    let scene = Scene::new("anew").await;
    let launch = scene.serving(1, Slot::Green).await;
    // The host dies right after the engine has failed to start it: the broken container stays.
    let holder = TcpListener::bind(&launch.backend.address).unwrap();
    let proxy = crate::proxy::Proxy::before(
        crate::daemon::Daemon::shared().socket.clone(),
        crate::proxy::Loss::After(1),
    );
    scene.runtime_through(&proxy.socket).ensure(&launch).await.expect_err("it dies");
    let broken = scene.inspect(&launch.backend.id.0).await.id;
    let state = scene.runtime.inspect(&launch.backend).await.unwrap();
    assert!(
        matches!(&state, BackendState::Ended { detail } if detail.starts_with("could not be started: ")),
        "{state:?}"
    );
    assert!(
        scene.runtime.up(Some(&scene.scope)).await.unwrap().is_empty(),
        "what never ran is not brought up"
    );
    drop(holder);
    scene.runtime.ensure(&launch).await.unwrap();
    assert_ne!(scene.inspect(&launch.backend.id.0).await.id, broken);
    assert_eq!(answer(&launch.backend.address).await, "green-1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_loop_is_seen_by_its_restarts() {
    let scene = Scene::new("looping").await;
    let launch = scene.launch(1, Slot::Blue, scene.spec(&["crash-after", "1"])).await;
    scene.runtime.ensure(&launch).await.unwrap();
    scene
        .state(&launch.backend, "restarted twice after a crash", |state| match state {
            BackendState::Starting { detail, restarts } => {
                *restarts >= 2 && detail.contains("crashed") && detail.contains("exit code 3")
            }
            _ => false,
        })
        .await;
    assert_eq!(
        scene.runtime.log_tail(&launch.backend, 1).await.unwrap(),
        ["about to crash"],
        "its last words"
    );
    scene.runtime.retire(&launch.backend, std::time::Duration::from_secs(1)).await.unwrap();
    assert!(scene.containers().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_out_of_memory_is_told_from_any_other_kill() {
    let scene = Scene::new("hungry").await;
    let mut spec = scene.spec(&["hog"]);
    spec.memory_bytes = Some(20 * 1024 * 1024);
    let launch = scene.launch(1, Slot::Blue, spec).await;
    scene.runtime.ensure(&launch).await.unwrap();
    // The engine has been seen to say only that it was killed; it runs again, and ends alike.
    scene
        .state(&launch.backend, "told to have exceeded its memory limit", |state| match state {
            BackendState::Starting { detail, .. } => {
                detail.contains("exceeded its memory limit of 20 MiB")
            }
            _ => false,
        })
        .await;
}
