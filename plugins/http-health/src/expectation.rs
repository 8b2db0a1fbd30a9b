//! Compares an answer with what a check expects. Pure: no clock, no host.

use crate::spec::{Spec, Text};
use agente_plugin_sdk::http::Response;
use serde_json::Value;
use std::time::Duration;

/// How much of a foreign text is quoted in a reason.
const QUOTED_CHARACTERS: usize = 120;

/// Everything in which an answer falls short of a check's expectations; empty for none. Each
/// sentence says what was seen and what was wanted.
pub fn unmet(spec: &Spec, release: u64, answer: &Response) -> Vec<String> {
    let mut unmet = Vec::new();
    if !spec.status.contains(answer.status) {
        unmet.push(unmet_status(spec, answer));
    }
    for expected in &spec.headers {
        let seen = header(answer, &expected.name);
        let (good, wanted) = match &expected.value {
            Text::Equals(wanted) => {
                (seen.as_deref() == Some(wanted.as_str()), format!("`{wanted}`"))
            }
            Text::Contains(part) => (
                seen.as_deref().is_some_and(|seen| seen.contains(part.as_str())),
                format!("`{part}` in it"),
            ),
        };
        if !good {
            unmet.push(unmet_header(&expected.name, seen.as_deref(), &wanted));
        }
    }
    if let Some(name) = &spec.release_header {
        let seen = header(answer, name);
        if seen.as_deref().map(str::trim) != Some(release.to_string().as_str()) {
            unmet.push(unmet_header(
                name,
                seen.as_deref(),
                &format!("`{release}`, the release number"),
            ));
        }
    }
    unmet.extend(unmet_body(spec, answer));
    if let Some(limit) = spec.max_latency.filter(|limit| answer.elapsed > *limit) {
        unmet.push(format!(
            "the answer took {}; the limit is {}",
            milliseconds(answer.elapsed),
            milliseconds(limit)
        ));
    }
    unmet
}

fn unmet_status(spec: &Spec, answer: &Response) -> String {
    let seen = format!("the status is {}, expected {}", answer.status, spec.status);
    match header(answer, "location") {
        Some(location) if (300..400).contains(&answer.status) => {
            format!("{seen} (it points to {}; redirects are not followed)", quoted(&location))
        }
        _ => seen,
    }
}

fn unmet_header(name: &str, seen: Option<&str>, wanted: &str) -> String {
    match seen {
        Some(seen) => format!("the header `{name}` is {}, expected {wanted}", quoted(seen)),
        None => format!("the header `{name}` is missing, expected {wanted}"),
    }
}

fn unmet_body(spec: &Spec, answer: &Response) -> Vec<String> {
    let mut unmet = Vec::new();
    if let Some(part) = &spec.body_contains
        && !answer.body.windows(part.len().max(1)).any(|window| window == part.as_bytes())
    {
        let looked_at = if answer.truncated {
            format!("the first {} bytes of the body do", answer.body.len())
        } else {
            "the body does".to_owned()
        };
        unmet.push(format!(
            "{looked_at} not contain `{part}`; it begins with {}",
            quoted(&answer.text())
        ));
    }
    if spec.json.is_empty() {
        return unmet;
    }
    if answer.truncated {
        unmet.push(format!(
            "the body is longer than {} bytes, the maximum that is read, so it can't be parsed as \
            JSON",
            answer.body.len()
        ));
        return unmet;
    }
    match serde_json::from_slice::<Value>(&answer.body) {
        Ok(body) => {
            for expected in &spec.json {
                let place = if expected.pointer.is_empty() {
                    "the body".to_owned()
                } else {
                    format!("the field `{}`", expected.pointer)
                };
                match body.pointer(&expected.pointer) {
                    Some(seen) if same(seen, &expected.value) => {}
                    Some(seen) => unmet.push(format!(
                        "{place} is {}, expected `{}`",
                        quoted(&seen.to_string()),
                        expected.value
                    )),
                    None => {
                        unmet.push(format!("{place} is missing, expected `{}`", expected.value));
                    }
                }
            }
        }
        Err(_) if answer.body.is_empty() => {
            unmet.push("the body is empty, expected JSON".to_owned());
        }
        Err(error) => unmet.push(format!(
            "the body is not JSON ({error}); it begins with {}",
            quoted(&answer.text())
        )),
    }
    unmet
}

/// The value of a header; several lines of it joined as HTTP joins them.
fn header(answer: &Response, name: &str) -> Option<String> {
    let lines: Vec<&str> = answer
        .headers
        .iter()
        .filter(|(key, _)| key.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.as_str())
        .collect();
    if lines.is_empty() { None } else { Some(lines.join(", ")) }
}

/// Whether two JSON values mean the same: `1` and `1.0` do, a number and its text don't.
fn same(seen: &Value, wanted: &Value) -> bool {
    match (seen, wanted) {
        (Value::Number(a), Value::Number(b)) => {
            a == b || (a.is_f64() || b.is_f64()) && a.as_f64() == b.as_f64()
        }
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
        }
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| same(a, b)))
        }
        _ => seen == wanted,
    }
}

