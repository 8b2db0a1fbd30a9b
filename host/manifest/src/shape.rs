//! Whether a manifest has only keys that are known and values of the right kind, judged by the
//! schema of the wire types.
//!
//! This runs over the document as written, reports what has no place in it, and takes that out, so
//! that the rest can still be judged. What was taken out is remembered, so that
//! [`missing`](mod@crate::missing) doesn't report it again.

use crate::forms::{check_form, form_name};
use crate::mistake::{Complaint, Findings};
use crate::schema::{alternatives, example, first_choice, fixed_texts, inner, keyword, resolved};
use crate::source::Stretch;
use crate::spelling::{listed, nearest};
use crate::tree::{KeyPath, Node, Value};
use crate::written::toml_literal;
use serde_json::Value as Json;
use std::collections::{BTreeMap, BTreeSet};

/// The paths that were taken out.
pub(crate) type TakenOut = BTreeSet<String>;

/// Reports and takes out what has no place in a manifest.
pub(crate) fn prune(document: Node, findings: &mut Findings<'_>) -> (Node, TakenOut) {
    let mut pruner = Pruner { root: inner(), findings, taken_out: TakenOut::new() };
    let kept = pruner.node(inner(), document, &KeyPath::root()).unwrap_or_else(Node::empty);
    (kept, pruner.taken_out)
}

struct Pruner<'a, 'f> {
    root: &'a Json,
    findings: &'a mut Findings<'f>,
    taken_out: TakenOut,
}

impl Pruner<'_, '_> {
    /// Reports a complaint. What is wrong within `secrets` may be a secret itself, written where
    /// only its source belongs.
    fn object(&mut self, stretch: &Stretch, path: &KeyPath, complaint: Complaint) {
        let complaint = if path.is_within_secrets() { complaint.concealed() } else { complaint };
        self.findings.add(stretch, path.to_string(), complaint);
    }

    fn node(&mut self, schema: &Json, node: Node, path: &KeyPath) -> Option<Node> {
        let kept = self.judged(schema, node, path);
        if kept.is_none() {
            self.taken_out.insert(path.to_string());
        }
        kept
    }

