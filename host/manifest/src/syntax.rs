//! From bytes to a tree, with every syntax error in words.

use crate::mistake::{Complaint, Findings};
use crate::source::Stretch;
use crate::tree::{self, Node};
use std::collections::BTreeSet;
use toml::de::{DeTable, DeValue};

/// Reads the document. Where a syntax error leaves the rest in doubt, the answer is none: what
/// follows from it would not be true.
pub(crate) fn parse(findings: &mut Findings<'_>) -> Option<Node> {
    let source = findings.source();
    let (table, errors) = DeTable::parse_recoverable(source.text());
    let open = unclosed(table.get_ref(), &errors, source.text());
    if let Some(stretch) = &open {
        let (what, end) =
            if source.slice(stretch).starts_with('{') { ("table", '}') } else { ("list", ']') };
        let complaint = Complaint::new(
            format!("this is not TOML: the {what} that starts here is not closed"),
            format!("add `{end}` where it ends"),
        );
        findings.add(&(stretch.start..stretch.start + 1), String::new(), complaint);
    }
    let mut seen = BTreeSet::new();
    let mut in_doubt = open.is_some();
    for error in errors {
        let stretch = error.span().unwrap_or(0..0);
        // The parser goes on within what is not closed and trips over everything that follows.
        if open
            .as_ref()
            .is_some_and(|open| open.start <= stretch.start && stretch.start <= open.end)
        {
            continue;
        }
        in_doubt |= !matches!(
            kind_of(error.message()),
            "duplicate key" | "string values must be quoted" | "invalid boolean"
        );
        // One slip often upsets the parser several times in its line.
        if seen.insert(source.position(stretch.start).line) {
            let secret = within_secrets(source.text(), stretch.start);
            let written = if secret { "…" } else { source.slice(&stretch) };
            let complaint =
                explain(error.message(), written, source.line(source.position(stretch.start).line));
            let complaint = if secret { complaint.concealed() } else { complaint };
            findings.add(&widened(source.text(), stretch), String::new(), complaint);
        }
    }
    if in_doubt {
        return None;
    }
    Some(tree::read(table.get_ref(), 0..0, findings))
}

/// From the bracket that is not closed to where the parser gave up looking for its end; none where
/// all are closed.
fn unclosed(table: &DeTable<'_>, errors: &[toml::de::Error], text: &str) -> Option<Stretch> {
    let missed = |error: &&toml::de::Error| {
        matches!(
            kind_of(error.message()),
            "unclosed array" | "unclosed inline table" | "unexpected `=` in array"
        )
    };
    let given_up = errors
        .iter()
        .filter(missed)
        .filter_map(toml::de::Error::span)
        .map(|stretch| stretch.start)
        .max()?;
    let mut offsets: Vec<usize> =
        errors.iter().filter_map(toml::de::Error::span).map(|stretch| stretch.start).collect();
    offsets.sort_unstable();
    let begun = offsets.into_iter().find_map(|offset| outermost(table, offset, text))?;
    Some(begun.start..given_up.max(begun.end))
}

/// The list or table in brackets, not within another, in which a byte stands.
fn outermost(table: &DeTable<'_>, offset: usize, text: &str) -> Option<Stretch> {
    table.iter().find_map(|(_, value)| {
        let stretch = value.span();
        let opened = text.get(stretch.start..).and_then(|rest| rest.chars().next());
        match (value.get_ref(), opened) {
            (DeValue::Array(_), Some('[')) | (DeValue::Table(_), Some('{'))
                if stretch.start < offset && offset <= stretch.end =>
            {
                Some(stretch)
            }
            (DeValue::Table(inner), _) => outermost(inner, offset, text),
            (DeValue::Array(items), _) => items.iter().find_map(|item| match item.get_ref() {
                DeValue::Table(inner) => outermost(inner, offset, text),
                _ => None,
            }),
            _ => None,
        }
    })
}

/// The parser's message without what it expected.
fn kind_of(message: &str) -> &str {
    message.split(", expected").next().unwrap_or(message)
}

