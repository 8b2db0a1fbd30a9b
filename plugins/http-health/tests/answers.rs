//! What a check makes of real answers, and of servers that misbehave.
#![expect(clippy::expect_used, reason = "a test fails by panicking")]

mod servers;

use agente_plugin_sdk::health::Outcome;
use agente_plugin_sdk::native::NativeHost;
use agente_plugin_sdk::{Backend, Subject, Verdict};
use http_health::check::{MAX_BODY_BYTES, check_within};
use http_health::config::Config;
use http_health::spec::Spec;
use servers::{Crafted, Nginx, nobody, read_head};
use std::io::Write;
use std::time::Duration;

/// Long enough for any answer of a healthy server on a busy machine.
const AMPLE: Duration = Duration::from_secs(20);

fn subject(addresses: &[&str]) -> Subject {
    let backends = addresses.iter().enumerate().map(|(index, address)| Backend {
        id: format!("b{index}"),
        address: (*address).to_owned(),
        labels: Vec::new(),
    });
    Subject {
        slot: "blue".to_owned(),
        release: 7,
        backends: backends.collect(),
        labels: Vec::new(),
    }
}

fn asked_within(limit: Duration, subject: &Subject, config: &str, spec: &str) -> Verdict {
    let config: Config = serde_json::from_str(config).expect("a configuration");
    assert_eq!(config.problems(), []);
    let spec = Spec::read(&serde_json::from_str(spec).expect("a table")).expect("a check");
    check_within(
        &NativeHost::new("shop", "production").with_secret("token", "hunter2"),
        &config,
        subject,
        &spec,
        limit,
    )
    .expect("a verdict")
}

fn asked(addresses: &[&str], spec: &str) -> Verdict {
    asked_within(AMPLE, &subject(addresses), "{}", spec)
}

#[track_caller]
fn assert_verdict(verdict: &Verdict, outcome: Outcome, parts: &[&str]) {
    assert_eq!(verdict.outcome, outcome, "{}", verdict.reason);
    for part in parts {
        assert!(verdict.reason.contains(part), "`{part}` is not in: {}", verdict.reason);
    }
}

#[test]
fn a_real_server_that_answers_as_expected_is_healthy() {
    let nginx = Nginx::start(
        r#"add_header X-Release 7 always; add_header X-Version 2; default_type application/json;
           location = /readyz { return 200 '{"database": {"ok": true}, "queue": 3}'; }
           location = /old { return 302 /new; }
           location = /down { return 503 "maintenance"; }"#,
    );
    let spec = r#"{"path": "/readyz", "status": 200, "headers": {"X-Version": "2", "content-type": {"contains": "json"}}, "json": {"/database/ok": true, "/queue": 3},
                   "release_header": "x-release", "max_latency": "15s"}"#;
    let verdict = asked(&[&nginx.address, &nginx.address], spec);
    assert_verdict(
        &verdict,
        Outcome::Healthy,
        &["all 2 backends answered `GET /readyz` with 200", "limit 15000 ms"],
    );
    assert!(
        verdict.value.is_some_and(|value| value > 0.0 && value < 15_000.0),
        "{:?}",
        verdict.value
    );

    assert_verdict(
        &asked(
            &[&nginx.address],
            r#"{"path": "/readyz", "method": "HEAD", "headers": {"x-version": "2"}}"#,
        ),
        Outcome::Healthy,
        &["`HEAD /readyz`"],
    );
    assert_verdict(
        &asked(&[&nginx.address], r#"{"path": "/old"}"#),
        Outcome::Unhealthy,
        &["the status is 302", "/new", "redirects are not followed"],
    );
    let down = asked(
        &[&nginx.address],
        r#"{"path": "/down", "body_contains": "ready", "headers": {"x-version": "2"}}"#,
    );
    assert_verdict(
        &down,
        Outcome::Unhealthy,
        &[
            "`b0`",
            &nginx.address,
            "503, expected 200 to 299",
            "`maintenance`",
            "`x-version` is missing",
        ],
    );
}

