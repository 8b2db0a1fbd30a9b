//! One generation as text: what stands in the comments of the file and what the marker answers.
//!
//! The same lines in both places, so that routes are read back the same way from the disk and from
//! the running NGINX. A line is words between spaces; every word has been checked before it is
//! written ([`check`]), and unknown lines are passed over when reading.

use crate::config::{is_address, is_word};
use crate::names::Names;
use agente_plugin_sdk::{Backend, Desired, Failure, MatchRule, Route, label};
use std::collections::BTreeSet;

/// The slots, in the order in which they are always written.
pub const SLOTS: [&str; 2] = ["blue", "green"];

/// The sum of all weights.
pub const FULL: u32 = 10_000;

/// A generation in words.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Snapshot {
    /// Whose it is.
    pub service: String,
    pub environment: String,
    /// Its name: the same for the same routes under the same configuration.
    pub generation: String,
    /// The fencing token that it was written with.
    pub fence: u64,
    /// The store that owns the service; empty where none was named.
    pub store: String,
    pub routes: Vec<Route>,
    pub overrides: Vec<MatchRule>,
}

impl Snapshot {
    /// What is wanted, still without a generation.
    pub fn wanted(names: &Names, wanted: &Desired) -> Self {
        let mut routes = wanted.routes.clone();
        routes.sort_by_key(|route| SLOTS.iter().position(|slot| *slot == route.slot));
        Self {
            service: names.service.clone(),
            environment: names.environment.clone(),
            generation: String::new(),
            fence: wanted.fence,
            store: label(&wanted.labels, "store")
                .map_or_else(|| names.store.clone(), str::to_owned),
            routes,
            overrides: wanted.overrides.clone(),
        }
    }

    /// What makes the generation: everything but its own name and the fence.
    pub fn lines_of_generation(&self) -> Vec<String> {
        let mut lines =
            vec![format!("service {}", self.service), format!("environment {}", self.environment)];
        if !self.store.is_empty() {
            lines.push(format!("store {}", self.store));
        }
        for route in &self.routes {
            let release = label(&route.labels, "release")
                .map_or_else(String::new, |release| format!(" release {release}"));
            lines.push(format!("route {} {}{release}", route.slot, route.weight));
            lines.extend(route.backends.iter().map(|backend| {
                format!("backend {} {} {}", route.slot, backend.address, backend.id)
            }));
        }
        lines.extend(self.overrides.iter().map(|rule| {
            format!("override {} {} {} {}", rule.slot, rule.by, rule.name, rule.value)
        }));
        lines
    }

    /// All lines.
    pub fn lines(&self) -> Vec<String> {
        let mut lines =
            vec![format!("generation {}", self.generation), format!("fence {}", self.fence)];
        lines.extend(self.lines_of_generation());
        lines
    }

    /// Reads lines back; unknown ones are passed over. Nothing without a service, an environment
    /// and a generation.
    pub fn read<'a>(lines: impl IntoIterator<Item = &'a str>) -> Option<Self> {
        let mut snapshot = Self::default();
        for line in lines {
            let words: Vec<&str> = line.split_whitespace().collect();
            match words.as_slice() {
                ["generation", generation] => (*generation).clone_into(&mut snapshot.generation),
                ["fence", fence] => snapshot.fence = fence.parse().ok()?,
                ["service", service] => (*service).clone_into(&mut snapshot.service),
                ["environment", environment] => {
                    (*environment).clone_into(&mut snapshot.environment);
                }
                ["store", store] => (*store).clone_into(&mut snapshot.store),
                ["route", slot, weight, rest @ ..] => {
                    let labels = match rest {
                        ["release", release, ..] => {
                            vec![("release".to_owned(), (*release).to_owned())]
                        }
                        _ => Vec::new(),
                    };
                    snapshot.routes.push(Route {
                        slot: (*slot).to_owned(),
                        weight: weight.parse().ok()?,
                        backends: Vec::new(),
                        labels,
                    });
                }
                ["backend", slot, address, id] => {
                    let backend = Backend {
                        id: (*id).to_owned(),
                        address: (*address).to_owned(),
                        labels: Vec::new(),
                    };
                    snapshot
                        .routes
                        .iter_mut()
                        .find(|route| route.slot == *slot)?
                        .backends
                        .push(backend);
                }
                ["override", slot, by, name, value] => snapshot.overrides.push(MatchRule {
                    slot: (*slot).to_owned(),
                    by: (*by).to_owned(),
                    name: (*name).to_owned(),
                    value: (*value).to_owned(),
                    labels: Vec::new(),
                }),
                _ => {}
            }
        }
        (!snapshot.service.is_empty()
            && !snapshot.environment.is_empty()
            && !snapshot.generation.is_empty())
        .then_some(snapshot)
    }

    /// The route of a slot.
    pub fn route(&self, slot: &str) -> Option<&Route> {
        self.routes.iter().find(|route| route.slot == slot)
    }

    /// The share of a slot; 0 where it has no route.
    pub fn weight(&self, slot: &str) -> u32 {
        self.route(slot).map_or(0, |route| route.weight)
    }

    /// The addresses of all backends that requests can reach: those of slots with weight, and of
    /// slots that an override leads to.
    pub fn reachable(&self) -> BTreeSet<String> {
        let reached = |route: &&Route| {
            route.weight > 0 || self.overrides.iter().any(|rule| rule.slot == route.slot)
        };
        self.routes
            .iter()
            .filter(reached)
            .flat_map(|route| route.backends.iter().map(|backend| backend.address.clone()))
            .collect()
    }

    /// The weights in words: `blue 90 %, green 10 %`.
    pub fn weights(&self) -> String {
        let weights: Vec<String> = self
            .routes
            .iter()
            .map(|route| format!("{} {} %", route.slot, percent(route.weight)))
            .collect();
        if weights.is_empty() { "no routes".into() } else { weights.join(", ") }
    }
}

