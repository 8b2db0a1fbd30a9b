//! The file for one service and environment, from the routes. Pure: the same input gives the same
//! bytes.
//!
//! Layout: a first line with the digest of all that follows, the generation in comments, one
//! upstream per slot that has backends, the maps that lead from a request to a slot and from there
//! to an upstream, and the server that tells which generation is loaded. Upstreams per slot, never
//! one for both: NGINX would hide a dead candidate by asking the other side.

use crate::config::{Config, Sticky};
use crate::names::Names;
use crate::snapshot::{FULL, Snapshot, percent};
use agente_plugin_sdk::{Desired, MatchRule};
use sha2::{Digest, Sha256};
use std::fmt::Write as _;

/// Begins each file of ours; the digest of everything after the line follows.
pub const FIRST_LINE: &str = "# agente-host nginx-switch file 1, sha256 ";

/// NGINX refuses a parameter of more than 4,096 bytes.
const MAX_PART_BYTES: usize = 3000;

/// A rendered file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendered {
    /// What it says.
    pub snapshot: Snapshot,
    /// Its bytes.
    pub text: String,
    /// The digest in its first line.
    pub digest: String,
}

/// Renders the wanted state.
pub fn render(config: &Config, names: &Names, wanted: &Desired) -> Rendered {
    let mut snapshot = Snapshot::wanted(names, wanted);
    let body = body(config, names, &snapshot);
    let mut generation = Sha256::new();
    generation.update(body.as_bytes());
    generation.update(snapshot.lines_of_generation().join("\n").as_bytes());
    generation.update(config.listen().as_bytes());
    let generation = hex::encode(generation.finalize());
    generation.get(..16).unwrap_or(&generation).clone_into(&mut snapshot.generation);

    let mut rest = String::new();
    rest.push_str("# Written by agente-host as a whole; edits are reported and overwritten.\n");
    for line in snapshot.lines() {
        push(&mut rest, format_args!("# {line}"));
    }
    rest.push('\n');
    rest.push_str(&body);
    rest.push_str(&marker(config, names, &snapshot));
    let digest = hex::encode(Sha256::digest(rest.as_bytes()));
    Rendered { snapshot, text: format!("{FIRST_LINE}{digest}\n{rest}"), digest }
}

/// Adds a line. Writing to a `String` can't fail.
fn push(text: &mut String, line: std::fmt::Arguments<'_>) {
    let _infallible = writeln!(text, "{line}");
}

fn body(config: &Config, names: &Names, snapshot: &Snapshot) -> String {
    let mut text = String::new();
    for route in snapshot.routes.iter().filter(|route| !route.backends.is_empty()) {
        let name = names.upstream(&route.slot);
        push(&mut text, format_args!("upstream {name} {{"));
        push(
            &mut text,
            format_args!("    zone {name} {}k;", 64 * route.backends.len().div_ceil(16)),
        );
        for backend in &route.backends {
            push(
                &mut text,
                format_args!(
                    "    server {} max_fails={};",
                    backend.address, config.upstream.max_fails
                ),
            );
        }
        if config.upstream.keepalive > 0 {
            push(&mut text, format_args!("    keepalive {};", config.upstream.keepalive));
            push(&mut text, format_args!("    keepalive_timeout {}s;", config.keepalive_seconds()));
        }
        text.push_str("}\n\n");
    }
    text.push_str(&split(config, names, snapshot));
    text.push_str(&overrides(names, snapshot));
    let (slot, pool) = (names.variable("slot"), names.variable("pool"));
    push(&mut text, format_args!("map ${slot} ${pool} {{"));
    text.push_str("    default \"\";\n");
    for route in snapshot.routes.iter().filter(|route| !route.backends.is_empty()) {
        push(&mut text, format_args!("    {} {};", route.slot, names.upstream(&route.slot)));
    }
    text.push_str("}\n\n");
    text
}

/// The variable by which the weights decide: the slot itself where no override comes before it.
fn split_variable(names: &Names, snapshot: &Snapshot) -> String {
    names.variable(if snapshot.overrides.is_empty() { "slot" } else { "split" })
}

