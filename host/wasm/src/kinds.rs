//! The kinds of plugin: a file each, with the table of what it exports, its calls, their phases and
//! what a failure of each means, and the adapter to the engine's port. Adapters convert and hold no
//! policy.

pub(crate) mod checker;
pub(crate) mod metrics;
mod nouns;
pub(crate) mod switcher;

use crate::calls::Kind;
use crate::request::PluginKind;

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
