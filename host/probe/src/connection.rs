//! One connection, opened for one target, used for one request at a time, and judged.

use bytes::{Bytes, BytesMut};
use http::header::{
    ACCEPT, CONNECTION, COOKIE, HOST, HeaderMap, HeaderValue, TRANSFER_ENCODING, USER_AGENT,
};
use http::uri::PathAndQuery;
use http::{Method, Request, Response, Uri, Version};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body as _, Incoming};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout_at};

use crate::outcome::{Answer, Class, Loss, words};
use crate::target::Target;
use crate::watched::{Received, Stream, Watched};

/// How much of a body is kept.
const KEPT_BODY_BYTES: usize = 64 * 1024;

const AGENT: &str = concat!("agente-host/", env!("CARGO_PKG_VERSION"), " probe");

/// What is asked.
#[derive(Debug, Clone)]
pub struct Ask {
    pub method: Method,
    /// The path and query.
    pub path: PathAndQuery,
    /// The body; empty for none.
    pub body: Bytes,
    /// Whether the connection is to end after the answer.
    pub close: bool,
    /// A cookie that tells who asks.
    pub cookie: Option<HeaderValue>,
}

/// An open connection. Closed when dropped, whatever is in flight.
pub struct Connection {
    sender: SendRequest<Full<Bytes>>,
    received: Received,
    used: u64,
    driver: AbortHandle,
    local_port: u16,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Connection {
    /// Opens a fresh connection.
    ///
    /// # Errors
    ///
    /// Returns a loss of class `connect` or `tls`, also when the deadline passes.
    pub async fn open(target: &Target, deadline: Instant) -> Result<Self, Loss> {
        let address = target.connect();
        let stream = match timeout_at(deadline, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => {
                return Err(Loss::new(
                    Class::Connect,
                    format!("no connection to {address}: {error}"),
                ));
            }
            Err(_) => {
                return Err(Loss::new(
                    Class::Connect,
                    format!("no connection to {address} in time"),
                ));
            }
        };
        let _ = stream.set_nodelay(true);
        let local_port = stream.local_addr().map_or(0, |address| address.port());
        let stream = match target.tls() {
            None => Stream::Plain(stream),
            Some((connector, name)) => {
                match timeout_at(deadline, connector.connect(name.clone(), stream)).await {
                    Ok(Ok(stream)) => Stream::Tls(Box::new(stream)),
                    Ok(Err(error)) => {
                        return Err(Loss::new(
                            Class::Tls,
                            format!("no TLS session with {address}: {}", words(&error)),
                        ));
                    }
                    Err(_) => {
                        return Err(Loss::new(
                            Class::Tls,
                            format!("no TLS session with {address} in time"),
                        ));
                    }
                }
            }
        };
        let (stream, received) = Watched::new(stream);
        let (sender, driver) = http1::handshake(TokioIo::new(stream)).await.map_err(|error| {
            Loss::new(Class::Connect, format!("no connection to {address}: {}", words(&error)))
        })?;
        // How the connection ends is seen by the request on it; between requests nobody needs to
        // know.
        let driver = tokio::spawn(async move { drop(driver.await) }).abort_handle();
        Ok(Self { sender, received, used: 0, driver, local_port })
    }

    /// Whether a request has been answered on this connection before.
    pub fn is_reused(&self) -> bool {
        self.used > 0
    }

    /// Whether the other side is known to have closed it.
    pub fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    /// Our port, to find the connection in a server's log.
    pub fn local_port(&self) -> u16 {
        self.local_port
    }

    /// Sends one request, once, and reads the whole answer.
    ///
    /// # Errors
    ///
    /// Returns the loss when the answer is not complete by the deadline. The connection is of no
    /// use afterwards.
    pub async fn exchange(
        &mut self,
        target: &Target,
        ask: &Ask,
        deadline: Instant,
    ) -> Result<Answer, Loss> {
        let before = self.received.bytes();
        let reused = self.is_reused();
        self.used += 1;
        let request = request(target, ask);
        let sent = async {
            // A connection that has ended while it was idle costs this request, as it costs a
            // client which does not look first.
            self.sender.ready().await.map_err(|_| None)?;
            self.sender.send_request(request).await.map_err(Some)
        };
        let response = match timeout_at(deadline, sent).await {
            Ok(Ok(response)) => response,
            Ok(Err(None)) if reused => {
                return Err(Loss::new(
                    Class::IdleReset,
                    "the server closed the reused connection before the request was sent",
                ));
            }
            Ok(Err(None)) => {
                return Err(Loss::new(
                    Class::Reset,
                    "the server closed the fresh connection before the request was sent",
                ));
            }
            Ok(Err(Some(error))) => {
                return Err(lost_header(&error, reused, self.received.bytes() - before));
            }
            Err(_) => {
                let bytes = self.received.bytes() - before;
                return Err(Loss::new(
                    Class::Timeout,
                    if bytes == 0 {
                        "no answer in time".to_owned()
                    } else {
                        format!("only {bytes} bytes of the header in time")
                    },
                ));
            }
        };
        let status = response.status().as_u16();
        let reusable = !ask.close && keeps_alive(&response);
        let identity = identity(target, response.headers());
        match timeout_at(deadline, read(response.into_body())).await {
            Ok(Ok((body, body_bytes))) => {
                Ok(Answer { status, identity, body, body_bytes, reusable })
            }
            Ok(Err((error, got))) => Err(lost_body(&error, status, got)),
            Err(_) => Err(Loss::new(
                Class::Timeout,
                format!("the answer ({status}) was not complete in time"),
            )),
        }
    }
}

fn request(target: &Target, ask: &Ask) -> Request<Full<Bytes>> {
    let mut request = Request::new(Full::new(ask.body.clone()));
    *request.method_mut() = ask.method.clone();
    *request.uri_mut() = Uri::from(ask.path.clone());
    let headers = request.headers_mut();
    headers.insert(HOST, target.host().clone());
    headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
    headers.insert(ACCEPT, HeaderValue::from_static("*/*"));
    headers.insert(
        CONNECTION,
        HeaderValue::from_static(if ask.close { "close" } else { "keep-alive" }),
    );
    if let Some(cookie) = &ask.cookie {
        headers.insert(COOKIE, cookie.clone());
    }
    request
}

fn identity(target: &Target, headers: &HeaderMap) -> String {
    let value = target.identity().and_then(|name| headers.get(name));
    value
        .map(|value| String::from_utf8_lossy(value.as_bytes()).trim().to_owned())
        .unwrap_or_default()
}

/// Whether the server will read another request from this connection: it must not have said
/// otherwise, and the body must have an end of its own.
fn keeps_alive(response: &Response<Incoming>) -> bool {
    let said = response.headers().get_all(CONNECTION);
    let says = |word: &str| {
        said.iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|list| list.split(','))
            .any(|one| one.trim().eq_ignore_ascii_case(word))
    };
    let delimited = response.body().size_hint().exact().is_some()
        || response.headers().contains_key(TRANSFER_ENCODING);
    delimited && !says("close") && (response.version() >= Version::HTTP_11 || says("keep-alive"))
}

