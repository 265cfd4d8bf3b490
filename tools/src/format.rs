//! `format`: lets the project's own formatter rewrite files, or tells which it would rewrite.
//!
//! Both are done the same way, by letting it write in the sandbox; whether that comes back is the plan's. So what is told
//! does not depend on what each formatter prints when it only checks.

use std::collections::BTreeSet;

use cofferdam_contract::{HandBack, Plan, Sandbox, Work, WorkspacePath};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{
    Annotations, ArgumentError, Failure, Output, Project, Tool, Written,
    arguments::{self, Form},
    checks::{
        self, PYTHON, SCRIPTS,
        changed::Mark,
        choice::{Chosen, Fit, Kind, PythonFiles, choose},
        joined,
        others::{Copies, Unwritable, Writing},
        read,
        report::{Ending, Errand, ReportOutput, Verdict},
    },
    command_line::command_line,
    project_signs::Signs,
    schema,
};

/// Formats a project.
pub(crate) struct FormatTool;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct FormatForm {
    /// A project's folder, or a file or folder in it. Default: the workspace.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<schema::PathText>")]
    path: Option<WorkspacePath>,
    /// Default: found from the files, in this order.
    #[serde(skip_serializing_if = "Option::is_none")]
    tool: Option<Formatter>,
    /// `write` formats; `check` changes nothing and lists the files that would change. Default: write.
    #[serde(skip_serializing_if = "Option::is_none")]
    mode: Option<FormatMode>,
    /// Seconds it may take. Default 600.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 3600))]
    timeout_seconds: Option<u64>,
}

impl Form for FormatForm {
    const ALIASES: &'static [(&'static str, &'static str)] =
        &[("file_path", "path"), ("file", "path"), ("directory", "path"), ("formatter", "tool")];
}

/// Whether files are rewritten.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum FormatMode {
    /// They are.
    Write,
    /// It is only told which would be.
    Check,
}

/// A formatter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Formatter {
    /// `cargo fmt`.
    Rustfmt,
    /// `ruff format`.
    Ruff,
    /// `black`.
    Black,
    /// `prettier`.
    Prettier,
    /// `gofmt`.
    Gofmt,
    /// The script `format` or `fmt` of `package.json`.
    Npm,
    /// The target `format` or `fmt` of the makefile.
    Make,
}

/// Names that projects give to what formats.
const NAMES: &[&str] = &["format", "fmt", "format:write", "format:fix"];

/// The endings that prettier rewrites, of files that are worked on by hand.
const PRETTIER: &[&str] = &joined::<23>(&[
    SCRIPTS,
    &["json", "jsonc", "json5", "css", "scss", "less", "html", "md", "mdx", "yaml", "yml", "graphql", "gql"],
]);

/// The endings of what some formatter here rewrites.
const ALL: &[&str] = &joined::<33>(&[&["rs"], PYTHON, &["go"], PRETTIER, &["c", "h", "cc", "cpp", "hpp"]]);

impl Kind for Formatter {
    const ALL: &'static [Self] =
        &[Self::Rustfmt, Self::Ruff, Self::Black, Self::Prettier, Self::Gofmt, Self::Npm, Self::Make];
    const ERRAND: &'static str = "format";

