//! What a check, a formatter or a build showed, as a result: text within a model's budget, and the same as structure.

use cofferdam_contract::{Ended, Exit, Sandbox, WorkspacePath};
use schemars::JsonSchema;
use serde::Serialize;

use crate::{
    Failure, Output, Whole, Written,
    command_line::command_line,
    excerpt::{self, TEXT_BYTES},
    folders,
    place::Place,
    plain_text,
    transcript::{End, Transcript},
};

use super::{
    diagnostic::{Diagnostic, Numbers, Severity},
    read::Reader,
};

/// What listed diagnostics may take together, in bytes of text.
const LIST_BYTES: usize = 14_000;

/// What one message may take, in bytes.
const MESSAGE_BYTES: usize = 600;

/// What one longer explanation may take, in bytes.
const DETAIL_BYTES: usize = 1_500;

/// Paths that are listed.
const PATHS: usize = 50;

/// What it all means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Verdict {
    /// The tool did its work, ended well, and by its own rules all is in order. Warnings may be listed.
    Passed,
    /// The tool did its work and found something to mend.
    Found,
    /// It failed: what was to be built could not be, or the tool could not do its work.
    Failed,
    /// The time limit passed.
    TimedOut,
    /// Another limit was reached.
    LimitReached,
}

/// A file that was built.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct Artifact {
    /// Where it is in the sandbox, relative to the workspace.
    pub(crate) path: String,
    /// What it is: bin, lib, … or file.
    pub(crate) kind: String,
    /// Where it is in the workspace when it was exported.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) exported_as: Option<String>,
}

/// A command to run, and how to read what it says.
pub(crate) struct Errand<'a> {
    pub(crate) tool: &'static str,
    pub(crate) command: cofferdam_contract::Command,
    pub(crate) read: Reader,
    /// Which diagnostics come first: those below this path.
    pub(crate) first: Option<&'a WorkspacePath>,
    /// Whether an ending other than 0 means something to mend, or that it could not be done.
    pub(crate) ending: Ending,
}

/// What another status than 0 means where there are diagnostics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// There is something to mend.
    Check,
    /// It could not be done.
    Make,
}

/// What a run of a tool showed.
pub(crate) struct Report {
    pub(crate) tool: &'static str,
    pub(crate) argv: Vec<String>,
    pub(crate) equivalent: String,
    pub(crate) directory: String,
    pub(crate) verdict: Verdict,
    pub(crate) diagnostics: Vec<Diagnostic>,
    pub(crate) exit: Option<Exit>,
    pub(crate) notes: Vec<String>,
    pub(crate) changed: Option<Vec<String>>,
    pub(crate) artifacts: Option<Vec<Artifact>>,
    /// What the program printed, safe to show.
    output: String,
    pub(crate) transcript: Transcript,
}

/// The structured form.
#[derive(Serialize, JsonSchema)]
pub(crate) struct ReportOutput {
    /// What it all means: only `passed` means that the tool ended well and reports no error.
    verdict: Verdict,
    /// The tool that did it.
    tool: String,
    /// The program and its arguments.
    argv: Vec<String>,
    /// The line that does the same in a terminal.
    equivalent_command: String,
    /// The folder it ran in, relative to the workspace.
    directory: String,
    /// Numbers of all diagnostics, listed or not.
    counts: Numbers,
    /// What the tool says, as far as it fits, errors first.
    diagnostics: Vec<Diagnostic>,
    /// Diagnostics that are not listed.
    diagnostics_omitted: u64,
    /// Files that the tool changed, or would change.
    #[serde(skip_serializing_if = "Option::is_none")]
    changed_files: Option<Vec<String>>,
    /// Changed files that are not listed.
    #[serde(skip_serializing_if = "Option::is_none")]
    changed_files_omitted: Option<u64>,
    /// Files that were built.
    #[serde(skip_serializing_if = "Option::is_none")]
    artifacts: Option<Vec<Artifact>>,
    /// Built files that are not listed.
    #[serde(skip_serializing_if = "Option::is_none")]
    artifacts_omitted: Option<u64>,
    /// The tool's exit status, when it ended by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    exit_code: Option<i32>,
    /// The signal that ended the tool.
    #[serde(skip_serializing_if = "Option::is_none")]
    exit_signal: Option<i32>,
    /// The end of what the tool printed, when the diagnostics do not explain the verdict.
    #[serde(skip_serializing_if = "Option::is_none")]
    output: Option<String>,
    /// What else is to be known, a sentence each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    notes: Vec<String>,
}

