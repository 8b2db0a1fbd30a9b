//! The processes that belong to one backend: what it started, what they started, and what was left
//! behind.
//!
//! A supervisor is the reaper of its descendants, so that while it lives its descendants are
//! exactly the backend's processes. After it was killed they are found by what stays: the backend's
//! own identity, its process group, and the session that the supervisor had opened. A group
//! or session is trusted by number only while the process that gave it its number can't have been
//! replaced; else a process must also carry the backend's id in the environment that it was started
//! with.

use crate::process::identity::{ProcessIdentity, has_ended};
use procfs::process::{Process, Stat, all_processes};
use rustix::process::Signal;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// The variable that names the backend to its processes, and its processes to us.
pub(crate) const BACKEND_VARIABLE: &str = "AGENTE_BACKEND";

/// How often processes are counted again while they are being stopped.
const RECOUNT: Duration = Duration::from_millis(15);

/// How long processes that were killed may take to go; a process in an uninterruptible wait takes
/// longer.
const KILLED_WITHIN: Duration = Duration::from_secs(5);

/// What a backend that has lost its supervisor is found by.
#[derive(Debug, Clone, Default)]
pub(crate) struct Traces {
    /// The backend's id.
    pub(crate) backend: String,
    /// The backend's process, where it was written down.
    pub(crate) leader: Option<ProcessIdentity>,
    /// The supervisors that are gone; the number of each is that of its session.
    pub(crate) supervisors: Vec<ProcessIdentity>,
}

/// Everything that runs now, those that have ended left out.
fn running() -> Vec<Stat> {
    let Ok(all) = all_processes() else {
        return Vec::new();
    };
    all.filter_map(|process| process.and_then(|process| process.stat()).ok())
        .filter(|stat| !has_ended(stat))
        .collect()
}

/// The members of `all` that descend from one of `roots`, roots left out.
fn below(all: &[Stat], roots: &BTreeSet<i32>) -> BTreeSet<i32> {
    let mut found = BTreeSet::new();
    loop {
        let before = found.len();
        for stat in all {
            if !roots.contains(&stat.pid)
                && (roots.contains(&stat.ppid) || found.contains(&stat.ppid))
            {
                found.insert(stat.pid);
            }
        }
        if found.len() == before {
            return found;
        }
    }
}

fn identities(all: &[Stat], pids: &BTreeSet<i32>) -> Vec<ProcessIdentity> {
    all.iter()
        .filter(|stat| pids.contains(&stat.pid))
        .filter_map(ProcessIdentity::from_stat)
        .collect()
}

/// The processes below this one: for a supervisor, which adopts what its backend leaves, all of the
/// backend's.
pub(crate) fn descendants_of_self() -> Vec<ProcessIdentity> {
    let all = running();
    let own = i32::try_from(std::process::id()).unwrap_or_default();
    identities(&all, &below(&all, &BTreeSet::from([own])))
}

impl Traces {
    /// The processes that are still there.
    pub(crate) fn find(&self) -> Vec<ProcessIdentity> {
        let all = running();
        let leader = self.leader.as_ref().filter(|leader| leader.is_alive());
        let mut roots: BTreeSet<i32> =
            leader.and_then(|leader| i32::try_from(leader.pid).ok()).into_iter().collect();
        for stat in &all {
            // A group's number is not given out again while its leader lives.
            let in_group = leader.is_some_and(|leader| {
                u32::try_from(stat.pgrp).is_ok_and(|group| group == leader.pid)
            });
            if in_group || (self.was_in_group_or_session(stat) && self.carries_id(stat.pid)) {
                roots.insert(stat.pid);
            }
        }
        let mut found = below(&all, &roots);
        found.extend(roots);
        identities(&all, &found)
    }

    /// Whether the process stands in the group or session of processes of ours that are gone, and
    /// whose numbers nobody else has taken since.
    fn was_in_group_or_session(&self, stat: &Stat) -> bool {
        let same = |ours: &ProcessIdentity, number: i32| {
            u32::try_from(number).is_ok_and(|number| number == ours.pid)
                && stat.starttime >= ours.started
                && !ours.was_replaced()
        };
        self.leader.as_ref().is_some_and(|leader| same(leader, stat.pgrp))
            || self.supervisors.iter().any(|supervisor| same(supervisor, stat.session))
    }

    /// Whether the process was started with this backend's id in its environment.
    fn carries_id(&self, pid: i32) -> bool {
        Process::new(pid).and_then(|process| process.environ()).is_ok_and(|environment| {
            environment
                .get(std::ffi::OsStr::new(BACKEND_VARIABLE))
                .is_some_and(|value| value.to_str() == Some(self.backend.as_str()))
        })
    }
}

/// Sends a signal to each; those that are gone, or not ours to signal, are left.
pub(crate) fn signal_all(processes: &[ProcessIdentity], signal: Signal) {
    for process in processes {
        let _gone_or_foreign = process.signal(signal);
    }
}

/// Kills what `find` finds until it finds nothing. False when something is still there after five
/// seconds.
pub(crate) fn kill_until_gone(mut find: impl FnMut() -> Vec<ProcessIdentity>) -> bool {
    let deadline = Instant::now() + KILLED_WITHIN;
    loop {
        let left = find();
        if left.is_empty() {
            return true;
        }
        if Instant::now() >= deadline {
            return false;
        }
        signal_all(&left, Signal::KILL);
        std::thread::sleep(RECOUNT);
    }
}