async fn read(mut body: Incoming) -> Result<(Bytes, u64), (hyper::Error, u64)> {
    let (mut kept, mut length) = (BytesMut::new(), 0);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| (error, length))?;
        if let Some(data) = frame.data_ref() {
            length += data.len() as u64;
            let room = KEPT_BODY_BYTES.saturating_sub(kept.len());
            kept.extend_from_slice(data.get(..room).unwrap_or(data));
        }
    }
    Ok((kept.freeze(), length))
}

fn lost_header(error: &hyper::Error, reused: bool, bytes: u64) -> Loss {
    if error.is_parse() {
        return Loss::new(Class::Protocol, format!("the answer is not HTTP/1: {}", words(error)));
    }
    match (reused, bytes) {
        (true, 0) => Loss::new(
            Class::IdleReset,
            format!("the reused connection ended before any byte of the answer: {}", words(error)),
        ),
        (false, 0) => Loss::new(
            Class::Reset,
            format!("the fresh connection ended before any byte of the answer: {}", words(error)),
        ),
        (_, bytes) => Loss::new(
            Class::Reset,
            format!("the connection ended after {bytes} bytes of the header: {}", words(error)),
        ),
    }
}

fn lost_body(error: &hyper::Error, status: u16, got: u64) -> Loss {
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<std::io::Error>()
            && matches!(
                error.kind(),
                std::io::ErrorKind::InvalidInput | std::io::ErrorKind::InvalidData
            )
        {
            return Loss::new(
                Class::Protocol,
                format!("the body of the answer ({status}) is not in valid chunks: {error}"),
            );
        }
        cause = error.source();
    }
    Loss::new(
        Class::Truncated,
        format!("the answer ({status}) was cut after {got} bytes of its body: {}", words(error)),
    )
}