#[test]
fn one_bad_backend_of_three_is_named_and_the_good_ones_are_not() {
    let good = Crafted::writing("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
    let bad = Crafted::writing("HTTP/1.1 500 Oh\r\ncontent-length: 0\r\n\r\n");
    let verdict = asked(&[&good.address, &bad.address, &good.address], "{}");
    assert_verdict(&verdict, Outcome::Unhealthy, &["`b1`", "the status is 500"]);
    assert!(
        !verdict.reason.contains("`b0`") && !verdict.reason.contains("`b2`"),
        "{}",
        verdict.reason
    );
}

#[test]
fn the_old_release_that_answers_for_the_new_one_is_unhealthy() {
    let old = Crafted::writing("HTTP/1.1 200 OK\r\nx-release: 6\r\ncontent-length: 0\r\n\r\n");
    assert_verdict(
        &asked(&[&old.address], r#"{"release_header": "X-Release"}"#),
        Outcome::Unhealthy,
        &["`6`, expected `7`"],
    );
    let none = Subject { release: 0, ..subject(&[&old.address]) };
    assert_verdict(
        &asked_within(AMPLE, &none, "{}", r#"{"release_header": "X-Release"}"#),
        Outcome::Errored,
        &["is not about a release"],
    );
}

#[test]
fn nobody_there_is_unhealthy_because_it_was_asked() {
    assert_verdict(&asked(&[&nobody()], "{}"), Outcome::Unhealthy, &["no connection", "efused"]);
}

#[test]
fn what_can_not_be_asked_is_errored_unless_something_else_is_proven_bad() {
    assert_verdict(&asked(&["no port"], "{}"), Outcome::Errored, &["`no port`"]);
    assert_verdict(&asked(&[], "{}"), Outcome::Errored, &["nothing to check"]);
    let public =
        Subject { labels: vec![("url".to_owned(), "shop.example".to_owned())], ..subject(&[]) };
    assert_verdict(
        &asked_within(AMPLE, &public, "{}", "{}"),
        Outcome::Errored,
        &["public URL", "shop.example"],
    );
    let nothing_left = asked_within(Duration::ZERO, &subject(&[&nobody()]), "{}", "{}");
    assert_verdict(&nothing_left, Outcome::Errored, &["no time was left", "`timeout`"]);
}

#[test]
fn a_server_that_never_answers_costs_its_share_of_the_time_and_no_more() {
    let silent = Crafted::start(|mut stream| {
        read_head(&mut stream);
        read_head(&mut stream); // returns when the check hangs up
    });
    let good = Crafted::writing("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
    let verdict = asked_within(
        Duration::from_millis(800),
        &subject(&[&silent.address, &good.address]),
        "{}",
        "{}",
    );
    assert_verdict(
        &verdict,
        Outcome::Unhealthy,
        &["`b0`", "did not answer within", "the time left for this check"],
    );
    assert_eq!(good.connections(), 1, "the second backend was not asked");
}

#[test]
fn a_body_that_drips_for_ever_ends_with_the_time() {
    let dripping = Crafted::start(|mut stream| {
        read_head(&mut stream);
        let _gone = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n");
        while stream.write_all(b".").is_ok() {
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    let verdict =
        asked_within(Duration::from_millis(400), &subject(&[&dripping.address]), "{}", "{}");
    assert_verdict(&verdict, Outcome::Unhealthy, &["did not answer within"]);
}

#[test]
fn an_answer_that_is_cut_short_is_not_an_answer() {
    let cases = [
        ("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nten bytes!", "10 of 100 bytes"),
        (
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n",
            "chunked body ended",
        ),
        ("HTTP/1.1 200 OK\r\ncontent-le", "bytes of the head"),
        ("", "no byte arrived"),
    ];
    for (bytes, told) in cases {
        let cut = Crafted::writing(bytes);
        assert_verdict(
            &asked(&[&cut.address], "{}"),
            Outcome::Unhealthy,
            &["before the answer was complete", told],
        );
    }
}

#[test]
fn a_reset_is_unhealthy() {
    let resetting = Crafted::start(|stream| {
        let mut seen = [0; 1];
        // Closing with unread bytes of the request makes the kernel send a reset.
        let _some = stream.peek(&mut seen);
    });
    assert_verdict(
        &asked(&[&resetting.address], "{}"),
        Outcome::Unhealthy,
        &["`b0`", "before the answer was complete", "reset"],
    );
}

#[test]
fn what_is_not_http_is_unhealthy_and_quoted_harmlessly() {
    let chatty = Crafted::writing("SSH-2.0-OpenSSH\x1b[2J\r\n\r\n");
    let verdict = asked(&[&chatty.address], "{}");
    assert_verdict(&verdict, Outcome::Unhealthy, &["is not HTTP", "SSH-2.0"]);
    assert!(!verdict.reason.contains('\x1b'));
}

#[test]
fn an_endless_body_is_read_up_to_the_limit_only() {
    let endless = || {
        Crafted::start(|mut stream| {
            read_head(&mut stream);
            let chunk = format!("1000\r\n{}\r\n", "x".repeat(0x1000));
            let _gone = stream.write_all(
                b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n7\r\nready!!\r\n",
            );
            while stream.write_all(chunk.as_bytes()).is_ok() {}
        })
    };
    assert_verdict(
        &asked(&[&endless().address], r#"{"body_contains": "ready!!"}"#),
        Outcome::Healthy,
        &["200"],
    );
    let limit = format!("{MAX_BODY_BYTES} bytes");
    assert_verdict(
        &asked(&[&endless().address], r#"{"body_contains": "absent"}"#),
        Outcome::Unhealthy,
        &[&limit],
    );
    assert_verdict(
        &asked(&[&endless().address], r#"{"json": {"/ok": true}}"#),
        Outcome::Unhealthy,
        &["longer than", &limit],
    );
}

#[test]
fn an_error_page_with_status_200_does_not_pass_as_json() {
    let page = Crafted::writing(
        "HTTP/1.1 200 OK\r\ncontent-length: 26\r\n\r\n<html>Bad Gateway</html>\r\n",
    );
    assert_verdict(
        &asked(&[&page.address], r#"{"json": {"/ok": true}}"#),
        Outcome::Unhealthy,
        &["the body is not JSON", "Bad Gateway"],
    );
}

#[test]
fn a_slow_answer_is_told_with_its_time_and_limit() {
    let slow = Crafted::start(|mut stream| {
        read_head(&mut stream);
        std::thread::sleep(Duration::from_millis(150));
        let _gone = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
    });
    let verdict = asked(&[&slow.address], r#"{"max_latency": "100ms"}"#);
    assert_verdict(&verdict, Outcome::Unhealthy, &["the answer took 1", "the limit is 100 ms"]);
    assert!(verdict.value.is_some_and(|value| value >= 150.0), "{:?}", verdict.value);
}

#[test]
fn every_question_has_a_connection_of_its_own_and_carries_what_is_configured() {
    let echoing = Crafted::start(|mut stream| {
        let head = read_head(&mut stream);
        let _gone = write!(
            stream,
            "HTTP/1.1 200 OK\r\nconnection: keep-alive\r\ncontent-length: {}\r\n\r\n{head}",
            head.len()
        );
        read_head(&mut stream); // keeps the connection open for a second request that must not come
    });
    let config = r#"{"user_agent": "probe/1", "headers": {"x-from": "agente"}}"#;
    for part in
        ["GET /a?b=c HTTP/1.1", "user-agent: probe/1", "x-from: agente", "host: shop.example"]
    {
        let spec =
            format!(r#"{{"path": "/a?b=c", "host": "shop.example", "body_contains": "{part}"}}"#);
        assert_verdict(
            &asked_within(AMPLE, &subject(&[&echoing.address]), config, &spec),
            Outcome::Healthy,
            &[],
        );
    }
    let own_name = format!(r#"{{"body_contains": "host: {}"}}"#, echoing.address);
    assert_verdict(
        &asked_within(AMPLE, &subject(&[&echoing.address]), config, &own_name),
        Outcome::Healthy,
        &[],
    );
    assert_eq!(echoing.connections(), 5);
}

#[test]
fn a_secret_travels_as_its_placeholder_and_never_over_a_plain_connection_of_our_own() {
    let echoing = Crafted::start(|mut stream| {
        let head = read_head(&mut stream);
        let _gone =
            write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{head}", head.len());
    });
    let config = r#"{"secrets": ["token"], "headers": {"authorization": "Bearer {token}"}}"#;
    let sent = asked_within(
        AMPLE,
        &subject(&[&echoing.address]),
        config,
        r#"{"body_contains": "authorization: Bearer placeholder"}"#,
    );
    assert_verdict(&sent, Outcome::Healthy, &[]);
    let refused =
        asked_within(AMPLE, &subject(&[&echoing.address]), config, r#"{"host": "shop.example"}"#);
    assert_verdict(&refused, Outcome::Errored, &["`host`", "can't carry secrets"]);
    assert_eq!(echoing.connections(), 1);
}

#[test]
fn a_url_of_its_own_is_asked_instead_of_the_backends() {
    let queue = Crafted::writing("HTTP/1.1 204 No Content\r\n\r\n");
    let spec = format!(r#"{{"url": "http://{}/deep/health"}}"#, queue.address);
    assert_verdict(&asked(&[&nobody()], &spec), Outcome::Healthy, &["/deep/health", "204"]);
    let public = Subject {
        labels: vec![("url".to_owned(), format!("http://{}/", queue.address))],
        ..subject(&[&nobody()])
    };
    assert_verdict(
        &asked_within(AMPLE, &public, "{}", r#"{"path": "/healthz"}"#),
        Outcome::Healthy,
        &["/healthz", "204"],
    );
}
