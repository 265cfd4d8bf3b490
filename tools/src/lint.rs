//! `lint`: runs the project's own linter and tells what it finds.
//!
//! It changes nothing, unless the call asks for the linter's own fixes; then the files of the linter's language come back.

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
        joined, read,
        report::{Ending, Errand, ReportOutput, Verdict},
    },
    project_signs::Signs,
    run_tests::node_script::{self, Quoting},
    schema,
};

/// Lints a project.
pub(crate) struct LintTool;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct LintForm {
    /// A project's folder, or a file or folder in it. Default: the workspace.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<schema::PathText>")]
    path: Option<WorkspacePath>,
    /// Default: found from the files, in this order.
    #[serde(skip_serializing_if = "Option::is_none")]
    tool: Option<Linter>,
    /// `report` changes nothing; `fix` also lets the linter mend what it can. Default: report.
    #[serde(skip_serializing_if = "Option::is_none")]
    mode: Option<LintMode>,
    /// Seconds it may take. Default 600.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 3600))]
    timeout_seconds: Option<u64>,
}

impl Form for LintForm {
    const ALIASES: &'static [(&'static str, &'static str)] =
        &[("file_path", "path"), ("file", "path"), ("directory", "path"), ("linter", "tool")];
}

/// Whether a linter may change files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum LintMode {
    /// It only tells.
    Report,
    /// It mends what it can and tells the rest.
    Fix,
}

/// A linter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Linter {
    /// `cargo clippy`.
    Clippy,
    /// `ruff check`.
    Ruff,
    /// `eslint`.
    Eslint,
    /// `go vet`.
    GoVet,
    /// The script `lint` of `package.json`.
    Npm,
    /// The target `lint` of the makefile.
    Make,
}

impl Kind for Linter {
    const ALL: &'static [Self] = &[Self::Clippy, Self::Ruff, Self::Eslint, Self::GoVet, Self::Npm, Self::Make];
    const ERRAND: &'static str = "lint";

    fn name(self) -> &'static str {
        match self {
            Self::Clippy => "clippy",
            Self::Ruff => "ruff",
            Self::Eslint => "eslint",
            Self::GoVet => "go_vet",
            Self::Npm => "npm",
            Self::Make => "make",
        }
    }

    fn fit(self, signs: &Signs, python: PythonFiles) -> Fit {
        let configured = match self {
            Self::Clippy => signs.has("Cargo.toml"),
            Self::Ruff => signs.has("ruff.toml") || signs.has(".ruff.toml") || signs.python_says("[tool.ruff"),
            Self::Eslint => signs.has_beginning(&["eslint.config.", ".eslintrc"]) || signs.package_has("eslintConfig"),
            Self::GoVet => signs.has("go.mod"),
            Self::Npm => signs.script("lint").is_some(),
            Self::Make => signs.first_target(&["lint"]).is_some(),
        };
        match self {
            _ if configured => Fit::Configured,
            Self::Ruff if python == PythonFiles::Present => Fit::IfInstalled,
            Self::Eslint if signs.needs("eslint") => Fit::IfInstalled,
            Self::Clippy | Self::Ruff | Self::Eslint | Self::GoVet | Self::Npm | Self::Make => Fit::Not,
        }
    }

    fn extensions(self) -> &'static [&'static str] {
        match self {
            Self::Clippy => &["rs", "toml"],
            Self::Ruff => PYTHON,
            Self::Eslint => SCRIPTS,
            Self::GoVet => &["go", "mod"],
            Self::Npm | Self::Make => &[],
        }
    }

    fn program(self) -> &'static str {
        match self {
            Self::Clippy => "cargo-clippy",
            Self::Ruff => "ruff",
            Self::Eslint => "eslint",
            Self::GoVet => "go",
            Self::Npm => "npm",
            Self::Make => "make",
        }
    }

    fn looked_for(self) -> &'static str {
        match self {
            Self::Clippy => "Cargo.toml",
            Self::Ruff => "ruff.toml, [tool.ruff] in pyproject.toml, or Python files and an installed ruff",
            Self::Eslint => "eslint.config.*, .eslintrc*, or eslint in package.json and installed",
            Self::GoVet => "go.mod",
            Self::Npm => "a script `lint` in package.json",
            Self::Make => "a target `lint` in a makefile",
        }
    }
}

/// The endings of the files that some linter here can mend.
const MENDED: &[&str] = &joined::<14>(&[&["rs"], PYTHON, SCRIPTS]);

impl Tool for LintTool {
    fn name(&self) -> &str {
        "lint"
    }

    fn title(&self) -> &str {
        "Lint"
    }

