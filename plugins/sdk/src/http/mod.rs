//! One HTTP request, one answer, on a connection of its own. Blocking, no redirects, no retries, no
//! pool.
//!
//! In a component this is `wasi:http/outgoing-handler`, which the host's broker guards; natively it
//! is a plain socket (`http` only). [`over`] speaks HTTP/1.1 over a stream that is open already,
//! for what a plugin reaches through the TCP grant.

#[cfg(not(target_arch = "wasm32"))]
mod socket;
#[cfg(not(target_arch = "wasm32"))]
pub use socket::Socket;
#[cfg(target_arch = "wasm32")]
mod wasi;
mod wire;

use std::time::Duration;

pub use wire::over;

/// Where a request goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// `GET`, `POST` …
    pub method: String,
    /// `http` or `https`.
    pub scheme: String,
    /// `host:port` or `host`; also the `Host` header, which can't be set apart.
    pub authority: String,
    /// Path and query, beginning with `/`.
    pub path: String,
    /// Further headers.
    pub headers: Vec<(String, String)>,
    /// What is sent.
    pub body: Vec<u8>,
    /// How long connecting may take.
    pub connect_timeout: Duration,
    /// How long everything may take, connecting included.
    pub total_timeout: Duration,
    /// How much of the answer's body is kept.
    pub max_body_bytes: usize,
}

impl Request {
    /// A request to a URL, with 3 s to connect, 10 s in all and 1 MiB of body.
    pub fn new(method: &str, url: &str) -> Result<Self, HttpError> {
        let wrong = |detail: String| HttpError::BadUrl { url: url.into(), detail };
        let uri: ::http::Uri =
            url.parse().map_err(|error: ::http::uri::InvalidUri| wrong(error.to_string()))?;
        let scheme = uri
            .scheme_str()
            .ok_or_else(|| wrong("no scheme; it must start with `http://` or `https://`".into()))?;
        if scheme != "http" && scheme != "https" {
            return Err(wrong(format!("the scheme `{scheme}` is neither `http` nor `https`")));
        }
        let authority = uri.authority().ok_or_else(|| wrong("no host".into()))?;
        if authority.as_str().contains('@') {
            return Err(wrong(
                "a user name and password don't belong in a URL; use a secret in a header".into(),
            ));
        }
        Ok(Self {
            method: method.into(),
            scheme: scheme.into(),
            authority: authority.as_str().into(),
            path: uri.path_and_query().map_or_else(|| "/".into(), |path| path.as_str().to_owned()),
            headers: Vec::new(),
            body: Vec::new(),
            connect_timeout: Duration::from_secs(3),
            total_timeout: Duration::from_secs(10),
            max_body_bytes: 1024 * 1024,
        })
    }

    /// A `GET` of a URL.
    pub fn get(url: &str) -> Result<Self, HttpError> {
        Self::new("GET", url)
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Sets how long connecting and how long everything may take.
    #[must_use]
    pub fn timeouts(mut self, connect: Duration, total: Duration) -> Self {
        self.connect_timeout = connect;
        self.total_timeout = total;
        self
    }

    /// Sets what is sent.
    #[must_use]
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }
}

/// A complete answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// The headers as they came; names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body, cut at the limit.
    pub body: Vec<u8>,
    /// Whether the body was cut at the limit.
    pub truncated: bool,
    /// From before connecting to the last byte.
    pub elapsed: Duration,
}

impl Response {
    /// The first header of that name, whatever its case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// Why there is no complete answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HttpError {
    /// The request can't be sent anywhere.
    #[error("`{url}` is not a usable URL: {detail}")]
    BadUrl {
        url: String,
        /// What is wrong with it.
        detail: String,
    },
    /// The host refused the request.
    #[error("the host refused a request to `{authority}`: {detail}")]
    Denied {
        authority: String,
        /// Why, and what to grant.
        detail: String,
    },
    /// There was no connection.
    #[error("can't connect to `{authority}`: {detail}")]
    Connect { authority: String, detail: String },
    /// It took too long.
    #[error("`{authority}` did not {phase} within {limit:?}")]
    Timeout {
        authority: String,
        /// `accept a connection`, `answer` …
        phase: String,
        limit: Duration,
    },
    /// The connection ended before the answer was complete.
    #[error("`{authority}` closed the connection before the answer was complete: {detail}")]
    Ended { authority: String, detail: String },
    /// What came is not HTTP.
    #[error("the answer of `{authority}` is not HTTP: {detail}")]
    Protocol { authority: String, detail: String },
}

/// Sends a request and reads the whole answer.
pub fn send(request: &Request) -> Result<Response, HttpError> {
    #[cfg(target_arch = "wasm32")]
    return wasi::send(request);
    #[cfg(not(target_arch = "wasm32"))]
    return socket::send(request);
}
