//! `cargo nextest run`, with its machine format: libtest's JSON with names that tell the test program
//! (nexte.st, "Machine-readable output"; experimental there, so it is asked for by a variable and read leniently).

use std::collections::BTreeMap;

use cofferdam_contract::{Command, Exit, Stream};
use serde::Deserialize;

use crate::{plain_text, transcript::Transcript};

use super::{
    cargo::{self, Selection},
    report::{Outcome, Results, Test, TestFailure},
};

/// Runs the tests of a selection, which are built.
pub(super) fn test(selection: &Selection) -> Command {
    let Selection { directory, target, filter } = selection;
    let options = ["nextest", "run", "--offline", "--no-fail-fast", "--message-format=libtest-json-plus"];
    let mut arguments: Vec<String> = options.map(str::to_owned).into();
    if let Some(target) = target {
        arguments.extend(["--test".to_owned(), target.clone()]);
    }
    // A filter does not begin with a dash; nextest compares it with names as it is.
    arguments.extend(filter.clone());
    let mut environment = cargo::quiet();
    environment.insert("NEXTEST_EXPERIMENTAL_LIBTEST_JSON".to_owned(), "1".to_owned());
    Command { program: "cargo".to_owned(), arguments, directory: directory.clone(), environment }
}

/// An event.
#[derive(Debug, Deserialize)]
struct Event {
    #[serde(rename = "type")]
    kind: String,
    event: String,
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    stdout: Option<String>,
    /// Of a suite, in seconds.
    #[serde(default)]
    exec_time: Option<f64>,
}

/// Reads the events.
pub(super) fn read(transcript: &Transcript) -> Results {
    let mut results = Results::default();
    let mut seconds = 0.0;
    let mut running: BTreeMap<String, ()> = BTreeMap::new();
    let stdout = transcript.stream(Stream::Stdout);
    for line in String::from_utf8_lossy(&stdout).lines() {
        let Ok(event) = serde_json::from_str::<Event>(line) else { continue };
        match (event.kind.as_str(), event.name) {
            ("suite", _) => seconds += event.exec_time.unwrap_or_default(),
            ("test", Some(full)) => {
                let (suite, name) = names(&full);
                let outcome = match event.event.as_str() {
                    "started" => {
                        running.insert(full, ());
                        continue;
                    }
                    "ok" => Outcome::Passed,
                    "failed" | "timeout" => Outcome::Failed,
                    "ignored" => Outcome::Skipped,
                    _ => continue,
                };
                running.remove(&full);
                results.counts.add(outcome);
                if outcome == Outcome::Failed {
                    let output = plain_text::output(&event.stdout.unwrap_or_default());
                    let failure = cargo::failure(&name, suite.as_deref(), &output);
                    results.failures.push(TestFailure { message: told(&failure), ..failure });
                }
                results.tests.push(Test { name, suite, outcome });
            }
            _ => {}
        }
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "`as` saturates")]
    let milliseconds = (seconds * 1000.0).round() as u64;
    results.duration_ms = (!results.tests.is_empty()).then_some(milliseconds);
    results.running = running.into_keys().map(|full| names(&full).1).collect();
    // 0: all passed; 100: some failed; 4: there was nothing to run ("Exit codes" of nexte.st).
    results.complete = results.running.is_empty() && matches!(transcript.exit(), Some(Exit::Code(0 | 4 | 100)));
    if transcript.exit() == Some(Exit::Code(4)) {
        results.not_found = Some("no tests to run".to_owned());
    }
    results.notes.push("nextest runs no documentation tests; runner cargo does".to_owned());
    results
}

/// A test that ended its own program says nothing about itself.
fn told(failure: &TestFailure) -> String {
    if failure.message.is_empty() {
        "its program ended before the test did".to_owned()
    } else {
        failure.message.clone()
    }
}

/// `package::program$name`: the test's program and its name.
fn names(full: &str) -> (Option<String>, String) {
    let full = plain_text::content(full).0;
    match full.split_once('$') {
        Some((suite, name)) => (Some(suite.to_owned()), name.to_owned()),
        None => (None, full),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_output_can_be_read(text: String) {
            read(&Transcript::of(&[(Stream::Stdout, &text)]));
        }
    }
}
