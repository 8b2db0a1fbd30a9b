//! One request to a Pushgateway.

use reqwest::header::CONTENT_TYPE;
use reqwest::redirect::Policy;
use reqwest::{Client, Method, StatusCode};
use rustls::{ClientConfig, RootCertStore};
use std::sync::Arc;
use std::time::Duration;

/// How long a gateway may take: whoever deploys waits for it.
const LIMIT: Duration = Duration::from_secs(3);

/// The type of the classic text format.
pub(crate) const TEXT_FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Why a gateway did not take a request.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GatewayError {
    /// There is no client to ask with.
    #[error("can't create an HTTP client")]
    Client(#[source] reqwest::Error),
    /// TLS lacks what every server demands.
    #[error("can't create a TLS client")]
    Tls(#[source] rustls::Error),
    /// No connection, or no answer on it.
    #[error("`{url}` did not answer: {reason}")]
    Unanswered { url: String, reason: String },
    #[error("`{0}` did not answer within {limit} s", limit = LIMIT.as_secs())]
    TimedOut(String),
    /// It said no.
    #[error("`{url}` answered {status}")]
    Status { url: String, status: StatusCode },
}

/// Sends one request and demands a successful answer.
pub(crate) async fn ask(method: Method, url: &str, body: String) -> Result<(), GatewayError> {
    let mut roots = RootCertStore::empty();
    if url.starts_with("https:") {
        // Single broken certificates of a system are common, and no reason to trust none.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    }
    ask_trusting(roots, method, url, body).await
}

async fn ask_trusting(
    roots: RootCertStore,
    method: Method,
    url: &str,
    body: String,
) -> Result<(), GatewayError> {
    let sent = client(roots)?.request(method, url).header(CONTENT_TYPE, TEXT_FORMAT).body(body);
    let answer = sent.send().await.map_err(|error| {
        if error.is_timeout() {
            return GatewayError::TimedOut(url.to_owned());
        }
        GatewayError::Unanswered { url: url.to_owned(), reason: innermost(&error) }
    })?;
    match answer.status() {
        status if status.is_success() => Ok(()),
        status => Err(GatewayError::Status { url: url.to_owned(), status }),
    }
}

/// A client that goes straight to the gateway: neither by a proxy nor wherever an answer sends it.
fn client(roots: RootCertStore) -> Result<Client, GatewayError> {
    // The cryptography of all other TLS in the program; reqwest would bring a second one.
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(GatewayError::Tls)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Client::builder()
        .tls_backend_preconfigured(tls)
        .no_proxy()
        .redirect(Policy::none())
        .timeout(LIMIT)
        .build()
        .map_err(GatewayError::Client)
}

/// The reason behind the layers of the client, which say only where they were.
fn innermost(error: &reqwest::Error) -> String {
    let mut reason: &dyn std::error::Error = error;
    while let Some(source) = reason.source() {
        reason = source;
    }
    reason.to_string()
}

#[cfg(test)]
mod tests;
