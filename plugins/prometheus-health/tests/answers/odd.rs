//! What the plugin makes of answers that a real Prometheus doesn't give on demand, and of what is
//! no Prometheus.

use crate::servers::{Crafted, nobody};
use agente_plugin_sdk::health::Outcome;
use agente_plugin_sdk::native::NativeHost;
use agente_plugin_sdk::{
    Code, Failure, HealthCheck, Host, MetricSource, Reading, Subject, Verdict, Wanted, Window,
};
use prometheus_health::PrometheusHealth;
use prometheus_health::api::{Api, MAX_BODY_BYTES};
use prometheus_health::check::CheckTable;
use prometheus_health::config::Config;
use prometheus_health::placeholder::Values;
use prometheus_health::query::QueryTable;
use prometheus_health::source;
use std::io::{Read as _, Write as _};
use std::time::Duration;

const WINDOW: Window = Window { start_ms: 1_700_000_000_000, end_ms: 1_700_000_060_000 };

fn config(address: &str) -> Config {
    serde_json::from_str(&format!(r#"{{"url": "http://{address}/base"}}"#))
        .expect("a configuration")
}

fn read(address: &str, limit: Duration) -> Result<Reading, Failure> {
    let host = NativeHost::new("shop", "production");
    let config = config(address);
    let table: QueryTable = serde_json::from_str(r#"{"query": "sum(up)"}"#).expect("a table");
    let question = table.question(Wanted::Value).expect("a question");
    let values = Values::new(&Subject::default(), "shop", "production", Duration::from_mins(1));
    source::read(&Api::within(&host, &config, limit)?, &question, &values, Wanted::Value, WINDOW)
}

fn check(address: &str) -> Result<Verdict, Failure> {
    let table: CheckTable =
        serde_json::from_str(r#"{"query": "vector(0)", "max": 1}"#).expect("a table");
    PrometheusHealth::check(
        &NativeHost::new("shop", "production"),
        &config(address),
        &Subject::default(),
        &table,
    )
}

#[track_caller]
fn assert_fails(failure: &Failure, code: Code, told: &[&str]) {
    assert_eq!((failure.code, failure.retryable), (code, code == Code::Unavailable), "{failure:?}");
    let words = format!("{} | {}", failure.message, failure.hint.clone().unwrap_or_default());
    for part in told {
        assert!(words.contains(part), "`{part}` is not in: {words}");
    }
}

#[test]
fn each_refusal_and_each_silence_has_its_kind() {
    let error = |kind: &str, said: &str| {
        format!(r#"{{"status":"error","errorType":"{kind}","error":"{said}"}}"#)
    };
    for (head, body, code, told) in [
        (
            "400 Bad Request",
            error("bad_data", "parse error"),
            Code::InvalidConfig,
            &["status 400", "bad_data: `parse error`"][..],
        ),
        (
            "422 Unprocessable Entity",
            error("execution", "too many samples"),
            Code::InvalidConfig,
            &["422", "too many samples"],
        ),
        (
            "503 Service Unavailable",
            error("timeout", "query timed out"),
            Code::Unavailable,
            &["503", "query timed out"],
        ),
        (
            "502 Bad Gateway",
            "<html><h1>502</h1>\n</html>".to_owned(),
            Code::Unavailable,
            &["502", "<html>"],
        ),
        ("429 Too Many Requests", "slow down".to_owned(), Code::Unavailable, &["429"]),
        ("401 Unauthorized", "no".to_owned(), Code::Denied, &["401", "`bearer` or `basic`"]),
        ("403 Forbidden", String::new(), Code::Denied, &["403"]),
        (
            "404 Not Found",
            "404 page not found\n".to_owned(),
            Code::InvalidConfig,
            &["404", "path prefix"],
        ),
        (
            "302 Found\r\nlocation: https://login.example/",
            String::new(),
            Code::InvalidConfig,
            &["redirects to `https://login.example/`", "not followed"],
        ),
        (
            "200 OK",
            "<html>Please log in</html>".to_owned(),
            Code::Failed,
            &["did not answer with JSON", "login"],
        ),
        ("200 OK", "{\"status\":\"success\"}".to_owned(), Code::Failed, &["but without data"]),
        (
            "200 OK",
            "{\"status\":\"success\",\"data\":{\"resultType\":\"cube\"}}".to_owned(),
            Code::Failed,
            &["an unknown format"],
        ),
        ("200 OK", error("internal", "who knows"), Code::Failed, &["who knows"]),
        ("418 Teapot", "short".to_owned(), Code::Failed, &["418"]),
    ] {
        let server = Crafted::answering(head, &body);
        assert_fails(&read(&server.address, Duration::from_secs(20)).expect_err(head), code, told);
        assert_fails(&check(&server.address).expect_err(head), code, told);
    }
    assert_fails(
        &read(&nobody(), Duration::from_secs(20)).expect_err("nobody"),
        Code::Unavailable,
        &["can't connect"],
    );
    assert_fails(
        &read(&nobody(), Duration::ZERO).expect_err("no time"),
        Code::Unavailable,
        &["no time was left"],
    );
    let chatty = Crafted::start(|mut stream, _| {
        let _gone = stream.write_all(b"SSH-2.0-OpenSSH\r\n\r\n");
    });
    assert_fails(
        &read(&chatty.address, Duration::from_secs(20)).expect_err("no HTTP"),
        Code::Failed,
        &["is not HTTP"],
    );
}

#[test]
fn slow_bodies_and_endless_answers_end_in_time() {
    let dripping = Crafted::start(|mut stream, _| {
        let _gone = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n");
        while stream.write_all(b" ").is_ok() {
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    assert_fails(
        &read(&dripping.address, Duration::from_millis(400)).expect_err("slow"),
        Code::Unavailable,
        &["within"],
    );
    let silent = Crafted::start(|mut stream, _| {
        let _end = stream.read(&mut [0; 1]); // returns when the plugin hangs up
    });
    assert_fails(
        &read(&silent.address, Duration::from_millis(300)).expect_err("silent"),
        Code::Unavailable,
        &["did not answer within"],
    );

    let big = Crafted::answering(
        "200 OK",
        &format!(r#"{{"status":"success","data":"{}"}}"#, "x".repeat(10 * 1024 * 1024)),
    );
    let limit = format!("larger than {} MiB", MAX_BODY_BYTES / 1024 / 1024);
    assert_fails(
        &read(&big.address, Duration::from_secs(20)).expect_err("big"),
        Code::Failed,
        &[&limit, "narrow"],
    );
}

#[test]
fn warnings_make_a_reading_doubtful_and_a_check_inconclusive() {
    let body = r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1700000060,"0.5"]}]},"warnings":["store 2 is away"],"infos":["not a counter?"]}"#;
    let server = Crafted::answering("200 OK", body);
    let reading = read(&server.address, Duration::from_secs(20)).expect("a reading");
    assert_eq!(reading.series.len(), 1);
    assert_eq!(
        reading.doubts,
        ["the server warns that the answer may be partial: `store 2 is away`"]
    );
    let verdict = check(&server.address).expect("a verdict");
    assert_eq!(verdict.outcome, Outcome::Inconclusive, "{}", verdict.reason);
    assert!(verdict.reason.contains("store 2 is away"), "{}", verdict.reason);
    let infos =
        Crafted::answering("200 OK", &body.replace(r#""warnings":["store 2 is away"],"#, ""));
    assert_eq!(check(&infos.address).expect("a verdict").outcome, Outcome::Healthy);
}

#[test]
fn a_newest_sample_that_is_too_old_makes_a_check_inconclusive() {
    let server = Crafted::start(|mut stream, head| {
        let age = head.contains("timestamp");
        let series = if age {
            r#"{"metric":{"agente_selector":"0"},"value":[1,"300"]}"#
        } else {
            r#"{"metric":{},"value":[1,"0.5"]}"#
        };
        let body = format!(
            r#"{{"status":"success","data":{{"resultType":"vector","result":[{series}]}}}}"#
        );
        let _gone =
            write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    });
    let table: CheckTable =
        serde_json::from_str(r#"{"query": "sum(up)", "max": 1, "max_age": "90s"}"#)
            .expect("a table");
    let verdict = PrometheusHealth::check(
        &NativeHost::new("shop", "production"),
        &config(&server.address),
        &Subject::default(),
        &table,
    )
    .expect("a verdict");
    assert_eq!(verdict.outcome, Outcome::Inconclusive, "{}", verdict.reason);
    assert!(verdict.reason.contains("is 300 s old, and 90 s is the most"), "{}", verdict.reason);
}

#[test]
fn a_request_is_a_get_of_the_base_url_with_what_is_configured() {
    let server = Crafted::answering(
        "200 OK",
        r#"{"status":"success","data":{"resultType":"matrix","result":[]}}"#,
    );
    let host = NativeHost::new("shop", "production").with_secret("token", "hunter2");
    let config: Config =
        serde_json::from_str(&format!(r#"{{"url": "http://{}/base/", "bearer": "token", "headers": {{"X-Scope-OrgID": "shop"}}}}"#, server.address))
            .expect("a configuration");
    assert_eq!(config.problems(), []);
    let table: QueryTable =
        serde_json::from_str(r#"{"query": "up{a=~\"x|{{slot}}\"}"}"#).expect("a table");
    let subject = Subject { slot: "blue".to_owned(), ..Subject::default() };
    PrometheusHealth::query(&host, &config, &subject, &table, Wanted::Samples, WINDOW)
        .expect("an answer")
        .series
        .is_empty()
        .then_some(())
        .expect("no series");
    let heads = server.heads.lock().expect("heads");
    let head = heads.first().expect("a request");
    assert!(
        head.starts_with(
            "GET /base/api/v1/query?query=up%7Ba%3D~%22x%7Cblue%22%7D%5B360s%5D&time=1700000060.\
             000&timeout="
        ),
        "{head}"
    );
    let head = head.to_ascii_lowercase();
    let placeholder =
        agente_plugin_sdk::host::Secret::placeholder(&host.secret("token").expect("a secret"))
            .to_ascii_lowercase();
    assert!(
        head.contains("x-scope-orgid: shop")
            && head.contains(&format!("authorization: bearer {placeholder}")),
        "{head}"
    );
}

#[test]
fn a_request_longer_than_servers_take_is_refused_before_it_is_sent() {
    let server = Crafted::answering("200 OK", "{}");
    let backends = (0..400).map(|port| agente_plugin_sdk::Backend {
        id: format!("b{port}"),
        address: format!("10.0.0.1:{}", 18_000 + port),
        labels: Vec::new(),
    });
    let subject = Subject { backends: backends.collect(), ..Subject::default() };
    let table: QueryTable =
        serde_json::from_str(r#"{"template": "http-requests"}"#).expect("a table");
    let failure = PrometheusHealth::query(
        &NativeHost::new("shop", "production"),
        &config(&server.address),
        &subject,
        &table,
        Wanted::Samples,
        WINDOW,
    )
    .expect_err("too long");
    assert_fails(&failure, Code::InvalidConfig, &["at most 8192", "recording rule"]);
    assert!(server.heads.lock().expect("heads").is_empty());
}

#[test]
fn a_server_that_can_not_judge_an_expression_is_asked_for_the_names_alone() {
    for (status, body) in [
        ("404 Not Found", "404 page not found"),
        ("400 Bad Request", "unsupported path requested"),
        ("405 Method Not Allowed", ""),
    ] {
        let server = Crafted::start(move |mut stream, head| {
            let (status, body) = if head.contains("format_query") {
                (status, body)
            } else {
                ("200 OK", r#"{"status":"success","data":["up"]}"#)
            };
            let _gone =
                write!(stream, "HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        });
        let table: QueryTable = serde_json::from_str(r#"{"query": "up + down"}"#).expect("a table");
        let missing = PrometheusHealth::missing(
            &NativeHost::new("shop", "production"),
            &config(&server.address),
            &table,
        );
        assert_eq!(missing, Ok(vec!["down".to_owned()]), "{status}");
    }
}
