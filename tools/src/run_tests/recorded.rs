//! Results from records: pytest, unittest and node:test, whose recorders speak the same words.

use std::collections::BTreeMap;

use cofferdam_contract::Stream;

use crate::{excerpt, place::Place, plain_text, transcript::Transcript};

use super::{
    records::{self, Item, Record, TestRecord},
    report::{Counts, Outcome, Results, Test, TestFailure},
};

/// The largest output that is kept for one test, in bytes.
const OUTPUT_BYTES: usize = 8_000;

/// Why there are no results.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unavailable {
    pub(super) message: String,
}

/// Where what a test printed is to be found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Printed {
    /// In its record (pytest captures).
    InRecord,
    /// On standard output, between its beginning and its end (unittest does not capture).
    Between,
    /// In records of its file (node runs a file as a whole).
    ByFile,
}

/// Reads the records that a runner printed.
pub(super) fn read(transcript: &Transcript, place: Place<'_>, printed: Printed) -> Result<Results, Unavailable> {
    let mut reader =
        Reader { place, printed, results: Results::default(), files: BTreeMap::new(), between: None, own: None };
    for item in records::split(&transcript.stream(Stream::Stdout)) {
        reader.item(item)?;
    }
    Ok(reader.finish())
}

/// Takes out the test files that node counts as one passed test each: with a filter it counts so every file in which the
/// filter chose nothing (from Node 22; before, files without tests only).
pub(super) fn leave_out_whole_files(results: &mut Results, place: Place<'_>) {
    let is_file = |test: &Test| test.suite.is_some() && place.relative(&test.name) == test.suite;
    let before = results.tests.len();
    results.tests.retain(|test| test.outcome != Outcome::Passed || !is_file(test));
    let files = u64::try_from(before - results.tests.len()).unwrap_or(u64::MAX);
    if files > 0 {
        results.counts.passed = results.counts.passed.saturating_sub(files);
        results.notes.push(format!("{files} test files hold nothing that the filter chose; they are not counted"));
    }
}

struct Reader<'a> {
    place: Place<'a>,
    printed: Printed,
    results: Results,
    /// What each test file printed.
    files: BTreeMap<String, String>,
    /// What was printed since the running test began, and the first of its failures.
    between: Option<(usize, String)>,
    /// The runner's own sums.
    own: Option<BTreeMap<String, u64>>,
}

