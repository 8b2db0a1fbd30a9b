//! One request to a Pushgateway, on a connection of its own.

use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::http1;
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use std::time::Duration;
use tokio::net::TcpStream;
use url::Url;

/// How long a gateway may take: whoever deploys waits for it.
const LIMIT: Duration = Duration::from_secs(3);

/// The type of the classic text format.
pub(crate) const TEXT_FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Why a gateway did not take a request.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GatewayError {
    /// The URL is none that can be asked.
    #[error("`{0}` can't be asked")]
    Url(String),
    /// No connection.
    #[error("`{address}` can't be reached")]
    Connect {
        address: String,
        #[source]
        source: std::io::Error,
    },
    /// The connection broke, or the answer was none.
    #[error("`{url}` was not answered")]
    Http {
        url: String,
        #[source]
        source: hyper::Error,
    },
    /// It took too long.
    #[error("`{0}` was not answered within {limit} s", limit = LIMIT.as_secs())]
    TimedOut(String),
    /// It said no.
    #[error("`{url}` answered {status}")]
    Status {
        url: String,
        /// Its answer.
        status: StatusCode,
    },
}

/// Sends one request and demands an answer below 300.
pub(crate) async fn ask(method: Method, url: &str, body: String) -> Result<(), GatewayError> {
    match tokio::time::timeout(LIMIT, send(method, url, body)).await {
        Ok(result) => result,
        Err(_) => Err(GatewayError::TimedOut(url.to_owned())),
    }
}

async fn send(method: Method, url: &str, body: String) -> Result<(), GatewayError> {
    let bad = || GatewayError::Url(url.to_owned());
    let parsed = Url::parse(url).map_err(|_| bad())?;
    let (Some(host), Some(port)) = (parsed.host_str(), parsed.port_or_known_default()) else {
        return Err(bad());
    };
    let address = format!("{host}:{port}");
    let stream = TcpStream::connect(&address)
        .await
        .map_err(|source| GatewayError::Connect { address: address.clone(), source })?;
    let broke = |source| GatewayError::Http { url: url.to_owned(), source };
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broke)?;
    let connection = tokio::spawn(connection);
    let request = Request::builder()
        .method(method)
        .uri(parsed.path())
        .header(HOST, &address)
        .header(CONTENT_TYPE, TEXT_FORMAT);
    let request = request.body(Full::new(Bytes::from(body))).map_err(|_| bad())?;
    let status = sender.send_request(request).await.map_err(broke).map(|answer| answer.status());
    connection.abort();
    match status? {
        status if status.is_success() => Ok(()),
        status => Err(GatewayError::Status { url: url.to_owned(), status }),
    }
}
