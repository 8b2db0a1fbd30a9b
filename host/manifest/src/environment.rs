//! Which environment is meant, and the document as it is for that one.
//!
//! Invariants: merging keeps the place of everything; an overlay that chooses one of several keys
//! (`process` or `docker`) replaces the choice below it, and one that chooses another kind
//! (`strategy.kind`) leaves the keys of the kind below it behind.

use crate::forms::parse_ports;
use crate::mistake::{Complaint, Findings};
use crate::schema::{alternatives, inner, kinds_of, resolved};
use crate::source::Stretch;
use crate::spelling::{listed, nearest};
use crate::tree::{KeyPath, Node, Value};
use agente_engine::names::EnvironmentName;
use agente_engine::release::PortRange;
use serde_json::Value as Json;
use std::collections::BTreeMap;

/// The name of the only environment of a manifest that declares none.
const DEFAULT: &str = "default";

/// A document for one environment.
pub(crate) struct Selected {
    /// Which one; none where it could not be told, and the document is then the part that all
    /// share.
    pub(crate) name: Option<EnvironmentName>,
    /// All that the manifest declares.
    pub(crate) declared: Vec<EnvironmentName>,
    /// The merged document, without `environments`.
    pub(crate) document: Node,
}

/// Chooses the environment and merges its tables over the others.
pub(crate) fn select(
    mut document: Node,
    requested: Option<&str>,
    findings: &mut Findings<'_>,
) -> Selected {
    let environments = match &mut document.value {
        Value::Table(entries) => entries.remove("environments"),
        _ => None,
    };
    let place = environments.as_ref().map_or(0..0, Node::place);
    let overlays = match environments.map(|node| node.value) {
        Some(Value::Table(entries)) => entries,
        _ => BTreeMap::new(),
    };
    let mut declared = Vec::new();
    for (name, overlay) in &overlays {
        match EnvironmentName::new(name.as_str()) {
            Ok(name) => declared.push(name),
            Err(error) => {
                let key = KeyPath::root().key("environments").key(name).to_string();
                findings.add(
                    &overlay.name_place(),
                    key,
                    Complaint::new(error.to_string(), "rename it, for instance to `production`"),
                );
            }
        }
    }
    overlapping_ports(&document, &overlays, findings);
    let names: Vec<&str> = overlays.keys().map(String::as_str).collect();
    let chosen = match (requested, names.as_slice()) {
        (None | Some(DEFAULT), []) => Some(DEFAULT),
        (None, [only]) => Some(*only),
        (Some(name), _) if overlays.contains_key(name) => Some(name),
        (Some(name), []) => {
            let fix = format!("omit `--env`, or add `[environments.{name}]` to the manifest");
            findings.add(
                &place,
                "environments",
                Complaint::new(
                    format!("there is no environment `{name}`: the manifest declares none"),
                    fix,
                ),
            );
            None
        }
        (Some(name), all) => {
            let meant =
                nearest(name, all.iter().copied()).or(all.first().copied()).unwrap_or(DEFAULT);
            let message = format!(
                "there is no environment `{name}`; declared are {}",
                listed(all.iter().copied())
            );
            findings.add(
                &place,
                "environments",
                Complaint::new(
                    message,
                    format!("use `--env {meant}`, or add `[environments.{name}]` to the manifest"),
                ),
            );
            None
        }
        (None, all) => {
            let message = format!(
                "the manifest has {} environments: {}",
                all.len(),
                listed(all.iter().copied())
            );
            let flags = all.iter().map(|name| format!("`--env {name}`")).collect::<Vec<_>>();
            findings.add(
                &place,
                "environments",
                Complaint::new(message, format!("select one: {}", flags.join(" or "))),
            );
            None
        }
    };
    if let Some(overlay) = chosen.and_then(|name| overlays.get(name)) {
        merge(inner(), &mut document, overlay.clone());
    }
    Selected { name: chosen.and_then(|name| EnvironmentName::new(name).ok()), declared, document }
}

/// Lays `over` on `base`: tables entry by entry, all else as a whole.
fn merge(outer: &Json, base: &mut Node, over: Node) {
    let (Value::Table(below), true) = (&mut base.value, matches!(over.value, Value::Table(_)))
    else {
        *base = over;
        return;
    };
    let Value::Table(above) = over.value else { return };
    let mut schema = resolved(inner(), outer);
    if let Some(choices) = alternatives(schema) {
        schema = choices
            .iter()
            .map(|choice| resolved(inner(), choice))
            .find(|choice| choice.get("type").is_some_and(|kind| kind == "object"))
            .unwrap_or(schema);
    }
    let exclusive: Vec<&str> = schema
        .get("x-exactly-one")
        .and_then(Json::as_array)
        .into_iter()
        .flatten()
        .filter_map(Json::as_str)
        .collect();
    if above.keys().any(|key| exclusive.contains(&key.as_str())) {
        below.retain(|key, _| !exclusive.contains(&key.as_str()) || above.contains_key(key));
    }
    let alone: Vec<&str> = schema
        .get("x-at-most-one")
        .and_then(Json::as_array)
        .into_iter()
        .flatten()
        .filter_map(Json::as_str)
        .collect();
    if above.keys().any(|key| alone.contains(&key.as_str())) {
        below.retain(|key, _| !alone.contains(&key.as_str()) || above.contains_key(key));
    }
    if let Some(chooser) = schema.get("x-kind").and_then(Json::as_str)
        && let (Some(chosen), Some(other)) =
            (above.get(chooser).and_then(Node::text), below.get(chooser).and_then(Node::text))
        && chosen != other
    {
        below.retain(|key, _| kinds_of(schema, key).is_none());
    }
    for (key, node) in above {
        let of = schema
            .get("properties")
            .and_then(|properties| properties.get(&key))
            .or_else(|| schema.get("additionalProperties"))
            .unwrap_or(&Json::Null);
        match below.get_mut(&key) {
            Some(entry) => merge(of, entry, node),
            None => {
                below.insert(key, node);
            }
        }
    }
}

/// Two environments may share one range (they then live on different machines) or have ranges
/// apart; in between is a slip.
fn overlapping_ports(
    document: &Node,
    overlays: &BTreeMap<String, Node>,
    findings: &mut Findings<'_>,
) {
    let mut seen: Vec<(&str, PortRange, Stretch)> = Vec::new();
    for (name, overlay) in overlays {
        let mut merged = document.clone();
        merge(inner(), &mut merged, overlay.clone());
        let paths = [KeyPath::of("runtime.process.ports"), KeyPath::of("runtime.docker.ports")];
        let Some((path, node)) =
            paths.iter().find_map(|path| merged.at(path).map(|node| (path, node)))
        else {
            continue;
        };
        let Some(range) = node.text().and_then(|text| parse_ports(text).ok()) else { continue };
        let place = node.place();
        let clash = seen.iter().find(|(_, other, _)| {
            *other != range && other.first <= range.last && range.first <= other.last
        });
        if let Some((other, taken, other_place)) = clash {
            let message = format!(
                "the ports {}-{} of environment `{name}` overlap those of `{other}`, {}-{}",
                range.first, range.last, taken.first, taken.last
            );
            let fix = "give each environment its own ports, or all of them the same range if they \
            run on different machines";
            // Of a shared range and one of an environment's own, the latter is further down.
            let place = if place.start > other_place.start { &place } else { other_place };
            findings.add(place, path.to_string(), Complaint::new(message, fix));
        }
        seen.push((name, range, place));
    }
}
