//! Placeholders in queries, and how their values are put in: never so that a value could end the
//! text it stands in.

use crate::promql::{Hole, Place};
use agente_plugin_sdk::{Failure, Subject};
use std::fmt::Write as _;
use std::ops::Range;
use std::time::Duration;

/// The names of all placeholders.
pub const NAMES: [&str; 6] = ["slot", "release", "service", "environment", "window", "backends"];

/// All placeholders, for messages.
pub(crate) fn all() -> String {
    let all: Vec<String> = NAMES.iter().map(|name| format!("`{{{{{name}}}}}`")).collect();
    all.join(", ")
}

/// What placeholders stand for in one question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Values {
    slot: String,
    release: String,
    service: String,
    environment: String,
    window: String,
    addresses: Vec<String>,
}

impl Values {
    /// The values for a subject.
    pub fn new(subject: &Subject, service: &str, environment: &str, window: Duration) -> Self {
        Self {
            slot: subject.slot.clone(),
            release: if subject.release == 0 { String::new() } else { subject.release.to_string() },
            service: service.to_owned(),
            environment: environment.to_owned(),
            window: duration(window),
            addresses: subject.backends.iter().map(|backend| backend.address.clone()).collect(),
        }
    }

    /// Values of the right shape, for a server that only judges the syntax.
    pub fn made_up() -> Self {
        let text = || "example".to_owned();
        let addresses = vec!["192.0.2.1:80".to_owned()];
        Self {
            slot: text(),
            release: "1".to_owned(),
            service: text(),
            environment: text(),
            window: "5m".to_owned(),
            addresses,
        }
    }

    fn get(&self, name: &str, regex: bool) -> String {
        let one = match name {
            "slot" => &self.slot,
            "release" => &self.release,
            "service" => &self.service,
            "environment" => &self.environment,
            "window" => &self.window,
            _ => {
                return self
                    .addresses
                    .iter()
                    .map(|address| quoted_for_regex(address))
                    .collect::<Vec<_>>()
                    .join("|");
            }
        };
        if regex { quoted_for_regex(one) } else { one.clone() }
    }

    /// A part of an expression with its placeholders filled in.
    ///
    /// # Errors
    ///
    /// `invalid-config` where a placeholder has no value for this subject, or its value can't stand
    /// where it is.
    pub fn fill(&self, text: &str, holes: &[Hole], part: Range<usize>) -> Result<String, Failure> {
        let mut filled = String::new();
        let mut from = part.start;
        for hole in
            holes.iter().filter(|hole| hole.range.start >= part.start && hole.range.end <= part.end)
        {
            filled.push_str(text.get(from..hole.range.start).unwrap_or_default());
            from = hole.range.end;
            let value =
                self.get(&hole.name, matches!(hole.place, Place::Literal { regex: true, .. }));
            if value.is_empty() {
                let message =
                    format!("the query uses `{{{{{}}}}}`, which has no value here", hole.name);
                return Err(Failure::invalid_config(message).hint(
                    "a dependency has no slot, release or backends: remove the placeholder",
                ));
            }
            match hole.place {
                // Its end can't be escaped.
                Place::Literal { quote: '`', .. } if value.contains('`') => {
                    return Err(Failure::invalid_config(format!(
                        "the value of `{{{{{}}}}}` can't be inserted in backticks; use double \
                        quotes",
                        hole.name
                    )));
                }
                Place::Bare | Place::Literal { quote: '`', .. } => filled.push_str(&value),
                Place::Literal { .. } => filled.push_str(&escaped(&value)),
            }
        }
        filled.push_str(text.get(from..part.end).unwrap_or_default());
        Ok(filled)
    }
}

/// A duration as PromQL writes it; never zero.
pub fn duration(duration: Duration) -> String {
    match u64::try_from(duration.as_millis()).unwrap_or(u64::MAX).max(1) {
        whole if whole % 1000 == 0 => format!("{}s", whole / 1000),
        milliseconds => format!("{milliseconds}ms"),
    }
}

/// A text that matches only itself as a regular expression.
fn quoted_for_regex(text: &str) -> String {
    let mut quoted = String::new();
    for c in text.chars() {
        if r"\.+*?()|[]{}^$".contains(c) {
            quoted.push('\\');
        }
        quoted.push(c);
    }
    quoted
}

/// A text as it stands between quotes in PromQL.
pub fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for c in text.chars() {
        match c {
            '\\' => escaped.push_str("\\\\"),
            // By their numbers they are known in both kinds of quotes.
            '"' => escaped.push_str("\\x22"),
            '\'' => escaped.push_str("\\x27"),
            c if c.is_control() => {
                let _never = write!(escaped, "\\u{:04x}", u32::from(c));
            }
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::promql::read;
    use agente_plugin_sdk::Backend;

    fn subject() -> Subject {
        let backend = |address: &str| Backend {
            id: "b".to_owned(),
            address: address.to_owned(),
            labels: Vec::new(),
        };
        Subject {
            slot: "blue".to_owned(),
            release: 7,
            backends: vec![backend("127.0.0.1:18100"), backend("[::1]:18101")],
            labels: Vec::new(),
        }
    }

    fn filled(text: &str, values: &Values) -> Result<String, String> {
        let found = read(text).unwrap();
        values.fill(text, &found.holes, 0..text.len()).map_err(|failure| failure.message)
    }

    #[test]
    fn each_placeholder_is_put_in_as_its_place_asks() {
        let values = Values::new(&subject(), "shop", "production", Duration::from_secs(90));
        let text = r#"rate(x{a="{{slot}}-{{release}}",i=~"{{backends}}",j=~`{{backends}}`}[{{window}}]) > on() y{s='{{ service }}',e="{{environment}}",w="{{window}}"}"#;
        assert_eq!(
            filled(text, &values).unwrap(),
            r#"rate(x{a="blue-7",i=~"127\\.0\\.0\\.1:18100|\\[::1\\]:18101",j=~`127\.0\.0\.1:18100|\[::1\]:18101`}[90s]) > on() y{s='shop',e="production",w="90s"}"#
        );
        assert_eq!(duration(Duration::from_millis(1500)), "1500ms");
        assert_eq!(duration(Duration::ZERO), "1ms");
    }

    #[test]
    fn no_value_ends_the_text_it_stands_in() {
        let values = Values::new(
            &Subject { slot: "a\"} or up{x=\"'\\\n".to_owned(), ..subject() },
            "sh`op",
            "production",
            Duration::from_secs(1),
        );
        for text in [r#"x{a="{{slot}}"}"#, "x{a='{{slot}}'}", r#"x{a=~"{{slot}}"}"#] {
            let filled = filled(text, &values).unwrap();
            let found = read(&filled).unwrap();
            assert!(found.plain, "{filled}");
            assert_eq!(found.selectors[0].metric.as_deref(), Some("x"));
        }
        assert!(filled("x{a=`{{service}}`}", &values).unwrap_err().contains("backticks"));
    }

    #[test]
    fn a_placeholder_without_a_value_is_told() {
        let nobody = Values::new(&Subject::default(), "shop", "production", Duration::from_secs(1));
        for text in ["x{a=\"{{slot}}\"}", "x{a=\"{{release}}\"}", "x{a=~\"{{backends}}\"}"] {
            assert!(
                filled(text, &nobody).unwrap_err().contains("which has no value here"),
                "{text}"
            );
        }
    }
}
