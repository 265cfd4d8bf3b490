//! vitest, jest and mocha: run as the package's own script runs them, with the runner's own JSON report in a file.
//!
//! The file lies in the sandbox's temporary folder, so that nothing of it is among what the tests wrote, and is read by a
//! second command. Where there is none, the runner did not come to its end.

use std::collections::BTreeMap;

use cofferdam_contract::{Command, Sandbox, Stream, WorkspacePath};
use serde_json::Value;

use crate::{Failure, change, command_line::command_line, folders, place::Place, plain_text, transcript::Transcript};

use super::{
    node::literal,
    recorded::line_in_stack,
    report::{Invocation, Outcome, Results, Test, TestFailure},
    runner::Runner,
    script_runner::ScriptRunner,
};

/// Where the runner writes its report.
const REPORT: &str = "/tmp/cofferdam-report.json";

/// What is to be tested.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Selection {
    pub(super) runner: Runner,
    pub(super) directory: WorkspacePath,
    /// What the package's script gives the runner; empty when it runs none.
    pub(super) script: ScriptRunner,
    /// Only the tests of this file or folder.
    pub(super) target: Option<WorkspacePath>,
    /// Only tests whose name contains this.
    pub(super) filter: Option<String>,
}

impl Selection {
    /// Runs the tests and reads the report.
    pub(super) fn run(&self, sandbox: &mut dyn Sandbox) -> Result<(Invocation, Results, Transcript), Failure> {
        let (command, invocation) = self.command(sandbox)?;
        sandbox.progress(&format!("running {}", self.runner.name()));
        let transcript = Transcript::execute(sandbox, &command)?;
        let workspace = sandbox.workspace().to_owned();
        let place = Place { workspace: &workspace, directory: &self.directory };
        let results = if transcript.exit().is_some() {
            let cat = Command {
                program: "cat".to_owned(),
                arguments: vec![REPORT.to_owned()],
                directory: self.directory.clone(),
                environment: BTreeMap::new(),
            };
            let report = Transcript::execute(sandbox, &cat)?;
            let bytes =
                if report.succeeded() { report.stream(Stream::Stdout) } else { transcript.stream(Stream::Stdout) };
            read(self.runner, &bytes, place)
        } else {
            Results::default()
        };
        Ok((invocation, results, transcript))
    }

    fn command(&self, sandbox: &mut dyn Sandbox) -> Result<(Command, Invocation), Failure> {
        let name = self.runner.name();
        let mut found = None;
        for folder in folders::ancestors(&self.directory) {
            let path = folders::join(&folder, &format!("node_modules/.bin/{name}"));
            if change::status(sandbox, &path)?.is_some() {
                found = Some(format!("./{}", path.as_str()));
                break;
            }
        }
        if found.is_none() && sandbox.find_program(name)?.is_some() {
            found = Some(name.to_owned());
        }
        let program = found.ok_or_else(|| {
            let text = format!(
                "the tests need {name}, and it is not in node_modules/.bin of the project or a folder above it, nor on the \
                 sandbox's PATH. Nothing can be downloaded here: ask the person to install the packages on the host"
            );
            Failure::new("no_runner", text)
        })?;
        let target = self.target.as_ref().map(|target| folders::relative(target, &self.directory));
        let mut options = self.script.options.clone();
        let files = target.map_or_else(|| self.script.files.clone(), |target| vec![target]);
        let ours: Vec<String> = match self.runner {
            Runner::Vitest => {
                options.insert(0, "run".to_owned());
                options.extend(self.filter.iter().flat_map(|filter| ["-t".to_owned(), literal(filter)]));
                ["--reporter=default".to_owned(), "--reporter=json".to_owned(), format!("--outputFile.json={REPORT}")]
                    .into()
            }
            Runner::Jest => {
                options.extend(self.filter.iter().flat_map(|filter| ["-t".to_owned(), literal(filter)]));
                ["--json".to_owned(), format!("--outputFile={REPORT}"), "--testLocationInResults".to_owned()].into()
            }
            _ => {
                options.extend(self.filter.iter().flat_map(|filter| ["--fgrep".to_owned(), filter.clone()]));
                ["--reporter=json".to_owned(), format!("--reporter-option=output={REPORT}")].into()
            }
        };
        let arguments: Vec<String> = options.iter().chain(&ours).chain(&files).cloned().collect();
        let words = |arguments: &mut dyn Iterator<Item = String>| -> Vec<String> {
            std::iter::once(program.clone()).chain(arguments).collect()
        };
        let plain = words(&mut options.iter().chain(&files).cloned());
        let variables = self.script.environment.iter().map(|(name, value)| format!("{name}={value} "));
        let equivalent = format!("{}{}", variables.collect::<String>(), command_line(plain.iter()));
        let invocation = Invocation {
            runner: self.runner,
            argv: words(&mut arguments.iter().cloned()),
            equivalent,
            directory: self.directory.to_string(),
        };
        let mut environment = self.script.environment.clone();
        for (name, value) in [("NO_COLOR", "1"), ("FORCE_COLOR", "0")] {
            environment.insert(name.to_owned(), value.to_owned());
        }
        Ok((Command { program, arguments, directory: self.directory.clone(), environment }, invocation))
    }
}

