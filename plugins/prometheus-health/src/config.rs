//! The plugin's section of the manifest: where Prometheus is, and what every request carries.

use agente_plugin_sdk::host::Secret;
use agente_plugin_sdk::http::Request;
use agente_plugin_sdk::schemars::{self, JsonSchema};
use agente_plugin_sdk::{Failure, Host, Problem};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
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

/// Where Prometheus is, and what every request carries.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "The section of prometheus-health")]
pub struct Config {
    /// The server's base URL, with its path prefix where it has one: `http://127.0.0.1:9090`, `https://metrics.example/prometheus`.
    pub url: String,
    /// Headers by name. `{name}` in a value stands for a secret that `secrets` lists.
    /// `X-Scope-OrgID` chooses a tenant of Mimir.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// Names of secrets of the manifest that `headers` uses. The plugin never sees their values:
    /// the host puts them in as a request leaves.
    #[serde(default)]
    pub secrets: Vec<String>,
    /// The name of a secret that is sent as a bearer token.
    #[serde(default)]
    pub bearer: Option<String>,
    /// A user and a password.
    #[serde(default)]
    pub basic: Option<Basic>,
    /// Absolute path of a PEM file of certificate authorities to trust beside the system's, for
    /// `https`. The host reads it.
    #[serde(default)]
    pub ca: Option<String>,
    /// Absolute path of a PEM file with the certificate that is shown to the server, and its key,
    /// for `https`. The host reads it.
    #[serde(default)]
    pub client_certificate: Option<String>,
}

/// Basic authentication.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Basic {
    /// The user's name.
    pub user: String,
    /// The name of the secret that is the password.
    pub password: String,
}