    fn name(self) -> &'static str {
        match self {
            Self::Rustfmt => "rustfmt",
            Self::Ruff => "ruff",
            Self::Black => "black",
            Self::Prettier => "prettier",
            Self::Gofmt => "gofmt",
            Self::Npm => "npm",
            Self::Make => "make",
        }
    }

    fn fit(self, signs: &Signs, python: PythonFiles) -> Fit {
        let configured = match self {
            Self::Rustfmt => signs.has("Cargo.toml"),
            Self::Ruff => signs.python_says("[tool.ruff.format"),
            Self::Black => signs.python_says("[tool.black"),
            Self::Prettier => {
                signs.has_beginning(&[".prettierrc", "prettier.config."]) || signs.package_has("prettier")
            }
            Self::Gofmt => signs.has("go.mod"),
            Self::Npm => signs.first_script(NAMES).is_some(),
            Self::Make => signs.first_target(NAMES).is_some(),
        };
        match self {
            _ if configured => Fit::Configured,
            Self::Ruff | Self::Black if python == PythonFiles::Present => Fit::IfInstalled,
            Self::Prettier if signs.needs("prettier") => Fit::IfInstalled,
            Self::Rustfmt | Self::Ruff | Self::Black | Self::Prettier | Self::Gofmt | Self::Npm | Self::Make => {
                Fit::Not
            }
        }
    }

    fn extensions(self) -> &'static [&'static str] {
        match self {
            Self::Rustfmt => &["rs", "toml"],
            Self::Ruff | Self::Black => PYTHON,
            Self::Prettier => PRETTIER,
            Self::Gofmt => &["go", "mod"],
            Self::Npm | Self::Make => &[],
        }
    }

    fn program(self) -> &'static str {
        match self {
            Self::Rustfmt => "cargo-fmt",
            Self::Ruff => "ruff",
            Self::Black => "black",
            Self::Prettier => "prettier",
            Self::Gofmt => "gofmt",
            Self::Npm => "npm",
            Self::Make => "make",
        }
    }

    fn looked_for(self) -> &'static str {
        match self {
            Self::Rustfmt => "Cargo.toml",
            Self::Ruff => "[tool.ruff.format] in pyproject.toml, or Python files and an installed ruff",
            Self::Black => "[tool.black] in pyproject.toml, or Python files and an installed black",
            Self::Prettier => ".prettierrc*, prettier.config.*, or prettier in package.json and installed",
            Self::Gofmt => "go.mod",
            Self::Npm => "a script `format` or `fmt` in package.json",
            Self::Make => "a target `format` or `fmt` in a makefile",
        }
    }
}

impl Tool for FormatTool {
    fn name(&self) -> &str {
        "format"
    }

    fn title(&self) -> &str {
        "Format"
    }

    fn description(&self) -> &str {
        "Formats files with the project's own formatter and lists those that changed; they reach the workspace. With \
         mode \"check\" nothing is changed, and the files that would change are listed. The formatter is found from \
         the files: rustfmt, ruff, black, prettier, gofmt, else the script `format` of package.json or the target \
         `format` of a makefile; `tool` chooses where several fit. With `path` only what lies there comes back. \
         Without path, source and text files of the formatter's kinds come back, nothing else. Verdict: passed (all is \
         formatted now), found (some files are not formatted), failed (the formatter could not work, often because of \
         a syntax error, which is listed; then nothing comes back). After 45 seconds it answers status \"running\" and \
         a run_id for get_run."
    }

    fn annotations(&self) -> Annotations {
        Annotations { read_only: false, destructive: false, idempotent: true, open_world: false }
    }

    fn input_schema(&self) -> Map<String, Value> {
        schema::input::<FormatForm>()
    }

    fn output_schema(&self) -> Map<String, Value> {
        schema::output::<ReportOutput>()
    }

    fn plan(&self, arguments: &Map<String, Value>, project: &Project) -> Result<Plan, ArgumentError> {
        let form = arguments::parse::<FormatForm>(arguments, project)?.form;
        let hand_back = match (form.mode.unwrap_or(FormatMode::Write), form.tool) {
            (FormatMode::Check, _) => HandBack::Nothing,
            // Which files a project's own command formats is the project's to say, where it is asked for by name.
            (FormatMode::Write, Some(Formatter::Npm | Formatter::Make)) if form.path.is_none() => HandBack::Tree,
            (FormatMode::Write, tool) => {
                let extensions = tool.map_or(ALL, rewritten);
                checks::mended(form.path.as_ref(), if extensions.is_empty() { ALL } else { extensions })
            }
        };
        let limits = checks::limits(form.timeout_seconds);
        Ok(Plan { hand_back, ..arguments::routine(self.name(), &form, Work::Execute, limits) })
    }

