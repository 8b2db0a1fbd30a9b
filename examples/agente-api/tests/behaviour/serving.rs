//! What the service does when nothing is wrong.

use std::process::Command;

use crate::service::{Service, receive, send};

#[test]
fn all_five_health_endpoints_answer_200() {
    let service = Service::start(&[]);
    for path in ["/healthz", "/readyz", "/startupz", "/health/dependencies", "/health/version"] {
        let answer = service.get(path);
        assert_eq!(answer.status, 200, "{path}");
        assert_eq!(answer.header("content-type"), Some("application/json"), "{path}");
    }
}

#[test]
fn version_and_release_are_in_every_answer() {
    let service = Service::start_with(&["--version-name", "v7"], &[("AGENTE_RELEASE", "12")]);
    for path in ["/healthz", "/api/items", "/metrics", "/nowhere"] {
        let answer = service.get(path);
        assert_eq!(
            (answer.header("x-version"), answer.header("x-release")),
            (Some("v7"), Some("12")),
            "{path}"
        );
    }
    assert!(service.get("/health/version").body.contains(r#""version":"v7""#));
}

#[test]
fn a_flag_wins_over_its_variable() {
    let service = Service::start_with(
        &["--version-name", "flag"],
        &[("AGENTE_API_VERSION_NAME", "variable")],
    );
    assert_eq!(service.get("/healthz").header("x-version"), Some("flag"));
    let service = Service::start_with(
        &[],
        &[("AGENTE_API_VERSION_NAME", "variable"), ("AGENTE_API_NEVER_READY", "true")],
    );
    assert_eq!(service.get("/healthz").header("x-version"), Some("variable"));
    assert_eq!(service.get("/readyz").status, 503);
}

#[test]
fn a_posted_body_is_answered_with_its_length_and_checksum() {
    let service = Service::start(&[]);
    let answer = service.ask("POST", "/api/items", b"abc");
    assert_eq!(answer.status, 200);
    assert_eq!(
        answer.body.trim(),
        r#"{"length":3,"sha256":"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"}"#
    );
    let long = vec![b'x'; 3 * 1024 * 1024];
    assert!(service.ask("POST", "/api/items", &long).body.contains(r#""length":3145728"#));
}

#[test]
fn a_connection_serves_many_requests() {
    let service = Service::start(&[]);
    let mut stream = service.connect();
    for _ in 0..20 {
        send(&mut stream, "GET", "/api/items", b"", "keep-alive");
        assert_eq!(receive(&mut stream).status, 200);
    }
}

#[test]
fn an_idle_connection_is_closed_after_the_configured_time() {
    let service = Service::start(&["--keep-alive", "0.2"]);
    let mut stream = service.connect();
    send(&mut stream, "GET", "/api/items", b"", "keep-alive");
    assert_eq!(receive(&mut stream).status, 200);
    let idle = std::time::Instant::now();
    let mut rest = Vec::new();
    std::io::Read::read_to_end(&mut stream, &mut rest).expect("an orderly end");
    assert!(rest.is_empty());
    assert!(idle.elapsed().as_millis() >= 150, "closed after {:?}", idle.elapsed());
}

#[test]
fn a_slow_request_takes_the_time_it_was_asked_to() {
    let service = Service::start(&[]);
    let begun = std::time::Instant::now();
    assert_eq!(service.get("/api/slow?ms=300").status, 200);
    assert!(begun.elapsed().as_millis() >= 300);
    assert_eq!(service.get("/api/slow?ms=soon").status, 400);
}

#[test]
fn a_stream_sends_one_line_a_tick_in_chunks() {
    let service = Service::start(&["--version-name", "v3"]);
    let begun = std::time::Instant::now();
    let answer = service.get("/api/stream?seconds=1&tick_ms=250");
    assert_eq!(answer.header("transfer-encoding"), Some("chunked"));
    for line in ["v3 1/4\n", "v3 4/4\n"] {
        assert!(answer.body.contains(line), "{line:?} is missing in {:?}", answer.body);
    }
    assert!(answer.body.ends_with("0\r\n\r\n"));
    assert!(begun.elapsed().as_millis() >= 700);
}

#[test]
fn metrics_count_requests_by_method_and_code() {
    let service = Service::start(&["--version-name", "v\"2"]);
    for _ in 0..3 {
        service.get("/api/items");
    }
    service.ask("POST", "/api/items", b"x");
    service.get("/api/nowhere");
    service.get("/healthz");
    let text = service.get("/metrics").body;
    for line in [
        r#"agente_api_info{version="v\"2",release=""} 1"#,
        r#"http_requests_total{handler="api",method="GET",code="200"} 3"#,
        r#"http_requests_total{handler="api",method="POST",code="200"} 1"#,
        r#"http_requests_total{handler="api",method="GET",code="404"} 1"#,
        r#"http_requests_total{handler="health",method="GET",code="200"} 1"#,
        r#"http_request_duration_seconds_bucket{le="+Inf"} 5"#,
        "http_request_duration_seconds_count 5",
        "http_requests_in_flight 1",
    ] {
        assert!(text.lines().any(|found| found == line), "`{line}` is missing in:\n{text}");
    }
}

#[test]
fn an_address_in_use_ends_with_a_reason() {
    let service = Service::start(&[]);
    let output = Command::new(env!("CARGO_BIN_EXE_agente-api"))
        .arg(service.address.to_string())
        .output()
        .expect("it runs");
    assert_eq!(output.status.code(), Some(1));
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        message.starts_with(&format!("Error: can't listen on {}: ", service.address)),
        "{message}"
    );
}

#[test]
fn help_names_every_variable() {
    let output =
        Command::new(env!("CARGO_BIN_EXE_agente-api")).arg("--help").output().expect("it runs");
    let help = String::from_utf8_lossy(&output.stdout).into_owned();
    for name in [
        "LISTEN",
        "VERSION_NAME",
        "KEEP_ALIVE",
        "NEVER_READY",
        "CRASH_AFTER",
        "FAIL",
        "FAIL_AFTER",
        "UNREADY_AFTER",
        "SLOW",
        "LEAK",
        "IGNORE_SIGTERM",
    ] {
        assert!(
            help.contains(&format!("AGENTE_API_{name}=")),
            "AGENTE_API_{name} is not in --help"
        );
    }
    assert!(help.contains("AGENTE_RELEASE"));
}