impl Errand<'_> {
    /// Runs the command and reads what it says.
    pub(crate) fn run(self, sandbox: &mut dyn Sandbox) -> Result<Report, Failure> {
        sandbox.progress(&format!("running {}", self.tool));
        let transcript = Transcript::execute(sandbox, &self.command)?;
        let workspace = sandbox.workspace().to_owned();
        let directory = &self.command.directory;
        let place = Place { workspace: &workspace, directory };
        let mut diagnostics = (self.read)(&transcript, place, self.tool);
        let outside = |diagnostic: &Diagnostic| {
            let file = diagnostic.file.as_ref().and_then(|file| WorkspacePath::try_from(file.clone()).ok());
            self.first.is_some_and(|first| !file.is_some_and(|file| file.is_within(first)))
        };
        diagnostics.sort_by_key(|diagnostic| (outside(diagnostic), diagnostic.severity));
        let mut notes = Vec::new();
        if transcript.omitted > 0 {
            notes.push(format!(
                "{} bytes of output were beyond the limit; some of what it says is missing",
                transcript.omitted
            ));
        }
        let has_errors = diagnostics.iter().any(|diagnostic| diagnostic.severity == Severity::Error);
        let verdict = match transcript.end {
            Some(End::Exited(Exit::Code(0))) if has_errors => Verdict::Found,
            Some(End::Exited(Exit::Code(0))) => Verdict::Passed,
            Some(End::Exited(Exit::Code(_))) if !diagnostics.is_empty() && self.ending == Ending::Check => {
                Verdict::Found
            }
            Some(End::Exited(Exit::Code(_) | Exit::Signal(_))) => Verdict::Failed,
            Some(End::Cut(ended)) => {
                notes.push(format!("{ended}; what is reported came before that"));
                if ended == Ended::Deadline { Verdict::TimedOut } else { Verdict::LimitReached }
            }
            None => Verdict::Failed,
        };
        let shown = shown_program(&self.command.program, directory);
        let argv: Vec<String> = std::iter::once(&shown).chain(&self.command.arguments).cloned().collect();
        Ok(Report {
            tool: self.tool,
            equivalent: command_line(argv.iter()),
            argv,
            directory: directory.to_string(),
            verdict,
            diagnostics,
            exit: transcript.exit(),
            notes,
            changed: None,
            artifacts: None,
            output: transcript.shown(),
            transcript,
        })
    }
}

/// A program as it is called from its folder: what lies below the workspace is executed by a path from there.
fn shown_program(program: &str, directory: &WorkspacePath) -> String {
    let Some(below) = program.strip_prefix("./") else { return program.to_owned() };
    let Ok(path) = WorkspacePath::try_from(below.to_owned()) else { return program.to_owned() };
    if path.is_within(directory) {
        return format!("./{}", folders::relative(&path, directory).trim_start_matches("./"));
    }
    let up = folders::ancestors(directory).iter().position(|folder| path.is_within(folder)).unwrap_or(0);
    let common = &folders::ancestors(directory)[up];
    format!("{}{}", "../".repeat(up), folders::relative(&path, common).trim_start_matches("./"))
}

impl Report {
    /// What the same run showed elsewhere, as if it had been here; `told` turns what was said there into that.
    pub(crate) fn again(self, elsewhere: Self, told: fn(&str) -> String) -> Self {
        let diagnostics = elsewhere.diagnostics.into_iter().map(|diagnostic| Diagnostic {
            file: diagnostic.file.as_deref().map(told),
            message: told(&diagnostic.message),
            detail: diagnostic.detail.as_deref().map(told),
            ..diagnostic
        });
        Self {
            argv: self.argv,
            equivalent: self.equivalent,
            directory: self.directory,
            diagnostics: diagnostics.collect(),
            output: told(&elsewhere.output),
            ..elsewhere
        }
    }

