//! A check's own table in the manifest: whom to connect to, what to send, and what must come back.
//!
//! [`SpecTable`] is the wire form and has the right shape; a [`Spec`] that exists is valid.

use agente_plugin_sdk::schemars::{self, JsonSchema};
use agente_plugin_sdk::{Problem, config};
use serde::Deserialize;
use serde_json::Value;
use std::time::Duration;

/// How long connecting, sending and reading may take where the check does not say it.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(2);

/// What one check sends, and what must come back.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "The table of a check by tcp-health")]
pub struct SpecTable {
    /// `host:port` to connect to. Default: each backend of what is judged.
    #[serde(default)]
    pub address: Option<String>,
    /// What is sent once connected: `"PING\r\n"`. Default: nothing.
    #[serde(default)]
    pub send: Option<String>,
    /// The same as hexadecimal digits, for what is not text: `"00000008 04d2162f"`.
    #[serde(default)]
    pub send_hex: Option<String>,
    /// What the answer must begin with: a text, a list of texts of which one must match, or `{
    /// contains = "…" }`. Default: connecting is enough.
    #[serde(default)]
    #[schemars(with = "Option<ExpectForm>")]
    pub expect: Option<Value>,
    /// What the answer must begin with, as hexadecimal digits.
    #[serde(default)]
    pub expect_hex: Option<String>,
    /// How long connecting, sending and reading may take together, for each address: `"500ms"`,
    /// `"2s"`. Default: `"2s"`.
    #[serde(default)]
    pub timeout: Option<String>,
}

/// The shape of `expect`, for the schema.
#[derive(JsonSchema)]
#[serde(untagged)]
#[expect(
    dead_code,
    reason = "only its schema is used; messages of an untagged enum would name no cause"
)]
enum ExpectForm {
    BeginsWith(String),
    BeginsWithOneOf(Vec<String>),
    Contains { contains: String },
}

/// What is sent and what must come back; valid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spec {
    /// Whom to connect to instead of the backends.
    pub address: Option<String>,
    /// What is sent; nothing where it is empty.
    pub send: Vec<u8>,
    /// What must come back; none where connecting is enough.
    pub expect: Option<Expect>,
    /// How long all of it may take, for each address.
    pub timeout: Duration,
}

/// What must come back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expect {
    /// The answer begins with one of these; none of them is empty.
    BeginsWith(Vec<Vec<u8>>),
    /// The answer holds this somewhere.
    Contains(Vec<u8>),
}

/// What the bytes that came so far say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Match {
    /// They are as expected, whatever follows.
    Yes,
    /// They can't become as expected.
    No,
    /// More could make them so.
    Open,
}

impl Expect {
    /// Judges what came so far.
    pub fn judge(&self, seen: &[u8]) -> Match {
        match self {
            Expect::BeginsWith(all) if all.iter().any(|wanted| seen.starts_with(wanted)) => {
                Match::Yes
            }
            Expect::BeginsWith(all) if all.iter().any(|wanted| wanted.starts_with(seen)) => {
                Match::Open
            }
            Expect::BeginsWith(_) => Match::No,
            Expect::Contains(wanted)
                if seen.windows(wanted.len().max(1)).any(|window| window == wanted) =>
            {
                Match::Yes
            }
            Expect::Contains(_) => Match::Open,
        }
    }

    /// In words.
    pub fn describe(&self) -> String {
        match self {
            Expect::BeginsWith(all) => {
                let all: Vec<String> =
                    all.iter().map(|bytes| format!("`{}`", bytes.escape_ascii())).collect();
                format!("{} at the start", all.join(" or "))
            }
            Expect::Contains(wanted) => format!("`{}` in it", wanted.escape_ascii()),
        }
    }
}

impl Spec {
    /// Reads a check's table.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with its values, sorted by place.
    pub fn read(table: &SpecTable) -> Result<Spec, Vec<Problem>> {
        let mut problems = Vec::new();
        let both =
            |one: bool, other: bool, key: &str, instead: &str, problems: &mut Vec<Problem>| {
                if one && other {
                    problems.push(Problem::new(
                        key,
                        format!("remove `{key}` or `{instead}`; they exclude each other"),
                    ));
                }
            };
        both(table.send.is_some(), table.send_hex.is_some(), "send_hex", "send", &mut problems);
        both(
            table.expect.is_some(),
            table.expect_hex.is_some(),
            "expect_hex",
            "expect",
            &mut problems,
        );
        if let Some(address) = &table.address
            && host_and_port(address).is_none()
        {
            problems.push(Problem::new(
                "address",
                format!("`{address}` is not `host:port`; write for example \"127.0.0.1:6379\""),
            ));
        }
        let send = match (&table.send, &table.send_hex) {
            (Some(text), _) => text.clone().into_bytes(),
            (None, Some(digits)) => read_hex(digits, "send_hex", &mut problems),
            (None, None) => Vec::new(),
        };
        let expect = match (&table.expect, &table.expect_hex) {
            (Some(value), _) => read_expect(value, &mut problems),
            (None, Some(digits)) => {
                Some(Expect::BeginsWith(vec![read_hex(digits, "expect_hex", &mut problems)]))
            }
            (None, None) => None,
        };
        let timeout = read_timeout(table.timeout.as_deref(), &mut problems);
        problems.sort_by(|a, b| a.path.cmp(&b.path));
        if problems.is_empty() {
            Ok(Spec { address: table.address.clone(), send, expect, timeout })
        } else {
            Err(problems)
        }
    }
}

