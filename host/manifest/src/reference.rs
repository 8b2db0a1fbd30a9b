//! The reference of every key, in Markdown, written from the schema.

use crate::forms::form_name;
use crate::schema::{alternatives, fixed_texts, inner, keyword, resolved};
use crate::template::{Answers, TemplateKind, shortest};
use crate::written::toml_literal;
use serde_json::Value as Json;
use std::fmt::Write as _;

/// The order of the sections: as a reader meets them. What is not named here comes last.
const ORDER: [&str; 13] = [
    "runtime",
    "secrets",
    "plugins",
    "switch",
    "checks",
    "health",
    "probe",
    "strategy",
    "analysis",
    "timeouts",
    "disk",
    "metrics",
    "environments",
];

/// Writes the reference: every key with its type, default, meaning and an example.
pub fn reference() -> String {
    let mut text = String::from("# The manifest: `agente.toml`\n\n");
    text.push_str(
        "<!-- Written by agente-host from its own types. Don't edit: change the types. -->\n\n",
    );
    text.push_str(
        "One file describes one service. Paths are relative to its directory. Unknown keys are \
        errors, and all errors are reported at once, each with its line and a fix, before ",
    );
    text.push_str(
        "anything is changed. `agente-host check` validates a manifest, `agente-host schema` \
        prints its JSON Schema for editors, `agente-host init` creates a starter manifest.\n\n",
    );
    text.push_str("The common case:\n\n```toml\n");
    text.push_str(&shortest(TemplateKind::Process, &Answers::default()));
    text.push_str("```\n\n## How values are written\n\n");
    text.push_str("| Kind | Examples | |\n|---|---|---|\n");
    text.push_str(
        "| duration | `\"500ms\"` `\"10s\"` `\"1m30s\"` `\"2h\"` | numbers with `ms`, `s`, `m`, \
         `h`, `d`; at most 30 days |\n",
    );
    text.push_str(
        "| size | `\"64MiB\"` `\"1GiB\"` | whole numbers with `B`, `KiB`, `MiB`, `GiB`, `TiB` |\n",
    );
    text.push_str("| port range | `\"18100-18199\"` | first and last, from 1024 up |\n");
    text.push_str("| weight | `100` `12.5` | percent, at most two decimals |\n");
    text.push_str("| percentage | `\"1%\"` `\"0.25%\"` | at most four decimals, up to `100%` |\n");
    text.push_str(
        "| name | `shop` `my-switch` | lower-case letters, digits and `-`, at most 31 characters, \
        starting with a letter |\n\n",
    );
    section(&mut text, "", inner());
    text
}

/// Writes the keys of one table, then the tables within it.
fn section(text: &mut String, heading: &str, schema: &Json) {
    let title = if heading.is_empty() { "Top level".to_owned() } else { format!("`{heading}`") };
    let _ = write!(text, "## {title}\n\n");
    if let Some(description) = schema.get("description").and_then(Json::as_str) {
        let _ = write!(text, "{description}\n\n");
    }
    let properties = schema.get("properties").and_then(Json::as_object);
    let required: Vec<&str> = schema
        .get("required")
        .and_then(Json::as_array)
        .into_iter()
        .flatten()
        .filter_map(Json::as_str)
        .collect();
    let chosen: Vec<&str> = schema
        .get("x-exactly-one")
        .and_then(Json::as_array)
        .into_iter()
        .flatten()
        .filter_map(Json::as_str)
        .collect();
    let mut keys: Vec<(&String, &Json)> = properties.into_iter().flatten().collect();
    keys.sort_by_key(|(key, _)| {
        (
            ORDER.iter().position(|name| name == key).filter(|_| heading.is_empty()),
            !required.contains(&key.as_str()),
        )
    });
    let plain: Vec<_> = keys.iter().filter(|(_, property)| has_row(property)).collect();
    if !plain.is_empty() {
        text.push_str("| Key | Type | Default | Meaning | Example |\n|---|---|---|---|---|\n");
        for (key, property) in plain {
            let default = if required.contains(&key.as_str()) {
                "required".to_owned()
            } else if chosen.contains(&key.as_str()) {
                "one of these is required".to_owned()
            } else {
                default(property)
            };
            let meaning =
                keyword(inner(), property, "description").and_then(Json::as_str).unwrap_or("");
            let example = keyword(inner(), property, "examples")
                .and_then(|examples| examples.get(0))
                .map(|example| format!("`{key} = {}`", toml_literal(example)));
            let cells = [
                format!("`{key}`"),
                kind(property),
                default,
                meaning.to_owned(),
                example.unwrap_or_default(),
            ];
            let _ =
                writeln!(text, "| {} |", cells.map(|cell| cell.replace('|', "\\|")).join(" | "));
        }
        text.push('\n');
    }
    for (key, property) in keys {
        if let Some((form, table)) = table_of(property) {
            let inside = heading.trim_matches(['[', ']']);
            let path = if inside.is_empty() { key.clone() } else { format!("{inside}.{key}") };
            section_of_property(text, form, &path, property, table);
        }
    }
}

