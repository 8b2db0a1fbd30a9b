//! What a plugin can do outside its sandbox: each thing a value, which is judged by the broker,
//! recorded, and then done through the seam.

use crate::blob::Blob;
use crate::capability::SecretUse;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Names an open connection, or the body of an answer, within one call.
pub type Handle = u32;

/// Something that a plugin wants to do outside its sandbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Effect {
    /// Read a file.
    ReadFile(String),
    /// Look at what stands at a path.
    LookAtFile(String),
    /// List a folder.
    ListFolder(String),
    /// Replace a file as one step.
    ReplaceFile {
        path: String,
        bytes: Blob,
        /// The permission bits.
        mode: u32,
    },
    /// Remove a file.
    RemoveFile(String),
    /// Run a program.
    Run(Program),
    /// Look at the processes of a target.
    ListProcesses(String),
    /// Look at the connections of a target's processes.
    ListConnections(String),
    /// Send a signal.
    Signal {
        /// The target.
        of: String,
        /// The signal's name.
        signal: String,
    },
    /// Note the present end of a log.
    MarkLog(String),
    /// Read what was written to a log since a mark.
    ReadLog { path: String, mark: u64, max_bytes: u32 },
    Connect {
        /// The host, plain.
        host: String,
        port: u16,
        timeout_ms: u32,
    },
    /// Read from an open connection.
    Receive { from: Handle, max_bytes: u32, timeout_ms: u32 },
    /// Write to an open connection.
    Send { to: Handle, bytes: Blob, timeout_ms: u32 },
    /// Send an HTTP request and wait for the head of its answer.
    Request(Box<HttpRequest>),
    /// Read the next part of an answer's body.
    ReceiveBody(Handle),
    /// Get a placeholder for a secret.
    OpenSecret(String),
    /// Send a secret; part of a request.
    SendSecret {
        name: String,
        way: SecretUse,
        /// To which host.
        host: String,
    },
    /// Give a secret to a program; part of running it.
    PassSecret(String),
    /// Get the value of a secret.
    RevealSecret(String),
    /// Read the plugin's own memory.
    Recall(String),
    /// Change the plugin's own memory.
    Remember {
        key: String,
        /// None to forget it.
        value: Option<Blob>,
    },
}

/// A program and how it is to run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    /// Its absolute path.
    pub program: String,
    pub args: Vec<String>,
    /// What it reads.
    pub stdin: Blob,
    /// The names of what is to be in its environment.
    pub env: Vec<String>,
    /// The folder it is to run in.
    pub cwd: Option<String>,
    pub wall_ms: u32,
    /// `host`, `container:<name>` or `release`.
    pub place: String,
}

/// A request by HTTP, as it is before the secrets are put in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpRequest {
    /// `http` or `https`.
    pub scheme: String,
    /// The host, plain.
    pub host: String,
    pub port: u16,
    pub method: String,
    /// Path and query.
    pub target: String,
    pub headers: Vec<(String, Blob)>,
    pub body: Blob,
    pub connect_ms: u64,
    /// The longest to wait for the head of the answer.
    pub answer_ms: u64,
    /// The longest to wait for each part of its body.
    pub idle_ms: u64,
}

impl Effect {
    /// Whether it changes something by its very nature.
    pub(crate) fn changes(&self) -> bool {
        match self {
            Effect::ReplaceFile { .. } | Effect::RemoveFile(_) | Effect::Signal { .. } => true,
            Effect::Request(request) => !matches!(request.method.as_str(), "GET" | "HEAD"),
            _ => false,
        }
    }

    /// Whether it is one more piece of an effect that was judged and recorded when it began.
    pub(crate) fn goes_on(&self) -> bool {
        matches!(self, Effect::Receive { .. } | Effect::Send { .. } | Effect::ReceiveBody(_))
    }

    /// Whether all of it is work on files of this machine.
    pub(crate) fn is_file_work(&self) -> bool {
        matches!(
            self,
            Effect::ReadFile(_)
                | Effect::LookAtFile(_)
                | Effect::ListFolder(_)
                | Effect::ReplaceFile { .. }
                | Effect::RemoveFile(_)
        )
    }

    /// Whether files of this machine must be looked at to judge it.
    pub(crate) fn is_judged_by_files(&self) -> bool {
        match self {
            Effect::Run(program) => program.place == "host",
            Effect::ListProcesses(of) | Effect::ListConnections(of) | Effect::Signal { of, .. } => {
                of.starts_with("pid-file:")
            }
            effect => effect.is_file_work(),
        }
    }
}

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Effect::ReadFile(path) => write!(f, "read the file `{path}`"),
            Effect::LookAtFile(path) => write!(f, "inspect `{path}`"),
            Effect::ListFolder(path) => write!(f, "list the directory `{path}`"),
            Effect::ReplaceFile { path, .. } => write!(f, "replace the file `{path}`"),
            Effect::RemoveFile(path) => write!(f, "remove the file `{path}`"),
            Effect::Run(Program { program, args, place, .. }) => {
                write!(f, "run `{program}")?;
                args.iter().try_for_each(|word| write!(f, " {word}"))?;
                f.write_str("`")?;
                if place == "host" { Ok(()) } else { write!(f, " in {place}") }
            }
            Effect::ListProcesses(of) | Effect::ListConnections(of) => {
                write!(f, "list the processes of `{of}`")
            }
            Effect::Signal { of, signal } => write!(f, "send {signal} to the process of `{of}`"),
            Effect::MarkLog(path) | Effect::ReadLog { path, .. } => {
                write!(f, "read the log `{path}`")
            }
            Effect::Connect { host, port, .. } => write!(f, "connect to `{host}:{port}`"),
            Effect::Receive { .. } => f.write_str("read from an open connection"),
            Effect::Send { .. } => f.write_str("write to an open connection"),
            Effect::Request(request) => {
                let HttpRequest { scheme, host, port, method, .. } = &**request;
                write!(f, "send {method} to `{scheme}://{host}:{port}`")
            }
            Effect::ReceiveBody(_) => f.write_str("read a response body"),
            Effect::OpenSecret(name) => write!(f, "use the secret `{name}`"),
            Effect::SendSecret { name, way, host } => {
                write!(f, "send the secret `{name}` in {way} to `{host}`")
            }
            Effect::PassSecret(name) => write!(f, "pass the secret `{name}` to a program"),
            Effect::RevealSecret(name) => write!(f, "read the value of the secret `{name}`"),
            Effect::Recall(key) => write!(f, "read `{key}` of its memory"),
            Effect::Remember { key, .. } => write!(f, "set `{key}` of its memory"),
        }
    }
}
