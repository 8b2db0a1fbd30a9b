//! A small HTTP server for the numbers: `/metrics` for Prometheus, `/healthz` for whoever looks
//! after this process.

use crate::error::CliError;
use crate::metrics::exposition::text;
use crate::metrics::gateway::TEXT_FORMAT;
use crate::metrics::ledger::{Ledger, Of};
use crate::output::say;
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// How many connections at a time; a scraper needs one.
const CONNECTIONS: usize = 32;

/// How long a client may take to ask.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long is waited after a connection could not be taken, as when this process has too many
/// files open.
const PAUSE: Duration = Duration::from_millis(100);

/// Answers for the numbers on an address until `stop` ends.
///
/// # Errors
///
/// An error of the configuration where the address can't be listened on.
pub(crate) async fn serve_metrics(
    address: SocketAddr,
    ledger: Arc<Ledger>,
    of: Of,
    stop: impl Future<Output = ()>,
) -> Result<(), CliError> {
    let unusable = |error: std::io::Error| {
        CliError::usage(format!("can't listen on `{address}`"))
            .because(&error)
            .hint("choose another address with `--listen`; port 0 picks a free one")
    };
    let listener = TcpListener::bind(address).await.map_err(unusable)?;
    let bound = listener.local_addr().map_err(unusable)?;
    say(&format!("serving metrics at http://{bound}/metrics"));
    let mut connections = JoinSet::new();
    tokio::pin!(stop);
    loop {
        tokio::select! {
            () = &mut stop => return Ok(()),
            accepted = listener.accept(), if connections.len() < CONNECTIONS => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(answer_all(stream, Arc::clone(&ledger), of.clone()));
                }
                Err(error) => {
                    tracing::warn!("a connection could not be accepted: {error}");
                    tokio::time::sleep(PAUSE).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn answer_all(stream: TcpStream, ledger: Arc<Ledger>, of: Of) {
    let service = service_fn(|request| {
        let (ledger, of) = (Arc::clone(&ledger), of.clone());
        async move { Ok::<_, Infallible>(answer(&request, &ledger, &of).await) }
    });
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(PATIENCE);
    if let Err(error) = server.serve_connection(TokioIo::new(stream), service).await {
        tracing::debug!("a connection ended with an error: {error}");
    }
}

async fn answer(request: &Request<Incoming>, ledger: &Ledger, of: &Of) -> Response<Full<Bytes>> {
    let plain =
        |status, body: &str| response(status, "text/plain; charset=utf-8", format!("{body}\n"));
    let path = request.uri().path();
    if !matches!(path, "/metrics" | "/healthz") {
        return plain(StatusCode::NOT_FOUND, "try /metrics or /healthz");
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut refused = plain(StatusCode::METHOD_NOT_ALLOWED, "use GET");
        refused.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return refused;
    }
    // Healthy is who can tell the numbers.
    match ledger.read(of).await.and_then(|numbers| text(&numbers)) {
        Ok(_) if path == "/healthz" => plain(StatusCode::OK, "ok"),
        Ok(numbers) => response(StatusCode::OK, TEXT_FORMAT, numbers),
        Err(error) => {
            tracing::warn!("the metrics can't be collected: {}", error.message);
            plain(StatusCode::SERVICE_UNAVAILABLE, &error.message)
        }
    }
}

fn response(status: StatusCode, content_type: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