fn section_of_property(
    text: &mut String,
    form: TableForm,
    path: &str,
    property: &Json,
    table: &Json,
) {
    let heading = match form {
        TableForm::One => format!("[{path}]"),
        TableForm::Named => format!("[{path}.<name>]"),
        TableForm::Several => format!("[[{path}]]"),
    };
    // The meaning of the key says more than the type's.
    let mut table = table.clone();
    if let (Some(words), Some(description)) =
        (table.as_object_mut(), keyword(inner(), property, "description"))
    {
        words.insert("description".to_owned(), description.clone());
    }
    if path == "environments" {
        // Its keys are all the others again.
        let _ = write!(
            text,
            "## `{heading}`\n\n{}\n\n",
            table.get("description").and_then(Json::as_str).unwrap_or("")
        );
        text.push_str("```toml\n[environments.staging.probe]\nurl = \"https://staging.shop.example/healthz\"\n\n[environments.production.strategy]\nbake = \"10m\"\n```\n");
        return;
    }
    section(text, &heading, &table);
}

/// How a table stands in the file.
#[derive(Clone, Copy)]
enum TableForm {
    One,
    Named,
    Several,
}

/// The table behind a key, where there is one with known keys.
fn table_of(property: &Json) -> Option<(TableForm, &Json)> {
    let schema = resolved(inner(), property);
    let known = |schema: &Json| schema.get("properties").is_some();
    if known(schema) {
        return Some((TableForm::One, schema));
    }
    let named =
        schema.get("additionalProperties").map(|of| resolved(inner(), of)).filter(|of| known(of));
    let several = schema.get("items").and_then(|of| elements(of).find(|of| known(of)));
    named.map(|of| (TableForm::Named, of)).or(several.map(|of| (TableForm::Several, of)))
}

/// The kinds that an element of a list may be of.
fn elements(of: &Json) -> impl Iterator<Item = &Json> {
    let schema = resolved(inner(), of);
    let choices = alternatives(schema).map_or(std::slice::from_ref(schema), Vec::as_slice);
    choices.iter().map(|choice| resolved(inner(), choice))
}

/// Whether a key is shown in the table of keys: it is a value, or a list whose elements may be
/// values too.
fn has_row(property: &Json) -> bool {
    let mixed = resolved(inner(), property).get("items").is_some_and(|of| elements(of).count() > 1);
    mixed || table_of(property).is_none()
}

fn kind(property: &Json) -> String {
    let schema = resolved(inner(), property);
    if let Some(texts) = fixed_texts(schema) {
        return texts.iter().map(|text| format!("`\"{text}\"`")).collect::<Vec<_>>().join(" or ");
    }
    if let Some(choices) = alternatives(schema) {
        return choices.iter().map(kind).collect::<Vec<_>>().join(" or ");
    }
    let form = schema.get("x-form").and_then(Json::as_str).and_then(form_name);
    let range = |word: &str| keyword(inner(), property, word).map(toml_literal);
    let limits = match (range("minimum"), range("maximum")) {
        (Some(least), Some(most)) => format!(", {least} to {most}"),
        (Some(least), None) => format!(", {least} or more"),
        (None, Some(most)) => format!(", at most {most}"),
        (None, None) => String::new(),
    };
    match (schema.get("type").and_then(Json::as_str), form) {
        (Some("string"), Some(form)) => form.to_owned(),
        (Some("string"), None) => "string".to_owned(),
        (Some("integer"), _) => format!("whole number{limits}"),
        (Some("number"), _) => format!("number{limits}"),
        (Some("boolean"), _) => "`true` or `false`".to_owned(),
        (Some("array"), _) => {
            format!("list of {}", schema.get("items").map_or("values".to_owned(), kind))
        }
        (Some("object"), _) => match schema.get("additionalProperties").filter(|of| of.is_object())
        {
            Some(of) => format!("table of {}", kind(of)),
            None => "table".to_owned(),
        },
        _ => "any value".to_owned(),
    }
}

fn default(property: &Json) -> String {
    match property.get("default") {
        None | Some(Json::Null) => "none".to_owned(),
        Some(Json::Object(entries)) if entries.is_empty() => "none".to_owned(),
        Some(Json::Array(items)) if items.is_empty() => "none".to_owned(),
        Some(value) => format!("`{}`", toml_literal(value)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_of_every_table_is_in_the_reference() {
        let text = reference();
        for (name, definition) in inner()["$defs"].as_object().unwrap() {
            if name == "RawEnvironment" {
                continue;
            }
            for key in definition
                .get("properties")
                .and_then(Json::as_object)
                .into_iter()
                .flat_map(|keys| keys.keys())
            {
                let said = text.contains(&format!("| `{key}` |"))
                    || text.contains(&format!(".{key}]"))
                    || text.contains(&format!("[{key}]"))
                    || text.contains(&format!("{{ {key} = "));
                assert!(said, "`{key}` of {name} is not in the reference");
            }
        }
        for section in ORDER {
            assert!(
                text.contains(&format!("## `[{section}"))
                    || text.contains(&format!("## `[[{section}")),
                "`{section}` has no section"
            );
        }
    }

    #[test]
    fn the_reference_is_as_reviewed() {
        insta::assert_snapshot!("reference", reference());
    }
}
