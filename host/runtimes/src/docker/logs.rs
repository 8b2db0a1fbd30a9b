//! What containers wrote: the newest lines, and a stream that outlives its connection.
//!
//! The engine's own stamp of each entry is the key: a stream that is taken up again asks for a
//! little more than it lost, and leaves out what it has told already, counted per output, since
//! only within one output entries come in order.

use super::call::{Engine, one_line};
use super::containers::short;
use super::mask::Mask;
use super::runtime::DockerRuntime;
use super::specification::mask_of;
use super::state::{Container, ContainerPhase, nanoseconds};
use agente_engine::fault::{Fault, FaultKind};
use agente_engine::names::Timestamp;
use agente_engine::route::Backend;
use bollard::container::LogOutput;
use bollard::query_parameters::{LogsOptions, LogsOptionsBuilder};
use futures_util::StreamExt;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;

/// The longest line that is shown; the rest of a longer one is cut.
const MAX_LINE_BYTES: usize = 16 * 1024;

/// How much a tail reads at most, whatever the lines' lengths.
const MAX_TAIL_BYTES: usize = 4 * 1024 * 1024;

/// How far apart the stamps of two outputs may be against the order in which the engine wrote them
/// down.
const SKEW_SECONDS: i128 = 10;

/// How long a stream tries to reach an engine that went away.
const RECONNECT_FOR: Duration = Duration::from_mins(1);

/// The pause between two such tries.
const RECONNECT_PAUSE: Duration = Duration::from_millis(200);

/// Which of its outputs a program wrote to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogSource {
    /// Standard output, or the terminal of a container that has one.
    Out,
    /// Standard error.
    Err,
}

/// One line of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// When the engine got it.
    pub at: Timestamp,
    /// From where.
    pub source: LogSource,
    /// Without its end, secrets masked.
    pub text: String,
}

/// One entry as the engine keeps it: a line, or a part of a very long one.
pub(crate) struct Entry {
    pub(crate) source: LogSource,
    pub(crate) nanoseconds: i128,
    pub(crate) bytes: bytes::Bytes,
}

/// Takes an entry apart: stamp, space, text.
pub(crate) fn entry(output: LogOutput) -> Option<Entry> {
    let (source, mut bytes) = match output {
        LogOutput::StdErr { message } => (LogSource::Err, message),
        LogOutput::StdOut { message } | LogOutput::Console { message } => (LogSource::Out, message),
        LogOutput::StdIn { .. } => return None,
    };
    let space = bytes.iter().take(64).position(|byte| *byte == b' ')?;
    let stamp = bytes.split_to(space);
    let nanoseconds = nanoseconds(std::str::from_utf8(&stamp).ok()?)?;
    drop(bytes.split_to(1));
    Some(Entry { source, nanoseconds, bytes })
}

/// Puts entries together to lines, for each output by itself.
struct Lines {
    mask: Mask,
    open: [Vec<u8>; 2],
}

impl Lines {
    fn new(mask: Mask) -> Self {
        Self { mask, open: [Vec::new(), Vec::new()] }
    }

    fn buffer(&mut self, source: LogSource) -> &mut Vec<u8> {
        let [out, err] = &mut self.open;
        match source {
            LogSource::Out => out,
            LogSource::Err => err,
        }
    }

    /// Takes an entry; gives a line when it ends one.
    fn take(&mut self, entry: &Entry) -> Option<LogLine> {
        let ended = entry.bytes.last() == Some(&b'\n');
        let buffer = self.buffer(entry.source);
        if buffer.len() <= MAX_LINE_BYTES {
            buffer.extend_from_slice(&entry.bytes);
        }
        ended.then(|| self.close(entry.source, entry.nanoseconds))
    }

    fn close(&mut self, source: LogSource, nanoseconds: i128) -> LogLine {
        let bytes = std::mem::take(self.buffer(source));
        let whole = String::from_utf8_lossy(&bytes);
        // Masked before it is cut: half a secret is a secret.
        let mut text = self.mask.apply(whole.trim_end_matches(['\n', '\r']));
        if text.len() > MAX_LINE_BYTES {
            let end =
                (0..=MAX_LINE_BYTES).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
            text.truncate(end);
            text.push('…');
        }
        LogLine { at: Timestamp(u64::try_from(nanoseconds / 1_000_000).unwrap_or(0)), source, text }
    }

