//! A test run's report as a result: text within a model's budget, and the same facts as structure.

use cofferdam_contract::Exit;
use schemars::JsonSchema;
use serde::Serialize;

use crate::{Output, Whole, excerpt, excerpt::TEXT_BYTES, plain_text};

use super::{
    report::{CompileError, Counts, Outcome, Report, Test, TestFailure, Verdict, ending},
    runner::Runner,
};

/// What all failures or compile errors together may take, in bytes. The rest is for the head and the output's end.
const DETAIL_BYTES: usize = 16_000;

/// What one failure takes at most, in bytes.
const ONE_DETAIL_BYTES: usize = 4_000;

/// What one failure is given at least before others are left out, in bytes.
const LEAST_DETAIL_BYTES: usize = 500;

/// What the names of single tests may take, in bytes.
const NAME_BYTES: usize = 12_000;

/// The structured form of a report.
#[derive(Serialize, JsonSchema)]
pub(super) struct RunTestsOutput {
    /// What it all means: only `passed` means that tests ran and none failed.
    verdict: Verdict,
    /// Who ran the tests.
    runner: Runner,
    /// The program and its arguments.
    argv: Vec<String>,
    /// The line that does the same in a terminal.
    equivalent_command: String,
    /// The folder it ran in, relative to the workspace.
    directory: String,
    /// Numbers of tests, as the runner counts them.
    counts: Counts,
    /// What failed.
    failures: Vec<TestFailure>,
    /// Failures that are not listed.
    failures_omitted: u64,
    /// Why the tests could not be built.
    compile_errors: Vec<CompileError>,
    /// Compile errors that are not listed.
    compile_errors_omitted: u64,
    /// Single tests and their results as far as they fit, those that did not pass first.
    tests: Vec<Test>,
    /// Single tests that are not listed.
    tests_omitted: u64,
    /// How long the tests took by the runner's own clock, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    duration_ms: Option<u64>,
    /// The runner's exit status, when it ended by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    exit_code: Option<i32>,
    /// The signal that ended the runner.
    #[serde(skip_serializing_if = "Option::is_none")]
    exit_signal: Option<i32>,
    /// Whether the runner came to its end and everything it said was understood.
    complete: bool,
    /// The end of what the runner printed, when failures alone do not explain the verdict.
    #[serde(skip_serializing_if = "Option::is_none")]
    output: Option<String>,
    /// What else is to be known, a sentence each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    notes: Vec<String>,
}

impl Report {
    /// The result of the call.
    #[must_use]
    pub fn output(&self) -> Output {
        let failures = self.shortened_failures();
        let errors = self.shortened_errors();
        let omitted = self.failures.len() - failures.len();
        let errors_omitted = self.compile_errors.len() - errors.len();
        let mut text = self.head();
        for error in &errors {
            text.push_str(&format!("\n{}{}\n", place(error.file.as_deref(), error.line, ": "), error.rendered));
        }
        if errors_omitted > 0 {
            text.push_str(&format!("\n[{errors_omitted} more compile errors; mend these and run again]\n"));
        }
        for (failure, number) in failures.iter().zip(1..) {
            text.push_str(&format!("\n{number}. {}\n", told(failure)));
        }
        if omitted > 0 {
            text.push_str(&format!(
                "\n[{omitted} more failures; run_tests with filter or path runs them alone and shows them in full]\n"
            ));
        }
        let output = self.needs_output().then(|| self.output_end(TEXT_BYTES.saturating_sub(text.len() + 200)));
        let output = output.filter(|output| !output.is_empty());
        if let Some(output) = &output {
            text.push_str(&format!("\nThe runner printed:\n{output}"));
        }
        let (code, signal) = match self.exit {
            Some(Exit::Code(code)) => (Some(code), None),
            Some(Exit::Signal(signal)) => (None, Some(signal)),
            None => (None, None),
        };
        let tests = self.listed_tests();
        let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
        let structured = RunTestsOutput {
            verdict: self.verdict,
            runner: self.runner,
            argv: self.argv.clone(),
            equivalent_command: self.equivalent.clone(),
            directory: self.directory.clone(),
            counts: self.counts,
            failures,
            failures_omitted: count(omitted),
            compile_errors: errors,
            compile_errors_omitted: count(errors_omitted),
            tests_omitted: count(self.tests.len() - tests.len()),
            tests,
            duration_ms: self.duration_ms,
            exit_code: code,
            exit_signal: signal,
            complete: self.complete,
            output,
            notes: self.notes.clone(),
        };
        let mut output = Output::new(text, &structured);
        output.whole = Some(Whole::list("tests", &self.tests));
        output
    }

