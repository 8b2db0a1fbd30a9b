//! Reads the plugin's section of the manifest into its type, and says where it doesn't fit.

use crate::failure::Failure;
use crate::plugin::{Plugin, Problem};
use agente_units::Span;
use serde::de::DeserializeOwned;
use std::time::Duration;

/// Reads JSON into a type; the problem carries the path to the value that doesn't fit.
pub fn parse<T: DeserializeOwned>(json: &str) -> Result<T, Problem> {
    let mut deserializer = serde_json::Deserializer::from_str(json);
    serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let path = error.path().to_string();
        let path = if path == "." { String::new() } else { path };
        // The position inside the JSON that the host made of the manifest tells the operator
        // nothing.
        let message = error.inner().to_string();
        let message =
            message.rsplit_once(" at line ").map_or(message.as_str(), |(before, _)| before);
        Problem { path, message: in_words(message) }
    })
}

/// Reads a duration above zero, as the manifest writes them: `500ms`, `1m30s`.
pub fn duration(text: &str, path: &str) -> Result<Duration, Problem> {
    match text.parse().map(Span::duration) {
        Ok(Duration::ZERO) => Err(Problem::new(
            path,
            format!(
                "`{text}` is not a usable duration; write for example \
            `2s`"
            ),
        )),
        Ok(duration) => Ok(duration),
        Err(misread) => Err(Problem::new(path, misread.to_string())),
    }
}

/// A message of the deserializer in the words of the manifest.
fn in_words(message: &str) -> String {
    const WORDS: [(&str, &str); 10] = [
        ("unknown field", "unknown key"),
        ("unknown variant", "unknown choice"),
        ("missing field", "missing key"),
        ("expected one of", "the choices are"),
        ("invalid type: ", "wrong type: "),
        ("invalid value: ", "wrong value: "),
        ("wrong type: sequence", "wrong type: list"),
        ("wrong type: map", "wrong type: table"),
        ("a sequence", "a list"),
        ("a map", "a table"),
    ];
    let message =
        WORDS.iter().fold(message.to_owned(), |message, (from, to)| message.replace(from, to));
    let (before, expected) = message.rsplit_once("expected ").unwrap_or((&message, ""));
    let number = |expected: &str| match expected.split_at_checked(1)? {
        ("u", bits) if is_width(bits) => Some("a whole number from 0"),
        ("i", bits) if is_width(bits) => Some("a whole number"),
        ("f", bits) if is_width(bits) => Some("a number"),
        ("s", rest) if rest.starts_with("truct ") => Some("a table"),
        _ => None,
    };
    match number(expected) {
        Some(words) => format!("{before}expected {words}"),
        None => message,
    }
}

fn is_width(bits: &str) -> bool {
    matches!(bits, "8" | "16" | "32" | "64" | "size")
}

/// Judges a plugin's section as a whole: its shape, then its values.
pub fn check<P: Plugin>(json: &str) -> Vec<Problem> {
    match parse::<P::Config>(json) {
        Ok(config) => P::check_config(&config),
        Err(problem) => vec![problem],
    }
}

/// Reads a plugin's section for an operation.
pub fn load<P: Plugin>(json: &str) -> Result<P::Config, Failure> {
    let config: P::Config = parse(json).map_err(|problem| invalid(&problem))?;
    match P::check_config(&config).first() {
        Some(problem) => Err(invalid(problem)),
        None => Ok(config),
    }
}

fn invalid(problem: &Problem) -> Failure {
    if problem.path.is_empty() {
        Failure::invalid_config(format!(
            "the plugin's configuration is invalid: {}",
            problem.message
        ))
    } else {
        Failure::invalid_config(format!(
            "the plugin's configuration is invalid at `{}`: {}",
            problem.path, problem.message
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::{duration, parse};
    use serde::Deserialize;
    use std::time::Duration;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Section {
        #[expect(dead_code, reason = "only its shape matters")]
        directory: String,
        #[expect(dead_code, reason = "only its shape matters")]
        pool: Option<Pool>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Pool {
        #[expect(dead_code, reason = "only its shape matters")]
        keepalive: u32,
    }

    #[test]
    fn a_duration_is_above_zero_and_has_a_unit() {
        assert_eq!(duration("1m30s", "window"), Ok(Duration::from_secs(90)));
        for bad in ["0s", "0", "90", "soon"] {
            let problem = duration(bad, "window").unwrap_err();
            assert_eq!(problem.path, "window");
            assert!(problem.message.contains("is no"), "{problem:?}");
        }
    }

    #[test]
    fn what_does_not_fit_is_named_by_its_path_and_without_types_of_rust() {
        let said = |json: &str| {
            parse::<Section>(json)
                .map_err(|problem| format!("{}: {}", problem.path, problem.message))
                .unwrap_err()
        };
        assert_eq!(
            said(r#"{"directry": "/a"}"#),
            "directry: unknown key `directry`, expected `directory` or `pool`"
        );
        assert_eq!(said("{}"), ": missing key `directory`");
        assert_eq!(
            said(r#"{"directory": 1}"#),
            "directory: wrong type: integer `1`, expected a string"
        );
        assert_eq!(
            said(r#"{"directory": "/a", "pool": "big"}"#),
            "pool: wrong type: string \"big\", expected a table"
        );
        assert_eq!(
            said(r#"{"directory": "/a", "pool": {"keepalive": -1}}"#),
            "pool.keepalive: wrong value: integer `-1`, expected a whole number from 0"
        );
    }
}
