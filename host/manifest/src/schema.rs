//! The JSON Schema of a manifest, made from the wire types.
//!
//! There are two forms of it: the inner one, by which this crate checks the shape of a manifest and
//! writes the reference, and the published one, which adds what only editors need. Both come from
//! the same types. Beside the standard keywords the inner form uses `x-form` (a text with
//! a unit), `x-exactly-one` (keys of which exactly one has to be there), `x-at-most-one` (keys that
//! exclude one another), `x-kind` (the key by which a table says of which kind it is) and `x-kinds`
//! (the kinds to which a key belongs; all, where it does not say). A wire type marks a key that has
//! to be there with `x-required`, which becomes the standard `required` here: the types themselves
//! have a default for everything.

use crate::raw::RawManifest;
use crate::written::toml_literal;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value as Json, json};
use std::sync::OnceLock;

/// The JSON Schema (2020-12) of `agente.toml`, for editors and for `agente-host schema`.
pub fn schema() -> Json {
    let mut schema = inner().clone();
    relax_environments(&mut schema);
    publish(&mut schema);
    schema
}

/// The inner form.
pub(crate) fn inner() -> &'static Json {
    static SCHEMA: OnceLock<Json> = OnceLock::new();
    SCHEMA.get_or_init(|| {
        let mut schema = SchemaSettings::draft2020_12()
            .into_generator()
            .into_root_schema_for::<RawManifest>()
            .to_value();
        tidy(&mut schema);
        describe_environments(&mut schema);
        schema
    })
}

/// Follows a reference, as often as there is one.
pub(crate) fn resolved<'a>(root: &'a Json, schema: &'a Json) -> &'a Json {
    let mut schema = schema;
    // No type refers to itself, so a handful of steps is more than there can be.
    for _ in 0..8 {
        let Some(name) = schema
            .get("$ref")
            .and_then(Json::as_str)
            .and_then(|reference| reference.strip_prefix("#/$defs/"))
        else {
            break;
        };
        let Some(definition) = root.get("$defs").and_then(|definitions| definitions.get(name))
        else {
            break;
        };
        schema = definition;
    }
    schema
}

/// A keyword of a schema, where a word beside a reference goes before the one behind it.
pub(crate) fn keyword<'a>(root: &'a Json, schema: &'a Json, word: &str) -> Option<&'a Json> {
    schema.get(word).or_else(|| resolved(root, schema).get(word))
}

/// The alternatives of a schema, where it has any.
pub(crate) fn alternatives(schema: &Json) -> Option<&Vec<Json>> {
    schema.get("anyOf").or_else(|| schema.get("oneOf")).and_then(Json::as_array)
}

/// The kinds to which a key of a table belongs; none where it belongs to all.
pub(crate) fn kinds_of<'a>(table: &'a Json, key: &str) -> Option<Vec<&'a str>> {
    let kinds = table.get("properties")?.get(key)?.get("x-kinds")?.as_array()?;
    Some(kinds.iter().filter_map(Json::as_str).collect())
}

/// The fixed texts of which a schema allows one, where it is of that kind.
pub(crate) fn fixed_texts(schema: &Json) -> Option<Vec<&str>> {
    if let Some(texts) = schema.get("enum").and_then(Json::as_array) {
        return texts.iter().map(Json::as_str).collect();
    }
    alternatives(schema)?
        .iter()
        .map(|alternative| alternative.get("const").and_then(Json::as_str))
        .collect()
}

