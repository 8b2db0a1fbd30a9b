//! What the plugin says of itself agrees with its types and with what it asks for.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use agente_plugin_sdk::Plugin;
use agente_plugin_sdk::schemars::{JsonSchema, schema_for};
use std::path::Path;
use tcp_health::spec::SpecTable;

/// Compares a kept schema with the one of its type; with `UPDATE_SCHEMAS` set, writes it.
fn assert_kept<T: JsonSchema>(file: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("schema").join(file);
    let made = serde_json::to_string_pretty(&schema_for!(T)).unwrap() + "\n";
    if std::env::var_os("UPDATE_SCHEMAS").is_some() {
        std::fs::write(&path, &made).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap();
    assert_eq!(kept, made, "`schema/{file}` is not the schema of its type any more; run `UPDATE_SCHEMAS=1 cargo test -p tcp-health --test description`");
}

#[test]
fn the_kept_schemas_are_those_of_the_types() {
    assert_kept::<tcp_health::Config>("config.json");
    assert_kept::<SpecTable>("check.json");
}

#[test]
fn the_description_and_the_request_name_the_same_plugin() {
    let description = tcp_health::TcpHealth::describe();
    let request: toml::Table = toml::from_str(include_str!("../plugin.toml")).unwrap();
    let asked = |key: &str| request["plugin"][key].as_str().unwrap().to_owned();
    assert_eq!(asked("name"), description.name);
    assert_eq!(asked("version"), description.version);
    assert_eq!(asked("kind"), description.kind);
    assert_eq!(asked("summary"), description.summary);
    assert!(description.config["properties"].is_object() || description.config["additionalProperties"] == false, "{}", description.config);
    assert!(description.spec.unwrap()["properties"].is_object());
}
