//! Asked to stop, the service loses nothing.

use std::io::{BufRead, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::service::{PATIENCE, Service, receive, receive_to_end, send};
use rustix::process::Signal;

/// A service that waits for ten hours: whatever ends within a test has not ended by that.
const PATIENT: [&str; 4] = ["--shutdown-grace", "36000", "--keep-alive", "36000"];

fn stopping(service: &mut Service) {
    service.signal(Signal::TERM);
    let mut line = String::new();
    service.log.read_line(&mut line).expect("a line");
    assert_eq!(line, "SIGTERM: no new connections; what is in flight goes on\n");
}

fn wait_until_closed(service: &Service) {
    let deadline = Instant::now() + PATIENCE;
    while TcpStream::connect(service.address).is_ok() {
        assert!(Instant::now() < deadline, "the listener is still open");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Waits until the service has taken a request, as its own metrics say.
fn wait_in_flight(service: &Service, count: usize) {
    let deadline = Instant::now() + PATIENCE;
    let wanted = format!("http_requests_in_flight {}", count + 1);
    while !service.get("/metrics").body.lines().any(|line| line == wanted) {
        assert!(Instant::now() < deadline, "the requests did not arrive");
    }
}

#[test]
fn requests_in_flight_are_answered_and_new_connections_refused() {
    let mut service = Service::start(&PATIENT);
    let mut waiting: Vec<_> = (0..8)
        .map(|_| {
            let mut stream = service.connect();
            send(&mut stream, "GET", "/api/slow?ms=1500", b"", "keep-alive");
            stream
        })
        .collect();
    let mut streaming = service.connect();
    send(&mut streaming, "GET", "/api/stream?seconds=2&tick_ms=500", b"", "keep-alive");
    wait_in_flight(&service, 9);
    stopping(&mut service);
    wait_until_closed(&service);
    for stream in &mut waiting {
        let answer = receive_to_end(stream);
        assert_eq!((answer.status, answer.header("connection")), (200, Some("close")));
    }
    assert!(receive_to_end(&mut streaming).body.ends_with("0\r\n\r\n"), "the stream was cut");
    assert_eq!(service.ended().code(), Some(0));
}

#[test]
fn a_body_still_being_sent_is_read_to_its_end() {
    let mut service = Service::start(&PATIENT);
    let mut stream = service.connect();
    stream
        .write_all(b"POST /api/items HTTP/1.1\r\nHost: test\r\nContent-Length: 6\r\n\r\nabc")
        .expect("sent");
    wait_in_flight(&service, 1);
    stopping(&mut service);
    wait_until_closed(&service);
    stream.write_all(b"def").expect("sent");
    assert!(receive_to_end(&mut stream).body.contains(r#""length":6"#));
    assert_eq!(service.ended().code(), Some(0));
}

#[test]
fn idle_connections_are_closed_at_once() {
    let mut service = Service::start(&PATIENT);
    let mut stream = service.connect();
    send(&mut stream, "GET", "/api/items", b"", "keep-alive");
    assert_eq!(receive(&mut stream).status, 200);
    stopping(&mut service);
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).expect("an orderly end");
    assert!(rest.is_empty());
    assert_eq!(service.ended().code(), Some(0));
}

#[test]
fn a_connection_that_never_spoke_does_not_hold_the_service() {
    let mut service = Service::start(&PATIENT);
    let silent = service.connect();
    service.get("/healthz");
    stopping(&mut service);
    assert_eq!(service.ended().code(), Some(0));
    drop(silent);
}

#[test]
fn requests_longer_than_the_grace_are_cut_and_counted() {
    let mut service = Service::start(&["--shutdown-grace", "0.3"]);
    let mut stream = service.connect();
    send(&mut stream, "GET", "/api/slow?ms=60000", b"", "keep-alive");
    wait_in_flight(&service, 1);
    stopping(&mut service);
    assert_eq!(service.ended().code(), Some(0));
    let mut line = String::new();
    service.log.read_line(&mut line).expect("a line");
    assert_eq!(line, "stopped after 0.3 s; connections cut: 1\n");
}

#[test]
fn no_request_is_lost_while_the_service_is_asked_to_stop_under_load() {
    let mut service = Service::start(&PATIENT);
    let address = service.address;
    let clients: Vec<_> = (0..8)
        .map(|_| {
            std::thread::spawn(move || {
                let (mut answered, mut reset) = (0, 0);
                // The listener is closed once connecting fails; until then every accepted connection
                // must be answered.
                while let Ok(mut stream) = TcpStream::connect(address) {
                    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
                    let request = b"POST /api/items HTTP/1.1\r\nHost: test\r\n\
                                    Connection: close\r\nContent-Length: 1\r\n\r\nx";
                    let mut answer = String::new();
                    let read =
                        stream.write_all(request).and_then(|()| stream.read_to_string(&mut answer));
                    match read {
                        Ok(_) => assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer:?}"),
                        Err(_) => reset += 1,
                    }
                    answered += 1;
                }
                (answered, reset)
            })
        })
        .collect();
    let deadline = Instant::now() + PATIENCE;
    while !service
        .get("/metrics")
        .body
        .lines()
        .any(|line| line.starts_with("http_request_duration_seconds_count ") && line.len() > 39)
    {
        assert!(Instant::now() < deadline, "the load did not arrive");
    }
    stopping(&mut service);
    let mut resets = 0;
    for client in clients {
        let (answered, reset) = client.join().expect("every accepted request was answered");
        assert!(answered > 0);
        resets += reset;
    }
    // The kernel resets what connects between the last accept and the close: no server can help
    // that, and it lasts microseconds.
    assert!(resets <= 1, "{resets} connections were reset");
    assert_eq!(service.ended().code(), Some(0));
}