    fn description(&self) -> &str {
        "Runs the project's own linter and lists what it finds: file, line, column, severity, code and message. The \
         linter is found from the files: clippy, ruff, eslint, go vet, else the script `lint` of package.json or the \
         target `lint` of a makefile; `tool` chooses where several fit. Nothing is changed, unless mode is \"fix\": then what the linter can mend by itself is mended, \
         those files reach the workspace, and what is left is listed. Verdict: passed (in order by the project's own \
         settings; warnings may still be listed), found (something to mend), failed (the linter could not work, and its \
         output says why). There is no network: all must be installed on the host. After 45 seconds it answers status \"running\" and a run_id for get_run."
    }

    fn annotations(&self) -> Annotations {
        Annotations { read_only: false, destructive: false, idempotent: true, open_world: false }
    }

    fn input_schema(&self) -> Map<String, Value> {
        schema::input::<LintForm>()
    }

    fn output_schema(&self) -> Map<String, Value> {
        schema::output::<ReportOutput>()
    }

    fn plan(&self, arguments: &Map<String, Value>, project: &Project) -> Result<Plan, ArgumentError> {
        let form = arguments::parse::<LintForm>(arguments, project)?.form;
        let hand_back = match form.mode.unwrap_or(LintMode::Report) {
            LintMode::Report => HandBack::Nothing,
            LintMode::Fix => {
                let extensions = form.tool.map_or(MENDED, Kind::extensions);
                checks::mended(form.path.as_ref(), if extensions.is_empty() { MENDED } else { extensions })
            }
        };
        let limits = checks::limits(form.timeout_seconds);
        Ok(Plan { hand_back, ..arguments::routine(self.name(), &form, Work::Execute, limits) })
    }

    fn notes(&self, arguments: &Map<String, Value>, project: &Project) -> Vec<String> {
        arguments::parse::<LintForm>(arguments, project).map(|parsed| parsed.notes).unwrap_or_default()
    }

    fn run(&self, plan: &Plan, sandbox: &mut dyn Sandbox) -> Result<Output, Failure> {
        let form: LintForm = arguments::recall(plan)?;
        let path = form.path.clone().unwrap_or_else(WorkspacePath::workspace);
        sandbox.progress("looking for the linter");
        let chosen = choose(sandbox, &path, form.tool)?;
        let mode = form.mode.unwrap_or(LintMode::Report);
        let errand = errand(&chosen, mode)?;
        let mark = match mode {
            LintMode::Report => None,
            LintMode::Fix => Mark::set(sandbox)?,
        };
        let mut report = errand.run(sandbox)?;
        report.notes.extend(checks::others_note(&chosen, form.tool));
        match chosen.tool {
            Linter::Clippy | Linter::Npm | Linter::Make => report.notes.extend(chosen.whole_only()),
            Linter::Ruff | Linter::Eslint | Linter::GoVet => {}
        }
        if let Some(mark) = mark.filter(|_| report.exit.is_some()) {
            report.changed = mark.changed_of(sandbox, chosen.tool.extensions())?;
        }
        // A linter that leaves something to mend has done its work; one that could not work has left half of it.
        let written = match (report.verdict, report.exit) {
            (Verdict::Passed | Verdict::Found, Some(_)) => Written::HandedBack,
            (Verdict::Failed | Verdict::TimedOut | Verdict::LimitReached, _) | (_, None) => Written::ThrownAway,
        };
        Ok(report.output(written))
    }
}

/// The command of the linter.
fn errand(chosen: &Chosen<Linter>, mode: LintMode) -> Result<Errand<'_>, Failure> {
    let fixes = mode == LintMode::Fix;
    let target = chosen.target();
    let (command, read): (_, read::Reader) = match chosen.tool {
        Linter::Clippy => {
            let mut arguments = vec!["clippy", "--offline", "--all-targets", "--message-format=json"];
            if fixes {
                arguments.extend(["--fix", "--allow-dirty", "--allow-staged", "--allow-no-vcs"]);
            }
            (checks::cargo_command(chosen, &arguments), read::cargo)
        }
        Linter::Ruff => {
            let mut arguments = vec!["check", "--no-cache", "--output-format=json"];
            // Said either way: a project's own settings may mend unasked, and what is mended in the sandbox is not reported.
            arguments.push(if fixes { "--fix" } else { "--no-fix" });
            arguments.push(&target);
            (checks::command(chosen, &arguments), read::ruff)
        }
        Linter::Eslint => {
            let own = eslint_arguments(chosen.signs.script("lint").unwrap_or_default());
            let files: Vec<&str> = match (&chosen.part, &own.files[..]) {
                (Some(_), _) | (None, []) => vec![&target],
                (None, files) => files.iter().map(String::as_str).collect(),
            };
            let mut arguments = vec!["--format", "json"];
            arguments.extend(fixes.then_some("--fix"));
            arguments.extend(own.options.iter().map(String::as_str));
            arguments.extend(files);
            (checks::command(chosen, &arguments), read::eslint)
        }
        Linter::GoVet if fixes => return Err(no_fixes(chosen.tool)),
        Linter::GoVet => (checks::command(chosen, &["vet", "-json", &checks::go_packages(chosen)]), read::go_vet),
        Linter::Npm | Linter::Make if fixes => return Err(no_fixes(chosen.tool)),
        Linter::Npm => (checks::command(chosen, &["run", "--silent", "lint"]), read::lines),
        Linter::Make => (checks::command(chosen, &["lint"]), read::lines),
    };
    let first = chosen.part.as_ref().map(|part| part.path());
    Ok(Errand { tool: chosen.tool.name(), command, read, first, ending: Ending::Check })
}

