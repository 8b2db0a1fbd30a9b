//! Values as they are written in TOML, for fixes, the reference and first manifests.

use serde_json::Value as Json;
use std::fmt::Write as _;

/// A JSON value as a TOML literal, in one line.
pub(crate) fn toml_literal(value: &Json) -> String {
    match value {
        Json::Null => "\"\"".to_owned(),
        Json::Bool(flag) => flag.to_string(),
        Json::Number(number) => match number.as_f64() {
            // `100.0` stands for a whole number wherever the schema holds one.
            Some(float) if number.is_f64() && float.fract() == 0.0 && float.abs() < 1e15 => {
                format!("{float:.0}")
            }
            _ => number.to_string(),
        },
        Json::String(text) => text_literal(text),
        Json::Array(items) => {
            format!("[{}]", items.iter().map(toml_literal).collect::<Vec<_>>().join(", "))
        }
        Json::Object(entries) if entries.is_empty() => "{}".to_owned(),
        Json::Object(entries) => {
            let written: Vec<String> = entries
                .iter()
                .map(|(key, value)| format!("{} = {}", key_literal(key), toml_literal(value)))
                .collect();
            format!("{{ {} }}", written.join(", "))
        }
    }
}

/// A text in quotes.
pub(crate) fn text_literal(text: &str) -> String {
    let mut literal = String::with_capacity(text.len() + 2);
    literal.push('"');
    for c in text.chars() {
        match c {
            '"' => literal.push_str("\\\""),
            '\\' => literal.push_str("\\\\"),
            '\n' => literal.push_str("\\n"),
            '\r' => literal.push_str("\\r"),
            '\t' => literal.push_str("\\t"),
            c if c.is_control() => {
                let _ = write!(literal, "\\U{:08X}", u32::from(c));
            }
            c => literal.push(c),
        }
    }
    literal.push('"');
    literal
}

/// A key, in quotes where it needs them.
pub(crate) fn key_literal(key: &str) -> String {
    let bare = !key.is_empty()
        && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
    if bare { key.to_owned() } else { text_literal(key) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn literals_are_written_as_people_write_them() {
        assert_eq!(
            toml_literal(&json!({"a b": ["x", 1, 100.0, 0.5, true], "c": {}})),
            r#"{ "a b" = ["x", 1, 100, 0.5, true], c = {} }"#
        );
    }

    proptest! {
        #[test]
        fn any_text_reads_back(text in any::<String>(), key in any::<String>()) {
            let document = format!("{} = {}\n", key_literal(&key), text_literal(&text));
            let read: toml::Table = document.parse().unwrap();
            prop_assert_eq!(read.get(&key).and_then(toml::Value::as_str), Some(text.as_str()));
        }
    }
}
