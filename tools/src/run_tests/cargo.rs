//! `cargo test`: two steps, so that a build that fails is told from tests that fail.
//!
//! The build step speaks JSON (`--message-format=json`), which is stable. The test step does not: libtest's JSON is
//! unstable, so its text is read, and where the text leaves a doubt the sums of its own `test result` lines decide.

use std::collections::BTreeMap;

use cofferdam_contract::{Command, Stream, WorkspacePath};

use crate::{cargo_messages, place::Place, plain_text, transcript::Transcript};

use super::report::{CompileError, Counts, Outcome, Results, Test, TestFailure};

/// What `cargo` is to test.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Selection {
    /// The folder of `Cargo.toml`.
    pub(super) directory: WorkspacePath,
    /// The integration test to run alone: the stem of `tests/NAME.rs`.
    pub(super) target: Option<String>,
    /// Only tests whose name contains this.
    pub(super) filter: Option<String>,
}

impl Selection {
    fn command(&self, options: &[&str], filter: Option<&str>) -> Command {
        let mut arguments: Vec<String> = ["test", "--offline"].iter().chain(options).map(ToString::to_string).collect();
        if let Some(target) = &self.target {
            arguments.extend(["--test".to_owned(), target.clone()]);
        }
        // After `--` cargo hands it to each test program; it does not begin with a dash.
        arguments.extend(filter.into_iter().flat_map(|filter| ["--".to_owned(), filter.to_owned()]));
        Command { program: "cargo".to_owned(), arguments, directory: self.directory.clone(), environment: quiet() }
    }

    /// Builds the tests.
    pub(super) fn build(&self) -> Command {
        self.command(&["--no-run", "--message-format=json"], None)
    }

    /// Runs them.
    pub(super) fn test(&self) -> Command {
        self.command(&["--no-fail-fast"], self.filter.as_deref())
    }
}

/// Variables that keep cargo's output plain. That it is offline is said by its own option, so that a line to copy says it
/// too: without a network cargo would try for half a minute before it tells.
pub(crate) fn quiet() -> BTreeMap<String, String> {
    let variables = [("CARGO_TERM_COLOR", "never"), ("CARGO_TERM_PROGRESS_WHEN", "never")];
    variables.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
}

/// Reads why a build failed.
pub(super) fn compile_errors(transcript: &Transcript, place: Place<'_>) -> Vec<CompileError> {
    let messages = cargo_messages::compiler_messages(transcript, place).into_iter();
    let mut errors: Vec<CompileError> = messages
        .filter(|message| message.level.starts_with("error"))
        .map(|message| CompileError {
            file: message.file,
            line: message.span.map(|span| span.line),
            message: message.message,
            rendered: message.rendered,
        })
        .collect();
    if errors.is_empty() {
        let rendered = cargo_messages::own_error(transcript);
        let message = rendered.lines().next().unwrap_or("the build failed").to_owned();
        errors.push(CompileError { file: None, line: None, message, rendered });
    }
    errors
}

/// A test program, as cargo announces it on standard error.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Program {
    /// "tests/a.rs", or "src/lib.rs (name)" where packages could be confused, or "doc-tests name".
    label: String,
    is_doc: bool,
    /// How it ended, in cargo's words, when it did not end well.
    ended: Option<String>,
    blocks: usize,
}

/// What one test program printed: from `running N tests` to `test result: …`.
#[derive(Debug, Default)]
struct Block {
    announced: u64,
    tests: Vec<(String, Outcome)>,
    /// A test whose name was printed and whose result was not, yet.
    open: Option<String>,
    /// Tests of which it was said that they take long.
    slow: Vec<String>,
    failures: Vec<(String, String)>,
    /// The sums of its last line.
    sums: Option<Counts>,
    filtered_out: u64,
    seconds: f64,
    program: Option<usize>,
}

/// Reads the output of the test step.
pub(super) fn read(transcript: &Transcript) -> Results {
    let mut reader = Reader::default();
    transcript.for_each_line(|stream, line| match stream {
        Stream::Stdout => reader.stdout(line),
        Stream::Stderr => reader.stderr(line),
    });
    reader.finish()
}

