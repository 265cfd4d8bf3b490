//! The schema of answers, as clients get it: an outline of the tool's own.
//!
//! A list of tools is read by every agent at every start, and hosts that pass the schemas of answers on make it pay for
//! them: they were half of the list. So each field of an answer is named with its type, and what is within one is named
//! with its choices in a line of words. Names and values speak for themselves, but for a few. The tool's whole schema is
//! what tests hold its answers to.

use serde_json::{Map, Value, json};

/// The outline of `own`, and what the server adds to answers.
///
/// No field is required and other fields may be there: an answer of a call that goes on has none of the tool's own. (A
/// choice between two shapes would be exact, and break clients.)
pub(super) fn outline(own: &Map<String, Value>) -> Map<String, Value> {
    let mut properties = Map::new();
    for (name, property) in own.get("properties").and_then(Value::as_object).into_iter().flatten() {
        if !OF_MANY.contains(&name.as_str()) {
            properties.insert(name.clone(), field(name, property));
        }
    }
    properties.extend(added().map(|(name, schema)| (name.to_owned(), schema)));
    let Value::Object(outline) = json!({ "type": "object", "properties": properties }) else {
        unreachable!("it is written as an object");
    };
    outline
}

/// Fields of many answers, which the outline leaves out or says in its own words: `equivalent_command` and `exit_code` tell
/// what the two last ones are for.
const OF_MANY: [&str; 6] = ["tail", "notes", "status", "run_id", "argv", "exit_signal"];

/// Fields whose names do not say what they mean.
const DESCRIBED: [&str; 2] = ["verdict", "complete"];

/// Fields of any answer.
fn added() -> [(&'static str, Value); 3] {
    [
        ("status", json!({ "type": "string" })),
        ("run_id", json!({ "type": "string" })),
        ("workspace_changes", json!({ "type": "object" })),
    ]
}

/// A field: its type and choices, and the names of what is within it.
fn field(name: &str, property: &Value) -> Value {
    let mut outlined = Map::new();
    for word in ["type", "enum"] {
        outlined.extend(property.get(word).map(|value| (word.to_owned(), value.clone())));
    }
    if let Some(items) = property.get("items") {
        let kind = items.get("type").cloned().unwrap_or_else(|| json!("string"));
        outlined.insert("items".to_owned(), json!({ "type": kind }));
    }
    let described = property.get("description").filter(|_| DESCRIBED.contains(&name)).cloned();
    let within = property.get("items").unwrap_or(property).get("properties").and_then(Value::as_object);
    let within = within.map(|within| within.iter().map(named).collect::<Vec<_>>().join(", ")).map(Value::String);
    outlined.extend(described.or(within).map(|words| ("description".to_owned(), words)));
    Value::Object(outlined)
}

/// The name of a field within another, with its choices.
fn named((name, property): (&String, &Value)) -> String {
    let choices: Vec<&str> = property["enum"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    if choices.is_empty() { name.clone() } else { format!("{name} ({})", choices.join("|")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outline_keeps_types_names_and_choices_and_few_words() {
        let Value::Object(own) = json!({
            "type": "object",
            "required": ["hits"],
            "properties": {
                "names": { "type": "array", "items": { "type": "string", "minLength": 1 }, "description": "Words." },
                "verdict": { "type": "string", "enum": ["passed"], "description": "What it means." },
                "hits": {
                    "type": "array",
                    "description": "What was found.",
                    "items": {
                        "type": "object",
                        "required": ["description"],
                        "additionalProperties": false,
                        "properties": {
                            "description": { "type": "string", "description": "What it says.", "minLength": 1 },
                            "kind": { "type": "string", "description": "Which.", "enum": ["a", "b"] },
                        },
                    },
                },
            },
        }) else {
            unreachable!()
        };
        let outlined = outline(&own);
        assert_eq!(outlined.get("required"), None);
        assert_eq!(
            outlined["properties"]["hits"],
            json!({ "type": "array", "items": { "type": "object" }, "description": "description, kind (a|b)" })
        );
        assert_eq!(outlined["properties"]["names"], json!({ "type": "array", "items": { "type": "string" } }));
        assert_eq!(
            outlined["properties"]["verdict"],
            json!({ "type": "string", "enum": ["passed"], "description": "What it means." })
        );
        assert_eq!(outlined["properties"]["run_id"]["type"], "string");
    }
}
