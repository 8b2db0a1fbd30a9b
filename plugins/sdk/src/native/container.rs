//! Containers, through the `docker` program; which engine it asks is the test's environment.

use crate::failure::Failure;
use std::time::{SystemTime, UNIX_EPOCH};

/// Found along the search path: only tests run this.
pub(super) const DOCKER: &str = "docker";

fn docker(args: &[&str]) -> Result<std::process::Output, Failure> {
    std::process::Command::new(DOCKER).args(args).output().map_err(|error| Failure::failed(format!("can't run `{DOCKER}`: {error}")))
}

/// The number of a container's first process, as the host counts.
pub(super) fn top_pid(name: &str) -> Result<u32, Failure> {
    let output = docker(&["inspect", "--format", "{{.State.Pid}}", name])?;
    let text = String::from_utf8_lossy(&output.stdout);
    match text.trim().parse() {
        Ok(0) => Err(Failure::unavailable(format!("the container `{name}` does not run")).label("reason", "not-running")),
        Ok(pid) => Ok(pid),
        Err(_) => {
            Err(Failure::unavailable(format!("there is no container `{name}`: {}", String::from_utf8_lossy(&output.stderr).trim()))
                .label("reason", "no-container"))
        }
    }
}

pub(super) fn log_mark(name: &str) -> Result<u64, Failure> {
    top_pid(name)?;
    Ok(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX)))
}

pub(super) fn log_since(name: &str, mark: u64, max_bytes: u32) -> Result<Vec<u8>, Failure> {
    let since = format!("{}.{:03}", mark / 1000, mark % 1000);
    let output = docker(&["logs", "--since", &since, name])?;
    let mut bytes = output.stdout;
    bytes.extend_from_slice(&output.stderr);
    let from = bytes.len().saturating_sub(usize::try_from(max_bytes).unwrap_or(usize::MAX));
    Ok(bytes.split_off(from))
}

/// Sends a signal to a container's first process.
pub(super) fn kill(name: &str, signal: &str) -> Result<(), Failure> {
    let output = docker(&["kill", "--signal", signal, name])?;
    if output.status.success() {
        Ok(())
    } else {
        Err(Failure::failed(format!("can't send {signal} to the container `{name}`: {}", String::from_utf8_lossy(&output.stderr).trim())))
    }
}