impl Reader<'_> {
    fn item(&mut self, item: Item) -> Result<(), Unavailable> {
        match item {
            Item::Text(text) => {
                if let Some((_, printed)) = &mut self.between {
                    printed.push_str(&text);
                }
            }
            Item::Torn => self.results.notes.push("a part of the recorder's report was lost".to_owned()),
            Item::Record(Record::Begin { name, file }) => {
                // A file of node's has begun by itself, until the first of its tests does.
                if let Some(file) = file.and_then(|file| self.place.relative(&file)) {
                    let place = self.place;
                    self.results.running.retain(|running| place.relative(running).as_ref() != Some(&file));
                }
                self.results.running.push(name);
                if self.printed == Printed::Between {
                    self.between = Some((self.results.failures.len(), String::new()));
                }
            }
            Item::Record(Record::Test(test)) => self.test(test),
            Item::Record(Record::Stop {}) => self.stop(),
            Item::Record(Record::Output { file, text }) => {
                let file = file.and_then(|file| self.place.relative(&file)).unwrap_or_default();
                let printed = self.files.entry(file).or_default();
                printed.push_str(&text);
                if printed.len() > 4 * OUTPUT_BYTES {
                    *printed = excerpt::head_and_tail(printed, 2 * OUTPUT_BYTES);
                }
            }
            Item::Record(Record::Count { name, value }) => {
                let value = whole(value);
                if name == "duration_ms" {
                    self.results.duration_ms = Some(value);
                } else {
                    self.own.get_or_insert_default().insert(name, value);
                }
            }
            Item::Record(Record::End { ms, counts }) => {
                self.results.complete = true;
                self.results.duration_ms = ms.map(whole).or(self.results.duration_ms);
                self.own = self.own.take().or(counts);
            }
            Item::Record(Record::Unavailable { message }) => return Err(Unavailable { message }),
        }
        Ok(())
    }

    fn test(&mut self, test: TestRecord) {
        let begun = test.begun.as_ref().unwrap_or(&test.name);
        let finished = self.results.running.iter().position(|name| name == begun);
        if let Some(position) = finished {
            self.results.running.remove(position);
        }
        // Parts of a test that passed are no results of their own for any of the runners.
        let Some(outcome) = Outcome::named(&test.outcome) else { return };
        let name = self.place.name(&test.name);
        let file = test.file.as_deref().and_then(|file| self.place.relative(file));
        let suite = if self.printed == Printed::ByFile { file.clone() } else { None };
        // A parent that failed only because of its children is counted, and explained by them.
        let by_children = test.why.as_deref() == Some("subtestsFailed");
        let fails = match outcome {
            Outcome::Failed | Outcome::Error => !by_children,
            // For unittest, and for it alone, an unexpected pass makes the run fail.
            Outcome::UnexpectedPass => self.printed == Printed::Between,
            Outcome::Passed | Outcome::Skipped | Outcome::ExpectedFailure | Outcome::Todo => false,
        };
        if fails {
            let failure = self.failure(&test, &name, file, suite.clone());
            self.results.failures.push(failure);
        }
        if !test.suite {
            self.results.counts.add(outcome);
            self.results.tests.push(Test { name, suite, outcome });
        }
    }

    fn failure(&self, test: &TestRecord, name: &str, file: Option<String>, suite: Option<String>) -> TestFailure {
        let detail = test.detail.as_deref().unwrap_or_default();
        let line = match self.printed {
            // Node's line is where the test is defined; its stack tells where it failed.
            Printed::ByFile => file.as_deref().and_then(|file| line_in_stack(detail, file)).or(test.line),
            Printed::InRecord | Printed::Between => test.line,
        };
        let mut output = detail.to_owned();
        if let Some(printed) = test.output.as_deref().filter(|printed| !printed.is_empty()) {
            output.push_str("\nprinted:\n");
            output.push_str(printed);
        }
        let message = plain_text::output(test.message.as_deref().unwrap_or_default()).trim().to_owned();
        let message = match test.phase.as_deref() {
            Some(phase @ ("setup" | "teardown")) => format!("in {phase}: {message}"),
            Some("collect") => format!("the file could not be loaded: {message}"),
            Some(_) | None => message,
        };
        TestFailure { name: name.to_owned(), suite, file, line, message, output: plain_text::output(&output) }
    }

    fn stop(&mut self) {
        let Some((first, printed)) = self.between.take() else { return };
        if printed.trim().is_empty() {
            return;
        }
        let printed = plain_text::output(&excerpt::head_and_tail(&printed, OUTPUT_BYTES));
        for failure in &mut self.results.failures[first..] {
            failure.output.push_str("\nprinted:\n");
            failure.output.push_str(&printed);
        }
    }

    fn finish(mut self) -> Results {
        for failure in &mut self.results.failures {
            let printed = failure.file.as_ref().and_then(|file| self.files.get(file));
            let Some(printed) = printed.filter(|printed| !printed.trim().is_empty()) else { continue };
            let printed = plain_text::output(&excerpt::head_and_tail(printed, OUTPUT_BYTES));
            // A file that could not be loaded is named by its path, and what it printed says why.
            if failure.file.as_deref().is_some_and(|file| file.ends_with(&failure.name)) {
                if let Some(error) = printed.lines().find(|line| is_error(line)) {
                    failure.message = format!("{}: {}", failure.message, error.trim());
                }
                failure.line = failure.file.as_deref().and_then(|file| line_in_stack(&printed, file));
                failure.output = printed;
            } else {
                failure.output.push_str("\nprinted by the file's tests together:\n");
                failure.output.push_str(&printed);
            }
        }
        if let Some(own) = self.own.take() {
            self.compare(&own);
        }
        self.results.running.retain(|name| !name.is_empty());
        for name in &mut self.results.running {
            *name = self.place.name(name);
        }
        self.results
    }

    /// Takes the runner's own sums where they differ from what was counted: the output limit can hide single results.
    fn compare(&mut self, own: &BTreeMap<String, u64>) {
        let mut counts = Counts::default();
        for (name, number) in own {
            let outcome = match name.as_str() {
                "pass" => Some(Outcome::Passed),
                "fail" | "cancelled" => Some(Outcome::Failed),
                name => Outcome::named(name),
            };
            if let Some(outcome) = outcome {
                counts.add_many(outcome, *number);
            }
        }
        if counts != self.results.counts {
            self.results.notes.push(format!(
                "the runner counts {} results, and {} were reported one by one; the runner's counts are given",
                counts.total(),
                self.results.counts.total()
            ));
            self.results.counts = counts;
        }
    }
}

/// Whether a line begins as an uncaught error's first one does: `TypeError: …`, `Error [CODE]: …`.
fn is_error(line: &str) -> bool {
    line.split([':', ' ']).next().is_some_and(|word| word.ends_with("Error")) && line.contains(':')
}

/// A number of a record without its fraction; what is out of range becomes the nearest number.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "`as` saturates")]
fn whole(number: f64) -> u64 {
    number as u64
}

/// The line of the first frame of a stack that is in `file`: `…/file:LINE:COLUMN`.
pub(super) fn line_in_stack(stack: &str, file: &str) -> Option<u64> {
    let frame = stack.lines().find_map(|line| line.split_once(&format!("{file}:")))?.1;
    frame.split([':', ')']).next()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stack_tells_the_line() {
        let stack = "Error: x\n    at node:internal:1:2\n    at f (file:///work/test/a.js:7:9)";
        assert_eq!(line_in_stack(stack, "test/a.js"), Some(7));
        assert_eq!(line_in_stack(stack, "test/b.js"), None);
    }
}
