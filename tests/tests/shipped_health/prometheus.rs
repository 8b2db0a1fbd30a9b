//! `prometheus-health` as it is shipped, against a real Prometheus that scrapes an exporter of the
//! test's own.

use crate::{AMPLE, PATIENCE, SECRET, answering, assert_verdict, given, load, nobody, subject};
use agente_engine::fault::FaultKind;
use agente_engine::names::{PluginName, Timestamp};
use agente_engine::ports::{MetricQuery, MetricSource, Wanted};
use agente_engine::verdict::VerdictKind;
use agente_wasm::{Capabilities, GrantSource, LoadError, OperationContext, Plugin, WasmMetrics};
use serde_json::{Value, json};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tempfile::TempDir;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

/// A real Prometheus; killed when dropped.
struct Prometheus {
    url: String,
    child: Child,
    _folder: TempDir,
}

impl Prometheus {
    async fn start(exporter: &str) -> Self {
        let program = Path::new("/usr/bin/prometheus");
        assert!(
            program.exists(),
            "this test needs Prometheus at `/usr/bin/prometheus`: apt-get install prometheus"
        );
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("prometheus.yml");
        let job = format!("- job_name: shop\n  static_configs:\n  - targets: ['{exporter}']\n");
        std::fs::write(
            &file,
            format!(
                "global: {{ scrape_interval: 250ms, scrape_timeout: 250ms \
                 }}\nscrape_configs:\n{job}"
            ),
        )
        .unwrap();
        let address = nobody().await;
        let child = Command::new(program)
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()))
            .arg(format!("--web.listen-address={address}"))
            .arg("--log.level=error")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        Self { url: format!("http://{address}"), child, _folder: folder }
    }
}

/// A thousand requests a second, one in a hundred an error.
async fn exporter() -> String {
    let begun = Instant::now();
    answering(move |mut stream: TcpStream, _| async move {
        let all = begun.elapsed().as_millis();
        let body = format!(
            "http_requests_total{{code=\"200\"}} {}\nhttp_requests_total{{code=\"500\"}} {}\n",
            all - all / 100,
            all / 100
        );
        let answer = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: text/plain; version=0.0.4\r\ncontent-length: \
             {}\r\n\r\n{body}",
            body.len()
        );
        let _gone = stream.write_all(answer.as_bytes()).await;
    })
    .await
}

async fn plugin(config: Value) -> Plugin {
    load("prometheus-health", config, Vec::new(), GrantSource::Everything).await.unwrap()
}

async fn source(config: Value) -> WasmMetrics {
    plugin(config).await.metrics(OperationContext::default()).unwrap()
}

fn query(spec: Value) -> MetricQuery {
    MetricQuery { plugin: PluginName::new("prometheus-health").unwrap(), spec, timeout: AMPLE }
}

