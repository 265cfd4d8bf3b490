//! What a test run showed, the same for every runner.

use cofferdam_contract::{Ended, Exit};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::transcript::{End, Transcript};

use super::runner::Runner;

/// A test run.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// Who ran the tests.
    pub runner: Runner,
    /// The program and its arguments. A recorder of ours among them is named, not shown.
    pub argv: Vec<String>,
    /// The line that does the same in a terminal.
    pub equivalent: String,
    /// The folder it ran in, relative to the workspace.
    pub directory: String,
    /// What it all means.
    pub verdict: Verdict,
    /// How many tests had which result, in the runner's own way of counting.
    pub counts: Counts,
    /// What failed, in the order of the run.
    pub failures: Vec<TestFailure>,
    /// Every result of every test, in the order of the run.
    pub tests: Vec<Test>,
    /// Why the tests could not be built.
    pub compile_errors: Vec<CompileError>,
    /// How long the tests took by the runner's own clock, in milliseconds.
    pub duration_ms: Option<u64>,
    /// How the runner ended; `None` when its sandbox was ended first.
    pub exit: Option<Exit>,
    /// Whether the runner came to its end and everything it said was understood.
    pub complete: bool,
    /// What else is to be known, a sentence each.
    pub notes: Vec<String>,
    /// What the runner printed, without records and without control characters.
    pub output: String,
}

/// What a test run means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// At least one test ran, none failed, and the runner ended with status 0. Skipped tests did not run. Of `make` only
    /// the status is known.
    Passed,
    /// A test failed, or the runner says so.
    Failed,
    /// The tests could not be built.
    BuildFailed,
    /// No test ran.
    NoTests,
    /// The runner ended well, but not all it said was understood, so nobody knows.
    Unclear,
    /// The time limit passed.
    TimedOut,
    /// Another limit was reached.
    LimitReached,
}

/// Numbers of tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, JsonSchema)]
pub struct Counts {
    /// Tests that passed.
    pub passed: u64,
    /// Tests that failed.
    pub failed: u64,
    /// Errors outside the tests themselves: set-up, tear-down, loading.
    pub errors: u64,
    /// Tests that were skipped or ignored.
    pub skipped: u64,
    /// Tests that failed as expected.
    pub expected_failures: u64,
    /// Tests that passed and were expected to fail.
    pub unexpected_passes: u64,
    /// Tests marked as to be done.
    pub todo: u64,
}

/// The result of a test.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It passed.
    Passed,
    /// It failed.
    Failed,
    /// Something around it failed.
    Error,
    /// It was skipped or ignored.
    Skipped,
    /// It failed as expected.
    ExpectedFailure,
    /// It passed and was expected to fail.
    UnexpectedPass,
    /// It is marked as to be done.
    Todo,
}

/// One result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Test {
    /// The test's name, as its runner writes it.
    pub name: String,
    /// Where names are not unique by themselves: the test program or file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suite: Option<String>,
    /// Its result.
    pub outcome: Outcome,
}

/// One failed test.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct TestFailure {
    /// The test's name, as its runner writes it.
    pub name: String,
    /// Where names are not unique by themselves: the test program or file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suite: Option<String>,
    /// Where it failed, relative to the workspace when it is in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// The line, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u64>,
    /// What failed, in a few lines.
    pub message: String,
    /// The traceback and what the test printed.
    pub output: String,
}

/// Why the tests could not be built.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct CompileError {
    /// Where, relative to the workspace when it is in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// The line, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u64>,
    /// The compiler's sentence.
    pub message: String,
    /// The compiler's whole explanation.
    pub rendered: String,
}

/// What a runner's output says, before it is compared with how the runner ended.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Results {
    pub(super) counts: Counts,
    pub(super) failures: Vec<TestFailure>,
    pub(super) tests: Vec<Test>,
    pub(super) compile_errors: Vec<CompileError>,
    pub(super) duration_ms: Option<u64>,
    /// The runner came to its end, and everything was understood.
    pub(super) complete: bool,
    /// Tests that had begun and not ended.
    pub(super) running: Vec<String>,
    /// The runner's own sentence about tests that it was asked for and did not find.
    pub(super) not_found: Option<String>,
    pub(super) notes: Vec<String>,
    pub(super) counting: Counting,
}

