//! Programs, with the standard library: empty environment, own process group, wall-clock limit.

use super::container::Engine;
use crate::failure::Failure;
use crate::host::{Command, Output};
use std::io::{Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::Stdio;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// How much of each stream is kept.
const MAX_OUTPUT_BYTES: usize = 1024 * 1024;

pub(super) fn run(engine: &Engine, command: &Command) -> Result<Output, Failure> {
    if let Some(name) = command.place.strip_prefix("container:") {
        let mut process = engine.command();
        process.args(["exec", name, &command.program]).args(&command.args);
        return start(process, command);
    }
    if command.place != "host" {
        return Err(Failure::unsupported(format!(
            "a program can't be run in `{}` natively",
            command.place
        )));
    }
    let mut process = std::process::Command::new(&command.program);
    process.args(&command.args).env_clear();
    process.envs(
        command.env.iter().filter_map(|name| std::env::var(name).ok().map(|value| (name, value))),
    );
    if let Some(cwd) = &command.cwd {
        process.current_dir(cwd);
    }
    start(process, command)
}

fn start(mut process: std::process::Command, command: &Command) -> Result<Output, Failure> {
    let program = &command.program;
    let failed = |error: std::io::Error| Failure::failed(format!("can't run `{program}`: {error}"));
    process.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    let mut child = process.spawn().map_err(failed)?;
    let group = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw);
    if let Some(mut stdin) = child.stdin.take() {
        let _closed_early = stdin.write_all(&command.stdin); // a program need not read what it is given
    }
    let (out, err) = (drain(child.stdout.take()), drain(child.stderr.take()));
    let (done, ended) = mpsc::channel();
    let waiter = thread::spawn(move || {
        let status = child.wait();
        let _nobody_waits = done.send(());
        status
    });
    let timed_out = ended.recv_timeout(command.wall.max(Duration::from_millis(1))).is_err();
    if timed_out && let Some(group) = group {
        let _gone_already =
            rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
    }
    let status = waiter
        .join()
        .map_err(|_| Failure::failed(format!("waiting for `{program}` failed")))?
        .map_err(failed)?;
    let (stdout, cut_out) = out.join().unwrap_or_default();
    let (stderr, cut_err) = err.join().unwrap_or_default();
    let mut labels = Vec::new();
    if let Some(signal) = status.signal() {
        labels.push(("signal".to_owned(), signal.to_string()));
    }
    if timed_out {
        labels.push(("timed-out".to_owned(), "true".to_owned()));
    }
    Ok(Output { status: status.code(), stdout, stderr, truncated: cut_out || cut_err, labels })
}

fn drain(stream: Option<impl Read + Send + 'static>) -> thread::JoinHandle<(Vec<u8>, bool)> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut stream) = stream {
            let _ended = stream.read_to_end(&mut bytes);
        }
        let cut = bytes.len() > MAX_OUTPUT_BYTES;
        bytes.truncate(MAX_OUTPUT_BYTES);
        (bytes, cut)
    })
}