/// Takes out what TOML has no use for: null, and the names of Rust's numbers.
fn tidy(schema: &mut Json) {
    if let Json::Array(items) = schema {
        items.iter_mut().for_each(tidy);
        return;
    }
    let Json::Object(words) = schema else { return };
    if let Some(Json::Array(types)) = words.get_mut("type") {
        types.retain(|name| name != "null");
        if let [only] = types.as_slice() {
            let only = only.clone();
            words.insert("type".to_owned(), only);
        }
    }
    if let Some(Json::Array(choices)) = words.get_mut("anyOf") {
        choices.retain(|choice| choice.get("type").is_none_or(|name| name != "null"));
        if let [only] = choices.as_slice() {
            let only = only.clone();
            words.remove("anyOf");
            if let Json::Object(inner) = only {
                for (word, value) in inner {
                    words.entry(word).or_insert(value);
                }
            }
        }
    }
    if words
        .get("format")
        .and_then(Json::as_str)
        .is_some_and(|name| name.starts_with("uint") || name == "double")
    {
        words.remove("format");
    }
    if words.remove("unevaluatedProperties").is_some() {
        words.insert("additionalProperties".to_owned(), Json::Bool(false));
    }
    if let Some(Json::String(text)) = words.get_mut("description") {
        *text = text.replace('\n', " ");
    }
    let required = required_keys(words);
    if !required.is_empty() {
        words.insert("required".to_owned(), Json::from(required));
    }
    for (word, value) in words.iter_mut() {
        // What stands in these is the user's, not a schema.
        if !matches!(word.as_str(), "default" | "examples" | "const" | "enum") {
            tidy(value);
        }
    }
}

/// Takes the marks off the keys of a table that have to be there, and lists those keys.
fn required_keys(words: &mut Map<String, Json>) -> Vec<String> {
    let Some(Json::Object(properties)) = words.get_mut("properties") else { return Vec::new() };
    let marked = |property: &mut Json| {
        property.as_object_mut().is_some_and(|words| words.remove("x-required").is_some())
    };
    properties
        .iter_mut()
        .filter_map(|(key, property)| marked(property).then(|| key.clone()))
        .collect()
}

/// Says what an environment may hold: every table but `service` and `environments`, and none of
/// them has to be there.
fn describe_environments(schema: &mut Json) {
    let mut properties =
        schema.get("properties").and_then(Json::as_object).cloned().unwrap_or_default();
    properties.remove("service");
    properties.remove("environments");
    for property in properties.values_mut() {
        if let Json::Object(words) = property {
            words.remove("default");
        }
    }
    let description = "The tables that differ in this environment.";
    let environment = json!({ "type": "object", "description": description, "properties": properties, "additionalProperties": false });
    if let Some(definitions) = schema.get_mut("$defs").and_then(Json::as_object_mut) {
        definitions.insert("RawEnvironment".to_owned(), environment);
    }
}

/// Gives environments definitions of their own in which no key has to be there, because the rest
/// stands outside.
fn relax_environments(schema: &mut Json) {
    let Some(definitions) = schema.get_mut("$defs").and_then(Json::as_object_mut) else { return };
    let mut relaxed = Map::new();
    for (name, definition) in definitions.iter() {
        let mut definition = definition.clone();
        relax(&mut definition);
        relaxed.insert(format!("{name}Override"), definition);
    }
    let environment = relaxed.remove("RawEnvironmentOverride");
    definitions.extend(relaxed);
    if let Some(environment) = environment {
        definitions.insert("RawEnvironment".to_owned(), environment);
    }
}

fn relax(schema: &mut Json) {
    match schema {
        Json::Array(items) => items.iter_mut().for_each(relax),
        Json::Object(words) => {
            // An element of a list is never merged, so it is as strict here as anywhere.
            let strict = words.remove("items");
            words.remove("required");
            words.remove("x-exactly-one");
            words.remove("x-at-most-one");
            if let Some(Json::String(reference)) = words.get_mut("$ref") {
                reference.push_str("Override");
            }
            words.values_mut().for_each(relax);
            if let Some(items) = strict {
                words.insert("items".to_owned(), items);
            }
        }
        _ => {}
    }
}

