//! What the plugin makes of a real Prometheus that scrapes a real exporter.

use crate::servers::{Exporter, Prometheus, until};
use agente_plugin_sdk::health::Outcome;
use agente_plugin_sdk::native::NativeHost;
use agente_plugin_sdk::{
    Backend, Code, Failure, HealthCheck, MetricSource, Reading, Subject, Verdict, Wanted, Window,
};
use prometheus_health::PrometheusHealth;
use prometheus_health::check::CheckTable;
use prometheus_health::config::Config;
use prometheus_health::query::QueryTable;
use std::fmt::Write as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Requests with one error in a hundred, nine tenths below 100 ms, 99 of 100 below 500 ms; and
/// metrics that are odd, each in its own way.
fn metrics(elapsed_ms: u128) -> String {
    // A thousand requests a second.
    let all = elapsed_ms;
    let mut text = String::new();
    let mut line = |line: String| writeln!(text, "{line}").expect("a text takes a line");
    line(format!("http_requests_total{{code=\"200\"}} {}", all - all / 100));
    line(format!("http_requests_total{{code=\"500\"}} {}", all / 100));
    line("quiet_requests_total{code=\"200\"} 5".to_owned());
    line(format!("good_requests_total{{code=\"200\"}} {all}"));
    for (le, part) in [("0.1", 90), ("0.5", 99), ("+Inf", 100)] {
        line(format!("http_request_duration_seconds_bucket{{le=\"{le}\"}} {}", all * part / 100));
    }
    line("odd_gauge NaN".to_owned());
    line("high_gauge +Inf".to_owned());
    line("queue_depth{queue=\"a\"} 1\nqueue_depth{queue=\"b\"} 2".to_owned());
    line("process_open_fds 50\nprocess_max_fds 100".to_owned());
    text
}

struct Asked {
    config: Config,
    subject: Subject,
}

