//! The processes of a pid file: the one it names, and its descendants.

use crate::process::{ProcessIdentity, has_ended, signal_number};
use agente_engine::fault::{Fault, FaultKind};
use agente_engine::ports::{ProcessError, ProcessInfo};
use procfs::process::{Process, Stat, all_processes};
use rustix::process::Signal;
use std::io;
use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

/// A process of a target.
pub(super) struct Member {
    /// What is told of it.
    pub(super) info: ProcessInfo,
    /// Its open door in `/proc`, which can't become another process's.
    pub(super) process: Process,
}

/// The process that a pid file names.
fn read(path: &str) -> Result<u32, ProcessError> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(ProcessError::NoPidFile(path.to_owned()));
        }
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            return Err(ProcessError::BadPidFile(path.to_owned()));
        }
        Err(error) => {
            let fault =
                Fault::new(FaultKind::Failed, format!("the pid file `{path}` can't be read"))
                    .hint("check that you have permission to read it");
            return Err(ProcessError::Other(fault.because(&error)));
        }
    };
    text.trim()
        .parse()
        .ok()
        .filter(|pid| *pid > 0 && i32::try_from(*pid).is_ok())
        .ok_or_else(|| ProcessError::BadPidFile(path.to_owned()))
}

fn not_running(pid: u32, path: &str) -> ProcessError {
    ProcessError::NotRunning(format!("process {pid} of the pid file `{path}`"))
}

/// The processes, parents before children, siblings by number.
pub(super) fn tree(path: &str) -> Result<Vec<Member>, ProcessError> {
    let pid = read(path)?;
    let all: Vec<(Process, Stat)> = all_processes()
        .map_err(|error| {
            ProcessError::Other(
                Fault::new(FaultKind::Failed, "processes can't be read from `/proc`")
                    .because(&error),
            )
        })?
        .filter_map(|process| {
            process.ok().and_then(|process| process.stat().ok().map(|stat| (process, stat)))
        })
        .filter(|(_, stat)| !has_ended(stat))
        .collect();
    let mut rest = all;
    let mut members = Vec::new();
    let mut generation = vec![i32::try_from(pid).unwrap_or_default()];
    let mut children_of_first = false;
    while !generation.is_empty() {
        let belongs = |stat: &Stat| {
            if children_of_first {
                generation.contains(&stat.ppid)
            } else {
                generation.contains(&stat.pid)
            }
        };
        let (mut found, others): (Vec<_>, Vec<_>) =
            rest.into_iter().partition(|(_, stat)| belongs(stat));
        rest = others;
        found.sort_by_key(|(_, stat)| stat.pid);
        generation = found.iter().map(|(_, stat)| stat.pid).collect();
        members.extend(
            found.into_iter().filter_map(|(process, stat)| {
                Some(Member { info: info(&process, &stat)?, process })
            }),
        );
        children_of_first = true;
    }
    if members.is_empty() { Err(not_running(pid, path)) } else { Ok(members) }
}

fn info(process: &Process, stat: &Stat) -> Option<ProcessInfo> {
    let title = process
        .cmdline()
        .map(|words| words.join(" ").trim().to_owned())
        .ok()
        .filter(|title| !title.is_empty());
    Some(ProcessInfo {
        pid: u32::try_from(stat.pid).ok()?,
        parent: u32::try_from(stat.ppid).unwrap_or_default(),
        title: title.unwrap_or_else(|| format!("[{}]", stat.comm)),
        started_ms: started_ms(stat.starttime),
    })
}

/// When a process started, from its clock ticks since boot. The moment of boot is taken once, so
/// that the same process has the same answer each time.
fn started_ms(ticks: u64) -> u64 {
    static BOOTED_MS: OnceLock<Option<u64>> = OnceLock::new();
    let booted = BOOTED_MS.get_or_init(|| {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .ok()
            .and_then(|now| u64::try_from(now.as_millis()).ok())?;
        let up = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        now.checked_sub(
            u64::try_from(up.tv_sec).ok()? * 1000 + u64::try_from(up.tv_nsec).ok()? / 1_000_000,
        )
    });
    booted
        .map_or(0, |booted| booted + ticks.saturating_mul(1000) / procfs::ticks_per_second().max(1))
}

/// Sends a signal to the process that the pid file names.
pub(super) fn signal(path: &str, name: &str) -> Result<(), ProcessError> {
    let Some(signal) = signal_number(name).and_then(Signal::from_named_raw) else {
        let fault = Fault::new(FaultKind::InvalidConfig, format!("`{name}` is not a signal"))
            .hint("write it without `SIG`: `HUP`, `USR1`, `QUIT`, `TERM` …");
        return Err(ProcessError::Other(fault));
    };
    let pid = read(path)?;
    let top = ProcessIdentity::of(pid).ok_or_else(|| not_running(pid, path))?;
    match top.signal(signal) {
        Ok(true) => Ok(()),
        Ok(false) => Err(not_running(pid, path)),
        Err(error) => {
            let fault = Fault::new(
                FaultKind::Failed,
                format!("SIG{name} can't be sent to process {pid} of the pid file `{path}`"),
            )
            .hint(
                "it belongs to another user: run as that user, or grant a command such as `nginx \
                -s reload` with a prefix",
            );
            Err(ProcessError::Other(fault.because(&error)))
        }
    }
}
