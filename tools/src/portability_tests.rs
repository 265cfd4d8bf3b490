//! Every tool's schemas, names and descriptions, against what real clients understand; and every output against its
//! schema.

use serde_json::{Map, Value, json};

use crate::{INSTRUCTIONS, Project, Tool, builtin};

/// Fails when `structured` is not what `schema` says: required keys, types, enumerations, items.
pub(crate) fn assert_matches(structured: &Map<String, Value>, schema: &Map<String, Value>) {
    assert_value_matches(&Value::Object(structured.clone()), schema, "result");
}

fn assert_value_matches(value: &Value, schema: &Map<String, Value>, place: &str) {
    let right = match schema["type"].as_str().unwrap() {
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "boolean" => value.is_boolean(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("{place}: type {other}"),
    };
    assert!(right, "{place}: {value} is not a {}", schema["type"]);
    if let Some(values) = schema.get("enum") {
        assert!(values.as_array().unwrap().contains(value), "{place}: {value} is not one of {values}");
    }
    // At the root nothing is required in the schema, so what the tool itself always says is looked at in its own tests.
    for item in value.as_array().into_iter().flatten() {
        assert_value_matches(item, schema["items"].as_object().unwrap(), &format!("{place}[]"));
    }
    if let Value::Object(map) = value {
        for name in schema.get("required").and_then(Value::as_array).into_iter().flatten() {
            assert!(map.contains_key(name.as_str().unwrap()), "{place}: {name} is missing");
        }
        for (name, value) in map {
            let property = schema["properties"].get(name).unwrap_or_else(|| panic!("{place}: {name} is not described"));
            assert_value_matches(value, property.as_object().unwrap(), &format!("{place}.{name}"));
        }
    }
}

/// The rules for one schema and all below it.
pub(crate) fn assert_portable(schema: &Map<String, Value>, place: &str) {
    for word in ["$schema", "$ref", "$defs", "definitions", "anyOf", "oneOf", "allOf", "not", "const", "format"] {
        assert!(!schema.contains_key(word), "{place}: {word}");
    }
    let kind = schema.get("type").and_then(Value::as_str).unwrap_or_else(|| panic!("{place}: type {schema:?}"));
    assert!(["string", "integer", "boolean", "array", "object"].contains(&kind), "{place}: {kind}");
    if kind == "array" {
        assert_portable(schema["items"].as_object().unwrap_or_else(|| panic!("{place}: items")), place);
    }
    if let Some(values) = schema.get("enum") {
        assert!(values.as_array().unwrap().iter().all(Value::is_string), "{place}: {values}");
    }
    if kind == "object" {
        for (name, property) in schema["properties"].as_object().unwrap_or_else(|| panic!("{place}: properties")) {
            let place = format!("{place}.{name}");
            let property = property.as_object().unwrap_or_else(|| panic!("{place}: {property}"));
            assert!(property.get("description").is_some_and(|text| !text.as_str().unwrap().is_empty()), "{place}");
            assert_portable(property, &place);
        }
    }
}

fn each() -> impl Iterator<Item = &'static dyn Tool> {
    builtin().iter().copied()
}

#[test]
fn schemas_are_portable() {
    for tool in each() {
        let (input, output) = (tool.input_schema(), tool.output_schema());
        assert_portable(&input, tool.name());
        assert_eq!((&input["type"], &input["additionalProperties"]), (&json!("object"), &json!(false)));
        assert_portable(&output, &format!("{} output", tool.name()));
        assert_eq!(output["type"], "object", "{}", tool.name());
    }
}

#[test]
fn names_titles_and_descriptions_fit_their_readers() {
    assert!(INSTRUCTIONS.len() < 2000, "{}", INSTRUCTIONS.len());
    // They are sent before the policy is read, and must be true under each of its modes.
    assert!(INSTRUCTIONS.contains("draft (all wait)") && INSTRUCTIONS.contains("read_only (refused)"));
    for tool in each() {
        let name = tool.name();
        assert!(name.len() <= 30 && name.chars().all(|letter| letter.is_ascii_lowercase() || letter == '_'), "{name}");
        assert!(tool.description().len() + tool.title().len() < 2000, "{name}: {}", tool.description().len());
        assert!(
            tool.annotations().read_only != tool.annotations().destructive
                || name == "move_file"
                || ["run_tests", "lint", "format", "build", "git_commit"].contains(&name),
            "{name}"
        );
        assert!(!tool.annotations().open_world, "{name}");
    }
}

#[test]
fn the_list_of_tools_is_as_reviewed() {
    let tools: Vec<Value> = each()
        .map(|tool| {
            let hints = tool.annotations();
            json!({
                "name": tool.name(),
                "title": tool.title(),
                "description": tool.description(),
                "hints": {
                    "read_only": hints.read_only, "destructive": hints.destructive, "idempotent": hints.idempotent,
                    "open_world": hints.open_world,
                },
                "input": tool.input_schema(),
                "output": tool.output_schema(),
            })
        })
        .collect();
    insta::with_settings!({sort_maps => true}, { insta::assert_json_snapshot!("tools", tools) });
}

mod generated {
    use proptest::prelude::*;

    use super::*;

    fn json_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            ".{0,20}".prop_map(Value::from),
            "[-./~@a-z0-9:*\\[\\]{}\"\u{0}\n]{0,16}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 16, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::hash_map("[a-z_]{1,8}", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    /// Arguments that often have the right names and sometimes the right types.
    fn arguments(names: Vec<String>) -> impl Strategy<Value = Map<String, Value>> {
        let name = prop_oneof![8 => prop::sample::select(names), 1 => "[-a-zA-Z_]{0,10}"];
        prop::collection::vec((name, json_value()), 0..6).prop_map(|pairs| pairs.into_iter().collect())
    }

    fn any_call() -> impl Strategy<Value = (usize, Map<String, Value>)> {
        (0..builtin().len()).prop_flat_map(|at| {
            let tool = builtin()[at];
            let extra = ["edits", "file_path", "old_str", "-i", "-A", "keep"].map(String::from);
            let names: Vec<String> = tool.arguments().into_iter().chain(extra).collect();
            arguments(names).prop_map(move |arguments| (at, arguments))
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4000))]
        #[test]
        fn any_arguments_are_a_plan_or_an_error((at, arguments) in any_call()) {
            let tool = builtin()[at];
            let project = Project { workspace: "/work".into() };
            match tool.plan(&arguments, &project) {
                Ok(plan) => {
                    prop_assert_eq!(&plan.tool, tool.name());
                    let known = tool.arguments();
                    prop_assert!(plan.arguments.keys().all(|name| known.contains(name)), "{:?}", plan.arguments);
                    let text = serde_json::to_string(&plan).unwrap();
                    prop_assert_eq!(serde_json::from_str::<cofferdam_contract::Plan>(&text).unwrap(), plan);
                }
                Err(error) => {
                    let text = error.to_string();
                    prop_assert!(text.len() > 10 && text.len() < 2000, "{}", text);
                    prop_assert!(tool.notes(&arguments, &project).is_empty());
                }
            }
        }
    }
}