/// Takes `host:port` or `[v6]:port` apart; none for anything else.
pub fn host_and_port(address: &str) -> Option<(&str, u16)> {
    let (host, port) = address.rsplit_once(':')?;
    let port = port.parse::<u16>().ok().filter(|port| *port > 0)?;
    let host = match host.strip_prefix('[') {
        Some(rest) => {
            rest.strip_suffix(']').filter(|inner| inner.parse::<std::net::Ipv6Addr>().is_ok())?
        }
        None => host,
    };
    let named = !host.is_empty()
        && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
    (named || address.starts_with('[')).then_some((host, port))
}

fn read_hex(digits: &str, place: &str, problems: &mut Vec<Problem>) -> Vec<u8> {
    let bare: String = digits.chars().filter(|c| !c.is_whitespace()).collect();
    match hex::decode(&bare) {
        Ok(bytes) if !bytes.is_empty() => bytes,
        _ => {
            problems.push(Problem::new(
                place,
                format!(
                    "`{digits}` is not a byte sequence; write two hexadecimal digits per byte, \
                    such as \"00000008 04d2162f\""
                ),
            ));
            Vec::new()
        }
    }
}

fn read_expect(value: &Value, problems: &mut Vec<Problem>) -> Option<Expect> {
    let filled = |value: &Value| {
        value.as_str().filter(|text| !text.is_empty()).map(|text| text.as_bytes().to_vec())
    };
    let read = match value {
        Value::String(_) => filled(value).map(|text| Expect::BeginsWith(vec![text])),
        Value::Array(list) if !list.is_empty() => {
            list.iter().map(filled).collect::<Option<Vec<_>>>().map(Expect::BeginsWith)
        }
        Value::Object(object) if object.len() == 1 => {
            object.get("contains").and_then(filled).map(Expect::Contains)
        }
        _ => None,
    };
    if read.is_none() {
        problems.push(Problem::new(
            "expect",
            "must be a non-empty string, a list of such strings, or {\"contains\": \"…\"}",
        ));
    }
    read
}

fn read_timeout(text: Option<&str>, problems: &mut Vec<Problem>) -> Duration {
    let Some(text) = text else { return DEFAULT_TIMEOUT };
    config::duration(text, "timeout").unwrap_or_else(|problem| {
        problems.push(problem);
        DEFAULT_TIMEOUT
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<Spec, Vec<Problem>> {
        Spec::read(&agente_plugin_sdk::config::parse(json).map_err(|problem| vec![problem])?)
    }

    fn places(json: &str) -> Vec<String> {
        read(json)
            .expect_err("the table was taken")
            .into_iter()
            .map(|problem| problem.path)
            .collect()
    }

    #[test]
    fn an_empty_table_connects_to_each_backend() {
        let spec = read("{}").unwrap();
        assert_eq!(
            (spec.address, spec.send, spec.expect, spec.timeout),
            (None, Vec::new(), None, DEFAULT_TIMEOUT)
        );
    }

    #[test]
    fn bytes_are_given_as_text_or_in_hexadecimal() {
        assert_eq!(read(r#"{"send": "PING\r\n"}"#).unwrap().send, b"PING\r\n");
        assert_eq!(
            read(r#"{"send_hex": "00000008 04D2162F"}"#).unwrap().send,
            [0, 0, 0, 8, 4, 210, 22, 47]
        );
        let expect = read(r#"{"expect_hex": "53"}"#).unwrap().expect;
        assert_eq!(expect, Some(Expect::BeginsWith(vec![b"S".to_vec()])));
    }

    #[test]
    fn every_wrong_value_is_told_at_its_place() {
        let told = places(
            r#"{"address": "redis", "send": "a", "send_hex": "6", "expect": ["S", ""], "expect_hex": "xx", "timeout": "soon"}"#,
        );
        assert_eq!(told, ["address", "expect", "expect_hex", "send_hex", "timeout"]);
        for bad in [
            r#"{"expect": {}}"#,
            r#"{"expect": []}"#,
            r#"{"expect": 5}"#,
            r#"{"expect": {"contains": ""}}"#,
            r#"{"timeout": "0s"}"#,
            r#"{"send_hex": ""}"#,
            r#"{"port": 1}"#,
            "5",
        ] {
            assert_eq!(places(bad).len(), 1, "{bad}");
        }
    }

    #[test]
    fn an_address_is_a_host_and_a_port() {
        assert_eq!(host_and_port("127.0.0.1:6379"), Some(("127.0.0.1", 6379)));
        assert_eq!(host_and_port("[::1]:5432"), Some(("::1", 5432)));
        assert_eq!(host_and_port("db_1.internal:1"), Some(("db_1.internal", 1)));
        for bad in [
            "",
            "redis",
            ":1",
            "redis:",
            "redis:0",
            "redis:65536",
            "::1:5432",
            "[::g]:1",
            "a b:1",
            "redis:6379/0",
        ] {
            assert_eq!(host_and_port(bad), None, "`{bad}` was taken");
        }
    }

    #[test]
    fn an_answer_is_judged_as_early_as_it_can_be() {
        let either = Expect::BeginsWith(vec![b"+PONG".to_vec(), b"-NOAUTH".to_vec()]);
        let judged = [&b""[..], b"+PO", b"+PONG\r\n", b"-NOAUTH x", b"-ERR", b"+PANG"]
            .map(|seen| either.judge(seen));
        assert_eq!(
            judged,
            [Match::Open, Match::Open, Match::Yes, Match::Yes, Match::No, Match::No]
        );
        let inside = Expect::Contains(b"ready".to_vec());
        assert_eq!(
            [inside.judge(b"not yet rea"), inside.judge(b"not yet ready")],
            [Match::Open, Match::Yes]
        );
    }
}
