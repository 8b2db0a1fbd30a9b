//! Calls whose callers have left: what the engine is still asked to do never outlives what comes
//! after.

use crate::daemon::Daemon;
use crate::proxy::{Loss, Proxy};
use crate::scene::{Scene, command, eventually};
use agente_engine::ports::{CommandPlace, Commands, ProcessTarget, Runtime, TargetLock};
use agente_engine::release::Artifact;
use agente_engine::route::Slot;
use agente_runtimes::docker::ContainerCommands;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

/// How long a call that must wait is watched before the gate is opened; one that does not wait has
/// ended long before.
const WATCHED: Duration = Duration::from_millis(300);

/// Drops a launch while the engine has not yet heard the call of this number, and retires the
/// backend then.
async fn nothing_is_left_when_held(name: &str, call: usize) {
    let scene = Scene::new(name).await;
    let launch = scene.launch(1, Slot::Blue, scene.spec(&["serve", "{port}"])).await;
    let proxy = Proxy::before(Daemon::shared().socket.clone(), Loss::Held(call));
    let runtime = scene.runtime_through(&proxy.socket);
    let launching = tokio::spawn({
        let (runtime, launch) = (runtime.clone(), launch.clone());
        async move { runtime.ensure(&launch).await }
    });
    proxy.holds().await;
    launching.abort();
    assert!(launching.await.is_err_and(|error| error.is_cancelled()));
    let mut retiring = pin!(runtime.retire(&launch.backend, Duration::from_secs(2)));
    let early = tokio::time::timeout(WATCHED, &mut retiring).await;
    proxy.open().await;
    let retired = match early {
        Ok(retired) => retired,
        Err(_) => retiring.await,
    };
    assert!(retired.expect("it is retired").found, "nothing was found while it was on its way");
    assert!(scene.containers().await.is_empty(), "the engine did what nobody waits for any more");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_creation_whose_call_was_dropped_is_waited_for_and_taken_back() {
    nothing_is_left_when_held("leftcreate", 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_whose_call_was_dropped_is_waited_for_and_taken_back() {
    nothing_is_left_when_held("leftstart", 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_whose_start_is_on_its_way_when_its_call_is_dropped_is_ended_before_the_next() {
    let scene = Scene::new("leftexec").await;
    let launch = scene.launch(1, Slot::Blue, scene.spec(&["serve", "{port}"])).await;
    scene.runtime.ensure(&launch).await.unwrap();
    let name = launch.backend.id.0.clone();
    // Calls 0 and 1 make and start the program.
    let proxy = Proxy::before(Daemon::shared().socket.clone(), Loss::Held(1));
    let mut settings = scene.settings.clone();
    settings.endpoint = agente_runtimes::docker::Endpoint::Unix(proxy.socket.clone());
    let commands = ContainerCommands::new(settings);
    let place = CommandPlace::Container(name.clone());
    let call = tokio::spawn({
        let (commands, spec) = (commands.clone(), command(place.clone(), &["/specimen", "wait"]));
        async move { commands.run(&spec).await }
    });
    proxy.holds().await;
    call.abort();
    let _aborted = call.await;
    let spec = command(place, &["/specimen", "exit", "0"]);
    let mut next = pin!(commands.run(&spec));
    assert!(tokio::time::timeout(WATCHED * 5, &mut next).await.is_err(), "the next one waits");
    proxy.open().await;
    assert_eq!(next.await.unwrap().status, Some(0));
    let target = ProcessTarget::Container(name);
    eventually("only the container's own program is left", async || {
        commands.tree(&target).await.unwrap().len() == 1
    })
    .await;
}

/// Drops a program's call while the engine has not yet heard its call of this number, and looks at
/// what is left of it in the moment in which the target's lock is free again.
async fn the_lock_outlives(name: &str, one_shot: bool, held_call: usize) {
    let scene = Scene::new(name).await;
    let launch = scene.launch(1, Slot::Blue, scene.spec(&["serve", "{port}"])).await;
    scene.runtime.ensure(&launch).await.unwrap();
    let container = launch.backend.id.0.clone();
    let place = match &launch.release.artifact {
        Artifact::Image { id, .. } if one_shot => CommandPlace::Image(id.to_string()),
        _ => CommandPlace::Container(container.clone()),
    };
    let proxy = Proxy::before(Daemon::shared().socket.clone(), Loss::Held(held_call));
    let mut settings = scene.settings.clone();
    settings.endpoint = agente_runtimes::docker::Endpoint::Unix(proxy.socket.clone());
    let commands = ContainerCommands::new(settings);
    let lock = Arc::new(());
    let held = Arc::downgrade(&lock);
    let mut spec = command(place, &["/specimen", "wait"]);
    spec.lock = Some(TargetLock::new(lock));
    let call = tokio::spawn({
        let commands = commands.clone();
        async move { commands.run(&spec).await }
    });
    proxy.holds().await;
    call.abort();
    let _aborted = call.await;
    tokio::time::sleep(WATCHED).await;
    assert!(held.upgrade().is_some(), "the lock was let go with the call");
    proxy.open().await;
    eventually("the lock is free", async || held.upgrade().is_none()).await;
    let target = ProcessTarget::Container(container);
    let programs =
        ContainerCommands::new(scene.settings.clone()).tree(&target).await.unwrap().len();
    assert_eq!((programs, scene.containers().await.len()), (1, 1), "something of it is left");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_targets_lock_is_held_until_a_program_in_a_container_whose_call_was_dropped_has_ended() {
    // Call 0 makes the program, call 1 starts it.
    the_lock_outlives("locked-exec", false, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_targets_lock_is_held_until_the_container_of_a_dropped_call_is_removed() {
    // Call 0 makes the container. One that is removed before its start comes is never started.
    the_lock_outlives("locked-run", true, 0).await;
}
