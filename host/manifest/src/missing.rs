//! What a manifest lacks, judged by the schema of the wire types: keys that have to be there, and
//! tables in which one of several keys has to be chosen.
//!
//! This runs over the document of one environment, after its tables are merged.

use crate::mistake::{Complaint, Findings};
use crate::schema::{alternatives, example, inner, keyword, resolved};
use crate::shape::{TakenOut, fits};
use crate::spelling::listed;
use crate::tree::{KeyPath, Node, Value};
use serde_json::Value as Json;

/// Reports what is missing from the merged document, and where one key has to be chosen and none or
/// several are there.
pub(crate) fn report(document: &Node, taken_out: &TakenOut, findings: &mut Findings<'_>) {
    visit(inner(), document, &KeyPath::root(), taken_out, findings);
}

fn visit(
    outer: &Json,
    node: &Node,
    path: &KeyPath,
    taken_out: &TakenOut,
    findings: &mut Findings<'_>,
) {
    let mut schema = resolved(inner(), outer);
    if let Some(choices) = alternatives(schema) {
        let Some(choice) = choices
            .iter()
            .map(|choice| resolved(inner(), choice))
            .find(|choice| fits(choice, &node.value))
        else {
            return;
        };
        schema = choice;
    }
    match &node.value {
        Value::List(items) => {
            if let Some(of) = schema.get("items") {
                for (index, item) in items.iter().enumerate() {
                    visit(of, item, &path.index(index), taken_out, findings);
                }
            }
        }
        Value::Table(entries) => {
            for key in schema
                .get("required")
                .and_then(Json::as_array)
                .into_iter()
                .flatten()
                .filter_map(Json::as_str)
            {
                let here = path.key(key);
                if !entries.contains_key(key) && !taken_out.contains(&here.to_string()) {
                    let property =
                        schema.get("properties").and_then(|properties| properties.get(key));
                    findings.add(&node.place(), here.to_string(), missing_key(key, path, property));
                }
            }
            if let Some(choices) = schema.get("x-exactly-one").and_then(Json::as_array) {
                exactly_one(choices, schema, node, path, taken_out, findings);
            }
            if let Some(choices) = schema.get("x-at-most-one").and_then(Json::as_array) {
                at_most_one(choices, node, path, findings);
            }
            let rest = schema.get("additionalProperties");
            for (key, child) in entries {
                if let Some(of) =
                    schema.get("properties").and_then(|properties| properties.get(key)).or(rest)
                {
                    visit(of, child, &path.key(key), taken_out, findings);
                }
            }
        }
        _ => {}
    }
}

fn missing_key(key: &str, path: &KeyPath, property: Option<&Json>) -> Complaint {
    let here = path.key(key);
    let place = path.to_string();
    let choices = property
        .and_then(|property| keyword(inner(), property, "x-exactly-one"))
        .and_then(Json::as_array);
    let fix = if let Some(choices) = choices {
        let tables = choices
            .iter()
            .filter_map(Json::as_str)
            .map(|choice| format!("`[{here}.{choice}]`"))
            .collect::<Vec<_>>();
        format!("add {}", tables.join(" or "))
    } else {
        match property.and_then(|property| example(inner(), property)) {
            Some(example) if place.is_empty() => format!("add `{key} = {example}` at the top"),
            Some(example) => format!("add `{key} = {example}`"),
            None => match table_example(property) {
                Some(example) => format!("add `[{here}]` with `{example}`"),
                None => format!("add `[{here}]`"),
            },
        }
    };
    Complaint::new(format!("`{here}` is missing"), fix)
}

/// The first key that a table must have, with its example.
fn table_example(property: Option<&Json>) -> Option<String> {
    let schema = resolved(inner(), property?);
    let key = schema.get("required")?.get(0)?.as_str()?;
    let example = example(inner(), schema.get("properties")?.get(key)?)?;
    Some(format!("{key} = {example}"))
}

/// Reports a table that has to have one of several keys and has none or several.
fn exactly_one(
    choices: &[Json],
    schema: &Json,
    node: &Node,
    path: &KeyPath,
    taken_out: &TakenOut,
    findings: &mut Findings<'_>,
) {
    let names: Vec<&str> = choices.iter().filter_map(Json::as_str).collect();
    let entry = |name: &str| node.table().and_then(|entries| entries.get(name));
    let given: Vec<&str> = names.iter().copied().filter(|name| entry(name).is_some()).collect();
    match given.as_slice() {
        [_] => {}
        [] => {
            // Whatever was taken out of the table may have been meant as one of them.
            let inside = format!("{path}.");
            if !taken_out.iter().any(|path| path.starts_with(&inside)) {
                let written: Vec<String> =
                    names.iter().map(|name| one_choice(name, schema, path)).collect();
                let complaint = Complaint::new(
                    format!("`{path}` needs one of {}", listed(names)),
                    format!("add {}", written.join(" or ")),
                );
                findings.add(&node.place(), path.to_string(), complaint);
            }
        }
        _ => at_most_one(choices, node, path, findings),
    }
}

/// Reports a table that has several keys which exclude one another.
fn at_most_one(choices: &[Json], node: &Node, path: &KeyPath, findings: &mut Findings<'_>) {
    let entry = |name: &str| node.table().and_then(|entries| entries.get(name));
    let given: Vec<&str> =
        choices.iter().filter_map(Json::as_str).filter(|name| entry(name).is_some()).collect();
    if given.len() < 2 {
        return;
    }
    // Shown at the later one: that is the one that was added to something that worked.
    let last = given
        .iter()
        .filter_map(|name| entry(name))
        .max_by_key(|entry| entry.name_place().start)
        .unwrap_or(node);
    let given = listed(given);
    let complaint = Complaint::new(
        format!("`{path}` has both {given}"),
        format!("keep one of {given} and remove the rest"),
    );
    findings.add(&last.name_place(), path.to_string(), complaint);
}

/// How one of several keys is written.
fn one_choice(name: &str, schema: &Json, path: &KeyPath) -> String {
    let property = schema.get("properties").and_then(|properties| properties.get(name));
    match property.and_then(|property| example(inner(), property)) {
        Some(example) => format!("`{name} = {example}`"),
        None => format!("`[{}]`", path.key(name)),
    }
}
