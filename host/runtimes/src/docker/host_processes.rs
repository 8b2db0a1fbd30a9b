//! Processes of containers as this machine sees them. Where the engine runs elsewhere, or hides its
//! processes, nothing is seen.
//!
//! Invariant: a pid that the engine names is trusted only when the process of that pid stands in
//! the container's own control group: on another machine the same number is a stranger's.

use crate::process::ProcessIdentity;
use agente_engine::ports::ConnectionInfo;
use procfs::FromBufReadSI;
use procfs::net::{TcpNetEntry, TcpState};
use procfs::process::{FDTarget, Process, all_processes};
use rustix::process::Signal;
use std::collections::BTreeMap;

/// A look at the processes of one container.
pub(crate) struct HostProcesses<'a> {
    container: &'a str,
}

impl<'a> HostProcesses<'a> {
    /// Of the container with this full id.
    pub(crate) fn of_container(id: &'a str) -> Self {
        Self { container: id }
    }

    /// The process of this pid, where it is seen and is the container's.
    fn process(&self, pid: u32) -> Option<Process> {
        let process = Process::new(i32::try_from(pid).ok()?).ok()?;
        let groups = process.cgroups().ok()?;
        { groups }
            .into_iter()
            .any(|group| group.pathname.contains(self.container))
            .then_some(process)
    }

    /// When a process started, in milliseconds since the epoch; 0 where that can't be told.
    pub(crate) fn started_ms(&self, pid: u32) -> u64 {
        let Some(stat) = self.process(pid).and_then(|process| process.stat().ok()) else {
            return 0;
        };
        let Ok(boot) = procfs::boot_time_secs() else {
            return 0;
        };
        boot * 1000 + stat.starttime * 1000 / procfs::ticks_per_second().max(1)
    }

    /// Kills a process of the container and all below it.
    pub(crate) fn kill_with_descendants(&self, pid: u32) {
        if self.process(pid).is_none() {
            return;
        }
        let stats: Vec<_> = all_processes()
            .into_iter()
            .flatten()
            .filter_map(|process| process.and_then(|process| process.stat()).ok())
            .collect();
        let mut found: Vec<i32> = i32::try_from(pid).into_iter().collect();
        let mut next = 0;
        while let Some(&parent) = found.get(next) {
            next += 1;
            // Its session too: what it left to process 1 of the container is still in it.
            let more: Vec<i32> = stats
                .iter()
                .filter(|stat| {
                    (stat.ppid == parent || stat.session == parent) && !found.contains(&stat.pid)
                })
                .map(|stat| stat.pid)
                .collect();
            found.extend(more);
        }
        for pid in found
            .into_iter()
            .filter_map(|pid| u32::try_from(pid).ok())
            .filter(|pid| self.process(*pid).is_some())
        {
            let _gone = ProcessIdentity::of(pid).map(|identity| identity.signal(Signal::KILL));
        }
    }

    /// The established connections of these processes, of which the first is process 1; none where
    /// they can't be read from here.
    pub(crate) fn connections(&self, pids: &[u32]) -> Option<Vec<ConnectionInfo>> {
        let mut entries: BTreeMap<u64, TcpNetEntry> = BTreeMap::new();
        let mut holders: BTreeMap<u64, u32> = BTreeMap::new();
        let mut read_any = false;
        for &pid in pids {
            let Some(process) = self.process(pid) else {
                continue;
            };
            // Each is asked: one that was started into another network has its own table.
            let (Ok(four), six) = (process.tcp(), process.tcp6().unwrap_or_default()) else {
                continue;
            };
            let Ok(open) = process.fd() else {
                continue;
            };
            read_any = true;
            for file in open.flatten() {
                if let FDTarget::Socket(inode) = file.target {
                    holders.entry(inode).or_insert(pid);
                }
            }
            entries.extend(
                four.into_iter()
                    .chain(six)
                    .filter(|entry| entry.state == TcpState::Established)
                    .map(|entry| (entry.inode, entry)),
            );
        }
        read_any.then(|| {
            entries
                .into_values()
                .filter_map(|entry| holders.get(&entry.inode).map(|pid| connection(&entry, *pid)))
                .collect()
        })
    }
}

fn connection(entry: &TcpNetEntry, pid: u32) -> ConnectionInfo {
    // A connection over IPv4 to a socket of both kinds is shown as what it is.
    let plain = |address: std::net::SocketAddr| {
        std::net::SocketAddr::new(address.ip().to_canonical(), address.port()).to_string()
    };
    ConnectionInfo { local: plain(entry.local_address), remote: plain(entry.remote_address), pid }
}

/// Reads the kernel's own table of connections as a program in the container prints it; the holders
/// can't be told then.
pub(crate) fn parse_table(text: &str) -> Vec<ConnectionInfo> {
    let heading = "sl local_address rem_address\n";
    let rows = text
        .lines()
        .filter(|line| !line.contains("local_address"))
        .fold(heading.to_owned(), |table, row| table + row + "\n");
    let entries =
        procfs::net::TcpNetEntries::from_buf_read(rows.as_bytes(), procfs::current_system_info())
            .map(|entries| entries.0)
            .unwrap_or_default();
    entries
        .iter()
        .filter(|entry| entry.state == TcpState::Established)
        .map(|entry| connection(entry, 0))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_tables_are_read_one_after_the_other_and_only_what_is_established() {
        let text = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   \
                    uid  timeout inode\n0: 0100007F:46B4 0100007F:C350 01 00000000:00000000 \
                    00:00000000 00000000     0        0 11 1 0 20 4 30 10 -1\n1: 00000000:0050 \
                    00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 12 1 0 \
                    20 4 30 10 -1\nsl  local_address rem_address st\n0: \
                    0000000000000000FFFF00000100007F:0050 0000000000000000FFFF00000200007F:1F90 \
                    01 00000000:00000000 00:00000000 00000000 0 0 13 1 0 20 4 30 10 -1\n";
        let seen: Vec<_> = parse_table(text).into_iter().map(|c| (c.local, c.remote)).collect();
        assert_eq!(
            seen,
            [
                ("127.0.0.1:18100".into(), "127.0.0.1:50000".into()),
                ("127.0.0.1:80".into(), "127.0.0.2:8080".into())
            ]
        );
    }

    #[test]
    fn a_process_outside_the_containers_control_group_is_a_strangers() {
        let container = "f".repeat(64);
        let mut stranger = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let seen = HostProcesses::of_container(&container);
        seen.kill_with_descendants(stranger.id());
        assert_eq!(seen.started_ms(stranger.id()), 0);
        assert_eq!(seen.connections(&[stranger.id()]), None);
        assert!(stranger.try_wait().unwrap().is_none(), "a stranger was killed");
        stranger.kill().unwrap();
        stranger.wait().unwrap();
    }
}
