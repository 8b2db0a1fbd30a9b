//! Every outcome is counted, once, in its class: what the prober reports is exactly what the server
//! did.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use agente_engine::ports::{ProbeReport, Prober};
use agente_probe::HttpProber;

use crate::server::{Act, Server, policy, until};

fn total(report: &ProbeReport) -> u64 {
    report.succeeded + report.failed_total() + report.idle_resets
}

/// Probes a server that does this to the first `bad` requests and answers well afterwards, until
/// many have been answered well.
async fn probe(
    bad: usize,
    script: impl Fn(usize) -> Act + Send + Sync + 'static,
) -> (Server, ProbeReport) {
    let server =
        Server::start(
            move |number, _| if number < bad { script(number) } else { Act::Answer(200, "blue") },
        )
        .await;
    let prober = HttpProber::new(&server.policy()).expect("a fit policy");
    prober.start().await.expect("it starts");
    // Everything bad is over once as many requests as there were bad ones have ended, and a good
    // deal of good ones.
    let wanted = bad as u64;
    let report = until(&prober, "answered", |report| {
        report.succeeded >= 40 && total(report) >= wanted + 20 && total(report) == report.sent
    })
    .await;
    (server, report)
}

#[tokio::test]
async fn a_good_server_gets_fresh_and_reused_connections_and_nothing_fails() {
    let server = Server::start(|_, _| Act::Answer(200, "blue")).await;
    let mut policy = server.policy();
    policy.post_path = Some("/echo?x=1".to_owned());
    policy.host = Some("shop.example".to_owned());
    let prober = HttpProber::new(&policy).expect("a fit policy");
    prober.start().await.expect("it starts");
    let report = until(&prober, "at 100", |report| report.succeeded >= 100).await;
    drop(prober);
    assert_eq!((report.failed_total(), report.idle_resets), (0, 0), "{report:?}");
    assert_eq!(report.by_identity.keys().collect::<Vec<_>>(), ["blue"]);
    assert!(report.latency_us[0] > 0 && report.latency_us[0] <= report.latency_us[3]);

    let seen = server.seen();
    let (closing, kept): (Vec<_>, Vec<_>) =
        seen.iter().partition(|seen| seen.header("connection") == Some("close"));
    assert!(
        closing.len().abs_diff(kept.len()) <= 2,
        "{} closing, {} kept alive",
        closing.len(),
        kept.len()
    );
    assert!(closing.iter().all(|seen| seen.nth == 0), "a fresh connection was used twice");
    assert_eq!(kept.iter().map(|seen| seen.connection).collect::<HashSet<_>>().len(), 4);
    let posts = seen.iter().filter(|seen| seen.is_post()).count();
    assert!(posts.abs_diff(seen.len() / 5) <= 1, "{posts} of {} are POST", seen.len());
    assert!(
        closing.iter().any(|seen| seen.is_post()) && kept.iter().any(|seen| seen.is_post()),
        "POST goes over one kind of connection alone"
    );
    for seen in &seen {
        assert_eq!(seen.header("host"), Some("shop.example"));
        assert_eq!(
            seen.header("user-agent"),
            Some(concat!("agente-host/", env!("CARGO_PKG_VERSION"), " probe"))
        );
        if seen.is_post() {
            assert!(
                seen.head.starts_with("POST /echo?x=1 HTTP/1.1\n")
                    && seen.body == b"agente-host probe\n",
                "{seen:?}"
            );
        } else {
            assert!(
                seen.head.starts_with("GET /probe HTTP/1.1\n") && seen.body.is_empty(),
                "{seen:?}"
            );
        }
    }
}

#[tokio::test]
async fn each_way_to_fail_on_a_fresh_connection_has_its_class() {
    // A class a script: on a mixed one the order of requests would decide whether a connection is
    // fresh or reused.
    let cases = [
        (Act::End, "reset", "before any byte"),
        (Act::Reset, "reset", "before any byte"),
        (Act::HalfHeader, "reset", "after 27 bytes of the header"),
        (Act::ShortBody, "truncated", "after 9 bytes of its body"),
        (Act::CutChunks, "truncated", "after 4 bytes of its body"),
        (Act::ResetBody, "truncated", "after 9 bytes of its body"),
        (Act::BadChunk, "protocol", "not in valid chunks"),
        (Act::Garbage, "protocol", "not HTTP/1"),
        (Act::Answer(500, "green"), "status-5xx", "answered 500 by `green`"),
        (Act::Answer(503, ""), "status-5xx", "answered 503"),
    ];
    for (act, class, words) in cases {
        let (server, report) = probe(30, move |_| act).await;
        let expected =
            BTreeMap::from([(class.to_owned(), server.did(act, false) + server.did(act, true))]);
        assert_eq!(report.failed, expected, "{act:?}: {:?}", report.samples);
        assert_eq!(report.failed_total(), 30, "{act:?}");
        assert_eq!((report.idle_resets, report.samples.len()), (0, 10), "{act:?}");
        assert!(
            report.samples.iter().all(|sample| sample.starts_with('+')
                && sample.contains(class)
                && sample.contains(words)),
            "{act:?}: {:?}",
            report.samples
        );
    }
}

#[tokio::test]
async fn a_reused_connection_that_ends_before_any_byte_is_an_idle_reset_and_nothing_else() {
    for act in [Act::End, Act::Reset] {
        let server =
            Server::start(
                move |number, seen| {
                    if seen.nth > 0 && number < 60 { act } else { Act::Answer(200, "blue") }
                },
            )
            .await;
        let prober = HttpProber::new(&server.policy()).expect("a fit policy");
        prober.start().await.expect("it starts");
        let report =
            until(&prober, "over", |report| report.sent > 100 && total(report) == report.sent)
                .await;
        assert!(report.idle_resets > 5, "{report:?}");
        assert_eq!(
            (report.idle_resets, report.failed_total()),
            (server.did(act, true), 0),
            "{act:?}: {report:?}"
        );
        assert!(
            report.samples.is_empty(),
            "what is outside the budget is no failure: {:?}",
            report.samples
        );
    }
}

