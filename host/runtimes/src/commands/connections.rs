//! The established TCP connections of a target's processes.
//!
//! Which process holds a connection is told by its open files. Where those may not be read (another
//! user's process), every connection that its user holds is told instead, without a process: too
//! many rather than too few, since a caller waits for them to end.

use crate::commands::target::Member;
use agente_engine::fault::{Fault, FaultKind};
use agente_engine::ports::{ConnectionInfo, ProcessError};
use procfs::net::{TcpNetEntry, TcpState};
use procfs::process::FDTarget;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

/// The connections of these processes, in the network that the first of them sees.
pub(super) fn established(members: &[Member]) -> Result<Vec<ConnectionInfo>, ProcessError> {
    let mut holders = BTreeMap::new();
    let mut hidden_users = BTreeSet::new();
    for member in members {
        match member.process.fd() {
            Ok(open) => {
                for file in open.flatten() {
                    if let FDTarget::Socket(inode) = file.target {
                        holders.entry(inode).or_insert(member.info.pid);
                    }
                }
            }
            // Gone since, or not ours to read.
            Err(_) => hidden_users.extend(member.process.status().ok().map(|status| status.euid)),
        }
    }
    let Some(first) = members.first() else {
        return Ok(Vec::new());
    };
    let mut table = first.process.tcp().map_err(|error| {
        ProcessError::Other(
            Fault::new(
                FaultKind::Failed,
                format!("the connections of process {} can't be read", first.info.pid),
            )
            .because(&error),
        )
    })?;
    // A machine without IPv6 has no such table.
    table.extend(first.process.tcp6().unwrap_or_default());
    let told = |entry: &TcpNetEntry| {
        let holder = holders.get(&entry.inode).copied();
        holder.or_else(|| hidden_users.contains(&entry.uid).then_some(0))
    };
    let open = table.iter().filter(|entry| entry.state == TcpState::Established);
    Ok(open
        .filter_map(|entry| {
            told(entry).map(|pid| ConnectionInfo {
                local: text(entry.local_address),
                remote: text(entry.remote_address),
                pid,
            })
        })
        .collect())
}

/// An address as a manifest would have it: an IPv4 address in IPv6 clothes is an IPv4 address.
fn text(address: SocketAddr) -> String {
    let plain = match address.ip() {
        IpAddr::V6(six) => six.to_ipv4_mapped().map_or(IpAddr::V6(six), IpAddr::V4),
        four @ IpAddr::V4(_) => four,
    };
    SocketAddr::new(plain, address.port()).to_string()
}
