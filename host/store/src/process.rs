//! Processes that hold leases: told apart from later ones of the same number by their start time,
//! their boot and their process namespace.

use agente_engine::ports::Holder;
use procfs::process::Process;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// What a holder's process does, as far as it can be seen from here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ProcessState {
    /// It runs or waits.
    Running,
    /// A signal stopped it, or a debugger.
    Stopped,
    /// It has ended.
    Gone,
    /// It can't be seen from here: another machine, or another container.
    Elsewhere,
}

/// This process, as the holder of a lease.
pub fn this_process(user: impl Into<String>, command: impl Into<String>) -> Holder {
    let pid = std::process::id();
    Holder {
        user: user.into(),
        host: rustix::system::uname().nodename().to_string_lossy().into_owned(),
        pid,
        started: look_at(pid).map(|(_, started)| started).unwrap_or_default(),
        command: command.into(),
        boot: this_boot(),
        pid_namespace: this_namespace(),
    }
}

/// Another process of this machine, of which only its number and what was typed are known.
pub(crate) fn process_of(pid: u32, command: String) -> Holder {
    let user = i32::try_from(pid)
        .ok()
        .and_then(|pid| Process::new(pid).ok()?.uid().ok())
        .map_or_else(|| "somebody".to_owned(), |uid| format!("uid {uid}"));
    let started = look_at(pid).map(|(_, started)| started).unwrap_or_default();
    Holder { pid, started, ..this_process(user, command) }
}

/// Whether a holder's locks on files are visible from here: the same kernel, up to now.
pub(crate) fn shares_kernel(holder: &Holder) -> bool {
    holder.boot == this_boot()
}

/// Looks at a holder's process.
pub(crate) fn state_of(holder: &Holder) -> ProcessState {
    if !shares_kernel(holder) || holder.pid_namespace != this_namespace() {
        return ProcessState::Elsewhere;
    }
    match look_at(holder.pid) {
        Some((_, started)) if started != holder.started => ProcessState::Gone,
        Some(('Z' | 'X', _)) | None => ProcessState::Gone,
        Some(('T' | 't', _)) => ProcessState::Stopped,
        Some(_) => ProcessState::Running,
    }
}

/// Kills a holder's process if it is stopped: what it was about to do must not be done later, and
/// what it has locked is freed. Says whether it was.
pub fn kill_stopped(holder: &Holder) -> bool {
    let pid = i32::try_from(holder.pid).ok().and_then(Pid::from_raw);
    // The handle is of one process, whoever gets its number next.
    let Some(handle) = pid.and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok()) else {
        return false;
    };
    state_of(holder) == ProcessState::Stopped && pidfd_send_signal(handle, Signal::KILL).is_ok()
}

/// Tells a holder's process by SIGUSR1 that its deployment is to be taken back, for when that can't
/// be written down. Says whether it will be heard: a process that does not listen to the signal is
/// not sent it, because it would end by it.
pub fn tell_to_take_back(holder: &Holder) -> bool {
    let pid = i32::try_from(holder.pid).ok().and_then(Pid::from_raw);
    // The handle is of one process, whoever gets its number next.
    let Some(handle) = pid.and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok()) else {
        return false;
    };
    state_of(holder) == ProcessState::Running
        && listens_to(holder.pid, Signal::USR1)
        && pidfd_send_signal(handle, Signal::USR1).is_ok()
}

/// Whether a process catches a signal.
fn listens_to(pid: u32, signal: Signal) -> bool {
    let status = i32::try_from(pid).ok().and_then(|pid| Process::new(pid).ok()?.status().ok());
    let bit = u32::try_from(signal.as_raw() - 1).unwrap_or_default();
    status.is_some_and(|status| status.sigcgt.checked_shr(bit).unwrap_or_default() & 1 == 1)
}

/// The state letter and start time of a process.
fn look_at(pid: u32) -> Option<(char, u64)> {
    let stat = Process::new(i32::try_from(pid).ok()?).ok()?.stat().ok()?;
    Some((stat.state, stat.starttime))
}

fn this_boot() -> String {
    procfs::sys::kernel::random::boot_id().map(|id| id.trim().to_owned()).unwrap_or_default()
}

fn this_namespace() -> String {
    std::fs::read_link("/proc/self/ns/pid")
        .map(|link| link.to_string_lossy().into_owned())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt;
    use std::process::{Command, Stdio};

    #[test]
    fn a_process_is_seen_to_run_to_be_stopped_and_to_be_gone() {
        let mut child = Command::new("sleep").arg("60").stdin(Stdio::null()).spawn().unwrap();
        let pid = rustix::process::Pid::from_child(&child);
        let started = look_at(child.id()).unwrap().1;
        let holder = Holder { pid: child.id(), started, ..this_process("ann", "sleep 60") };
        assert_eq!(state_of(&holder), ProcessState::Running);

        rustix::process::kill_process(pid, rustix::process::Signal::STOP).unwrap();
        while state_of(&holder) == ProcessState::Running {
            std::thread::yield_now();
        }
        assert_eq!(state_of(&holder), ProcessState::Stopped);
        let elsewhere = |holder| assert_eq!(state_of(&holder), ProcessState::Elsewhere);
        elsewhere(Holder { boot: "another".into(), ..holder.clone() });
        elsewhere(Holder { pid_namespace: "another".into(), ..holder.clone() });

        assert!(!kill_stopped(&Holder { started: started + 1, ..holder.clone() }), "a stranger");
        assert!(kill_stopped(&holder));
        assert_eq!(child.wait().unwrap().signal(), Some(9));
        assert_eq!(state_of(&holder), ProcessState::Gone);
        assert!(!kill_stopped(&holder));
    }

    #[test]
    fn a_process_that_does_not_listen_to_a_signal_is_not_sent_it() {
        let mut child = Command::new("sleep").arg("60").stdin(Stdio::null()).spawn().unwrap();
        let started = look_at(child.id()).unwrap().1;
        let holder = Holder { pid: child.id(), started, ..this_process("ann", "sleep 60") };
        assert!(!tell_to_take_back(&holder));
        child.kill().unwrap();
        assert_eq!(child.wait().unwrap().signal(), Some(9), "it lived until it was killed");
    }

    #[test]
    fn a_later_process_of_the_same_number_is_not_the_holder() {
        let holder = this_process("ann", "agente-host deploy");
        assert_eq!(state_of(&holder), ProcessState::Running);
        let later = Holder { started: holder.started + 1, ..holder };
        assert_eq!(state_of(&later), ProcessState::Gone);
    }
}
