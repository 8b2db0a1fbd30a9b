//! Logs: complete, in order, masked, through broken connections.

use crate::daemon::Daemon;
use crate::proxy::{Loss, Proxy};
use crate::scene::{PASSWORD, PATIENCE, Scene};
use agente_engine::fault::FaultKind;
use agente_engine::names::Timestamp;
use agente_engine::ports::Runtime;
use agente_engine::release::EnvValue;
use agente_engine::route::Slot;
use agente_runtimes::docker::LogSource;
use std::time::Duration;

const LINES: usize = 6000;

#[tokio::test(flavor = "multi_thread")]
async fn a_followed_log_is_complete_and_in_order_though_the_connection_breaks_again_and_again() {
    let scene = Scene::new("followed").await;
    let launch = scene
        .launch(1, Slot::Blue, scene.spec(&["count", &LINES.to_string(), "20", "then-wait"]))
        .await;
    let proxy = Proxy::before(Daemon::shared().socket.clone(), Loss::Never);
    let through = scene.runtime_through(&proxy.socket);
    through.ensure(&launch).await.unwrap();
    let mut lines = through.follow(&launch.backend, Timestamp(0));
    let (mut out, mut err, mut cuts) = (Vec::new(), Vec::new(), 0);
    while out.len() < LINES || err.len() < LINES {
        let line = tokio::time::timeout(PATIENCE, lines.recv())
            .await
            .expect("the log goes on")
            .expect("it has not ended")
            .expect("no fault");
        match line.source {
            LogSource::Out => out.push(line.text),
            LogSource::Err => err.push(line.text),
        }
        if (out.len() + err.len()) % 2500 == 0 {
            proxy.cut_all();
            cuts += 1;
        }
    }
    assert!(cuts >= 4, "{cuts} cuts");
    assert_eq!(out, (0..LINES).map(|line| format!("out {line}")).collect::<Vec<_>>());
    assert_eq!(err, (0..LINES).map(|line| format!("err {line}")).collect::<Vec<_>>());
    scene.runtime.retire(&launch.backend, Duration::ZERO).await.unwrap();
    let end = tokio::time::timeout(PATIENCE, lines.recv()).await.expect("the end is noticed");
    assert!(end.is_none(), "{end:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_followed_log_goes_on_over_crashes_of_the_program() {
    let scene = Scene::new("followed-on").await;
    let launch = scene.launch(1, Slot::Blue, scene.spec(&["crash-after", "50"])).await;
    scene.runtime.ensure(&launch).await.unwrap();
    let mut lines = scene.runtime.follow(&launch.backend, Timestamp(0));
    let mut stamps = Vec::new();
    for _ in 0..3 {
        let line = tokio::time::timeout(PATIENCE, lines.recv()).await.unwrap().unwrap().unwrap();
        assert_eq!(line.text, "about to crash");
        stamps.push(line.at);
    }
    assert!(stamps.is_sorted() && stamps[0] < stamps[2], "{stamps:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tail_has_the_newest_lines_and_long_ones_are_cut_behind_the_mask() {
    let scene = Scene::new("tailed").await;
    let long = "y".repeat(40_000);
    let mut spec = scene.spec(&["print-and-wait", &format!("{long}{PASSWORD}")]);
    spec.env.insert("PASSWORD".to_owned(), EnvValue::Secret("password".to_owned()));
    let launch = scene.launch(1, Slot::Blue, spec).await;
    scene.runtime.ensure(&launch).await.unwrap();
    crate::scene::eventually("both lines are there", async || {
        scene.runtime.log_tail(&launch.backend, 10).await.unwrap().len() == 2
    })
    .await;
    let lines = scene.runtime.log_tail(&launch.backend, 10).await.unwrap();
    assert!(
        lines[0].starts_with("yyy") && lines[0].len() < 20_000 && !lines[0].contains("correct"),
        "{} bytes",
        lines[0].len()
    );
    assert_eq!(scene.runtime.log_tail(&launch.backend, 1).await.unwrap(), ["PASSWORD=[redacted]"]);
    let nobody = crate::scene::backend("tailed.test.blue-r9-0", 1);
    assert_eq!(scene.runtime.log_tail(&nobody, 1).await.unwrap_err().kind, FaultKind::Failed);
}

#[tokio::test(flavor = "multi_thread")]
async fn following_what_is_not_there_ends_with_a_fault() {
    let scene = Scene::new("unfollowed").await;
    let mut lines =
        scene.runtime.follow(&crate::scene::backend("unfollowed.test.blue-r1-0", 1), Timestamp(0));
    let fault = lines.recv().await.expect("an answer").expect_err("nothing is there");
    assert!(fault.message.contains("`unfollowed.test.blue-r1-0`"));
    assert!(lines.recv().await.is_none());
}
