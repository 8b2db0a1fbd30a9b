//! What people write is read, what isn't meant is refused, what is written reads back.

#![allow(clippy::expect_used, reason = "a test")]

use agente_units::{Misread, Share, Size, Span, for_people};
use proptest::prelude::*;
use schemars::JsonSchema;
use std::time::Duration;

fn span(text: &str) -> Result<Duration, Misread> {
    text.parse().map(Span::duration)
}

fn size(text: &str) -> Result<u64, Misread> {
    text.parse().map(Size::bytes)
}

fn share(text: &str) -> Result<f64, Misread> {
    text.parse().map(Share::ratio)
}

/// The pattern by which an editor judges a quantity.
fn pattern<Q: JsonSchema>() -> regex::Regex {
    let schema = Q::json_schema(&mut schemars::SchemaGenerator::default());
    let pattern = schema.get("pattern").and_then(serde_json::Value::as_str);
    regex::Regex::new(pattern.expect("a pattern")).expect("a regular expression")
}

#[test]
fn durations_are_numbers_with_units() {
    let good = [
        ("10s", 10_000),
        ("1m30s", 90_000),
        ("500ms", 500),
        ("2h", 7_200_000),
        ("1d", 86_400_000),
        ("0s", 0),
        ("0", 0),
        ("1m 30s", 90_000),
        ("1.5s", 1_500),
        ("10 seconds", 10_000),
        ("2 min 5 s", 125_000),
        (" 10s ", 10_000),
    ];
    let pattern = pattern::<Span>();
    for (text, milliseconds) in good {
        assert_eq!(span(text), Ok(Duration::from_millis(milliseconds)), "{text}");
        assert!(pattern.is_match(text), "an editor refuses `{text}`");
    }
    let bad = [
        "",
        "10",
        "s",
        "-1s",
        "1,5s",
        "31d",
        "5M",
        "99999999999999999999s",
        "10µs",
        "0.5ms",
        "1s-",
        "10 apples",
        "1 30s",
        "1. 5s",
    ];
    for text in bad {
        assert!(span(text).is_err(), "`{text}` was taken");
    }
}

#[test]
fn a_duration_that_is_none_is_told_what_it_lacks() {
    let told = |text: &str| span(text).expect_err("it was taken").to_string();
    assert_eq!(
        told("10"),
        "`10` is not a duration: the number has no unit; write a number and its unit, such as \
         `500ms`, `10s`, `1m30s` or `2h`"
    );
    assert!(told("10 apples").contains("`apples` is not one of the units"));
    assert!(told("1s-").contains("`-` is not part of a duration"));
}

#[test]
fn sizes_are_binary_and_a_decimal_unit_is_corrected() {
    assert_eq!(size("64MiB"), Ok(64 << 20));
    assert_eq!(size("0B"), Ok(0));
    assert_eq!(size("64MB").map_err(|misread| misread.fix), Err("write `64MiB`".to_owned()));
    assert_eq!(size("1g").map_err(|misread| misread.fix), Err("write `1GiB`".to_owned()));
    for bad in ["", "MiB", "64", "-1MiB", "9999999999TiB", "1.5GiB"] {
        assert!(size(bad).is_err(), "`{bad}` was taken");
    }
}

#[test]
fn shares_are_percent_with_at_most_four_decimals() {
    for (text, ratio) in [
        ("1%", 0.01),
        ("0.25%", 0.0025),
        ("0.0001%", 0.000_001),
        ("100%", 1.0),
        ("0%", 0.0),
        (" 7.5 % ", 0.075),
    ] {
        assert_eq!(share(text), Ok(ratio), "{text}");
    }
    assert_eq!(share("0.05").map_err(|misread| misread.fix), Err("write `5%`".to_owned()));
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
        assert!(share(bad).is_err(), "`{bad}` was taken");
    }
}

proptest! {
    #[test]
    fn what_is_written_reads_back(
        milliseconds in 0_u64..=2_592_000_000,
        bytes in 0_u64..(1 << 50),
        millionths in 0_u32..=1_000_000,
    ) {
        let duration = Span::milliseconds(milliseconds);
        prop_assert_eq!(duration.to_string().parse(), Ok(duration));
        prop_assert!(pattern::<Span>().is_match(&duration.to_string()));
        let size = Size::from_bytes(bytes);
        prop_assert_eq!(size.to_string().parse(), Ok(size));
        let share = Share::from_ratio(f64::from(millionths) / 1e6);
        prop_assert_eq!(share.to_string().parse(), Ok(share));
    }

    /// A time that somebody read in a message can be typed as it was read.
    #[test]
    fn what_is_shown_reads_back_but_for_its_rounding(milliseconds in 0_u64..=2_592_000_000) {
        let shown = for_people(Duration::from_millis(milliseconds));
        let read = span(&shown).expect(&shown).as_millis();
        prop_assert!(read <= u128::from(milliseconds));
        prop_assert!(u128::from(milliseconds) - read <= read / 10 + 1, "{} as `{}`", milliseconds, shown);
    }

    #[test]
    fn no_text_upsets_a_reader_and_no_editor_is_stricter(text in "[01. ms-]{0,6}|[0-9. a-zA-Z%µ-]{0,12}|\\PC{0,40}") {
        let read = [span(&text).is_ok(), size(&text).is_ok(), share(&text).is_ok()];
        let matched = [
            pattern::<Span>().is_match(&text),
            pattern::<Size>().is_match(&text),
            pattern::<Share>().is_match(&text),
        ];
        for (read, matched) in read.into_iter().zip(matched) {
            prop_assert!(!read || matched, "an editor refuses `{}`", text);
        }
    }
}