/// Whether the last table named before a byte is one of secrets, or the line sets one.
fn within_secrets(text: &str, offset: usize) -> bool {
    let before = text.get(..offset).unwrap_or("");
    let line = before.lines().next_back().unwrap_or("").trim_start();
    let header =
        before.lines().rev().map(str::trim_start).find(|line| line.starts_with('[')).unwrap_or("");
    header.contains("secrets") || line.starts_with("secrets")
}

/// An empty stretch at the end of something is shown on its last character.
fn widened(text: &str, stretch: Stretch) -> Stretch {
    if !stretch.is_empty() {
        return stretch;
    }
    match text.get(..stretch.start).and_then(|before| before.chars().next_back()) {
        Some(last)
            if last != '\n'
                && text
                    .get(stretch.start..)
                    .is_none_or(|after| after.is_empty() || after.starts_with(['\n', '\r'])) =>
        {
            stretch.start - last.len_utf8()..stretch.start
        }
        _ => stretch,
    }
}

fn explain(message: &str, written: &str, line: &str) -> Complaint {
    let key =
        line.split('=').next().map(str::trim).filter(|key| !key.is_empty() && line.contains('='));
    let wrong = |what: &str| format!("this is not TOML: {what}");
    match kind_of(message) {
        "duplicate key" if written == "…" => {
            Complaint::new("a key is given twice", "keep one of the two and remove the other")
        }
        "duplicate key" => Complaint::new(
            format!("`{}` is given twice", written.trim()),
            format!("keep one `{}` and remove the other", written.trim()),
        ),
        "string values must be quoted" if written.trim().is_empty() => {
            let key = key.unwrap_or("key");
            Complaint::new(
                wrong("there is no value after `=`"),
                format!("write a value: `{key} = …`"),
            )
        }
        "string values must be quoted" => {
            let key = key.unwrap_or("key");
            Complaint::new(
                wrong("a string must be in quotes"),
                format!("write `{key} = \"{}\"`", written.trim()),
            )
        }
        "unclosed table" => Complaint::new(
            wrong("the table's name is not closed"),
            "add `]` at the end of the line",
        ),
        "unclosed array table" => Complaint::new(
            wrong("the table's name is not closed"),
            "add `]]` at the end of the line",
        ),
        "unclosed array" => {
            Complaint::new(wrong("the list is not closed"), "add `]` after its last element")
        }
        "unclosed inline table" => {
            Complaint::new(wrong("the table is not closed"), "add `}` after its last entry")
        }
        "invalid basic string"
        | "invalid literal string"
        | "invalid multi-line basic string"
        | "invalid multi-line literal string" => Complaint::new(
            wrong("the string is not closed"),
            "end it with the quote it starts with",
        ),
        "missing escaped value" => Complaint::new(
            wrong("`\\` starts an escape that TOML does not know"),
            "write `\\\\` for a backslash, or put the string in single quotes",
        ),
        "key with no value" => {
            Complaint::new(wrong("a key without a value"), "write `key = value`")
        }
        "missing comma between array elements" => Complaint::new(
            wrong("two list elements without a comma between them"),
            "put `,` between them",
        ),
        "missing comma between key-value pairs" => Complaint::new(
            wrong("two table entries without a comma between them"),
            "put `,` between them",
        ),
        "unexpected key or value" => Complaint::new(
            wrong("something follows the value"),
            "put it on a line of its own, or make it a comment with `#`",
        ),
        "invalid boolean" => Complaint::new(
            wrong("neither a value nor a quoted text"),
            "write `true` or `false`, or put the string in quotes",
        ),
        "unexpected leading zero" => Complaint::new(
            wrong("a number must not start with 0"),
            "remove the leading zeros, or put it in quotes",
        ),
        "recursion limit" | "cannot recurse further; max recursion depth met" => {
            Complaint::new(wrong("tables or lists are nested too deeply"), "reduce the nesting")
        }
        other => Complaint::new(
            wrong(other),
            "correct the marked place; see https://toml.io for the syntax",
        ),
    }
}
