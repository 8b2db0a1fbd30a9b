//! What a program in a container is given to read, and what is kept of what it writes.

use agente_engine::ports::CommandOutput;
use bollard::container::LogOutput;
use std::pin::Pin;
use tokio::io::{AsyncWrite, AsyncWriteExt};

/// What is kept of the outputs.
pub(super) struct Capture {
    max: usize,
    pub(super) out: Vec<u8>,
    pub(super) err: Vec<u8>,
    truncated: bool,
}

impl Capture {
    pub(super) fn new(max: usize) -> Self {
        Self { max, out: Vec::new(), err: Vec::new(), truncated: false }
    }

    pub(super) fn take(&mut self, output: LogOutput) {
        let (kept, bytes) = match output {
            LogOutput::StdErr { message } => (&mut self.err, message),
            LogOutput::StdOut { message } | LogOutput::Console { message } => {
                (&mut self.out, message)
            }
            LogOutput::StdIn { .. } => return,
        };
        let room = self.max.saturating_sub(kept.len());
        self.truncated |= bytes.len() > room;
        kept.extend_from_slice(bytes.get(..room.min(bytes.len())).unwrap_or_default());
    }

    pub(super) fn finish(
        self,
        status: Option<i32>,
        signal: Option<i32>,
        timed_out: bool,
    ) -> CommandOutput {
        CommandOutput {
            status,
            signal,
            timed_out,
            stdout: self.out,
            stderr: self.err,
            truncated: self.truncated,
        }
    }
}

/// Writes a program's input and closes it. Aborted with its value: a program need not read what it
/// is given.
pub(super) struct Feeding(Option<tokio::task::JoinHandle<()>>);

impl Feeding {
    pub(super) fn start(mut input: Pin<Box<dyn AsyncWrite + Send>>, bytes: Vec<u8>) -> Self {
        Self(Some(tokio::spawn(async move {
            // A program that ends early closes its input; what it read was enough for it.
            let _broken_pipe = input.write_all(&bytes).await;
            let _broken_pipe = input.shutdown().await;
        })))
    }
}

impl Drop for Feeding {
    fn drop(&mut self) {
        if let Some(task) = self.0.take() {
            task.abort();
        }
    }
}