/// Whether a runner tells of single tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Counting {
    /// It does.
    #[default]
    ByTest,
    /// All it tells is how it ended.
    ByStatus,
}

/// What was run.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Invocation {
    pub(super) runner: Runner,
    pub(super) argv: Vec<String>,
    pub(super) equivalent: String,
    pub(super) directory: String,
}

impl Counts {
    /// Adds one result.
    pub(super) fn add(&mut self, outcome: Outcome) {
        self.add_many(outcome, 1);
    }

    /// Adds `number` results.
    pub(super) fn add_many(&mut self, outcome: Outcome, number: u64) {
        let count = match outcome {
            Outcome::Passed => &mut self.passed,
            Outcome::Failed => &mut self.failed,
            Outcome::Error => &mut self.errors,
            Outcome::Skipped => &mut self.skipped,
            Outcome::ExpectedFailure => &mut self.expected_failures,
            Outcome::UnexpectedPass => &mut self.unexpected_passes,
            Outcome::Todo => &mut self.todo,
        };
        *count = count.saturating_add(number);
    }

    /// Tests that ran: neither skipped nor only noted as to be done.
    #[must_use]
    pub fn ran(&self) -> u64 {
        let Self { passed, failed, errors, skipped: _, expected_failures, unexpected_passes, todo: _ } = self;
        passed + failed + errors + expected_failures + unexpected_passes
    }

    /// All results together.
    #[must_use]
    pub fn total(&self) -> u64 {
        let Self { passed, failed, errors, skipped, expected_failures, unexpected_passes, todo } = self;
        passed + failed + errors + skipped + expected_failures + unexpected_passes + todo
    }
}

impl Outcome {
    /// The outcome of a record's word.
    pub(super) fn named(word: &str) -> Option<Self> {
        serde_json::from_value(serde_json::Value::from(word)).ok()
    }

    /// A word for lists.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::Error => "error",
            Self::Skipped => "skipped",
            Self::ExpectedFailure => "expected failure",
            Self::UnexpectedPass => "unexpected pass",
            Self::Todo => "todo",
        }
    }
}

impl Report {
    /// Compares what a runner's output says with how the runner ended. A difference is told, not smoothed over.
    pub(super) fn new(invocation: Invocation, results: Results, transcript: &Transcript) -> Self {
        let Results {
            counts,
            failures,
            tests,
            compile_errors,
            duration_ms,
            complete,
            running,
            not_found,
            mut notes,
            counting,
        } = results;
        let complete = complete && transcript.omitted == 0 && matches!(transcript.end, Some(End::Exited(_)));
        if transcript.omitted > 0 {
            notes.push(format!(
                "{} bytes of output were beyond the limit; names and details of some tests may be missing",
                transcript.omitted
            ));
        }
        let failing = counts.failed + counts.errors;
        let (exit, verdict) = match transcript.end {
            Some(End::Cut(ended)) => {
                notes.push(format!("{ended}; what is reported came before that"));
                (None, if ended == Ended::Deadline { Verdict::TimedOut } else { Verdict::LimitReached })
            }
            Some(End::Exited(exit)) => {
                if exit == Exit::Code(0) && failing > 0 {
                    notes.push(format!("the runner ended with status 0 although {failing} tests failed"));
                }
                let verdict = match (exit, failing) {
                    _ if !compile_errors.is_empty() => Verdict::BuildFailed,
                    (_, 1..) => Verdict::Failed,
                    (Exit::Code(0), 0) if counting == Counting::ByStatus => Verdict::Passed,
                    _ if counts.ran() == 0 && not_found.is_some() => Verdict::NoTests,
                    // pytest and, from Python 3.12, unittest end with 5 when they find no test.
                    (Exit::Code(0 | 5), 0) if counts.ran() == 0 && complete => Verdict::NoTests,
                    (Exit::Code(0), 0) if !complete => Verdict::Unclear,
                    (Exit::Code(0), 0) => Verdict::Passed,
                    (Exit::Code(_) | Exit::Signal(_), 0) => Verdict::Failed,
                };
                if verdict == Verdict::Failed
                    && failing == 0
                    && counts.unexpected_passes == 0
                    && counting == Counting::ByTest
                {
                    notes.push(format!("the runner ended {} although no test is reported as failed", ending(exit)));
                }
                (Some(exit), verdict)
            }
            None => (None, Verdict::Unclear),
        };
        if let Some(not_found) = not_found {
            notes.push(format!("{} says: {not_found}", invocation.runner.name()));
        }
        if verdict == Verdict::NoTests && counts.skipped > 0 {
            notes.push("every test was skipped: the filter chose none, or they skip themselves".to_owned());
        }
        if !complete && !running.is_empty() {
            let shown = running.iter().take(10).map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
            notes.push(format!("begun and not finished: {shown}"));
        }
        if !complete && matches!(verdict, Verdict::Passed | Verdict::Failed | Verdict::Unclear) {
            notes.push("the report is not complete: the runner stopped early, or its output was not understood".into());
        }
        let Invocation { runner, argv, equivalent, directory } = invocation;
        Self {
            runner,
            argv,
            equivalent,
            directory,
            verdict,
            counts,
            failures,
            tests,
            compile_errors,
            duration_ms,
            exit,
            complete,
            notes,
            output: transcript.shown(),
        }
    }
}

