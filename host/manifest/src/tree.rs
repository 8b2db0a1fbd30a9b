//! A TOML document as a tree in which everything knows where it was written.
//!
//! Invariants: numbers are 64-bit and finite; the stretches are bytes of the one text that the tree was
//! read from, also after environments are merged.

use crate::mistake::{Complaint, Findings};
use crate::source::Stretch;
use serde_json::Value as Json;
use std::collections::BTreeMap;
use std::fmt;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// A value, its place, and the place of its name.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Node {
    /// Where its key stands; none for an element of a list and for the document.
    pub(crate) name: Option<Stretch>,
    /// Where the value stands; for a table with a header, the header.
    pub(crate) stretch: Stretch,
    pub(crate) value: Value,
}

/// The kinds of TOML values.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Text(String),
    Integer(i64),
    Float(f64),
    Boolean(bool),
    /// A date, a time or both, as written.
    Moment(String),
    List(Vec<Node>),
    Table(BTreeMap<String, Node>),
}

impl Node {
    /// An empty document.
    pub(crate) fn empty() -> Self {
        Self { name: None, stretch: 0..0, value: Value::Table(BTreeMap::new()) }
    }

    /// The child at a key or an index.
    pub(crate) fn child(&self, segment: &Segment) -> Option<&Node> {
        match (&self.value, segment) {
            (Value::Table(entries), Segment::Key(key)) => entries.get(key),
            (Value::List(items), Segment::Index(index)) => items.get(*index),
            _ => None,
        }
    }

    /// The entries of a table; none for anything else.
    pub(crate) fn table(&self) -> Option<&BTreeMap<String, Node>> {
        match &self.value {
            Value::Table(entries) => Some(entries),
            _ => None,
        }
    }

    /// The text, where it is one.
    pub(crate) fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// What a reader looks at first: the value itself, but the name of a table.
    pub(crate) fn place(&self) -> Stretch {
        match (&self.value, &self.name) {
            (Value::Table(_), Some(name)) => name.clone(),
            _ => self.stretch.clone(),
        }
    }

    /// The place of the name; of the value where there is no name.
    pub(crate) fn name_place(&self) -> Stretch {
        self.name.clone().unwrap_or_else(|| self.stretch.clone())
    }

    /// The value at a path.
    pub(crate) fn at(&self, path: &KeyPath) -> Option<&Node> {
        path.0.iter().try_fold(self, |node, segment| node.child(segment))
    }

    /// The place of the value at a path; where it is absent, of the nearest table or list that
    /// should hold it.
    pub(crate) fn place_of(&self, path: &KeyPath) -> Stretch {
        let mut node = self;
        for segment in &path.0 {
            match node.child(segment) {
                Some(child) => node = child,
                None => break,
            }
        }
        node.place()
    }

    /// The value as JSON; a moment becomes its text.
    pub(crate) fn to_json(&self) -> Json {
        match &self.value {
            Value::Text(text) | Value::Moment(text) => Json::from(text.as_str()),
            Value::Integer(number) => Json::from(*number),
            Value::Float(number) => Json::from(*number),
            Value::Boolean(flag) => Json::from(*flag),
            Value::List(items) => items.iter().map(Node::to_json).collect(),
            Value::Table(entries) => Json::Object(
                entries.iter().map(|(key, node)| (key.clone(), node.to_json())).collect(),
            ),
        }
    }
}

/// One step into a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Segment {
    Key(String),
    Index(usize),
}

/// The way from the document to a value.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct KeyPath(Vec<Segment>);

impl KeyPath {
    /// The document itself.
    pub(crate) fn root() -> Self {
        Self::default()
    }

    /// The path of plain keys joined by dots.
    pub(crate) fn of(dotted: &str) -> Self {
        Self(dotted.split('.').map(|key| Segment::Key(key.to_owned())).collect())
    }

    /// One key further.
    pub(crate) fn key(&self, key: &str) -> Self {
        self.with(Segment::Key(key.to_owned()))
    }

    /// One element further.
    pub(crate) fn index(&self, index: usize) -> Self {
        self.with(Segment::Index(index))
    }

    fn with(&self, segment: Segment) -> Self {
        let mut path = self.clone();
        path.0.push(segment);
        path
    }

    /// Whether it leads to an element of a list.
    pub(crate) fn is_element(&self) -> bool {
        matches!(self.0.last(), Some(Segment::Index(_)))
    }

    /// Whether it leads into `[secrets]`, of all environments or of one.
    pub(crate) fn is_within_secrets(&self) -> bool {
        let is =
            |segment: &Segment, name: &str| matches!(segment, Segment::Key(key) if key == name);
        match self.0.as_slice() {
            [first, ..] if is(first, "secrets") => true,
            [first, _, third, ..] => is(first, "environments") && is(third, "secrets"),
            _ => false,
        }
    }