#[tokio::test]
async fn a_connection_closed_while_idle_is_an_idle_reset_for_the_request_that_was_due_on_it() {
    let server = Server::start(|number, seen| match seen.header("connection") {
        Some("keep-alive") if number < 60 => Act::AnswerThenEnd,
        _ => Act::Answer(200, "blue"),
    })
    .await;
    let mut policy = server.policy();
    policy.count_idle_resets = true;
    let prober = HttpProber::new(&policy).expect("a fit policy");
    prober.start().await.expect("it starts");
    let report =
        until(&prober, "over", |report| report.sent > 100 && total(report) == report.sent).await;
    drop(prober);
    // Each connection that the server closed in silence cost exactly one request: the next one on
    // it, which was not sent again.
    assert_eq!(
        (report.idle_resets, report.failed_total()),
        (server.did(Act::AnswerThenEnd, false), 0),
        "{report:?}"
    );
    assert!(report.idle_resets > 5, "{report:?}");
    assert!(
        report.samples[0].contains("on a kept-alive connection from port ")
            && report.samples[0].contains("idle-reset"),
        "{:?}",
        report.samples
    );
}

#[tokio::test]
async fn a_reused_connection_that_ends_after_the_first_byte_is_a_reset() {
    let server = Server::start(|number, seen| {
        if seen.nth > 0 && number < 60 { Act::HalfHeader } else { Act::Answer(200, "blue") }
    })
    .await;
    let prober = HttpProber::new(&server.policy()).expect("a fit policy");
    prober.start().await.expect("it starts");
    let report =
        until(&prober, "over", |report| report.sent > 100 && total(report) == report.sent).await;
    assert_eq!(
        (report.failed.get("reset").copied(), report.idle_resets),
        (Some(server.did(Act::HalfHeader, true)), 0),
        "{report:?}"
    );
}

#[tokio::test]
async fn an_end_that_was_announced_loses_nothing() {
    for act in [Act::AnswerClose, Act::UntilEnd] {
        let (_server, report) = probe(50, move |_| act).await;
        assert_eq!((report.failed_total(), report.idle_resets), (0, 0), "{act:?}: {report:?}");
    }
}

#[tokio::test]
async fn no_request_is_ever_sent_twice() {
    let acts = [
        Act::End,
        Act::Reset,
        Act::HalfHeader,
        Act::ShortBody,
        Act::Answer(503, ""),
        Act::Garbage,
        Act::AnswerThenEnd,
    ];
    let server = Server::start(move |number, _| acts[number % acts.len()]).await;
    let prober = HttpProber::new(&server.policy()).expect("a fit policy");
    prober.start().await.expect("it starts");
    let report =
        until(&prober, "at 150", |report| report.sent >= 150 && total(report) == report.sent).await;
    let seen = server.seen().len() as u64;
    assert!(seen <= prober.report().sent, "{seen} requests arrived, {} were sent", report.sent);
}

#[tokio::test]
async fn silence_is_a_timeout_before_and_within_the_answer() {
    for (act, words) in
        [(Act::Silence, "no answer in time"), (Act::HeaderThenSilence, "not complete in time")]
    {
        let server = Server::start(
            move |number, _| if number < 10 { act } else { Act::Answer(200, "blue") },
        )
        .await;
        let mut policy = server.policy();
        policy.timeout = Duration::from_millis(500);
        let prober = HttpProber::new(&policy).expect("a fit policy");
        prober.start().await.expect("it starts");
        let report =
            until(&prober, "over", |report| report.failed_total() >= 10 && report.succeeded > 20)
                .await;
        assert_eq!(
            report.failed,
            BTreeMap::from([("timeout".to_owned(), 10)]),
            "{act:?}: {:?}",
            report.samples
        );
        assert!(report.samples.iter().all(|sample| sample.contains(words)), "{:?}", report.samples);
    }
}

#[tokio::test]
async fn a_redirect_is_an_answer_and_is_not_followed() {
    let (server, report) = probe(30, |_| Act::Redirect).await;
    assert_eq!(report.failed_total(), 0, "{report:?}");
    assert!(
        server.seen().iter().all(|seen| seen.head.starts_with("GET /probe ")),
        "it was followed"
    );
}

#[tokio::test]
async fn nobody_there_is_counted_as_no_connection() {
    let gone = { Server::start(|_, _| Act::Silence).await.address };
    let prober = HttpProber::new(&policy(&format!("http://{gone}/"))).expect("a fit policy");
    prober.start().await.expect("it starts");
    let report = until(&prober, "refused", |report| report.failed_total() >= 20).await;
    assert_eq!(report.failed.keys().collect::<Vec<_>>(), ["connect"], "{report:?}");
    assert!(
        report.samples[0].contains(&format!("no connection to {gone}")),
        "{:?}",
        report.samples
    );
}

#[tokio::test]
async fn connect_says_where_the_connections_go() {
    let server = Server::start(|_, _| Act::Answer(204, "blue")).await;
    let mut policy = policy("http://shop.invalid:8080/x");
    policy.connect = Some(server.address.to_string());
    let prober = HttpProber::new(&policy).expect("a fit policy");
    prober.start().await.expect("it starts");
    until(&prober, "answered", |report| report.succeeded + report.failed_total() > 5).await;
    assert!(server.seen().iter().all(|seen| seen.header("host") == Some("shop.invalid:8080")));
}
