//! What the host offers a plugin. Every effect goes through the host's broker and may be refused
//! with [`Code::Denied`](crate::Code::Denied).

use crate::failure::{Failure, Labels};
use crate::http::{HttpError, Request, Response};
use std::time::Duration;

/// How much a message matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// Something failed.
    Error,
    /// Something may fail.
    Warn,
    /// What happens.
    Info,
    /// How it happens.
    Debug,
    /// Everything.
    Trace,
}

impl Level {
    /// As the contract writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

/// What the current operation belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Context {
    /// The deployment's id; empty outside one.
    pub deployment: String,
    /// The service's name.
    pub service: String,
    /// The environment's name.
    pub environment: String,
    /// Whether the write grants are in force.
    pub write: bool,
    /// The wall-clock time left for this operation.
    pub remaining: Duration,
    /// `store`, `backends` …
    pub labels: Labels,
}

/// One entry of a folder, or what stands at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The last part of the path.
    pub name: String,
    /// `file`, `folder`, `link` or `other`.
    pub kind: String,
    /// For files.
    pub size_bytes: u64,
    /// `mode` (octal), `uid`, `gid`, `device`, `inode`, `modified-ms`; of `stat` alone `writable`:
    /// whether the host itself may write there.
    pub labels: Labels,
}

/// What to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// Absolute path of the program.
    pub program: String,
    /// Its arguments.
    pub args: Vec<String>,
    /// What it reads.
    pub stdin: Vec<u8>,
    /// Names of granted environment variables or secrets.
    pub env: Vec<String>,
    /// The working folder.
    pub cwd: Option<String>,
    /// At its end the whole process group is killed.
    pub wall: Duration,
    /// `host`, `container:<name>` or `release`.
    pub place: String,
}

impl Command {
    /// A program on the host with its arguments and a limit of ten seconds.
    pub fn new(
        program: impl Into<String>,
        args: impl IntoIterator<Item = impl Into<String>>,
    ) -> Self {
        Self {
            program: program.into(),
            args: args.into_iter().map(Into::into).collect(),
            stdin: Vec::new(),
            env: Vec::new(),
            cwd: None,
            wall: Duration::from_secs(10),
            place: "host".into(),
        }
    }

    /// Runs it elsewhere: `container:<name>` or `release`.
    #[must_use]
    pub fn place(mut self, place: impl Into<String>) -> Self {
        self.place = place.into();
        self
    }

    /// Sets the wall-clock limit.
    #[must_use]
    pub fn wall(mut self, wall: Duration) -> Self {
        self.wall = wall;
        self
    }
}

/// What came of a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// The exit status; none where a signal ended it.
    pub status: Option<i32>,
    /// Standard output.
    pub stdout: Vec<u8>,
    /// Standard error.
    pub stderr: Vec<u8>,
    /// Whether either was cut.
    pub truncated: bool,
    /// `signal`, `timed-out`.
    pub labels: Labels,
}

impl Output {
    /// Both streams as text, standard error last.
    pub fn text(&self) -> String {
        let mut text = String::from_utf8_lossy(&self.stdout).into_owned();
        if !text.is_empty() && !text.ends_with('\n') {
            text.push('\n');
        }
        text.push_str(&String::from_utf8_lossy(&self.stderr));
        text
    }
}

/// One process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Its number.
    pub pid: u32,
    /// Its parent's number.
    pub parent: u32,
    /// Its command line as it shows itself.
    pub title: String,
    /// When it started; with the pid this names a process for good.
    pub started_ms: u64,
    /// `orphan-of`; `signalable`: `false` where the host itself may not send it signals, not there
    /// for a container's.
    pub labels: Labels,
}

/// One established TCP connection of a target's processes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connection {
    /// `address:port` on the target's side.
    pub local: String,
    /// `address:port` of the peer.
    pub remote: String,
    /// The process that holds it.
    pub pid: u32,
}

