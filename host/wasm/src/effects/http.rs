//! `wasi:http` of guests: one request on one connection of its own, to an address that was judged;
//! redirects are answers like any other.

use crate::address::{plain_host, port_of};
use crate::broker::{Allowed, Effect};
use crate::capability::SecretUse;
use crate::effects::resolve::{self, ConnectError};
use crate::effects::secrets::{OpenSecrets, SwapError};
use crate::operation::Operation;
use bytes::Bytes;
use http::header::{CONTENT_LENGTH, HeaderValue, TRANSFER_ENCODING, USER_AGENT};
use http::{Request, Response, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::rt::TokioIo;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::OwnedSemaphorePermit;
use wasmtime_wasi_http::p2::bindings::http::types::ErrorCode;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpHooks};

/// Our own limits, where the guest sets none or longer ones.
const CONNECT: Duration = Duration::from_secs(10);
const ANSWER: Duration = Duration::from_secs(30);

/// How the request ends beside its answer.
type Ending = Box<dyn Future<Output = Result<(), Error>> + Send>;

/// Sends the requests of one operation.
pub(crate) struct Egress {
    pub(crate) operation: Arc<Operation>,
    pub(crate) secrets: OpenSecrets,
}

impl WasiHttpHooks for Egress {
    fn send_request(
        &mut self,
        request: Request<WasiBody>,
        options: Option<RequestOptions>,
        _ending: Ending,
    ) -> Box<dyn Future<Output = Result<(Response<WasiBody>, Ending), Error>> + Send> {
        let (operation, secrets) = (Arc::clone(&self.operation), self.secrets.clone());
        Box::new(async move {
            let whom = format!(
                "{} {}://{}",
                request.method(),
                request.uri().scheme_str().unwrap_or_default(),
                request.uri().authority().map_or("", |a| a.as_str())
            );
            let sent = send(&operation, &secrets, request, options.unwrap_or_default()).await;
            if let Err(error) = &sent
                && !matches!(error, Error::HttpRequestDenied | Error::DestinationIpProhibited)
            {
                operation.note_trouble(format!("{whom} failed: {error}"));
            }
            sent
        })
    }

    fn p2_error_from_hyper(&mut self, error: &hyper::Error) -> ErrorCode {
        if error.is_incomplete_message() || error.is_closed() {
            ErrorCode::HttpResponseIncomplete
        } else if error.is_timeout() {
            ErrorCode::HttpResponseTimeout
        } else {
            ErrorCode::HttpProtocolError
        }
    }

    fn p2_error_from_connect(&mut self, error: &std::io::Error) -> ErrorCode {
        match error.kind() {
            std::io::ErrorKind::ConnectionRefused => ErrorCode::ConnectionRefused,
            std::io::ErrorKind::ConnectionReset | std::io::ErrorKind::ConnectionAborted => {
                ErrorCode::ConnectionTerminated
            }
            std::io::ErrorKind::TimedOut => ErrorCode::ConnectionTimeout,
            _ => ErrorCode::DestinationUnavailable,
        }
    }

    fn p2_error_from_tls(&mut self, error: &std::io::Error) -> ErrorCode {
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        if matches!(inner, Some(rustls::Error::InvalidCertificate(_))) {
            ErrorCode::TlsCertificateError
        } else {
            ErrorCode::TlsProtocolError
        }
    }
}

async fn send(
    operation: &Operation,
    secrets: &OpenSecrets,
    request: Request<WasiBody>,
    options: RequestOptions,
) -> Result<(Response<WasiBody>, Ending), Error> {
    let scheme = request.uri().scheme_str().unwrap_or_default().to_ascii_lowercase();
    let authority = request.uri().authority().ok_or(Error::HttpRequestUriInvalid)?;
    if authority.as_str().contains('@') {
        return Err(Error::HttpRequestUriInvalid);
    }
    let tls = scheme == "https";
    let host = plain_host(authority.host());
    let port = port_of(authority, &scheme).ok_or(Error::HttpRequestUriInvalid)?;
    let effect = Effect::Request {
        scheme,
        host: host.clone(),
        port,
        method: request.method().as_str().to_owned(),
    };
    let Ok(Allowed::Egress { reach, ca, client_certificate }) = operation.authorize(&effect) else {
        return Err(Error::HttpRequestDenied);
    };
    let Ok(place) =
        super::tcp::take_place(&operation.connections, operation.household.limits.connections)
    else {
        return Err(Error::ConnectionLimitReached);
    };
    let request = prepare(operation, secrets, request, &host).await?;

    let limit = options.connect_timeout.map_or(CONNECT, |limit| limit.min(CONNECT));
    let stream =
        resolve::connect(operation, &effect, reach, &host, port, limit).await.map_err(|error| {
            match error {
                ConnectError::NoAddress(_) => Error::DnsError { rcode: None, info_code: None },
                ConnectError::Denied(_) => Error::DestinationIpProhibited,
                ConnectError::TimedOut(_) => Error::ConnectionTimeout,
                ConnectError::Io(error)
                    if error.kind() == std::io::ErrorKind::ConnectionRefused =>
                {
                    Error::ConnectionRefused
                }
                ConnectError::Io(error) => Error::Connect(error),
            }
        })?;
    let answer = options.first_byte_timeout.map_or(ANSWER, |limit| limit.min(ANSWER));
    let idle = options.between_bytes_timeout.map_or(ANSWER, |limit| limit.min(ANSWER));
    if tls {
        let stream = tokio::time::timeout(
            limit,
            operation.household.tls.connect(
                stream,
                &host,
                ca.as_deref(),
                client_certificate.as_deref(),
            ),
        )
        .await;
        exchange(
            stream.map_err(|_| Error::ConnectionTimeout)?.map_err(Error::Tls)?,
            request,
            answer,
            idle,
            place,
        )
        .await
    } else {
        exchange(stream, request, answer, idle, place).await
    }
}