#[derive(Default)]
struct Reader {
    programs: Vec<Program>,
    blocks: Vec<Block>,
    /// Whether the last block still goes on.
    inside: bool,
    /// The name of the `---- name stdout ----` section that is being read.
    section: Option<usize>,
}

impl Reader {
    /// `     Running unittests src/lib.rs (target/debug/deps/name-0123456789abcdef)`, `   Doc-tests name`, and
    /// `  process didn't exit successfully: … (exit status: 101)`.
    fn stderr(&mut self, line: &str) {
        let line = line.trim();
        if let Some((what, program)) = line.strip_prefix("Running ").and_then(|rest| rest.rsplit_once(" (")) {
            let stem = program.trim_end_matches(')').rsplit('/').next().unwrap_or_default();
            let name = stem.rsplit_once('-').map_or(stem, |(name, _)| name);
            let label = match what.strip_prefix("unittests ") {
                Some(source) => format!("{source} ({name})"),
                None => what.to_owned(),
            };
            self.programs.push(Program { label, is_doc: false, ended: None, blocks: 0 });
        } else if let Some(name) = line.strip_prefix("Doc-tests ") {
            self.programs.push(Program { label: format!("doc-tests {name}"), is_doc: true, ended: None, blocks: 0 });
        } else if line.starts_with("process didn't exit successfully") {
            let how = line.rsplit_once(" (").map_or(line, |(_, how)| how.trim_end_matches(')'));
            if let Some(program) = self.programs.last_mut() {
                program.ended = Some(how.to_owned());
            }
        }
    }

    fn stdout(&mut self, line: &str) {
        if let Some(number) = announced(line) {
            self.blocks.push(Block {
                announced: number,
                program: self.programs.len().checked_sub(1),
                ..Block::default()
            });
            (self.inside, self.section) = (true, None);
            return;
        }
        let Some(block) = self.blocks.last_mut().filter(|_| self.inside) else { return };
        if let Some(result) = line.strip_prefix("test result: ") {
            block.end(result);
            (self.inside, self.section) = (false, None);
        } else if let Some(name) = line.strip_prefix("---- ").and_then(|rest| rest.strip_suffix(" stdout ----")) {
            block.failures.push((name.to_owned(), String::new()));
            self.section = Some(block.failures.len() - 1);
        } else if line == "failures:" || line == "successes:" {
            self.section = None;
        } else if let Some(section) = self.section {
            let text = &mut block.failures[section].1;
            text.push_str(line);
            text.push('\n');
        } else {
            block.test(line);
        }
    }

