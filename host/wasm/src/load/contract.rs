//! Whether a component fits the contract, told from its bytes.

use super::error::LoadError;
use crate::component::Inspection;
use crate::request::PluginKind;
use agente_engine::names::PluginName;

/// The interfaces that this host offers, and the one that it calls of every plugin.
const OFFERED: [&str; 11] = [
    "agente:types/types@0.1.0",
    "agente:host/log@0.1.0",
    "agente:host/context@0.1.0",
    "agente:host/config@0.1.0",
    "agente:host/memory@0.1.0",
    "agente:host/files@0.1.0",
    "agente:host/tcp@0.1.0",
    "agente:host/secrets@0.1.0",
    "agente:host/reveal@0.1.0",
    "agente:host/exec@0.1.0",
    "agente:host/process@0.1.0",
];

/// What every plugin exports.
const META: &str = "agente:plugin/meta@0.1.0";

/// Judges what a component imports and exports, and what its request says about it.
pub(super) fn check_contract(
    plugin: &PluginName,
    wanted: Option<PluginKind>,
    inspection: &Inspection,
) -> Result<(), LoadError> {
    let header = &inspection.request.plugin;
    let wrong = |why: String| Err(LoadError::WrongContract { plugin: plugin.clone(), why });
    if let Some(kind) = wanted.filter(|&kind| kind != header.kind) {
        return wrong(format!("it is a {}, but a {kind} is needed here", header.kind));
    }
    if !header.contract.starts_with(&format!("{}@", header.kind.package())) {
        return wrong(format!(
            "its request names the contract `{}`, but a {} needs `{}`",
            header.contract,
            header.kind,
            header.kind.package()
        ));
    }
    let offered = |name: &&String| OFFERED.iter().any(|offered| same_track(offered, name));
    let mut imports = inspection.imports.iter().filter(|name| name.starts_with("agente:"));
    if let Some(unknown) = imports.find(|name| !offered(name)) {
        return wrong(format!("it needs `{unknown}`, which this host does not offer"));
    }
    let of_kind = header.kind.table().exports.iter().filter(|export| export.required);
    for needed in std::iter::once(META).chain(of_kind.map(|export| export.interface)) {
        if exports(inspection, needed) {
            continue;
        }
        let same_interface =
            |name: &&String| interface(name) == interface(needed) && name.contains('@');
        return match inspection.exports.iter().find(same_interface) {
            Some(found) => wrong(format!("it exports `{found}`, but this host calls `{needed}`")),
            None => wrong(format!("it does not export `{needed}`")),
        };
    }
    Ok(())
}

/// Whether a component exports an interface in a version that the host can call.
pub(super) fn exports(inspection: &Inspection, interface: &str) -> bool {
    inspection.exports.iter().any(|name| same_track(interface, name))
}

/// The name of an interface without its version.
fn interface(name: &str) -> &str {
    name.split_once('@').map_or(name, |(interface, _)| interface)
}

/// Whether two versions of an interface are meant to fit: the same major version, and the same
/// minor one below 1.
fn same_track(served: &str, name: &str) -> bool {
    let track = |name: &str| {
        let (interface, version) = name.split_once('@')?;
        let mut parts = version.split('.');
        let (major, minor) = (parts.next()?.to_owned(), parts.next()?.to_owned());
        Some((interface.to_owned(), if major == "0" { format!("0.{minor}") } else { major }))
    };
    track(served).is_some() && track(served) == track(name)
}
