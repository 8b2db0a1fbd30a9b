//! The host as a component reaches it: through the imports of the contract. Only converts.

use crate::bindings::imports::agente::host as wit;
use crate::bindings::imports::agente::types::types as wit_types;
use crate::failure::{Code, Failure};
use crate::host::{
    Command, Connection, Context, Entry, Host, Level, Output, Process, Secret, Stream,
};
use std::time::Duration;

/// The host as a component reaches it.
#[derive(Debug, Clone, Copy, Default)]
pub struct WitHost;

pub(crate) fn failure(failure: wit_types::Failure) -> Failure {
    Failure {
        code: Code::from_text(&failure.code),
        retryable: failure.retryable,
        message: failure.message,
        hint: failure.hint,
        labels: failure.labels,
    }
}

fn milliseconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}

impl Stream for wit::tcp::Connection {
    fn read(&mut self, max_bytes: u32, timeout: Duration) -> Result<Vec<u8>, Failure> {
        Self::read(self, max_bytes, milliseconds(timeout)).map_err(failure)
    }

    fn write(&mut self, bytes: &[u8], timeout: Duration) -> Result<(), Failure> {
        Self::write(self, bytes, milliseconds(timeout)).map_err(failure)
    }
}

impl Secret for wit::secrets::Secret {
    fn placeholder(&self) -> String {
        Self::placeholder(self)
    }

    fn reveal(&self) -> Result<String, Failure> {
        wit::reveal::reveal(self).map_err(failure)
    }
}

fn entry(entry: wit::files::Entry) -> Entry {
    Entry { name: entry.name, kind: entry.kind, size_bytes: entry.size_bytes, labels: entry.labels }
}

impl Host for WitHost {
    type Stream = wit::tcp::Connection;
    type Secret = wit::secrets::Secret;

    fn log(&self, level: Level, message: &str, fields: &[(&str, &str)]) {
        let fields: Vec<(String, String)> =
            fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        wit::log::log(level.as_str(), message, &fields);
    }

    fn progress(&self, percent: Option<u8>, note: &str) {
        wit::log::progress(percent, note);
    }

    fn context(&self) -> Context {
        let info = wit::context::get();
        Context {
            deployment: info.deployment,
            service: info.service,
            environment: info.environment,
            write: info.phase == "write",
            remaining: Duration::from_millis(info.remaining_ms),
            labels: info.labels,
        }
    }

    fn cancelled(&self) -> bool {
        wit::context::cancelled()
    }

    fn config(&self) -> String {
        wit::config::get()
    }

    fn memory_get(&self, key: &str) -> Result<Option<Vec<u8>>, Failure> {
        wit::memory::get(key).map_err(failure)
    }

    fn memory_set(&self, key: &str, value: Option<&[u8]>) -> Result<(), Failure> {
        wit::memory::set(key, value).map_err(failure)
    }

    fn read_file(&self, path: &str) -> Result<Option<Vec<u8>>, Failure> {
        wit::files::read(path).map_err(failure)
    }

    fn stat(&self, path: &str) -> Result<Option<Entry>, Failure> {
        Ok(wit::files::stat(path).map_err(failure)?.map(entry))
    }

    fn list_folder(&self, path: &str) -> Result<Vec<Entry>, Failure> {
        Ok(wit::files::list(path).map_err(failure)?.into_iter().map(entry).collect())
    }

    fn replace_file(&self, path: &str, bytes: &[u8], mode: u32) -> Result<(), Failure> {
        wit::files::replace(path, bytes, mode).map_err(failure)
    }

    fn remove_file(&self, path: &str) -> Result<bool, Failure> {
        wit::files::remove(path).map_err(failure)
    }

    fn connect(&self, host: &str, port: u16, timeout: Duration) -> Result<Self::Stream, Failure> {
        wit::tcp::connect(host, port, milliseconds(timeout)).map_err(failure)
    }

    fn secret(&self, name: &str) -> Result<Self::Secret, Failure> {
        wit::secrets::open(name).map_err(failure)
    }

    fn run(&self, command: &Command) -> Result<Output, Failure> {
        let output = wit::exec::run(&wit::exec::Command {
            program: command.program.clone(),
            args: command.args.clone(),
            stdin: command.stdin.clone(),
            env: command.env.clone(),
            cwd: command.cwd.clone(),
            wall_ms: milliseconds(command.wall),
            place: command.place.clone(),
            labels: Vec::new(),
        })
        .map_err(failure)?;
        Ok(Output {
            status: output.status,
            stdout: output.stdout,
            stderr: output.stderr,
            truncated: output.truncated,
            labels: output.labels,
        })
    }

    fn process_tree(&self, of: &str) -> Result<Vec<Process>, Failure> {
        let tree = wit::process::tree(of).map_err(failure)?;
        Ok(tree
            .into_iter()
            .map(|info| Process {
                pid: info.pid,
                parent: info.parent,
                title: info.title,
                started_ms: info.started_ms,
                labels: info.labels,
            })
            .collect())
    }

    fn connections(&self, of: &str) -> Result<Vec<Connection>, Failure> {
        let connections = wit::process::connections(of).map_err(failure)?;
        Ok(connections
            .into_iter()
            .map(|one| Connection { local: one.local, remote: one.remote, pid: one.pid })
            .collect())
    }

    fn signal(&self, of: &str, signal: &str) -> Result<(), Failure> {
        wit::process::signal(of, signal).map_err(failure)
    }

    fn log_mark(&self, path: &str) -> Result<u64, Failure> {
        wit::process::log_mark(path).map_err(failure)
    }

    fn log_since(&self, path: &str, mark: u64, max_bytes: u32) -> Result<Vec<u8>, Failure> {
        wit::process::log_since(path, mark, max_bytes).map_err(failure)
    }
}
