//! The load client itself: what it counts is what the server did, and it stops as it says.

#![expect(clippy::expect_used, reason = "a test says what it expected and ends")]

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use agente_tests::load::{Load, Mode, Options, Report};
use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use sha2::{Digest, Sha256};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

const PATIENCE: Duration = Duration::from_secs(30);

/// What the server is told, and what it did.
#[derive(Default)]
struct State {
    /// Every which request fails with 500; none with 0.
    fail_every: AtomicU64,
    /// Says of a posted body that it was another.
    lie: AtomicBool,
    /// Answers as `2` and no longer as `1`.
    switched: AtomicBool,
    requests: AtomicU64,
    failed: AtomicU64,
    posts: AtomicU64,
    slow: AtomicU64,
    most_slow: AtomicU64,
}

struct Server {
    address: SocketAddr,
    state: Arc<State>,
    _serving: JoinSet<()>,
}

impl Server {
    /// Serves; closes a connection that has been idle for this long without a word.
    async fn start(idle: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let (address, state) =
            (listener.local_addr().expect("an address"), Arc::new(State::default()));
        let (mut serving, shared) = (JoinSet::new(), Arc::clone(&state));
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.expect("a connection");
                let shared = Arc::clone(&shared);
                connections.spawn(async move {
                    let service = service_fn(move |request| answer(Arc::clone(&shared), request));
                    let _ = http1::Builder::new()
                        .timer(TokioTimer::new())
                        .header_read_timeout(idle)
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
                while connections.try_join_next().is_some() {}
            }
        });
        Self { address, state, _serving: serving }
    }

    fn options(&self) -> Options {
        Options {
            header_identity: Some("X-Release".to_owned()),
            ..Options::new(format!("http://{}/api/items", self.address))
        }
    }
}

async fn answer(
    state: Arc<State>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let release = if state.switched.load(Ordering::SeqCst) { "2" } else { "1" };
    let text = if head.uri.path() == "/slow" {
        let slow = state.slow.fetch_add(1, Ordering::SeqCst) + 1;
        state.most_slow.fetch_max(slow, Ordering::SeqCst);
        sleep(Duration::from_millis(300)).await;
        state.slow.fetch_sub(1, Ordering::SeqCst);
        String::new()
    } else if head.method == Method::POST {
        state.posts.fetch_add(1, Ordering::SeqCst);
        let digest = if state.lie.load(Ordering::SeqCst) {
            Sha256::digest(b"other")
        } else {
            Sha256::digest(&body)
        };
        format!(
            "{{\"length\": {}, \"sha256\": \"{}\", \"more\": 1}}",
            body.len(),
            hex::encode(digest)
        )
    } else {
        "[]".to_owned()
    };
    let number = state.requests.fetch_add(1, Ordering::SeqCst) + 1;
    let fail_every = state.fail_every.load(Ordering::SeqCst);
    let fails = number.is_multiple_of(fail_every);
    if fails {
        state.failed.fetch_add(1, Ordering::SeqCst);
    }
    // Who tells who they are is told so.
    let said =
        head.headers.get("cookie").and_then(|cookie| cookie.to_str().ok()).unwrap_or(release);
    let response =
        Response::builder().status(if fails { 500 } else { 200 }).header("X-Release", said);
    Ok(response.body(Full::from(text)).expect("an answer"))
}

