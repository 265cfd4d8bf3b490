//! Takes secrets out of what a call answers, before it reaches an agent, a person's terminal or the log.
//!
//! Everything that a call answers passes here once, at its end (`Server::record`): its text, each text of its structure, the notes
//! of the server, the answers about the session, and the words of a failure. That is the last net. The fence is that files with
//! credentials are not in the view.

use cofferdam_policy::{MARK, Redactor, Within};
use cofferdam_tools::{Failure, Output};
use serde_json::{Map, Value, json};

use crate::reply::add;

/// Takes secrets out of a result, and says in it how many there were.
pub(crate) fn redact(result: Result<Output, Failure>, redactor: &Redactor) -> Result<Output, Failure> {
    match result {
        Ok(mut output) => {
            let text = redactor.redact(&output.text);
            let mut structure = Structure { redactor, count: 0, end: Within::Text };
            output.structured = structure.map(std::mem::take(&mut output.structured));
            output.text = text.text;
            // The structure says the same as the text, or less, or more.
            let count = text.count.max(structure.count);
            if let Some(whole) = output.whole.take() {
                output.whole = Some(whole.map(|value| structure.value(value)));
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

/// A structure on its way: a private key may go on from one text to the next.
struct Structure<'a> {
    redactor: &'a Redactor,
    count: u64,
    end: Within,
}

impl Structure<'_> {
    fn map(&mut self, map: Map<String, Value>) -> Map<String, Value> {
        map.into_iter().map(|(name, value)| (name, self.value(value))).collect()
    }

    // The depth is that of our own outputs.
    fn value(&mut self, value: Value) -> Value {
        match value {
            Value::String(text) => {
                let redacted = self.redactor.redact_after(&text, self.end);
                self.end = redacted.end;
                self.count += redacted.count;
                Value::String(redacted.text)
            }
            Value::Array(values) => values.into_iter().map(|value| self.value(value)).collect(),
            Value::Object(map) => Value::Object(self.map(map)),
            other @ (Value::Null | Value::Bool(_) | Value::Number(_)) => other,
        }
    }
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