/// An open TCP connection; dropping it closes it.
pub trait Stream {
    /// Reads at most `max_bytes`; nothing means that the peer ended its side.
    fn read(&mut self, max_bytes: u32, timeout: Duration) -> Result<Vec<u8>, Failure>;

    /// Writes all bytes.
    fn write(&mut self, bytes: &[u8], timeout: Duration) -> Result<(), Failure>;
}

/// A granted secret, by a placeholder that the host swaps for its value at egress.
pub trait Secret {
    /// A text that stands for the value in HTTP headers, and in bodies where that is granted.
    fn placeholder(&self) -> String;

    /// The value itself. Calling this makes the component import `reveal`, which needs a grant of
    /// its own.
    fn reveal(&self) -> Result<String, Failure>;
}

/// The world, as a plugin sees it.
pub trait Host {
    /// An open connection.
    type Stream: Stream;
    /// An open secret.
    type Secret: Secret;

    /// Writes one message for people.
    fn log(&self, level: Level, message: &str, fields: &[(&str, &str)]);
    /// Says how far a long operation is.
    fn progress(&self, percent: Option<u8>, note: &str);
    /// Gives the surroundings of the operation.
    fn context(&self) -> Context;
    /// Whether somebody has asked for an abort.
    fn cancelled(&self) -> bool;
    /// The plugin's section of the manifest as JSON.
    fn config(&self) -> String;
    /// Milliseconds since the epoch.
    fn now_ms(&self) -> u64 {
        std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }

    /// Reads a value that an earlier operation of this service and environment left; none if it was
    /// never set.
    fn memory_get(&self, key: &str) -> Result<Option<Vec<u8>>, Failure>;
    /// Sets a value, or removes it with none. 64 KiB in all.
    fn memory_set(&self, key: &str, value: Option<&[u8]>) -> Result<(), Failure>;

    /// Reads a whole file; none if there is none.
    fn read_file(&self, path: &str) -> Result<Option<Vec<u8>>, Failure>;
    /// What stands at a path; none if nothing does. Does not follow a link.
    fn stat(&self, path: &str) -> Result<Option<Entry>, Failure>;
    /// The entries of a folder, sorted by name.
    fn list_folder(&self, path: &str) -> Result<Vec<Entry>, Failure>;
    /// Replaces a file as one step: a reader sees the old bytes or the new ones. Write phase only.
    fn replace_file(&self, path: &str, bytes: &[u8], mode: u32) -> Result<(), Failure>;
    /// Removes a file; false if there was none. Write phase only.
    fn remove_file(&self, path: &str) -> Result<bool, Failure>;

    /// Connects to a granted name.
    fn connect(&self, host: &str, port: u16, timeout: Duration) -> Result<Self::Stream, Failure>;
    /// Opens a secret by the name it has in the manifest.
    fn secret(&self, name: &str) -> Result<Self::Secret, Failure>;
    /// Runs a granted program to its end.
    fn run(&self, command: &Command) -> Result<Output, Failure>;
    /// Sends one HTTP request on a fresh connection and reads the answer. Follows no redirect.
    fn http(&self, request: &Request) -> Result<Response, HttpError> {
        crate::http::send(request)
    }

    /// A granted target's process and its descendants, by pid. `of` is `pid-file:<path>` or
    /// `container:<name>`. The label `reason` of a failure is `no-pid-file`, `bad-pid-file` or
    /// `not-running`.
    fn process_tree(&self, of: &str) -> Result<Vec<Process>, Failure>;
    /// The established TCP connections of the process and its descendants.
    fn connections(&self, of: &str) -> Result<Vec<Connection>, Failure>;
    /// Sends one granted signal to the top process. Write phase only.
    fn signal(&self, of: &str, signal: &str) -> Result<(), Failure>;
    /// The present end of a granted log: a file, or `container:<name>`.
    fn log_mark(&self, path: &str) -> Result<u64, Failure>;
    /// What was written to the log since the mark, the newest `max_bytes` of it.
    fn log_since(&self, path: &str, mark: u64, max_bytes: u32) -> Result<Vec<u8>, Failure>;
}
