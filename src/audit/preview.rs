//! Arguments as the log may show them.
//!
//! Names that stand for a place, a choice or a number are shown, shortened. Everything else, contents of files above
//! all, is replaced by its length and digest: a name that is not known here is never shown.

use std::collections::BTreeMap;

use cofferdam_policy::Redactor;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::record::hex;

/// Arguments whose texts are shown.
const SHOWN: [&str; 21] = [
    "path",
    "paths",
    "revision",
    "staged",
    "source",
    "destination",
    "glob",
    "type",
    "pattern",
    "output_mode",
    "filter",
    "runner",
    "keep",
    "tool",
    "mode",
    "profile",
    "export",
    "run_id",
    "file_path",
    "old_path",
    "new_path",
];

/// A longer text is replaced, bytes.
const TEXT_BYTES: usize = 200;

/// A longer list is replaced, elements.
const LIST_ELEMENTS: usize = 16;

/// More arguments than this are not listed.
const ARGUMENTS: usize = 32;

/// A longer argument name is shortened, bytes.
const NAME_BYTES: usize = 64;

/// The arguments, shortened and without contents.
#[must_use]
pub fn preview(arguments: &Map<String, Value>) -> BTreeMap<String, Value> {
    arguments
        .iter()
        .take(ARGUMENTS)
        .map(|(name, value)| (shorten(name, NAME_BYTES), preview_value(SHOWN.contains(&name.as_str()), value)))
        .collect()
}

fn preview_value(shown: bool, value: &Value) -> Value {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
        Value::String(text) if shown && text.len() <= TEXT_BYTES => {
            Value::String(Redactor::default().redact(text).text)
        }
        Value::String(text) => replacement(text.as_bytes()),
        Value::Array(values) if shown && values.len() <= LIST_ELEMENTS && values.iter().all(Value::is_string) => {
            values.iter().map(|value| preview_value(shown, value)).collect()
        }
        Value::Array(_) | Value::Object(_) => replacement(&canonical(value)),
    }
}

fn replacement(bytes: &[u8]) -> Value {
    json!({ "bytes": bytes.len(), "sha256": hex(&Sha256::digest(bytes)) })
}

/// The digest of the arguments as they came, keys sorted.
#[must_use]
pub fn arguments_sha256(arguments: &Map<String, Value>) -> String {
    let mut bytes = Vec::new();
    write_object(arguments, &mut bytes);
    hex(&Sha256::digest(&bytes))
}

/// JSON without spaces and with sorted keys, whatever order the map keeps.
fn canonical(value: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    write_value(value, &mut bytes);
    bytes
}

// The depth is bounded by the JSON reader's own limit (128).
fn write_value(value: &Value, bytes: &mut Vec<u8>) {
    match value {
        Value::Object(map) => write_object(map, bytes),
        Value::Array(values) => {
            for (index, value) in values.iter().enumerate() {
                bytes.push(if index == 0 { b'[' } else { b',' });
                write_value(value, bytes);
            }
            bytes.extend_from_slice(if values.is_empty() { b"[]" } else { b"]" });
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            bytes.extend_from_slice(value.to_string().as_bytes());
        }
    }
}

fn write_object(map: &Map<String, Value>, bytes: &mut Vec<u8>) {
    let mut entries: Vec<_> = map.iter().collect();
    entries.sort_unstable_by_key(|(name, _)| *name);
    bytes.push(b'{');
    for (index, (name, value)) in entries.into_iter().enumerate() {
        if index > 0 {
            bytes.push(b',');
        }
        bytes.extend_from_slice(Value::from(name.as_str()).to_string().as_bytes());
        bytes.push(b':');
        write_value(value, bytes);
    }
    bytes.push(b'}');
}

/// `text`, cut at a character's edge so that it has at most `max_bytes` and a sign that it was cut.
#[must_use]
pub fn shorten(text: &str, max_bytes: usize) -> String {
    if text.len() <= max_bytes {
        return text.to_owned();
    }
    let end = text.floor_char_boundary(max_bytes.saturating_sub('…'.len_utf8()));
    format!("{}…", &text[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(value: Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn contents_are_replaced_and_places_are_shown() {
        let shown = preview(&map(json!({
            "path": "src/lib.rs", "content": "token=abc", "limit": 3, "keep": ["a", "b"], "surprise": "secret"
        })));
        assert_eq!(shown["path"], "src/lib.rs");
        assert_eq!(shown["limit"], 3);
        assert_eq!(shown["keep"], json!(["a", "b"]));
        for name in ["content", "surprise"] {
            assert!(shown[name]["sha256"].is_string(), "{name}");
        }
        assert_eq!(shown["content"]["bytes"], 9);
    }

    #[test]
    fn a_token_that_is_searched_for_is_not_shown() {
        let token = format!("ghp_{}", "a1B2".repeat(9));
        let shown = preview(&map(json!({ "pattern": format!("x{token} {token}") })));
        assert!(!shown["pattern"].as_str().unwrap().contains(&format!(" {token}")), "{shown:?}");
    }

    #[test]
    fn a_preview_is_small_whatever_came() {
        let huge = "x".repeat(1 << 20);
        let mut arguments = map(json!({ "path": huge, "edits": [{ "old": huge }], "keep": vec![huge.clone(); 10] }));
        arguments.insert(huge, json!(1));
        for index in 0..1000 {
            arguments.insert(format!("name{index}"), json!(index));
        }
        let text = serde_json::to_string(&preview(&arguments)).unwrap();
        assert!(text.len() < 8192, "{} bytes", text.len());
    }

    #[test]
    fn the_digest_does_not_depend_on_the_order_of_keys() {
        let digest = |text: &str| arguments_sha256(&serde_json::from_str(text).unwrap());
        assert_eq!(digest(r#"{"a":[1,{"c":2,"b":[]}],"d":""}"#), digest(r#"{"d":"","a":[1,{"b":[],"c":2}]}"#));
        assert_ne!(digest(r#"{"a":1}"#), digest(r#"{"a":"1"}"#));
    }

    #[test]
    fn shortening_never_splits_a_character() {
        assert_eq!(shorten("abcdef", 6), "abcdef");
        assert_eq!(shorten("ééééé", 8), "éé…");
    }
}