async fn until(load: &Load, what: &str, wanted: impl Fn(&Report) -> bool) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let report = load.report();
        if wanted(&report) {
            return;
        }
        assert!(Instant::now() < deadline, "never {what}: {report}");
        sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_request_to_a_good_server_is_accounted_for_in_each_kind_of_loop() {
    for (rate, mode) in [
        (Some(400.0), Mode::Close),
        (Some(400.0), Mode::KeepAlive),
        (None, Mode::Close),
        (None, Mode::KeepAlive),
    ] {
        let server = Server::start(PATIENCE).await;
        let options = Options {
            rate,
            mode,
            mix: vec![Method::GET, Method::POST],
            think: Duration::from_millis(20),
            connections: 8,
            ..server.options()
        };
        let mut load = Load::start(&options).expect("fit options");
        until(&load, "at 300", |report| report.succeeded >= 300).await;
        let report = load.stop().await;
        assert_eq!(
            (report.failed_total, report.idle_resets, report.unfinished),
            (0, 0, 0),
            "{rate:?} {mode:?}: {report}"
        );
        assert_eq!(
            (report.sent, report.succeeded),
            (server.state.requests.load(Ordering::SeqCst), report.sent),
            "{rate:?} {mode:?}"
        );
        assert_eq!(report.posts_verified, server.state.posts.load(Ordering::SeqCst));
        assert!(report.posts_verified.abs_diff(report.sent / 2) <= 1);
        assert_eq!(report.by_identity, BTreeMap::from([("1".to_owned(), report.sent)]));
        assert_eq!(report.timeline.iter().map(|window| window.succeeded).sum::<u64>(), report.sent);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn users_come_in_turn_with_their_cookies_and_what_became_of_each_request_is_remembered() {
    let server = Server::start(PATIENCE).await;
    server.state.fail_every.store(10, Ordering::SeqCst);
    let mut load = Load::start(&Options {
        rate: Some(400.0),
        users: Some(3),
        record: true,
        ..server.options()
    })
    .expect("fit options");
    until(&load, "at 100", |report| report.succeeded >= 100).await;
    let report = load.stop().await;
    let records = load.records();
    assert_eq!(u64::try_from(records.len()).expect("few"), report.sent);
    for record in &records {
        assert_eq!(record.identity, format!("uid=user-{}", record.user));
        assert!(record.sent_ms <= record.ended_ms);
    }
    for user in 0..3 {
        let visits = records.iter().filter(|record| record.user == user).count();
        assert!(
            visits.abs_diff(records.len() / 3) <= 1,
            "user {user} came {visits} times of {}",
            records.len()
        );
    }
    let bad = records.iter().filter(|record| record.is_bad()).count();
    assert_eq!(u64::try_from(bad).expect("few"), server.state.failed.load(Ordering::SeqCst));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failures_are_counted_as_often_as_the_server_failed() {
    let server = Server::start(PATIENCE).await;
    server.state.fail_every.store(7, Ordering::SeqCst);
    let mut load =
        Load::start(&Options { rate: Some(300.0), ..server.options() }).expect("fit options");
    until(&load, "at 200", |report| report.succeeded >= 200).await;
    let report = load.stop().await;
    assert_eq!(
        report.failed,
        BTreeMap::from([("status-5xx".to_owned(), server.state.failed.load(Ordering::SeqCst))])
    );
    assert_eq!(report.succeeded + report.failed_total, report.sent);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_checksum_or_status_is_a_wrong_answer() {
    let server = Server::start(PATIENCE).await;
    server.state.lie.store(true, Ordering::SeqCst);
    let options = Options { mix: vec![Method::POST], ..server.options() };
    let mut load = Load::start(&options).expect("fit options");
    until(&load, "at 50", |report| report.failed_total >= 50).await;
    let report = load.stop().await;
    assert_eq!(report.failed.keys().collect::<Vec<_>>(), ["wrong-answer"]);
    assert_eq!((report.succeeded, report.posts_verified), (0, 0));
    assert!(
        report.samples[0].contains("POST /api/items on a fresh connection"),
        "{:?}",
        report.samples
    );

    let mut load = Load::start(&Options { no_verify: true, ..options }).expect("fit options");
    until(&load, "at 50", |report| report.succeeded >= 50).await;
    assert_eq!(load.stop().await.failed_total, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_closed_while_idle_cost_a_careless_client_each_and_a_careful_one_none() {
    let server = Server::start(Duration::from_millis(100)).await;
    let options = Options {
        mode: Mode::KeepAlive,
        connections: 4,
        think: Duration::from_millis(400),
        ..server.options()
    };
    let mut load = Load::start(&options).expect("fit options");
    until(&load, "reset", |report| report.idle_resets >= 4 && report.succeeded >= 8).await;
    let report = load.stop().await;
    assert_eq!((report.failed_total, report.unfinished), (0, 0), "{report}");
    assert!(
        report.idle_resets >= 4
            && report.samples.iter().all(|sample| sample.contains("on a reused connection")),
        "{report}"
    );

    let mut load = Load::start(&Options { careful: true, ..options }).expect("fit options");
    until(&load, "at 16", |report| report.succeeded >= 16).await;
    let report = load.stop().await;
    assert_eq!((report.failed_total, report.idle_resets), (0, 0), "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_requests_are_always_in_flight_and_are_waited_for_at_the_end() {
    let server = Server::start(PATIENCE).await;
    let options = Options {
        rate: Some(100.0),
        slow_path: Some("/slow".to_owned()),
        slow_inflight: 5,
        ..server.options()
    };
    let mut load = Load::start(&options).expect("fit options");
    until(&load, "at 15 slow ones", |report| report.slow.succeeded >= 15).await;
    let report = load.stop().await;
    assert_eq!(server.state.most_slow.load(Ordering::SeqCst), 5);
    assert_eq!(
        (report.slow.sent, report.slow.failed, report.unfinished),
        (report.slow.succeeded, 0, 0),
        "{report}"
    );
    assert!(report.latency_us.p50 < 300_000, "slow requests are in the latency: {report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_switch_is_found_to_the_millisecond() {
    let server = Server::start(PATIENCE).await;
    let mut load =
        Load::start(&Options { rate: Some(500.0), ..server.options() }).expect("fit options");
    until(&load, "at 100", |report| report.succeeded >= 100).await;
    let at = agente_probe::now_ms();
    server.state.switched.store(true, Ordering::SeqCst);
    until(&load, "switched", |report| {
        report.by_identity.get("2").is_some_and(|count| *count >= 100)
    })
    .await;
    let report = load.stop().await;
    assert_eq!(report.switches.len(), 1, "{report}");
    let switch = &report.switches[0];
    assert_eq!((switch.from.as_str(), switch.to.as_str()), ("1", "2"));
    assert!(
        switch.first_answer_ms >= at && switch.first_answer_ms < at + 1000,
        "{switch:?}, switched at {at}"
    );
    assert!(switch.last_sent_to_old_ms < at + 1000, "{switch:?}, switched at {at}");
}

fn spawn(arguments: &[&str]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_strict-load"))
        .args(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_binary_prints_its_report_when_it_is_asked_to_stop_and_exits_with_0() {
    let server = Server::start(PATIENCE).await;
    let url = format!("http://{}/api/items", server.address);
    let mut child = spawn(&[
        "--url",
        &url,
        "--rate",
        "200",
        "--mix",
        "get,post",
        "--header-identity",
        "x-release",
        "--report",
        "json",
    ]);
    let mut errors = BufReader::new(child.stderr.take().expect("its errors"));
    let (line, child) = tokio::task::spawn_blocking(move || {
        let mut line = String::new();
        errors.read_line(&mut line).expect("a line");
        (line, child)
    })
    .await
    .expect("a line");
    assert!(line.starts_with("strict-load: first answer after "), "{line}");
    let stopped = Command::new("kill")
        .args(["-TERM", &child.id().to_string()])
        .status()
        .expect("it can be signalled");
    assert!(stopped.success());
    let output = tokio::task::spawn_blocking(move || child.wait_with_output())
        .await
        .expect("it ends")
        .expect("it ends");
    assert_eq!(output.status.code(), Some(0));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("a JSON report");
    assert_eq!(report["sent"], report["succeeded"]);
    assert_eq!(report["by_identity"]["1"], report["sent"]);
    assert_eq!((&report["failed_total"], &report["unfinished"]), (&0.into(), &0.into()));
    assert!(report["latency_us"]["p99"].as_u64() > Some(0) && report["timeline"].is_array());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_binary_exits_with_0_however_bad_it_was_and_with_2_only_when_misused() {
    let nobody = { Server::start(PATIENCE).await.address };
    let url = format!("http://{nobody}/");
    let mut child = spawn(&["--url", &url, "--rate", "50", "--duration", "0.5s"]);
    let mut text = String::new();
    child.stdout.take().expect("its output").read_to_string(&mut text).expect("text");
    assert_eq!(child.wait().expect("it ends").code(), Some(0));
    assert!(text.contains("  succeeded    0") && text.contains("    connect      "), "{text}");

    for wrong in [
        vec!["--url", "nonsense"],
        vec!["--rate", "1"],
        vec!["--url", &url, "--rate", "0"],
        vec!["--url", &url, "--mix", "put"],
        vec!["--url", &url, "--slow-path", "x"],
    ] {
        let output = spawn(&wrong).wait_with_output().expect("it ends");
        assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{wrong:?}");
    }
}