    /// What was never ended by a newline.
    fn rest(&mut self, nanoseconds: i128) -> Vec<LogLine> {
        [LogSource::Out, LogSource::Err]
            .into_iter()
            .filter(|source| !self.buffer(*source).is_empty())
            .collect::<Vec<_>>()
            .into_iter()
            .map(|source| self.close(source, nanoseconds))
            .collect()
    }
}

/// How far one output was told: the stamp of its last entry, and how many entries carried it.
#[derive(Debug, Clone, Copy)]
struct Told {
    nanoseconds: i128,
    with_it: u32,
    /// How many of those the present connection has repeated.
    repeated: u32,
}

/// Leaves out what an earlier connection told.
struct Position {
    from: i128,
    told: [Option<Told>; 2],
}

impl Position {
    /// Prepares for a new connection, and says from which second on to ask.
    fn reconnect(&mut self) -> i32 {
        let newest = self.told.iter_mut().flatten().map(|told| {
            told.repeated = 0;
            told.nanoseconds
        });
        let from = newest
            .max()
            .map_or(self.from, |newest| self.from.max(newest - SKEW_SECONDS * 1_000_000_000));
        i32::try_from(from / 1_000_000_000).unwrap_or(i32::MAX)
    }

    /// Whether an entry is new.
    fn is_new(&mut self, entry: &Entry) -> bool {
        if entry.nanoseconds < self.from {
            return false;
        }
        let [out, err] = &mut self.told;
        let place = match entry.source {
            LogSource::Out => out,
            LogSource::Err => err,
        };
        match place {
            Some(told) if entry.nanoseconds < told.nanoseconds => false,
            Some(told) if entry.nanoseconds == told.nanoseconds => {
                told.repeated += 1;
                if told.repeated <= told.with_it {
                    return false;
                }
                told.with_it += 1;
                true
            }
            _ => {
                *place = Some(Told { nanoseconds: entry.nanoseconds, with_it: 1, repeated: 1 });
                true
            }
        }
    }

    fn newest(&self) -> i128 {
        self.told.iter().flatten().map(|told| told.nanoseconds).max().unwrap_or(self.from)
    }
}

impl DockerRuntime {
    /// Follows a backend's log from a moment on (0: from its beginning), through restarts of the
    /// container and of the engine, without loss or repetition. Ends when the container has
    /// ended for good or is gone, and after an error. Dropping the receiver ends it.
    pub fn follow(
        &self,
        backend: &Backend,
        since: Timestamp,
    ) -> mpsc::Receiver<Result<LogLine, Fault>> {
        let (sender, receiver) = mpsc::channel(256);
        let (engine, backend) = (self.engine.clone(), backend.clone());
        tokio::spawn(async move {
            let listens = sender.clone();
            tokio::select! {
                () = listens.closed() => {}
                followed = engine.follow(&backend, since, &sender) => {
                    if let Err(fault) = followed {
                        let _nobody_listens = sender.send(Err(fault)).await;
                    }
                }
            }
        });
        receiver
    }
}

impl Engine {
    /// The newest lines of a container.
    pub(crate) async fn tail(
        &self,
        standing: &Container,
        max_lines: usize,
    ) -> Result<Vec<String>, Fault> {
        let what = format!("read the log of the container `{}`", standing.name);
        let options = LogsOptionsBuilder::default()
            .stdout(true)
            .stderr(true)
            .timestamps(true)
            .tail(&max_lines.to_string())
            .build();
        let read = async {
            let mut outputs = self.client()?.logs(&standing.id, Some(options));
            let mut lines = Lines::new(mask_of(&standing.labels, &standing.env));
            let (mut told, mut bytes, mut newest) = (Vec::new(), 0, 0);
            while let Some(output) = outputs.next().await {
                let Some(entry) = entry(output.map_err(|error| self.log_fault(&what, error))?)
                else {
                    continue;
                };
                newest = entry.nanoseconds;
                bytes += entry.bytes.len();
                told.extend(lines.take(&entry));
                if bytes > MAX_TAIL_BYTES {
                    break;
                }
            }
            told.extend(lines.rest(newest));
            let first = told.len().saturating_sub(max_lines);
            Ok(told.into_iter().skip(first).map(|line| line.text).collect())
        };
        tokio::time::timeout(self.settings.call_timeout, read)
            .await
            .unwrap_or_else(|_| Err(self.silent(&what, self.settings.call_timeout)))
    }

