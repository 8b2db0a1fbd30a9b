//! What guests write to their standard output and error: lines of the log.

use crate::audit::LogLevel;
use crate::operation::Operation;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamError, StreamResult};

/// A line is cut here even if it does not end.
const MAX_LINE_BYTES: usize = 4096;

/// One of the two streams.
#[derive(Clone)]
pub(crate) struct Lines(Arc<Inner>);

struct Inner {
    operation: Arc<Operation>,
    level: LogLevel,
    unfinished: Mutex<Vec<u8>>,
}

impl Lines {
    pub(crate) fn new(operation: Arc<Operation>, level: LogLevel) -> Self {
        Self(Arc::new(Inner { operation, level, unfinished: Mutex::default() }))
    }
}

impl Inner {
    fn write(&self, bytes: &[u8]) {
        let mut unfinished = self.unfinished.lock().unwrap_or_else(PoisonError::into_inner);
        for part in bytes.split_inclusive(|&byte| byte == b'\n') {
            unfinished.extend_from_slice(part);
            if part.ends_with(b"\n") || unfinished.len() >= MAX_LINE_BYTES {
                self.tell(&std::mem::take(&mut *unfinished));
            }
        }
    }

    fn tell(&self, line: &[u8]) {
        let line = String::from_utf8_lossy(line);
        let line = line.trim_end();
        if !line.is_empty() {
            self.operation.wrote(self.level, line);
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let rest =
            std::mem::take(self.unfinished.get_mut().unwrap_or_else(PoisonError::into_inner));
        self.tell(&rest);
    }
}

impl IsTerminal for Lines {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Lines {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Lines {
    async fn ready(&mut self) {}
}

impl OutputStream for Lines {
    fn write(&mut self, bytes: bytes::Bytes) -> StreamResult<()> {
        self.0.write(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), StreamError> {
        Ok(())
    }

    fn check_write(&mut self) -> Result<usize, StreamError> {
        Ok(64 * 1024)
    }
}

impl AsyncWrite for Lines {
    fn poll_write(
        self: Pin<&mut Self>,
        _context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        self.0.write(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(
        self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
