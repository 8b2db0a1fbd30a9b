//! The statuses that a check takes for good.

use crate::grammar::type_name;
use agente_plugin_sdk::Problem;
use agente_plugin_sdk::schemars::{self, JsonSchema};
use serde_json::Value;
use std::fmt;
use std::ops::RangeInclusive;

/// The shape of `status`, for the schema.
#[derive(JsonSchema)]
#[serde(untagged)]
#[expect(
    dead_code,
    reason = "only its schema is used; messages of an untagged enum would name no cause"
)]
pub(crate) enum StatusForm {
    One(u16),
    Range(String),
    Several(Vec<OneStatusForm>),
}

/// One entry of a list in `status`, for the schema.
#[derive(JsonSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "only its schema is used")]
pub(crate) enum OneStatusForm {
    One(u16),
    Range(String),
}

/// A set of statuses; never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statuses(Vec<RangeInclusive<u16>>);

impl Statuses {
    /// Whether a status is in the set.
    pub fn contains(&self, status: u16) -> bool {
        self.0.iter().any(|range| range.contains(&status))
    }
}

impl Default for Statuses {
    fn default() -> Self {
        Self(vec![200..=299])
    }
}

impl fmt::Display for Statuses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown: Vec<String> = self
            .0
            .iter()
            .map(|range| {
                if range.start() == range.end() {
                    range.start().to_string()
                } else {
                    format!("{} to {}", range.start(), range.end())
                }
            })
            .collect();
        f.write_str(&shown.join(" or "))
    }
}

pub(crate) fn read(value: Option<&Value>, problems: &mut Vec<Problem>) -> Statuses {
    let read = match value {
        None => return Statuses::default(),
        Some(Value::Array(list)) if list.is_empty() => {
            Err("the list is empty, so no status would pass".to_owned())
        }
        Some(Value::Array(list)) => list.iter().map(status_range).collect(),
        Some(single) => status_range(single).map(|range| vec![range]),
    };
    match read {
        Ok(ranges) => Statuses(ranges),
        Err(message) => {
            problems.push(Problem::new("status", message));
            Statuses::default()
        }
    }
}

/// One status, or a range of them as a text.
fn status_range(value: &Value) -> Result<RangeInclusive<u16>, String> {
    let what = "a status from 100 to 599, a range such as \"200-299\", or a list of those";
    let read = match value {
        Value::Number(number) => number
            .as_u64()
            .and_then(|status| u16::try_from(status).ok())
            .map(|status| status..=status),
        Value::String(text) => match text.split_once('-') {
            Some((first, last)) => first
                .trim()
                .parse()
                .ok()
                .zip(last.trim().parse().ok())
                .map(|(first, last): (u16, u16)| first..=last),
            None => text.trim().parse().ok().map(|status: u16| status..=status),
        },
        other => return Err(format!("must be {what}, not {}", type_name(other))),
    };
    match read {
        Some(range) if range.start() > range.end() => Err(format!(
            "the range {value} is reversed; write \"{}-{}\"",
            range.end(),
            range.start()
        )),
        Some(range) if *range.start() >= 100 && *range.end() <= 599 => Ok(range),
        _ => Err(format!("{value} is not {what}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &str) -> Value {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn statuses_are_one_a_list_or_a_range() {
        let cases = [
            ("200", "200"),
            ("[200, 204]", "200 or 204"),
            (r#""200-299""#, "200 to 299"),
            (r#"["200-299", 404]"#, "200 to 299 or 404"),
            (r#""401""#, "401"),
        ];
        for (given, shown) in cases {
            assert_eq!(read(Some(&json(given)), &mut Vec::new()).to_string(), shown);
        }
        for bad in [
            "99",
            "600",
            "[]",
            r#""299-200""#,
            r#""ok""#,
            "true",
            r#""200-""#,
            "2.5",
            "[200, null]",
        ] {
            let mut problems = Vec::new();
            read(Some(&json(bad)), &mut problems);
            assert_eq!(
                problems.first().map(|problem| problem.path.as_str()),
                Some("status"),
                "{bad} was taken"
            );
        }
    }
}
