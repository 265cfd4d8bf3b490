//! The schema of answers, as clients get it: an outline of the tool's own.
//!
//! A list of tools is read by every agent at every start, and hosts that pass the schemas of answers on make it pay for
//! them. So each field is named with its type, those of the answer itself are described, and what is within them, whose
//! names and values speak for themselves, is not. The tool's whole schema is what tests hold its answers to.

use serde_json::{Map, Value, json};

/// The outline of `own`, and what the server adds to answers.
///
/// No field is required and other fields may be there: an answer of a call that goes on has none of the tool's own. (A
/// choice between two shapes would be exact, and break clients.)
pub(super) fn outline(own: &Map<String, Value>) -> Map<String, Value> {
    let mut properties = Map::new();
    for (name, property) in own.get("properties").and_then(Value::as_object).into_iter().flatten() {
        if UNDESCRIBED.contains(&name.as_str()) {
            continue;
        }
        let mut outlined = without_words(property);
        if let (Value::Object(outlined), Some(description)) = (&mut outlined, property.get("description")) {
            outlined.insert("description".to_owned(), description.clone());
        }
        properties.insert(name.clone(), outlined);
    }
    properties.extend(added().map(|(name, schema)| (name.to_owned(), schema)));
    let Value::Object(outline) = json!({ "type": "object", "properties": properties }) else {
        unreachable!("it is written as an object");
    };
    outline
}

/// Fields of any answer that are left to speak for themselves.
const UNDESCRIBED: [&str; 2] = ["tail", "notes"];

/// Fields of any answer.
fn added() -> [(&'static str, Value); 3] {
    let text = |description: &str| json!({ "type": "string", "description": description });
    [
        ("status", text("`running`: get_run has the result.")),
        ("run_id", text("The run, for get_run.")),
        (
            "workspace_changes",
            json!({ "type": "object", "properties": {}, "description": "Changes that were held, dropped or not kept." }),
        ),
    ]
}

/// Types, names and choices of a schema and all below it.
fn without_words(schema: &Value) -> Value {
    let mut outlined = Map::new();
    for (word, value) in schema.as_object().into_iter().flatten() {
        let value = match word.as_str() {
            "type" | "enum" => value.clone(),
            "items" => without_words(value),
            "properties" => {
                let properties = value.as_object().into_iter().flatten();
                properties.map(|(name, property)| (name.clone(), without_words(property))).collect()
            }
            _ => continue,
        };
        outlined.insert(word.clone(), value);
    }
    Value::Object(outlined)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outline_keeps_types_names_and_choices_and_the_answers_own_descriptions() {
        let Value::Object(own) = json!({
            "type": "object",
            "required": ["hits"],
            "properties": {
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
            json!({
                "type": "array",
                "description": "What was found.",
                "items": {
                    "type": "object",
                    "properties": {
                        "description": { "type": "string" },
                        "kind": { "type": "string", "enum": ["a", "b"] },
                    },
                },
            })
        );
        assert_eq!(outlined["properties"]["run_id"]["type"], "string");
    }
}