    /// The lines that say what happened.
    fn head(&self) -> String {
        let counts = &self.counts;
        let numbers = [
            (counts.failed, "failed"),
            (counts.errors, "errors"),
            (counts.passed, "passed"),
            (counts.skipped, "skipped"),
            (counts.expected_failures, "expected failures"),
            (counts.unexpected_passes, "unexpected passes"),
            (counts.todo, "todo"),
        ];
        let told = numbers.iter().filter(|(number, word)| *number > 0 || matches!(*word, "failed" | "passed"));
        let told: Vec<String> = told.map(|(number, word)| format!("{number} {word}")).collect();
        let verdict = match self.verdict {
            Verdict::Passed => "PASSED",
            Verdict::Failed => "FAILED",
            Verdict::BuildFailed => "BUILD FAILED",
            Verdict::NoTests => "NO TESTS RAN",
            Verdict::Unclear => "UNCLEAR",
            Verdict::TimedOut => "TIMED OUT",
            Verdict::LimitReached => "LIMIT REACHED",
        };
        let mut text = match self.runner {
            // They tell no numbers, and "0 passed" would be one.
            Runner::Make | Runner::Npm => format!("{verdict}\n"),
            Runner::Cargo
            | Runner::Nextest
            | Runner::Pytest
            | Runner::Unittest
            | Runner::Vitest
            | Runner::Jest
            | Runner::Mocha
            | Runner::Node
            | Runner::Go => format!("{verdict}: {}\n", told.join(", ")),
        };
        let end =
            self.exit.map_or_else(|| "was ended with its sandbox".to_owned(), |exit| format!("ended {}", ending(exit)));
        let time = self.duration_ms.map_or_else(String::new, |time| format!(", tests took {time} ms"));
        text.push_str(&format!(
            "{} {end}{time}. Same as, in `{}`: {}\n",
            self.runner.name(),
            self.directory,
            excerpt::prefix(&plain_text::one_line(&self.equivalent), 1000)
        ));
        for note in &self.notes {
            text.push_str(&format!("[{}]\n", excerpt::prefix(note, 1000)));
        }
        text
    }

    /// Whether the runner's output says something that the list of failures does not.
    fn needs_output(&self) -> bool {
        match self.verdict {
            // All that is known of make is what it printed.
            Verdict::Passed => self.runner == Runner::Make,
            Verdict::Failed => self.failures.is_empty() || !self.complete,
            Verdict::BuildFailed => self.compile_errors.is_empty(),
            Verdict::NoTests | Verdict::Unclear | Verdict::TimedOut | Verdict::LimitReached => true,
        }
    }

    fn output_end(&self, limit: usize) -> String {
        excerpt::head_and_tail(self.output.trim_end(), limit.min(DETAIL_BYTES))
    }

    fn shortened_failures(&self) -> Vec<TestFailure> {
        let (number, limit) = shares(self.failures.len());
        let shortened = self.failures.iter().take(number).map(|failure| TestFailure {
            name: excerpt::prefix(&failure.name, 500).to_owned(),
            message: excerpt::head(&failure.message, limit / 3),
            output: excerpt::head_and_tail(&failure.output, limit - limit / 3),
            ..failure.clone()
        });
        shortened.collect()
    }

    fn shortened_errors(&self) -> Vec<CompileError> {
        let (number, limit) = shares(self.compile_errors.len());
        let shortened = self.compile_errors.iter().take(number).map(|error| CompileError {
            message: excerpt::prefix(&error.message, limit / 3).to_owned(),
            rendered: excerpt::head(&error.rendered, limit),
            ..error.clone()
        });
        shortened.collect()
    }

    /// Single tests, those that did not pass first.
    fn listed_tests(&self) -> Vec<Test> {
        let mut left = NAME_BYTES;
        let (passed, others): (Vec<&Test>, Vec<&Test>) =
            self.tests.iter().partition(|test| test.outcome == Outcome::Passed);
        let listed = others.into_iter().chain(passed).take_while(|test| {
            let size = test.name.len() + test.suite.as_ref().map_or(0, String::len) + test.outcome.word().len() + 20;
            left = left.saturating_sub(size);
            left > 0
        });
        listed.cloned().collect()
    }
}