    fn judged(&mut self, outer: &Json, node: Node, path: &KeyPath) -> Option<Node> {
        let schema = resolved(self.root, outer);
        if let Some(texts) = fixed_texts(schema) {
            return self.fixed(outer, &texts, node, path);
        }
        if let Some(choices) = alternatives(schema) {
            let fitting =
                choices.iter().find(|choice| fits(resolved(self.root, choice), &node.value));
            return match fitting {
                Some(choice) => self.judged(choice, node, path),
                None => self.wrong_kind(outer, &node, path),
            };
        }
        if !fits(schema, &node.value) {
            return self.wrong_kind(outer, &node, path);
        }
        let Node { name, stretch, value } = node;
        let value = match value {
            Value::Table(entries) => Value::Table(self.table(schema, entries, path)),
            Value::List(items) => {
                let count = items.len();
                if let Some(complaint) = self.wrong_length(outer, count, path) {
                    self.object(&stretch, path, complaint);
                    return None;
                }
                let items: Vec<Node> = match schema.get("items") {
                    Some(of) => items
                        .into_iter()
                        .enumerate()
                        .filter_map(|(index, item)| self.node(of, item, &path.index(index)))
                        .collect(),
                    None => items,
                };
                // A list without one of its elements would say something else.
                if items.len() < count {
                    return None;
                }
                Value::List(items)
            }
            Value::Text(text) => {
                let form = schema.get("x-form").and_then(Json::as_str).unwrap_or("");
                if let Err(complaint) = check_form(form, &text) {
                    self.object(&stretch, path, complaint);
                    return None;
                }
                Value::Text(text)
            }
            #[expect(
                clippy::cast_precision_loss,
                reason = "only compared with limits far below 2^53"
            )]
            Value::Integer(number) => {
                self.within(outer, number as f64, &stretch, path)?;
                Value::Integer(number)
            }
            Value::Float(number) => {
                self.within(outer, number, &stretch, path)?;
                Value::Float(number)
            }
            other => other,
        };
        Some(Node { name, stretch, value })
    }

    fn table(
        &mut self,
        schema: &Json,
        entries: BTreeMap<String, Node>,
        path: &KeyPath,
    ) -> BTreeMap<String, Node> {
        let none = serde_json::Map::new();
        let properties = schema.get("properties").and_then(Json::as_object).unwrap_or(&none);
        let mut kept = BTreeMap::new();
        for (key, entry) in entries {
            let here = path.key(&key);
            let of = properties.get(&key).or_else(|| {
                schema.get("additionalProperties").filter(|rest| rest.as_bool() != Some(false))
            });
            let judged = match of {
                Some(of) => self.node(of, entry, &here),
                None if properties.is_empty() => Some(entry),
                None => {
                    let complaint = unknown_key(&key, path, properties.keys().map(String::as_str));
                    self.object(&entry.name_place(), &here, complaint);
                    // The key that was meant is not missing as well.
                    let meant = meant(&key, properties.keys().map(String::as_str)).unwrap_or(&key);
                    self.taken_out.insert(path.key(meant).to_string());
                    None
                }
            };
            if let Some(judged) = judged {
                kept.insert(key, judged);
            }
        }
        kept
    }

    fn fixed(&mut self, outer: &Json, texts: &[&str], node: Node, path: &KeyPath) -> Option<Node> {
        let Some(text) = node.text() else { return self.wrong_kind(outer, &node, path) };
        if texts.contains(&text) {
            return Some(node);
        }
        let fix = match (nearest(text, texts.iter().copied()), texts) {
            (Some(meant), _) => format!("write `{meant}`"),
            (None, [only]) => format!("write `{only}`"),
            (None, _) => format!("write one of {}", listed(texts.iter().copied())),
        };
        self.object(
            &node.stretch,
            path,
            Complaint::new(
                format!(
                    "`{path}` can't be `{text}`; it is one of {}",
                    listed(texts.iter().copied())
                ),
                fix,
            ),
        );
        None
    }

    fn wrong_kind(&mut self, outer: &Json, node: &Node, path: &KeyPath) -> Option<Node> {
        let wanted = self.kind_wanted(outer);
        let found = kind_found(&node.value);
        let key = last_key(path);
        let assignment = if path.is_element() { String::new() } else { format!("{key} = ") };
        let schema = resolved(self.root, outer);
        let form = schema.get("x-form").and_then(Json::as_str);
        let fix = match (&node.value, schema.get("type").and_then(Json::as_str)) {
            (Value::Text(text), Some("integer" | "number")) if plain_number(text).is_some() => {
                format!(
                    "write it without quotes: `{assignment}{}`",
                    plain_number(text).unwrap_or("")
                )
            }
            (Value::Text(text), Some("boolean")) if matches!(text.as_str(), "true" | "false") => {
                format!("write it without quotes: `{key} = {text}`")
            }
            (Value::Integer(number), Some("string")) if form == Some("duration") => {
                format!("write it with its unit, in quotes, such as `{key} = \"{number}s\"`")
            }
            (Value::Integer(number), Some("string")) if form == Some("size") => {
                format!("write it with its unit, in quotes, such as `{key} = \"{number}MiB\"`")
            }
            (
                Value::Integer(_) | Value::Float(_) | Value::Boolean(_) | Value::Moment(_),
                Some("string"),
            ) if form.is_none() => {
                format!(
                    "put it in quotes: `{assignment}\"{}\"`",
                    self.findings.source().slice(&node.stretch)
                )
            }
            (Value::Text(text), Some("array"))
                if self.list_of_texts(schema) && !path.is_within_secrets() =>
            {
                // A command is several words; any other text is one element.
                let elements = if key == "command" {
                    text.split_whitespace().collect()
                } else {
                    vec![text.as_str()]
                };
                format!("write a list: `{key} = {}`", toml_literal(&Json::from(elements)))
            }
            _ => self.example_fix(outer, path, &wanted),
        };
        self.object(
            &node.place(),
            path,
            Complaint::new(format!("`{path}` must be {wanted}, not {found}"), fix),
        );
        None
    }

    fn list_of_texts(&self, schema: &Json) -> bool {
        schema.get("items").map(|items| resolved(self.root, items)).is_some_and(|items| {
            items.get("type").is_some_and(|kind| kind == "string") || fixed_texts(items).is_some()
        })
    }

    fn example_fix(&self, outer: &Json, path: &KeyPath, wanted: &str) -> String {
        match example(self.root, outer) {
            Some(example) => format!("write it like `{} = {example}`", last_key(path)),
            None if let Some(choice) = first_choice(resolved(self.root, outer)) => {
                format!("write it like `{} = {{ {choice} }}`", last_key(path))
            }
            None if wanted == "a table" => {
                format!("write a table: `[{path}]` with its keys on the lines below")
            }
            None => format!("write {wanted}"),
        }
    }

    fn kind_wanted(&self, outer: &Json) -> String {
        let schema = resolved(self.root, outer);
        if let Some(texts) = fixed_texts(schema) {
            return format!("one of {}", listed(texts));
        }
        if let Some(choices) = alternatives(schema) {
            return choices
                .iter()
                .map(|choice| self.kind_wanted(choice))
                .collect::<Vec<_>>()
                .join(" or ");
        }
        let form = schema.get("x-form").and_then(Json::as_str).and_then(form_name);
        match (schema.get("type").and_then(Json::as_str), form) {
            (Some("string"), Some(form)) => format!("a {form} in quotes"),
            (Some("string"), None) => "a string".to_owned(),
            (Some("integer"), _) => "a whole number".to_owned(),
            (Some("number"), _) => "a number".to_owned(),
            (Some("boolean"), _) => "`true` or `false`".to_owned(),
            (Some("array"), _) => "a list".to_owned(),
            (Some("object"), _) => "a table".to_owned(),
            _ => "a value".to_owned(),
        }
    }

    fn wrong_length(&self, outer: &Json, count: usize, path: &KeyPath) -> Option<Complaint> {
        let limit = |word: &str| {
            keyword(self.root, outer, word)
                .and_then(Json::as_u64)
                .and_then(|limit| usize::try_from(limit).ok())
        };
        if limit("minItems").is_some_and(|least| count < least) {
            return Some(Complaint::new(
                format!("`{path}` is empty"),
                self.example_fix(outer, path, "at least one element"),
            ));
        }
        let most = limit("maxItems").filter(|&most| count > most)?;
        Some(Complaint::new(
            format!("`{path}` has {count} elements; the maximum is {most}"),
            format!("remove {} of them", count - most),
        ))
    }

    /// Whether a number keeps to the limits of its schema.
    fn within(
        &mut self,
        outer: &Json,
        number: f64,
        stretch: &Stretch,
        path: &KeyPath,
    ) -> Option<()> {
        let limit = |word: &str| keyword(self.root, outer, word).and_then(Json::as_f64);
        let (least, most) = (limit("minimum"), limit("maximum"));
        if least.is_none_or(|least| number >= least) && most.is_none_or(|most| number <= most) {
            return Some(());
        }
        let written = self.findings.source().slice(stretch).to_owned();
        let range = match (least, most) {
            (Some(least), Some(most)) => format!("from {least} to {most}"),
            (Some(least), None) => format!("{least} or more"),
            (None, Some(most)) => format!("at most {most}"),
            (None, None) => "another number".to_owned(),
        };
        let complaint = Complaint::new(
            format!("`{path}` can't be {written}"),
            format!("write a number {range}"),
        );
        self.object(stretch, path, complaint);
        None
    }
}

