//! Plugins that give numbers for analysis: what is made of their answers, good and hostile.

use crate::fixture::{World, words};
use agente_engine::fault::{Fault, FaultKind};
use agente_engine::names::{BackendId, PluginName, ReleaseNumber, Timestamp};
use agente_engine::ports::{MetricQuery, MetricSource, Reading, Wanted};
use agente_engine::route::{Backend, Slot};
use agente_engine::verdict::Subject;
use agente_wasm::{GrantSource, OperationContext, PluginKind, WasmMetrics};
use serde_json::{Value, json};
use std::time::Duration;

async fn source(config: Value) -> WasmMetrics {
    let plugin = World::default()
        .try_load(PluginKind::HealthCheck, "metrics", config, GrantSource::Everything)
        .await
        .unwrap();
    plugin.metrics(OperationContext::default()).unwrap()
}

fn query(timeout: Duration) -> MetricQuery {
    MetricQuery {
        plugin: PluginName::new("test-guest").unwrap(),
        spec: json!({ "query": "up" }),
        timeout,
    }
}

fn subject() -> Subject {
    let backends = vec![Backend {
        id: BackendId("b1".to_owned()),
        address: "127.0.0.1:18100".to_owned(),
        placement: agente_engine::placement::Placement::Process,
    }];
    Subject { slot: Some(Slot::Green), release: Some(ReleaseNumber(7)), backends, public_url: None }
}

async fn read(config: Value) -> Result<Reading, Fault> {
    source(config)
        .await
        .read(
            &query(Duration::from_mins(1)),
            Wanted::Samples,
            &subject(),
            Timestamp(1000),
            Timestamp(2000),
        )
        .await
}

#[tokio::test]
async fn numbers_and_doubts_reach_the_engine_as_they_are() {
    let reading = read(json!({ "act": "context" })).await.unwrap();
    let [series] = reading.series.as_slice() else { panic!("{reading:?}") };
    assert_eq!(series.labels, [("a".to_owned(), "b".to_owned())]);
    assert_eq!(series.points, [(Timestamp(1000), 1.5), (Timestamp(2000), 2.5)]);
    // It reads: the phase, and the backends that it is asked about, are the operation's own.
    assert!(
        reading.doubts[0].contains(" read ") && reading.doubts[0].contains("127.0.0.1:18100"),
        "{:?}",
        reading.doubts
    );
    assert_eq!(reading.doubts[1], r#"green 7 {"query":"up"} samples"#);
    let source = source(json!({})).await;
    assert_eq!(source.missing(&query(Duration::from_mins(1))).await.unwrap(), ["done"]);
    let problems = source.check_query(&json!({}), Wanted::Value).await.unwrap();
    assert_eq!(
        (problems[0].path.as_str(), problems[0].message.as_str()),
        ("query", "is missing for value")
    );
    assert!(source.check_query(&json!({ "query": "up" }), Wanted::Value).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_plugin_without_numbers_says_so() {
    for (kind, config) in
        [(PluginKind::HealthCheck, json!({})), (PluginKind::TrafficSwitcher, json!({}))]
    {
        let plugin =
            World::default().try_load(kind, "", config, GrantSource::Everything).await.unwrap();
        let fault = plugin.metrics(OperationContext::default()).err().unwrap();
        assert_eq!((fault.kind, fault.retryable), (FaultKind::Unsupported, false));
        assert!(
            fault.message.contains("`test-guest` 0.1.0 provides no metrics")
                && fault.message.contains("agente:health/metrics"),
            "{}",
            fault.message
        );
    }
}

#[tokio::test]
async fn answers_that_no_analysis_can_use_are_faults() {
    for (config, told) in [
        (json!({ "reading": "nan" }), "has `NaN` at 2"),
        (json!({ "reading": "infinite" }), "has `-inf` at 1"),
        (json!({ "reading": "backwards" }), "go backwards, from 2 to 1"),
        (json!({ "reading": "twice" }), "go backwards, from 1 to 1"),
        (json!({ "reading": "series", "count": 2001 }), "2001 series"),
        (json!({ "reading": "points", "count": 200_000 }), "more than 1MiB in one call"),
        // The guest's memory may be used up before it has made them all.
        (json!({ "reading": "points", "count": 1_000_000 }), "more than"),
        (json!({ "act": "trap" }), "out of luck"),
        (json!({ "act": "spin" }), "it used more than 300ms of CPU time"),
        (json!({ "act": "hog" }), "of memory"),
    ] {
        let fault = read(config.clone()).await.unwrap_err();
        assert_eq!(
            (fault.kind, fault.retryable),
            (FaultKind::PluginCrashed, false),
            "{config}: {}",
            words(&fault)
        );
        assert!(words(&fault).contains(told), "{config}: {}", words(&fault));
        assert!(fault.message.contains("`test-guest` 0.1.0"), "{}", fault.message);
    }
    let many = read(json!({ "reading": "points", "count": 60_000 })).await.unwrap();
    assert_eq!(many.series[0].points.len(), 60_000);
}

#[tokio::test]
async fn a_source_that_never_answers_ends_with_the_querys_time_and_may_be_asked_again() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let config = json!({ "act": "connect", "host": "127.0.0.1", "port": port, "send": "x", "may": { "connect": format!("127.0.0.1:{port}") } });
    let source = source(config).await;
    let fault = source
        .read(
            &query(Duration::from_millis(500)),
            Wanted::Value,
            &subject(),
            Timestamp(1),
            Timestamp(2),
        )
        .await
        .unwrap_err();
    assert_eq!((fault.kind, fault.retryable), (FaultKind::TimedOut, true), "{}", words(&fault));
    assert_eq!(
        source.missing(&query(Duration::from_millis(300))).await.unwrap_err().kind,
        FaultKind::TimedOut
    );
}

#[tokio::test]
async fn only_a_source_that_is_away_may_be_asked_again() {
    for (code, kind) in [
        ("unavailable", FaultKind::Unavailable),
        ("invalid-config", FaultKind::InvalidConfig),
        ("unsupported", FaultKind::Unsupported),
    ] {
        let fault = read(json!({ "act": "fail", "code": code })).await.unwrap_err();
        // The guest never says that it may be retried.
        assert_eq!((fault.kind, fault.retryable), (kind, false), "{}", words(&fault));
    }
    let denied = read(json!({ "act": "connect", "host": "127.0.0.1", "port": 9, "send": "x" }))
        .await
        .unwrap_err();
    assert_eq!((denied.kind, denied.retryable), (FaultKind::Denied, false), "{}", words(&denied));
    // It looks in the read phase: nothing may be changed.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a");
    let wrote =
        read(json!({ "act": "replace", "path": path, "text": "x", "may": { "write": path } }))
            .await
            .unwrap_err();
    assert_eq!(wrote.kind, FaultKind::Denied, "{}", words(&wrote));
    assert!(!path.exists());
}