impl Asked {
    fn new(prometheus: &Prometheus, exporter: &Exporter) -> Self {
        let config = serde_json::from_str(&format!(r#"{{"url": "{}/"}}"#, prometheus.url))
            .expect("a configuration");
        let backends = vec![Backend {
            id: "b0".to_owned(),
            address: exporter.address.clone(),
            labels: Vec::new(),
        }];
        Self {
            config,
            subject: Subject { slot: "green".to_owned(), release: 7, backends, labels: Vec::new() },
        }
    }

    fn host() -> NativeHost {
        NativeHost::new("shop", "production")
    }

    fn try_check(&self, table: &str) -> Result<Verdict, Failure> {
        let table: CheckTable = serde_json::from_str(table).expect("a table");
        assert_eq!(PrometheusHealth::check_spec(&table), []);
        PrometheusHealth::check(&Self::host(), &self.config, &self.subject, &table)
    }

    #[track_caller]
    fn check(&self, table: &str, outcome: Outcome, part: &str) -> Verdict {
        let verdict = self.try_check(table).expect(table);
        assert_eq!(verdict.outcome, outcome, "{table}: {}", verdict.reason);
        assert!(verdict.reason.contains(part), "`{part}` is not in: {}", verdict.reason);
        verdict
    }

    fn try_read(&self, table: &str, wanted: Wanted, window: Window) -> Result<Reading, Failure> {
        let table: QueryTable = serde_json::from_str(table).expect("a table");
        assert_eq!(PrometheusHealth::check_query(&table, wanted), []);
        PrometheusHealth::query(&Self::host(), &self.config, &self.subject, &table, wanted, window)
    }

    fn missing(&self, table: &str) -> Result<Vec<String>, Failure> {
        let table: QueryTable = serde_json::from_str(table).expect("a table");
        PrometheusHealth::missing(&Self::host(), &self.config, &table)
    }

    /// Waits until so many scrapes are stored.
    fn wait_for_scrapes(&self, count: usize) {
        until("enough scrapes", || {
            let reading = self
                .try_read(
                    r#"{"query": "process_open_fds"}"#,
                    Wanted::Samples,
                    last(Duration::from_mins(1)),
                )
                .ok()?;
            reading.series.first().filter(|series| series.points.len() >= count).map(drop)
        });
    }
}

fn last(length: Duration) -> Window {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock");
    let milliseconds = |duration: Duration| u64::try_from(duration.as_millis()).expect("a time");
    Window { start_ms: milliseconds(now.saturating_sub(length)), end_ms: milliseconds(now) }
}

#[test]
fn each_answer_of_a_real_server_has_its_meaning() {
    let exporter = Exporter::start(metrics);
    let prometheus = Prometheus::start(&exporter);
    let asked = Asked::new(&prometheus, &exporter);
    asked.wait_for_scrapes(12);

    // Verdicts: a number against its limit.
    let healthy = asked.check(
        r#"{"template": "http-errors", "max": 0.02, "window": "30s"}"#,
        Outcome::Healthy,
        "the limit is at most 0.02",
    );
    assert!(healthy.value.is_some_and(|value| (value - 0.01).abs() < 0.005), "{:?}", healthy.value);
    asked.check(
        r#"{"template": "http-errors", "max": 0.005, "window": "30s"}"#,
        Outcome::Unhealthy,
        "the limit is at most 0.005",
    );
    asked.check(
        r#"{"template": "latency", "min": 0.1, "max": 0.5, "window": "30s"}"#,
        Outcome::Healthy,
        "the limits are 0.1 and 0.5",
    );
    asked.check(
        r#"{"template": "saturation", "max": 0.4}"#,
        Outcome::Unhealthy,
        "the value is 0.5",
    );
    asked.check(r#"{"query": "1 + 1", "max": 2}"#, Outcome::Healthy, "the value is 2");
    // Not one error so far is an error rate of zero, since there is traffic.
    asked.check(r#"{"template": "http-errors", "metric": "good_requests_total", "max": 0.01, "window": "30s"}"#, Outcome::Healthy, "the value is 0;");

    // Everything else is no pass.
    asked.check(
        r#"{"template": "http-errors", "metric": "quiet_requests_total", "max": 1}"#,
        Outcome::Inconclusive,
        "NaN",
    );
    asked.check(r#"{"query": "odd_gauge", "max": 1}"#, Outcome::Inconclusive, "NaN");
    asked.check(r#"{"query": "high_gauge", "min": 1}"#, Outcome::Inconclusive, "+Inf");
    asked.check(r#"{"query": "queue_depth", "max": 5}"#, Outcome::Inconclusive, "returns 2 series");
    asked.check(
        r#"{"query": "queue_depth{queue=\"c\"}", "max": 5}"#,
        Outcome::NoData,
        "no matching label",
    );
    asked.check(r#"{"query": "queue_dept", "max": 5}"#, Outcome::NoData, "never seen queue_dept");

    // Mistakes that only the server sees.
    for (query, told) in [
        ("http_requests_total * on(job) http_requests_total", "422"),
        ("rate(queue_depth)", "400"),
        ("nosuch(queue_depth)", "unknown function"),
        ("queue_depth[1m]", "range of samples"),
        ("\\\"text\\\"", "returns a string"),
    ] {
        let failure =
            asked.try_check(&format!(r#"{{"query": "{query}", "max": 1}}"#)).expect_err(query);
        assert_eq!((failure.code, failure.retryable), (Code::InvalidConfig, false), "{failure:?}");
        assert!(failure.message.contains(told), "{query}: {}", failure.message);
    }

    // Numbers for analysis.
    let window = last(Duration::from_secs(2));
    let requests = asked
        .try_read(r#"{"template": "http-requests"}"#, Wanted::Samples, window)
        .expect("samples");
    assert_eq!((requests.series.len(), requests.doubts.len()), (2, 0), "{requests:?}");
    for series in &requests.series {
        assert!(series.points.len() >= 5, "{series:?}");
        assert!(series.points.is_sorted_by(|a, b| a.0 < b.0 && a.1 <= b.1), "{series:?}");
        assert!(
            series.points.first().is_some_and(|(at, _)| *at <= window.start_ms),
            "the sample before the window is missing: {series:?}"
        );
        assert!(series.points.get(1).is_some_and(|(at, _)| *at > window.start_ms), "{series:?}");
        assert!(series.points.last().is_some_and(|(at, _)| *at <= window.end_ms), "{series:?}");
    }
    let errors =
        asked.try_read(r#"{"template": "http-errors"}"#, Wanted::Samples, window).expect("samples");
    assert_eq!(
        errors
            .series
            .iter()
            .map(|series| series.labels.contains(&("code".to_owned(), "500".to_owned())))
            .collect::<Vec<_>>(),
        [true]
    );
    let buckets =
        asked.try_read(r#"{"template": "latency"}"#, Wanted::Samples, window).expect("samples");
    assert_eq!(buckets.series.len(), 3);
    let depths =
        asked.try_read(r#"{"query": "queue_depth"}"#, Wanted::Value, window).expect("values");
    assert_eq!(
        depths.series.iter().map(|series| series.points[0]).collect::<Vec<_>>(),
        [(window.end_ms, 1.0), (window.end_ms, 2.0)]
    );
    for (query, wanted, told) in [
        ("odd_gauge", Wanted::Value, "NaN"),
        ("high_gauge", Wanted::Samples, "are not numbers"),
        ("odd_gauge", Wanted::Samples, "are not numbers"),
    ] {
        let reading = asked
            .try_read(&format!(r#"{{"query": "{query}"}}"#), wanted, window)
            .expect("a reading");
        assert_eq!(reading.series, [], "{query}");
        assert!(
            reading.doubts.iter().any(|doubt| doubt.contains(told)),
            "{query}: {:?}",
            reading.doubts
        );
    }
    let none =
        asked.try_read(r#"{"query": "nosuch"}"#, Wanted::Samples, window).expect("an answer");
    assert_eq!(none, Reading::default());

    // Names that were never seen, in preflight.
    assert_eq!(asked.missing(r#"{"template": "http-errors"}"#), Ok(Vec::new()));
    assert_eq!(
        asked.missing(r#"{"query": "sum(rate(http_request_total{a=\"{{slot}}\"}[{{window}}])) / sum(up) / nosuch"}"#),
        Ok(vec!["http_request_total".to_owned(), "nosuch".to_owned()])
    );
    let refused = asked.missing(r#"{"query": "rate(up)"}"#).expect_err("the server judges types");
    assert_eq!(refused.code, Code::InvalidConfig);
    assert!(refused.message.contains("expected type range vector"), "{}", refused.message);
}

#[test]
fn a_target_that_is_gone_is_stale_and_a_server_that_is_gone_is_unavailable() {
    let exporter = Exporter::start(metrics);
    let prometheus = Prometheus::start(&exporter);
    let asked = Asked::new(&prometheus, &exporter);
    asked.wait_for_scrapes(8);
    asked.check(
        r#"{"template": "http-requests", "min": 1, "window": "30s"}"#,
        Outcome::Healthy,
        "at least 1",
    );

    exporter.stop();
    until("the end of the target", || {
        let up = asked
            .try_read(
                r#"{"query": "up{job=\"shop\"}"}"#,
                Wanted::Value,
                last(Duration::from_secs(1)),
            )
            .ok()?;
        (up.series.first()?.points.first()?.1 == 0.0).then_some(())
    });
    // The rate goes on for its window, as if nothing had happened.
    let stale = asked.check(
        r#"{"template": "http-requests", "min": 1, "window": "30s"}"#,
        Outcome::Inconclusive,
        "is stale",
    );
    assert!(stale.value.is_some_and(|value| value > 1.0), "{:?}", stale.value);
    asked.check(
        r#"{"query": "queue_depth{queue=\"a\"}", "max": 5}"#,
        Outcome::NoData,
        "returns no series",
    );
    // The engine sees it by the times of the samples.
    let window = last(Duration::from_secs(30));
    let samples = asked
        .try_read(r#"{"template": "http-requests"}"#, Wanted::Samples, window)
        .expect("samples");
    assert!(
        samples
            .series
            .iter()
            .all(|series| series.points.last().is_some_and(|(at, _)| *at < window.end_ms)),
        "{samples:?}"
    );

    drop(prometheus);
    for failure in [
        asked.try_check(r#"{"query": "up", "min": 1}"#).expect_err("nobody answers"),
        asked
            .try_read(r#"{"query": "up"}"#, Wanted::Value, last(Duration::from_secs(1)))
            .expect_err("nobody answers"),
        asked.missing(r#"{"query": "up"}"#).expect_err("nobody answers"),
    ] {
        assert_eq!((failure.code, failure.retryable), (Code::Unavailable, true), "{failure:?}");
        assert!(failure.message.contains("can't connect"), "{}", failure.message);
    }
}