/// "with status 1", "by signal 6".
pub(super) fn ending(exit: Exit) -> String {
    match exit {
        Exit::Code(code) => format!("with status {code}"),
        Exit::Signal(signal) => format!("by signal {signal}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(exit: Exit, results: Results) -> Report {
        let invocation = Invocation {
            runner: Runner::Pytest,
            argv: Vec::new(),
            equivalent: String::new(),
            directory: String::new(),
        };
        let mut transcript = Transcript::of(&[]);
        transcript.end = Some(End::Exited(exit));
        Report::new(invocation, results, &transcript)
    }

    fn counts(passed: u64, failed: u64) -> Results {
        Results { counts: Counts { passed, failed, ..Counts::default() }, complete: true, ..Results::default() }
    }

    #[test]
    fn a_status_that_contradicts_the_tests_is_told() {
        let masked = report(Exit::Code(0), counts(1, 2));
        assert_eq!(masked.verdict, Verdict::Failed);
        assert_eq!(masked.notes, ["the runner ended with status 0 although 2 tests failed"]);
        let crashed = report(Exit::Signal(11), counts(3, 0));
        assert_eq!(crashed.verdict, Verdict::Failed);
        assert_eq!(crashed.notes, ["the runner ended by signal 11 although no test is reported as failed"]);
    }

    #[test]
    fn passed_means_that_tests_ran_to_their_end() {
        assert_eq!(report(Exit::Code(0), counts(1, 0)).verdict, Verdict::Passed);
        assert_eq!(report(Exit::Code(0), counts(0, 0)).verdict, Verdict::NoTests);
        assert_eq!(report(Exit::Code(5), counts(0, 0)).verdict, Verdict::NoTests);
        assert_eq!(report(Exit::Code(4), counts(0, 0)).verdict, Verdict::Failed);
        assert_eq!(report(Exit::Code(0), Results { complete: false, ..counts(1, 0) }).verdict, Verdict::Unclear);
    }

    #[test]
    fn tests_that_did_not_run_are_no_success() {
        let with = |counts: Counts| report(Exit::Code(0), Results { counts, complete: true, ..Results::default() });
        let idle = with(Counts { skipped: 6, todo: 1, ..Counts::default() });
        assert_eq!(idle.verdict, Verdict::NoTests);
        assert_eq!(idle.notes, ["every test was skipped: the filter chose none, or they skip themselves"]);
        assert_eq!(with(Counts { expected_failures: 1, ..Counts::default() }).verdict, Verdict::Passed);
        assert_eq!(with(Counts { errors: 1, skipped: 6, ..Counts::default() }).verdict, Verdict::Failed);
    }

    #[test]
    fn a_test_that_was_not_found_is_no_failure() {
        let missing = |counts| Results { not_found: Some("not found: a.py::t".into()), complete: true, ..counts };
        let report = |counts| report(Exit::Code(4), missing(counts));
        assert_eq!(report(counts(0, 0)).verdict, Verdict::NoTests);
        assert_eq!(report(counts(0, 0)).notes, ["pytest says: not found: a.py::t"]);
        assert_eq!(report(counts(3, 1)).verdict, Verdict::Failed);
    }
}
