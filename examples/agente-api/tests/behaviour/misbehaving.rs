//! Every way to be bad.

use std::io::Read;
use std::time::{Duration, Instant};

use crate::service::{Service, send};
use rustix::process::Signal;

#[test]
fn never_ready_serves_but_is_never_ready() {
    let service = Service::start(&["--never-ready"]);
    assert_eq!(service.get("/readyz").status, 503);
    assert_eq!(service.get("/healthz").status, 200);
    assert_eq!(service.get("/api/items").status, 200);
}

#[test]
fn startup_delays_readiness() {
    let service = Service::start(&["--startup", "0.5"]);
    assert_eq!(service.get("/startupz").status, 503);
    assert_eq!(service.get("/readyz").status, 503);
    service.wait_for("/startupz", 200);
    service.wait_for("/readyz", 200);
}

#[test]
fn unready_after_turns_readiness_while_requests_are_served() {
    let service = Service::start(&["--unready-after", "0.3"]);
    service.wait_for("/readyz", 503);
    assert_eq!(service.get("/healthz").status, 200);
    assert_eq!(service.get("/api/items").status, 200);
}

#[test]
fn crash_after_ends_the_process_with_101() {
    let mut service = Service::start(&["--crash-after", "0.3"]);
    assert!(service.is_running());
    let mut waiting = service.connect();
    send(&mut waiting, "GET", "/api/slow?ms=60000", b"", "close");
    assert_eq!(service.ended().code(), Some(101));
    let mut rest = Vec::new();
    let _ = waiting.read_to_end(&mut rest);
    assert!(rest.is_empty(), "a request in flight was answered");
}

#[test]
fn fail_hits_the_share_of_api_requests_that_it_says_and_no_health_endpoint() {
    let service = Service::start(&["--fail", "25"]);
    let failed = (0..400).filter(|_| service.get("/api/items").status == 500).count();
    assert!((70..=130).contains(&failed), "{failed} of 400 failed");
    assert!((0..50).all(|_| service.get("/healthz").status == 200));
}

#[test]
fn fail_100_fails_every_request_and_the_posted_body_is_read_all_the_same() {
    let service = Service::start(&["--fail", "100"]);
    assert_eq!(service.get("/api/items").status, 500);
    assert_eq!(service.ask("POST", "/api/items", &vec![b'x'; 1024 * 1024]).status, 500);
}

#[test]
fn fail_after_turns_bad_later() {
    let service = Service::start(&["--fail-after", "0.5"]);
    assert_eq!(service.get("/api/items").status, 200);
    service.wait_for("/api/items", 500);
    assert_eq!(service.get("/api/items").status, 500);
}

#[test]
fn fail_method_spares_the_others() {
    let service = Service::start(&["--fail-method", "POST"]);
    assert_eq!(service.get("/api/items").status, 200);
    assert_eq!(service.ask("POST", "/api/items", b"x").status, 500);
}

#[test]
fn slow_delays_the_api_alone() {
    let service = Service::start(&["--slow", "300"]);
    let begun = Instant::now();
    assert_eq!(service.get("/api/items").status, 200);
    assert!(begun.elapsed() >= Duration::from_millis(300));
    // Longer than a client waits.
    let service = Service::start(&["--slow", "3600000"]);
    assert_eq!(service.get("/healthz").status, 200);
}

#[test]
fn slow_percent_spares_most_requests() {
    let service = Service::start(&["--slow", "1000", "--slow-percent", "10"]);
    let slow = (0..40)
        .filter(|_| {
            let begun = Instant::now();
            service.get("/api/items");
            begun.elapsed() >= Duration::from_secs(1)
        })
        .count();
    assert!((1..=12).contains(&slow), "{slow} of 40 were slow");
}

#[test]
fn leak_answers_until_nothing_is_left() {
    let service = Service::start(&["--leak"]);
    assert_eq!(service.get("/health/dependencies").status, 200);
    for number in 0..500 {
        assert_eq!(service.get("/api/items").status, 200, "request {number}");
    }
    assert_eq!(service.get("/health/dependencies").status, 503);
    assert_eq!(service.get("/healthz").status, 200);
    let mut stream = service.connect();
    stream.set_read_timeout(Some(Duration::from_millis(300))).expect("a timeout can be set");
    send(&mut stream, "GET", "/api/items", b"", "close");
    assert!(stream.read(&mut [0]).is_err(), "a request was answered without a worker");
}

#[test]
fn ignore_sigterm_goes_on_serving() {
    use std::io::BufRead;
    let mut service = Service::start(&["--ignore-sigterm"]);
    service.signal(Signal::TERM);
    let mut line = String::new();
    service.log.read_line(&mut line).expect("a line");
    assert_eq!(line, "SIGTERM: ignored\n");
    assert_eq!(service.get("/api/items").status, 200);
    assert!(service.is_running());
}

#[test]
fn wrong_options_are_refused() {
    for bad in [["--fail", "101"], ["--crash-after", "-1"], ["--keep-alive", "soon"]] {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_agente-api"))
            .arg("127.0.0.1:0")
            .args(bad)
            .output()
            .expect("it runs");
        assert_eq!(output.status.code(), Some(2), "{bad:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains(bad[1]), "{bad:?}");
    }
}