    fn finish(mut self) -> Results {
        self.assign();
        let mut results = Results { complete: true, ..Results::default() };
        let mut seconds = 0.0;
        let several = self.programs.len() > 1;
        let mut filtered_out = 0;
        for block in &self.blocks {
            let program = block.program.and_then(|index| self.programs.get(index));
            let suite = program.filter(|_| several).map(|program| program.label.clone());
            block.add_to(&mut results, suite.as_deref());
            seconds += block.seconds;
            filtered_out += block.filtered_out;
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "`as` saturates")]
        let milliseconds = (seconds * 1000.0).round() as u64;
        results.duration_ms = (!self.blocks.is_empty()).then_some(milliseconds);
        for program in &self.programs {
            let label = &program.label;
            match (&program.ended, program.blocks) {
                (Some(ended), 0) => {
                    results.notes.push(format!(
                        "{label} has a harness of its own; it ended with {ended} and its tests are not counted"
                    ));
                }
                (None, 0) if !program.is_doc => {
                    results
                        .notes
                        .push(format!("{label} has a harness of its own; it ended well and its tests are not counted"));
                }
                (Some(ended), _) => results.notes.push(format!("{label} ended with {ended}")),
                (None, _) => {}
            }
        }
        if filtered_out > 0 {
            results.notes.push(format!("{filtered_out} tests do not match the filter and did not run"));
        }
        results
    }

    /// Says which program printed which block. The two streams are separate, so their order is only nearly sure: when
    /// there are as many blocks as programs the order of each decides, and else the order of arrival.
    fn assign(&mut self) {
        let plain: Vec<usize> = (0..self.programs.len()).filter(|index| !self.programs[*index].is_doc).collect();
        let doc: Vec<usize> = (0..self.programs.len()).filter(|index| self.programs[*index].is_doc).collect();
        let plain_blocks: Vec<usize> = (0..self.blocks.len()).filter(|index| !self.blocks[*index].is_doc()).collect();
        // A block without tests tells nothing about itself. Programs come before doc-tests, always.
        if self.blocks.len() == self.programs.len() {
            for (block, program) in self.blocks.iter_mut().zip(plain.iter().chain(&doc)) {
                block.program = Some(*program);
            }
        } else if plain_blocks.len() >= plain.len() && self.programs.iter().all(|program| program.ended.is_none()) {
            for (block, program) in self.blocks.iter_mut().zip(&plain) {
                block.program = Some(*program);
            }
        }
        for block in &mut self.blocks {
            if block.is_doc() && block.program.is_none_or(|program| !self.programs[program].is_doc) {
                block.program = doc.first().copied();
            }
            if let Some(program) = block.program {
                self.programs[program].blocks += 1;
            }
        }
    }
}

/// `running 3 tests`.
fn announced(line: &str) -> Option<u64> {
    let rest = line.strip_prefix("running ")?;
    rest.strip_suffix(" tests").or_else(|| rest.strip_suffix(" test"))?.parse().ok()
}

impl Block {
    fn is_doc(&self) -> bool {
        self.tests.first().is_some_and(|(name, _)| name.contains(" - ") && name.ends_with(')'))
    }

    /// `test name ... ok`, in one piece or, with one thread, in two with the test's own output between.
    fn test(&mut self, line: &str) {
        // libtest names a test when it ends, where several run at once; and one that does not, after a minute.
        let slow = line.strip_prefix("test ").and_then(|rest| rest.strip_suffix(" seconds"));
        if let Some((name, _)) = slow.and_then(|rest| rest.rsplit_once(" has been running for over ")) {
            self.slow.push(plain_name(name));
            return;
        }
        let (name, result) = match line.strip_prefix("test ").and_then(|rest| rest.rsplit_once(" ... ")) {
            Some((name, result)) => (name, result),
            None => match (self.open.take(), word_at_end(line)) {
                (Some(name), Some(result)) => {
                    self.tests.push((name, result));
                    return;
                }
                (open, _) => {
                    self.open = open;
                    return;
                }
            },
        };
        let name = plain_name(name);
        match outcome(result) {
            Some(outcome) => {
                self.tests.push((name, outcome));
                self.open = None;
            }
            // The test is printed before it runs, and printed something itself.
            None => match word_at_end(result) {
                Some(outcome) => self.tests.push((name, outcome)),
                None => self.open = Some(name),
            },
        }
    }

    /// `FAILED. 3 passed; 4 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.13s`.
    fn end(&mut self, result: &str) {
        let mut sums = Counts::default();
        for part in result.split(['.', ';']).map(str::trim) {
            let Some((number, word)) = part.split_once(' ') else { continue };
            let Ok(number) = number.parse() else { continue };
            match word {
                "passed" => sums.passed = number,
                "failed" => sums.failed = number,
                "ignored" => sums.skipped = number,
                "filtered out" => self.filtered_out = number,
                _ => {}
            }
        }
        self.sums = Some(sums);
        let seconds = result.rsplit_once("finished in ").and_then(|(_, time)| time.strip_suffix('s')?.parse().ok());
        self.seconds = seconds.unwrap_or(0.0);
    }