/// How many of `number` details are shown, and how many bytes each may take.
fn shares(number: usize) -> (usize, usize) {
    let shown = number.min(DETAIL_BYTES / LEAST_DETAIL_BYTES);
    (shown, (DETAIL_BYTES / shown.max(1)).min(ONE_DETAIL_BYTES))
}

/// `src/a.rs:3` with something after it, or nothing.
fn place(file: Option<&str>, line: Option<u64>, after: &str) -> String {
    match (file, line) {
        (Some(file), Some(line)) => format!("{file}:{line}{after}"),
        (Some(file), None) => format!("{file}{after}"),
        (None, _) => String::new(),
    }
}

/// A failure in a few lines.
fn told(failure: &TestFailure) -> String {
    let mut text = failure.name.clone();
    let place = place(failure.file.as_deref(), failure.line, "");
    let suite = failure.suite.as_deref().filter(|suite| !place.starts_with(suite) && *suite != failure.name);
    let around: Vec<&str> = suite.into_iter().chain((!place.is_empty()).then_some(place.as_str())).collect();
    if !around.is_empty() {
        text.push_str(&format!(" ({})", around.join(", ")));
    }
    for line in failure.message.lines() {
        text.push_str(&format!("\n   {line}"));
    }
    // A message that the output begins with, or holds, is there for clients that show one of the two.
    if !failure.output.trim().is_empty() {
        for line in failure.output.trim_end().lines() {
            text.push_str(&format!("\n   | {line}"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn report(failures: usize, verdict: Verdict) -> Report {
        let failure = |number: usize| TestFailure {
            name: format!("tests::number_{number}"),
            suite: None,
            file: Some("src/lib.rs".into()),
            line: Some(7),
            message: format!("assertion {number} failed\nleft: 1"),
            output: "some line of output\n".repeat(500),
        };
        let test =
            |number: usize| Test { name: format!("tests::number_{number}"), suite: None, outcome: Outcome::Passed };
        Report {
            runner: Runner::Cargo,
            argv: vec!["cargo".into(), "test".into()],
            equivalent: "cargo test".into(),
            directory: ".".into(),
            verdict,
            counts: Counts { passed: 3, failed: u64::try_from(failures).unwrap(), ..Counts::default() },
            failures: (0..failures).map(failure).collect(),
            tests: (0..2000).map(test).collect(),
            compile_errors: Vec::new(),
            duration_ms: Some(12),
            exit: Some(Exit::Code(0)),
            complete: true,
            notes: Vec::new(),
            output: "x\n".repeat(50_000) + "the last line\n",
        }
    }

    #[test]
    fn a_good_run_is_told_in_two_lines() {
        let output = report(0, Verdict::Passed).output();
        assert_eq!(
            output.text,
            "PASSED: 0 failed, 3 passed\ncargo ended with status 0, tests took 12 ms. Same as, in `.`: cargo test\n"
        );
        assert_eq!(output.structured["verdict"], "passed");
        // Names that do not fit are there for programs.
        let listed = output.structured["tests"].as_array().unwrap().len();
        assert_eq!(output.structured["tests_omitted"], 2000 - listed);
        let whole = output.whole.unwrap().to_json();
        assert_eq!((whole["tests"].as_array().unwrap().len(), &whole["omitted"]), (2000, &Value::from(0)));
    }

    #[test]
    fn a_script_that_tells_no_numbers_is_told_without_some() {
        let script = Report { runner: Runner::Npm, counts: Counts::default(), ..report(0, Verdict::Passed) };
        assert!(script.output().text.starts_with("PASSED\nnpm ended with status 0"), "{}", script.output().text);
    }

    #[test]
    fn any_number_of_failures_stays_within_the_budget() {
        for failures in [1, 2, 5, 31, 33, 500] {
            let output = report(failures, Verdict::Failed).output();
            assert!(output.text.len() < TEXT_BYTES, "{failures}: {}", output.text.len());
            let listed = output.structured["failures"].as_array().unwrap().len();
            let told = output.text.matches("\n   assertion ").count();
            assert_eq!((listed, told), (failures.min(32), failures.min(32)));
            assert_eq!(output.structured["failures_omitted"], failures - listed);
            assert!(serde_json::to_string(&output.structured).unwrap().len() < 50_000);
        }
    }

    #[test]
    fn the_end_of_the_output_is_kept_where_it_is_needed() {
        let output = report(0, Verdict::TimedOut).output();
        assert!(output.text.ends_with("the last line") && output.text.len() < TEXT_BYTES, "{}", output.text.len());
        assert!(output.structured["output"].as_str().unwrap().ends_with("the last line"));
    }
}
