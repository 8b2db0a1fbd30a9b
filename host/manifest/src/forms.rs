//! Texts with a unit: durations, sizes, shares, port ranges, how long a side is kept.
//!
//! Each form has one parser, which the check of a manifest's shape and the conversion into the wire
//! types share, and a name, which the schema carries as `x-form`.

use crate::problem::Complaint;
use agente_engine::policy::KeepPrevious;
use agente_engine::release::PortRange;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::fmt::Write as _;
use std::time::Duration;

/// Longer waits than this are a slip: nothing in a deployment takes a month.
const LONGEST: Duration = Duration::from_hours(30 * 24);

/// The units of durations, longest first, in milliseconds.
const DURATION_UNITS: [(&str, u64); 5] =
    [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// The units of sizes, largest first, in bytes.
const SIZE_UNITS: [(&str, u64); 5] =
    [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

/// Parses `10s`, `1m30s`, `500ms`.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, Complaint> {
    let bad = |why: &str| {
        Complaint::new(
            format!("`{text}` is not a duration: {why}"),
            "write a number and its unit, such as `500ms`, `10s`, `1m30s` or `2h`",
        )
    };
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(bad("it is empty"));
    }
    if rest.starts_with('-') {
        return Err(bad("it is negative"));
    }
    let mut total: u64 = 0;
    let mut coarser = u64::MAX;
    while !rest.is_empty() {
        let (number, after) =
            split_number(rest).ok_or_else(|| bad("a unit needs a whole number before it"))?;
        if after.starts_with('.') || after.starts_with(',') {
            return Err(bad("it has a fraction; use a smaller unit"));
        }
        let unit = after.trim_start().split(|c: char| !c.is_alphabetic()).next().unwrap_or("");
        if unit.is_empty() {
            return Err(bad("the number has no unit"));
        }
        let Some(&(_, factor)) = DURATION_UNITS.iter().find(|(name, _)| *name == unit) else {
            return Err(bad(&format!("`{unit}` is not one of the units `ms`, `s`, `m`, `h`, `d`")));
        };
        if after.starts_with(char::is_whitespace) {
            return Err(bad("a space stands between a number and its unit"));
        }
        if factor >= coarser {
            return Err(bad("each unit stands once, the longer before the shorter"));
        }
        coarser = factor;
        total = number
            .checked_mul(factor)
            .and_then(|part| total.checked_add(part))
            .ok_or_else(|| bad("it is longer than 30 days"))?;
        rest = after.get(unit.len()..).unwrap_or("").trim_start();
    }
    let duration = Duration::from_millis(total);
    if duration > LONGEST { Err(bad("it is longer than 30 days")) } else { Ok(duration) }
}

