//! Sends a request through `wasi:http/outgoing-handler`. The time limit is kept here, by polling a
//! clock beside every wait.

use super::{HttpError, Request, Response};
use std::time::{Duration, Instant};
use wasip2::clocks::monotonic_clock;
use wasip2::http::outgoing_handler;
use wasip2::http::types::{
    ErrorCode, Fields, IncomingBody, Method, OutgoingBody, OutgoingRequest, RequestOptions, Scheme,
};
use wasip2::io::poll::{Pollable, poll};
use wasip2::io::streams::StreamError;

struct Attempt<'a> {
    request: &'a Request,
    started: Instant,
}

/// Sends a request and reads the whole answer.
pub(super) fn send(request: &Request) -> Result<Response, HttpError> {
    let attempt = Attempt { request, started: Instant::now() };
    let outgoing = attempt.outgoing()?;
    let body = outgoing.body().map_err(|()| attempt.protocol("the request takes no body"))?;
    let future = outgoing_handler::handle(outgoing, Some(attempt.options()?))
        .map_err(|code| attempt.error(&code))?;
    attempt.write(body)?;
    let answer = loop {
        if let Some(answer) = future.get() {
            break answer;
        }
        attempt.wait(&future.subscribe(), "answer")?;
    };
    let answer = answer
        .map_err(|()| attempt.protocol("the answer was taken twice"))?
        .map_err(|code| attempt.error(&code))?;
    let status = answer.status();
    let headers = answer
        .headers()
        .entries()
        .into_iter()
        .map(|(name, value)| {
            (name.to_ascii_lowercase(), String::from_utf8_lossy(&value).into_owned())
        })
        .collect();
    let incoming = answer.consume().map_err(|()| attempt.protocol("the body was taken twice"))?;
    let (body, truncated) = attempt.read(&incoming)?;
    Ok(Response { status, headers, body, truncated, elapsed: attempt.started.elapsed() })
}

