//! Which ports are free on 127.0.0.1, and who has those that are not.

use crate::process::runtime::ProcessRuntime;
use agente_engine::fault::{Fault, FaultKind};
use agente_engine::names::BackendId;
use agente_engine::placement::Placement;
use agente_engine::release::{ProcessSpec, Release};
use agente_engine::route::{Backend, Slot};
use procfs::net::TcpState;
use procfs::process::{FDTarget, all_processes};
use rustix::net::{AddressFamily, SocketType, bind, ipproto, sockopt};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};

/// The port at the end of an address.
pub(super) fn port_of(address: &str) -> Option<u16> {
    address.rsplit_once(':').and_then(|(_, port)| port.parse().ok())
}

/// Whether a program could listen on 127.0.0.1 at this port now. The socket is bound and never
/// listens, so that no connection can end up in it.
pub(super) fn is_free(port: u16) -> bool {
    let Ok(socket) =
        rustix::net::socket(AddressFamily::INET, SocketType::STREAM, Some(ipproto::TCP))
    else {
        return false;
    };
    sockopt::set_socket_reuseaddr(&socket, true).is_ok()
        && bind(&socket, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, port)).is_ok()
}

/// Who listens there, as far as we may see: `process 812 (nginx)`.
pub(super) fn holder(port: u16) -> String {
    let mut listening = procfs::net::tcp().unwrap_or_default();
    listening.extend(procfs::net::tcp6().unwrap_or_default());
    let inodes: Vec<u64> = listening
        .iter()
        .filter(|entry| entry.state == TcpState::Listen && entry.local_address.port() == port)
        .map(|entry| entry.inode)
        .collect();
    let listens = |target| match target {
        FDTarget::Socket(inode) => inodes.contains(&inode),
        _ => false,
    };
    let holds = |process: &procfs::process::Process| {
        process
            .fd()
            .is_ok_and(|mut open| open.any(|file| file.is_ok_and(|file| listens(file.target))))
    };
    let found = all_processes().ok().and_then(|mut all| {
        all.find_map(|process| process.ok().filter(|process| !inodes.is_empty() && holds(process)))
    });
    match found {
        Some(process) => format!(
            "process {} ({})",
            process.pid(),
            process.stat().map(|stat| stat.comm).unwrap_or_default()
        ),
        None => "another program".to_owned(),
    }
}

impl ProcessRuntime {
    /// The ports that standing backends have, whether they run now or not, and whose they are.
    pub(super) fn owned_ports(&self) -> BTreeMap<u16, String> {
        let mut owned = BTreeMap::new();
        for entry in std::fs::read_dir(self.backends()).into_iter().flatten().flatten() {
            let spec =
                crate::process::directory::BackendDirectory::at(entry.path()).spec().ok().flatten();
            if let Some((port, spec)) =
                spec.and_then(|spec| port_of(&spec.identity.address).map(|port| (port, spec)))
            {
                owned.insert(port, spec.identity.backend);
            }
        }
        owned
    }

    /// Chooses the lowest ports of the range that nobody has.
    pub(super) fn reserve_ports(
        &self,
        release: &Release,
        process: &ProcessSpec,
        slot: Slot,
        taken: &[Backend],
    ) -> Result<Vec<Backend>, Fault> {
        let owned = self.owned_ports();
        let mut reasons = Vec::new();
        let mut chosen = Vec::new();
        for port in process.ports.first..=process.ports.last {
            if chosen.len() == usize::from(process.instances) {
                break;
            }
            if let Some(backend) =
                taken.iter().find(|backend| port_of(&backend.address) == Some(port))
            {
                reasons.push(format!("{port} belongs to `{}`", backend.id));
            } else if let Some(backend) = owned.get(&port) {
                reasons.push(format!("{port} belongs to `{backend}`"));
            } else if is_free(port) {
                chosen.push(Backend {
                    id: BackendId::of(release, slot, chosen.len()),
                    address: format!("127.0.0.1:{port}"),
                    placement: Placement::Process,
                });
            } else {
                reasons.push(format!("{port} is in use by {}", holder(port)));
            }
        }
        if chosen.len() < usize::from(process.instances) {
            reasons.truncate(8);
            let (first, last) = (process.ports.first, process.ports.last);
            let mut fault = Fault::new(
                FaultKind::Unavailable,
                format!(
                    "the ports {first}-{last} have room for only {} of {} backends of {} in \
                    slot {slot}",
                    chosen.len(),
                    process.instances,
                    release.scope
                ),
            )
            .hint("widen `ports` in the manifest, or stop whatever uses them");
            fault.causes = reasons;
            return Err(fault);
        }
        Ok(chosen)
    }
}