    /// The result of the call.
    pub(crate) fn output(self, written: Written) -> Output {
        let numbers = Numbers::of(&self.diagnostics);
        let mut text = self.head(numbers);
        let diagnostics = self.listed();
        let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
        let omitted = self.diagnostics.len() - diagnostics.len();
        if !diagnostics.is_empty() {
            text.push('\n');
        }
        for diagnostic in &diagnostics {
            text.push_str(&told(diagnostic));
        }
        if omitted > 0 {
            text.push_str(&format!("[{omitted} more; mend these and run again, or name a file or folder as path]\n"));
        }
        list(&mut text, "Changed", self.changed.as_deref().unwrap_or_default().iter().map(String::clone));
        let artifacts = self.artifacts.as_deref().unwrap_or_default();
        list(
            &mut text,
            "Built",
            artifacts.iter().map(|artifact| match &artifact.exported_as {
                Some(exported) if *exported != artifact.path => {
                    format!("{} ({}), exported as {exported}", artifact.path, artifact.kind)
                }
                Some(_) => format!("{} ({}), exported", artifact.path, artifact.kind),
                None => format!("{} ({})", artifact.path, artifact.kind),
            }),
        );
        let unexplained = match self.verdict {
            Verdict::Passed => false,
            Verdict::Found => self.diagnostics.is_empty() && self.changed.as_ref().is_none_or(Vec::is_empty),
            Verdict::Failed => numbers.errors == 0,
            Verdict::TimedOut | Verdict::LimitReached => true,
        };
        let room = TEXT_BYTES.saturating_sub(text.len() + 200).min(LIST_BYTES);
        let output = unexplained.then(|| excerpt::head_and_tail(self.output.trim_end(), room));
        let output = output.filter(|output| !output.is_empty());
        if let Some(output) = &output {
            text.push_str(&format!("\n{} printed:\n{output}", self.tool));
        }
        let (code, signal) = match self.exit {
            Some(Exit::Code(code)) => (Some(code), None),
            Some(Exit::Signal(signal)) => (None, Some(signal)),
            None => (None, None),
        };
        let structured = ReportOutput {
            verdict: self.verdict,
            tool: self.tool.to_owned(),
            argv: self.argv,
            equivalent_command: self.equivalent,
            directory: self.directory,
            counts: numbers,
            diagnostics,
            diagnostics_omitted: count(omitted),
            changed_files_omitted: self.changed.as_ref().map(|changed| count(changed.len().saturating_sub(PATHS))),
            changed_files: self.changed.map(|changed| changed.into_iter().take(PATHS).collect()),
            artifacts_omitted: self.artifacts.as_ref().map(|built| count(built.len().saturating_sub(PATHS))),
            artifacts: self.artifacts.map(|built| built.into_iter().take(PATHS).collect()),
            exit_code: code,
            exit_signal: signal,
            output,
            notes: self.notes,
        };
        let whole = Whole::list("diagnostics", &self.diagnostics);
        Output { whole: Some(whole), written, exit: self.exit, ..Output::new(text, &structured) }
    }

    fn head(&self, numbers: Numbers) -> String {
        let verdict = match self.verdict {
            Verdict::Passed => "PASSED",
            Verdict::Found => "FOUND",
            Verdict::Failed => "FAILED",
            Verdict::TimedOut => "TIMED OUT",
            Verdict::LimitReached => "LIMIT REACHED",
        };
        let mut told = numbers.told();
        if let Some(changed) = &self.changed {
            told.push_str(&format!(", {} files changed", changed.len()));
        }
        let end = match self.exit {
            Some(Exit::Code(code)) => format!("ended with status {code}"),
            Some(Exit::Signal(signal)) => format!("ended by signal {signal}"),
            None => "was ended with its sandbox".to_owned(),
        };
        let equivalent = plain_text::one_line(&self.equivalent);
        let mut text = format!(
            "{verdict}: {told}\n{} {end}. Same as, in `{}`: {}\n",
            self.tool,
            self.directory,
            excerpt::prefix(&equivalent, 1000)
        );
        for note in &self.notes {
            text.push_str(&format!("[{}]\n", excerpt::prefix(note, 1000)));
        }
        text
    }

