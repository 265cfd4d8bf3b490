//! Schemas that every client understands.
//!
//! schemars writes correct JSON Schema 2020-12, and real clients stumble over it: unknown `format`s are warned about at
//! each call, `type` lists break Gemini, references and top-level combinators are refused by model APIs, and one bad
//! schema can take the whole list of tools with it. So a schema is derived from the type that parses, and then said in
//! the small part of the language that all clients share.

use schemars::{JsonSchema, generate::SchemaSettings};
use serde_json::{Map, Value, json};

/// The format that marks a text as a path below the workspace. It is for [`crate::arguments`] and never published.
pub(crate) const PATH_FORMAT: &str = "workspace-path";

/// How a [`cofferdam_contract::WorkspacePath`] looks in arguments; for `#[schemars(with)]`.
pub(crate) struct PathText;

impl JsonSchema for PathText {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Path".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"type": "string", "format": PATH_FORMAT, "minLength": 1, "maxLength": 4095})
    }
}

/// The schema that arguments are checked against: as published, with path marks.
pub(crate) fn checked<T: JsonSchema>() -> Map<String, Value> {
    let settings = SchemaSettings::draft2020_12().for_deserialize();
    let mut schema = generate::<T>(settings);
    for (_, part) in &mut schema {
        simplify(part);
    }
    close(&mut schema);
    schema
}

/// The schema of a tool's arguments.
pub(crate) fn input<T: JsonSchema>() -> Map<String, Value> {
    published(checked::<T>())
}

/// A schema as it is published: without path marks, and without bounds that nobody comes to by writing. Arguments are
/// checked against all of them, and a model reads the list of tools at every start.
pub(crate) fn published(mut checked: Map<String, Value>) -> Map<String, Value> {
    checked.values_mut().for_each(drop_formats);
    checked.values_mut().for_each(drop_bounds);
    checked
}

/// The schema of a tool's structured output.
///
/// It stays open, since the server adds facts of its own, and at its root nothing is required: a call of any tool that
/// goes on answers `status` and `run_id` and none of the tool's own facts, and clients check answers by the schema.
pub(crate) fn output<T: JsonSchema>() -> Map<String, Value> {
    let mut schema = generate::<T>(SchemaSettings::draft2020_12().for_serialize());
    for (_, part) in &mut schema {
        simplify(part);
        drop_formats(part);
    }
    schema.remove("additionalProperties");
    schema.remove("required");
    if let Some(Value::Object(properties)) = schema.get_mut("properties") {
        let text = |description: &str| json!({"type": "string", "description": description});
        let list =
            |description: &str| json!({"type": "array", "items": {"type": "string"}, "description": description});
        let common = [
            ("notes", list("What else is worth knowing about this result, a sentence each.")),
            ("status", text("`running` when the call goes on and get_run has its result; then all else is left out.")),
            ("run_id", text("The run to wait for with get_run, when the call goes on.")),
            ("tail", list("The last lines of output, when the call goes on.")),
        ];
        for (name, description) in common {
            properties.entry(name).or_insert(description);
        }
    }
    schema
}

/// The bare schema of `T`, everything inlined.
fn generate<T: JsonSchema>(settings: SchemaSettings) -> Map<String, Value> {
    let settings = settings.with(|settings| {
        settings.inline_subschemas = true;
        settings.meta_schema = None;
    });
    let schema = settings.into_generator().into_root_schema_for::<T>();
    let Value::Object(mut schema) = Value::from(schema) else {
        unreachable!("a struct's schema is an object");
    };
    for name in ["$schema", "title", "description", "$defs"] {
        schema.remove(name);
    }
    schema.entry("properties").or_insert_with(|| json!({}));
    schema
}