fn no_fixes(linter: Linter) -> Failure {
    let text = format!(
        "`{}` has no mode that mends; leave mode out, and change the files with edit_file (or name another tool)",
        linter.name()
    );
    Failure::new("no_fixes", text)
}

/// What a project's own script gives eslint besides a format.
#[derive(Debug, Default, PartialEq, Eq)]
struct EslintArguments {
    options: Vec<String>,
    files: Vec<String>,
}

/// Options of eslint that take the next word as their value.
const WITH_VALUE: [&str; 13] = [
    "-c",
    "--config",
    "--ext",
    "--env",
    "--global",
    "--parser",
    "--parser-options",
    "--plugin",
    "--rule",
    "--rulesdir",
    "--ignore-path",
    "--ignore-pattern",
    "--max-warnings",
];

/// Options that are not the script's to choose here, with whether they take a value: what is printed, what is changed.
const OURS: [(&str, bool); 9] = [
    ("-f", true),
    ("--format", true),
    ("-o", true),
    ("--output-file", true),
    ("--fix", false),
    ("--fix-dry-run", false),
    ("--color", false),
    ("--cache", false),
    ("--cache-location", true),
];

/// Reads a script that runs eslint and nothing else; any other script tells nothing.
fn eslint_arguments(script: &str) -> EslintArguments {
    let words = node_script::words(script).unwrap_or_default();
    let mut own = EslintArguments::default();
    let mut rest = match node_script::unwrapped(&words) {
        [(program, _), rest @ ..] if program == "eslint" => rest.iter(),
        _ => return own,
    };
    while let Some((word, quoting)) = rest.next() {
        let name = word.split_once('=').map_or(word.as_str(), |(name, _)| name);
        if let Some((_, takes_value)) = OURS.iter().find(|(ours, _)| *ours == name) {
            if *takes_value && !word.contains('=') {
                rest.next();
            }
        } else if word.starts_with('-') {
            own.options.push(word.clone());
            if WITH_VALUE.contains(&word.as_str()) {
                own.options.extend(rest.next().map(|(value, _)| value.clone()));
            }
        } else {
            // eslint expands globs itself, whether a shell would have or not.
            let (Quoting::Bare | Quoting::Quoted) = quoting;
            own.files.push(word.clone());
        }
    }
    own
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn plan(arguments: Value) -> Plan {
        let Value::Object(arguments) = arguments else { unreachable!() };
        LintTool.plan(&arguments, &Project { workspace: "/work".into() }).unwrap()
    }

    #[test]
    fn nothing_comes_back_unless_fixes_are_asked_for() {
        assert_eq!(plan(json!({})).hand_back, HandBack::Nothing);
        assert_eq!(plan(json!({"mode": "report", "path": "src"})).hand_back, HandBack::Nothing);
        let HandBack::Matching(globs) = plan(json!({"mode": "fix"})).hand_back else { panic!() };
        assert!(globs.contains(&"**/*.py".into()) && globs.iter().all(|glob| glob.starts_with("**/*.")));
        assert_eq!(
            plan(json!({"mode": "fix", "tool": "clippy"})).hand_back,
            HandBack::Matching(vec!["**/*.rs".into()])
        );
        let src = WorkspacePath::parse("src", "/work").unwrap();
        assert_eq!(plan(json!({"mode": "fix", "path": "src"})).hand_back, HandBack::Paths(vec![src]));
    }

    #[test]
    fn a_script_s_own_options_are_kept_and_what_it_prints_or_changes_is_not() {
        let own = |script| {
            let EslintArguments { options, files } = eslint_arguments(script);
            (options.join(" "), files.join(" "))
        };
        let both = |options: &str, files: &str| (options.to_owned(), files.to_owned());
        assert_eq!(own("eslint --ext .ts,.tsx src test --fix -f stylish"), both("--ext .ts,.tsx", "src test"));
        assert_eq!(own("NODE_ENV=x eslint 'src/**/*.js' --max-warnings=0"), both("--max-warnings=0", "src/**/*.js"));
        assert_eq!(own("eslint . && prettier --check ."), both("", ""));
        assert_eq!(own("standard"), both("", ""));
    }
}
