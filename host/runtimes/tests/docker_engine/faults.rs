//! Engines that are away, deaf, or closed to us: each its own fault, in time.

use crate::daemon::Daemon;
use crate::scene::{Scene, command};
use agente_engine::fault::{Failure, Fault, FaultKind};
use agente_engine::ports::{CommandPlace, Commands, FindingResult, Runtime};
use agente_engine::route::Slot;
use agente_runtimes::docker::{ContainerCommands, DockerRuntime, Endpoint};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;
use tokio::net::UnixListener;

/// The faults of every call of the runtime.
async fn faults(scene: &Scene, runtime: &DockerRuntime) -> Vec<Fault> {
    let launch = scene.serving(1, Slot::Blue).await;
    let of = |failure: Failure| match failure {
        Failure::Refused { fault } => fault,
        Failure::Unknown { fault } => panic!("nothing was begun: {fault:?}"),
    };
    let findings = runtime.preflight(&launch.release, std::slice::from_ref(&launch.backend)).await;
    assert_eq!(findings.len(), 1, "one line for an engine that is away: {findings:?}");
    assert_eq!(findings[0].result, FindingResult::Bad);
    vec![
        runtime.reserve(&launch.release, Slot::Blue, &[]).await.unwrap_err(),
        of(runtime.ensure(&launch).await.unwrap_err()),
        runtime.inspect(&launch.backend).await.unwrap_err(),
        of(runtime
            .assign(&launch.backend, agente_engine::ports::BackendRole::Kept)
            .await
            .unwrap_err()),
        of(runtime.retire(&launch.backend, Duration::from_secs(1)).await.unwrap_err()),
        runtime.log_tail(&launch.backend, 5).await.unwrap_err(),
        runtime.up(None).await.unwrap_err(),
        runtime
            .resolve_image("faulty:1", agente_runtimes::docker::Pull::IfAbsent, &|_| {})
            .await
            .unwrap_err(),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_socket_is_said_with_how_to_start_the_engine() {
    let scene = Scene::new("faulty-missing").await;
    for fault in faults(&scene, &scene.runtime_through(Path::new("/nowhere/docker.sock"))).await {
        assert_eq!(
            (fault.kind, fault.message.as_str()),
            (
                FaultKind::Unavailable,
                "no Docker Engine is running here: there is no socket `/nowhere/docker.sock`"
            )
        );
        assert!(fault.hint.unwrap().contains("systemctl start docker"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_that_nobody_serves_is_said() {
    let scene = Scene::new("faulty-dead").await;
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("s");
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    for fault in faults(&scene, &scene.runtime_through(&socket)).await {
        assert_eq!(fault.kind, FaultKind::Unavailable);
        assert!(
            fault.message.starts_with("no Docker Engine answers at `unix://") && fault.retryable,
            "{fault:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_never_answers_is_given_up_in_time() {
    let scene = Scene::new("faulty-hung").await;
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("s");
    let _deaf = UnixListener::bind(&socket).unwrap();
    let runtime = scene.runtime_with(|settings| {
        settings.endpoint = Endpoint::Unix(socket.clone());
        settings.call_timeout = Duration::from_millis(200);
    });
    for fault in faults(&scene, &runtime).await {
        assert_eq!(fault.kind, FaultKind::TimedOut);
        assert!(
            fault.retryable
                && fault.message.contains("did not answer within 200ms")
                && fault.hint.is_some(),
            "{fault:?}"
        );
    }

    let mut settings = scene.settings.clone();
    settings.endpoint = Endpoint::Unix(socket.clone());
    settings.call_timeout = Duration::from_millis(200);
    let commands = ContainerCommands::new(settings);
    assert_eq!(
        commands
            .run(&command(CommandPlace::Container("some".to_owned()), &["/x"]))
            .await
            .unwrap_err()
            .kind,
        FaultKind::TimedOut
    );
    assert_eq!(
        commands
            .run(&command(CommandPlace::Image("some".to_owned()), &["/x"]))
            .await
            .unwrap_err()
            .kind,
        FaultKind::TimedOut
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_breaks_off_in_the_middle_of_a_call_is_unknown_and_may_be_asked_again() {
    let scene = Scene::new("faulty-broken").await;
    let launch = scene.serving(1, Slot::Blue).await;
    let proxy =
        crate::proxy::Proxy::before(Daemon::shared().socket.clone(), crate::proxy::Loss::After(0));
    let failure = scene.runtime_through(&proxy.socket).ensure(&launch).await.unwrap_err();
    assert!(matches!(failure, Failure::Unknown { .. }), "{failure:?}");
    assert_eq!(failure.fault().kind, FaultKind::Unavailable);
    assert!(failure.fault().retryable, "{failure:?}");
}

#[test]
fn a_user_who_may_not_use_the_engine_is_told_so() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let scene = runtime.block_on(Scene::new("faulty-closed"));
    let launch = runtime.block_on(scene.serving(1, Slot::Blue));
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let socket = folder.path().join("s");
    let _closed = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    std::fs::set_permissions(&socket, std::fs::Permissions::from_mode(0o600)).unwrap();
    let closed = scene.runtime_through(&socket);
    // A thread of its own becomes nobody; the rest of the process stays who it is.
    let fault = std::thread::spawn(move || {
        let nobody = rustix::process::Uid::from_raw(65534);
        rustix::thread::set_thread_res_uid(nobody, nobody, nobody)
            .expect("a thread that becomes nobody");
        let one = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        one.block_on(closed.inspect(&launch.backend)).unwrap_err()
    })
    .join()
    .unwrap();
    assert_eq!(fault.kind, FaultKind::Denied);
    assert!(
        fault.message.contains("no permission to use the Docker Engine")
            && fault.hint.unwrap().contains("group `docker`")
    );
}