    /// All entries since a moment, for a bounded while; the newest `max_bytes` of their text.
    pub(crate) async fn log_bytes_since(
        &self,
        container: &str,
        since: Timestamp,
        max_bytes: usize,
    ) -> Result<Vec<u8>, Fault> {
        let what = format!("read the log of the container `{container}`");
        let from = i128::from(since.0) * 1_000_000;
        let options = LogsOptions {
            since: i32::try_from(since.0 / 1000).unwrap_or(i32::MAX),
            ..Self::everything(false)
        };
        let read = async {
            let mut outputs = self.client()?.logs(container, Some(options));
            let mut kept: Vec<u8> = Vec::new();
            while let Some(output) = outputs.next().await {
                if let Some(entry) = entry(output.map_err(|error| self.log_fault(&what, error))?)
                    .filter(|entry| entry.nanoseconds >= from)
                {
                    kept.extend_from_slice(&entry.bytes);
                    // Cut in large steps, so that a long log costs no quadratic time.
                    if kept.len() > max_bytes.saturating_mul(2).saturating_add(64 * 1024) {
                        kept.drain(..kept.len() - max_bytes);
                    }
                }
            }
            kept.drain(..kept.len().saturating_sub(max_bytes));
            Ok(kept)
        };
        tokio::time::timeout(self.settings.call_timeout, read)
            .await
            .unwrap_or_else(|_| Err(self.silent(&what, self.settings.call_timeout)))
    }

    fn everything(follow: bool) -> LogsOptions {
        LogsOptionsBuilder::default()
            .follow(follow)
            .stdout(true)
            .stderr(true)
            .timestamps(true)
            .tail("all")
            .build()
    }

    fn log_fault(&self, what: &str, error: bollard::errors::Error) -> Fault {
        let error = self.explain(what, error);
        if error.said.contains("does not support reading") {
            return Fault::new(
                FaultKind::Unsupported,
                format!(
                    "the engine's logging driver can't be read back: {}",
                    one_line(&error.said)
                ),
            )
            .hint(
                "use the driver `json-file`, `local` or `journald`, or read the log where the \
                driver sends it",
            );
        }
        error.fault
    }

