//! Who answers, now and over time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use agente_engine::fault::FaultKind;
use agente_engine::ports::Prober;
use agente_probe::HttpProber;

use crate::server::{Act, Server, policy, until};

#[tokio::test]
async fn as_many_fresh_connections_as_asked_tell_who_answers() {
    let server = Server::start(|number, _| {
        Act::Answer(
            if number % 4 == 0 { 502 } else { 200 },
            if number % 2 == 0 { "blue" } else { "green" },
        )
    })
    .await;
    let prober = HttpProber::new(&server.policy()).expect("a fit policy");
    let mut identities = prober.identities(20).await.expect("answers");
    identities.sort();
    assert_eq!(identities, [vec!["blue"; 10], vec!["green"; 10]].concat());
    let seen = server.seen();
    assert!(seen.iter().all(|seen| seen.nth == 0 && seen.header("connection") == Some("close")));
    assert_eq!(seen.len(), 20);
    assert_eq!(prober.report().sent, 0, "a question to the balancer is no probe");
}

#[tokio::test]
async fn an_answer_without_identity_is_an_empty_text() {
    let server = Server::start(|_, _| Act::Redirect).await;
    let prober = HttpProber::new(&server.policy()).expect("a fit policy");
    assert_eq!(prober.identities(3).await.expect("answers"), ["", "", ""]);
    assert!(prober.identities(0).await.expect("nothing").is_empty());
}

#[tokio::test]
async fn one_question_without_an_answer_is_a_fault_with_its_class() {
    let server = Server::start(
        |number, _| if number == 2 { Act::ShortBody } else { Act::Answer(200, "blue") },
    )
    .await;
    let prober = HttpProber::new(&server.policy()).expect("a fit policy");
    let fault = prober.identities(5).await.expect_err("a fault");
    assert_eq!((fault.kind, fault.retryable), (FaultKind::Unavailable, true));
    assert!(fault.causes[0].starts_with("truncated: "), "{fault:?}");

    let gone = { Server::start(|_, _| Act::Silence).await.address };
    let prober = HttpProber::new(&policy(&format!("http://{gone}/"))).expect("a fit policy");
    assert!(prober.identities(1).await.expect_err("a fault").causes[0].starts_with("connect: "));
}

#[tokio::test]
async fn a_switch_shows_in_counts_times_windows_and_presences() {
    let switched = Arc::new(AtomicBool::new(false));
    let reads = Arc::clone(&switched);
    let server = Server::start(move |_, _| {
        Act::Answer(200, if reads.load(Ordering::SeqCst) { "green" } else { "blue" })
    })
    .await;
    let prober = HttpProber::new(&server.policy()).expect("a fit policy");
    prober.start().await.expect("it starts");
    until(&prober, "blue", |report| {
        report.by_identity.get("blue").is_some_and(|count| *count > 50)
    })
    .await;
    let at = agente_probe::now_ms();
    switched.store(true, Ordering::SeqCst);
    let report = until(&prober, "green", |report| {
        report.by_identity.get("green").is_some_and(|count| *count > 50)
    })
    .await;

    let times = prober.identity_times();
    let (blue, green) = (times["blue"], times["green"]);
    assert!(blue.first_ms <= blue.last_ms && blue.last_sent_ms <= at + 1000, "{times:?} {at}");
    assert!(green.first_ms >= at && green.first_ms < at + 2000, "{times:?} {at}");
    let presences = prober.presences();
    assert_eq!(
        presences.iter().map(|presence| presence.identity.as_str()).collect::<Vec<_>>(),
        ["blue", "green"]
    );
    let blues: u64 = prober
        .windows()
        .iter()
        .filter_map(|window| window.by_identity.get("blue"))
        .map(|(all, _)| all)
        .sum();
    assert_eq!(
        (blues, presences[0].answers),
        (report.by_identity["blue"], report.by_identity["blue"])
    );
}
