//! Takes secrets out of what a call answers, before it reaches an agent, a person's terminal or the log.
//!
//! Everything that a call answers passes here once, at its end (`Server::record`): its text, each text of its structure, the notes
//! of the server, the answers about the session, and the words of a failure. That is the last net. The fence is that files with
//! credentials are not in the view.

use std::{collections::HashMap, vec};

use cofferdam_policy::{MARK, Redactor, Within};
use cofferdam_tools::{Failure, Output};
use serde_json::{Map, Value, json};

use crate::reply::add;

/// Takes secrets out of a result, and says in it how many there were.
pub(crate) fn redact(result: Result<Output, Failure>, redactor: &Redactor) -> Result<Output, Failure> {
    match result {
        Ok(mut output) => {
            let text = redactor.redact(&output.text);
            let (structured, found) = structure(Value::Object(std::mem::take(&mut output.structured)), redactor);
            if let Value::Object(structured) = structured {
                output.structured = structured;
            }
            output.text = text.text;
            // The structure says the same as the text, or less, or more.
            let count = text.count.max(found);
            if let Some(whole) = output.whole.take() {
                output.whole = Some(whole.map(|value| structure(value, redactor).0));
            }
            if count > 0 {
                let told = match count {
                    1 => "1 secret was redacted.".to_owned(),
                    number => format!("{number} secrets were redacted."),
                };
                add(&mut output, "redacted", json!(count), &told);
            }
            Ok(output)
        }
        Err(failure) => Err(Failure { text: redactor.redact(&failure.text).text, ..failure }),
    }
}

/// Why arguments of a call that writes cannot be meant: they hold a mark that stands for a secret. Written, it would take the
/// secret's place.
pub(crate) fn refuse_marks(arguments: &Map<String, Value>) -> Option<String> {
    let marked = arguments.iter().find(|(_, value)| holds_mark(value))?;
    Some(format!(
        "`{}` holds \"{MARK}…\", which stands for a secret that you were not shown and would take its place; leave that \
         piece of the text alone, and change what is around it with edit_file",
        marked.0
    ))
}

