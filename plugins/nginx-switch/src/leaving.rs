//! Which backends have left the routes, and which workers may still hold requests for them.
//!
//! Invariants:
//! - Whoever left later waits for every worker that whoever left earlier waits for and that still
//!   runs, so the workers stand here once, each with the first leave that saw it, not once per
//!   backend.
//! - Its JSON form has a bound. Beyond it the backends that left first are forgotten: their workers
//!   are gone first, too, and of a backend that is not here the workers that are shutting down are
//!   believed to hold requests.

use crate::workers::{Running, Worker};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Half of the 64 KiB that a plugin can remember; the workers of the last change stand beside it.
const MOST_BYTES: usize = 32 * 1024;

/// `[4294967295,18446744073709551615,4294967295],` at most; an earlier leave and milliseconds of
/// this century take less.
const WORKER_BYTES: usize = 48;

/// `"":{"at":4294967295,"quiet_since_ms":18446744073709551615},` beside the address.
const ADDRESS_BYTES: usize = 64;

/// What has left the routes.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Leaving {
    /// Each worker that was there when something left, by pid and how long after its master it
    /// started, with the number of the first such leave.
    workers: Vec<(u32, u64, u32)>,
    /// By address.
    addresses: BTreeMap<String, Left>,
}

/// A backend that has left the routes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Left {
    /// The number of the leave: it waits for the workers of that one and of those before it.
    at: u32,
    /// Since when every look has seen no connection to it.
    quiet_since_ms: Option<u64>,
}

impl Leaving {
    /// Whether it is known when the backend left.
    pub fn knows(&self, address: &str) -> bool {
        self.addresses.contains_key(address)
    }

    /// The addresses that have left.
    pub fn addresses(&self) -> BTreeSet<String> {
        self.addresses.keys().cloned().collect()
    }

    /// The backends can be reached again.
    pub fn forget(&mut self, addresses: &BTreeSet<String>) {
        self.addresses.retain(|address, _| !addresses.contains(address));
        let last = self.addresses.values().map(|left| left.at).max().unwrap_or(0);
        self.workers.retain(|(_, _, since)| *since <= last);
    }

    /// The backends leave, or leave anew; these workers may hold requests for them. Workers that do
    /// not run any more are forgotten.
    pub fn leave(
        &mut self,
        addresses: impl IntoIterator<Item = String>,
        workers: &[Worker],
        running: &Running,
    ) {
        self.workers.retain(|(pid, after_ms, _)| {
            running.find(&Worker { pid: *pid, after_ms: *after_ms }).is_some()
        });
        let at = self
            .workers
            .iter()
            .map(|(_, _, since)| *since)
            .chain(self.addresses.values().map(|left| left.at))
            .max()
            .unwrap_or(0)
            .saturating_add(1);
        let mut any = false;
        for address in addresses {
            self.addresses.insert(address, Left { at, quiet_since_ms: None });
            any = true;
        }
        if any {
            self.wait_for(workers);
        }
        self.bound();
    }

    /// These workers, too, may hold requests for whatever has left.
    pub fn wait_for(&mut self, workers: &[Worker]) {
        let Some(last) = self.addresses.values().map(|left| left.at).max() else { return };
        for worker in workers {
            if !self
                .workers
                .iter()
                .any(|(pid, after_ms, _)| Worker { pid: *pid, after_ms: *after_ms }.is(worker))
            {
                self.workers.push((worker.pid, worker.after_ms, last));
            }
        }
        self.bound();
    }

    /// The workers that still run and may hold requests for any of the backends that are known
    /// here.
    pub fn workers(&self, addresses: &[String], running: &Running) -> Vec<Worker> {
        let last = addresses
            .iter()
            .filter_map(|address| self.addresses.get(address))
            .map(|left| left.at)
            .max()
            .unwrap_or(0);
        let waited_for = self.workers.iter().filter(|(_, _, since)| *since <= last);
        waited_for
            .map(|(pid, after_ms, _)| Worker { pid: *pid, after_ms: *after_ms })
            .filter(|worker| running.find(worker).is_some())
            .collect()
    }

    /// Takes down whether a connection to a backend was seen; tells whether that is news.
    pub fn seen(&mut self, address: &str, open: bool, now_ms: u64) -> bool {
        let Some(left) = self.addresses.get_mut(address) else { return false };
        let quiet_since_ms = if open { None } else { Some(left.quiet_since_ms.unwrap_or(now_ms)) };
        let news = left.quiet_since_ms != quiet_since_ms;
        left.quiet_since_ms = quiet_since_ms;
        news
    }

    /// Since when none of the backends has had a connection; nothing where one has, or was not
    /// looked at.
    pub fn quiet_since_ms(&self, addresses: &[String]) -> Option<u64> {
        let mut last = None;
        for address in addresses {
            last = last.max(Some(self.addresses.get(address)?.quiet_since_ms?));
        }
        last
    }