    fn add_to(&self, results: &mut Results, suite: Option<&str>) {
        let mut seen = Counts::default();
        for (name, outcome) in &self.tests {
            seen.add(*outcome);
            let name = plain_text::one_line(name);
            results.tests.push(Test { name, suite: suite.map(str::to_owned), outcome: *outcome });
        }
        match &self.sums {
            Some(sums) if *sums != seen => {
                results.counts.add_all(sums);
                results.notes.push(format!(
                    "{}: {} results, of which {} could be told by name",
                    suite.unwrap_or("the test program"),
                    sums.total(),
                    seen.total()
                ));
            }
            Some(sums) => results.counts.add_all(sums),
            None => {
                results.counts.add_all(&seen);
                results.complete = false;
                let slow = self.slow.iter().filter(|name| self.tests.iter().all(|(ended, _)| ended != *name));
                results.running.extend(self.open.iter().chain(slow).map(|name| plain_text::one_line(name)));
                results.notes.push(format!(
                    "{} ended before its tests did: {} of {} have a result",
                    suite.unwrap_or("the test program"),
                    seen.total(),
                    self.announced
                ));
            }
        }
        for (name, _) in self.tests.iter().filter(|(_, outcome)| *outcome == Outcome::Failed) {
            let section = self.failures.iter().find(|(failed, _)| plain_name(failed) == *name);
            let output = plain_text::output(section.map_or("", |(_, text)| text));
            results.failures.push(failure(name, suite, &output));
        }
    }
}

