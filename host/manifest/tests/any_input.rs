//! No input upsets the loader: whatever the bytes are, the answer is a manifest or a list of
//! mistakes with places.

use agente_manifest::{Manifest, Overrides, schema};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

const SEED: &str = r#"service = "shop"
[runtime.process]
artifact = "shop"
command = ["./shop", "127.0.0.1:{port}"]
ports = "18100-18199"
env = { A = "x", B = { secret = "db" } }
[secrets]
db = { env = "DB" }
[plugins.nginx-switch.config]
a = [1, { b = 2.5 }]
[switch]
plugin = "nginx-switch"
[[checks]]
name = "redis"
plugin = "tcp-health"
spec = { address = "127.0.0.1:6379" }
[health]
endpoints = ["/healthz", { path = "/readyz", json = { "/a" = 1 } }]
[probe]
url = "http://127.0.0.1:8080/"
[strategy]
weights = [100]
override = [{ name = "X", value = "y" }]
[environments.production.strategy]
bake = "1m"
kind = "canary"
stages = [{ weight = 12.5, pause = "1m", wait = true }]
[environments.production.analysis]
false_alarm = "0.5%"
on_outage = "fallback"
fallback = ["health-readyz"]
[[environments.production.analysis.checks]]
name = "errors"
plugin = "numbers"
measure = "errors"
errors = { template = "http-errors" }
total = "all"
max = "5%"
[plugins.numbers]
"#;

fn judge(bytes: Vec<u8>, environment: Option<String>) {
    let overrides = Overrides { environment, ..Overrides::default() };
    let lines = bytes.split(|&byte| byte == b'\n').count();
    match Manifest::from_bytes(Path::new("nowhere/agente.toml"), bytes, &overrides) {
        // Paths are relative to a folder that isn't there, so the artifact at least is missing.
        Ok(manifest) => {
            assert!(!matches!(manifest.runtime, agente_engine::release::RuntimeSpec::Process(_)));
        }
        Err(error) => {
            assert!(!error.mistakes.is_empty());
            for mistake in &error.mistakes {
                assert!((1..=lines).contains(&mistake.line) && mistake.column >= 1, "{mistake:?}");
                assert!(!mistake.message.is_empty() && !mistake.fix.is_empty(), "{mistake:?}");
                let text = mistake.to_string();
                assert!(text.lines().all(|line| !line.contains('\u{1b}')), "{text:?}");
            }
            assert!(error.mistakes.is_sorted_by_key(|mistake| (mistake.line, mistake.column)));
        }
    }
}

/// Values of every kind, nested.
fn value() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("1".to_owned()),
        Just("-1".to_owned()),
        Just("2.5".to_owned()),
        Just("nan".to_owned()),
        Just("true".to_owned()),
        Just("1979-05-27T07:32:00Z".to_owned()),
        Just("\"\"".to_owned()),
        Just("\"10s\"".to_owned()),
        Just("\"5%\"".to_owned()),
        Just("\"18100-18199\"".to_owned()),
        Just("\"/\"".to_owned()),
        "\"[a-z{}:/.0-9-]{0,12}\"",
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3)
                .prop_map(|items| format!("[{}]", items.join(", "))),
            prop::collection::vec(("[a-z]{1,6}", inner), 0..3).prop_map(|entries| {
                let mut seen = std::collections::BTreeSet::new();
                let written: Vec<String> = entries
                    .into_iter()
                    .filter(|(key, _)| seen.insert(key.clone()))
                    .map(|(key, value)| format!("{key} = {value}"))
                    .collect();
                format!("{{ {} }}", written.join(", "))
            }),
        ]
    })
}

/// Every key of every table, as the schema has them.
fn keys() -> Vec<String> {
    fn visit(
        root: &serde_json::Value,
        schema: &serde_json::Value,
        path: &str,
        keys: &mut Vec<String>,
    ) {
        let name = schema
            .get("$ref")
            .and_then(|name| name.as_str())
            .and_then(|name| name.strip_prefix("#/$defs/"));
        let schema = name.and_then(|name| root["$defs"].get(name)).unwrap_or(schema);
        if path.matches('.').count() > 5 {
            return;
        }
        for (key, property) in schema
            .get("properties")
            .and_then(|properties| properties.as_object())
            .into_iter()
            .flatten()
        {
            let here = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            keys.push(here.clone());
            visit(root, property, &here, keys);
        }
        if let Some(named) = schema.get("additionalProperties").filter(|named| named.is_object()) {
            let here = format!("{path}.some-name");
            keys.push(here.clone());
            visit(root, named, &here, keys);
        }
    }
    let schema = schema();
    let mut keys = Vec::new();
    visit(&schema, &schema, "", &mut keys);
    keys
}