fn before_now(duration: Duration) -> Timestamp {
    let moment = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().saturating_sub(duration);
    Timestamp(u64::try_from(moment.as_millis()).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_prometheus_gives_numbers_and_verdicts_through_the_sandbox() {
    let exporter = exporter().await;
    let mut prometheus = Prometheus::start(&exporter).await;
    let config = json!({ "url": prometheus.url });
    let source = source(config.clone()).await;
    let (counters, subject) =
        (query(json!({ "template": "http-requests" })), subject(&[&exporter]));
    let begun = Instant::now();
    let reading = loop {
        let (from, to) = (before_now(Duration::from_secs(30)), before_now(Duration::ZERO));
        match source.read(&counters, Wanted::Samples, &subject, from, to).await {
            Ok(reading) if reading.series.iter().any(|series| series.points.len() >= 8) => {
                break reading;
            }
            Ok(_) => {}
            // It is just starting.
            Err(fault) => assert_eq!(
                (fault.kind, fault.retryable),
                (FaultKind::Unavailable, true),
                "{fault:?}"
            ),
        }
        assert!(begun.elapsed() < PATIENCE, "no samples came");
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    assert_eq!((reading.series.len(), reading.doubts.len()), (2, 0), "{reading:?}");
    assert!(
        reading
            .series
            .iter()
            .all(|series| series.labels.contains(&("instance".to_owned(), exporter.clone()))),
        "{reading:?}"
    );

    let rate = query(json!({ "template": "http-errors" }));
    let errors = source
        .read(
            &rate,
            Wanted::Value,
            &subject,
            before_now(Duration::from_secs(30)),
            before_now(Duration::ZERO),
        )
        .await
        .unwrap();
    let value =
        errors.series.first().and_then(|series| series.points.first()).map(|(_, value)| *value);
    assert!(value.is_some_and(|value| (value - 0.01).abs() < 0.005), "{errors:?}");

    assert_eq!(
        source
            .missing(&query(json!({ "query": "rate(http_request_total[{{window}}])" })))
            .await
            .unwrap(),
        ["http_request_total"]
    );
    let problems =
        source.check_query(&json!({ "query": "rate(up[5m])" }), Wanted::Samples).await.unwrap();
    assert_eq!(problems.iter().map(|problem| problem.path.as_str()).collect::<Vec<_>>(), ["query"]);

    let checker = plugin(config).await.checker(OperationContext::default()).unwrap();
    let verdict = checker
        .ask(&subject, &json!({ "template": "http-errors", "max": 0.02, "window": "30s" }), AMPLE)
        .await;
    assert_verdict(&verdict, VerdictKind::Healthy, &["the limit is at most 0.02"]);
    assert!(verdict.value.is_some_and(|value| (value - 0.01).abs() < 0.005), "{verdict:?}");
    assert_verdict(
        &checker.ask(&subject, &json!({ "query": "nosuch", "max": 1 }), AMPLE).await,
        VerdictKind::NoData,
        &["never seen nosuch"],
    );

    prometheus.child.kill().await.unwrap();
    let fault = source
        .read(
            &counters,
            Wanted::Samples,
            &subject,
            before_now(Duration::from_secs(9)),
            before_now(Duration::ZERO),
        )
        .await
        .unwrap_err();
    assert_eq!((fault.kind, fault.retryable), (FaultKind::Unavailable, true), "{fault:?}");
    assert_verdict(
        &checker.ask(&subject, &json!({ "query": "up", "max": 1 }), AMPLE).await,
        VerdictKind::Errored,
        &["can't connect"],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_reaches_prometheus_and_no_message() {
    // It hands the credentials back, and the fault would quote them.
    let echo = answering(|mut stream: TcpStream, head| async move {
        let body = format!(
            "{{\"status\":\"error\",\"errorType\":\"bad_data\",\"error\":{:?}}}",
            head.replace("\r\n", " ")
        );
        let _gone = stream
            .write_all(
                format!("HTTP/1.1 400 Bad Request\r\ncontent-length: {}\r\n\r\n{body}", body.len())
                    .as_bytes(),
            )
            .await;
    })
    .await;
    let url = format!("http://{echo}");
    let configs = [
        json!({ "url": url, "bearer": "health-token" }),
        json!({ "url": url, "basic": { "user": "ops", "password": "health-token" } }),
        json!({ "url": url, "secrets": ["health-token"], "headers": { "x-key": "{health-token}" } }),
    ];
    for config in configs {
        let read = source(config.clone()).await.missing(&query(json!({ "query": "up" }))).await;
        let fault = read.unwrap_err();
        assert_eq!((fault.kind, fault.retryable), (FaultKind::InvalidConfig, false), "{fault:?}");
        assert!(!fault.message.contains(SECRET), "{}", fault.message);
        assert!(
            !fault.message.contains("agente-secret"),
            "the placeholder went out as it is: {}",
            fault.message
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_grant_prometheus_is_not_asked() {
    let config = json!({ "url": "http://127.0.0.1:9090" });
    let plugin =
        load("prometheus-health", config, Vec::new(), GrantSource::Only(&Capabilities::default()))
            .await
            .unwrap();
    let source = plugin.metrics(OperationContext::default()).unwrap();
    let fault = source.missing(&query(json!({ "query": "up" }))).await.unwrap_err();
    assert_eq!((fault.kind, fault.retryable), (FaultKind::Denied, false), "{fault:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_section_without_a_server_is_refused_when_it_is_loaded() {
    let refused = load("prometheus-health", json!({}), Vec::new(), GrantSource::Everything)
        .await
        .err()
        .unwrap();
    let LoadError::ConfigRefused { problems, .. } = refused else { panic!("{refused:?}") };
    assert!(problems.iter().any(|problem| problem.message.contains("`url`")), "{problems:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_in_the_way_never_costs_more_than_the_querys_time() {
    let silent = answering(|mut stream: TcpStream, _| async move {
        let _end = tokio::io::AsyncReadExt::read(&mut stream, &mut [0; 1]).await; // returns when the plugin hangs up
    })
    .await;
    let source = source(json!({ "url": format!("http://{silent}") })).await;
    let asked = MetricQuery { timeout: Duration::from_secs(2), ..query(json!({ "query": "up" })) };
    let fault = source
        .read(&asked, Wanted::Value, &subject(&[]), Timestamp(1000), Timestamp(2000))
        .await
        .unwrap_err();
    assert!(
        fault.retryable && matches!(fault.kind, FaultKind::Unavailable | FaultKind::TimedOut),
        "{fault:?}"
    );
    let words = format!("{} {}", fault.message, fault.causes.join(" "));
    assert!(given(&words) <= asked.timeout, "{words}");
}
