//! HTTP/1.1 over a stream that is open already: one request, one answer, `Connection: close`.

use super::{HttpError, Request, Response};
use crate::failure::{Code, Failure};
use crate::host::Stream;
use std::time::{Duration, Instant};

/// The head of an answer may be this long; real ones are a few hundred bytes.
const MAX_HEAD_BYTES: usize = 64 * 1024;

/// Sends a request over an open stream and reads the whole answer. `request.authority` is only the
/// `Host` header here.
pub fn over<S: Stream>(stream: &mut S, request: &Request) -> Result<Response, HttpError> {
    let started = Instant::now();
    let mut wire = Wire { stream, request, started, buffer: Vec::new(), ended: false };
    wire.send()?;
    let (status, headers, head_bytes) = wire.read_head()?;
    wire.buffer.drain(..head_bytes);
    let (body, truncated) = wire.read_body(status, &headers)?;
    Ok(Response { status, headers, body, truncated, elapsed: started.elapsed() })
}

struct Wire<'a, S> {
    stream: &'a mut S,
    request: &'a Request,
    started: Instant,
    buffer: Vec<u8>,
    ended: bool,
}

type Head = (u16, Vec<(String, String)>, usize);

impl<S: Stream> Wire<'_, S> {
    fn left(&self) -> Result<Duration, HttpError> {
        self.request
            .total_timeout
            .checked_sub(self.started.elapsed())
            .filter(|left| !left.is_zero())
            .ok_or_else(|| self.late())
    }

    fn late(&self) -> HttpError {
        HttpError::Timeout {
            authority: self.request.authority.clone(),
            phase: "answer".into(),
            limit: self.request.total_timeout,
        }
    }

    fn broken(&self, failure: &Failure) -> HttpError {
        if crate::label(&failure.labels, "reason") == Some("timeout")
            || self.started.elapsed() >= self.request.total_timeout
        {
            return self.late();
        }
        let authority = self.request.authority.clone();
        match failure.code {
            Code::Denied => HttpError::Denied { authority, detail: failure.message.clone() },
            _ => HttpError::Ended { authority, detail: failure.message.clone() },
        }
    }

    fn protocol(&self, detail: impl Into<String>) -> HttpError {
        HttpError::Protocol { authority: self.request.authority.clone(), detail: detail.into() }
    }

    fn cut_short(&self, detail: impl Into<String>) -> HttpError {
        HttpError::Ended { authority: self.request.authority.clone(), detail: detail.into() }
    }

    fn send(&mut self) -> Result<(), HttpError> {
        let request = self.request;
        let mut head = format!(
            "{} {} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n",
            request.method, request.path, request.authority
        );
        for (name, value) in &request.headers {
            if name.bytes().chain(value.bytes()).any(|byte| byte == b'\r' || byte == b'\n') {
                return Err(self
                    .protocol(format!("the header `{}` holds a line break", name.escape_debug())));
            }
            head.push_str(&[name, ": ", value, "\r\n"].concat());
        }
        if !request.body.is_empty() || matches!(request.method.as_str(), "POST" | "PUT" | "PATCH") {
            head.push_str(&["content-length: ", &request.body.len().to_string(), "\r\n"].concat());
        }
        head.push_str("\r\n");
        let mut bytes = head.into_bytes();
        bytes.extend_from_slice(&request.body);
        let left = self.left()?;
        self.stream.write(&bytes, left).map_err(|failure| self.broken(&failure))
    }

    /// Reads more into the buffer; false at the end of the peer's side.
    fn more(&mut self) -> Result<bool, HttpError> {
        if self.ended {
            return Ok(false);
        }
        let left = self.left()?;
        let bytes = self.stream.read(64 * 1024, left).map_err(|failure| self.broken(&failure))?;
        self.ended = bytes.is_empty();
        self.buffer.extend_from_slice(&bytes);
        Ok(!self.ended)
    }

    fn read_head(&mut self) -> Result<Head, HttpError> {
        loop {
            let mut room = [httparse::EMPTY_HEADER; 96];
            let mut head = httparse::Response::new(&mut room);
            match head.parse(&self.buffer) {
                Ok(httparse::Status::Complete(length)) => {
                    let status = head.code.ok_or_else(|| self.protocol("no status code"))?;
                    if (100..200).contains(&status) && status != 101 {
                        self.buffer.drain(..length); // an interim answer; the real one follows
                        continue;
                    }
                    let headers = head
                        .headers
                        .iter()
                        .map(|header| {
                            (
                                header.name.to_ascii_lowercase(),
                                String::from_utf8_lossy(header.value).into_owned(),
                            )
                        })
                        .collect();
                    return Ok((status, headers, length));
                }
                Ok(httparse::Status::Partial) if self.buffer.len() > MAX_HEAD_BYTES => {
                    return Err(self.protocol("the header of the answer does not end"));
                }
                Ok(httparse::Status::Partial) => {
                    if !self.more()? {
                        let got = self.buffer.len();
                        return Err(self.cut_short(if got == 0 {
                            "no byte arrived".into()
                        } else {
                            format!("{got} bytes of the header arrived")
                        }));
                    }
                }
                Err(error) => {
                    let beginning =
                        self.buffer.get(..self.buffer.len().min(40)).unwrap_or_default();
                    return Err(self.protocol(format!(
                        "{error}; it started with `{}`",
                        beginning.escape_ascii()
                    )));
                }
            }
        }
    }

    fn read_body(
        &mut self,
        status: u16,
        headers: &[(String, String)],
    ) -> Result<(Vec<u8>, bool), HttpError> {
        if self.request.method == "HEAD" || status == 204 || status == 304 {
            return Ok((Vec::new(), false));
        }
        let find =
            |name: &str| headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.trim());
        if find("transfer-encoding")
            .is_some_and(|value| value.to_ascii_lowercase().ends_with("chunked"))
        {
            return self.read_chunks();
        }
        if let Some(text) = find("content-length") {
            let length: usize = text
                .parse()
                .map_err(|_| self.protocol(format!("`content-length: {text}` is not a number")))?;
            return self.read_sized(length);
        }
        while self.buffer.len() <= self.request.max_body_bytes && self.more()? {}
        let body = std::mem::take(&mut self.buffer);
        Ok(self.cut(body))
    }

    fn cut(&self, mut body: Vec<u8>) -> (Vec<u8>, bool) {
        let truncated = body.len() > self.request.max_body_bytes;
        body.truncate(self.request.max_body_bytes);
        (body, truncated)
    }

    fn read_sized(&mut self, length: usize) -> Result<(Vec<u8>, bool), HttpError> {
        let wanted = length.min(self.request.max_body_bytes);
        while self.buffer.len() < wanted {
            if !self.more()? {
                return Err(self.cut_short(format!(
                    "{} of {length} bytes of the body arrived",
                    self.buffer.len()
                )));
            }
        }
        let mut body = std::mem::take(&mut self.buffer);
        body.truncate(wanted);
        Ok((body, length > wanted))
    }

    fn read_chunks(&mut self) -> Result<(Vec<u8>, bool), HttpError> {
        let mut body = Vec::new();
        loop {
            let (start, size) = loop {
                match httparse::parse_chunk_size(&self.buffer) {
                    Ok(httparse::Status::Complete((start, size))) => {
                        break (start, usize::try_from(size).unwrap_or(usize::MAX));
                    }
                    Ok(httparse::Status::Partial) => {
                        if !self.more()? {
                            return Err(self.cut_short(format!(
                                "the chunked body ended after {} bytes",
                                body.len()
                            )));
                        }
                    }
                    Err(_) => return Err(self.protocol("a chunk has no size")),
                }
            };
            if size == 0 {
                return Ok(self.cut(body));
            }
            let end = start.saturating_add(size);
            if body.len().saturating_add(size) > self.request.max_body_bytes {
                while self.buffer.len()
                    < start.saturating_add(
                        self.request.max_body_bytes - body.len().min(self.request.max_body_bytes),
                    )
                    && self.more()?
                {}
                body.extend_from_slice(self.buffer.get(start..).unwrap_or_default());
                body.truncate(self.request.max_body_bytes);
                return Ok((body, true));
            }
            while self.buffer.len() < end.saturating_add(2) {
                if !self.more()? {
                    return Err(self.cut_short(format!(
                        "the chunked body ended after {} bytes",
                        body.len() + self.buffer.len().saturating_sub(start)
                    )));
                }
            }
            body.extend_from_slice(self.buffer.get(start..end).unwrap_or_default());
            self.buffer.drain(..end + 2);
        }
    }
}
