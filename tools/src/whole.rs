//! What a result for a model shortens, kept beside it for programs that read the whole of it.

use serde::Serialize;
use serde_json::Value;

/// A list is kept up to here, bytes of JSON: room for some 5,000 tests. Results of finished runs stay in memory for a
/// while, several of them.
const BYTES: usize = 512 << 10;

/// A complete list, as JSON text: a tenth of what the values would take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Whole {
    name: &'static str,
    items: Vec<u8>,
    omitted: usize,
}

impl Whole {
    /// The list `name` of `items`, cut where it is larger than a program may ask for.
    pub(crate) fn list<T: Serialize>(name: &'static str, items: &[T]) -> Self {
        let mut text = b"[".to_vec();
        for (item, before) in items.iter().zip(0..) {
            let item = serde_json::to_vec(item).expect("items are structs of texts, numbers and lists");
            if text.len() + item.len() > BYTES {
                text.push(b']');
                return Self { name, items: text, omitted: items.len() - before };
            }
            if before > 0 {
                text.push(b',');
            }
            text.extend(item);
        }
        text.push(b']');
        Self { name, items: text, omitted: 0 }
    }

    /// The same with its list changed.
    #[must_use]
    pub fn map(self, change: impl FnOnce(Value) -> Value) -> Self {
        let items: Value = serde_json::from_slice(&self.items).expect("this type wrote it");
        let items = serde_json::to_vec(&change(items)).expect("a value is JSON");
        Self { items, ..self }
    }

    /// `{"NAME": [...], "omitted": 0}`.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let items: Value = serde_json::from_slice(&self.items).expect("this type wrote it");
        serde_json::json!({ self.name: items, "omitted": self.omitted })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_list_is_whole_or_says_what_is_left_out() {
        assert_eq!(Whole::list("tests", &["a", "b"]).to_json(), json!({ "tests": ["a", "b"], "omitted": 0 }));
        assert_eq!(Whole::list::<u64>("tests", &[]).to_json(), json!({ "tests": [], "omitted": 0 }));
        let long = "x".repeat(BYTES / 4);
        let cut = Whole::list("tests", &[&long, &long, &long, &long, &long]).to_json();
        assert_eq!((cut["tests"].as_array().map(Vec::len), &cut["omitted"]), (Some(3), &json!(2)));
    }
}