/// Whether a value is of the kind that a schema without alternatives asks for.
pub(crate) fn fits(schema: &Json, value: &Value) -> bool {
    let Some(kind) = schema.get("type").and_then(Json::as_str) else { return true };
    match value {
        Value::Text(_) => kind == "string",
        Value::Moment(_) => false,
        Value::Integer(_) => kind == "integer" || kind == "number",
        Value::Float(_) => kind == "number",
        Value::Boolean(_) => kind == "boolean",
        Value::List(_) => kind == "array",
        Value::Table(_) => kind == "object",
    }
}

fn kind_found(value: &Value) -> &'static str {
    match value {
        Value::Text(_) => "a string",
        Value::Integer(_) => "a whole number",
        Value::Float(_) => "a number with a fraction",
        Value::Boolean(_) => "`true` or `false`",
        Value::Moment(_) => "a date or a time",
        Value::List(_) => "a list",
        Value::Table(_) => "a table",
    }
}

/// The number that a text holds, without a percent sign.
fn plain_number(text: &str) -> Option<&str> {
    let number = text.trim().trim_end_matches('%').trim_end();
    number.parse::<f64>().ok().filter(|number| number.is_finite()).map(|_| number)
}

fn last_key(path: &KeyPath) -> String {
    let text = path.to_string();
    let key = text.rsplit('.').next().unwrap_or("").split('[').next().unwrap_or("");
    key.to_owned()
}

/// The known key that an unknown one was meant as: one like it, or the only one.
fn meant<'a>(key: &str, known: impl Iterator<Item = &'a str> + Clone) -> Option<&'a str> {
    let mut others = known.clone();
    match (others.next(), others.next()) {
        (Some(only), None) => Some(only),
        _ => nearest(key, known),
    }
}

fn unknown_key<'a>(
    key: &str,
    path: &KeyPath,
    known: impl Iterator<Item = &'a str> + Clone,
) -> Complaint {
    let place = path.to_string();
    let message = if place.is_empty() {
        format!("unknown key `{key}`")
    } else {
        format!("unknown key `{key}` in `{place}`")
    };
    let fix = if let Some(meant) = meant(key, known.clone()) {
        format!("write `{meant}`")
    } else if let Some(elsewhere) = homes().get(key).filter(|_| !path.is_within_secrets()) {
        format!(
            "move it to {}",
            elsewhere.iter().map(|table| format!("`{table}`")).collect::<Vec<_>>().join(" or ")
        )
    } else {
        format!("remove it; the known keys are {}", listed(known))
    };
    Complaint::new(message, fix)
}

/// The tables in which each key is known, to say where a misplaced one belongs. Keys that are at
/// home in many tables help nobody.
fn homes() -> BTreeMap<String, Vec<String>> {
    fn visit(schema: &Json, table: &str, homes: &mut BTreeMap<String, Vec<String>>) {
        for (key, property) in resolved(inner(), schema)
            .get("properties")
            .and_then(Json::as_object)
            .into_iter()
            .flatten()
        {
            if !table.is_empty() {
                homes.entry(key.clone()).or_default().push(format!("[{table}]"));
            }
            let inside = if table.is_empty() { key.clone() } else { format!("{table}.{key}") };
            if let Some(element) = property.get("items") {
                visit(element, &format!("[{inside}]"), homes);
            } else if key != "environments" {
                visit(property, &inside, homes);
            }
        }
    }
    let mut homes = BTreeMap::new();
    visit(inner(), "", &mut homes);
    homes.retain(|_, tables| tables.len() <= 2);
    homes
}