impl Attempt<'_> {
    fn outgoing(&self) -> Result<OutgoingRequest, HttpError> {
        let request = self.request;
        let mut headers: Vec<(String, Vec<u8>)> = request
            .headers
            .iter()
            .map(|(name, value)| (name.clone(), value.clone().into_bytes()))
            .collect();
        if !request.body.is_empty() || matches!(request.method.as_str(), "POST" | "PUT" | "PATCH") {
            headers.push(("content-length".into(), request.body.len().to_string().into_bytes()));
        }
        let fields = Fields::from_list(&headers)
            .map_err(|error| self.protocol(format!("a header can't be sent: {error:?}")))?;
        let outgoing = OutgoingRequest::new(fields);
        let method = match request.method.as_str() {
            "GET" => Method::Get,
            "HEAD" => Method::Head,
            "POST" => Method::Post,
            "PUT" => Method::Put,
            "DELETE" => Method::Delete,
            "OPTIONS" => Method::Options,
            "PATCH" => Method::Patch,
            other => Method::Other(other.into()),
        };
        let scheme = if request.scheme == "https" { Scheme::Https } else { Scheme::Http };
        outgoing.set_method(&method).map_err(|()| self.protocol("the method can't be sent"))?;
        outgoing
            .set_scheme(Some(&scheme))
            .map_err(|()| self.protocol("the scheme can't be used"))?;
        outgoing
            .set_authority(Some(&request.authority))
            .map_err(|()| self.protocol("the host can't be used"))?;
        outgoing
            .set_path_with_query(Some(&request.path))
            .map_err(|()| self.protocol("the path can't be sent"))?;
        Ok(outgoing)
    }

    fn options(&self) -> Result<RequestOptions, HttpError> {
        let options = RequestOptions::new();
        let total = nanoseconds(self.request.total_timeout);
        let failed = |()| self.protocol("the host does not support time limits");
        options
            .set_connect_timeout(Some(nanoseconds(self.request.connect_timeout).min(total)))
            .map_err(failed)?;
        options.set_first_byte_timeout(Some(total)).map_err(failed)?;
        options.set_between_bytes_timeout(Some(total)).map_err(failed)?;
        Ok(options)
    }

    fn write(&self, body: OutgoingBody) -> Result<(), HttpError> {
        if !self.request.body.is_empty() {
            let stream = body.write().map_err(|()| self.protocol("the body was taken twice"))?;
            let mut rest = self.request.body.as_slice();
            while !rest.is_empty() {
                let Ok(room) = stream.check_write() else { break }; // the answer tells why
                if room == 0 {
                    self.wait(&stream.subscribe(), "take the request")?;
                    continue;
                }
                let count = usize::try_from(room).unwrap_or(usize::MAX).min(rest.len());
                let (now, later) = rest.split_at(count);
                if stream.write(now).is_err() {
                    break;
                }
                rest = later;
            }
            let _ended = stream.flush(); // the answer tells whether it came through
        }
        let _ended = OutgoingBody::finish(body, None);
        Ok(())
    }

    fn read(&self, incoming: &IncomingBody) -> Result<(Vec<u8>, bool), HttpError> {
        let stream = incoming.stream().map_err(|()| self.protocol("the body was taken twice"))?;
        let mut body = Vec::new();
        loop {
            match stream.read(64 * 1024) {
                Ok(bytes) if bytes.is_empty() => {
                    self.wait(&stream.subscribe(), "end its answer")?
                }
                Ok(bytes) => {
                    body.extend_from_slice(&bytes);
                    if body.len() > self.request.max_body_bytes {
                        body.truncate(self.request.max_body_bytes);
                        return Ok((body, true));
                    }
                }
                Err(StreamError::Closed) => return Ok((body, false)),
                Err(StreamError::LastOperationFailed(error)) => {
                    let detail = wasip2::http::types::http_error_code(&error)
                        .map_or_else(|| error.to_debug_string(), |code| words(&code));
                    return Err(HttpError::Ended {
                        authority: self.request.authority.clone(),
                        detail: format!("{detail} after {} bytes", body.len()),
                    });
                }
            }
        }
    }

    fn wait(&self, ready: &Pollable, phase: &str) -> Result<(), HttpError> {
        let limit = self.request.total_timeout;
        let left = limit.checked_sub(self.started.elapsed()).unwrap_or_default();
        if !left.is_zero() {
            let alarm = monotonic_clock::subscribe_duration(nanoseconds(left));
            if poll(&[ready, &alarm]).contains(&0) {
                return Ok(());
            }
        }
        Err(HttpError::Timeout {
            authority: self.request.authority.clone(),
            phase: phase.into(),
            limit,
        })
    }

    fn protocol(&self, detail: impl Into<String>) -> HttpError {
        HttpError::Protocol { authority: self.request.authority.clone(), detail: detail.into() }
    }

    fn error(&self, code: &ErrorCode) -> HttpError {
        let authority = self.request.authority.clone();
        let timeout = |phase: &str, limit| HttpError::Timeout {
            authority: authority.clone(),
            phase: phase.into(),
            limit,
        };
        match code {
            ErrorCode::HttpRequestDenied
            | ErrorCode::DestinationIpProhibited
            | ErrorCode::HttpRequestUriInvalid => {
                HttpError::Denied { authority, detail: words(code) }
            }
            ErrorCode::ConnectionTimeout | ErrorCode::DnsTimeout => {
                timeout("accept a connection", self.request.connect_timeout)
            }
            ErrorCode::ConnectionReadTimeout
            | ErrorCode::ConnectionWriteTimeout
            | ErrorCode::HttpResponseTimeout => timeout("answer", self.request.total_timeout),
            ErrorCode::ConnectionRefused
            | ErrorCode::DestinationNotFound
            | ErrorCode::DestinationUnavailable
            | ErrorCode::DestinationIpUnroutable
            | ErrorCode::DnsError(_)
            | ErrorCode::TlsProtocolError
            | ErrorCode::TlsCertificateError
            | ErrorCode::TlsAlertReceived(_) => {
                HttpError::Connect { authority, detail: words(code) }
            }
            ErrorCode::ConnectionTerminated | ErrorCode::HttpResponseIncomplete => {
                HttpError::Ended { authority, detail: words(code) }
            }
            ErrorCode::InternalError(detail) => HttpError::Ended {
                authority,
                detail: detail.clone().unwrap_or_else(|| "an error inside the host".into()),
            },
            other => HttpError::Protocol { authority, detail: words(other) },
        }
    }
}

/// An error's name as people write it: `connection refused`.
fn words(code: &ErrorCode) -> String {
    let name = format!("{code:?}");
    let name = name.strip_prefix("ErrorCode::").unwrap_or(&name);
    if !name.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return name.to_owned(); // It carries more than its name.
    }
    let mut words = String::new();
    for letter in name.chars() {
        if letter.is_ascii_uppercase() && !words.is_empty() {
            words.push(' ');
        }
        words.push(letter.to_ascii_lowercase());
    }
    words
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
