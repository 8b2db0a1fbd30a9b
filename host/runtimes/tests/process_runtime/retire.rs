//! Ending a backend for good.

use crate::stage::{Stage, ask, is_alive, kill, told_pid, until};
use agente_engine::ports::{BackendState, Retired, Runtime};
use std::time::{Duration, Instant};

#[tokio::test]
async fn a_polite_backend_ends_at_once_and_retiring_again_finds_nothing() {
    let stage = Stage::new();
    let host = stage.host();
    let launch = stage.launch(&["child", "detached-child"]);
    host.ensure(&launch).await.unwrap();
    until("an answer", || ask(&launch.backend)).await;
    until("both grandchildren", || (stage.processes().1.len() >= 3).then_some(())).await;
    // At once: nobody sees this test end who waits the grace out.
    assert_eq!(
        host.retire(&launch.backend, Duration::from_hours(10)).await.unwrap(),
        Retired { found: true, killed: false }
    );
    assert_eq!(
        stage.processes(),
        (Vec::new(), Vec::new()),
        "grandchildren too, in their own session too"
    );
    assert!(!stage.directory(&launch.backend).exists());
    assert_eq!(host.inspect(&launch.backend).await.unwrap(), BackendState::Absent);
    assert_eq!(
        host.retire(&launch.backend, Duration::from_mins(1)).await.unwrap(),
        Retired { found: false, killed: false }
    );
}

#[tokio::test]
async fn a_backend_that_ignores_sigterm_is_killed_after_its_grace() {
    let stage = Stage::new();
    let host = stage.host();
    let launch = stage.launch(&["ignore-term", "child"]);
    host.ensure(&launch).await.unwrap();
    until("an answer", || ask(&launch.backend)).await;
    let began = Instant::now();
    assert_eq!(
        host.retire(&launch.backend, Duration::from_millis(700)).await.unwrap(),
        Retired { found: true, killed: true }
    );
    assert!(began.elapsed() >= Duration::from_millis(700));
    assert_eq!(stage.processes(), (Vec::new(), Vec::new()));
}

#[tokio::test]
async fn a_backend_whose_supervisor_was_killed_is_retired_by_the_host() {
    let stage = Stage::new();
    for (behaviours, grace, killed) in [
        (vec!["child"], Duration::from_mins(1), false),
        (vec!["child", "ignore-term"], Duration::from_millis(300), true),
    ] {
        let launch = stage.launch(&behaviours);
        stage.host().ensure(&launch).await.unwrap();
        let serving = told_pid(&until("an answer", || ask(&launch.backend)).await);
        kill(stage.supervisor(&launch.backend), "KILL");
        assert_eq!(
            stage.host().retire(&launch.backend, grace).await.unwrap(),
            Retired { found: true, killed }
        );
        assert!(!is_alive(serving));
        assert_eq!(stage.processes(), (Vec::new(), Vec::new()));
    }
}

#[tokio::test]
async fn a_retire_that_is_given_up_goes_on_and_a_less_patient_one_ends_it() {
    let stage = Stage::new();
    let launch = stage.launch(&["ignore-term"]);
    stage.host().ensure(&launch).await.unwrap();
    until("an answer", || ask(&launch.backend)).await;
    let host = stage.host();
    let dropped = tokio::time::timeout(
        Duration::from_millis(300),
        host.retire(&launch.backend, Duration::from_hours(10)),
    )
    .await;
    assert!(dropped.is_err());
    assert_eq!(
        host.retire(&launch.backend, Duration::from_millis(100)).await.unwrap(),
        Retired { found: true, killed: true }
    );
    assert_eq!(stage.processes(), (Vec::new(), Vec::new()));
}

#[tokio::test]
async fn a_half_removed_directory_is_removed_and_can_be_used_again() {
    let stage = Stage::new();
    let launch = stage.launch(&[]);
    let directory = stage.directory(&launch.backend);
    std::fs::create_dir_all(&directory).unwrap();
    std::fs::write(directory.join("log"), "left\n").unwrap();
    assert_eq!(stage.host().inspect(&launch.backend).await.unwrap(), BackendState::Absent);
    assert!(stage.host().retire(&launch.backend, Duration::ZERO).await.unwrap().found);
    std::fs::create_dir_all(&directory).unwrap();
    stage.host().ensure(&launch).await.unwrap();
    until("an answer", || ask(&launch.backend)).await;
}