    async fn follow(
        &self,
        backend: &Backend,
        since: Timestamp,
        sender: &mpsc::Sender<Result<LogLine, Fault>>,
    ) -> Result<(), Fault> {
        let what = format!("follow the log of the container `{}`", backend.id);
        let mut position = Position { from: i128::from(since.0) * 1_000_000, told: [None, None] };
        let mut container: Option<(String, Lines)> = None;
        let mut lost_since: Option<Instant> = None;
        loop {
            let standing = match self.find(&backend.id).await {
                Ok(found) => found.standing,
                // An engine that restarts has no socket for a moment.
                Err(fault)
                    if container.is_some()
                        && (fault.retryable || fault.kind == FaultKind::Unavailable)
                        && lost_since.get_or_insert_with(Instant::now).elapsed()
                            < RECONNECT_FOR =>
                {
                    tokio::time::sleep(RECONNECT_PAUSE).await;
                    continue;
                }
                Err(fault) => return Err(fault),
            };
            let Some(standing) = standing else {
                return match container {
                    Some(_) => Ok(()),
                    None => Err(Fault::new(
                        FaultKind::Failed,
                        format!("there is no container `{}`", backend.id),
                    )),
                };
            };
            if container.as_ref().is_none_or(|(id, _)| *id != standing.id) {
                tracing::debug!(container = %backend.id, id = short(&standing.id), "following its log");
                container = Some((
                    standing.id.clone(),
                    Lines::new(mask_of(&standing.labels, &standing.env)),
                ));
            }
            let Some((id, lines)) = &mut container else {
                return Ok(());
            };
            let ended = matches!(
                standing.phase,
                ContainerPhase::Exited
                    | ContainerPhase::StartFailed
                    | ContainerPhase::Removing
                    | ContainerPhase::Dead
            );
            // One that has ended is read once more without following: its last words.
            let options = LogsOptions { since: position.reconnect(), ..Self::everything(!ended) };
            let mut outputs = self.client()?.logs(id, Some(options));
            let mut broke = false;
            while let Some(output) = outputs.next().await {
                match output {
                    Ok(output) => {
                        lost_since = None;
                        let Some(entry) = entry(output) else { continue };
                        if position.is_new(&entry)
                            && let Some(line) = lines.take(&entry)
                            && sender.send(Ok(line)).await.is_err()
                        {
                            return Ok(());
                        }
                    }
                    Err(error) => {
                        let fault = self.log_fault(&what, error);
                        if fault.kind == FaultKind::Unsupported {
                            return Err(fault);
                        }
                        broke = true;
                        break;
                    }
                }
            }
            if ended && !broke {
                for line in lines.rest(position.newest()) {
                    let _nobody_listens = sender.send(Ok(line)).await;
                }
                return Ok(());
            }
            if !broke {
                lost_since = None;
            } else if lost_since.get_or_insert_with(Instant::now).elapsed() >= RECONNECT_FOR {
                return Err(Fault::new(
                    FaultKind::Unavailable,
                    format!(
                        "the log of the container `{}` was interrupted and can't be resumed",
                        backend.id
                    ),
                )
                .retryable());
            }
            tokio::time::sleep(RECONNECT_PAUSE).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn at(source: LogSource, nanoseconds: i128, text: &'static str) -> Entry {
        Entry { source, nanoseconds, bytes: Bytes::from_static(text.as_bytes()) }
    }

    #[test]
    fn a_stamp_is_taken_off() {
        let entry = entry(LogOutput::StdErr {
            message: Bytes::from_static(b"2026-11-22T20:20:58.452995566Z a b\n"),
        })
        .unwrap();
        assert_eq!(
            (entry.source, entry.nanoseconds, &entry.bytes[..]),
            (LogSource::Err, 1_795_378_858_452_995_566, &b"a b\n"[..])
        );
    }

    #[test]
    fn what_was_told_is_not_told_again_and_what_was_not_is() {
        let mut position = Position { from: 0, told: [None, None] };
        position.reconnect();
        let first = [
            at(LogSource::Out, 5, "a\n"),
            at(LogSource::Out, 7, "b"),
            at(LogSource::Err, 6, "x\n"),
        ];
        assert!(first.iter().all(|entry| position.is_new(entry)));
        position.reconnect();
        // The second part of a long line has the stamp of the first.
        let again = [
            at(LogSource::Out, 5, "a\n"),
            at(LogSource::Out, 7, "b"),
            at(LogSource::Out, 7, "c\n"),
            at(LogSource::Err, 6, "x\n"),
            at(LogSource::Err, 8, "y\n"),
        ];
        let new: Vec<bool> = again.iter().map(|entry| position.is_new(entry)).collect();
        assert_eq!(new, [false, false, true, false, true]);
    }

    #[test]
    fn a_long_line_in_parts_is_one_line_and_a_secret_across_them_is_masked() {
        let mut lines = Lines::new(Mask::new(["password"]));
        assert_eq!(lines.take(&at(LogSource::Out, 1, "the pass")), None);
        assert_eq!(lines.take(&at(LogSource::Err, 1, "other\n")).unwrap().text, "other");
        assert_eq!(
            lines.take(&at(LogSource::Out, 1, "word is\n")).unwrap().text,
            "the [redacted] is"
        );
    }
}