/// Every key of a table that stands in a list, as the schema has them.
fn keys_of(table: &str) -> Vec<String> {
    let schema = schema();
    let keys =
        schema.pointer(&format!("/$defs/{table}/properties")).and_then(|keys| keys.as_object());
    let keys: Vec<String> = keys.into_iter().flat_map(|keys| keys.keys().cloned()).collect();
    assert!(!keys.is_empty(), "`{table}` is not in the schema");
    keys
}

/// Some of these keys, each with a value as it is written.
fn entries(
    keys: Vec<String>,
    count: Range<usize>,
) -> impl Strategy<Value = BTreeMap<String, String>> {
    prop::collection::btree_map(prop::sample::select(keys), value(), count)
}

fn written(entries: &BTreeMap<String, String>) -> String {
    let lines: Vec<String> =
        entries.iter().map(|(key, value)| format!("{key} = {value}")).collect();
    lines.join("\n") + "\n"
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        judge(bytes, None);
    }

    #[test]
    fn any_text(text in "\\PC{0,200}", environment in prop::option::of("[a-z]{1,10}")) {
        judge(text.into_bytes(), environment);
    }

    #[test]
    fn a_good_manifest_with_a_hole_or_a_splinter(
        at in 0..SEED.len(),
        length in 0_usize..40,
        splinter in prop::collection::vec(
            prop_oneof![any::<u8>(), prop::sample::select(b"\"[{=\n".to_vec())],
            0..6,
        ),
    ) {
        let mut bytes = SEED.as_bytes().to_vec();
        let end = (at + length).min(bytes.len());
        bytes.splice(at..end, splinter);
        judge(bytes, None);
    }

    #[test]
    fn any_values_at_any_keys(
        entries in entries(keys(), 1..8),
        environment in prop::option::of(Just("some-name".to_owned())),
    ) {
        judge(written(&entries).into_bytes(), environment);
    }

    #[test]
    fn any_values_in_a_measure(
        measure in prop::sample::select(vec!["errors", "latency", "value"]),
        mut entries in entries(keys_of("AnalysisCheck"), 0..8),
    ) {
        entries.retain(|key, _| key != "measure");
        let good = SEED.split("[environments").next().unwrap_or_default();
        let text = format!(
            "{good}[plugins.numbers]\n[analysis]\n[[analysis.checks]]\nmeasure = \"{measure}\"\n{}",
            written(&entries)
        );
        judge(text.into_bytes(), None);
    }

    #[test]
    fn any_values_in_a_stage(
        stages in prop::collection::vec(entries(keys_of("Stage"), 0..4), 0..4),
    ) {
        let good = SEED.split("[environments").next().unwrap_or_default();
        let good = good.replace("weights = [100]", "kind = \"canary\"");
        let stages =
            stages.iter().map(|entries| format!("[[strategy.stages]]\n{}", written(entries)));
        judge(format!("{good}{}", stages.collect::<String>()).into_bytes(), None);
    }
}

#[test]
fn deep_nesting_is_a_mistake_and_not_a_crash() {
    for text in [
        format!("{}=1", vec!["a"; 200_000].join(".")),
        format!("[{}]", vec!["a"; 200_000].join(".")),
        format!("a={}", "[".repeat(200_000)),
        "a={b=".repeat(100_000),
    ] {
        judge(text.into_bytes(), None);
    }
}

#[test]
fn every_way_a_line_can_end_keeps_the_count() {
    let text = SEED.replace('\n', "\r\n").replace("bake = \"1m\"", "bake = 1");
    let error = Manifest::from_bytes(
        Path::new("nowhere/agente.toml"),
        text.into_bytes(),
        &Overrides::default(),
    )
    .unwrap_err();
    assert_eq!(
        error.mistakes.last().map(|mistake| (mistake.line, mistake.excerpt.as_str())),
        Some((25, "bake = 1"))
    );
}
