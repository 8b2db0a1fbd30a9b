//! The supervisor: a small process in its own session that keeps one backend running until it is
//! told to end.
//!
//! Invariants: it holds the exclusive lock of its directory for its whole life, so there is never a
//! second one; it has no parent and no terminal, so nothing that ends the host ends it; it knows
//! the secrets from the handover alone and never writes them; when it is killed, the backend serves
//! on, and the next supervisor takes it over.

mod run;
mod wake;

use crate::process::backoff::Backoff;
use crate::process::directory::BackendDirectory;
use crate::process::identity::ProcessIdentity;
use crate::process::log_file::LogFile;
use crate::process::record::{
    Handover, RunPhase, Spec, StartReport, Status, StopRequest, SupervisorRecord, now,
};
use crate::process::tree::{Traces, kill_until_gone, signal_all};
use procfs::process::Process;
use run::Run;
use rustix::io::Errno;
use rustix::process::Signal;
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};
use wake::Wake;

/// How often the log's size is looked at.
const LOG_CHECK: Duration = Duration::from_millis(500);

/// How often the processes of a stopping backend are counted once its main process has ended.
const RECOUNT: Duration = Duration::from_millis(15);

/// A host looks at the lock for a moment while it prepares: how often and how long that is waited
/// for.
const LOCK_TRIES: u32 = 100;
const LOCK_WAIT: Duration = Duration::from_millis(10);

/// Supervises the backend of this directory until it is told to end. The body of a hidden command;
/// never returns before that, takes no terminal, starts no thread, and must be called before any
/// thread is started.
///
/// The caller's process is started by [`ProcessRuntime`](crate::process::ProcessRuntime), which
/// hands the secrets over on standard input and reads one line from standard output. The process
/// leaves its parent and its session by starting itself once more, with the same arguments.
pub fn supervise(directory: &Path) -> ExitCode {
    match rustix::process::setsid() {
        Ok(_) => {}
        // A group's leader can't open a session; its child can, and is nobody's child once we are
        // gone.
        Err(Errno::PERM) => return start_again(),
        Err(_) => return ExitCode::FAILURE,
    }
    match Supervisor::prepare(directory) {
        Ok(supervisor) => supervisor.run(),
        Err(_) => ExitCode::FAILURE,
    }
}

