//! What each path answers.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use serde_json::json;
use sha2::{Digest, Sha256};
use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::behaviour::Behaviour;
use crate::content::Content;
use crate::metrics::{Handler, Metrics};

/// The longest body that is read.
const BODY_LIMIT_BYTES: usize = 16 * 1024 * 1024;
/// The longest wait or stream that may be asked for.
const LONGEST: Duration = Duration::from_hours(1);

const X_VERSION: HeaderName = HeaderName::from_static("x-version");
const X_RELEASE: HeaderName = HeaderName::from_static("x-release");

/// Answers one request; never fails, for the service has no other voice than an answer.
pub(crate) async fn answer(
    behaviour: &Behaviour,
    metrics: &Metrics,
    request: Request<Incoming>,
) -> Response<Content> {
    let begun = Instant::now();
    let method = request.method().clone();
    let handler = match request.uri().path() {
        "/metrics" => Handler::Metrics,
        "/healthz" | "/readyz" | "/startupz" => Handler::Health,
        path if path.starts_with("/health/") => Handler::Health,
        path if path.starts_with("/api/") => Handler::Api,
        _ => Handler::Other,
    };
    let mut response = match handler {
        Handler::Api => api(behaviour, request).await,
        Handler::Metrics => text(
            StatusCode::OK,
            "text/plain; version=0.0.4",
            metrics.render(behaviour.version(), behaviour.release().unwrap_or_default()),
        ),
        Handler::Health => health(behaviour, request.uri().path()),
        Handler::Other => {
            plain(StatusCode::NOT_FOUND, "no such path; `agente-api --help` lists them\n")
        }
    };
    let headers = response.headers_mut();
    if let Ok(version) = HeaderValue::from_str(behaviour.version()) {
        headers.insert(X_VERSION, version);
    }
    if let Some(Ok(release)) = behaviour.release().map(HeaderValue::from_str) {
        headers.insert(X_RELEASE, release);
    }
    metrics.answered(handler, &method, response.status().as_u16(), begun.elapsed());
    response
}

fn health(behaviour: &Behaviour, path: &str) -> Response<Content> {
    match path {
        "/healthz" => json(
            StatusCode::OK,
            &json!({ "status": "alive", "uptime_seconds": behaviour.uptime().as_secs_f64() }),
        ),
        "/readyz" => verdict(behaviour.ready(), "ready", "not ready"),
        "/startupz" => verdict(behaviour.started(), "started", "starting"),
        "/health/dependencies" => verdict(behaviour.dependencies(), "available", "no worker left"),
        "/health/version" => json(
            StatusCode::OK,
            &json!({ "status": "ok", "version": behaviour.version(), "release": behaviour.release() }),
        ),
        _ => plain(StatusCode::NOT_FOUND, "no such health endpoint\n"),
    }
}

async fn api(behaviour: &Behaviour, request: Request<Incoming>) -> Response<Content> {
    let number = behaviour.number();
    let _worker = behaviour.worker(number).await;
    let (head, body) = request.into_parts();
    // The body is read before anything is decided: an answer before its end would cut the
    // connection under the client.
    let body = match Limited::new(body, BODY_LIMIT_BYTES).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) if error.is::<http_body_util::LengthLimitError>() => {
            return plain(StatusCode::PAYLOAD_TOO_LARGE, "the body is longer than 16 MiB\n");
        }
        Err(_) => return plain(StatusCode::BAD_REQUEST, "the body could not be read\n"),
    };
    let delay = behaviour.delay(number);
    if !delay.is_zero() {
        sleep(delay).await;
    }
    if behaviour.fails(number, &head.method) {
        return json(StatusCode::INTERNAL_SERVER_ERROR, &json!({ "error": "failed on purpose" }));
    }
    let query = head.uri.query().unwrap_or_default();
    let reading = matches!(head.method, Method::GET | Method::HEAD);
    match head.uri.path() {
        "/api/items" if reading => json(
            StatusCode::OK,
            &json!({ "items": ["apple", "pear", "plum"], "version": behaviour.version() }),
        ),
        "/api/items" if head.method == Method::POST => json(
            StatusCode::OK,
            &json!({ "length": body.len(), "sha256": hexadecimal(&Sha256::digest(&body)) }),
        ),
        "/api/slow" if reading => match number_in(query, "ms", 1000) {
            Some(ms) if Duration::from_millis(ms) <= LONGEST => {
                sleep(Duration::from_millis(ms)).await;
                json(StatusCode::OK, &json!({ "waited_ms": ms }))
            }
            _ => plain(
                StatusCode::BAD_REQUEST,
                "`ms` is a number of milliseconds, at most one hour\n",
            ),
        },
        "/api/stream" if reading => {
            match (number_in(query, "seconds", 5), number_in(query, "tick_ms", 1000)) {
                (Some(seconds), Some(tick))
                    if tick > 0 && Duration::from_secs(seconds) <= LONGEST =>
                {
                    let mut ticks = interval(Duration::from_millis(tick));
                    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
                    let content = Content::lines(
                        ticks,
                        seconds * 1000 / tick,
                        behaviour.version().to_owned(),
                    );
                    with_type(StatusCode::OK, "text/plain", content)
                }
                _ => plain(
                    StatusCode::BAD_REQUEST,
                    "`seconds` is at most 3600 and `tick_ms` at least 1\n",
                ),
            }
        }
        "/api/items" | "/api/slow" | "/api/stream" => {
            plain(StatusCode::METHOD_NOT_ALLOWED, "not with this method\n")
        }
        _ => plain(StatusCode::NOT_FOUND, "no such path; `agente-api --help` lists them\n"),
    }
}

/// A number from a query such as `ms=10&x=2`; `None` when it is there but no number.
fn number_in(query: &str, name: &str, default: u64) -> Option<u64> {
    match query.split('&').filter_map(|pair| pair.split_once('=')).find(|(key, _)| *key == name) {
        Some((_, value)) => value.parse().ok(),
        None => Some(default),
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}

fn verdict(good: bool, yes: &str, no: &str) -> Response<Content> {
    if good {
        json(StatusCode::OK, &json!({ "status": yes }))
    } else {
        json(StatusCode::SERVICE_UNAVAILABLE, &json!({ "status": no }))
    }
}

fn json(status: StatusCode, value: &serde_json::Value) -> Response<Content> {
    text(status, "application/json", format!("{value}\n"))
}

fn plain(status: StatusCode, message: &'static str) -> Response<Content> {
    with_type(status, "text/plain", Content::whole(message))
}

fn text(status: StatusCode, content_type: &'static str, text: String) -> Response<Content> {
    with_type(status, content_type, Content::whole(text))
}

fn with_type(
    status: StatusCode,
    content_type: &'static str,
    content: Content,
) -> Response<Content> {
    let mut response = Response::new(content);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_in_a_query_is_found_missing_or_wrong() {
        assert_eq!(number_in("ms=10&x=2", "ms", 7), Some(10));
        assert_eq!(number_in("x=2", "ms", 7), Some(7));
        assert_eq!(number_in("ms=ten", "ms", 7), None);
    }
}