fn holds_mark(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains(MARK),
        Value::Array(values) => values.iter().any(holds_mark),
        Value::Object(map) => map.values().any(holds_mark),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

/// Takes secrets out of a structure, and counts them. Texts of one field, of all the objects of a list, follow each other: the
/// lines that a search found are such, with a private key in them. So do the texts of an object: what a program printed may
/// begin in one field and end in the next.
fn structure(value: Value, redactor: &Redactor) -> (Value, u64) {
    let mut given = HashMap::new();
    gather(&value, "", &mut given);
    let mut count = 0;
    let redacted = given.into_iter().map(|(field, texts)| {
        let texts: Vec<String> = redactor
            .redact_all(&texts)
            .into_iter()
            .map(|redacted| {
                count += redacted.count;
                redacted.text
            })
            .collect();
        (field, texts.into_iter())
    });
    let mut texts = Texts { redactor, of: redacted.collect(), end: Within::Text, count: 0 };
    let replaced = texts.replace(value, "");
    (replaced, count + texts.count)
}

/// The texts of each field. The depth is that of our own outputs.
fn gather<'a>(value: &'a Value, field: &str, texts: &mut HashMap<String, Vec<&'a str>>) {
    match value {
        Value::String(text) => texts.entry(field.to_owned()).or_default().push(text),
        Value::Array(values) => values.iter().for_each(|value| gather(value, field, texts)),
        Value::Object(map) => map.iter().for_each(|(name, value)| gather(value, &below(field, name), texts)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// The texts that take the place of those of a structure.
struct Texts<'a> {
    redactor: &'a Redactor,
    /// By their field.
    of: HashMap<String, vec::IntoIter<String>>,
    /// Where the text before ended, of whatever field.
    end: Within,
    /// What was found in addition, of keys that go on from one field to another.
    count: u64,
}

impl Texts<'_> {
    /// The same with other texts, in the same order.
    fn replace(&mut self, value: Value, field: &str) -> Value {
        match value {
            Value::String(text) => Value::String(self.next(&text, field)),
            Value::Array(values) => values.into_iter().map(|value| self.replace(value, field)).collect(),
            Value::Object(map) => {
                let replaced = map.into_iter().map(|(name, value)| {
                    let value = self.replace(value, &below(field, &name));
                    (name, value)
                });
                Value::Object(replaced.collect())
            }
            other @ (Value::Null | Value::Bool(_) | Value::Number(_)) => other,
        }
    }

    /// What takes the place of the next text of a field.
    fn next(&mut self, text: &str, field: &str) -> String {
        // There are as many as were gathered.
        let mut redacted = self.of.get_mut(field).and_then(Iterator::next).unwrap_or_default();
        if self.end == Within::PrivateKey {
            let again = self.redactor.redact_after(&redacted, self.end);
            if again.text != redacted {
                self.count += again.count;
                redacted = again.text;
            }
        }
        if self.end == Within::PrivateKey || text.contains("PRIVATE KEY") {
            self.end = self.redactor.redact_after(text, self.end).end;
        }
        redacted
    }
}

fn below(field: &str, name: &str) -> String {
    format!("{field}\0{name}")
}

#[cfg(test)]
mod tests {
    use cofferdam_policy::Secret;

    use super::*;

    fn output(structured: Value, text: &str) -> Output {
        let Value::Object(structured) = structured else { unreachable!() };
        Output { text: text.to_owned(), structured, ..Output::default() }
    }

    #[test]
    fn text_and_structure_lose_the_same_and_say_so_once() {
        let redactor = Redactor::new(vec![Secret { value: "s3cr3t-value-1".into(), file: ".env".into() }]);
        let given = output(json!({ "lines": [{ "text": "x s3cr3t-value-1" }], "n": 3 }), "x s3cr3t-value-1 y\n");
        let output = redact(Ok(given), &redactor).unwrap();
        let mark = format!("{MARK}value of .env]");
        assert_eq!(output.text, format!("x {mark} y\n1 secret was redacted."));
        assert_eq!(
            Value::Object(output.structured),
            json!({ "lines": [{ "text": format!("x {mark}") }], "n": 3, "redacted": 1 })
        );
    }

    #[test]
    fn a_key_is_taken_out_of_lines_that_are_texts_of_their_own() {
        let begin = ["-----BEGIN PRIVATE", "KEY-----"].join(" ");
        let end = ["-----END PRIVATE", "KEY-----"].join(" ");
        let full = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASC".repeat(2);
        let lines = json!({ "lines": [begin, full, "Zm9vYmFyMTIzNDU2Nzg=", end, "after it"] });
        let output = redact(Ok(output(lines, "")), &Redactor::default()).unwrap();
        let text = Value::Object(output.structured).to_string();
        assert!(!text.contains("MIIE") && !text.contains("Zm9v") && text.contains("after it"), "{text}");
    }

    #[test]
    fn a_key_that_goes_on_in_another_field_is_taken_out_to_its_end() {
        let begin = ["-----BEGIN PRIVATE", "KEY-----"].join(" ");
        let end = ["-----END PRIVATE", "KEY-----"].join(" ");
        let full = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASC".repeat(2);
        let fields = json!({ "a": format!("x\n{begin}\n{full}\n"), "b": format!("{full}\nZm9v\n{end}\nafter it\n") });
        for fields in [fields.clone(), json!({ "list": [fields.clone(), { "a": "plain", "b": "plain too" }] })] {
            let output = redact(Ok(output(fields, "")), &Redactor::default()).unwrap();
            let text = Value::Object(output.structured).to_string();
            assert!(!text.contains("MIIE") && !text.contains("Zm9v"), "{text}");
            assert!(text.contains("after it") && text.contains("\"redacted\":1"), "{text}");
        }
    }

    #[test]
    fn a_key_of_short_lines_is_known_by_what_ends_it_in_another_text() {
        let begin = ["-----BEGIN EC PRIVATE", "KEY-----"].join(" ");
        let end = ["-----END EC PRIVATE", "KEY-----"].join(" ");
        // No line is a full one, and the last is a word.
        let lines = [begin.as_str(), "abcdef", "Zm9v", end.as_str(), "after it"];
        let found: Vec<Value> =
            lines.iter().map(|text| json!({ "number": 1, "text": text, "where": "a.rs" })).collect();
        let files = json!({ "files": [{ "path": "a", "lines": found }, { "path": "b", "lines": ["plain"] }] });
        let output = redact(Ok(output(files, "")), &Redactor::default()).unwrap();
        let text = Value::Object(output.structured).to_string();
        assert!(!text.contains("abcdef") && !text.contains("Zm9v"), "{text}");
        for kept in ["after it", "plain", "a.rs", MARK] {
            assert!(text.contains(kept), "{kept}: {text}");
        }
        assert!(text.contains("\"redacted\":1"), "{text}");
    }

    #[test]
    fn a_mark_in_an_argument_is_refused_wherever_it_is() {
        let Value::Object(arguments) = json!({ "path": "a", "edits": [{ "new_string": format!("x {MARK}key]") }] })
        else {
            unreachable!()
        };
        assert!(refuse_marks(&arguments).unwrap().starts_with("`edits` holds"));
        let Value::Object(arguments) = json!({ "path": "a", "content": "[redacted]" }) else { unreachable!() };
        assert_eq!(refuse_marks(&arguments), None);
    }

    #[test]
    fn what_has_no_secret_is_as_it_was_and_failures_are_looked_at_too() {
        let redactor = Redactor::new(vec![Secret { value: "s3cr3t-value-1".into(), file: ".env".into() }]);
        let plain = redact(Ok(output(json!({ "a": "b" }), "text")), &redactor).unwrap();
        assert_eq!((plain.text.as_str(), plain.structured.len()), ("text", 1));
        let failure = redact(Err(Failure { code: "x", text: "no s3cr3t-value-1".into() }), &redactor).unwrap_err();
        assert_eq!(failure.text, format!("no {MARK}value of .env]"));
    }
}