/// Writes a duration as it is parsed.
pub(crate) fn write_duration(duration: Duration) -> String {
    let mut rest = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let mut text = String::new();
    for (unit, factor) in DURATION_UNITS {
        if rest >= factor {
            let _ = write!(text, "{}{unit}", rest / factor);
            rest %= factor;
        }
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

/// Parses `64MiB`.
pub(crate) fn parse_size(text: &str) -> Result<u64, Complaint> {
    let bad = |why: &str, fix: &str| Complaint::new(format!("`{text}` is not a size: {why}"), fix);
    let usual = "write a whole number and its unit, such as `64MiB` or `1GiB`";
    let (number, unit) =
        split_number(text.trim()).ok_or_else(|| bad("it must begin with a whole number", usual))?;
    let unit = unit.trim();
    let Some(&(_, factor)) = SIZE_UNITS.iter().find(|(name, _)| *name == unit) else {
        let meant = unit.chars().next().and_then(|first| {
            SIZE_UNITS.iter().find(|(name, _)| name.starts_with(first.to_ascii_uppercase()))
        });
        return Err(match meant {
            _ if unit.is_empty() => bad("the number has no unit", usual),
            Some((name, _)) => {
                bad(&format!("the unit `{unit}` is not known"), &format!("write `{number}{name}`"))
            }
            None => bad("the units are `B`, `KiB`, `MiB`, `GiB`, `TiB`", usual),
        });
    };
    number
        .checked_mul(factor)
        .filter(|&bytes| i64::try_from(bytes).is_ok())
        .ok_or_else(|| bad("it is too large", usual))
}

/// Writes a size with the largest unit that divides it.
pub(crate) fn write_size(bytes: u64) -> String {
    let (unit, factor) = SIZE_UNITS
        .into_iter()
        .find(|&(_, factor)| bytes >= factor && bytes.is_multiple_of(factor))
        .unwrap_or(("B", 1));
    format!("{}{unit}", bytes / factor)
}

/// Parses `18100-18199`.
pub(crate) fn parse_ports(text: &str) -> Result<PortRange, Complaint> {
    let usual = "write the first and the last port, such as `18100-18199`";
    let (first, last) = text
        .split_once('-')
        .ok_or_else(|| Complaint::new(format!("`{text}` is not a range of ports"), usual))?;
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
            format!("the range of ports `{text}` is reversed"),
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
            format!("the range of ports `{text}` begins below 1024, where only root may listen"),
            "use ports from 1024 on, best between 10000 and 32767, where the system takes none by \
             itself",
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
        other => match parse_duration(other) {
            Ok(Duration::ZERO) => Err(Complaint::new("`0s` keeps nothing", "write `none`")),
            Ok(duration) => Ok(KeepPrevious::For { duration }),
            Err(_) => Err(Complaint::new(
                format!("`{text}` does not say how long the old side is kept"),
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
        KeepPrevious::For { duration } => write_duration(duration),
    }
}

/// Parses `1%`, `0.25%` into a share from 0 to 1.
pub(crate) fn parse_share(text: &str) -> Result<f64, Complaint> {
    let bad = |why: &str| {
        Complaint::new(
            format!("`{text}` is not a share: {why}"),
            "write percent with at most four decimals, such as `1%` or `0.25%`",
        )
    };
    let Some(number) = text.trim().strip_suffix('%') else {
        return Err(match text.trim().parse::<f64>() {
            Ok(number) if (0.0..=1.0).contains(&number) => {
                let meant = write_share(number);
                Complaint::new(
                    format!("`{text}` is not a share: it has no `%`"),
                    format!("write `{meant}`"),
                )
            }
            _ => bad("it has no `%`"),
        });
    };
    let number = number.trim_end();
    let (whole, decimals) = number.split_once('.').unwrap_or((number, "0"));
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if number.starts_with('-') {
        return Err(bad("it is negative"));
    }
    if !digits(whole) || !digits(decimals) {
        return Err(bad("no number stands before the `%`"));
    }
    if decimals.len() > 4 {
        return Err(bad("it has more than four decimals"));
    }
    // In millionths, so that the number is the one nearest to what is written.
    let millionths = format!("{whole}{decimals:0<4}")
        .parse::<u32>()
        .ok()
        .filter(|&millionths| millionths <= 1_000_000);
    millionths
        .map(|millionths| f64::from(millionths) / 1e6)
        .ok_or_else(|| bad("it is more than `100%`"))
}

/// Writes a share as it is parsed.
pub(crate) fn write_share(share: f64) -> String {
    let percent = format!("{:.4}", share * 100.0);
    format!("{}%", percent.trim_end_matches('0').trim_end_matches('.'))
}

/// The leading digits as a number, and what follows.
fn split_number(text: &str) -> Option<(u64, &str)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, rest) = text.split_at_checked(digits)?;
    Some((number.parse().ok()?, rest))
}

/// Judges a text by the name of its form; forms that are not ours are not judged.
pub(crate) fn check_form(form: &str, text: &str) -> Result<(), Complaint> {
    match form {
        "duration" => parse_duration(text).map(drop),
        "size" => parse_size(text).map(drop),
        "port-range" => parse_ports(text).map(drop),
        "keep-previous" => parse_keep(text).map(drop),
        "share" => parse_share(text).map(drop),
        _ => Ok(()),
    }
}

/// How a form is called in a sentence.
pub(crate) fn form_name(form: &str) -> Option<&'static str> {
    Some(match form {
        "duration" => "duration",
        "size" => "size",
        "port-range" => "range of ports",
        "keep-previous" => "`until-next`, `none` or duration",
        "share" => "share in percent",
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
    DurationText,
    Duration,
    "duration",
    parse_duration,
    write_duration,
    "^([0-9]+(ms|s|m|h|d) ?)+$"
);
written_form!(SizeText, u64, "size", parse_size, write_size, "^[0-9]+ ?(B|KiB|MiB|GiB|TiB)$");
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
    "^(until-next|none|([0-9]+(ms|s|m|h|d) ?)+)$"
);
written_form!(
    ShareText,
    f64,
    "share",
    parse_share,
    write_share,
    "^ *[0-9]{1,3}(\\.[0-9]{1,4})? *% *$"
);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn durations_are_read_with_their_units_and_nothing_else() {
        let good = [
            ("10s", 10_000),
            ("1m30s", 90_000),
            ("500ms", 500),
            ("2h", 7_200_000),
            ("1d", 86_400_000),
            ("0s", 0),
            ("1m 30s", 90_000),
        ];
        for (text, milliseconds) in good {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
        for bad in [
            "",
            "10",
            "s",
            "10 seconds",
            "10 s",
            "1.5s",
            "-1s",
            "30s1m",
            "1s1s",
            "31d",
            "99999999999999999999s",
            "10µs",
            "1s-",
        ] {
            assert!(parse_duration(bad).is_err(), "`{bad}` was taken");
        }
    }

    #[test]
    fn sizes_are_binary_and_a_decimal_unit_is_corrected() {
        assert_eq!(parse_size("64MiB"), Ok(64 << 20));
        assert_eq!(parse_size("0B"), Ok(0));
        assert_eq!(parse_size("64MB").map_err(|c| c.fix), Err("write `64MiB`".to_owned()));
        assert_eq!(parse_size("1g").map_err(|c| c.fix), Err("write `1GiB`".to_owned()));
        for bad in ["", "MiB", "64", "-1MiB", "9999999999TiB", "1.5GiB"] {
            assert!(parse_size(bad).is_err(), "`{bad}` was taken");
        }
    }

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

    #[test]
    fn shares_are_percent_with_at_most_four_decimals() {
        for (text, share) in [
            ("1%", 0.01),
            ("0.25%", 0.0025),
            ("0.0001%", 0.000_001),
            ("100%", 1.0),
            ("0%", 0.0),
            (" 7.5 % ", 0.075),
        ] {
            assert_eq!(parse_share(text), Ok(share), "{text}");
        }
        assert_eq!(parse_share("0.05").map_err(|c| c.fix), Err("write `5%`".to_owned()));
        for bad in [
            "",
            "%",
            "5",
            "-1%",
            "101%",
            "1.%",
            ".5%",
            "1,5%",
            "0.00001%",
            "1e2%",
            "+1%",
            "nan%",
            "99999999999%",
            "5 percent",
            "1%%",
        ] {
            assert!(parse_share(bad).is_err(), "`{bad}` was taken");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(milliseconds in 0_u64..2_592_000_000, bytes in 0_u64..(1 << 50), millionths in 0_u32..=1_000_000) {
            let duration = Duration::from_millis(milliseconds);
            prop_assert_eq!(parse_duration(&write_duration(duration)), Ok(duration));
            prop_assert_eq!(parse_size(&write_size(bytes)), Ok(bytes));
            let share = f64::from(millionths) / 1e6;
            prop_assert_eq!(parse_share(&write_share(share)), Ok(share));
        }

        #[test]
        fn no_text_upsets_a_parser(text in "\\PC{0,40}") {
            for form in ["duration", "size", "port-range", "keep-previous", "share"] {
                let _ = check_form(form, &text);
            }
        }
    }
}