/// Swaps secrets, and brings the request into the form that goes over the wire.
async fn prepare(
    operation: &Operation,
    secrets: &OpenSecrets,
    request: Request<WasiBody>,
    host: &str,
) -> Result<Request<WasiBody>, Error> {
    let (mut head, mut body) = request.into_parts();
    let path = head.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
    head.uri = Uri::builder()
        .path_and_query(if path.starts_with('/') { path.to_owned() } else { format!("/{path}") })
        .build()
        .map_err(|_| Error::HttpRequestUriInvalid)?;
    if let Ok(agent) = HeaderValue::from_str(&format!(
        "agente-host/{} ({})",
        env!("CARGO_PKG_VERSION"),
        operation.household.plugin
    )) {
        head.headers.entry(USER_AGENT).or_insert(agent);
    }
    if !secrets.any() {
        return Ok(Request::from_parts(head, body));
    }
    for value in head.headers.values_mut() {
        let Ok(text) = value.to_str() else { continue };
        if let Some(swapped) =
            secrets.swap_header(operation, text, host).await.map_err(unswapped)?
        {
            let mut secret = HeaderValue::from_str(&swapped).map_err(|_| {
                Error::InternalError(Some("a secret can't stand in a header".to_owned()))
            })?;
            secret.set_sensitive(true);
            *value = secret;
        }
    }
    if operation.household.broker.sends_in_bodies(&operation.circumstances, host) {
        let limit =
            usize::try_from(operation.household.limits.hostcall.bytes()).unwrap_or(usize::MAX);
        let bytes = Limited::new(body, limit)
            .collect()
            .await
            .map_err(|_| Error::HttpRequestBodySize(Some(limit as u64)))?
            .to_bytes();
        let swapped = match std::str::from_utf8(&bytes) {
            Ok(text) => secrets
                .swap(operation, text, SecretUse::Body, host)
                .await
                .map_err(unswapped)?
                .map(Bytes::from),
            Err(_) => None,
        };
        let bytes = swapped.unwrap_or(bytes);
        head.headers.remove(TRANSFER_ENCODING);
        head.headers.insert(CONTENT_LENGTH, HeaderValue::from(bytes.len()));
        body = Full::new(bytes).map_err(|never| match never {}).boxed_unsync();
    }
    Ok(Request::from_parts(head, body))
}

fn unswapped(error: SwapError) -> Error {
    match error {
        SwapError::Denied => Error::HttpRequestDenied,
        SwapError::NoValue(failure) => Error::InternalError(Some(failure.message)),
    }
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    request: Request<WasiBody>,
    answer: Duration,
    idle: Duration,
    place: OwnedSemaphorePermit,
) -> Result<(Response<WasiBody>, Ending), Error> {
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let mut connection = Box::pin(async move {
        let ended = connection.await.map_err(Error::from);
        drop(place);
        ended
    });
    let mut ended = None;
    let response = tokio::time::timeout(answer, async {
        let mut sending = std::pin::pin!(sender.send_request(request));
        loop {
            tokio::select! {
                biased;
                response = &mut sending => return response.map_err(Error::from),
                // The connection moves the bytes; it may end before the answer has been taken.
                end = &mut connection, if ended.is_none() => ended = Some(end),
            }
        }
    })
    .await
    .map_err(|_| Error::ConnectionReadTimeout)??;
    let response = response.map(|body| {
        Idle { body, limit: idle, sleep: Box::pin(tokio::time::sleep(idle)) }.boxed_unsync()
    });
    let ending: Ending = match ended {
        Some(_) => Box::new(async { Ok(()) }),
        None => Box::new(connection),
    };
    Ok((response, ending))
}

/// A body that ends with an error when nothing comes for too long.
struct Idle {
    body: hyper::body::Incoming,
    limit: Duration,
    sleep: Pin<Box<tokio::time::Sleep>>,
}

impl hyper::body::Body for Idle {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<hyper::body::Frame<Bytes>, Error>>> {
        match Pin::new(&mut self.body).poll_frame(context) {
            Poll::Ready(Some(Ok(frame))) => {
                let next = tokio::time::Instant::now() + self.limit;
                self.sleep.as_mut().reset(next);
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(Error::from(error)))),
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Pending => {
                self.sleep.as_mut().poll(context).map(|()| Some(Err(Error::ConnectionReadTimeout)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> hyper::body::SizeHint {
        self.body.size_hint()
    }
}