fn start_again() -> ExitCode {
    keep_nothing_else();
    let mut arguments = std::env::args_os();
    let mut again = Command::new("/proc/self/exe");
    if let Some(name) = arguments.next() {
        again.arg0(name);
    }
    match again.args(arguments).spawn() {
        Ok(_) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// Lets whatever the host itself was started with beyond the standard streams end at the next
/// program: a lock or a pipe of a script that called the host must not be held for as long as a
/// backend lives.
fn keep_nothing_else() {
    let open = Process::myself().and_then(|own| own.fd()).into_iter().flatten().flatten();
    for number in open.map(|file| file.fd).filter(|number| *number > 2) {
        // SAFETY: the descriptor was open a moment ago and nothing else runs in this process;
        // should it have been closed since, the call fails.
        let descriptor = unsafe { BorrowedFd::borrow_raw(number) };
        let _closed_since = rustix::io::fcntl_setfd(descriptor, rustix::io::FdFlags::CLOEXEC);
    }
}

/// Why a supervisor did not begin. It was told to the host already, where there was one to tell.
struct NotBegun;

/// How a wait ended.
enum Told {
    /// What was waited for is there.
    Done,
    /// To end.
    Stop(StopRequest),
}

struct Supervisor {
    directory: BackendDirectory,
    spec: Spec,
    secrets: BTreeMap<String, String>,
    log: LogFile,
    wake: Wake,
    backoff: Backoff,
    restarts: u32,
    last_exit: Option<String>,
    host: Option<File>,
    _lock: File,
}

impl Supervisor {
    fn prepare(directory: &Path) -> Result<Self, NotBegun> {
        let mut wake = Wake::new().map_err(|_| NotBegun)?;
        let directory = directory.canonicalize().map(BackendDirectory::at).map_err(|_| NotBegun)?;
        let handover: Handover = {
            let mut text = Vec::new();
            io::stdin().read_to_end(&mut text).map_err(|_| NotBegun)?;
            // Cut short: the host died before it had handed everything over.
            serde_json::from_slice(&text).map_err(|_| NotBegun)?
        };
        let host = leave_streams(directory.path());
        let mut host = host.map_err(|_| NotBegun)?;
        let Some(lock) = take_lock(&directory) else {
            tell_host(&mut host, &StartReport::Supervised);
            return Err(NotBegun);
        };
        let spec = match directory.spec() {
            Ok(Some(spec)) if spec.fingerprint == handover.fingerprint => spec,
            Ok(_) => {
                tell_host(
                    &mut host,
                    &StartReport::Failed {
                        message: "the specification was replaced while the supervisor started"
                            .to_owned(),
                    },
                );
                return Err(NotBegun);
            }
            Err(error) => {
                tell_host(&mut host, &StartReport::Failed { message: error.to_string() });
                return Err(NotBegun);
            }
        };
        wake.hear_changes_in(directory.path());
        let _without_reaping =
            rustix::process::set_child_subreaper(rustix::process::Pid::from_raw(1));
        let log = LogFile::at(directory.log());
        let backoff = Backoff::new(&spec.limits);
        Ok(Self {
            directory,
            spec,
            secrets: handover.secrets,
            log,
            wake,
            backoff,
            restarts: 0,
            last_exit: None,
            host,
            _lock: lock,
        })
    }

    fn run(mut self) -> ExitCode {
        let found = self.take_over();
        let first = match found {
            Some(run) => Ok(run),
            None => Run::start(&self.spec, &self.secrets, &self.log),
        };
        let mut run = match first {
            Ok(run) => run,
            Err(error) => {
                let message = start_failure(&self.spec, &error);
                self.log.note(&message);
                self.end(false, message.clone());
                tell_host(&mut self.host, &StartReport::Failed { message });
                return ExitCode::FAILURE;
            }
        };
        loop {
            self.write(RunPhase::Running { process: run.process.clone(), since: run.since });
            tell_host(&mut self.host, &StartReport::Running);
            if let Told::Stop(request) = self.await_end(&mut run) {
                return self.stop(Some(&mut run), request);
            }
            self.last_exit = Some(run.exit().to_string());
            // What the backend left behind would hold its port.
            if !kill_until_gone(|| run.processes()) {
                self.log.note("processes of the previous run can't be killed");
            }
            run.reap();
            match self.restart(run.length()) {
                Ok(next) => run = next,
                Err(request) => return self.stop(None, request),
            }
        }
    }

    /// Takes over what an earlier supervisor left running, and says that it is us who supervise
    /// now.
    fn take_over(&mut self) -> Option<Run> {
        let before = self.directory.supervisor().ok().flatten();
        let status = self.directory.status().ok().flatten();
        let same = status.filter(|status| status.fingerprint == self.spec.fingerprint);
        let mut supervisors: Vec<ProcessIdentity> = before
            .map(|record| std::iter::once(record.process).chain(record.before).collect())
            .unwrap_or_default();
        supervisors.truncate(8);
        let traces = Traces {
            backend: self.spec.identity.backend.clone(),
            leader: same.as_ref().and_then(|status| status.process().cloned()),
            supervisors: supervisors.clone(),
        };
        let found = same.and_then(|status| {
            self.restarts = status.restarts;
            self.last_exit = status.last_exit;
            let (RunPhase::Running { process, since }
            | RunPhase::Stopping { process: Some(process), since }) = status.phase
            else {
                return None;
            };
            Run::adopt(process, since, traces.clone()).ok().flatten()
        });
        if let Some(own) = ProcessIdentity::of(std::process::id()) {
            let kept = if found.is_some() { supervisors } else { Vec::new() };
            if self
                .directory
                .write_supervisor(&SupervisorRecord { process: own, before: kept })
                .is_err()
            {
                self.log.note("`supervisor.json` can't be written");
            }
        }
        match &found {
            Some(run) => self.log.note(&format!(
                "found running as process {}; supervising it again",
                run.process.pid
            )),
            None => {
                kill_until_gone(|| traces.find());
            }
        }
        found
    }

    /// Waits until the run has ended, or until told to end.
    fn await_end(&mut self, run: &mut Run) -> Told {
        loop {
            let ended = self.wake.wait(Some(run.handle.as_fd()), LOG_CHECK);
            if let Err(error) = self
                .log
                .rotate_when_over(self.spec.limits.log_max_bytes, self.spec.limits.log_files)
            {
                tracing::debug!(%error, "the log can't be rotated");
            }
            // Looked at first: a backend that was told to end by its operator as well must not come
            // back.
            if let Some(request) = self.stop_request() {
                return Told::Stop(request);
            }
            if ended {
                return Told::Done;
            }
            run.reap();
        }
    }

    /// Starts the backend again after a wait, as often as it takes.
    fn restart(&mut self, mut length: Duration) -> Result<Run, StopRequest> {
        loop {
            let wait = self.backoff.after(length);
            let ended = self.last_exit.clone().unwrap_or_default();
            self.log.note(&format!(
                "{ended} after {length:.1?}; restarting in {wait:?} (restart {})",
                self.restarts + 1
            ));
            self.write(RunPhase::Waiting { until: now().after(wait) });
            if let Told::Stop(request) = self.pause(wait) {
                return Err(request);
            }
            self.restarts += 1;
            match Run::start(&self.spec, &self.secrets, &self.log) {
                Ok(run) => return Ok(run),
                Err(error) => {
                    self.last_exit = Some(start_failure(&self.spec, &error));
                    length = Duration::ZERO;
                }
            }
        }
    }

    fn pause(&mut self, wait: Duration) -> Told {
        let end = Instant::now() + wait;
        loop {
            if let Some(request) = self.stop_request() {
                return Told::Stop(request);
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Told::Done;
            }
            self.wake.wait(None, left);
        }
    }

    fn stop_request(&self) -> Option<StopRequest> {
        match self.directory.stop() {
            Ok(Some(request)) => Some(request),
            _ => self.wake.told_to_end().then_some(StopRequest { grace: self.spec.stop_grace }),
        }
    }

    /// Asks every process of the run to end, kills what is left after the grace, and ends.
    fn stop(&mut self, run: Option<&mut Run>, request: StopRequest) -> ExitCode {
        let Some(run) = run else {
            self.end(false, "retired between two runs".to_owned());
            return ExitCode::SUCCESS;
        };
        self.write(RunPhase::Stopping { process: Some(run.process.clone()), since: run.since });
        let began = Instant::now();
        let mut grace = request.grace;
        signal_all(&run.processes(), Signal::TERM);
        let killed = loop {
            run.reap();
            let left = run.processes();
            if left.is_empty() {
                break false;
            }
            // A later request may be less patient.
            grace =
                self.directory.stop().ok().flatten().map_or(grace, |later| later.grace.min(grace));
            let remaining = grace.saturating_sub(began.elapsed());
            if remaining.is_zero() {
                kill_until_gone(|| run.processes());
                break true;
            }
            let leads = left.contains(&run.process);
            let handle = leads.then(|| run.handle.as_fd());
            self.wake.wait(handle, remaining.min(if leads { LOG_CHECK } else { RECOUNT }));
        };
        let exit = run.exit();
        self.last_exit = Some(exit.to_string());
        self.log.note(&format!("stopped after {:.1?}: {exit}", began.elapsed()));
        self.end(killed, format!("stopped: {exit}"));
        ExitCode::SUCCESS
    }

    fn end(&mut self, killed: bool, reason: String) {
        self.write(RunPhase::Ended { killed, reason });
    }

    fn write(&self, phase: RunPhase) {
        let status = Status {
            fingerprint: self.spec.fingerprint.clone(),
            phase,
            restarts: self.restarts,
            last_exit: self.last_exit.clone(),
        };
        // A full disk must not end a backend. What is lost is found again by the session's
        // processes.
        if self.directory.write_status(&status).is_err() {
            self.log.note("`status.json` can't be written");
        }
    }
}

fn start_failure(spec: &Spec, error: &io::Error) -> String {
    let program = spec.program.display();
    if error.kind() == io::ErrorKind::NotFound && spec.program.exists() {
        return format!(
            "`{program}` can't be started: its interpreter or loader does not exist on this machine"
        );
    }
    format!("`{program}` can't be started: {error}")
}

/// Gives the standard streams back: input and output end for the host, and nothing of the host's
/// stays open. Returns where the host listens.
fn leave_streams(directory: &Path) -> io::Result<Option<File>> {
    let host = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    let nothing = OpenOptions::new().read(true).write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdin(&nothing)?;
    rustix::stdio::dup2_stdout(&nothing)?;
    // What a bug of ours would print belongs beside what the backend prints.
    rustix::stdio::dup2_stderr(LogFile::at(directory.join("log")).open()?)?;
    std::env::set_current_dir("/")?;
    Ok(Some(host))
}

fn take_lock(directory: &BackendDirectory) -> Option<File> {
    for _ in 0..LOCK_TRIES {
        match directory.try_supervisor_lock() {
            Ok(Some(lock)) => return Some(lock),
            Ok(None) => std::thread::sleep(LOCK_WAIT),
            Err(_) => return None,
        }
    }
    None
}

/// Answers the host, once; it may be gone.
fn tell_host(host: &mut Option<File>, report: &StartReport) {
    if let Some(mut host) = host.take() {
        let _host_gone = serde_json::to_vec(report).map(|line| host.write_all(&line));
    }
}