fn split(config: &Config, names: &Names, snapshot: &Snapshot) -> String {
    let variable = split_variable(names, snapshot);
    let weighted: Vec<_> = snapshot.routes.iter().filter(|route| route.weight > 0).collect();
    let mut text = String::new();
    let Some((last, others)) = weighted.split_last().filter(|(last, _)| last.weight < FULL) else {
        let slot = weighted.last().map_or("\"\"", |route| route.slot.as_str());
        push(&mut text, format_args!("map \"\" ${variable} {{\n    default {slot};\n}}\n"));
        return text;
    };
    let key = match &config.sticky {
        Sticky::None => "$request_id".to_owned(),
        Sticky::Address => "$remote_addr".to_owned(),
        Sticky::Cookie(cookie) => {
            let key = names.variable("key");
            push(
                &mut text,
                format_args!(
                    "map $cookie_{cookie} ${key} {{\n    default $cookie_{cookie};\n    \"\" \
                     $remote_addr$http_user_agent;\n}}\n"
                ),
            );
            format!("${key}")
        }
    };
    // The order of slots never changes: a key's place on the line from 0 to 100 % stays, only the
    // border moves, so growing moves nobody back.
    push(&mut text, format_args!("split_clients \"{}:{key}\" ${variable} {{", names.base()));
    for route in others {
        push(&mut text, format_args!("    {}% {};", percent(route.weight), route.slot));
    }
    push(&mut text, format_args!("    * {};", last.slot));
    text.push_str("}\n\n");
    text
}

/// One map per rule, each falling through to the next and at last to the weights.
fn overrides(names: &Names, snapshot: &Snapshot) -> String {
    let mut text = String::new();
    let mut otherwise = split_variable(names, snapshot);
    for (index, rule) in snapshot.overrides.iter().enumerate().rev() {
        let variable = if index == 0 {
            names.variable("slot")
        } else {
            names.variable(&format!("rule_{}", index + 1))
        };
        let (source, pattern) = matching(rule);
        push(
            &mut text,
            format_args!(
                "map {source} ${variable} {{\n    default ${otherwise};\n    \"{pattern}\" \
                 {};\n}}\n",
                rule.slot
            ),
        );
        otherwise = variable;
    }
    text
}

/// A regular expression, as plain texts are compared without regard to case, and a cookie's name
/// may hold what no variable's name can.
fn matching(rule: &MatchRule) -> (String, String) {
    let exact = |text: &str| text.replace('.', "\\.");
    if rule.by == "cookie" {
        (
            "$http_cookie".into(),
            format!("~(?:^|; ?){}={}(?:;|$)", exact(&rule.name), exact(&rule.value)),
        )
    } else {
        (
            format!("$http_{}", rule.name.to_ascii_lowercase().replace('-', "_")),
            format!("~^{}$", exact(&rule.value)),
        )
    }
}

fn marker(config: &Config, names: &Names, snapshot: &Snapshot) -> String {
    let mut parts = vec![String::new()];
    for line in snapshot.lines() {
        if parts.last().is_some_and(|part| part.len() + line.len() > MAX_PART_BYTES) {
            parts.push(String::new());
        }
        if let Some(part) = parts.last_mut() {
            part.push_str(&line);
            part.push_str("\\n");
        }
    }
    let mut text = String::new();
    push(
        &mut text,
        format_args!(
            "server {{\n    listen {};\n    server_name {};",
            config.listen(),
            names.marker_host()
        ),
    );
    text.push_str("    access_log off;\n    default_type text/plain;\n");
    for (index, part) in parts.iter().enumerate() {
        push(&mut text, format_args!("    location = {} {{", part_path(index)));
        text.push_str("        add_header X-Nginx-Pid $pid always;\n");
        push(
            &mut text,
            format_args!(
                "        return 200 \"parts {}\\npart {} {}\\n{part}\";\n    }}",
                parts.len(),
                index + 1,
                snapshot.generation
            ),
        );
    }
    text.push_str("    location / {\n        return 404;\n    }\n}\n");
    text
}

