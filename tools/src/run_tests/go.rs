//! `go test -json`: an event a line (`go doc test2json`), and the compiler's errors as text beside it.

use std::collections::{BTreeMap, BTreeSet};

use cofferdam_contract::{Command, Stream, WorkspacePath};
use serde::Deserialize;

use crate::{checks, place::Place, plain_text, transcript::Transcript};

use super::{
    node::literal,
    report::{CompileError, Outcome, Results, Test, TestFailure},
};

/// What go is to test.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Selection {
    /// The folder of `go.mod`.
    pub(super) directory: WorkspacePath,
    /// `./...`, or the packages of a part.
    pub(super) packages: String,
    /// Only tests whose name contains this.
    pub(super) filter: Option<String>,
}

impl Selection {
    /// The command.
    pub(super) fn command(&self) -> Command {
        let mut arguments = vec!["test".to_owned(), "-json".to_owned()];
        // Each part between slashes is an expression of its own, for the test and its subtests.
        arguments.extend(self.filter.as_ref().map(|filter| format!("-run={}", literal(filter).replace("\\/", "/"))));
        arguments.push(self.packages.clone());
        Command { program: "go".to_owned(), arguments, directory: self.directory.clone(), environment: BTreeMap::new() }
    }
}

/// An event. Others than these are left out.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Event {
    action: String,
    /// The package; for the building of it, with the test's program.
    #[serde(default)]
    package: Option<String>,
    #[serde(default)]
    test: Option<String>,
    #[serde(default)]
    output: Option<String>,
    /// Seconds.
    #[serde(default)]
    elapsed: Option<f64>,
}

/// Reads the events. `module` is the module's own name, which packages begin with.
pub(super) fn read(transcript: &Transcript, place: Place<'_>, module: &str) -> Results {
    let mut reader = Reader::new(place, module);
    let stdout = transcript.stream(Stream::Stdout);
    for line in String::from_utf8_lossy(&stdout).lines() {
        if let Ok(event) = serde_json::from_str::<Event>(line) {
            reader.event(event);
        }
    }
    let stderr = String::from_utf8_lossy(&transcript.stream(Stream::Stderr)).into_owned();
    reader.finish(&stderr)
}

struct Reader<'a> {
    place: Place<'a>,
    module: &'a str,
    results: Results,
    /// What each test printed, by package and test; without a test, what the package did.
    printed: BTreeMap<(String, Option<String>), String>,
    running: BTreeSet<(String, String)>,
    failed: BTreeSet<String>,
    seconds: f64,
    /// What the compiler said (from Go 1.24 in events).
    built: String,
    ended: bool,
}

/// Output that is kept of one test, in bytes.
const OUTPUT_BYTES: usize = 16_000;

impl<'a> Reader<'a> {
    fn new(place: Place<'a>, module: &'a str) -> Self {
        Self {
            place,
            module,
            results: Results::default(),
            printed: BTreeMap::new(),
            running: BTreeSet::new(),
            failed: BTreeSet::new(),
            seconds: 0.0,
            built: String::new(),
            ended: false,
        }
    }

    fn event(&mut self, event: Event) {
        let Event { action, package, test, output, elapsed } = event;
        if action == "build-output" {
            self.built.push_str(&output.unwrap_or_default());
            return;
        }
        let Some(package) = package else { return };
        let outcome = match action.as_str() {
            "pass" => Outcome::Passed,
            "fail" => Outcome::Failed,
            "skip" => Outcome::Skipped,
            "output" => {
                let printed = self.printed.entry((package, test)).or_default();
                let output = output.unwrap_or_default();
                if printed.len() + output.len() <= OUTPUT_BYTES {
                    printed.push_str(&output);
                }
                return;
            }
            "run" => {
                self.running.extend(test.map(|test| (package, test)));
                return;
            }
            _ => return,
        };
        match test {
            Some(test) => self.test(package, test, outcome),
            None => self.package(&package, outcome, elapsed),
        }
    }

    fn test(&mut self, package: String, test: String, outcome: Outcome) {
        self.running.remove(&(package.clone(), test.clone()));
        let name = plain_text::content(&test).0;
        self.results.counts.add(outcome);
        self.results.tests.push(Test { name: name.clone(), suite: Some(package.clone()), outcome });
        if outcome == Outcome::Failed {
            self.failed.insert(package.clone());
            let printed = self.printed.remove(&(package.clone(), Some(test))).unwrap_or_default();
            let failure = self.failure(&name, &package, &printed);
            self.results.failures.push(failure);
        }
    }