    /// The diagnostics that fit, shortened.
    fn listed(&self) -> Vec<Diagnostic> {
        let mut left = LIST_BYTES;
        let shortened = self.diagnostics.iter().map(|diagnostic| Diagnostic {
            message: excerpt::head(&diagnostic.message, MESSAGE_BYTES),
            // What explains a warning is not worth the room that it takes.
            detail: diagnostic
                .detail
                .as_ref()
                .filter(|_| diagnostic.severity == Severity::Error)
                .map(|detail| excerpt::head(detail, DETAIL_BYTES)),
            ..diagnostic.clone()
        });
        shortened
            .take_while(|diagnostic| {
                left = left.saturating_sub(told(diagnostic).len());
                left > 0
            })
            .collect()
    }
}

/// A diagnostic in its lines.
fn told(diagnostic: &Diagnostic) -> String {
    let mut text = format!("{}\n", diagnostic.line());
    for line in diagnostic.detail.iter().flat_map(|detail| detail.lines()) {
        text.push_str(&format!("   | {line}\n"));
    }
    text
}

fn list(text: &mut String, title: &str, items: impl ExactSizeIterator<Item = String>) {
    let number = items.len();
    if number == 0 {
        return;
    }
    text.push_str(&format!("\n{title}:\n"));
    for item in items.take(PATHS) {
        text.push_str(&format!("  {item}\n"));
    }
    if number > PATHS {
        text.push_str(&format!("  and {} more\n", number - PATHS));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(errors: usize, verdict: Verdict) -> Report {
        let error = |number: usize| Diagnostic {
            file: Some("src/a.py".into()),
            line: Some(7),
            detail: Some("explained\n".repeat(1000)),
            ..Diagnostic::new("ruff", Severity::Error, format!("error {number}"))
        };
        Report {
            tool: "ruff",
            argv: vec!["ruff".into()],
            equivalent: "ruff check".into(),
            directory: ".".into(),
            verdict,
            diagnostics: (0..errors).map(error).collect(),
            exit: Some(Exit::Code(1)),
            notes: Vec::new(),
            changed: None,
            artifacts: None,
            output: "x\n".repeat(50_000) + "the last line\n",
            transcript: Transcript::default(),
        }
    }

    #[test]
    fn any_number_of_diagnostics_stays_within_the_budget_and_the_rest_is_counted() {
        for errors in [0, 1, 9, 10, 500] {
            let output = report(errors, Verdict::Found).output(Written::HandedBack);
            assert!(output.text.len() < TEXT_BYTES, "{errors}: {}", output.text.len());
            let listed = output.structured["diagnostics"].as_array().unwrap().len();
            assert_eq!(output.structured["diagnostics_omitted"], errors - listed);
            assert_eq!(listed, errors.min(6), "{errors}");
            assert_eq!(output.structured["counts"]["errors"], errors);
            let whole = output.whole.unwrap().to_json();
            let whole = whole["diagnostics"].as_array().unwrap().len()
                + usize::try_from(whole["omitted"].as_u64().unwrap()).unwrap();
            assert_eq!(whole, errors);
        }
    }

    #[test]
    fn what_no_diagnostic_explains_is_shown_as_it_was_printed() {
        let output = report(0, Verdict::Failed).output(Written::ThrownAway);
        assert!(output.text.ends_with("the last line"), "{}", output.text);
        assert!(!report(1, Verdict::Failed).output(Written::ThrownAway).text.contains("the last line"));
        assert!(report(1, Verdict::TimedOut).output(Written::ThrownAway).text.contains("the last line"));
    }

    #[test]
    fn a_program_is_told_as_it_is_called_from_its_folder() {
        let from =
            |program: &str, directory: &str| shown_program(program, &WorkspacePath::parse(directory, "/work").unwrap());
        assert_eq!(from("ruff", "a"), "ruff");
        assert_eq!(from("./.venv/bin/ruff", "."), "./.venv/bin/ruff");
        assert_eq!(from("./a/node_modules/.bin/x", "a"), "./node_modules/.bin/x");
        assert_eq!(from("./node_modules/.bin/x", "a/b"), "../../node_modules/.bin/x");
        assert_eq!(from("./a/.venv/bin/x", "a/b"), "../.venv/bin/x");
    }
}
