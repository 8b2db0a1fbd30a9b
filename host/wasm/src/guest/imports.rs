//! The imports of contract 0.1: they convert and pass on.

use super::Guest;
use crate::answer::{Answer, EffectError, FileEntry};
use crate::audit::{LogLevel, cut};
use crate::bindings::any::agente::host::{
    config, context, exec, files, log, memory, process, reveal, secrets, tcp,
};
use crate::bindings::any::agente::types::types::{self, Failure};
use crate::blob::Blob;
use crate::effect::{Effect, Program};
use crate::handles::{Connection, OpenSecret};
use wasmtime::Result as Trapping;
use wasmtime::component::Resource;

impl Guest {
    /// Does an effect for the guest; the time is not the guest's.
    async fn perform(&mut self, effect: Effect) -> Result<Answer, EffectError> {
        self.operation.cpu.leave_out(self.operation.perform(effect)).await
    }
}

/// What the guest is told where it does not get the answer that belongs to its question.
fn failure<R>(answer: Result<Answer, EffectError>) -> Result<R, Failure> {
    Err(answer.err().unwrap_or_else(EffectError::mismatch).into())
}

impl types::Host for Guest {}

impl log::Host for Guest {
    async fn log(&mut self, level: String, message: String, fields: types::Labels) -> Trapping<()> {
        self.operation.message(LogLevel::from_word(&level), message, fields);
        Ok(())
    }

    async fn progress(&mut self, percent: Option<u8>, note: String) -> Trapping<()> {
        let note = cut(self.operation.redact(note), 200);
        let household = &self.operation.household;
        let percent = percent.map(|percent| percent.min(100));
        household.ports.log.progress(&household.plugin, percent, &note);
        Ok(())
    }
}

impl context::Host for Guest {
    async fn get(&mut self) -> Trapping<context::Info> {
        let operation = &self.operation;
        let household = &operation.household;
        Ok(context::Info {
            deployment: operation.context.deployment.clone(),
            service: household.scope.service.to_string(),
            environment: household.scope.environment.to_string(),
            phase: operation.call.phase.as_str().to_owned(),
            remaining_ms: u64::try_from(operation.remaining().as_millis()).unwrap_or(u64::MAX),
            labels: vec![
                ("store".to_owned(), household.store_id.clone()),
                ("backends".to_owned(), operation.circumstances.backends.join(",")),
            ],
        })
    }

    async fn cancelled(&mut self) -> Trapping<bool> {
        Ok(self.operation.context.cancelled.load(std::sync::atomic::Ordering::Relaxed))
    }
}

impl config::Host for Guest {
    async fn get(&mut self) -> Trapping<String> {
        Ok(self.operation.household.config_json.clone())
    }
}

impl memory::Host for Guest {
    async fn get(&mut self, key: String) -> Trapping<Result<Option<Vec<u8>>, Failure>> {
        Ok(match self.perform(Effect::Recall(key)).await {
            Ok(Answer::Bytes(value)) => Ok(value.map(|value| value.0)),
            other => failure(other),
        })
    }

    async fn set(&mut self, key: String, value: Option<Vec<u8>>) -> Trapping<Result<(), Failure>> {
        let value = value.map(Blob);
        Ok(match self.perform(Effect::Remember { key, value }).await {
            Ok(Answer::Done) => Ok(()),
            other => failure(other),
        })
    }
}

fn entry(entry: FileEntry) -> files::Entry {
    let FileEntry { name, kind, size_bytes, labels } = entry;
    files::Entry { name, kind, size_bytes, labels }
}

impl files::Host for Guest {
    async fn read(&mut self, path: String) -> Trapping<Result<Option<Vec<u8>>, Failure>> {
        Ok(match self.perform(Effect::ReadFile(path)).await {
            Ok(Answer::Bytes(bytes)) => Ok(bytes.map(|bytes| bytes.0)),
            other => failure(other),
        })
    }

    async fn stat(&mut self, path: String) -> Trapping<Result<Option<files::Entry>, Failure>> {
        Ok(match self.perform(Effect::LookAtFile(path)).await {
            Ok(Answer::Entry(found)) => Ok(found.map(entry)),
            other => failure(other),
        })
    }

    async fn list(&mut self, path: String) -> Trapping<Result<Vec<files::Entry>, Failure>> {
        Ok(match self.perform(Effect::ListFolder(path)).await {
            Ok(Answer::Entries(entries)) => Ok(entries.into_iter().map(entry).collect()),
            other => failure(other),
        })
    }

    async fn replace(
        &mut self,
        path: String,
        bytes: Vec<u8>,
        mode: u32,
    ) -> Trapping<Result<(), Failure>> {
        let bytes = Blob(bytes);
        Ok(match self.perform(Effect::ReplaceFile { path, bytes, mode }).await {
            Ok(Answer::Done) => Ok(()),
            other => failure(other),
        })
    }

    async fn remove(&mut self, path: String) -> Trapping<Result<bool, Failure>> {
        Ok(match self.perform(Effect::RemoveFile(path)).await {
            Ok(Answer::Removed(removed)) => Ok(removed),
            other => failure(other),
        })
    }
}