/// Turns our own words into standard ones.
fn publish(schema: &mut Json) {
    match schema {
        Json::Array(items) => items.iter_mut().for_each(publish),
        Json::Object(words) => {
            words.remove("x-form");
            words.remove("x-kind");
            words.remove("x-kinds");
            if let Some(Json::Array(keys)) = words.remove("x-at-most-one") {
                words.insert("not".to_owned(), json!({ "required": keys }));
            }
            if let Some(Json::Array(keys)) = words.remove("x-exactly-one") {
                words.insert(
                    "oneOf".to_owned(),
                    keys.iter().map(|key| json!({ "required": [key] })).collect(),
                );
            }
            for (word, value) in words.iter_mut() {
                if word == "$ref" {
                    *value = Json::from(public_name(value.as_str().unwrap_or("")));
                } else if !matches!(
                    word.as_str(),
                    "default" | "examples" | "const" | "enum" | "$defs"
                ) {
                    publish(value);
                }
            }
            if let Some(Json::Object(definitions)) = words.get_mut("$defs") {
                let renamed =
                    std::mem::take(definitions).into_iter().map(|(name, mut definition)| {
                        publish(&mut definition);
                        (public_name(&name), definition)
                    });
                *definitions = renamed.collect();
            }
        }
        _ => {}
    }
}

/// The wire types are called `Raw…` in here; outside nobody needs to know.
fn public_name(name: &str) -> String {
    name.replace("Raw", "")
}

/// The first example of a value, as it is written in TOML.
pub(crate) fn example(root: &Json, schema: &Json) -> Option<String> {
    keyword(root, schema, "examples").and_then(|examples| examples.get(0)).map(toml_literal)
}

/// The first of the keys of which a table has to have one, with its example.
pub(crate) fn first_choice(schema: &Json) -> Option<String> {
    let name = schema.get("x-exactly-one")?.get(0)?.as_str()?;
    let example = example(inner(), schema.get("properties")?.get(name)?)?;
    Some(format!("{name} = {example}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn each_property<'a>(schema: &'a Json, visit: &mut impl FnMut(&str, &'a Json)) {
        let definitions = schema["$defs"].as_object().unwrap().values();
        for table in definitions.chain([schema]) {
            for (key, property) in
                table.get("properties").and_then(Json::as_object).into_iter().flatten()
            {
                visit(key, property);
            }
        }
    }

    #[test]
    fn every_key_has_a_meaning_and_every_value_an_example() {
        let mut bare = Vec::new();
        each_property(inner(), &mut |key, property| {
            let described = keyword(inner(), property, "description").is_some();
            let shown = property.get("examples").is_some();
            let table = resolved(inner(), property).get("properties").is_some()
                || property.get("additionalProperties").is_some_and(|inner| {
                    inner.get("$ref").is_some_and(|name| name != "#/$defs/RawEnvValue")
                })
                || property.get("items").is_some_and(|inner| {
                    inner.get("$ref").is_some_and(|name| name != "#/$defs/RawEndpoint")
                });
            if !described || !(shown || table) {
                bare.push(key.to_owned());
            }
        });
        assert!(bare.iter().all(|key| key == "when"), "without meaning or example: {bare:?}");
    }

    #[test]
    fn every_table_refuses_unknown_keys() {
        let mut open = Vec::new();
        for (name, definition) in inner()["$defs"].as_object().unwrap() {
            if definition.get("properties").is_some()
                && definition["additionalProperties"] != json!(false)
            {
                open.push(name);
            }
        }
        assert!(open.is_empty(), "unknown keys would be taken in {open:?}");
        assert_eq!(inner()["additionalProperties"], json!(false));
    }

    #[test]
    fn the_published_schema_uses_standard_words_and_its_references_lead_somewhere() {
        let schema = schema();
        let text = schema.to_string();
        assert!(!text.contains("\"x-") && !text.contains("Raw"), "{text}");
        let definitions = schema["$defs"].as_object().unwrap();
        for reference in text.split("\"$ref\":\"#/$defs/").skip(1) {
            let name = reference.split('"').next().unwrap();
            assert!(definitions.contains_key(name), "`{name}` is referred to and not there");
        }
        assert_eq!(schema["required"], json!(["runtime", "service", "switch"]));
        assert!(definitions["ProbeOverride"].get("required").is_none());
        assert_eq!(definitions["Probe"]["required"], json!(["url"]));
        assert_eq!(definitions["Strategy"]["not"], json!({"required": ["weights", "stages"]}));
        assert!(definitions["StrategyOverride"].get("not").is_none());
    }
}
