//! What the plugin asks for in `plugin.toml` fits what it is and what it can be configured with.

use agente_plugin_sdk::Plugin;
use nginx_switch::NginxSwitch;

const REQUEST: &str = include_str!("../plugin.toml");

#[test]
fn the_request_names_this_plugin_and_only_values_that_exist() {
    let description = NginxSwitch::describe();
    let request: toml::Table = toml::from_str(REQUEST).unwrap();
    let header = request["plugin"].as_table().unwrap();
    assert_eq!(header["name"].as_str(), Some(description.name.as_str()));
    assert_eq!(header["version"].as_str(), Some(description.version.as_str()));
    assert_eq!(header["kind"].as_str(), Some(description.kind.as_str()));
    let properties = description.config["properties"].as_object().unwrap();
    for reference in REQUEST.split("${config.").skip(1) {
        let key = reference.split(['}', ':']).next().unwrap();
        assert!(properties.contains_key(key), "`{key}` is not a key of the plugin's section");
        let default = reference
            .split_once('}')
            .and_then(|(inside, _)| inside.split_once(":-"))
            .map(|(_, default)| default);
        assert_eq!(
            properties[key].get("default").and_then(|default| default.as_str()),
            default,
            "the default of `{key}`"
        );
    }
}

/// With `UPDATE_DESCRIPTION` set, writes it.
#[test]
fn the_kept_description_is_that_of_the_types() {
    let made = serde_json::to_string_pretty(&NginxSwitch::describe()).unwrap() + "\n";
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("description.json");
    if std::env::var_os("UPDATE_DESCRIPTION").is_some() {
        return std::fs::write(path, made).unwrap();
    }
    assert_eq!(
        NginxSwitch::description(),
        made,
        "run `UPDATE_DESCRIPTION=1 cargo test -p nginx-switch --test request`"
    );
}
