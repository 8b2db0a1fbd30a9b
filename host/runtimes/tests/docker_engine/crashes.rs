//! A host that dies at any call is followed by one that ends with exactly one container, or with
//! none.

use crate::daemon::Daemon;
use crate::proxy::{Loss, Proxy};
use crate::scene::{Scene, answer};
use agente_engine::fault::{Failure, FaultKind};
use agente_engine::ports::{BackendState, Retired, Runtime};
use agente_engine::release::DockerReach;
use agente_engine::route::Slot;
use std::time::Duration;

/// Tries each call in both ways until one run goes through without a loss. Gives how many runs had
/// one.
async fn at_each_call(mut run: impl AsyncFnMut(Loss, u64) -> bool) -> u64 {
    let mut number = 0;
    for at in 0.. {
        let mut lost = false;
        for loss in [Loss::Before(at), Loss::After(at)] {
            number += 1;
            lost |= run(loss, number).await;
        }
        if !lost {
            return number;
        }
        assert!(at < 20, "the calls never end");
    }
    unreachable!("the loop returns")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_launch_that_dies_at_any_call_is_resumed_to_exactly_one_container() {
    let scene = Scene::new("resumed").await;
    let runs = at_each_call(async |loss, number| {
        let mut spec = scene.spec(&["serve", "{port}"]);
        if number % 2 == 0 {
            spec.reach = DockerReach::Network { name: format!("resumed-{number}") };
        }
        let network = matches!(spec.reach, DockerReach::Network { .. });
        let launch = scene.launch(number, Slot::Blue, spec).await;
        let proxy = Proxy::before(Daemon::shared().socket.clone(), loss);
        let died = scene.runtime_through(&proxy.socket).ensure(&launch).await;
        if let Err(failure) = &died {
            assert!(matches!(failure, Failure::Unknown { .. }), "{failure:?}");
            assert_eq!(failure.fault().kind, FaultKind::Unavailable);
            assert!(failure.fault().retryable, "{failure:?}");
        }
        let made = scene.containers().await.into_iter().next().and_then(|container| container.id);
        scene.runtime.ensure(&launch).await.expect("the next attempt goes through");
        let standing = scene.containers().await;
        assert_eq!(standing.len(), 1, "after {loss:?}");
        if let Some(made) = made {
            assert_eq!(
                standing[0].id,
                Some(made),
                "what the first attempt made was adopted after {loss:?}"
            );
        }
        let address = scene.runtime.reachable_address(&launch.backend).await.unwrap();
        assert_eq!(answer(&address).await, format!("blue-{number}"));
        assert_eq!(scene.inspect(&launch.backend.id.0).await.restart_count, Some(0));
        scene.runtime.retire(&launch.backend, Duration::from_secs(2)).await.unwrap();
        if network {
            scene.docker.remove_network(&format!("resumed-{number}")).await.unwrap();
        }
        died.is_err()
    })
    .await;
    assert!(runs >= 6, "a launch has at least two changing calls; {runs} runs");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retirement_that_dies_at_any_call_is_resumed_to_none() {
    let scene = Scene::new("unmade").await;
    let runs = at_each_call(async |loss, number| {
        let launch = scene.serving(number, Slot::Green).await;
        scene.runtime.ensure(&launch).await.unwrap();
        answer(&launch.backend.address).await;
        let proxy = Proxy::before(Daemon::shared().socket.clone(), loss);
        let died = scene
            .runtime_through(&proxy.socket)
            .retire(&launch.backend, Duration::from_secs(2))
            .await;
        let retired = scene
            .runtime
            .retire(&launch.backend, Duration::from_secs(2))
            .await
            .expect("the next attempt goes through");
        assert!(!retired.killed, "it heeds its stop signal");
        assert_eq!(scene.runtime.inspect(&launch.backend).await.unwrap(), BackendState::Absent);
        assert!(scene.containers().await.is_empty(), "after {loss:?}");
        assert_eq!(
            scene.runtime.retire(&launch.backend, Duration::from_secs(2)).await.unwrap(),
            Retired { found: false, killed: false }
        );
        died.is_err()
    })
    .await;
    assert!(runs >= 8, "a retirement has three changing calls; {runs} runs");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_dies_between_making_and_starting_finds_its_container_and_says_what_it_is() {
    let scene = Scene::new("half-made").await;
    let launch = scene.serving(1, Slot::Blue).await;
    let proxy = Proxy::before(Daemon::shared().socket.clone(), Loss::Before(1));
    scene
        .runtime_through(&proxy.socket)
        .ensure(&launch)
        .await
        .expect_err("it dies before the start");
    assert_eq!(proxy.changes(), 2);
    let state = scene.runtime.inspect(&launch.backend).await.unwrap();
    assert!(
        matches!(&state, BackendState::Starting { restarts: 0, detail } if detail.contains("not started yet")),
        "{state:?}"
    );
    assert!(
        scene.runtime.up(Some(&scene.scope)).await.unwrap().is_empty(),
        "what was never launched is not brought up"
    );
    let id = scene.inspect(&launch.backend.id.0).await.id;
    scene.runtime.ensure(&launch).await.unwrap();
    assert_eq!(scene.inspect(&launch.backend.id.0).await.id, id);
    assert_eq!(answer(&launch.backend.address).await, "blue-1");
}