    fn notes(&self, arguments: &Map<String, Value>, project: &Project) -> Vec<String> {
        arguments::parse::<FormatForm>(arguments, project).map(|parsed| parsed.notes).unwrap_or_default()
    }

    fn run(&self, plan: &Plan, sandbox: &mut dyn Sandbox) -> Result<Output, Failure> {
        let form: FormatForm = arguments::recall(plan)?;
        let path = form.path.clone().unwrap_or_else(WorkspacePath::workspace);
        sandbox.progress("looking for the formatter");
        let chosen = choose(sandbox, &path, form.tool)?;
        let mode = form.mode.unwrap_or(FormatMode::Write);
        let Some(mark) = Mark::set(sandbox)? else {
            let text = "the sandbox lacks `touch` or `find`, without which nobody could tell what was formatted";
            return Err(Failure::new("no_program", text));
        };
        let mut report = errand(&chosen).run(sandbox)?;
        let mut formatted_copies = None;
        // Programs say in their own words why; whether there are such files is a fact.
        let in_the_way = match report.verdict {
            Verdict::Failed => Unwritable::find(sandbox, rewritten(chosen.tool))?,
            Verdict::Passed | Verdict::Found | Verdict::TimedOut | Verdict::LimitReached => None,
        };
        if let Some(unwritable) = in_the_way {
            // What it wrote before it came to such a file.
            let written = mark.changed_of(sandbox, rewritten(chosen.tool))?.unwrap_or_default();
            if let Some(copies) = Copies::make(sandbox, unwritable)? {
                let mut errand = errand(&chosen);
                errand.command.directory = copies.of(&chosen.directory);
                report = report.again(errand.run(sandbox)?, Copies::without);
                formatted_copies = Some((copies, written));
            }
        }
        if let (FormatMode::Check, Some(words)) = (mode, check_words(&chosen)) {
            report.equivalent = command_line(report.argv.iter().take(1).chain(&words));
        }
        report.notes.extend(checks::others_note(&chosen, form.tool));
        match chosen.tool {
            Formatter::Rustfmt | Formatter::Npm | Formatter::Make => report.notes.extend(chosen.whole_only()),
            Formatter::Ruff | Formatter::Black | Formatter::Prettier | Formatter::Gofmt => {}
        }
        // A formatter that ends well says nothing that is to be mended, whatever it prints.
        if report.verdict == Verdict::Found {
            let ended_well = report.exit == Some(cofferdam_contract::Exit::Code(0));
            report.verdict = if ended_well { Verdict::Passed } else { Verdict::Failed };
            if ended_well {
                report.diagnostics.clear();
            }
        }
        if report.verdict != Verdict::Passed {
            report
                .notes
                .push("nothing is formatted: what the formatter wrote before it failed is thrown away".to_owned());
            return Ok(report.output(Written::ThrownAway));
        }
        report.changed = match formatted_copies {
            None => mark.changed_of(sandbox, rewritten(chosen.tool))?,
            Some((copies, written)) => {
                let writing = if mode == FormatMode::Check { Writing::Told } else { Writing::Done };
                let (changed, left) = copies.bring_back(sandbox, rewritten(chosen.tool), writing)?;
                // Not all is formatted, and what could be comes back.
                if !left.is_empty() {
                    report.verdict = Verdict::Found;
                }
                report.notes.extend(left);
                let all: BTreeSet<String> = changed.into_iter().chain(written).collect();
                Some(all.into_iter().collect())
            }
        };
        match (mode, &report.changed) {
            (FormatMode::Check, Some(changed)) if !changed.is_empty() => {
                report.verdict = Verdict::Found;
                report.notes.push("nothing was changed: the files that are listed as changed would be".to_owned());
            }
            (FormatMode::Check | FormatMode::Write, Some(_)) => {}
            (FormatMode::Check | FormatMode::Write, None) => {
                return Err(Failure::new("failed", "what was formatted cannot be told; nothing comes back. Try again"));
            }
        }
        Ok(report.output(Written::HandedBack))
    }
}