/// Basis points as percent, without needless zeros.
pub fn percent(weight: u32) -> String {
    let (whole, rest) = (weight / 100, weight % 100);
    match rest {
        0 => whole.to_string(),
        rest if rest % 10 == 0 => format!("{whole}.{}", rest / 10),
        rest => format!("{whole}.{rest:02}"),
    }
}

/// Judges everything that will be written, so that no text can become configuration.
pub fn check(wanted: &Desired) -> Result<(), Failure> {
    let wrong = |message: String| Err(Failure::invalid_config(message));
    let mut slots = BTreeSet::new();
    let mut addresses = BTreeSet::new();
    for route in &wanted.routes {
        let slot = route.slot.as_str();
        if !SLOTS.contains(&slot) {
            return wrong(format!(
                "`{}` is not a slot; the slots are `blue` and `green`",
                slot.escape_debug()
            ));
        }
        if !slots.insert(slot) {
            return wrong(format!("the slot `{slot}` has two routes"));
        }
        if route.weight > 0 && route.backends.is_empty() {
            return wrong(format!(
                "the slot `{slot}` has weight {} % but no backends",
                percent(route.weight)
            ));
        }
        if let Some(release) =
            label(&route.labels, "release").filter(|release| !is_word(release, "._-", 64))
        {
            return wrong(format!("`{}` is not a release", release.escape_debug()));
        }
        for backend in &route.backends {
            if !is_address(&backend.address) {
                return wrong(format!(
                    "the backend `{}` has the address `{}`, which is not `host:port`",
                    backend.id.escape_debug(),
                    backend.address.escape_debug()
                ));
            }
            if !is_word(&backend.id, "._:@/-", 200) {
                return wrong(format!("`{}` is not a backend id", backend.id.escape_debug()));
            }
            if !addresses.insert(backend.address.as_str()) {
                return wrong(format!("the address `{}` is used by two backends", backend.address));
            }
        }
    }
    let sum: u64 = wanted.routes.iter().map(|route| u64::from(route.weight)).sum();
    let serves = wanted.routes.iter().any(|route| !route.backends.is_empty());
    if sum != u64::from(FULL) && (serves || sum != 0) {
        return wrong(format!("the weights sum to {sum} basis points instead of {FULL}"));
    }
    if wanted.overrides.len() > 64 {
        return wrong(format!(
            "{} overrides are too many; the maximum is 64",
            wanted.overrides.len()
        ));
    }
    for rule in &wanted.overrides {
        if !wanted.routes.iter().any(|route| route.slot == rule.slot && !route.backends.is_empty())
        {
            return wrong(format!(
                "an override sends requests to the slot `{}`, which has no backends",
                rule.slot.escape_debug()
            ));
        }
        if rule.by != "header" && rule.by != "cookie" {
            return wrong(format!(
                "an override is by `{}`; it must be by `header` or `cookie`",
                rule.by.escape_debug()
            ));
        }
        if !is_word(&rule.name, "-_", 64) {
            return wrong(format!(
                "`{}` is not a valid {} name: use letters, digits, `-` and `_`",
                rule.name.escape_debug(),
                rule.by
            ));
        }
        if !is_word(&rule.value, "-_.", 128) {
            return wrong(format!(
                "`{}` is not a valid override value: use letters, digits, `-`, `_` and `.`",
                rule.value.escape_debug()
            ));
        }
    }
    match label(&wanted.labels, "store")
        .filter(|store| !store.is_empty() && !is_word(store, "._:-", 128))
    {
        Some(store) => wrong(format!("`{}` is not a store id", store.escape_debug())),
        None => Ok(()),
    }
}
