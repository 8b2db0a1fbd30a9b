//! Programs, processes and logs: done by the `Commands` port.

use super::live::Live;
use super::secrets;
use crate::answer::{Answer, ConnectionEntry, EffectError, ProcessEntry, ProgramOutput};
use crate::blob::Blob;
use crate::broker::Allowed;
use crate::effect::Program;
use crate::masks::masked;
use crate::performer::{Permit, SecretStands};
use agente_engine::fault::FaultKind;
use agente_engine::ports::{CommandPlace, CommandSpec, ProcessInfo, ProcessTarget};
use std::collections::BTreeMap;
use std::time::Duration;

/// How much of each stream of a program is kept.
const MAX_OUTPUT_BYTES: usize = 256 * 1024;

/// How much of a log is read at a time.
const MAX_LOG_BYTES: usize = 1024 * 1024;

pub(super) async fn run(
    live: &Live,
    program: &Program,
    permit: &Permit,
) -> Result<Answer, EffectError> {
    let Allowed::Command { argv, .. } = &permit.allowed else {
        return Err(EffectError::mismatch());
    };
    let household = &live.household;
    let mut env = BTreeMap::new();
    for name in &program.env {
        let is_secret = permit.secrets.iter().any(|secret| secret.name == *name);
        if let Some(value) = household.ports.variables.get(name).filter(|_| !is_secret) {
            env.insert(name.clone(), value.clone());
        }
    }
    let mut passed = Vec::new();
    for secret in &permit.secrets {
        if let SecretStands::AsVariable(variable) = &secret.stands {
            let value = secrets::value(live, &secret.name).await?;
            env.insert(variable.clone(), value.expose().to_owned());
            passed.push(value);
        }
    }
    let spec = CommandSpec {
        argv: argv.clone(),
        stdin: program.stdin.0.clone(),
        env,
        cwd: program.cwd.clone(),
        wall: Duration::from_millis(u64::from(program.wall_ms)).min(live.remaining()),
        max_output_bytes: MAX_OUTPUT_BYTES.min(
            usize::try_from(household.limits.hostcall.bytes() / 2).unwrap_or(MAX_OUTPUT_BYTES),
        ),
        place: place(live, &program.place)?,
        lock: live.lock.clone(),
    };
    let output = household.ports.commands.run(&spec).await?;
    let mut labels = Vec::new();
    if let Some(signal) = output.signal {
        labels.push(("signal".to_owned(), signal_name(signal)));
    }
    if output.timed_out {
        labels.push(("timed-out".to_owned(), "true".to_owned()));
    }
    // The value went to the program, not to the plugin, which may only have it by `reveal`.
    let mask = |stream: Vec<u8>| {
        Blob(passed.iter().fold(stream, |stream, value| masked(stream, value.expose().as_bytes())))
    };
    Ok(Answer::Output(ProgramOutput {
        status: output.status,
        stdout: mask(output.stdout),
        stderr: mask(output.stderr),
        truncated: output.truncated,
        labels,
    }))
}

fn place(live: &Live, place: &str) -> Result<CommandPlace, EffectError> {
    match place.split_once(':') {
        None if place == "host" => Ok(CommandPlace::Host),
        None if place == "release" => match &live.image {
            Some(image) => Ok(CommandPlace::Image(image.clone())),
            None => Err(EffectError::new(
                FaultKind::Unsupported,
                "there is no image to run the program in: the release does not run as a container",
            )),
        },
        Some(("container", name)) => Ok(CommandPlace::Container(name.to_owned())),
        _ => Err(EffectError::new(
            FaultKind::InvalidConfig,
            format!(
                "a program can't run in `{place}`; use `host`, `release` or `container:<name>`"
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

fn target(of: &str) -> Result<ProcessTarget, EffectError> {
    match of.split_once(':') {
        Some(("pid-file", path)) => Ok(ProcessTarget::PidFile(path.to_owned())),
        Some(("container", name)) => Ok(ProcessTarget::Container(name.to_owned())),
        _ => Err(EffectError::new(
            FaultKind::InvalidConfig,
            format!("`{of}` does not name processes; use `pid-file:<path>` or `container:<name>`"),
        )),
    }
}

pub(super) async fn tree(live: &Live, of: &str) -> Result<Answer, EffectError> {
    let target = target(of)?;
    let found = live.household.ports.commands.tree(&target).await?;
    // The processes of a container are signalled by its engine, whoever we are.
    let ours_to_ask = matches!(target, ProcessTarget::PidFile(_));
    let entry = |info: ProcessInfo| ProcessEntry {
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
    Ok(Answer::Processes(found.into_iter().map(entry).collect()))
}

/// Whether this process may send signals to another one, by the kernel's word; nothing is sent.
fn is_signalable(pid: u32) -> bool {
    let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw);
    pid.is_some_and(|pid| rustix::process::test_kill_process(pid) != Err(rustix::io::Errno::PERM))
}

pub(super) async fn connections(live: &Live, of: &str) -> Result<Answer, EffectError> {
    let found = live.household.ports.commands.connections(&target(of)?).await?;
    let entries = found.into_iter().map(|connection| ConnectionEntry {
        local: connection.local,
        remote: connection.remote,
        pid: connection.pid,
    });
    Ok(Answer::Connections(entries.collect()))
}

pub(super) async fn signal(live: &Live, of: &str, signal: &str) -> Result<Answer, EffectError> {
    live.household.ports.commands.signal(&target(of)?, signal).await?;
    Ok(Answer::Done)
}

pub(super) async fn log_mark(live: &Live, path: &str) -> Result<Answer, EffectError> {
    Ok(Answer::Mark(live.household.ports.commands.log_mark(path).await?))
}

pub(super) async fn log_since(
    live: &Live,
    path: &str,
    mark: u64,
    max_bytes: u32,
) -> Result<Answer, EffectError> {
    let max_bytes = MAX_LOG_BYTES.min(max_bytes as usize);
    let bytes = live.household.ports.commands.log_since(path, mark, max_bytes).await?;
    Ok(Answer::Bytes(Some(Blob(bytes))))
}
