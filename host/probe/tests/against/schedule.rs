//! Requests are due on a schedule, whatever becomes of those before.

use std::sync::atomic::Ordering;
use std::time::Duration;

use agente_engine::ports::Prober;
use agente_probe::HttpProber;
use tokio::time::{Instant, sleep};

use crate::server::{Act, PATIENCE, Server, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_stalls_for_a_second_does_not_thin_out_the_requests() {
    let server = Server::start(|_, _| Act::Late(Duration::from_secs(1))).await;
    let mut policy = server.policy();
    policy.rate = 100.0;
    let prober = HttpProber::new(&policy).expect("a fit policy");
    let begun = Instant::now();
    prober.start().await.expect("it starts");
    // A client that waits for its answers would have sent 5 or so by then.
    let report = until(&prober, "at 200", |report| report.sent >= 200).await;
    let due = begun.elapsed().as_secs_f64() * 100.0;
    let sent = f64::from(u32::try_from(report.sent).expect("a small number"));
    assert!(sent <= due + 2.0, "{sent} sent, but only {due} were due");
    // What this machine itself is late with is skipped.
    assert!(sent >= due / 2.0, "only {sent} sent of {due} that were due");
    let report = until(&prober, "answered", |report| report.succeeded >= 200).await;
    assert_eq!(report.failed_total(), 0, "{report:?}");
    assert!(report.latency_us[0] >= 1_000_000, "{report:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_in_flight_than_is_allowed_is_overload_and_is_not_sent() {
    let server = Server::start(|_, _| Act::Silence).await;
    let mut policy = server.policy();
    policy.rate = 2000.0;
    let prober = HttpProber::new(&policy).expect("a fit policy");
    prober.start().await.expect("it starts");
    let report =
        until(&prober, "overloaded", |report| report.failed.contains_key("overload")).await;
    assert_eq!((report.sent, report.failed.len()), (512, 1), "{report:?}");
    assert!(
        report.samples[0].contains("not sent: 512 requests are already in flight"),
        "{:?}",
        report.samples
    );
    assert!(server.state.most_open.load(Ordering::SeqCst) <= 512);
}

#[tokio::test]
async fn starting_twice_sends_at_the_same_rate() {
    let server = Server::start(|_, _| Act::Answer(200, "blue")).await;
    let mut policy = server.policy();
    policy.rate = 50.0;
    let prober = HttpProber::new(&policy).expect("a fit policy");
    let begun = Instant::now();
    prober.start().await.expect("it starts");
    prober.start().await.expect("it has started");
    let report = until(&prober, "at 50", |report| report.sent >= 50).await;
    assert!(
        begun.elapsed() >= Duration::from_millis(900),
        "{} in {:?}",
        report.sent,
        begun.elapsed()
    );
}

#[tokio::test]
async fn nothing_is_sent_before_the_start_and_nothing_stays_open_after_the_drop() {
    let server =
        Server::start(
            |number, _| if number % 2 == 0 { Act::Silence } else { Act::Answer(200, "blue") },
        )
        .await;
    let prober = HttpProber::new(&server.policy()).expect("a fit policy");
    assert_eq!(prober.report().sent, 0);
    assert_eq!(server.state.accepted.load(Ordering::SeqCst), 0);
    prober.start().await.expect("it starts");
    until(&prober, "at 20", |report| report.succeeded >= 20).await;
    assert!(server.state.open.load(Ordering::SeqCst) > 0);
    drop(prober);
    let deadline = Instant::now() + PATIENCE;
    while server.state.open.load(Ordering::SeqCst) > 0 {
        assert!(Instant::now() < deadline, "connections stay open");
        sleep(Duration::from_millis(5)).await;
    }
    let accepted = server.state.accepted.load(Ordering::SeqCst);
    sleep(Duration::from_millis(200)).await; // forty requests would have been due
    assert_eq!(server.state.accepted.load(Ordering::SeqCst), accepted);
}

#[tokio::test]
async fn a_rate_or_timeout_that_can_not_be_kept_is_refused() {
    let server = Server::start(|_, _| Act::Silence).await;
    for rate in [0.0, -1.0, 1e-300, 0.009, f64::NAN, f64::INFINITY, 20_000.0] {
        let mut policy = server.policy();
        policy.rate = rate;
        let fault = HttpProber::new(&policy).err().expect("a fault");
        assert!(fault.message.contains("rate") && fault.hint.is_some(), "{fault:?}");
    }
    let mut policy = server.policy();
    policy.timeout = Duration::ZERO;
    assert!(HttpProber::new(&policy).is_err());
    policy.timeout = Duration::from_secs(1);
    policy.post_path = Some("echo".to_owned());
    assert!(HttpProber::new(&policy).err().expect("a fault").message.contains("`echo`"));
}

#[tokio::test]
async fn what_was_due_while_this_machine_stood_still_is_skipped_and_does_not_count_as_failed() {
    let server = Server::start(|_, _| Act::Answer(200, "blue")).await;
    let mut policy = server.policy();
    policy.rate = 100.0;
    let prober = HttpProber::new(&policy).expect("a fit policy");
    prober.start().await.expect("it starts");
    let before = until(&prober, "at 20", |report| report.sent >= 20).await.sent;
    // On this runtime's only thread: nothing runs meanwhile, and 200 requests become due.
    std::thread::sleep(Duration::from_secs(2));
    let begun = Instant::now();
    let after = until(&prober, "at it again", |report| report.succeeded >= before + 20).await;
    let most = 20.0 + begun.elapsed().as_secs_f64() * 100.0;
    let sent = f64::from(u32::try_from(after.sent - before).expect("a small number"));
    assert!(sent <= most, "{sent} sent in a burst");
    assert_eq!(after.failed_total(), 0, "{after:?}");
}
