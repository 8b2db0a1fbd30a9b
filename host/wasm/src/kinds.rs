//! The kinds of plugin: a file each, with the table of what it exports, its calls, their phases and
//! what a failure of each means, and the adapter to the engine's port. Adapters convert and hold no
//! policy.

pub(crate) mod checker;
pub(crate) mod metrics;
pub(crate) mod switcher;

use crate::bindings::any::agente::types::types as wit;
use crate::calls::Call;
use crate::request::PluginKind;
use agente_engine::route::{Backend, Destination};

/// What the host knows of one kind.
pub(crate) struct Kind {
    /// The package of the contract.
    pub(crate) package: &'static str,
    /// The interfaces that the host calls.
    pub(crate) exports: &'static [Export],
}

/// One interface that plugins of a kind export.
pub(crate) struct Export {
    /// With its version: `agente:traffic/switcher@0.1.0`.
    pub(crate) interface: &'static str,
    /// Whether a plugin of the kind must have it.
    pub(crate) required: bool,
    /// Its functions, in the order of the contract.
    #[cfg_attr(not(test), expect(dead_code, reason = "a table; the host calls by its parts"))]
    pub(crate) calls: &'static [Call],
}

impl PluginKind {
    /// What the host knows of it.
    pub(crate) fn table(self) -> &'static Kind {
        match self {
            PluginKind::TrafficSwitcher => &switcher::KIND,
            PluginKind::HealthCheck => &checker::KIND,
        }
    }

    /// The package of the contract that says what a plugin of this kind exports.
    pub fn package(self) -> &'static str {
        self.table().package
    }
}

fn write_backend(backend: &Backend) -> wit::Backend {
    write_destination(&Destination::from(backend.clone()))
}

fn write_destination(destination: &Destination) -> wit::Backend {
    let Destination { id, address } = destination;
    wit::Backend { id: id.0.clone(), address: address.clone(), labels: Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::Phase;
    use crate::calls::OnFailure;

    const KINDS: [PluginKind; 2] = [PluginKind::TrafficSwitcher, PluginKind::HealthCheck];

    #[test]
    fn what_may_change_something_is_unknown_after_a_failure_and_nothing_else_is() {
        for kind in KINDS {
            for call in kind.table().exports.iter().flat_map(|export| export.calls) {
                assert_eq!(
                    call.phase == Phase::Write,
                    call.on_failure == OnFailure::Unknown,
                    "{}",
                    call.name
                );
            }
        }
    }

    #[test]
    fn every_kind_has_an_interface_that_it_must_export() {
        for kind in KINDS {
            let table = kind.table();
            assert!(table.exports.iter().any(|export| export.required), "{kind}");
            assert!(table.exports.iter().all(|export| export.interface.starts_with(table.package)));
        }
    }
}
