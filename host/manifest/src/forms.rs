//! Texts with a form: ranges of ports, how long a side is kept, and the quantities of
//! `agente_units`.
//!
//! Each form has one parser, which the check of a manifest's shape and the conversion into the wire
//! types share, and a name, which the schema carries as `x-form`.

use crate::mistake::Complaint;
use agente_engine::policy::KeepPrevious;
use agente_engine::release::PortRange;
use agente_units::{Misread, Share, Size, Span};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::str::FromStr;
use std::time::Duration;

impl From<Misread> for Complaint {
    fn from(misread: Misread) -> Self {
        Self::new(misread.message, misread.fix)
    }
}

/// Parses `18100-18199`.
pub(crate) fn parse_ports(text: &str) -> Result<PortRange, Complaint> {
    let usual = "write the first and the last port, such as `18100-18199`";
    let (first, last) = text
        .split_once('-')
        .ok_or_else(|| Complaint::new(format!("`{text}` is not a port range"), usual))?;
    let port = |part: &str| -> Result<u16, Complaint> {
        let part = part.trim();
        let digits = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        let number = if digits { part.parse::<u16>().ok() } else { None };
        number.ok_or_else(|| {
            Complaint::new(
                format!("`{part}` in `{text}` is not a port: ports are whole numbers up to 65535"),
                usual,
            )
        })
    };
    let (first, last) = (port(first)?, port(last)?);
    if last < first {
        return Err(Complaint::new(
            format!("the port range `{text}` is reversed"),
            format!("write `{last}-{first}`"),
        ));
    }
    if first == 0 {
        return Err(Complaint::new(
            format!("port 0 in `{text}` can't be reserved: it means “any”"),
            usual,
        ));
    }
    if first < 1024 {
        return Err(Complaint::new(
            format!("the port range `{text}` starts below 1024, where only root can listen"),
            "use ports from 1024 up, preferably between 10000 and 32767, outside the system's \
            ephemeral ports",
        ));
    }
    Ok(PortRange { first, last })
}

/// Writes a range as it is parsed.
pub(crate) fn write_ports(ports: PortRange) -> String {
    format!("{}-{}", ports.first, ports.last)
}

/// Parses `until-next`, `none` or a duration.
pub(crate) fn parse_keep(text: &str) -> Result<KeepPrevious, Complaint> {
    match text {
        "until-next" => Ok(KeepPrevious::UntilNext),
        "none" => Ok(KeepPrevious::None),
        other => match other.parse().map(Span::duration) {
            Ok(Duration::ZERO) => Err(Complaint::new("`0s` keeps nothing", "write `none`")),
            Ok(duration) => Ok(KeepPrevious::For { duration }),
            Err(_) => Err(Complaint::new(
                format!("`{text}` does not say how long to keep the old side"),
                "write `until-next`, `none` or a duration such as `30m`",
            )),
        },
    }
}

/// Writes it as it is parsed.
pub(crate) fn write_keep(keep: KeepPrevious) -> String {
    match keep {
        KeepPrevious::UntilNext => "until-next".to_owned(),
        KeepPrevious::None => "none".to_owned(),
        KeepPrevious::For { duration } => Span::from(duration).to_string(),
    }
}

/// Judges a text by the name of its form; forms that are not ours are not judged.
pub(crate) fn check_form(form: &str, text: &str) -> Result<(), Complaint> {
    match form {
        "duration" => quantity::<Span>(text),
        "size" => quantity::<Size>(text),
        "port-range" => parse_ports(text).map(drop),
        "keep-previous" => parse_keep(text).map(drop),
        "share" => quantity::<Share>(text),
        _ => Ok(()),
    }
}

fn quantity<Q: FromStr<Err = Misread>>(text: &str) -> Result<(), Complaint> {
    text.parse::<Q>().map(drop).map_err(Complaint::from)
}

/// How a form is called in a sentence.
pub(crate) fn form_name(form: &str) -> Option<&'static str> {
    Some(match form {
        "duration" => "duration",
        "size" => "size",
        "port-range" => "port range",
        "keep-previous" => "`until-next`, `none` or duration",
        "share" => "percentage",
        _ => return None,
    })
}

macro_rules! written_form {
    ($type:ident, $domain:ty, $form:literal, $parse:ident, $write:ident, $pattern:literal) => {
        #[derive(Debug, Clone, Copy, PartialEq, Deserialize, Serialize)]
        #[serde(try_from = "String", into = "String")]
        pub(crate) struct $type(pub(crate) $domain);

        impl TryFrom<String> for $type {
            type Error = String;
            fn try_from(text: String) -> Result<Self, String> {
                $parse(&text).map(Self).map_err(|complaint| complaint.message)
            }
        }

        impl From<$type> for String {
            fn from(value: $type) -> Self {
                $write(value.0)
            }
        }

        impl JsonSchema for $type {
            fn inline_schema() -> bool {
                true
            }
            fn schema_name() -> Cow<'static, str> {
                $form.into()
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "x-form": $form, "pattern": $pattern })
            }
        }
    };
}

written_form!(
    PortsText,
    PortRange,
    "port-range",
    parse_ports,
    write_ports,
    "^ *[0-9]{1,5} *- *[0-9]{1,5} *$"
);
written_form!(
    KeepText,
    KeepPrevious,
    "keep-previous",
    parse_keep,
    write_keep,
    "^(until-next|none|\\s*([0-9]+(\\.[0-9]+)?\\s*[a-zA-Zµ]+\\s*)+)$"
);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn port_ranges_are_ordered_unprivileged_and_within_reach() {
        assert_eq!(parse_ports("18100-18199"), Ok(PortRange { first: 18100, last: 18199 }));
        assert_eq!(parse_ports("18100-18100"), Ok(PortRange { first: 18100, last: 18100 }));
        for bad in [
            "18100",
            "18199-18100",
            "0-10",
            "80-90",
            "18100-70000",
            "a-b",
            "-",
            "+18100-18199",
            "18100-18199-18200",
        ] {
            assert!(parse_ports(bad).is_err(), "`{bad}` was taken");
        }
    }

    proptest! {
        #[test]
        fn no_text_upsets_a_parser(text in "\\PC{0,40}") {
            for form in ["duration", "size", "port-range", "keep-previous", "share"] {
                let _ = check_form(form, &text);
            }
        }
    }
}