    /// The path within `tree` that a plugin means by keys joined by dots (`upstream.keepalive`,
    /// `endpoints.0.path`, `endpoints[0].path`), as deep as it exists there. Keys that hold
    /// dots themselves are recognised by what is there.
    pub(crate) fn resolve(&self, tree: &Node, dotted: &str) -> Self {
        let mut path = self.clone();
        let mut node = tree.at(self);
        let mut rest = dotted.trim_start_matches('.');
        while let Some(here) = node.filter(|_| !rest.is_empty()) {
            let Some((segment, remaining)) = next_segment(here, rest) else { break };
            node = here.child(&segment);
            path = path.with(segment);
            rest = remaining;
        }
        path
    }
}

/// The longest entry of `node` that `rest` begins with, and what follows it.
fn next_segment<'r>(node: &Node, rest: &'r str) -> Option<(Segment, &'r str)> {
    let after = |length: usize| {
        let remaining = rest.get(length..)?;
        if remaining.is_empty() || remaining.starts_with('[') {
            Some(remaining)
        } else {
            remaining.strip_prefix('.')
        }
    };
    match &node.value {
        Value::Table(entries) => entries
            .keys()
            .filter(|key| !key.is_empty() && rest.starts_with(key.as_str()))
            .filter_map(|key| after(key.len()).map(|remaining| (key, remaining)))
            .max_by_key(|(key, _)| key.len())
            .map(|(key, remaining)| (Segment::Key(key.clone()), remaining)),
        Value::List(_) => {
            let digits = rest.strip_prefix('[').map_or(rest, |inner| inner);
            let length = digits.bytes().take_while(u8::is_ascii_digit).count();
            let index = digits.get(..length)?.parse().ok()?;
            let brackets = if rest.starts_with('[') { 2 } else { 0 };
            after((length + brackets).min(rest.len()))
                .map(|remaining| (Segment::Index(index), remaining))
        }
        _ => None,
    }
}

impl fmt::Display for KeyPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, segment) in self.0.iter().enumerate() {
            match segment {
                Segment::Index(index) => write!(f, "[{index}]")?,
                Segment::Key(key) => {
                    let dot = if position == 0 { "" } else { "." };
                    let bare = !key.is_empty()
                        && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
                    if bare { write!(f, "{dot}{key}")? } else { write!(f, "{dot}{key:?}")? }
                }
            }
        }
        Ok(())
    }
}

/// Turns what the TOML parser read into a tree; numbers that nothing here can hold become mistakes
/// and are left out.
pub(crate) fn read(table: &DeTable<'_>, stretch: Stretch, findings: &mut Findings<'_>) -> Node {
    let entries = entries(table, &KeyPath::root(), findings);
    Node { name: None, stretch, value: Value::Table(entries) }
}

fn entries(
    table: &DeTable<'_>,
    path: &KeyPath,
    findings: &mut Findings<'_>,
) -> BTreeMap<String, Node> {
    let mut entries = BTreeMap::new();
    for (key, value) in table {
        let name = key.get_ref().to_string();
        if let Some(node) = value_of(value, Some(key.span()), &path.key(&name), findings) {
            entries.insert(name, node);
        }
    }
    entries
}

fn value_of(
    value: &Spanned<DeValue<'_>>,
    name: Option<Stretch>,
    path: &KeyPath,
    findings: &mut Findings<'_>,
) -> Option<Node> {
    let stretch = value.span();
    let converted = match value.get_ref() {
        DeValue::String(text) => Value::Text(text.to_string()),
        DeValue::Integer(number) => {
            if let Ok(number) = i64::from_str_radix(number.as_str(), number.radix()) {
                Value::Integer(number)
            } else {
                let written = findings.source().slice(&stretch).to_owned();
                findings.add(
                    &stretch,
                    path.to_string(),
                    Complaint::new(
                        format!("the number `{written}` is too large"),
                        "write a smaller number",
                    ),
                );
                return None;
            }
        }
        DeValue::Float(number) => match number.as_str().parse::<f64>() {
            Ok(number) if number.is_finite() => Value::Float(number),
            _ => {
                let written = findings.source().slice(&stretch).to_owned();
                findings.add(
                    &stretch,
                    path.to_string(),
                    Complaint::new(
                        format!("`{written}` is not a finite number"),
                        "write a number such as `20` or `0.5`",
                    ),
                );
                return None;
            }
        },
        DeValue::Boolean(flag) => Value::Boolean(*flag),
        DeValue::Datetime(moment) => Value::Moment(moment.to_string()),
        DeValue::Array(items) => {
            let read: Vec<Node> = items
                .iter()
                .enumerate()
                .filter_map(|(index, item)| value_of(item, None, &path.index(index), findings))
                .collect();
            if read.len() < items.len() {
                return None;
            }
            Value::List(read)
        }
        DeValue::Table(table) => Value::Table(entries(table, path, findings)),
    };
    Some(Node { name, stretch, value: converted })
}
