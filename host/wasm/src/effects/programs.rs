//! Programs, processes and logs: done by the `Commands` port once the broker has allowed them.

use crate::bindings::any::agente::host::exec::{Command, Output};
use crate::bindings::any::agente::host::process;
use crate::bindings::any::agente::types::types::Failure;
use crate::broker::{Allowed, Effect};
use crate::effects::secrets;
use crate::operation::Operation;
use agente_engine::fault::FaultKind;
use agente_engine::ports::{CommandPlace, CommandSpec, ProcessTarget};
use std::collections::BTreeMap;
use std::time::Duration;

/// How much of each stream of a program is kept.
const MAX_OUTPUT_BYTES: usize = 256 * 1024;

/// How much of a log is read at a time.
const MAX_LOG_BYTES: usize = 1024 * 1024;

pub(crate) async fn run(operation: &Operation, command: Command) -> Result<Output, Failure> {
    let effect = Effect::Run {
        program: command.program.clone(),
        args: command.args,
        env: command.env.clone(),
        cwd: command.cwd.clone(),
        place: command.place.clone(),
    };
    let Allowed::Command { argv, .. } = operation.authorize(&effect)? else {
        return Err(Failure::new(
            FaultKind::Internal,
            "the broker allowed a program without its command",
        ));
    };
    let mut env = BTreeMap::new();
    let mut passed = Vec::new();
    for name in &command.env {
        // A name stands for a secret where a rule of secrets names it, else for a variable of the
        // host.
        if operation.household.broker.passes(name) {
            let Allowed::Variable(variable) =
                operation.authorize(&Effect::PassSecret(name.clone()))?
            else {
                return Err(Failure::new(
                    FaultKind::Internal,
                    "the broker allowed a secret without its variable",
                ));
            };
            let value = secrets::value(operation, name).await?;
            env.insert(variable, value.expose().to_owned());
            passed.push(value);
        } else if let Some(value) = operation.household.effects.variables.get(name) {
            env.insert(name.clone(), value.clone());
        }
    }
    let spec = CommandSpec {
        argv,
        stdin: command.stdin,
        env,
        cwd: command.cwd,
        wall: Duration::from_millis(u64::from(command.wall_ms)).min(operation.remaining()),
        max_output_bytes: MAX_OUTPUT_BYTES.min(
            usize::try_from(operation.household.limits.hostcall.bytes() / 2)
                .unwrap_or(MAX_OUTPUT_BYTES),
        ),
        place: place(operation, &command.place)?,
    };
    let output = operation.household.effects.commands.run(&spec).await?;
    let mut labels = Vec::new();
    if let Some(signal) = output.signal {
        labels.push(("signal".to_owned(), signal_name(signal)));
    }
    if output.timed_out {
        labels.push(("timed-out".to_owned(), "true".to_owned()));
    }
    // The value went to the program, not to the plugin, which may only have it by `reveal`.
    let mask = |stream: Vec<u8>| {
        passed.iter().fold(stream, |stream, value| masked(stream, value.expose().as_bytes()))
    };
    Ok(Output {
        status: output.status,
        stdout: mask(output.stdout),
        stderr: mask(output.stderr),
        truncated: output.truncated,
        labels,
    })
}

/// Puts `[redacted]` in place of a value.
fn masked(stream: Vec<u8>, value: &[u8]) -> Vec<u8> {
    if value.is_empty() || !stream.windows(value.len()).any(|window| window == value) {
        return stream;
    }
    let mut kept = Vec::with_capacity(stream.len());
    let mut rest = stream.as_slice();
    while let Some((&first, after)) = rest.split_first() {
        if let Some(beyond) = rest.strip_prefix(value) {
            kept.extend_from_slice(b"[redacted]");
            rest = beyond;
        } else {
            kept.push(first);
            rest = after;
        }
    }
    kept
}

