//! The plugin's section of the manifest: what every request carries.

use crate::grammar::{is_header_name, is_header_value};
use agente_plugin_sdk::host::Secret;
use agente_plugin_sdk::schemars::{self, JsonSchema};
use agente_plugin_sdk::{Failure, Host, Problem};
use serde::Deserialize;
use std::collections::BTreeMap;

/// Headers that belong to the connection, or that are set by other means.
const RESERVED: [&str; 9] = [
    "connection",
    "content-length",
    "host",
    "http2-settings",
    "keep-alive",
    "te",
    "transfer-encoding",
    "upgrade",
    "user-agent",
];

/// What every request of this plugin carries.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "The section of http-health")]
pub struct Config {
    /// The `User-Agent` header. Default: `agente-host-health/` and the plugin's version.
    #[serde(default)]
    pub user_agent: Option<String>,
    /// Headers by name. `{name}` in a value stands for a secret that `secrets` lists:
    /// `authorization = "Bearer {health-token}"`.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// Names of secrets of the manifest that `headers` uses. The plugin never sees their values:
    /// the host puts them in as a request leaves.
    #[serde(default)]
    pub secrets: Vec<String>,
    /// Absolute path of a PEM file of certificate authorities to trust beside the system's, for
    /// `https`. The host reads it.
    #[serde(default)]
    pub ca: Option<String>,
}

/// A part of a header's value.
#[derive(Debug, PartialEq, Eq)]
enum Part<'t> {
    /// As it is.
    Text(&'t str),
    /// The value of a secret.
    Secret(&'t str),
}

/// Takes a header's value apart.
fn parts(value: &str) -> Vec<Part<'_>> {
    let mut parts = Vec::new();
    let mut rest = value;
    while let Some((before, opened)) = rest.split_once('{') {
        let Some((name, after)) = opened.split_once('}') else { break };
        parts.extend([Part::Text(before), Part::Secret(name)]);
        rest = after;
    }
    parts.push(Part::Text(rest));
    parts
}

impl Config {
    /// Judges the values; an empty list means good.
    pub fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        if let Some(agent) = &self.user_agent
            && (agent.is_empty() || !is_header_value(agent))
        {
            problems.push(Problem::new("user_agent", "must be a non-empty string on one line"));
        }
        if let Some(path) = &self.ca
            && !path.starts_with('/')
        {
            problems.push(Problem::new("ca", format!("`{path}` is not an absolute path")));
        }
        for (name, value) in &self.headers {
            problems.extend(
                self.header_problem(name, value)
                    .map(|message| Problem::new(format!("headers.{name}"), message)),
            );
        }
        for (index, secret) in self.secrets.iter().enumerate() {
            if !self.headers.values().any(|value| parts(value).contains(&Part::Secret(secret))) {
                problems.push(Problem::new(
                    format!("secrets.{index}"),
                    format!(
                        "no header uses it; write `{{{secret}}}` where its value belongs, or \
                        remove it"
                    ),
                ));
            }
        }
        problems
    }

    fn header_problem(&self, name: &str, value: &str) -> Option<String> {
        if !is_header_name(name) {
            return Some(format!("`{name}` is not a header name"));
        }
        match name.to_ascii_lowercase().as_str() {
            "host" => {
                return Some("can't be set here; use `host` in the check's table".to_owned());
            }
            "user-agent" => return Some("can't be set here; use `user_agent`".to_owned()),
            lower if RESERVED.contains(&lower) => {
                return Some("can't be set: it is managed by the connection".to_owned());
            }
            _ => {}
        }
        if !is_header_value(value) {
            return Some("must be one line without leading or trailing spaces".to_owned());
        }
        parts(value).into_iter().find_map(|part| match part {
            Part::Secret(secret) if !self.secrets.iter().any(|listed| listed == secret) => {
                Some(format!("`{{{secret}}}` is not an entry of `secrets`"))
            }
            Part::Secret(_) | Part::Text(_) => None,
        })
    }

    /// The headers that every request carries. For a secret that is its placeholder, which the host
    /// swaps as the request leaves.
    pub fn headers<H: Host>(&self, host: &H) -> Result<Vec<(String, String)>, Failure> {
        let agent = self.user_agent.clone().unwrap_or_else(|| {
            concat!("agente-host-health/", env!("CARGO_PKG_VERSION")).to_owned()
        });
        let mut headers = vec![("user-agent".to_owned(), agent)];
        for (name, value) in &self.headers {
            let mut filled = String::new();
            for part in parts(value) {
                match part {
                    Part::Text(text) => filled.push_str(text),
                    Part::Secret(secret) => {
                        let opened = host.secret(secret).map_err(|failure| {
                            failure.while_doing(format!(
                                "the header `{name}` needs the secret `{secret}`"
                            ))
                        })?;
                        filled.push_str(&opened.placeholder());
                    }
                }
            }
            headers.push((name.to_ascii_lowercase(), filled));
        }
        Ok(headers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use agente_plugin_sdk::native::NativeHost;

    fn problems(json: &str) -> Vec<String> {
        match agente_plugin_sdk::config::parse::<Config>(json) {
            Ok(config) => config.problems().into_iter().map(|problem| problem.path).collect(),
            Err(problem) => vec![problem.path],
        }
    }

    #[test]
    fn a_secret_in_a_header_is_only_ever_its_placeholder() {
        let config: Config = serde_json::from_str(r#"{"secrets": ["token"], "headers": {"Authorization": "Bearer {token}!", "x-from": "host"}}"#).unwrap();
        assert_eq!(config.problems(), []);
        let host = NativeHost::new("shop", "production").with_secret("token", "hunter2");
        let placeholder = host.secret("token").unwrap().placeholder();
        let sent = config.headers(&host).unwrap();
        assert!(
            sent.contains(&("authorization".to_owned(), format!("Bearer {placeholder}!"))),
            "{sent:?}"
        );
        assert!(!format!("{sent:?}").contains("hunter2"));
        let failure = config.headers(&NativeHost::new("shop", "production")).unwrap_err();
        assert!(
            failure.message.contains("`authorization`")
                || failure.message.contains("`Authorization`"),
            "{failure}"
        );
    }

    #[test]
    fn what_can_not_be_sent_is_told_at_its_place() {
        let told = problems(
            r#"{"user_agent": "", "ca": "ca.pem", "secrets": ["unused"], "headers": {"a b": "1", "Host": "x", "x-c": "1\r\nx-d: 2", "x-e": "{token}"}}"#,
        );
        assert_eq!(
            told,
            [
                "user_agent",
                "ca",
                "headers.Host",
                "headers.a b",
                "headers.x-c",
                "headers.x-e",
                "secrets.0"
            ]
        );
        assert_eq!(problems(r#"{"headers": {"x": 5}}"#), ["headers.x"]);
        assert_eq!(problems(r#"{"agent": "x"}"#).len(), 1);
    }

    #[test]
    fn a_brace_that_is_not_closed_is_a_brace() {
        assert_eq!(parts("a {b} {c"), [Part::Text("a "), Part::Secret("b"), Part::Text(" {c")]);
    }
}
