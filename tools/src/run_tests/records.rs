//! Records of our own recorders among what a program prints: U+001E, one line of JSON, a line end (RFC 7464).
//!
//! They come from code that a repository controls, so they are read leniently and bounded, and believed no more than
//! the runner's output would be.

use std::collections::BTreeMap;

use serde::Deserialize;

/// The byte that begins a record.
const MARK: char = '\u{1e}';

/// One record.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(tag = "r", rename_all = "snake_case")]
pub(super) enum Record {
    /// A test begins.
    Begin {
        /// Its name.
        name: String,
        /// Node: its file.
        #[serde(default)]
        file: Option<String>,
    },
    /// A test, or a part of one, has a result.
    Test(TestRecord),
    /// A test is over.
    Stop {},
    /// A test file printed something.
    Output {
        /// The file.
        #[serde(default)]
        file: Option<String>,
        /// What.
        text: String,
    },
    /// One of the runner's own sums.
    Count {
        /// Its name.
        name: String,
        /// Its value.
        value: f64,
    },
    /// All tests are over.
    End {
        /// How long it took.
        #[serde(default)]
        ms: Option<f64>,
        /// How many tests had which outcome.
        #[serde(default)]
        counts: Option<BTreeMap<String, u64>>,
    },
    /// The runner is not installed.
    Unavailable {
        /// Why, in the interpreter's words.
        message: String,
    },
}

/// A result of a test.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(super) struct TestRecord {
    pub(super) name: String,
    pub(super) outcome: String,
    #[serde(default)]
    pub(super) file: Option<String>,
    #[serde(default)]
    pub(super) line: Option<u64>,
    #[serde(default)]
    pub(super) phase: Option<String>,
    #[serde(default)]
    pub(super) message: Option<String>,
    #[serde(default)]
    pub(super) detail: Option<String>,
    #[serde(default)]
    pub(super) output: Option<String>,
    /// Node: a `describe`, which is no test.
    #[serde(default)]
    pub(super) suite: bool,
    /// Node: the name that it began with, where that was another one.
    #[serde(default)]
    pub(super) begun: Option<String>,
    /// Node: what kind of failure.
    #[serde(default)]
    pub(super) why: Option<String>,
}

/// A piece of standard output.
#[derive(Debug, Clone, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "one lives at a time, as a rule, and most are records")]
pub(super) enum Item {
    /// What the program printed.
    Text(String),
    /// A record.
    Record(Record),
    /// Something that begins like a record and is none: cut by the output limit, or torn by another writer.
    Torn,
}

/// Takes standard output apart.
pub(super) fn split(bytes: &[u8]) -> Vec<Item> {
    let text = String::from_utf8_lossy(bytes);
    let mut items = Vec::new();
    let mut rest: &str = &text;
    while let Some(at) = rest.find(MARK) {
        if at > 0 {
            items.push(Item::Text(rest[..at].to_owned()));
        }
        let record = &rest[at + 1..];
        let end = record.find('\n').unwrap_or(record.len());
        items.push(serde_json::from_str(&record[..end]).map_or(Item::Torn, Item::Record));
        rest = record.get(end + 1..).unwrap_or_default();
    }
    if !rest.is_empty() {
        items.push(Item::Text(rest.to_owned()));
    }
    items
}

/// A line of standard output without the record at its end.
pub(crate) fn without(line: &str) -> String {
    line.split(MARK).next().unwrap_or_default().to_owned()
}

/// What a line of a test run's output says to a person who waits: a record as a few words, any other line as it is.
/// `None` for records that say nothing.
#[must_use]
pub fn progress_line(line: &str) -> Option<String> {
    let Some((_, record)) = line.split_once(MARK) else { return Some(line.to_owned()) };
    match serde_json::from_str(record.trim_end()) {
        Ok(Record::Begin { name, .. }) => Some(name),
        Ok(Record::Test(TestRecord { name, outcome, .. })) => Some(format!("{name}: {outcome}")),
        Ok(Record::Output { text, .. }) => Some(text),
        Ok(Record::Stop {} | Record::Count { .. } | Record::End { .. } | Record::Unavailable { .. }) | Err(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn records_are_told_from_output_on_the_same_line() {
        let items = split(b"..F\x1e{\"r\":\"begin\",\"name\":\"a\"}\nrest\n\x1e{\"r\":\"test\"");
        assert_eq!(
            items,
            [
                Item::Text("..F".into()),
                Item::Record(Record::Begin { name: "a".into(), file: None }),
                Item::Text("rest\n".into()),
                Item::Torn,
            ]
        );
        assert_eq!(without("..F\u{1e}{}"), "..F");
    }

    #[test]
    fn a_waiting_person_reads_words() {
        assert_eq!(
            progress_line(".\u{1e}{\"r\":\"test\",\"name\":\"a\",\"outcome\":\"passed\"}"),
            Some("a: passed".into())
        );
        assert_eq!(progress_line("Compiling x"), Some("Compiling x".into()));
        assert_eq!(progress_line("\u{1e}{\"r\":\"end\"}"), None);
    }

    proptest! {
        #[test]
        fn any_bytes_can_be_taken_apart(bytes: Vec<u8>) {
            split(&bytes);
        }
    }
}
