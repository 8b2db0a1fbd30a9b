//! `wasi:http` of guests: it converts and passes on, as the imports of the contract do.
//!
//! A request is one effect, its body included, which may be as large as a call may carry. The
//! answer's body is read part by part.

use crate::address::{plain_host, port_of};
use crate::answer::{Answer, EffectError, NetworkTrouble};
use crate::blob::Blob;
use crate::effect::{Effect, Handle, HttpRequest};
use crate::operation::Operation;
use agente_engine::fault::FaultKind;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::{Body, Frame};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpHooks};

/// Our own limits, where the guest sets none or longer ones.
const CONNECT: Duration = Duration::from_secs(10);
const ANSWER: Duration = Duration::from_secs(30);

/// How the request ends beside its answer.
type Ending = Box<dyn Future<Output = Result<(), Error>> + Send>;

/// Sends the requests of one operation.
pub(crate) struct Egress(pub(crate) Arc<Operation>);

impl WasiHttpHooks for Egress {
    fn send_request(
        &mut self,
        request: Request<WasiBody>,
        options: Option<RequestOptions>,
        _ending: Ending,
    ) -> Box<dyn Future<Output = Result<(Response<WasiBody>, Ending), Error>> + Send> {
        let operation = Arc::clone(&self.0);
        Box::new(async move {
            let response = send(&operation, request, options.unwrap_or_default()).await?;
            let ending: Ending = Box::new(async { Ok(()) });
            Ok((response, ending))
        })
    }
}

async fn send(
    operation: &Arc<Operation>,
    request: Request<WasiBody>,
    options: RequestOptions,
) -> Result<Response<WasiBody>, Error> {
    let request = written(operation, request, options).await?;
    let response = match operation.perform(Effect::Request(Box::new(request))).await {
        Ok(Answer::Response(response)) => response,
        other => return Err(told(operation, other)),
    };
    let mut head = Response::builder().status(response.status);
    for (name, value) in &response.headers {
        head = head.header(name, value.0.as_slice());
    }
    let body = Parts { operation: Arc::clone(operation), of: response.body, next: None };
    head.body(body.boxed_unsync()).map_err(|_| Error::HttpProtocolError)
}

/// The request as an effect.
async fn written(
    operation: &Operation,
    request: Request<WasiBody>,
    options: RequestOptions,
) -> Result<HttpRequest, Error> {
    let (head, body) = request.into_parts();
    let scheme = head.uri.scheme_str().unwrap_or_default().to_ascii_lowercase();
    let authority = head.uri.authority().ok_or(Error::HttpRequestUriInvalid)?;
    if authority.as_str().contains('@') {
        return Err(Error::HttpRequestUriInvalid);
    }
    let host = plain_host(authority.host());
    let port = port_of(authority, &scheme).ok_or(Error::HttpRequestUriInvalid)?;
    let target = head.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
    let target = if target.starts_with('/') { target.to_owned() } else { format!("/{target}") };
    let limit = operation.household.limits.hostcall.bytes();
    let body = Limited::new(body, usize::try_from(limit).unwrap_or(usize::MAX));
    let body = body.collect().await.map_err(|error| match error.downcast::<Error>() {
        Ok(own) => *own,
        Err(_) => Error::HttpRequestBodySize(Some(limit)),
    })?;
    let milliseconds = |asked: Option<Duration>, limit: Duration| {
        u64::try_from(asked.map_or(limit, |asked| asked.min(limit)).as_millis()).unwrap_or(u64::MAX)
    };
    let headers = head.headers.iter();
    Ok(HttpRequest {
        scheme,
        host,
        port,
        method: head.method.as_str().to_owned(),
        target,
        headers: headers
            .map(|(name, value)| (name.as_str().to_owned(), Blob(value.as_bytes().to_vec())))
            .collect(),
        body: Blob(body.to_bytes().to_vec()),
        connect_ms: milliseconds(options.connect_timeout, CONNECT),
        answer_ms: milliseconds(options.first_byte_timeout, ANSWER),
        idle_ms: milliseconds(options.between_bytes_timeout, ANSWER),
    })
}

/// What the guest is told; it gets a code, so the words are kept for the operation's report.
fn told(operation: &Operation, answer: Result<Answer, EffectError>) -> Error {
    let error = answer.err().unwrap_or_else(EffectError::mismatch);
    let code = match error.network {
        _ if error.kind == FaultKind::Denied && error.network.is_none() => {
            return Error::HttpRequestDenied;
        }
        Some(NetworkTrouble::OffLimits) => return Error::DestinationIpProhibited,
        Some(NetworkTrouble::NoAddress) => Error::DnsError { rcode: None, info_code: None },
        Some(NetworkTrouble::Refused) => Error::ConnectionRefused,
        Some(NetworkTrouble::Broken) => Error::DestinationUnavailable,
        Some(NetworkTrouble::ConnectTimedOut) => Error::ConnectionTimeout,
        Some(NetworkTrouble::TooMany) => Error::ConnectionLimitReached,
        Some(NetworkTrouble::Certificate) => Error::TlsCertificateError,
        Some(NetworkTrouble::Tls) => Error::TlsProtocolError,
        Some(NetworkTrouble::AnswerTimedOut) => Error::ConnectionReadTimeout,
        Some(NetworkTrouble::Incomplete) => Error::HttpResponseIncomplete,
        Some(NetworkTrouble::Protocol) => Error::HttpProtocolError,
        None => Error::InternalError(Some(error.message.clone())),
    };
    operation.note_trouble(error.message);
    code
}

/// The body of an answer, read part by part.
struct Parts {
    operation: Arc<Operation>,
    of: Handle,
    next: Option<Reading>,
}

/// One part on its way.
type Reading = Pin<Box<dyn Future<Output = Result<Answer, EffectError>> + Send>>;

impl Body for Parts {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let parts = &mut *self;
        let reading = parts.next.get_or_insert_with(|| {
            let (operation, of) = (Arc::clone(&parts.operation), parts.of);
            Box::pin(async move { operation.perform(Effect::ReceiveBody(of)).await })
        });
        let answer = ready!(reading.as_mut().poll(context));
        parts.next = None;
        Poll::Ready(match answer {
            Ok(Answer::Bytes(None)) => None,
            Ok(Answer::Bytes(Some(part))) => Some(Ok(Frame::data(Bytes::from(part.0)))),
            other => Some(Err(told(&parts.operation, other))),
        })
    }
}

impl Drop for Parts {
    fn drop(&mut self) {
        self.operation.close(self.of);
    }
}
