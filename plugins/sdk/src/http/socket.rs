//! Sends a request natively over a plain socket. `https` is not spoken here; in a component the
//! host does it.

use super::{HttpError, Request, Response, over};
use crate::failure::{Code, Failure};
use crate::host::Stream;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

/// A plain socket.
#[derive(Debug)]
pub struct Socket(TcpStream);

impl Socket {
    /// Connects to the first address that takes the connection.
    pub fn connect(host: &str, port: u16, timeout: Duration) -> Result<Self, Failure> {
        let name = host.trim_start_matches('[').trim_end_matches(']');
        let addresses = (name, port).to_socket_addrs().map_err(|error| {
            Failure::unavailable(format!("can't resolve `{host}`: {error}")).label("reason", "name")
        })?;
        let mut last =
            Failure::unavailable(format!("`{host}` has no address")).label("reason", "name");
        for address in addresses {
            match TcpStream::connect_timeout(&address, timeout.max(Duration::from_millis(1))) {
                Ok(stream) => {
                    stream.set_nodelay(true).map_err(|error| {
                        Failure::failed(format!(
                            "can't set up the connection to `{address}`: {error}"
                        ))
                    })?;
                    return Ok(Self(stream));
                }
                Err(error) => last = broken(&format!("can't connect to `{host}:{port}`"), &error),
            }
        }
        Err(last)
    }
}

fn broken(attempt: &str, error: &std::io::Error) -> Failure {
    let reason = match error.kind() {
        ErrorKind::TimedOut | ErrorKind::WouldBlock => "timeout",
        ErrorKind::ConnectionRefused => "refused",
        ErrorKind::ConnectionReset | ErrorKind::BrokenPipe | ErrorKind::ConnectionAborted => {
            "reset"
        }
        _ => "other",
    };
    Failure::new(Code::Unavailable, format!("{attempt}: {error}")).label("reason", reason)
}

impl Stream for Socket {
    fn read(&mut self, max_bytes: u32, timeout: Duration) -> Result<Vec<u8>, Failure> {
        self.0
            .set_read_timeout(Some(timeout.max(Duration::from_millis(1))))
            .map_err(|error| broken("can't set a timeout", &error))?;
        let mut bytes = vec![0; usize::try_from(max_bytes).unwrap_or(usize::MAX)];
        let count = loop {
            match self.0.read(&mut bytes) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                result => break result.map_err(|error| broken("can't read", &error))?,
            }
        };
        bytes.truncate(count);
        Ok(bytes)
    }

    fn write(&mut self, bytes: &[u8], timeout: Duration) -> Result<(), Failure> {
        self.0
            .set_write_timeout(Some(timeout.max(Duration::from_millis(1))))
            .map_err(|error| broken("can't set a timeout", &error))?;
        self.0.write_all(bytes).map_err(|error| broken("can't write", &error))
    }
}

/// Sends a request on a connection of its own.
pub(super) fn send(request: &Request) -> Result<Response, HttpError> {
    let started = Instant::now();
    let authority = request.authority.clone();
    if request.scheme != "http" {
        return Err(HttpError::BadUrl {
            url: format!("{}://{authority}{}", request.scheme, request.path),
            detail: "only `http` is spoken natively".into(),
        });
    }
    let (host, port) = match authority.rsplit_once(':').filter(|(_, port)| !port.ends_with(']')) {
        Some((host, port)) => {
            let port = port.parse().map_err(|_| HttpError::BadUrl {
                url: authority.clone(),
                detail: format!("`{port}` is not a port"),
            })?;
            (host.to_owned(), port)
        }
        None => (authority.clone(), 80),
    };
    let timeout = request.connect_timeout.min(request.total_timeout);
    let mut socket = Socket::connect(&host, port, timeout).map_err(|failure| {
        if crate::label(&failure.labels, "reason") == Some("timeout") {
            HttpError::Timeout {
                authority: authority.clone(),
                phase: "accept a connection".into(),
                limit: timeout,
            }
        } else {
            HttpError::Connect { authority: authority.clone(), detail: failure.message }
        }
    })?;
    let mut rest = request.clone();
    rest.total_timeout = request.total_timeout.saturating_sub(started.elapsed());
    let mut response = over(&mut socket, &rest).map_err(|error| match error {
        HttpError::Timeout { authority, phase, .. } => {
            HttpError::Timeout { authority, phase, limit: request.total_timeout }
        }
        other => other,
    })?;
    response.elapsed = started.elapsed();
    Ok(response)
}