    fn bound(&mut self) {
        loop {
            let bytes = self.workers.len() * WORKER_BYTES
                + self.addresses.keys().map(|address| address.len() + ADDRESS_BYTES).sum::<usize>();
            let first = self
                .addresses
                .iter()
                .min_by_key(|(_, left)| left.at)
                .map(|(address, _)| address.clone());
            match first {
                Some(first) if bytes > MOST_BYTES => self.addresses.remove(&first),
                Some(_) => return,
                None => return self.workers.clear(),
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use agente_plugin_sdk::host::Process;

    fn process(pid: u32) -> Process {
        Process {
            pid,
            parent: 1,
            title: "nginx: worker process".into(),
            started_ms: u64::from(pid) * 10_000,
            labels: Vec::new(),
        }
    }

    fn running(pids: &[u32]) -> Running {
        Running { master: process(1), workers: pids.iter().map(|pid| process(*pid)).collect() }
    }

    /// `addresses` leave while the workers `pids` run.
    fn leave(leaving: &mut Leaving, addresses: &[&str], pids: &[u32]) {
        let running = running(pids);
        leaving.leave(addresses.iter().map(ToString::to_string), &running.remembered(), &running);
    }

    fn waits_for(leaving: &Leaving, addresses: &[&str], pids: &[u32]) -> Vec<u32> {
        let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
        leaving.workers(&addresses, &running(pids)).into_iter().map(|worker| worker.pid).collect()
    }

    #[test]
    fn each_backend_waits_for_the_workers_that_ran_when_it_left() {
        let mut leaving = Leaving::default();
        leave(&mut leaving, &["a:1"], &[10, 11]);
        leave(&mut leaving, &["b:1"], &[11, 20]);
        assert_eq!(waits_for(&leaving, &["a:1"], &[11, 20, 30]), [11]);
        assert_eq!(waits_for(&leaving, &["b:1"], &[11, 20, 30]), [11, 20]);
        assert_eq!(waits_for(&leaving, &["a:1", "b:1"], &[20, 30]), [20]);
        assert_eq!(waits_for(&leaving, &["a:1"], &[20, 30]), [0_u32; 0]);
        assert!(leaving.knows("a:1"), "that its workers are gone stays known");
    }

    #[test]
    fn a_backend_that_leaves_again_waits_for_the_workers_of_then() {
        let mut leaving = Leaving::default();
        leave(&mut leaving, &["a:1"], &[10]);
        leaving.forget(&BTreeSet::from(["a:1".to_owned()]));
        assert_eq!(leaving, Leaving::default());
        leave(&mut leaving, &["a:1"], &[20]);
        assert_eq!(waits_for(&leaving, &["a:1"], &[10, 20]), [20]);
    }

    #[test]
    fn quiet_begins_with_the_last_connection_to_any_of_them() {
        let mut leaving = Leaving::default();
        leave(&mut leaving, &["a:1", "b:1"], &[10]);
        let both = ["a:1".to_owned(), "b:1".to_owned()];
        assert!(leaving.seen("a:1", false, 5) && !leaving.seen("b:1", true, 5));
        assert_eq!(leaving.quiet_since_ms(&both), None);
        assert!(!leaving.seen("a:1", false, 7) && leaving.seen("b:1", false, 7));
        assert_eq!(
            (leaving.quiet_since_ms(&both), leaving.quiet_since_ms(&both[..1])),
            (Some(7), Some(5))
        );
        assert!(leaving.seen("a:1", true, 9));
        assert_eq!(leaving.quiet_since_ms(&both), None);
    }

    #[test]
    fn its_size_has_a_bound_and_what_left_first_is_forgotten_first() {
        let mut leaving = Leaving::default();
        for round in 0..200_u32 {
            let pids: Vec<u32> = (round..round + 64).map(|pid| pid + 4_000_000).collect();
            let address =
                |backend: u32| format!("{}-{round}-{backend}.internal:65535", "x".repeat(200));
            let running = running(&pids);
            leaving.leave((0..3).map(address), &running.remembered(), &running);
            for backend in 0..3 {
                leaving.seen(&address(backend), false, u64::MAX);
            }
            assert!(leaving.knows(&address(0)));
            assert!(serde_json::to_vec(&leaving).unwrap().len() <= MOST_BYTES + 1024);
        }
        assert!(!leaving.addresses().iter().any(|address| address.contains("x-0-")));
    }

    #[test]
    fn more_workers_than_can_be_remembered_are_told_as_not_known() {
        let mut leaving = Leaving::default();
        leave(&mut leaving, &["a:1"], &(10..10_000).collect::<Vec<_>>());
        assert!(!leaving.knows("a:1"));
        assert_eq!(leaving, Leaving::default());
    }

    #[test]
    fn a_record_of_drains_by_slot_is_read_as_none() {
        let old =
            r#"{ "blue": { "workers": [{ "pid": 1, "started_ms": 2 }], "quiet_since_ms": null } }"#;
        assert_eq!(serde_json::from_str::<Leaving>(old).unwrap(), Leaving::default());
    }
}