/// Where a part of the marker is told, by its index from 0.
pub fn part_path(index: usize) -> String {
    if index == 0 { "/_agente/marker".into() } else { format!("/_agente/marker/{}", index + 1) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file::OnDisk;
    use agente_plugin_sdk::host::Context;
    use agente_plugin_sdk::{Backend, Route};
    use std::time::Duration;

    fn names() -> Names {
        Names::of(&Context {
            deployment: String::new(),
            service: "web-shop".into(),
            environment: "production".into(),
            write: false,
            remaining: Duration::ZERO,
            labels: vec![("store".into(), "store-1".into())],
        })
        .unwrap()
    }

    fn config(json: &str) -> Config {
        agente_plugin_sdk::config::parse(json).unwrap()
    }

    fn route(slot: &str, weight: u32, ports: &[u16]) -> Route {
        let backends = ports
            .iter()
            .map(|port| Backend {
                id: format!("{slot}-{port}"),
                address: format!("127.0.0.1:{port}"),
                labels: Vec::new(),
            })
            .collect();
        Route { slot: slot.into(), weight, backends, labels: vec![("release".into(), "7".into())] }
    }

    fn wanted(blue: Route, green: Route) -> Desired {
        Desired { fence: 12, routes: vec![blue, green], overrides: Vec::new(), labels: Vec::new() }
    }

    #[test]
    fn a_canary_with_overrides() {
        let mut wanted =
            wanted(route("blue", 9_050, &[18_100, 18_101]), route("green", 950, &[18_102]));
        wanted.overrides = vec![
            MatchRule {
                slot: "green".into(),
                by: "header".into(),
                name: "X-Canary".into(),
                value: "v1.2".into(),
                labels: Vec::new(),
            },
            MatchRule {
                slot: "blue".into(),
                by: "cookie".into(),
                name: "canary".into(),
                value: "never".into(),
                labels: Vec::new(),
            },
        ];
        let rendered = render(
            &config(r#"{ "directory": "/etc/nginx/agente", "sticky": { "cookie": "uid" } }"#),
            &names(),
            &wanted,
        );
        insta::assert_snapshot!("canary", rendered.text);
    }

    #[test]
    fn one_slot_alone() {
        let rendered = render(
            &config(r#"{ "directory": "/etc/nginx/agente" }"#),
            &names(),
            &wanted(route("blue", 10_000, &[18_100]), route("green", 0, &[])),
        );
        insta::assert_snapshot!("alone", rendered.text);
    }

    #[test]
    fn what_is_written_is_read_back() {
        let rendered = render(
            &config(r#"{ "directory": "/d" }"#),
            &names(),
            &wanted(route("blue", 1, &[1]), route("green", 9_999, &[2])),
        );
        let OnDisk::Ours { snapshot, digest } = OnDisk::read(Some(rendered.text.as_bytes())) else {
            panic!("not ours")
        };
        assert_eq!((snapshot, digest), (rendered.snapshot, rendered.digest));
    }

    #[test]
    fn the_generation_follows_routes_and_configuration_and_not_the_token() {
        let base = wanted(route("blue", 10_000, &[1]), route("green", 0, &[2]));
        let generation = |config: &Config, wanted: &Desired| {
            render(config, &names(), wanted).snapshot.generation
        };
        let plain = config(r#"{ "directory": "/d" }"#);
        let first = generation(&plain, &base);
        assert_eq!(first, generation(&plain, &Desired { fence: 99, ..base.clone() }));
        let reversed =
            Desired { routes: base.routes.iter().rev().cloned().collect(), ..base.clone() };
        assert_eq!(first, generation(&plain, &reversed), "the order of slots is ours");
        assert_ne!(
            first,
            generation(&config(r#"{ "directory": "/d", "upstream": { "keepalive": 8 } }"#), &base)
        );
        assert_ne!(
            first,
            generation(&plain, &wanted(route("blue", 10_000, &[3]), route("green", 0, &[2])))
        );
    }
}