/// Says `schema` and all below it without null, combinators, titles and defaults.
fn simplify(schema: &mut Value) {
    match schema {
        Value::Array(parts) => parts.iter_mut().for_each(simplify),
        Value::Object(map) => {
            // `Option` of an enumeration is a choice within a choice.
            while let Some(Value::Array(variants)) = ["anyOf", "oneOf"].iter().find_map(|name| map.remove(*name)) {
                merge(map, variants);
            }
            if let Some(Value::Array(types)) = map.get("type") {
                // `Option<T>` is T or null; an optional argument is simply not required.
                let plain = types.iter().find(|kind| *kind != "null").cloned();
                map.insert("type".to_owned(), plain.unwrap_or_else(|| json!("string")));
            }
            if let Some(Value::Array(values)) = map.get_mut("enum") {
                values.retain(|value| !value.is_null());
            }
            // A property may be called `title` or `default`: there the value is a schema, not an annotation.
            if map.get("title").is_some_and(Value::is_string) {
                map.remove("title");
            }
            if map.get("default").is_some_and(|default| !default.is_object()) {
                map.remove("default");
            }
            if let Some(Value::String(description)) = map.get_mut("description") {
                // The line ends of a doc comment are where its source was wrapped.
                *description = description.replace('\n', " ");
            }
            map.values_mut().for_each(simplify);
            close(map);
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Replaces a choice by what is common to its variants: `T | null` is T, constants are an enumeration.
fn merge(map: &mut Map<String, Value>, variants: Vec<Value>) {
    let variants: Vec<Map<String, Value>> = variants
        .into_iter()
        .filter_map(|variant| match variant {
            Value::Object(variant) if variant.get("type") != Some(&json!("null")) => Some(variant),
            _ => None,
        })
        .collect();
    let constants: Vec<Value> = variants.iter().filter_map(|variant| variant.get("const").cloned()).collect();
    if constants.len() == variants.len() {
        map.insert("type".to_owned(), json!("string"));
        map.insert("enum".to_owned(), Value::Array(constants));
        return;
    }
    for variant in variants {
        for (name, value) in variant {
            map.entry(name).or_insert(value);
        }
    }
}

/// Forbids what an object does not name.
fn close(map: &mut Map<String, Value>) {
    if map.contains_key("properties") && map.get("type") == Some(&json!("object")) {
        map.insert("additionalProperties".to_owned(), json!(false));
    }
}

/// Drops what no text or number is meant to reach, and that what is written is not empty.
fn drop_bounds(schema: &mut Value) {
    /// Characters. Identifiers (100) and revisions (250) keep their bounds; globs (1,000), paths (4,095) and texts are not
    /// written so long by anybody. Our own choice.
    const FAR: u64 = 1_000;
    /// Seconds (3,600) and counts (10,000) keep their bounds; offsets (10⁹) are not asked for so large. Our own choice.
    const VERY_FAR: u64 = 100_000;
    match schema {
        Value::Array(parts) => parts.iter_mut().for_each(drop_bounds),
        Value::Object(map) => {
            // A property may have such a name, and is a schema then, and no number.
            let mut drop = |word: &str, drops: fn(u64) -> bool| {
                if map.get(word).and_then(Value::as_u64).is_some_and(drops) {
                    map.remove(word);
                }
            };
            drop("minLength", |least| least <= 1);
            drop("minItems", |least| least <= 1);
            drop("maxLength", |most| most >= FAR);
            drop("maximum", |most| most >= VERY_FAR);
            map.values_mut().for_each(drop_bounds);
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Drops `format`: `uint32` and our own mark are no standard formats.
fn drop_formats(schema: &mut Value) {
    match schema {
        Value::Array(parts) => parts.iter_mut().for_each(drop_formats),
        Value::Object(map) => {
            if map.get("format").is_some_and(Value::is_string) {
                map.remove("format");
            }
            map.values_mut().for_each(drop_formats);
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use serde::{Deserialize, Serialize};

    use super::*;

    #[derive(Serialize, Deserialize, JsonSchema)]
    #[serde(rename_all = "snake_case")]
    enum Choice {
        /// The first.
        One,
        /// The second.
        Two,
    }

    #[derive(Serialize, Deserialize, JsonSchema)]
    struct Sample {
        /// How many.
        #[serde(skip_serializing_if = "Option::is_none")]
        #[schemars(range(min = 1, max = 9))]
        count: Option<u32>,
        /// Which.
        #[serde(skip_serializing_if = "Option::is_none")]
        choice: Option<Choice>,
        /// Where.
        #[schemars(with = "PathText")]
        path: String,
    }

    #[test]
    fn options_enumerations_and_formats_become_plain() {
        assert_eq!(
            Value::Object(input::<Sample>()),
            json!({
                "type": "object",
                "properties": {
                    "count": {"type": "integer", "minimum": 1, "maximum": 9, "description": "How many."},
                    "choice": {"type": "string", "enum": ["one", "two"], "description": "Which."},
                    "path": {"type": "string", "description": "Where."},
                },
                "required": ["path"],
                "additionalProperties": false,
            })
        );
    }

    #[test]
    fn an_output_is_an_open_object_that_may_also_say_that_the_call_goes_on() {
        let schema = output::<Sample>();
        assert_eq!(schema["type"], "object");
        assert!(!schema.contains_key("additionalProperties") && !schema.contains_key("required"));
        assert_eq!(schema["properties"]["status"]["type"], "string");
        assert_eq!(schema["properties"]["notes"]["type"], "array");
    }
}
