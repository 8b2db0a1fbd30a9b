//! Who holds a lease: a process, told apart from a later one of the same number by its start time,
//! its boot and its process namespace.

use serde::{Deserialize, Serialize};

/// A process that holds a lease, or wants to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    pub user: String,
    /// The machine's name.
    pub host: String,
    /// The process's number.
    pub pid: u32,
    /// When the process started, in the kernel's ticks since boot.
    pub started: u64,
    /// What was typed, for people.
    pub command: String,
    /// The kernel's id of this boot: the same for all containers of a machine, another after a
    /// reboot.
    pub boot: String,
    /// The namespace that the process's number belongs to.
    pub pid_namespace: String,
}

/// What a holder's process does, as far as it can be seen from here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProcessState {
    /// It runs or waits.
    Running,
    /// A signal stopped it, or a debugger.
    Stopped,
    /// It has ended.
    Gone,
    /// It can't be seen from here: another machine, or another container.
    Elsewhere,
}

impl Holder {
    /// This process.
    pub fn this_process(user: impl Into<String>, command: impl Into<String>) -> Self {
        let pid = std::process::id();
        Self {
            user: user.into(),
            host: rustix::system::uname().nodename().to_string_lossy().into_owned(),
            pid,
            started: look_at(pid).map(|(_, started)| started).unwrap_or_default(),
            command: command.into(),
            boot: this_boot(),
            pid_namespace: this_namespace(),
        }
    }

    /// Whether the holder's locks on files are visible from here: the same kernel, up to now.
    pub(crate) fn shares_kernel(&self) -> bool {
        self.boot == this_boot()
    }

    /// Looks at the process. Only [`ProcessState::Running`] and [`ProcessState::Stopped`] say that
    /// `pid` may be sent a signal.
    pub fn process(&self) -> ProcessState {
        if !self.shares_kernel() || self.pid_namespace != this_namespace() {
            return ProcessState::Elsewhere;
        }
        match look_at(self.pid) {
            Some((_, started)) if started != self.started => ProcessState::Gone,
            Some(('Z' | 'X', _)) | None => ProcessState::Gone,
            Some(('T' | 't', _)) => ProcessState::Stopped,
            Some(_) => ProcessState::Running,
        }
    }
}

impl std::fmt::Display for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "`{}@{}`, process {} (`{}`)", self.user, self.host, self.pid, self.command)
    }
}

/// The state letter and start time of a process.
fn look_at(pid: u32) -> Option<(char, u64)> {
    let line = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name stands in brackets and may hold anything, brackets and spaces too.
    let (_, fields) = line.rsplit_once(") ")?;
    let mut fields = fields.split(' ');
    let state = fields.next()?.chars().next()?;
    // Field 22 of the line; the state is field 3.
    let started = fields.nth(18)?.parse().ok()?;
    Some((state, started))
}

fn this_boot() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .map(|id| id.trim().to_owned())
        .unwrap_or_default()
}

fn this_namespace() -> String {
    std::fs::read_link("/proc/self/ns/pid")
        .map(|link| link.to_string_lossy().into_owned())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    #[test]
    fn a_process_is_seen_to_run_to_be_stopped_and_to_be_gone() {
        let mut child = Command::new("sleep").arg("60").stdin(Stdio::null()).spawn().unwrap();
        let pid = rustix::process::Pid::from_child(&child);
        let started = look_at(child.id()).unwrap().1;
        let holder = Holder { pid: child.id(), started, ..Holder::this_process("ann", "sleep 60") };
        assert_eq!(holder.process(), ProcessState::Running);

        rustix::process::kill_process(pid, rustix::process::Signal::STOP).unwrap();
        while holder.process() == ProcessState::Running {
            std::thread::yield_now();
        }
        assert_eq!(holder.process(), ProcessState::Stopped);
        assert_eq!(
            Holder { boot: "another".into(), ..holder.clone() }.process(),
            ProcessState::Elsewhere
        );
        assert_eq!(
            Holder { pid_namespace: "another".into(), ..holder.clone() }.process(),
            ProcessState::Elsewhere
        );

        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(holder.process(), ProcessState::Gone);
    }

    #[test]
    fn a_later_process_of_the_same_number_is_not_the_holder() {
        let holder = Holder::this_process("ann", "agente-host deploy");
        assert_eq!(holder.process(), ProcessState::Running);
        assert_eq!(Holder { started: holder.started + 1, ..holder }.process(), ProcessState::Gone);
    }
}
