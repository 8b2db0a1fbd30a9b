//! A check's own table in the manifest: what is asked, and what must be answered.
//!
//! [`SpecTable`] is the wire form and has the right shape; a [`Spec`] that exists is valid. What is
//! wrong with the values is told all at once, each with its place.

use crate::grammar::{is_header_name, is_host, is_path, type_name};
use crate::status::{self, StatusForm, Statuses};
use crate::target::parse_url;
use agente_plugin_sdk::schemars::{self, JsonSchema};
use agente_plugin_sdk::{Problem, config};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::Duration;

/// What one check asks, and what must be answered.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "The table of a check by http-health")]
pub struct SpecTable {
    /// Path and query. Default: that of the public URL where the check is of the outside, else
    /// `/`.
    #[serde(default)]
    pub path: Option<String>,
    /// The request's method: a check only looks, so nothing but `GET` and `HEAD`. Default: `GET`.
    #[serde(default)]
    pub method: Method,
    /// The statuses that are good: one (`200`), a range (`"200-299"`), or a list of those.
    /// Redirects are not followed. Default: `"200-299"`.
    #[serde(default)]
    #[schemars(with = "Option<StatusForm>")]
    pub status: Option<Value>,
    /// What response headers must say: the exact value, or `{ contains = "…" }`.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, TextForm>")]
    pub headers: BTreeMap<String, Value>,
    /// What fields of a JSON body must be, by JSON pointer (RFC 6901): `"/database/ok" = true`.
    #[serde(default)]
    pub json: BTreeMap<String, Value>,
    /// What the body must contain.
    #[serde(default)]
    pub body_contains: Option<String>,
    /// How long a complete answer may take: `"500ms"`, `"2s"`.
    #[serde(default)]
    pub max_latency: Option<String>,
    /// The `Host` header for backends instead of the address's own. Such a check goes over a plain
    /// connection and carries no secret.
    #[serde(default)]
    pub host: Option<String>,
    /// The response header that must hold the number of the release that is asked about.
    #[serde(default)]
    pub release_header: Option<String>,
    /// What is asked instead of the backends: something else that the service needs. `http://` or
    /// `https://`, with its path.
    #[serde(default)]
    pub url: Option<String>,
}

/// The shape of an expected header, for the schema.
#[derive(JsonSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "only its schema is used")]
enum TextForm {
    Equals(String),
    Contains { contains: String },
}

/// What is asked and what must be answered; valid.
#[derive(Debug, Clone, PartialEq)]
pub struct Spec {
    /// Path and query, where the check says it.
    pub path: Option<String>,
    /// The request's method.
    pub method: Method,
    /// The statuses that are good.
    pub status: Statuses,
    /// What response headers must say.
    pub headers: Vec<HeaderExpectation>,
    /// What fields of a JSON body must be.
    pub json: Vec<JsonExpectation>,
    /// What the body must contain.
    pub body_contains: Option<String>,
    /// How long a complete answer may take.
    pub max_latency: Option<Duration>,
    /// The `Host` header instead of the address's own.
    pub host: Option<String>,
    /// The response header that must hold the number of the release, in lower case.
    pub release_header: Option<String>,
    /// What is asked instead of the backends.
    pub url: Option<String>,
}

/// The methods that a check may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum Method {
    /// The default.
    #[default]
    Get,
    /// Without a body in the answer.
    Head,
}

impl Method {
    /// As it is sent.
    pub fn as_str(self) -> &'static str {
        match self {
            Method::Get => "GET",
            Method::Head => "HEAD",
        }
    }
}

/// What one response header must say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderExpectation {
    /// Its name, in lower case.
    pub name: String,
    /// What its value must be.
    pub value: Text,
}

/// What a text must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Text {
    /// Exactly this.
    Equals(String),
    /// Anything with this in it.
    Contains(String),
}

