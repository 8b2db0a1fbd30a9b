//! A plugin's request: who it is and what it asks for, as its author wrote it in `plugin.toml`.
//!
//! An author can't know a user's paths and hosts. So any text of a rule may name
//! `${config.<path>}`, a value of the plugin's section of the manifest, and `${spec.<path>}`, a
//! value of the own table of each check that uses the plugin; `:-` gives a default (`${config.
//! program:-/usr/sbin/nginx}`). A rule that names a value which is not set is not asked for; a list
//! gives one rule for each of its values. `@backends` and `@public` stay as they are and are filled
//! in by the host for each operation.
//!
//! No text of a request has a control character, before its values are filled in and after: what
//! the operator reads is what it says.

mod filled;

use crate::capability::Capabilities;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The kinds of plugin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PluginKind {
    /// Sets and reads the weights of a target.
    TrafficSwitcher,
    /// Answers questions about health.
    HealthCheck,
}

impl fmt::Display for PluginKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            PluginKind::TrafficSwitcher => "traffic-switcher",
            PluginKind::HealthCheck => "health-check",
        })
    }
}

/// Who a plugin is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PluginHeader {
    pub name: String,
    pub version: String,
    /// What it is for.
    pub kind: PluginKind,
    /// The contract it was built against: `agente:traffic@0.1`.
    pub contract: String,
    /// What it does, in one sentence.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub summary: String,
}

/// A whole request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PluginRequest {
    /// Who asks.
    pub plugin: PluginHeader,
    /// For what, with `${…}` still in it.
    pub asks: Capabilities,
}

/// Why a text is not a request.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// It is not TOML, or has keys or values that a request has not.
    #[error("the plugin's request can't be read")]
    Syntax(#[source] Box<toml::de::Error>),
    /// It doesn't say who asks.
    #[error("the request has no table `[plugin]` with `name`, `version`, `kind` and `contract`")]
    NoHeader,
    /// A `${…}` that is not closed or names nothing that can be named.
    #[error(
        "`{text}` in the request is not a valid reference; write `${{config.<path>}}` or \
        `${{config.<path>:-<default>}}`"
    )]
    BadReference {
        /// The text of the rule.
        text: String,
    },
    /// A value that a rule names is a table.
    #[error(
        "`{text}` in the request refers to `{path}`, which is a table in the manifest; it must be \
        a string, a number or a list of these"
    )]
    NotAText {
        /// The text of the rule.
        text: String,
        /// The value's path.
        path: String,
    },
    /// A path that is not absolute, once its values are filled in.
    #[error("the request asks for `{path}`, which is not an absolute path without `..`")]
    NotAbsolute { path: String },
    /// A rule that could never match.
    #[error("the request has an invalid rule: {0}")]
    Meaningless(String),
    /// A text that a terminal would not show as it is.
    #[error(
        "the request has a control character in {text:?}, which could disguise it on a terminal; \
        remove it"
    )]
    ControlCharacter { text: String },
}

