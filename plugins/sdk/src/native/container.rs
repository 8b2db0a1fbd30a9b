//! Containers, through the `docker` program.

use crate::failure::Failure;
use std::time::{SystemTime, UNIX_EPOCH};

/// Which engine is asked: the one of this socket, or where the environment points.
#[derive(Debug, Clone, Default)]
pub(super) struct Engine {
    pub(super) socket: Option<String>,
}

impl Engine {
    /// A call of the `docker` program, found along the search path: only tests run this.
    pub(super) fn command(&self) -> std::process::Command {
        let mut command = std::process::Command::new("docker");
        if let Some(socket) = &self.socket {
            command.env("DOCKER_HOST", format!("unix://{socket}"));
        }
        command
    }

    fn docker(&self, args: &[&str]) -> Result<std::process::Output, Failure> {
        self.command()
            .args(args)
            .output()
            .map_err(|error| Failure::failed(format!("can't run `docker`: {error}")))
    }

    /// The number of a container's first process, as the host counts.
    pub(super) fn top_pid(&self, name: &str) -> Result<u32, Failure> {
        let output = self.docker(&["inspect", "--format", "{{.State.Pid}}", name])?;
        let text = String::from_utf8_lossy(&output.stdout);
        match text.trim().parse() {
            Ok(0) => Err(Failure::unavailable(format!("the container `{name}` is not running"))
                .label("reason", "not-running")),
            Ok(pid) => Ok(pid),
            Err(_) => Err(Failure::unavailable(format!(
                "there is no container `{name}`: {}",
                String::from_utf8_lossy(&output.stderr).trim()
            ))
            .label("reason", "no-container")),
        }
    }

    pub(super) fn log_mark(&self, name: &str) -> Result<u64, Failure> {
        self.top_pid(name)?;
        Ok(SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX)))
    }

    pub(super) fn log_since(
        &self,
        name: &str,
        mark: u64,
        max_bytes: u32,
    ) -> Result<Vec<u8>, Failure> {
        let since = format!("{}.{:03}", mark / 1000, mark % 1000);
        let output = self.docker(&["logs", "--since", &since, name])?;
        let mut bytes = output.stdout;
        bytes.extend_from_slice(&output.stderr);
        let from = bytes.len().saturating_sub(usize::try_from(max_bytes).unwrap_or(usize::MAX));
        Ok(bytes.split_off(from))
    }

    /// Sends a signal to a container's first process.
    pub(super) fn kill(&self, name: &str, signal: &str) -> Result<(), Failure> {
        let output = self.docker(&["kill", "--signal", signal, name])?;
        if output.status.success() {
            Ok(())
        } else {
            Err(Failure::failed(format!(
                "can't send {signal} to the container `{name}`: {}",
                String::from_utf8_lossy(&output.stderr).trim()
            )))
        }
    }
}
