//! A program in a process group of its own, which ends as a group: at its end, at its limit, or
//! when nobody waits for it any more. Only what the kernel lets nobody but another user end is left
//! to itself.

use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, kill_process_group, pidfd_open, waitid,
};
use std::io;
use std::os::fd::OwnedFd;
use std::process::{Child, ExitStatus};
use std::time::Duration;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// How long a program that was killed may take to end: a large one has much to give back.
const END_AFTER_KILL: Duration = Duration::from_secs(1);

/// A started program. Its number, and with it that of its group, stays its own until it is waited
/// for, which happens last.
pub(super) struct ProcessGroup {
    child: Option<Child>,
    leader: Pid,
    ended: AsyncFd<OwnedFd>,
}

impl ProcessGroup {
    /// Takes charge of a program that leads its group.
    pub(super) fn new(mut child: Child) -> io::Result<Self> {
        let watched = i32::try_from(child.id())
            .ok()
            .and_then(Pid::from_raw)
            .ok_or_else(|| io::Error::other("a process without a number"))
            .and_then(|leader| Ok((leader, watch(leader)?)));
        match watched {
            Ok((leader, ended)) => Ok(Self { child: Some(child), leader, ended }),
            Err(error) => {
                let _ended = child.kill();
                let _reaped = child.wait();
                Err(error)
            }
        }
    }

    /// The program's standard streams.
    pub(super) fn streams(&mut self) -> Option<&mut Child> {
        self.child.as_mut()
    }

    /// Returns when the program itself has ended. It is not waited for yet: its group can still be
    /// named.
    pub(super) async fn ended(&self) -> io::Result<()> {
        self.ended.readable().await.map(drop)
    }

    /// Kills all that is left of the group.
    pub(super) fn kill(&self) {
        let _all_gone = kill_process_group(self.leader, Signal::KILL);
    }

    /// Kills what is left of the group and tells how the program ended; none where it goes on,
    /// because it runs as another user (`sudo`) or waits in the kernel. It is waited for behind
    /// our back then.
    pub(super) async fn finish(mut self) -> io::Result<Option<ExitStatus>> {
        self.kill();
        match tokio::time::timeout(END_AFTER_KILL, self.ended()).await {
            Ok(ended) => ended?,
            Err(_) => return Ok(None),
        }
        match self.child.take() {
            Some(mut child) => child.wait().map(Some),
            None => Err(io::Error::other("waited for twice")),
        }
    }
}

/// A handle that is readable once the process has ended.
fn watch(leader: Pid) -> io::Result<AsyncFd<OwnedFd>> {
    let handle = pidfd_open(leader, PidfdFlags::NONBLOCK)?;
    // SAFETY: the handle is owned by what is returned, is not replaced through it, and stays open
    // until it is dropped.
    Ok(unsafe { AsyncFd::register_with_interest(handle, Interest::READABLE) }?)
}

impl Drop for ProcessGroup {
    fn drop(&mut self) {
        let Some(mut child) = self.child.take() else {
            return;
        };
        self.kill();
        // Killed, so at its end in a moment; a process that waits in the kernel must not hold up
        // the caller.
        let ended = waitid(
            WaitId::Pid(self.leader),
            WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT,
        );
        if matches!(ended, Ok(Some(_))) {
            let _reaped = child.wait();
        } else {
            std::thread::spawn(move || child.wait());
        }
    }
}