impl Config {
    /// Judges the values; an empty list means good.
    pub fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        match Request::get(&self.url) {
            Err(error) => problems.push(Problem::new("url", error.to_string())),
            Ok(_) if self.url.contains(['?', '#']) => problems.push(Problem::new(
                "url",
                "the base URL must not contain `?` or `#`; remove what follows",
            )),
            Ok(request) if request.path.contains("/api/v1") => {
                problems.push(Problem::new(
                    "url",
                    "the base URL must end before `/api/v1`, which the plugin adds",
                ));
            }
            Ok(_) => {}
        }
        for (place, path) in [("ca", &self.ca), ("client_certificate", &self.client_certificate)] {
            let Some(path) = path else { continue };
            if !path.starts_with('/') {
                problems.push(Problem::new(place, format!("`{path}` is not an absolute path")));
            } else if self.url.starts_with("http://") {
                problems
                    .push(Problem::new(place, "is for `https`, but `url` starts with `http://`"));
            }
        }
        if self.bearer.is_some() && self.basic.is_some() {
            problems.push(Problem::new(
                "bearer",
                "`bearer` and `basic` exclude each other; remove one",
            ));
        }
        if self.bearer.as_deref() == Some("") {
            problems.push(Problem::new("bearer", "must be the name of a secret, not empty"));
        }
        if let Some(basic) = &self.basic {
            if basic.user.is_empty()
                || basic.user.contains(':')
                || basic.user.chars().any(char::is_control)
            {
                problems.push(Problem::new("basic.user", "must be a name on one line without `:`"));
            }
            if basic.password.is_empty() {
                problems.push(Problem::new(
                    "basic.password",
                    "must be the name of a secret, not \
                empty",
                ));
            }
        }
        for (name, value) in &self.headers {
            problems.extend(
                self.header_problem(name, value)
                    .map(|message| Problem::new(format!("headers.{name}"), message)),
            );
        }
        for (index, secret) in self.secrets.iter().enumerate() {
            if !self.headers.values().any(|value| value.contains(&format!("{{{secret}}}"))) {
                let message = format!(
                    "no header uses it; write `{{{secret}}}` where its value belongs, or remove it"
                );
                problems.push(Problem::new(format!("secrets.{index}"), message));
            }
        }
        problems
    }

    fn header_problem(&self, name: &str, value: &str) -> Option<String> {
        let lower = name.to_ascii_lowercase();
        if name.is_empty()
            || !name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
        {
            return Some(format!("`{name}` is not a header name"));
        }
        if RESERVED.contains(&lower.as_str()) {
            return Some("can't be set: it is managed by the connection".to_owned());
        }
        if lower == "authorization" && (self.bearer.is_some() || self.basic.is_some()) {
            return Some("`bearer` or `basic` sets it already".to_owned());
        }
        if value.trim() != value || value.bytes().any(|byte| !(b' '..=b'~').contains(&byte)) {
            return Some("must be one line of ASCII without leading or trailing spaces".to_owned());
        }
        let mut rest = value;
        while let Some((secret, after)) =
            rest.split_once('{').and_then(|(_, opened)| opened.split_once('}'))
        {
            if !self.secrets.iter().any(|listed| listed == secret) {
                return Some(format!("`{{{secret}}}` is not an entry of `secrets`"));
            }
            rest = after;
        }
        None
    }

    /// The headers that every request carries. For a secret that is its placeholder, which the host
    /// swaps as the request leaves.
    pub fn headers<H: Host>(&self, host: &H) -> Result<Vec<(String, String)>, Failure> {
        let opened = |name: &str| {
            let secret = host.secret(name).map_err(|failure| {
                failure.while_doing(format!("Prometheus is queried with the secret `{name}`"))
            })?;
            Ok::<_, Failure>(secret.placeholder())
        };
        let mut headers = vec![
            (
                "user-agent".to_owned(),
                concat!("agente-host-prometheus/", env!("CARGO_PKG_VERSION")).to_owned(),
            ),
            ("accept".to_owned(), "application/json".to_owned()),
        ];
        for (name, value) in &self.headers {
            let mut filled = value.clone();
            for secret in
                self.secrets.iter().filter(|secret| value.contains(&format!("{{{secret}}}")))
            {
                filled = filled.replace(&format!("{{{secret}}}"), &opened(secret)?);
            }
            headers.push((name.to_ascii_lowercase(), filled));
        }
        if let Some(secret) = &self.bearer {
            headers.push(("authorization".to_owned(), format!("Bearer {}", opened(secret)?)));
        }
        if let Some(basic) = &self.basic {
            // The host knows its placeholder inside of Basic credentials, too.
            headers.push((
                "authorization".to_owned(),
                format!(
                    "Basic {}",
                    STANDARD.encode(format!("{}:{}", basic.user, opened(&basic.password)?))
                ),
            ));
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
    fn what_is_wrong_is_told_at_its_place() {
        assert_eq!(problems(r#"{"url": "http://127.0.0.1:9090"}"#), [""; 0]);
        assert_eq!(
            problems(
                r#"{"url": "https://metrics.example/prometheus/", "bearer": "token", "ca": "/etc/ca.pem"}"#
            ),
            [""; 0]
        );
        for (json, path) in [
            ("{}", ""),
            (r#"{"url": "127.0.0.1:9090"}"#, "url"),
            (r#"{"url": "http://u:p@prom"}"#, "url"),
            (r#"{"url": "http://prom/api/v1"}"#, "url"),
            (r#"{"url": "http://prom/?a=b"}"#, "url"),
            (r#"{"url": "https://prom", "ca": "ca.pem"}"#, "ca"),
            (r#"{"url": "http://prom", "ca": "/ca.pem"}"#, "ca"),
            (r#"{"url": "https://prom", "client_certificate": "own.pem"}"#, "client_certificate"),
            (
                r#"{"url": "http://prom", "bearer": "a", "basic": {"user": "u", "password": "p"}}"#,
                "bearer",
            ),
            (r#"{"url": "http://prom", "basic": {"user": "a:b", "password": "p"}}"#, "basic.user"),
            (r#"{"url": "http://prom", "headers": {"Host": "x"}}"#, "headers.Host"),
            (r#"{"url": "http://prom", "headers": {"x-a": "{token}"}}"#, "headers.x-a"),
            (r#"{"url": "http://prom", "secrets": ["token"]}"#, "secrets.0"),
            (
                r#"{"url": "http://prom", "bearer": "t", "headers": {"Authorization": "x"}}"#,
                "headers.Authorization",
            ),
        ] {
            assert_eq!(problems(json), [path], "{json}");
        }
    }

    #[test]
    fn a_secret_is_only_ever_its_placeholder() {
        let host = NativeHost::new("shop", "production").with_secret("token", "hunter2");
        let placeholder = host.secret("token").unwrap().placeholder();
        let sent =
            |json: &str| serde_json::from_str::<Config>(json).unwrap().headers(&host).unwrap();
        let bearer = sent(r#"{"url": "http://prom", "bearer": "token"}"#);
        assert!(
            bearer.contains(&("authorization".to_owned(), format!("Bearer {placeholder}"))),
            "{bearer:?}"
        );
        let basic =
            sent(r#"{"url": "http://prom", "basic": {"user": "ops", "password": "token"}}"#);
        let encoded = STANDARD.encode(format!("ops:{placeholder}"));
        assert!(
            basic.contains(&("authorization".to_owned(), format!("Basic {encoded}"))),
            "{basic:?}"
        );
        let header = sent(
            r#"{"url": "http://prom", "secrets": ["token"], "headers": {"X-Key": "k {token}"}}"#,
        );
        assert!(header.contains(&("x-key".to_owned(), format!("k {placeholder}"))), "{header:?}");
    }
}
