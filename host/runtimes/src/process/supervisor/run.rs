//! One run of a backend: started by this supervisor, or found running when its own supervisor was
//! gone.

use crate::process::exit::Exit;
use crate::process::identity::{ProcessIdentity, stat_of};
use crate::process::log_file::LogFile;
use crate::process::record::{Spec, now};
use crate::process::tree::{Traces, descendants_of_self};
use agente_engine::names::Timestamp;
use rustix::process::{Pid, PidfdFlags, WaitOptions, pidfd_open};
use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// A program file that was being written a moment ago can't be run yet: how often and how long that
/// is waited for.
const BUSY_TRIES: u32 = 25;
const BUSY_WAIT: Duration = Duration::from_millis(20);

/// A backend that runs.
pub(super) struct Run {
    pub(super) process: ProcessIdentity,
    /// Readable when it has ended.
    pub(super) handle: OwnedFd,
    /// Since when, on the wall.
    pub(super) since: Timestamp,
    /// Since when this supervisor sees it.
    began: Instant,
    /// Where it was found running, what its processes are found by.
    found_by: Option<Traces>,
    exit: Option<Exit>,
}

impl Run {
    /// Starts the backend's process in a group of its own, with exactly the environment of the
    /// specification and the secrets.
    pub(super) fn start(
        spec: &Spec,
        secrets: &BTreeMap<String, String>,
        log: &LogFile,
    ) -> io::Result<Self> {
        let output = log.open()?;
        let (name, arguments) = spec
            .argv
            .split_first()
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the command is empty"))?;
        let mut command = Command::new(&spec.program);
        command
            .arg0(name)
            .args(arguments)
            .env_clear()
            .envs(&spec.env)
            .envs(secrets)
            .current_dir(&spec.folder);
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output).process_group(0);
        let mut tries = 0;
        let child = loop {
            match command.spawn() {
                Err(error)
                    if error.kind() == io::ErrorKind::ExecutableFileBusy && tries < BUSY_TRIES =>
                {
                    tries += 1;
                    std::thread::sleep(BUSY_WAIT);
                }
                spawned => break spawned?,
            }
        };
        // Not waited for yet, so the number is its own even if it has ended already.
        let since = now();
        let gone = || io::Error::other("the process can't be inspected");
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).ok_or_else(gone)?;
        let handle = pidfd_open(pid, PidfdFlags::empty())?;
        let process = stat_of(child.id())
            .and_then(|stat| ProcessIdentity::from_stat(&stat))
            .ok_or_else(gone)?;
        Ok(Self { process, handle, since, began: Instant::now(), found_by: None, exit: None })
    }

    /// Takes over a process that runs already; none when it has ended.
    pub(super) fn adopt(
        process: ProcessIdentity,
        since: Timestamp,
        found_by: Traces,
    ) -> io::Result<Option<Self>> {
        Ok(process.open()?.map(|handle| Self {
            process,
            handle,
            since,
            began: Instant::now(),
            found_by: Some(found_by),
            exit: None,
        }))
    }

    /// How long it has run under this supervisor.
    pub(super) fn length(&self) -> Duration {
        self.began.elapsed()
    }

    /// All processes of the run that are still there.
    pub(super) fn processes(&self) -> Vec<ProcessIdentity> {
        let mut all = descendants_of_self();
        if let Some(traces) = &self.found_by {
            all.extend(traces.find());
        }
        all
    }

    /// Lets go of every child that has ended, and keeps how the backend's own process did.
    pub(super) fn reap(&mut self) {
        while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
            if u32::try_from(pid.as_raw_nonzero().get()).is_ok_and(|pid| pid == self.process.pid) {
                self.exit = Some(status.into());
            }
        }
    }

    /// How it ended.
    pub(super) fn exit(&mut self) -> Exit {
        self.reap();
        self.exit.unwrap_or(Exit::Unseen)
    }
}