/// What one field of a JSON body must be.
#[derive(Debug, Clone, PartialEq)]
pub struct JsonExpectation {
    /// Where the field is: a JSON pointer (RFC 6901); empty for the whole body.
    pub pointer: String,
    /// What must stand there.
    pub value: Value,
}

impl Spec {
    /// Reads a check's table.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with its values, sorted by place.
    pub fn read(table: &SpecTable) -> Result<Spec, Vec<Problem>> {
        let mut problems = contradictions(table);
        let spec = Spec {
            path: checked(
                table.path.as_deref(),
                "path",
                is_path,
                "it starts with `/` and contains no space, `#` or non-ASCII character",
                &mut problems,
            ),
            method: table.method,
            status: status::read(table.status.as_ref(), &mut problems),
            headers: read_headers(&table.headers, &mut problems),
            json: read_json(&table.json, &mut problems),
            body_contains: checked(
                table.body_contains.as_deref(),
                "body_contains",
                |text| !text.is_empty(),
                "an empty string is in every body",
                &mut problems,
            ),
            max_latency: read_duration(table.max_latency.as_deref(), "max_latency", &mut problems),
            host: checked(
                table.host.as_deref(),
                "host",
                is_host,
                "write for example `shop.example` or `shop.example:8080`",
                &mut problems,
            ),
            release_header: checked(
                table.release_header.as_deref(),
                "release_header",
                is_header_name,
                "it must be a header name",
                &mut problems,
            )
            .map(|name| name.to_ascii_lowercase()),
            url: table.url.clone(),
        };
        if let Some(Err(message)) = table.url.as_deref().map(parse_url) {
            problems.push(Problem::new("url", message));
        }
        problems.sort_by(|a, b| a.path.cmp(&b.path));
        if problems.is_empty() { Ok(spec) } else { Err(problems) }
    }

    /// Whether anything is expected of the body.
    pub fn looks_at_body(&self) -> bool {
        !self.json.is_empty() || self.body_contains.is_some()
    }
}

/// What can't be asked together.
fn contradictions(table: &SpecTable) -> Vec<Problem> {
    let mut problems = Vec::new();
    if table.url.is_some() {
        if table.path.is_some() {
            problems.push(Problem::new(
                "path",
                "`url` already contains the path; remove `path` or `url`",
            ));
        }
        if table.host.is_some() {
            problems.push(Problem::new("host", "is for backends; `url` names its own host"));
        }
    }
    if table.method == Method::Head {
        for (key, given) in
            [("json", !table.json.is_empty()), ("body_contains", table.body_contains.is_some())]
        {
            if given {
                problems
                    .push(Problem::new(key, "an answer to HEAD has no body; use the method `GET`"));
            }
        }
    }
    problems
}

/// Passes a text on if it is good.
fn checked(
    text: Option<&str>,
    place: &str,
    good: impl Fn(&str) -> bool,
    wanted: &str,
    problems: &mut Vec<Problem>,
) -> Option<String> {
    let text = text?;
    if good(text) {
        return Some(text.to_owned());
    }
    problems.push(Problem::new(place, format!("`{text}` can't be used here; {wanted}")));
    None
}

fn read_duration(text: Option<&str>, place: &str, problems: &mut Vec<Problem>) -> Option<Duration> {
    let text = text?;
    config::duration(text, place).map_err(|problem| problems.push(problem)).ok()
}

fn read_headers(
    table: &BTreeMap<String, Value>,
    problems: &mut Vec<Problem>,
) -> Vec<HeaderExpectation> {
    let mut headers = Vec::new();
    for (name, value) in table {
        let place = format!("headers.{name}");
        if !is_header_name(name) {
            problems.push(Problem::new(place, format!("`{name}` is not a header name")));
            continue;
        }
        match read_text(value) {
            Ok(value) => headers.push(HeaderExpectation { name: name.to_ascii_lowercase(), value }),
            Err(message) => problems.push(Problem::new(place, message)),
        }
    }
    headers
}