/// A foreign text in backticks: cut, and without anything that a terminal would obey.
pub fn quoted(text: &str) -> String {
    let mut shown: String = text
        .chars()
        .take(QUOTED_CHARACTERS)
        .flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] })
        .collect();
    if text.chars().nth(QUOTED_CHARACTERS).is_some() {
        shown.push('…');
    }
    format!("`{shown}`")
}

/// A duration in whole milliseconds, as people read it.
pub fn milliseconds(duration: Duration) -> String {
    format!("{} ms", duration.as_millis())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, headers: &[(&str, &str)], body: &str) -> Response {
        let headers =
            headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Response {
            status,
            headers,
            body: body.into(),
            truncated: false,
            elapsed: Duration::from_millis(12),
        }
    }

    fn judged(spec: &str, answer: &Response) -> Vec<String> {
        unmet(&Spec::read(&serde_json::from_str(spec).unwrap()).unwrap(), 7, answer)
    }

    #[test]
    fn an_answer_that_meets_everything_leaves_nothing_unmet() {
        let spec = r#"{"status": [200, 204], "headers": {"X-Version": "2", "content-type": {"contains": "json"}}, "release_header": "X-Release",
                       "json": {"/db/ok": true, "/queue/0/depth": 3, "": {"db": {"ok": true}, "queue": [{"depth": 3.0}]}}, "body_contains": "db", "max_latency": "12ms"}"#;
        let good = answer(
            200,
            &[
                ("x-version", "2"),
                ("content-type", "application/json; charset=utf-8"),
                ("x-release", "7"),
            ],
            r#"{"db": {"ok": true}, "queue": [{"depth": 3}]}"#,
        );
        assert_eq!(judged(spec, &good), Vec::<String>::new());
    }

    #[test]
    fn each_expectation_that_is_not_met_says_what_was_seen_and_wanted() {
        let spec = r#"{"headers": {"x-version": "2", "x-mode": {"contains": "live"}}, "release_header": "X-Release", "json": {"/ok": true, "/load": 1}, "max_latency": "5ms"}"#;
        let bad = answer(503, &[("x-version", "1"), ("x-release", "6")], r#"{"ok": "true"}"#);
        let wanted = [
            "the status is 503, expected 200 to 299",
            "the header `x-mode` is missing, expected `live` in it",
            "the header `x-version` is `1`, expected `2`",
            "the header `x-release` is `6`, expected `7`, the release number",
            "the field `/load` is missing, expected `1`",
            "the field `/ok` is `\"true\"`, expected `true`",
            "the answer took 12 ms; the limit is 5 ms",
        ];
        assert_eq!(judged(spec, &bad), wanted);
    }

    #[test]
    fn a_redirect_is_told_as_such() {
        let told = judged("{}", &answer(302, &[("location", "https://login/")], ""));
        assert_eq!(
            told,
            ["the status is 302, expected 200 to 299 (it points to `https://login/`; redirects \
              are not followed)"]
        );
    }

    #[test]
    fn a_body_that_is_no_json_or_empty_or_too_long_never_meets_a_field() {
        let spec = r#"{"json": {"/ok": true}}"#;
        assert!(
            judged(spec, &answer(200, &[], "<html>502</html>"))
                .iter()
                .any(|told| told.contains("not JSON") && told.contains("`<html>"))
        );
        assert_eq!(judged(spec, &answer(200, &[], "")), ["the body is empty, expected JSON"]);
        let cut = Response { truncated: true, ..answer(200, &[], r#"{"ok": true}"#) };
        assert!(judged(spec, &cut).iter().any(|told| told.contains("longer than 12 bytes")));
        assert!(
            judged(r#"{"body_contains": "tail"}"#, &cut)
                .iter()
                .any(|told| told.contains("first 12 bytes"))
        );
    }

    #[test]
    fn two_lines_of_an_identity_header_are_not_one_good_line() {
        let told = judged(
            r#"{"release_header": "X-Release"}"#,
            &answer(200, &[("x-release", "6"), ("x-release", "7")], ""),
        );
        assert_eq!(told, ["the header `x-release` is `6, 7`, expected `7`, the release number"]);
    }

    #[test]
    fn what_an_answer_says_can_not_drive_a_terminal_or_flood_a_report() {
        let told = judged(
            r#"{"body_contains": "ready"}"#,
            &answer(200, &[], &format!("\u{1b}[2J\n{}", "x".repeat(10_000))),
        )
        .concat();
        assert!(!told.contains('\u{1b}') && !told.contains('\n') && told.len() < 300, "{told}");
    }

    #[test]
    fn numbers_are_compared_by_value_and_large_ones_exactly() {
        let same_text = |a: &str, b: &str| {
            same(&serde_json::from_str(a).unwrap(), &serde_json::from_str(b).unwrap())
        };
        assert!(same_text("1", "1.0") && !same_text("1", "true") && !same_text("1", "\"1\""));
        assert!(!same_text("9007199254740993", "9007199254740992"));
    }
}
