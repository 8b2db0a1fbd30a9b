//! Ensure, inspect, assign and retire on containers that behave.

use crate::daemon::Daemon;
use crate::scene::{INSIDE, PASSWORD, Scene, answer, runs};
use agente_engine::fault::{Failure, FaultKind};
use agente_engine::ports::{BackendRole, BackendState, Retired, Runtime};
use agente_engine::release::EnvValue;
use agente_engine::route::Slot;
use agente_runtimes::docker::labels;
use bollard::models::RestartPolicyNameEnum;
use std::time::Duration;

const GRACE: Duration = Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_that_is_ensured_twice_is_one_container_that_was_started_once() {
    let scene = Scene::new("twice").await;
    let launch = scene.serving(7, Slot::Green).await;
    scene.runtime.ensure(&launch).await.expect("the first time");
    assert_eq!(answer(&launch.backend.address).await, "green-7");
    let first = scene.inspect(&launch.backend.id.0).await;
    scene.runtime.ensure(&launch).await.expect("the second time");
    let second = scene.inspect(&launch.backend.id.0).await;
    assert_eq!(
        (&first.id, first.state.unwrap().started_at),
        (&second.id, second.state.unwrap().started_at)
    );
    assert_eq!(scene.containers().await.len(), 1);

    let of = second.config.unwrap().labels.unwrap();
    let label = |name: &str| of.get(name).map(String::as_str);
    assert_eq!(label(labels::SERVICE), Some("twice"));
    assert_eq!(label(labels::ENVIRONMENT), Some("test"));
    assert_eq!(label(labels::SLOT), Some("green"));
    assert_eq!(label(labels::RELEASE), Some("7"));
    assert_eq!(label(labels::DEPLOYMENT), Some("d-1"));
    assert_eq!(label(labels::BACKEND), Some("twice.test.green-r7-0"));
    assert_eq!(label(labels::STORE), Some("store-of-twice"));
    assert!(label(labels::SPEC_HASH).unwrap().starts_with("sha256:"));
    assert_eq!(
        second.host_config.unwrap().restart_policy.unwrap().name,
        Some(RestartPolicyNameEnum::UNLESS_STOPPED)
    );

    let now = u64::try_from(
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis(),
    )
    .unwrap();
    let state = scene.runtime.inspect(&launch.backend).await.unwrap();
    let BackendState::Running { since, restarts: 0, healthy: None } = state else {
        panic!("{state:?}")
    };
    assert!(since.0 > now - 60_000 && since.0 <= now, "{since:?} is not a moment ago");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_of_another_specification_is_replaced() {
    let scene = Scene::new("replaced").await;
    let mut launch = scene.serving(1, Slot::Blue).await;
    scene.runtime.ensure(&launch).await.unwrap();
    let first = scene.inspect(&launch.backend.id.0).await.id;
    let mut spec = scene.spec(&["serve", "{port}"]);
    spec.env.insert("RELEASE".to_owned(), EnvValue::Plain("other".to_owned()));
    launch.release = scene.release(1, spec);
    scene.runtime.ensure(&launch).await.unwrap();
    assert_eq!(answer(&launch.backend.address).await, "other");
    assert_ne!(scene.inspect(&launch.backend.id.0).await.id, first);
    assert_eq!(scene.containers().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_that_somebody_stopped_runs_again_when_it_is_ensured() {
    let scene = Scene::new("stopped").await;
    let launch = scene.serving(1, Slot::Blue).await;
    scene.runtime.ensure(&launch).await.unwrap();
    let name = launch.backend.id.0.as_str();
    let id = scene.inspect(name).await.id;
    scene
        .docker
        .stop_container(name, None::<bollard::query_parameters::StopContainerOptions>)
        .await
        .unwrap();
    assert!(matches!(
        scene.runtime.inspect(&launch.backend).await.unwrap(),
        BackendState::Ended { .. }
    ));
    scene.runtime.ensure(&launch).await.unwrap();
    assert_eq!(answer(&launch.backend.address).await, "blue-1");
    assert_eq!(scene.inspect(name).await.id, id);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_backend_is_told_apart_and_goes_on_when_it_is_ensured() {
    let scene = Scene::new("paused").await;
    let launch = scene.serving(1, Slot::Blue).await;
    scene.runtime.ensure(&launch).await.unwrap();
    scene.docker.pause_container(&launch.backend.id.0).await.unwrap();
    let state = scene.runtime.inspect(&launch.backend).await.unwrap();
    assert!(
        matches!(&state, BackendState::Starting { detail, .. } if detail.contains("docker unpause")),
        "{state:?}"
    );
    scene.runtime.ensure(&launch).await.unwrap();
    assert_eq!(answer(&launch.backend.address).await, "blue-1");
    scene.docker.pause_container(&launch.backend.id.0).await.unwrap();
    assert_eq!(
        scene.runtime.retire(&launch.backend, GRACE).await.unwrap(),
        Retired { found: true, killed: false }
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_that_was_renamed_is_still_the_one_backend() {
    let scene = Scene::new("renamed").await;
    let launch = scene.serving(1, Slot::Blue).await;
    scene.runtime.ensure(&launch).await.unwrap();
    let options = bollard::query_parameters::RenameContainerOptionsBuilder::default()
        .name("renamed-by-hand")
        .build();
    scene.docker.rename_container(&launch.backend.id.0, options).await.unwrap();
    scene.runtime.ensure(&launch).await.unwrap();
    let all = scene.containers().await;
    assert_eq!(
        all.iter().filter_map(|container| container.names.clone()).flatten().collect::<Vec<_>>(),
        ["/renamed.test.blue-r1-0"]
    );
    assert_eq!(answer(&launch.backend.address).await, "blue-1");
}

#[tokio::test(flavor = "multi_thread")]
async fn retiring_stops_politely_and_removes_and_absent_is_success() {
    let scene = Scene::new("polite").await;
    let launch = scene.serving(1, Slot::Blue).await;
    scene.runtime.ensure(&launch).await.unwrap();
    answer(&launch.backend.address).await;
    assert_eq!(
        scene.runtime.retire(&launch.backend, GRACE).await.unwrap(),
        Retired { found: true, killed: false }
    );
    assert_eq!(scene.runtime.inspect(&launch.backend).await.unwrap(), BackendState::Absent);
    assert_eq!(
        scene.runtime.retire(&launch.backend, GRACE).await.unwrap(),
        Retired { found: false, killed: false }
    );
    assert!(scene.containers().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_ignores_its_stop_signal_is_killed_after_its_grace_and_the_answer_says_so() {
    let scene = Scene::new("stubborn").await;
    let launch = scene.launch(1, Slot::Blue, scene.spec(&["stubborn", "{port}"])).await;
    scene.runtime.ensure(&launch).await.unwrap();
    answer(&launch.backend.address).await;
    let began = std::time::Instant::now();
    assert_eq!(
        scene.runtime.retire(&launch.backend, Duration::from_secs(1)).await.unwrap(),
        Retired { found: true, killed: true }
    );
    assert!(began.elapsed() >= Duration::from_secs(1), "{:?}", began.elapsed());
    assert!(scene.containers().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_small_init_lets_such_a_program_heed_its_stop_signal() {
    let scene = Scene::new("with-init").await;
    let mut spec = scene.spec(&["stubborn", "{port}"]);
    spec.init = true;
    let launch = scene.launch(1, Slot::Blue, spec).await;
    scene.runtime.ensure(&launch).await.unwrap();
    answer(&launch.backend.address).await;
    assert_eq!(
        scene.runtime.retire(&launch.backend, GRACE).await.unwrap(),
        Retired { found: true, killed: false }
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kept_backend_is_not_started_again_by_the_engine_and_a_live_one_is() {
    let scene = Scene::new("roles").await;
    let launch = scene.serving(1, Slot::Blue).await;
    let name = launch.backend.id.0.as_str();
    let policy =
        async || scene.inspect(name).await.host_config.unwrap().restart_policy.unwrap().name;
    let absent = scene
        .runtime
        .assign(&launch.backend, BackendRole::Kept)
        .await
        .expect_err("nothing is there");
    assert!(matches!(absent, Failure::Refused { .. }));
    scene.runtime.ensure(&launch).await.unwrap();
    for _ in 0..2 {
        scene.runtime.assign(&launch.backend, BackendRole::Kept).await.unwrap();
        assert_eq!(policy().await, Some(RestartPolicyNameEnum::NO));
    }
    scene.runtime.assign(&launch.backend, BackendRole::Live).await.unwrap();
    assert_eq!(policy().await, Some(RestartPolicyNameEnum::UNLESS_STOPPED));
    scene.runtime.assign(&launch.backend, BackendRole::Kept).await.unwrap();
    scene.runtime.ensure(&launch).await.unwrap();
    assert_eq!(
        policy().await,
        Some(RestartPolicyNameEnum::UNLESS_STOPPED),
        "what is launched is live"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn up_starts_what_is_live_and_has_ended_and_nothing_else() {
    let scene = Scene::new("upped").await;
    let (live, kept, stopped) = (scene.serving(1, Slot::Blue).await, 2, 3);
    scene.runtime.ensure(&live).await.unwrap();
    let kept = scene.serving(kept, Slot::Green).await;
    scene.runtime.ensure(&kept).await.unwrap();
    let stopped = scene.serving(stopped, Slot::Green).await;
    scene.runtime.ensure(&stopped).await.unwrap();
    scene.runtime.assign(&kept.backend, BackendRole::Kept).await.unwrap();
    for launch in [&kept, &stopped] {
        scene
            .docker
            .stop_container(
                &launch.backend.id.0,
                None::<bollard::query_parameters::StopContainerOptions>,
            )
            .await
            .unwrap();
    }
    let raised = scene.runtime.up(Some(&scene.scope)).await.unwrap();
    let seen: Vec<(&str, bool)> = raised
        .iter()
        .map(|raised| (raised.backend.as_str(), *raised.result.as_ref().unwrap()))
        .collect();
    assert_eq!(seen, [("upped.test.blue-r1-0", false), ("upped.test.green-r3-0", true)]);
    assert!(matches!(
        scene.runtime.inspect(&kept.backend).await.unwrap(),
        BackendState::Ended { .. }
    ));
    assert_eq!(answer(&stopped.backend.address).await, "green-3");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_healthcheck_decides_and_the_lack_of_one_is_not_health() {
    let daemon = Daemon::shared();
    let good = daemon
        .image(
            "checked:good",
            "good",
            &[r#"HEALTHCHECK --interval=1s CMD ["/specimen","exit","0"]"#],
        )
        .await;
    let bad = daemon
        .image(
            "checked:bad",
            "bad",
            &[r#"HEALTHCHECK --interval=1s --retries=1 CMD ["/specimen","exit","1"]"#],
        )
        .await;
    let scene = Scene::on(daemon, "checked", "checked:good", &good);
    let launch = scene.serving(1, Slot::Blue).await;
    scene.runtime.ensure(&launch).await.unwrap();
    let first = scene.state(&launch.backend, "running", runs).await;
    assert!(
        matches!(first, BackendState::Running { healthy: Some(false), .. }),
        "not decided is not healthy: {first:?}"
    );
    scene
        .state(&launch.backend, "healthy", |state| {
            matches!(state, BackendState::Running { healthy: Some(true), .. })
        })
        .await;

    let ill = Scene::on(daemon, "checked-ill", "checked:bad", &bad);
    let launch = ill.serving(1, Slot::Blue).await;
    ill.runtime.ensure(&launch).await.unwrap();
    crate::scene::eventually("the engine calls it unhealthy", async || {
        ill.inspect(&launch.backend.id.0).await.state.unwrap().health.unwrap().status
            == Some(bollard::models::HealthStatusEnum::UNHEALTHY)
    })
    .await;
    assert!(matches!(
        ill.runtime.inspect(&launch.backend).await.unwrap(),
        BackendState::Running { healthy: Some(false), .. }
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_reaches_the_program_and_no_label_message_or_log() {
    let scene = Scene::new("secretive").await;
    let mut spec = scene.spec(&["print-and-wait", "{slot}", "{release}", "{backend}", "{port}"]);
    spec.env.insert("PASSWORD".to_owned(), EnvValue::Secret("password".to_owned()));
    let launch = scene.launch(4, Slot::Green, spec.clone()).await;
    scene.runtime.ensure(&launch).await.unwrap();
    crate::scene::eventually("it has written", async || {
        scene.runtime.log_tail(&launch.backend, 10).await.unwrap().len() == 2
    })
    .await;
    assert_eq!(
        scene.runtime.log_tail(&launch.backend, 10).await.unwrap(),
        [format!("green 4 secretive.test.green-r4-0 {INSIDE}"), "PASSWORD=[redacted]".to_owned()]
    );
    let config = scene.inspect(&launch.backend.id.0).await.config.unwrap();
    assert!(config.env.unwrap().contains(&format!("PASSWORD={PASSWORD}")));
    assert!(!format!("{:?}{:?}", config.labels, config.cmd).contains(PASSWORD));

    spec.env.insert("PASSWORD".to_owned(), EnvValue::Secret("nobody-knows".to_owned()));
    let unknown = scene.launch(5, Slot::Blue, spec).await;
    let failure = scene.runtime.ensure(&unknown).await.expect_err("there is no such secret");
    assert!(matches!(failure, Failure::Refused { .. }), "{failure:?}");
    assert_eq!(failure.fault().kind, FaultKind::InvalidConfig);
    assert!(failure.fault().message.contains("nobody-knows"), "{failure:?}");
    assert_eq!(scene.containers().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_and_volumes_are_given_and_volumes_outlive_the_container() {
    let scene = Scene::new("given").await;
    let folder = tempfile::tempdir().unwrap();
    let mut spec = scene.spec(&["write-and-serve", "{port}", "/data/file", "{release}"]);
    spec.volumes =
        vec![format!("{}:/data", folder.path().display()), "given-volume:/more".to_owned()];
    spec.memory_bytes = Some(64 * 1024 * 1024);
    let launch = scene.launch(9, Slot::Blue, spec).await;
    scene.runtime.ensure(&launch).await.unwrap();
    answer(&launch.backend.address).await;
    assert_eq!(std::fs::read_to_string(folder.path().join("file")).unwrap(), "9");
    let host = scene.inspect(&launch.backend.id.0).await.host_config.unwrap();
    assert_eq!((host.memory, host.memory_swap), (Some(64 * 1024 * 1024), Some(64 * 1024 * 1024)));
    scene.runtime.retire(&launch.backend, GRACE).await.unwrap();
    scene.docker.inspect_volume("given-volume").await.expect("the volume is still there");
}