impl tcp::HostConnection for Guest {
    async fn read(
        &mut self,
        connection: Resource<Connection>,
        max_bytes: u32,
        timeout_ms: u32,
    ) -> Trapping<Result<Vec<u8>, Failure>> {
        let from = self.table.get(&connection)?.handle;
        Ok(match self.perform(Effect::Receive { from, max_bytes, timeout_ms }).await {
            Ok(Answer::Bytes(bytes)) => Ok(bytes.unwrap_or_default().0),
            other => failure(other),
        })
    }

    async fn write(
        &mut self,
        connection: Resource<Connection>,
        bytes: Vec<u8>,
        timeout_ms: u32,
    ) -> Trapping<Result<(), Failure>> {
        let to = self.table.get(&connection)?.handle;
        let bytes = Blob(bytes);
        Ok(match self.perform(Effect::Send { to, bytes, timeout_ms }).await {
            Ok(Answer::Done) => Ok(()),
            other => failure(other),
        })
    }

    async fn drop(&mut self, connection: Resource<Connection>) -> Trapping<()> {
        let connection = self.table.delete(connection)?;
        self.operation.close(connection.handle);
        Ok(())
    }
}

impl tcp::Host for Guest {
    async fn connect(
        &mut self,
        host: String,
        port: u16,
        timeout_ms: u32,
    ) -> Trapping<Result<Resource<Connection>, Failure>> {
        let host = crate::address::plain_host(&host);
        Ok(match self.perform(Effect::Connect { host, port, timeout_ms }).await {
            Ok(Answer::Connected(handle)) => Ok(self.table.push(Connection { handle })?),
            other => failure(other),
        })
    }
}

impl secrets::HostSecret for Guest {
    async fn placeholder(&mut self, secret: Resource<OpenSecret>) -> Trapping<String> {
        Ok(self.table.get(&secret)?.placeholder.clone())
    }

    async fn drop(&mut self, secret: Resource<OpenSecret>) -> Trapping<()> {
        self.table.delete(secret)?;
        Ok(())
    }
}

impl secrets::Host for Guest {
    async fn open(&mut self, name: String) -> Trapping<Result<Resource<OpenSecret>, Failure>> {
        Ok(match self.perform(Effect::OpenSecret(name.clone())).await {
            Ok(Answer::Placeholder(placeholder)) => {
                let secret = self.operation.secrets.keep(&name, placeholder);
                Ok(self.table.push(secret)?)
            }
            other => failure(other),
        })
    }
}

impl reveal::Host for Guest {
    async fn reveal(&mut self, secret: Resource<OpenSecret>) -> Trapping<Result<String, Failure>> {
        let name = self.table.get(&secret)?.name.clone();
        Ok(match self.perform(Effect::RevealSecret(name)).await {
            Ok(Answer::Secret(value)) => Ok(value.expose().to_owned()),
            other => failure(other),
        })
    }
}

impl exec::Host for Guest {
    async fn run(&mut self, command: exec::Command) -> Trapping<Result<exec::Output, Failure>> {
        let program = Program {
            program: command.program,
            args: command.args,
            stdin: Blob(command.stdin),
            env: command.env,
            cwd: command.cwd,
            wall_ms: command.wall_ms,
            place: command.place,
        };
        Ok(match self.perform(Effect::Run(program)).await {
            Ok(Answer::Output(output)) => Ok(exec::Output {
                status: output.status,
                stdout: output.stdout.0,
                stderr: output.stderr.0,
                truncated: output.truncated,
                labels: output.labels,
            }),
            other => failure(other),
        })
    }
}

impl process::Host for Guest {
    async fn tree(&mut self, of: String) -> Trapping<Result<Vec<process::Info>, Failure>> {
        Ok(match self.perform(Effect::ListProcesses(of)).await {
            Ok(Answer::Processes(processes)) => Ok(processes
                .into_iter()
                .map(|found| process::Info {
                    pid: found.pid,
                    parent: found.parent,
                    title: found.title,
                    started_ms: found.started_ms,
                    labels: found.labels,
                })
                .collect()),
            other => failure(other),
        })
    }

    async fn connections(
        &mut self,
        of: String,
    ) -> Trapping<Result<Vec<process::Connection>, Failure>> {
        Ok(match self.perform(Effect::ListConnections(of)).await {
            Ok(Answer::Connections(connections)) => Ok(connections
                .into_iter()
                .map(|found| process::Connection {
                    local: found.local,
                    remote: found.remote,
                    pid: found.pid,
                })
                .collect()),
            other => failure(other),
        })
    }

    async fn signal(&mut self, of: String, signal: String) -> Trapping<Result<(), Failure>> {
        Ok(match self.perform(Effect::Signal { of, signal }).await {
            Ok(Answer::Done) => Ok(()),
            other => failure(other),
        })
    }

    async fn log_mark(&mut self, path: String) -> Trapping<Result<u64, Failure>> {
        Ok(match self.perform(Effect::MarkLog(path)).await {
            Ok(Answer::Mark(mark)) => Ok(mark),
            other => failure(other),
        })
    }

    async fn log_since(
        &mut self,
        path: String,
        mark: u64,
        max_bytes: u32,
    ) -> Trapping<Result<Vec<u8>, Failure>> {
        Ok(match self.perform(Effect::ReadLog { path, mark, max_bytes }).await {
            Ok(Answer::Bytes(bytes)) => Ok(bytes.unwrap_or_default().0),
            other => failure(other),
        })
    }
}
