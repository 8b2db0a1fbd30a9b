//! `[plugins]` and `[switch]`: which plugins there are, and which one switches.

use super::Judge;
use crate::files;
use crate::mistake::Complaint;
use crate::raw::{RawPlugin, RawSwitch};
use crate::sections::{PluginSection, SHIPPED_PLUGINS};
use crate::spelling::{listed, nearest};
use crate::tree::KeyPath;
use agente_engine::names::PluginName;
use serde_json::{Map, Value as Json};
use std::collections::BTreeMap;

/// The sections, by name.
pub(super) type Plugins = BTreeMap<PluginName, PluginSection>;

/// Judges the declared plugins.
pub(super) fn judge(judge: &mut Judge<'_, '_>, raw: BTreeMap<String, RawPlugin>) -> Plugins {
    let mut plugins = Plugins::new();
    for (name, plugin) in raw {
        let at = KeyPath::root().key("plugins").key(&name);
        let name = match PluginName::new(name) {
            Ok(name) => name,
            Err(error) => {
                judge.object_to_name(
                    &at,
                    Complaint::new(error.to_string(), "rename it, for instance to `my-switch`"),
                );
                continue;
            }
        };
        let path = match (judge.overrides.plugins.get(&name), plugin.path) {
            (Some(path), _) => Some(path.clone()),
            (None, None) => None,
            (None, Some(written)) => {
                let path = judge.resolve(&written);
                let absent = "build it first, correct the path, or omit `path` to find the plugin \
                by its name";
                judge.accept(
                    &at.key("path"),
                    files::is_readable("the plugin", &written, &path, absent),
                );
                Some(path)
            }
        };
        plugins.insert(
            name,
            PluginSection { path, config: Json::Object(plugin.config), declared: true },
        );
    }
    for (name, path) in &judge.overrides.plugins {
        plugins.entry(name.clone()).or_insert_with(|| PluginSection {
            path: Some(path.clone()),
            config: Json::Object(Map::new()),
            declared: false,
        });
    }
    plugins
}

/// Judges who switches.
pub(super) fn switcher(
    judge: &mut Judge<'_, '_>,
    plugins: &mut Plugins,
    raw: RawSwitch,
) -> Option<PluginName> {
    named(judge, plugins, &KeyPath::of("switch.plugin"), raw.plugin?)
}

/// The plugin of a name, which is declared or comes with the program; then it gets an empty
/// section.
pub(super) fn named(
    judge: &mut Judge<'_, '_>,
    plugins: &mut Plugins,
    at: &KeyPath,
    written: String,
) -> Option<PluginName> {
    let name = judge.accept(
        at,
        PluginName::new(written).map_err(|error| {
            Complaint::new(error.to_string(), "name a plugin, such as `nginx-switch`")
        }),
    )?;
    if plugins.contains_key(&name)
        || judge.taken_out.contains(&KeyPath::root().key("plugins").key(name.as_str()).to_string())
    {
        return Some(name);
    }
    if SHIPPED_PLUGINS.contains(&name.as_str()) {
        plugins.insert(
            name.clone(),
            PluginSection { path: None, config: Json::Object(Map::new()), declared: false },
        );
        return Some(name);
    }
    let mut known: Vec<&str> =
        plugins.keys().map(PluginName::as_str).chain(SHIPPED_PLUGINS).collect();
    known.sort_unstable();
    known.dedup();
    let fix = match nearest(name.as_str(), known.iter().copied()) {
        Some(meant) => format!("write `{meant}`"),
        None => format!("add `[plugins.{name}]` with the `path` of its component"),
    };
    let message = format!("the plugin `{name}` is not declared; declared are {}", listed(known));
    judge.object(at, Complaint::new(message, fix));
    None
}
