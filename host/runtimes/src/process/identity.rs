//! A process that can be found again: its number, when it started, and in which boot.
//!
//! Invariant: nothing in this crate signals a process by its number alone. The number is turned
//! into a process handle first, and the handle's start time is compared after it was taken, so that
//! a number that has been given to a stranger since is never hit.

use procfs::process::{Process, Stat};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::OnceLock;

/// Which process: not only its number, which the kernel gives out again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ProcessIdentity {
    /// Its number.
    pub(crate) pid: u32,
    /// When it started, in clock ticks since boot.
    pub(crate) started: u64,
    /// The boot that it belongs to.
    pub(crate) boot: String,
}

/// The id of this boot; empty where the kernel does not tell, which then matches nothing but
/// itself.
pub(crate) fn boot_id() -> &'static str {
    static BOOT: OnceLock<String> = OnceLock::new();
    BOOT.get_or_init(|| procfs::sys::kernel::random::boot_id().unwrap_or_default())
}

/// Whether a process in this state has ended already and only waits for its parent to notice.
pub(crate) fn has_ended(stat: &Stat) -> bool {
    matches!(stat.state, 'Z' | 'X' | 'x')
}

/// What the kernel says of a process; none when it is gone.
pub(crate) fn stat_of(pid: u32) -> Option<Stat> {
    Process::new(i32::try_from(pid).ok()?).ok()?.stat().ok()
}

impl ProcessIdentity {
    /// Takes the identity of the process that has this number now; none when there is none, or it
    /// has ended.
    pub(crate) fn of(pid: u32) -> Option<Self> {
        stat_of(pid).filter(|stat| !has_ended(stat)).and_then(|stat| Self::from_stat(&stat))
    }

    /// Takes the identity from what was read of a process.
    pub(crate) fn from_stat(stat: &Stat) -> Option<Self> {
        Some(Self {
            pid: u32::try_from(stat.pid).ok()?,
            started: stat.starttime,
            boot: boot_id().to_owned(),
        })
    }

    /// Whether this very process still runs.
    pub(crate) fn is_alive(&self) -> bool {
        self.boot == boot_id()
            && stat_of(self.pid)
                .is_some_and(|stat| stat.starttime == self.started && !has_ended(&stat))
    }

    /// Whether the number belongs to another process now, or the machine has been started again.
    pub(crate) fn was_replaced(&self) -> bool {
        self.boot != boot_id()
            || stat_of(self.pid).is_some_and(|stat| stat.starttime != self.started)
    }

    /// Opens a handle that becomes readable when the process ends; none when it is gone.
    pub(crate) fn open(&self) -> io::Result<Option<OwnedFd>> {
        let Some(pid) = i32::try_from(self.pid).ok().and_then(Pid::from_raw) else {
            return Ok(None);
        };
        match pidfd_open(pid, PidfdFlags::empty()) {
            // Looked at after the handle was taken: what is alive now with our start time is what
            // the handle holds.
            Ok(handle) => Ok(self.is_alive().then_some(handle)),
            Err(Errno::SRCH) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Sends a signal to this very process. False when it was gone.
    pub(crate) fn signal(&self, signal: Signal) -> io::Result<bool> {
        let Some(handle) = self.open()? else {
            return Ok(false);
        };
        match pidfd_send_signal(&handle, signal) {
            Ok(()) => Ok(true),
            Err(Errno::SRCH) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn a_number_with_another_start_time_is_a_stranger_and_is_not_signalled() {
        let mut stranger = Command::new("sleep").arg("60").spawn().unwrap();
        let real = ProcessIdentity::of(stranger.id()).unwrap();
        let recycled = ProcessIdentity { started: real.started - 1, ..real.clone() };
        let other_boot = ProcessIdentity { boot: "another".to_owned(), ..real.clone() };
        assert!(
            !recycled.is_alive()
                && recycled.was_replaced()
                && !other_boot.is_alive()
                && other_boot.was_replaced()
        );
        assert!(
            !recycled.signal(Signal::KILL).unwrap() && !other_boot.signal(Signal::KILL).unwrap()
        );
        assert!(real.is_alive() && !real.was_replaced(), "the stranger lives on");
        assert!(real.signal(Signal::KILL).unwrap());
        stranger.wait().unwrap();
        assert!(!real.is_alive() && !real.signal(Signal::KILL).unwrap());
    }

    #[test]
    fn a_process_that_nobody_has_waited_for_counts_as_ended() {
        let mut child = Command::new("true").spawn().unwrap();
        let handle = pidfd_open(
            Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap(),
            PidfdFlags::empty(),
        )
        .unwrap();
        rustix::event::poll(
            &mut [rustix::event::PollFd::new(&handle, rustix::event::PollFlags::IN)],
            None,
        )
        .unwrap();
        assert_eq!(ProcessIdentity::of(child.id()), None);
        child.wait().unwrap();
    }
}