    fn package(&mut self, package: &str, outcome: Outcome, elapsed: Option<f64>) {
        self.ended = true;
        self.seconds += elapsed.unwrap_or_default();
        let printed = self.printed.remove(&(package.to_owned(), None)).unwrap_or_default();
        let is_explained =
            self.failed.contains(package) || printed.contains("[build failed]") || printed.contains("[setup failed]");
        if outcome == Outcome::Failed && !is_explained {
            // A panic outside of tests, a TestMain that failed: no test is to blame.
            self.results.counts.add(Outcome::Error);
            self.results.tests.push(Test { name: package.to_owned(), suite: None, outcome: Outcome::Error });
            let failure = self.failure(package, package, &printed);
            self.results.failures.push(failure);
        }
    }

    /// A failure from what the test printed: `    sub_test.go:13: got 2`, or a panic with its stack.
    fn failure(&self, name: &str, package: &str, printed: &str) -> TestFailure {
        let output = plain_text::output(printed);
        let is_frame =
            |line: &&str| !["=== ", "--- ", "PASS", "FAIL"].iter().any(|word| line.trim_start().starts_with(word));
        let lines: Vec<&str> = output.lines().filter(is_frame).collect();
        let panic = lines.iter().position(|line| line.starts_with("panic: "));
        let logged = lines.iter().filter_map(|line| self.logged(line, package)).next_back();
        let in_stack = panic.and_then(|at| lines[at..].iter().find_map(|line| self.in_stack(line)));
        let message = match panic {
            Some(at) => lines[at].to_owned(),
            None => lines.iter().take(20).map(|line| line.trim()).collect::<Vec<_>>().join("\n"),
        };
        let found = in_stack.or(logged);
        TestFailure {
            name: name.to_owned(),
            suite: Some(package.to_owned()),
            file: found.as_ref().map(|(file, _)| file.clone()),
            line: found.map(|(_, line)| line),
            message,
            output: lines.join("\n"),
        }
    }

    /// The place of a logged line, whose file is named without its folder.
    fn logged(&self, line: &str, package: &str) -> Option<(String, u64)> {
        let mut parts = line.trim_start().splitn(3, ':');
        let (file, number) = (parts.next()?, parts.next()?);
        parts.next()?;
        let is_file = file.ends_with(".go") && !file.contains('/');
        let folder = package.strip_prefix(self.module)?.trim_start_matches('/');
        let path = if folder.is_empty() { file.to_owned() } else { format!("{folder}/{file}") };
        Some((self.place.relative(&path).filter(|_| is_file)?, number.parse().ok()?))
    }

    /// The place of a line of a stack: `\t/work/sub/sub_test.go:17 +0x27`.
    fn in_stack(&self, line: &str) -> Option<(String, u64)> {
        let (file, rest) = line.trim_start().split_once(".go:")?;
        let number = rest.split([' ', ')']).next()?.parse().ok()?;
        Some((self.place.relative(&format!("{file}.go"))?, number))
    }

    fn finish(mut self, stderr: &str) -> Results {
        let built = plain_text::output(&format!("{}{stderr}", self.built));
        let errors = checks::read::lines_of(&built, self.place, "go").into_iter();
        self.results.compile_errors = errors
            .map(|error| CompileError {
                rendered: error.line(),
                file: error.file,
                line: error.line,
                message: error.message,
            })
            .collect();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "`as` saturates")]
        let milliseconds = (self.seconds * 1000.0).round() as u64;
        self.results.duration_ms = self.ended.then_some(milliseconds);
        // A test that a panic of another one ended has no end of its own.
        self.results.running = self.running.into_iter().map(|(_, test)| test).collect();
        self.results.complete = self.ended && self.results.running.is_empty();
        self.results
    }
}

/// The name of a module, of its `go.mod`.
pub(super) fn module(settings: &str) -> &str {
    let name = settings.lines().find_map(|line| line.trim().strip_prefix("module "));
    name.unwrap_or_default().trim().trim_matches('"')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_module_is_named_by_its_file() {
        assert_eq!(module("// x\nmodule example.org/a\n\ngo 1.19\n"), "example.org/a");
        assert_eq!(module("go 1.19"), "");
    }

    #[test]
    fn what_the_compiler_says_in_events_is_read_too() {
        let directory = WorkspacePath::workspace();
        let place = Place { workspace: "/work", directory: &directory };
        let text = "{\"ImportPath\":\"m/a\",\"Action\":\"build-output\",\"Output\":\"a/b.go:3:25: cannot use\\n\"}\n\
                    {\"Action\":\"fail\",\"Package\":\"m/a\",\"Elapsed\":0,\"FailedBuild\":\"m/a\"}\n";
        let results = read(&Transcript::of(&[(Stream::Stdout, text)]), place, "m");
        assert_eq!(results.compile_errors[0].rendered, "a/b.go:3:25: error: cannot use");
    }

    proptest! {
        #[test]
        fn any_output_can_be_read(text: String) {
            let directory = WorkspacePath::workspace();
            let place = Place { workspace: "/work", directory: &directory };
            read(&Transcript::of(&[(Stream::Stdout, &text), (Stream::Stderr, &text)]), place, "m");
        }
    }
}
