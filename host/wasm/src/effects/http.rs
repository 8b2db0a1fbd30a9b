//! HTTP/1.1: one request on one connection of its own, to an address that was judged; redirects are
//! answers like any other.

use super::live::Live;
use super::open::{Carried, Exchange, Open};
use super::resolve;
use super::secrets::Swaps;
use crate::address::Origin;
use crate::answer::{Answer, EffectError, HttpResponse, NetworkTrouble};
use crate::blob::Blob;
use crate::broker::Allowed;
use crate::effect::{Handle, HttpRequest};
use crate::performer::Permit;
use agente_engine::fault::FaultKind;
use bytes::Bytes;
use http::header::{CONTENT_LENGTH, HeaderName, HeaderValue, TRANSFER_ENCODING, USER_AGENT};
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Mutex, OwnedSemaphorePermit};

pub(super) async fn request(
    live: &Live,
    asked: &HttpRequest,
    permit: &Permit,
) -> Result<Answer, EffectError> {
    let Allowed::Egress { ca, client_certificate, .. } = &permit.allowed else {
        return Err(EffectError::mismatch());
    };
    let origin =
        Origin { scheme: asked.scheme.clone(), host: asked.host.clone(), port: asked.port };
    let whom = format!("{} {origin}", asked.method);
    let place = live.open.take_place()?;
    let request = prepare(live, asked, permit).await?;
    let limit = Duration::from_millis(asked.connect_ms).min(live.remaining());
    let stream = resolve::connect(&asked.host, asked.port, &permit.addresses, limit).await?;
    let answer = Duration::from_millis(asked.answer_ms);
    let (response, connection) = if asked.scheme == "https" {
        let tls = live.household.tls.connect(
            stream,
            &asked.host,
            ca.as_deref(),
            client_certificate.as_deref(),
        );
        let stream = tokio::time::timeout(limit, tls)
            .await
            .map_err(|_| slow(&whom, "TLS", limit, NetworkTrouble::ConnectTimedOut))?
            .map_err(|error| untrusted(&whom, &error))?;
        exchange(&whom, stream, request, answer, place).await?
    } else {
        exchange(&whom, stream, request, answer, place).await?
    };
    let (head, body) = response.into_parts();
    let headers = head.headers.iter();
    let headers = headers
        .map(|(name, value)| (name.as_str().to_owned(), Blob(value.as_bytes().to_vec())))
        .collect();
    let idle = Duration::from_millis(asked.idle_ms);
    let exchange = Exchange { whom, body, idle, connection };
    let body = live.open.keep(Open::Exchange(Arc::new(Mutex::new(exchange))));
    Ok(Answer::Response(HttpResponse { status: head.status.as_u16(), headers, body }))
}

/// The next part of an answer's body; none at its end.
pub(super) async fn receive_body(live: &Live, of: Handle) -> Result<Answer, EffectError> {
    let Some(Open::Exchange(exchange)) = live.open.get(of) else {
        return Err(EffectError::new(FaultKind::Failed, "the response is closed"));
    };
    let mut exchange = exchange.lock().await;
    loop {
        let idle = exchange.idle;
        match tokio::time::timeout(idle, exchange.body.frame()).await {
            Err(_) => {
                let trouble = NetworkTrouble::AnswerTimedOut;
                return Err(slow(&exchange.whom, "the next part of the response", idle, trouble));
            }
            Ok(None) => {
                live.open.close(of);
                return Ok(Answer::Bytes(None));
            }
            Ok(Some(Err(error))) => return Err(broken(&exchange.whom, &error)),
            Ok(Some(Ok(frame))) => {
                // Trailers are not passed on.
                if let Ok(bytes) = frame.into_data() {
                    return Ok(Answer::Bytes(Some(Blob(bytes.to_vec()))));
                }
            }
        }
    }
}

/// Puts the secrets in, and brings the request into the form that goes over the wire.
async fn prepare(
    live: &Live,
    asked: &HttpRequest,
    permit: &Permit,
) -> Result<Request<Full<Bytes>>, EffectError> {
    let swaps = Swaps::of(live, &permit.secrets).await?;
    let malformed = |what: &str| {
        EffectError::new(FaultKind::Failed, format!("the request can't be sent: {what}"))
            .network(NetworkTrouble::Protocol)
    };
    let mut headers = HeaderMap::new();
    for (name, value) in &asked.headers {
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| malformed("a header"))?;
        let swapped = std::str::from_utf8(&value.0).ok().and_then(|text| swaps.header(live, text));
        let value = match swapped {
            Some(swapped) => {
                let mut secret = HeaderValue::from_str(&swapped)
                    .map_err(|_| malformed("the secret can't be used in a header"))?;
                secret.set_sensitive(true);
                secret
            }
            None => HeaderValue::from_bytes(&value.0).map_err(|_| malformed("a header's value"))?,
        };
        headers.append(name, value);
    }
    let agent = format!("agente-host/{} ({})", env!("CARGO_PKG_VERSION"), live.household.plugin);
    if let Ok(agent) = HeaderValue::from_str(&agent) {
        headers.entry(USER_AGENT).or_insert(agent);
    }
    let body = swaps.body(&asked.body.0);
    let said_its_length =
        headers.contains_key(CONTENT_LENGTH) || headers.contains_key(TRANSFER_ENCODING);
    headers.remove(TRANSFER_ENCODING);
    if said_its_length || !body.is_empty() {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
    }
    let mut request = Request::builder()
        .method(asked.method.as_str())
        .uri(&asked.target)
        .body(Full::new(Bytes::from(body)))
        .map_err(|_| malformed("its method or path"))?;
    *request.headers_mut() = headers;
    Ok(request)
}

async fn exchange(
    whom: &str,
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    request: Request<Full<Bytes>>,
    limit: Duration,
    place: OwnedSemaphorePermit,
) -> Result<(Response<Incoming>, Carried), EffectError> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| broken(whom, &error))?;
    let carried = Carried(tokio::spawn(async move {
        // How it ended is told by the answer and its body.
        let _ended = connection.await;
        drop(place);
    }));
    let answer = tokio::time::timeout(limit, sender.send_request(request)).await;
    let response = answer
        .map_err(|_| slow(whom, "the answer", limit, NetworkTrouble::AnswerTimedOut))?
        .map_err(|error| broken(whom, &error))?;
    Ok((response, carried))
}

fn slow(whom: &str, what: &str, limit: Duration, trouble: NetworkTrouble) -> EffectError {
    let message = format!("{whom} failed: {what} took more than {} ms", limit.as_millis());
    EffectError::new(FaultKind::TimedOut, message).network(trouble)
}

fn broken(whom: &str, error: &hyper::Error) -> EffectError {
    let trouble = if error.is_incomplete_message() || error.is_closed() {
        NetworkTrouble::Incomplete
    } else if error.is_timeout() {
        NetworkTrouble::AnswerTimedOut
    } else {
        NetworkTrouble::Protocol
    };
    EffectError::new(FaultKind::Unavailable, format!("{whom} failed: {error}")).network(trouble)
}

fn untrusted(whom: &str, error: &std::io::Error) -> EffectError {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    let trouble = if matches!(inner, Some(rustls::Error::InvalidCertificate(_))) {
        NetworkTrouble::Certificate
    } else {
        NetworkTrouble::Tls
    };
    EffectError::new(FaultKind::Unavailable, format!("{whom} failed: TLS error: {error}"))
        .network(trouble)
}
