//! Chooses backends and their addresses. Changes nothing.

use super::call::Engine;
use super::labels;
use super::specification::{docker_part, port_of};
use agente_engine::fault::{Fault, FaultKind};
use agente_engine::names::BackendId;
use agente_engine::placement::Placement;
use agente_engine::release::{DockerReach, Release};
use agente_engine::route::{Backend, Slot};
use bollard::models::ContainerSummary;
use rustix::net::{AddressFamily, SocketType, bind, ipproto, socket, sockopt};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};

impl Engine {
    /// The ports that containers have, by name: published ones of those that run, and those that
    /// ours keep while they don't.
    pub(crate) async fn ports_of_containers(&self) -> Result<BTreeMap<u16, String>, Fault> {
        let mut ports = BTreeMap::new();
        for container in self.list(&[]).await? {
            let name = name_of(&container);
            let kept = container
                .labels
                .as_ref()
                .and_then(|labels| labels.get(labels::PORT))
                .and_then(|port| port.parse().ok());
            let published = container.ports.iter().flatten().filter_map(|port| port.public_port);
            for port in published.chain(kept) {
                ports.insert(port, name.clone());
            }
        }
        Ok(ports)
    }

    /// The container that has a port.
    pub(crate) async fn holder_of_port(&self, port: u16) -> Result<Option<String>, Fault> {
        Ok(self.ports_of_containers().await?.remove(&port))
    }
}

/// A container's name without the slash that the engine puts before it.
pub(crate) fn name_of(container: &ContainerSummary) -> String {
    container
        .names
        .iter()
        .flatten()
        .next()
        .map(|name| name.trim_start_matches('/').to_owned())
        .unwrap_or_default()
}

/// Whether nothing on this machine listens on a loopback port. The engine publishes there, so it
/// runs on this machine. The socket is bound and never listens, so that no connection can end up in
/// it.
pub(crate) fn is_free(port: u16) -> bool {
    let Ok(socket) = socket(AddressFamily::INET, SocketType::STREAM, Some(ipproto::TCP)) else {
        return false;
    };
    sockopt::set_socket_reuseaddr(&socket, true).is_ok()
        && bind(&socket, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, port)).is_ok()
}

/// Chooses `instances` backends for a slot.
pub(crate) async fn reserve(
    engine: &Engine,
    release: &Release,
    slot: Slot,
    taken: &[Backend],
) -> Result<Vec<Backend>, Fault> {
    let spec = docker_part(&release.runtime)?;
    let ids = (0..usize::from(spec.instances)).map(|index| BackendId::of(release, slot, index));
    let placement = |network: Option<&String>| Placement::Docker {
        engine: engine.settings.endpoint.to_string(),
        network: network.cloned(),
    };
    match &spec.reach {
        DockerReach::Network { name } => ids
            .map(|id| {
                // The name is looked up as one label of the domain name system.
                if id.0.len() > 63 {
                    let message = format!(
                        "the container name `{id}` has more than 63 characters and can't be \
                        resolved on a network"
                    );
                    return Err(Fault::new(FaultKind::InvalidConfig, message)
                        .hint("shorten the service's or the environment's name"));
                }
                Ok(Backend {
                    address: format!("{id}:{}", spec.container_port),
                    id,
                    placement: placement(Some(name)),
                })
            })
            .collect(),
        DockerReach::Loopback { ports } => {
            let of_containers = engine.ports_of_containers().await?;
            let reserved: Vec<u16> =
                taken.iter().filter_map(|backend| port_of(&backend.address).ok()).collect();
            let mut free = (ports.first..=ports.last).filter(|port| {
                !reserved.contains(port) && !of_containers.contains_key(port) && is_free(*port)
            });
            ids.map(|id| match free.next() {
                Some(port) => Ok(Backend {
                    id,
                    address: format!("127.0.0.1:{port}"),
                    placement: placement(None),
                }),
                None => Err(Fault::new(
                    FaultKind::Unavailable,
                    format!(
                        "{slot} needs {} ports, but {}-{} has fewer free ones",
                        spec.instances, ports.first, ports.last
                    ),
                )
                .hint(
                    "widen `ports` in the manifest; `ss -ltn` and `docker ps -a` show what is in \
                    use",
                )),
            })
            .collect()
        }
    }
}
