//! What a check makes of a real Redis and a real `PostgreSQL`, and of servers that misbehave.
#![expect(clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod servers;

use agente_plugin_sdk::health::Outcome;
use agente_plugin_sdk::native::NativeHost;
use agente_plugin_sdk::{Backend, Subject, Verdict};
use servers::{Postgres, Redis, free_port};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};
use tcp_health::check::{MAX_ANSWER_BYTES, check_within};
use tcp_health::spec::Spec;

/// Long enough for any answer of a healthy server on a busy machine.
const AMPLE: Duration = Duration::from_secs(20);

const PING: &str = r#""send": "PING\r\n", "expect": "+PONG", "timeout": "10s""#;
const SSL_REQUEST: &str =
    r#""send_hex": "00000008 04d2162f", "expect": ["S", "N"], "timeout": "10s""#;

fn asked_within(limit: Duration, subject: &Subject, spec: &str) -> Verdict {
    let spec = Spec::read(&serde_json::from_str(spec).expect("a table")).expect("a check");
    check_within(&NativeHost::new("shop", "production"), subject, &spec, limit)
}

fn asked(spec: &str) -> Verdict {
    asked_within(AMPLE, &Subject::default(), spec)
}

/// Asks again and again until the server has come up, as a deployment does.
fn asked_until_healthy(spec: &str) -> Verdict {
    let begun = Instant::now();
    loop {
        let verdict = asked(spec);
        if verdict.outcome == Outcome::Healthy || begun.elapsed() > Duration::from_mins(1) {
            return verdict;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[track_caller]
fn assert_verdict(verdict: &Verdict, outcome: Outcome, parts: &[&str]) {
    assert_eq!(verdict.outcome, outcome, "{}", verdict.reason);
    for part in parts {
        assert!(verdict.reason.contains(part), "`{part}` is not in: {}", verdict.reason);
    }
}

/// Starts a server that treats each connection as a function says, and gives its address.
fn crafted(treat: impl Fn(TcpStream) + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address").to_string();
    std::thread::spawn(move || listener.incoming().flatten().for_each(treat));
    address
}

/// Reads until the peer ends its side.
fn wait_for_the_end(mut stream: TcpStream) {
    let _bytes = stream.read_to_end(&mut Vec::new());
}

#[test]
fn a_real_redis_answers_ping_until_it_is_stopped() {
    let mut redis = Redis::start(&[]);
    let spec = format!(r#"{{"address": "{}", {PING}}}"#, redis.address);
    let verdict = asked_until_healthy(&spec);
    assert_verdict(&verdict, Outcome::Healthy, &[&redis.address, r"`+PONG\r\n`"]);
    assert!(verdict.value.is_some_and(|value| value > 0.0));
    redis.stop();
    assert_verdict(&asked(&spec), Outcome::Unhealthy, &[&redis.address, "efused"]);
}

#[test]
fn a_redis_that_wants_a_password_is_told_in_its_own_words() {
    let redis = Redis::start(&["--requirepass", "hunter2"]);
    let connects = asked_until_healthy(&format!(r#"{{"address": "{}"}}"#, redis.address));
    assert_verdict(&connects, Outcome::Healthy, &["takes connections"]);
    let verdict = asked(&format!(r#"{{"address": "{}", {PING}}}"#, redis.address));
    assert_verdict(
        &verdict,
        Outcome::Unhealthy,
        &["-NOAUTH Authentication required", "expected `+PONG`"],
    );
}

#[test]
fn a_real_postgresql_answers_an_ssl_request() {
    let postgres = Postgres::start();
    let verdict =
        asked_until_healthy(&format!(r#"{{"address": "{}", {SSL_REQUEST}}}"#, postgres.address));
    assert_verdict(&verdict, Outcome::Healthy, &[&postgres.address, "answered `N`"]);
}

#[test]
fn each_backend_is_asked_and_the_bad_one_is_named() {
    let good = crafted(wait_for_the_end);
    let gone = format!("127.0.0.1:{}", free_port());
    let backends = [("a", &good), ("b", &gone)].map(|(id, address)| Backend {
        id: id.to_owned(),
        address: address.clone(),
        labels: Vec::new(),
    });
    let subject = Subject { backends: backends.into(), ..Subject::default() };
    let verdict = asked_within(AMPLE, &subject, "{}");
    assert_verdict(&verdict, Outcome::Unhealthy, &["`b`", &gone]);
    assert!(!verdict.reason.contains("`a`"), "{}", verdict.reason);
}

#[test]
fn what_can_not_be_asked_is_errored() {
    assert_verdict(&asked("{}"), Outcome::Errored, &["nothing to check"]);
    let wrong = Subject {
        backends: vec![Backend {
            id: "a".to_owned(),
            address: "redis".to_owned(),
            labels: Vec::new(),
        }],
        ..Subject::default()
    };
    assert_verdict(
        &asked_within(AMPLE, &wrong, "{}"),
        Outcome::Errored,
        &["`a`", "not `host:port`"],
    );
    assert_verdict(
        &asked_within(Duration::ZERO, &Subject::default(), r#"{"address": "127.0.0.1:1"}"#),
        Outcome::Errored,
        &["no time was left"],
    );
}

#[test]
fn a_server_that_says_nothing_costs_the_timeout_and_no_more() {
    let silent = crafted(wait_for_the_end);
    let verdict = asked(&format!(
        r#"{{"address": "{silent}", "send": "PING\r\n", "expect": "+PONG", "timeout": "300ms"}}"#
    ));
    assert_verdict(
        &verdict,
        Outcome::Unhealthy,
        &["no byte arrived within 300 ms", "expected `+PONG`"],
    );
}

#[test]
fn an_answer_in_pieces_is_put_together() {
    let halting = crafted(|mut stream| {
        for piece in [&b"+P"[..], b"ON", b"G\r\n"] {
            let _gone = stream.write_all(piece);
            std::thread::sleep(Duration::from_millis(20));
        }
        wait_for_the_end(stream);
    });
    assert_verdict(
        &asked(&format!(r#"{{"address": "{halting}", "expect": "+PONG"}}"#)),
        Outcome::Healthy,
        &["+PONG"],
    );
}

#[test]
fn an_answer_that_ends_early_is_told_with_what_came() {
    let short = crafted(|mut stream| {
        let _gone = stream.write_all(b"+PO");
    });
    assert_verdict(
        &asked(&format!(r#"{{"address": "{short}", "expect": "+PONG"}}"#)),
        Outcome::Unhealthy,
        &["closed the connection after 3 bytes arrived, `+PO`"],
    );
    let mute = crafted(drop);
    assert_verdict(
        &asked(&format!(r#"{{"address": "{mute}", "expect": "+PONG"}}"#)),
        Outcome::Unhealthy,
        &["no byte arrived"],
    );
}

#[test]
fn a_reset_is_unhealthy() {
    let resetting = crafted(|stream| {
        // Closing with unread bytes makes the kernel send a reset.
        let _some = stream.peek(&mut [0; 1]);
    });
    assert_verdict(
        &asked(&format!(r#"{{"address": "{resetting}", "send": "PING\r\n", "expect": "+PONG"}}"#)),
        Outcome::Unhealthy,
        &["broke", "reset"],
    );
}

#[test]
fn an_endless_answer_is_looked_at_up_to_the_limit_only() {
    let endless = crafted(|mut stream| while stream.write_all(&[b'x'; 4096]).is_ok() {});
    let verdict = asked(&format!(
        r#"{{"address": "{endless}", "expect": {{"contains": "ready"}}, "timeout": "10s"}}"#
    ));
    assert_verdict(&verdict, Outcome::Unhealthy, &["first", "bytes do not match"]);
    let looked_at: usize = verdict
        .reason
        .split("first ")
        .nth(1)
        .and_then(|rest| rest.split(' ').next())
        .and_then(|count| count.parse().ok())
        .expect("a count");
    assert!((MAX_ANSWER_BYTES..MAX_ANSWER_BYTES + 4096).contains(&looked_at), "{looked_at}");
    assert!(verdict.reason.len() < 400, "{}", verdict.reason);
}

#[test]
fn a_greeting_may_be_expected_without_sending_and_can_not_drive_a_terminal() {
    let greeting = crafted(|mut stream| {
        let _gone = stream.write_all(b"220 mail\x1b[2J ready\r\n");
        wait_for_the_end(stream);
    });
    let verdict =
        asked(&format!(r#"{{"address": "{greeting}", "expect": {{"contains": "ready"}}}}"#));
    assert_verdict(&verdict, Outcome::Healthy, &["220 mail"]);
    assert!(!verdict.reason.contains('\x1b'));
}
