//! What the plugin says of itself agrees with its types and with what it asks for.

use agente_plugin_sdk::Plugin;
use std::path::Path;

/// With `UPDATE_DESCRIPTION` set, writes it.
#[test]
fn the_kept_description_is_that_of_the_types() {
    let made = serde_json::to_string_pretty(&tcp_health::TcpHealth::describe()).unwrap() + "\n";
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("description.json");
    if std::env::var_os("UPDATE_DESCRIPTION").is_some() {
        return std::fs::write(path, made).unwrap();
    }
    assert_eq!(
        tcp_health::TcpHealth::description(),
        made,
        "run `UPDATE_DESCRIPTION=1 cargo test -p tcp-health --test description`"
    );
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
    assert!(
        description.config["properties"].is_object()
            || description.config["additionalProperties"] == false,
        "{}",
        description.config
    );
    assert!(description.spec.unwrap()["properties"].is_object());
}