/// Reads a report; what is none gives results that are not complete.
fn read(runner: Runner, bytes: &[u8], place: Place<'_>) -> Results {
    let from = bytes.iter().position(|byte| *byte == b'{').unwrap_or(bytes.len());
    let Ok(report) = serde_json::from_slice::<Value>(&bytes[from..]) else { return Results::default() };
    match runner {
        Runner::Mocha => mocha(&report, place),
        _ => jest(&report, place),
    }
}

/// jest's report, which is also vitest's: files with the results of their tests.
fn jest(report: &Value, place: Place<'_>) -> Results {
    let mut results = Results { complete: true, ..Results::default() };
    let mut last_end = 0.0;
    for file in report["testResults"].as_array().into_iter().flatten() {
        let path = file["name"].as_str().and_then(|name| place.relative(name));
        last_end = file["endTime"].as_f64().unwrap_or_default().max(last_end);
        let tests = file["assertionResults"].as_array().map(Vec::as_slice).unwrap_or_default();
        if tests.is_empty() && file["status"] == "failed" {
            results.counts.add(Outcome::Error);
            let name = path.clone().unwrap_or_default();
            results.tests.push(Test { name: name.clone(), suite: path.clone(), outcome: Outcome::Error });
            let told = file["message"].as_str().unwrap_or_default();
            let mut failure = failure(&name, path.clone(), &[told]);
            failure.message = format!("the file could not be loaded: {}", failure.message);
            results.failures.push(failure);
        }
        for test in tests {
            let outcome = match test["status"].as_str() {
                Some("passed") => Outcome::Passed,
                Some("failed") => Outcome::Failed,
                Some("todo") => Outcome::Todo,
                Some(_) | None => Outcome::Skipped,
            };
            let above = test["ancestorTitles"].as_array().into_iter().flatten().filter_map(Value::as_str);
            let titles: Vec<&str> = above.chain(test["title"].as_str()).filter(|title| !title.is_empty()).collect();
            let name = plain_text::content(&titles.join(" > ")).0;
            results.counts.add(outcome);
            if outcome == Outcome::Failed {
                let told = test["failureMessages"].as_array().into_iter().flatten().filter_map(Value::as_str);
                let told: Vec<&str> = told.collect();
                results.failures.push(failure(&name, path.clone(), &told));
            }
            results.tests.push(Test { name, suite: path.clone(), outcome });
        }
    }
    let started = report["startTime"].as_f64().unwrap_or(last_end);
    results.duration_ms = (last_end > 0.0).then(|| whole(last_end - started));
    results
}

/// mocha's report: a list for each result. A hook that failed is among the failures and no test.
fn mocha(report: &Value, place: Place<'_>) -> Results {
    let mut results = Results { complete: report["stats"].is_object(), ..Results::default() };
    results.duration_ms = report["stats"]["duration"].as_f64().map(whole);
    for (list, outcome) in [("passes", Outcome::Passed), ("failures", Outcome::Failed), ("pending", Outcome::Skipped)] {
        for test in report[list].as_array().into_iter().flatten() {
            let is_hook =
                test["title"].as_str().is_some_and(|title| title.starts_with('"') && title.contains("\" hook"));
            let outcome = if is_hook { Outcome::Error } else { outcome };
            let name = plain_text::content(test["fullTitle"].as_str().unwrap_or_default()).0;
            let path = test["file"].as_str().and_then(|file| place.relative(file));
            results.counts.add(outcome);
            if matches!(outcome, Outcome::Failed | Outcome::Error) {
                let told = test["err"]["stack"].as_str().or(test["err"]["message"].as_str()).unwrap_or_default();
                results.failures.push(failure(&name, path.clone(), &[told]));
            }
            results.tests.push(Test { name, suite: path, outcome });
        }
    }
    results
}

/// A failure from its stacks.
fn failure(name: &str, path: Option<String>, stacks: &[&str]) -> TestFailure {
    let output = plain_text::output(&stacks.join("\n\n"));
    let is_frame = |line: &&str| !line.trim_start().starts_with("at ") && !line.trim_start().starts_with("❯ ");
    let message: Vec<&str> = output.lines().take_while(is_frame).take(20).collect();
    let message = message.join("\n").trim().to_owned();
    let line = path.as_deref().and_then(|path| line_in_stack(&output, path));
    TestFailure { name: name.to_owned(), suite: path.clone(), file: path, line, message, output }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "`as` saturates")]
fn whole(number: f64) -> u64 {
    number.round() as u64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_no_report_is_not_complete() {
        let directory = WorkspacePath::workspace();
        let place = Place { workspace: "/work", directory: &directory };
        for (runner, text) in [(Runner::Jest, ""), (Runner::Mocha, "{}"), (Runner::Vitest, "{\"testResults\":")] {
            assert!(!read(runner, text.as_bytes(), place).complete, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_report_can_be_read(text: String) {
            let directory = WorkspacePath::workspace();
            let place = Place { workspace: "/work", directory: &directory };
            for runner in [Runner::Jest, Runner::Mocha] {
                read(runner, text.as_bytes(), place);
            }
        }
    }
}