/// A text that must be equal, or `{"contains": …}`.
fn read_text(value: &Value) -> Result<Text, String> {
    let what = "the exact value as a string, or {\"contains\": \"…\"}";
    match value {
        Value::String(text) => Ok(Text::Equals(text.clone())),
        Value::Object(object) => {
            match (object.len(), object.get("contains").and_then(Value::as_str)) {
                (1, Some(part)) if !part.is_empty() => Ok(Text::Contains(part.to_owned())),
                _ => Err(format!("must be {what}")),
            }
        }
        other => Err(format!("must be {what}, not {}", type_name(other))),
    }
}

fn read_json(table: &BTreeMap<String, Value>, problems: &mut Vec<Problem>) -> Vec<JsonExpectation> {
    let mut fields = Vec::new();
    for (pointer, value) in table {
        if pointer.is_empty() || pointer.starts_with('/') {
            fields.push(JsonExpectation { pointer: pointer.clone(), value: value.clone() });
        } else {
            let right = pointer.replace('.', "/");
            problems.push(Problem::new(
                format!("json.{pointer}"),
                format!("`{pointer}` is not a JSON pointer; write \"/{right}\""),
            ));
        }
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<Spec, Vec<Problem>> {
        Spec::read(&agente_plugin_sdk::config::parse(json).map_err(|problem| vec![problem])?)
    }

    fn problems(json: &str) -> Vec<(String, String)> {
        read(json)
            .expect_err("the table was taken")
            .into_iter()
            .map(|problem| (problem.path, problem.message))
            .collect()
    }

    #[test]
    fn an_empty_table_asks_for_any_success_at_the_root() {
        let spec = read("{}").unwrap();
        assert_eq!((spec.path, spec.method, spec.max_latency), (None, Method::Get, None));
        assert!(spec.status.contains(204) && !spec.status.contains(302));
    }

    #[test]
    fn every_wrong_value_is_told_at_its_dotted_place() {
        let told = problems(
            r#"{"path": "readyz", "headers": {"x version": "1", "x-a": {"has": "1"}, "x-b": 2}, "json": {"db.ok": true},
                "max_latency": "500", "host": "a b", "release_header": "", "body_contains": "", "status": 20}"#,
        );
        let places: Vec<&str> = told.iter().map(|(path, _)| path.as_str()).collect();
        let wanted = [
            "body_contains",
            "headers.x version",
            "headers.x-a",
            "headers.x-b",
            "host",
            "json.db.ok",
            "max_latency",
            "path",
            "release_header",
            "status",
        ];
        assert_eq!(places, wanted);
        assert!(told.iter().any(|(_, message)| message.contains("write \"/db/ok\"")));
    }

    #[test]
    fn a_wrong_shape_is_told_with_what_would_be_right() {
        let told = problems(r#"{"method": "POST"}"#);
        assert_eq!(told.first().map(|p| p.0.as_str()), Some("method"));
        assert!(told.iter().any(|(_, message)| message.contains("`GET` or `HEAD`")), "{told:?}");
        assert!(
            problems(r#"{"pth": 1}"#)
                .iter()
                .any(|(_, message)| message.contains("`pth`") && message.contains("`path`"))
        );
        for bad in
            ["[1]", "{", "5", r#"{"scheme": "https"}"#, r#"{"path": 5}"#, r#"{"headers": []}"#]
        {
            assert_eq!(problems(bad).len(), 1, "{bad}");
        }
    }

    #[test]
    fn contradictions_are_told() {
        assert_eq!(problems(r#"{"method": "HEAD", "json": {"/ok": true}}"#).len(), 1);
        let told =
            problems(r#"{"url": "http://queue.internal/health", "path": "/", "host": "queue"}"#);
        assert_eq!(told.iter().map(|p| p.0.as_str()).collect::<Vec<_>>(), ["host", "path"]);
        assert_eq!(problems(r#"{"url": "queue.internal"}"#).len(), 1);
    }
}
