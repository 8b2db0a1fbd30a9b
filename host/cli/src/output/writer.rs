//! Standard output and standard error, behind a thread of their own while a deployment runs: a
//! reader that stalls must not stop it.
//!
//! Invariants: lines of both streams leave in the order in which they were written; whoever writes
//! never waits; what waits to be read is bounded, and what is over the bound is left out and
//! counted; until the thread runs, lines are written at once, so that data goes as fast as it is
//! read.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// So many lines may wait before what may be lost is left out: more than a reader that keeps up
/// ever leaves.
const BEHIND: usize = 256;

/// So many lines may wait at all: the journal of any deployment, and far below what a machine has
/// of memory.
const MOST: usize = 10_000;

/// The queue, once there is one.
static QUEUE: OnceLock<Queue> = OnceLock::new();

/// Where a line goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stream {
    Out,
    Error,
}

impl Stream {
    /// Writes and leaves it at that: a closed output is nobody's error.
    fn write(self, bytes: &[u8]) {
        let _ = match self {
            Stream::Out => {
                let mut out = io::stdout().lock();
                out.write_all(bytes).and_then(|()| out.flush())
            }
            Stream::Error => io::stderr().lock().write_all(bytes),
        };
    }
}

#[derive(Default)]
struct Queue {
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Default)]
struct Waiting {
    lines: VecDeque<(Stream, Vec<u8>)>,
    /// Whether a line is being written at this moment.
    writing: bool,
    left_out: usize,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, stream: Stream, bytes: Vec<u8>) {
        let mut waiting = self.lock();
        if waiting.lines.len() < MOST {
            waiting.lines.push_back((stream, bytes));
        } else {
            waiting.left_out += 1;
        }
        drop(waiting);
        self.changed.notify_all();
    }

    /// Takes the next line, waiting for it; in the place of those that were left out, a line that
    /// says so.
    fn next(&self) -> (Stream, Vec<u8>) {
        let mut waiting = self.lock();
        waiting.writing = false;
        self.changed.notify_all();
        loop {
            if let Some(line) = waiting.lines.pop_front() {
                waiting.writing = true;
                return line;
            }
            if waiting.left_out > 0 {
                let left_out = std::mem::take(&mut waiting.left_out);
                waiting.writing = true;
                return (
                    Stream::Error,
                    format!("{left_out} lines were dropped: the reader was too slow\n")
                        .into_bytes(),
                );
            }
            waiting = self.changed.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Waits until everything is written, or for so long.
    fn drain(&self, limit: Duration) {
        let until = Instant::now() + limit;
        let mut waiting = self.lock();
        while waiting.writing || !waiting.lines.is_empty() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            waiting =
                self.changed.wait_timeout(waiting, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// From now on nobody who writes waits for a reader. Twice is safe; where no thread can be had,
/// lines are written as before.
pub(super) fn start() {
    static STARTED: OnceLock<()> = OnceLock::new();
    STARTED.get_or_init(|| {
        let (found, find) = std::sync::mpsc::sync_channel::<&'static Queue>(1);
        let writes = move || {
            let Ok(queue) = find.recv() else { return };
            loop {
                let (stream, bytes) = queue.next();
                stream.write(&bytes);
            }
        };
        if std::thread::Builder::new().name("output".to_owned()).spawn(writes).is_ok() {
            let _ = found.send(QUEUE.get_or_init(Queue::default));
        }
    });
}

/// Whether the reader is behind, so that what may be lost is better left out.
pub(super) fn is_behind() -> bool {
    QUEUE.get().is_some_and(|queue| queue.lock().lines.len() >= BEHIND)
}

/// Waits until everything that was written has been read, but no longer than this.
pub(crate) fn finish(limit: Duration) {
    if let Some(queue) = QUEUE.get() {
        queue.drain(limit);
    }
}

/// What is written to it goes to its stream as a whole when it is dropped.
pub(crate) struct Line {
    stream: Stream,
    bytes: Vec<u8>,
}

/// A line for standard output.
pub(crate) fn stdout() -> Line {
    Line { stream: Stream::Out, bytes: Vec::new() }
}

/// A line for standard error.
pub(crate) fn stderr() -> Line {
    Line { stream: Stream::Error, bytes: Vec::new() }
}

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        match QUEUE.get() {
            _ if bytes.is_empty() => {}
            Some(queue) => queue.add(self.stream, bytes),
            None => self.stream.write(&bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(queue: &Queue) -> String {
        String::from_utf8(queue.next().1).unwrap()
    }

    #[test]
    fn lines_of_both_streams_keep_their_order() {
        let queue = Queue::default();
        queue.add(Stream::Out, b"one".to_vec());
        queue.add(Stream::Error, b"two".to_vec());
        assert_eq!(queue.next(), (Stream::Out, b"one".to_vec()));
        assert_eq!(queue.next(), (Stream::Error, b"two".to_vec()));
    }

    #[test]
    fn what_is_over_the_bound_is_left_out_and_counted() {
        let queue = Queue::default();
        for number in 0..MOST + 3 {
            queue.add(Stream::Out, number.to_string().into_bytes());
        }
        for number in 0..MOST {
            assert_eq!(text(&queue), number.to_string());
        }
        assert_eq!(text(&queue), "3 lines were dropped: the reader was too slow\n");
    }

    #[test]
    fn the_end_waits_for_a_line_that_is_being_written_and_no_longer_than_it_was_told() {
        let queue = Queue::default();
        queue.drain(Duration::from_mins(1));
        queue.add(Stream::Out, b"stuck".to_vec());
        queue.next();
        let began = Instant::now();
        queue.drain(Duration::from_millis(50));
        assert!(began.elapsed() >= Duration::from_millis(50), "nobody has read it yet");
    }
}