impl Counts {
    fn add_all(&mut self, other: &Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

/// A test's name as `--list` and filters know it.
fn plain_name(name: &str) -> String {
    let suffixes = [" - should panic", " - compile fail", " - compile"];
    suffixes.iter().find_map(|suffix| name.strip_suffix(suffix)).unwrap_or(name).to_owned()
}

fn outcome(result: &str) -> Option<Outcome> {
    match result {
        "ok" => Some(Outcome::Passed),
        "FAILED" => Some(Outcome::Failed),
        _ if result == "ignored" || result.starts_with("ignored, ") => Some(Outcome::Skipped),
        _ if result.starts_with("ok <") => Some(Outcome::Passed),
        _ if result.starts_with("FAILED <") => Some(Outcome::Failed),
        _ => None,
    }
}

/// The result at the end of what a test printed without a line end.
fn word_at_end(line: &str) -> Option<Outcome> {
    if line.ends_with("FAILED") {
        Some(Outcome::Failed)
    } else if line.ends_with("ok") {
        Some(Outcome::Passed)
    } else {
        None
    }
}

/// A failure from its `---- name stdout ----` section. Paths are as rustc wrote them: relative to cargo's workspace.
pub(super) fn failure(name: &str, suite: Option<&str>, output: &str) -> TestFailure {
    let lines: Vec<&str> = output.lines().collect();
    let panic = lines.iter().position(|line| line.starts_with("thread '") && line.contains(" panicked at "));
    let mut place = None;
    let mut message = String::new();
    if let Some(at) = panic {
        let told = lines[at].rsplit_once(" panicked at ").map_or("", |(_, told)| told);
        match told.strip_prefix('\'').and_then(|told| told.rsplit_once("', ")) {
            // Until Rust 1.72: `panicked at 'message', file:line:column`.
            Some((text, location)) => {
                place = Some(location);
                message = text.to_owned();
            }
            None => {
                place = Some(told.trim_end_matches(':'));
                let until = ["note: ", "stack backtrace:"];
                let text = lines[at + 1..].iter().take_while(|line| !until.iter().any(|word| line.starts_with(word)));
                message = text.take(20).copied().collect::<Vec<_>>().join("\n").trim().to_owned();
            }
        }
    } else if let Some(line) = lines.iter().find(|line| line.starts_with("Error: ") || line.starts_with("error")) {
        message = (*line).to_owned();
    } else if let Some(line) = lines.iter().find(|line| line.contains("did not panic")) {
        message = (*line).trim_start_matches("note: ").to_owned();
        place = line.rsplit_once(" at ").map(|(_, place)| place);
    } else if let Some(line) = lines.iter().rev().find(|line| !line.trim().is_empty()) {
        message = (*line).to_owned();
    }
    let mut parts = place.unwrap_or_default().split(':');
    let file = parts.next().filter(|file| file.ends_with(".rs") && !file.starts_with("/tmp/")).map(str::to_owned);
    let line = parts.next().and_then(|line| line.parse().ok());
    // A doc-test is compiled from a copy; its name holds its real place: `src/lib.rs - item (line 9)`.
    let doc = name.split_once(" - ").zip(name.rsplit_once("(line "));
    let (file, line) = match doc {
        Some(((source, _), (_, number))) => (Some(source.to_owned()), number.trim_end_matches(')').parse().ok()),
        None => (file.clone(), line.filter(|_| file.is_some())),
    };
    TestFailure {
        name: plain_text::one_line(name),
        suite: suite.map(str::to_owned),
        file,
        line,
        message,
        output: output.trim().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_lines(lines: &[(Stream, &str)]) -> Results {
        let chunks: Vec<(Stream, String)> = lines.iter().map(|(stream, line)| (*stream, format!("{line}\n"))).collect();
        let chunks: Vec<(Stream, &str)> = chunks.iter().map(|(stream, line)| (*stream, line.as_str())).collect();
        read(&Transcript::of(&chunks))
    }

    #[test]
    fn output_of_children_between_name_and_result_is_no_result() {
        use Stream::Stdout;
        let results = read_lines(&[
            (Stdout, "running 3 tests"),
            (Stdout, "test a ... from a child"),
            (Stdout, "ok"),
            (Stdout, "from another child"),
            (Stdout, "test b - should panic ... ok"),
            (Stdout, "test c ... printed without end FAILED"),
            (
                Stdout,
                "test result: FAILED. 2 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.25s",
            ),
        ]);
        let names: Vec<(&str, Outcome)> = results.tests.iter().map(|test| (test.name.as_str(), test.outcome)).collect();
        assert_eq!(names, [("a", Outcome::Passed), ("b", Outcome::Passed), ("c", Outcome::Failed)]);
        assert_eq!((results.counts.passed, results.counts.failed), (2, 1));
        assert_eq!((results.complete, results.duration_ms), (true, Some(250)));
    }

    #[test]
    fn the_sums_of_the_last_line_win_over_what_could_be_read() {
        use Stream::Stdout;
        let results = read_lines(&[
            (Stdout, "running 2 tests"),
            (Stdout, "noisetest a ... ok"),
            (Stdout, "test b ... ok"),
            (Stdout, "test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s"),
        ]);
        assert_eq!((results.counts.passed, results.tests.len()), (2, 1));
        assert_eq!(results.notes, ["the test program: 2 results, of which 1 could be told by name"]);
    }

    #[test]
    fn a_test_that_still_runs_is_named_once_libtest_has_named_it() {
        use Stream::Stdout;
        let results = read_lines(&[
            (Stdout, "running 3 tests"),
            (Stdout, "test tests::slow has been running for over 60 seconds"),
            (Stdout, "test tests::hangs has been running for over 60 seconds"),
            (Stdout, "test tests::slow ... ok"),
        ]);
        assert_eq!((results.running, results.complete), (vec!["tests::hangs".to_owned()], false));
    }

    #[test]
    fn panics_of_old_and_new_compilers_tell_their_place() {
        let new = failure(
            "t",
            None,
            "\nthread 't' (1) panicked at src/lib.rs:3:9:\nassertion failed\n  left: 1\nnote: run with",
        );
        assert_eq!((new.file.as_deref(), new.line), (Some("src/lib.rs"), Some(3)));
        assert_eq!(new.message, "assertion failed\n  left: 1");
        let old = failure("t", None, "thread 't' panicked at 'no', src/a.rs:4:5\nnote: run with");
        assert_eq!((old.file.as_deref(), old.line, old.message.as_str()), (Some("src/a.rs"), Some(4), "no"));
    }
}