/// The endings of what a formatter rewrites: of the files that it is for, and of those that it comes across.
fn rewritten(formatter: Formatter) -> &'static [&'static str] {
    match formatter {
        // Since 0.17 the Python in Markdown's code blocks as well. An older one is not asked for a Markdown file by name,
        // which it would take for Python: it is not for them.
        Formatter::Ruff => &["py", "pyi", "ipynb", "md"],
        Formatter::Rustfmt
        | Formatter::Black
        | Formatter::Prettier
        | Formatter::Gofmt
        | Formatter::Npm
        | Formatter::Make => formatter.extensions(),
    }
}

/// The command of the formatter.
fn errand(chosen: &Chosen<Formatter>) -> Errand<'_> {
    let target = chosen.target();
    let command = match chosen.tool {
        Formatter::Rustfmt => checks::cargo_command(chosen, &["fmt", "--all"]),
        Formatter::Ruff => checks::command(chosen, &["format", "--no-cache", &target]),
        Formatter::Black => checks::command(chosen, &[&target]),
        Formatter::Prettier => checks::command(chosen, &["--write", "--list-different", &target]),
        Formatter::Gofmt => checks::command(chosen, &["-w", &target]),
        Formatter::Npm => {
            checks::command(chosen, &["run", "--silent", chosen.signs.first_script(NAMES).unwrap_or("format")])
        }
        Formatter::Make => checks::command(chosen, &[chosen.signs.first_target(NAMES).unwrap_or("format")]),
    };
    let first = chosen.part.as_ref().map(|part| part.path());
    let read: read::Reader = match chosen.tool {
        Formatter::Rustfmt => read::rustfmt,
        Formatter::Ruff
        | Formatter::Black
        | Formatter::Prettier
        | Formatter::Gofmt
        | Formatter::Npm
        | Formatter::Make => read::lines,
    };
    Errand { tool: chosen.tool.name(), command, read, first, ending: Ending::Make }
}

/// The words with which the formatter itself only checks, for a person's terminal; `None` where the project's own command
/// formats.
fn check_words(chosen: &Chosen<Formatter>) -> Option<Vec<String>> {
    let target = chosen.target();
    let words: &[&str] = match chosen.tool {
        Formatter::Rustfmt => &["fmt", "--all", "--check"],
        Formatter::Ruff => &["format", "--no-cache", "--check", &target],
        Formatter::Black | Formatter::Prettier => &["--check", &target],
        Formatter::Gofmt => &["-l", &target],
        Formatter::Npm | Formatter::Make => return None,
    };
    Some(words.iter().map(|word| (*word).to_owned()).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn hand_back(arguments: Value) -> HandBack {
        let Value::Object(arguments) = arguments else { unreachable!() };
        FormatTool.plan(&arguments, &Project { workspace: "/work".into() }).unwrap().hand_back
    }

    #[test]
    fn only_what_a_formatter_is_for_comes_back() {
        let HandBack::Matching(globs) = hand_back(json!({})) else { panic!() };
        assert!(
            globs.iter().all(|glob| glob.starts_with("**/*.")) && !globs.contains(&"**/*.toml".into()),
            "{globs:?}"
        );
        assert_eq!(hand_back(json!({"tool": "gofmt"})), HandBack::Matching(vec!["**/*.go".into()]));
        let ruff = ["py", "pyi", "ipynb", "md"].map(|extension| format!("**/*.{extension}"));
        assert_eq!(hand_back(json!({"tool": "ruff"})), HandBack::Matching(ruff.into()));
        let path = WorkspacePath::parse("src/a.rs", "/work").unwrap();
        assert_eq!(hand_back(json!({"path": "src/a.rs", "tool": "make"})), HandBack::Paths(vec![path]));
        assert_eq!(hand_back(json!({"tool": "make"})), HandBack::Tree);
        for check in [json!({"mode": "check"}), json!({"mode": "check", "tool": "make"})] {
            assert_eq!(hand_back(check), HandBack::Nothing);
        }
    }
}
