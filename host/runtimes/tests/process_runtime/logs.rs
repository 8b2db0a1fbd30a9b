//! What a backend wrote.

use crate::stage::{PATIENCE, Stage, ask, kill, set_env, told_pid, until};
use agente_engine::ports::Runtime;
use agente_engine::release::EnvValue;
use futures_util::StreamExt;
use std::fs;
use std::time::Duration;

#[tokio::test]
async fn a_log_is_bounded_while_its_backend_writes_and_keeps_the_newest_lines() {
    let mut stage = Stage::new();
    stage.limits.log_max_bytes = 64 * 1024;
    let host = stage.host();
    let launch = stage.launch(&["lines=300000"]);
    host.ensure(&launch).await.unwrap();
    until("an answer, which comes after the last line", || ask(&launch.backend)).await;
    let directory = stage.directory(&launch.backend);
    let sizes = || -> Vec<u64> {
        ["log", "log.1", "log.2", "log.3"]
            .iter()
            .filter_map(|name| fs::metadata(directory.join(name)).ok())
            .map(|file| file.len())
            .collect()
    };
    until("a bounded log", || {
        (sizes().len() >= 2 && sizes().iter().all(|size| *size <= 2 * 64 * 1024)).then_some(())
    })
    .await;
    assert!(sizes().len() <= 3, "{:?}", sizes());
    let tail = host.log_tail(&launch.backend, 1000).await.unwrap();
    assert_eq!(tail.len(), 1000, "across files");
    assert_eq!(
        (tail.first().unwrap().as_str(), tail.last().unwrap().as_str()),
        ("line 0299000", "line 0299999")
    );
}

#[tokio::test]
async fn a_secret_that_a_backend_prints_is_masked_and_the_report_withheld_when_it_is_not_known() {
    let stage = Stage::new();
    stage.vault.values.lock().unwrap().insert("db".to_owned(), "hunter2-value".to_owned());
    let host = stage.host();
    let mut release = stage.release(1, &["print=DB"]);
    set_env(&mut release, "DB", EnvValue::Secret("db".to_owned()));
    let launch = stage.launch_of(release);
    host.ensure(&launch).await.unwrap();
    let serving = told_pid(&until("an answer", || ask(&launch.backend)).await);
    assert_eq!(host.log_tail(&launch.backend, 10).await.unwrap(), ["DB [redacted]"]);
    stage.vault.values.lock().unwrap().insert("db".to_owned(), "a new value".to_owned());
    assert_eq!(
        host.log_tail(&launch.backend, 10).await.unwrap(),
        ["DB [redacted]"],
        "the value it was started with, not only today's"
    );
    stage.vault.values.lock().unwrap().clear();
    assert_eq!(host.log_tail(&launch.backend, 10).await.unwrap(), ["DB [redacted]"]);
    kill(stage.supervisor(&launch.backend), "KILL");
    kill(serving, "KILL");
    until("their end", || (stage.processes() == (Vec::new(), Vec::new())).then_some(())).await;
    let fault = host.log_tail(&launch.backend, 10).await.unwrap_err();
    assert!(fault.message.contains("withheld"), "{}", fault.message);
    stage.vault.values.lock().unwrap().insert("db".to_owned(), "hunter2-value".to_owned());
    host.retire(&launch.backend, Duration::ZERO).await.unwrap();
    assert_eq!(
        host.log_tail(&launch.backend, 10).await.unwrap(),
        ["DB [redacted]"],
        "kept after the backend is gone"
    );
}

#[tokio::test]
async fn a_followed_log_goes_on_until_the_backend_is_retired() {
    let stage = Stage::new();
    let host = stage.host();
    let launch = stage.launch(&["lines=3", "crash-on-request"]);
    host.ensure(&launch).await.unwrap();
    until("three lines", || {
        fs::read_to_string(stage.directory(&launch.backend).join("log"))
            .ok()
            .filter(|log| log.contains("line 0000002"))
    })
    .await;
    let mut lines = host.logs(&launch.backend, 2, true).await.unwrap();
    let mut next =
        async || tokio::time::timeout(PATIENCE, lines.next()).await.unwrap().map(Result::unwrap);
    assert_eq!(
        (next().await.unwrap(), next().await.unwrap()),
        ("line 0000001".to_owned(), "line 0000002".to_owned())
    );
    until("a connection", || {
        std::net::TcpStream::connect(&launch.backend.address)
            .and_then(|mut stream| std::io::Write::write_all(&mut stream, b"x"))
            .ok()
    })
    .await;
    assert!(next().await.unwrap().starts_with("[agente-host] exit code 5 after"));
    assert_eq!(next().await.unwrap(), "line 0000000");
    host.retire(&launch.backend, Duration::from_secs(5)).await.unwrap();
    let mut rest = Vec::new();
    while let Some(line) = next().await {
        rest.push(line);
    }
    assert!(rest.last().unwrap().starts_with("[agente-host] stopped after"), "{rest:?}");
    let kept: Vec<String> =
        host.logs(&launch.backend, 1, true).await.unwrap().map(Result::unwrap).collect().await;
    assert_eq!(kept, &rest[rest.len() - 1..]);
}

#[tokio::test]
async fn logs_of_retired_backends_are_kept_up_to_twenty() {
    let stage = Stage::new();
    let host = stage.host();
    let folder = stage.state().join("retired-logs");
    fs::create_dir_all(&folder).unwrap();
    for number in 0..30 {
        fs::write(folder.join(format!("old-{number}.{number}.log")), "old\n").unwrap();
        fs::write(folder.join(format!("old-{number}.{number}.secrets")), "{}").unwrap();
    }
    let launch = stage.launch(&["lines=1"]);
    host.ensure(&launch).await.unwrap();
    until("an answer", || ask(&launch.backend)).await;
    host.retire(&launch.backend, Duration::from_secs(5)).await.unwrap();
    assert_eq!(
        fs::read_dir(&folder).unwrap().count(),
        40,
        "twenty, each with the names of its secrets"
    );
    assert!(!folder.join("old-10.10.log").exists() && folder.join("old-11.11.log").exists());
    assert_eq!(host.log_tail(&launch.backend, 10).await.unwrap()[0], "line 0000000");
}
