//! What every plugin exports: a description of itself, and a judgement of its configuration.

use schemars::transform::{RecursiveTransform, Transform};
use schemars::{JsonSchema, Schema};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::borrow::Cow;

/// Something wrong with a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where, as keys joined by dots: `upstream.keepalive`. Empty for the whole.
    pub path: String,
    /// What is wrong and what would be right.
    pub message: String,
}

impl Problem {
    /// A problem at a path.
    pub fn new(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self { path: path.into(), message: message.into() }
    }
}

/// What a plugin says of itself. Static: the same for every configuration.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Description {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its kind: `traffic-switcher`, `health-check`.
    pub kind: String,
    /// One sentence.
    pub summary: String,
    /// The JSON Schema of the plugin's section of the manifest.
    pub config: serde_json::Value,
    /// The JSON Schema of a check's own table, for health checks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spec: Option<serde_json::Value>,
    /// The JSON Schema of a query's own table, for sources of metrics.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub query: Option<serde_json::Value>,
}

impl Description {
    /// A description whose schema is generated from the type of the configuration.
    pub fn new<Config: JsonSchema>(name: &str, version: &str, kind: &str, summary: &str) -> Self {
        Self {
            name: name.into(),
            version: version.into(),
            kind: kind.into(),
            summary: summary.into(),
            config: schema::<Config>(),
            spec: None,
            query: None,
        }
    }

    /// Adds the schema of a check's own table.
    #[must_use]
    pub fn with_spec<Spec: JsonSchema>(mut self) -> Self {
        self.spec = Some(schema::<Spec>());
        self
    }

    /// Adds the schema of a query's own table.
    #[must_use]
    pub fn with_query<Query: JsonSchema>(mut self) -> Self {
        self.query = Some(schema::<Query>());
        self
    }
}

/// The schema of a type, whose words do not depend on where the lines of a source file end.
fn schema<T: JsonSchema>() -> serde_json::Value {
    let mut schema = schemars::schema_for!(T);
    RecursiveTransform(unwrap_lines).transform(&mut schema);
    schema.to_value()
}

/// Makes one line of each paragraph of a description.
fn unwrap_lines(schema: &mut Schema) {
    if let Some(serde_json::Value::String(text)) = schema.get_mut("description") {
        let paragraphs: Vec<String> =
            text.split("\n\n").map(|paragraph| paragraph.replace('\n', " ")).collect();
        *text = paragraphs.join("\n\n");
    }
}

/// What every plugin is.
pub trait Plugin {
    /// The plugin's section of the manifest. `deny_unknown_fields` gives the best messages.
    type Config: DeserializeOwned + JsonSchema;

    /// Says what the plugin is.
    fn describe() -> Description;

    /// The same as JSON. Called with every effect denied.
    ///
    /// A plugin that keeps this text in a file, and holds the file to [`Plugin::describe`] by a
    /// test, spares each of its instances the work of making it, and its component the code
    /// that makes schemas.
    fn description() -> Cow<'static, str> {
        // A description is strings and a schema: it always has a JSON form.
        serde_json::to_string(&Self::describe()).unwrap_or_default().into()
    }

    /// Judges a configuration that has the right shape: values, and how they fit together. Called
    /// with every effect denied; an empty list means good.
    fn check_config(config: &Self::Config) -> Vec<Problem>;
}