/// Whether a terminal acts on a character instead of showing it: the controls, the ends of lines
/// that are none, and what turns the direction of text.
pub fn acts_on_terminal(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

impl PluginRequest {
    /// Reads a `plugin.toml`.
    pub fn parse(text: &str) -> Result<Self, RequestError> {
        let mut table: toml::Table =
            toml::from_str(text).map_err(|error| RequestError::Syntax(Box::new(error)))?;
        readable_table(&table)?;
        let header = table.remove("plugin").ok_or(RequestError::NoHeader)?;
        let plugin = header.try_into().map_err(|error| RequestError::Syntax(Box::new(error)))?;
        let asks = toml::Value::Table(table)
            .try_into()
            .map_err(|error| RequestError::Syntax(Box::new(error)))?;
        Ok(Self { plugin, asks })
    }
}

fn readable(text: &str) -> Result<(), RequestError> {
    if text.contains(acts_on_terminal) {
        Err(RequestError::ControlCharacter { text: text.to_owned() })
    } else {
        Ok(())
    }
}

fn readable_value(value: &toml::Value) -> Result<(), RequestError> {
    match value {
        toml::Value::String(text) => readable(text),
        toml::Value::Array(values) => values.iter().try_for_each(readable_value),
        toml::Value::Table(table) => readable_table(table),
        toml::Value::Integer(_)
        | toml::Value::Float(_)
        | toml::Value::Boolean(_)
        | toml::Value::Datetime(_) => Ok(()),
    }
}

fn readable_table(table: &toml::Table) -> Result<(), RequestError> {
    table.iter().try_for_each(|(key, value)| readable(key).and_then(|()| readable_value(value)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const REQUEST: &str = r#"
        [plugin]
        name = "nginx-switch"
        version = "0.1.0"
        kind = "traffic-switcher"
        contract = "agente:traffic@0.1"

        [[files]]
        path = "${config.folder}/*"
        access = "write"

        [[exec]]
        program = "${config.program:-/usr/sbin/nginx}"
        args = ["-t", "-c", "${config.main:-/etc/nginx/nginx.conf}"]
        phase = "read"

        [[process]]
        of = "container:${config.container}"
        signals = ["HUP"]

        [[tcp]]
        address = "${config.peers}"

        [[tcp]]
        address = "${spec.address}"

        [[net]]
        origin = "${config.url}"
    "#;

    #[test]
    fn values_of_the_manifest_are_filled_in_and_unset_ones_leave_the_rule_out() {
        let request = PluginRequest::parse(REQUEST).unwrap();
        let config = json!({ "folder": "/etc/nginx/conf.d", "peers": ["a:1", "b:2"], "url": "https://Prom.Internal:443/query?x=1" });
        let resolved =
            request.resolve(&config, &[json!({ "address": "127.0.0.1:6379" }), json!({})]).unwrap();
        assert_eq!(resolved.files[0].path, "/etc/nginx/conf.d/*");
        assert_eq!(resolved.exec[0].program, "/usr/sbin/nginx");
        assert_eq!(resolved.exec[0].args, ["-t", "-c", "/etc/nginx/nginx.conf"]);
        assert!(resolved.process.is_empty());
        assert_eq!(
            resolved.tcp.iter().map(|rule| rule.address.as_str()).collect::<Vec<_>>(),
            ["a:1", "b:2", "127.0.0.1:6379"]
        );
        assert_eq!(resolved.net[0].origin, "https://prom.internal");
    }

    #[test]
    fn a_value_can_not_lead_out_of_an_absolute_path() {
        let request = PluginRequest::parse(REQUEST).unwrap();
        for folder in ["conf.d", "/etc/nginx/../../root"] {
            assert!(
                matches!(
                    request.resolve(&json!({ "folder": folder }), &[]),
                    Err(RequestError::NotAbsolute { .. })
                ),
                "{folder}"
            );
        }
        assert!(
            request.resolve(&json!({ "folder": "" }), &[]).unwrap().files.is_empty(),
            "an empty folder became the root"
        );
    }

    #[test]
    fn a_control_character_is_refused_wherever_it_stands() {
        for (text, hostile) in [
            ("version = \"0.1.0\"", "version = \"0.1.0\\u001b[2K\""),
            ("version = \"0.1.0\"", "version = \"0.1.0\"\nsummary = \"a\\nb\""),
            ("access = \"write\"", "\"\\u001b[1A\" = 1"),
            ("args = [\"-t\",", "args = [\"-t\\r\","),
            ("signals = [\"HUP\"]", "signals = [\"\\u009b2J\"]"),
            ("${config.url}", "https://a\\u202e"),
        ] {
            assert!(REQUEST.contains(text));
            let refused = PluginRequest::parse(&REQUEST.replace(text, hostile)).unwrap_err();
            assert!(
                matches!(refused, RequestError::ControlCharacter { .. }),
                "{hostile}: {refused}"
            );
            assert!(!refused.to_string().contains(acts_on_terminal), "{refused}");
        }
        let request = PluginRequest::parse(REQUEST).unwrap();
        for config in [
            json!({ "folder": "/etc/\u{1b}[2K" }),
            json!({ "main": "/etc/a\nb" }),
            json!({ "container": "a\u{7f}" }),
            json!({ "peers": ["a:1", "b\t:1"] }),
        ] {
            assert!(
                matches!(request.resolve(&config, &[]), Err(RequestError::ControlCharacter { .. })),
                "{config}"
            );
        }
    }

    #[test]
    fn a_request_with_an_unknown_key_or_reference_is_refused() {
        assert!(matches!(PluginRequest::parse("tcp = []"), Err(RequestError::NoHeader)));
        let unknown = format!("{REQUEST}\n[[network]]\nhost = \"a\"");
        assert!(matches!(PluginRequest::parse(&unknown), Err(RequestError::Syntax(_))));
        let request =
            PluginRequest::parse(&REQUEST.replace("${config.folder}", "${home}")).unwrap();
        assert!(matches!(request.resolve(&json!({}), &[]), Err(RequestError::BadReference { .. })));
        let prefixed =
            REQUEST.replace("phase = \"read\"", "phase = \"read\"\nprefix = [\"/usr/bin/sudo\"]");
        assert!(matches!(
            PluginRequest::parse(&prefixed).unwrap().resolve(&json!({}), &[]),
            Err(RequestError::Meaningless(_))
        ));
    }
}