fn place(operation: &Operation, place: &str) -> Result<CommandPlace, Failure> {
    match place.split_once(':') {
        None if place == "host" => Ok(CommandPlace::Host),
        None if place == "release" => match &operation.context.image {
            Some(image) => Ok(CommandPlace::Image(image.clone())),
            None => Err(Failure::new(
                FaultKind::Unsupported,
                "there is no image to run the program in: the release is not one of a container",
            )),
        },
        Some(("container", name)) => Ok(CommandPlace::Container(name.to_owned())),
        _ => Err(Failure::new(
            FaultKind::InvalidConfig,
            format!(
                "`{place}` is no place to run a program; it is `host`, `release` or \
                 `container:<name>`"
            ),
        )),
    }
}

fn signal_name(number: i32) -> String {
    rustix::process::Signal::from_named_raw(number).map_or_else(
        || number.to_string(),
        |signal| format!("{signal:?}").trim_start_matches("Signal::").to_owned(),
    )
}

fn target(of: &str) -> Result<ProcessTarget, Failure> {
    match of.split_once(':') {
        Some(("pid-file", path)) => Ok(ProcessTarget::PidFile(path.to_owned())),
        Some(("container", name)) => Ok(ProcessTarget::Container(name.to_owned())),
        _ => Err(Failure::new(
            FaultKind::InvalidConfig,
            format!("`{of}` names no processes; it is `pid-file:<path>` or `container:<name>`"),
        )),
    }
}

pub(crate) async fn tree(operation: &Operation, of: String) -> Result<Vec<process::Info>, Failure> {
    let target = target(&of)?;
    operation.authorize(&Effect::LookAtProcesses(of))?;
    let found = operation.household.effects.commands.tree(&target).await?;
    // The processes of a container are signalled by its engine, whoever we are.
    let ours_to_ask = matches!(target, ProcessTarget::PidFile(_));
    let info = |info: agente_engine::ports::ProcessInfo| process::Info {
        pid: info.pid,
        parent: info.parent,
        title: info.title,
        started_ms: info.started_ms,
        labels: if ours_to_ask {
            vec![("signalable".to_owned(), is_signalable(info.pid).to_string())]
        } else {
            Vec::new()
        },
    };
    Ok(found.into_iter().map(info).collect())
}

/// Whether this process may send signals to another one, by the kernel's word; nothing is sent.
fn is_signalable(pid: u32) -> bool {
    let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw);
    pid.is_some_and(|pid| rustix::process::test_kill_process(pid) != Err(rustix::io::Errno::PERM))
}

pub(crate) async fn connections(
    operation: &Operation,
    of: String,
) -> Result<Vec<process::Connection>, Failure> {
    let target = target(&of)?;
    operation.authorize(&Effect::LookAtProcesses(of))?;
    let found = operation.household.effects.commands.connections(&target).await?;
    Ok(found
        .into_iter()
        .map(|connection| process::Connection {
            local: connection.local,
            remote: connection.remote,
            pid: connection.pid,
        })
        .collect())
}

pub(crate) async fn signal(
    operation: &Operation,
    of: String,
    signal: String,
) -> Result<(), Failure> {
    let target = target(&of)?;
    let effect = Effect::Signal { of, signal };
    operation.authorize(&effect)?;
    let Effect::Signal { signal, .. } = &effect else { return Ok(()) };
    Ok(operation.household.effects.commands.signal(&target, signal).await?)
}

pub(crate) async fn log_mark(operation: &Operation, path: String) -> Result<u64, Failure> {
    operation.authorize(&Effect::ReadLog(path.clone()))?;
    Ok(operation.household.effects.commands.log_mark(&path).await?)
}

pub(crate) async fn log_since(
    operation: &Operation,
    path: String,
    mark: u64,
    max_bytes: u32,
) -> Result<Vec<u8>, Failure> {
    operation.authorize(&Effect::ReadLog(path.clone()))?;
    let max_bytes = MAX_LOG_BYTES.min(max_bytes as usize);
    Ok(operation.household.effects.commands.log_since(&path, mark, max_bytes).await?)
}
