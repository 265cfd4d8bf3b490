//! `check_types`: runs the project's own type checker, or its compiler as one, and tells what does not fit together.

use cofferdam_contract::{Plan, Sandbox, Work, WorkspacePath};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{
    Annotations, ArgumentError, Failure, Output, Project, Tool, Written,
    arguments::{self, Form},
    checks::{
        self, PYTHON,
        choice::{Chosen, Fit, Kind, PythonFiles, choose},
        read,
        report::{Ending, Errand, ReportOutput},
    },
    folders,
    project_files::text,
    project_signs::Signs,
    schema,
};

/// Checks a project's types.
pub(crate) struct CheckTypesTool;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct CheckTypesForm {
    /// A project's folder, or a file or folder in it. Default: the workspace.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<schema::PathText>")]
    path: Option<WorkspacePath>,
    /// Default: found from the files, in this order.
    #[serde(skip_serializing_if = "Option::is_none")]
    tool: Option<TypeChecker>,
    /// Seconds it may take. Default 600.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 3600))]
    timeout_seconds: Option<u64>,
}

impl Form for CheckTypesForm {
    const ALIASES: &'static [(&'static str, &'static str)] =
        &[("file_path", "path"), ("file", "path"), ("directory", "path"), ("checker", "tool")];
}

/// A type checker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum TypeChecker {
    /// `cargo check`.
    Cargo,
    /// `mypy`.
    Mypy,
    /// `pyright`.
    Pyright,
    /// `tsc`.
    Tsc,
    /// `go build`.
    Go,
    /// The script `typecheck` of `package.json`.
    Npm,
    /// The target `typecheck` of the makefile.
    Make,
}

/// Names that projects give to what checks types.
const NAMES: &[&str] = &["typecheck", "type-check", "check-types", "check:types", "types", "tsc"];

impl Kind for TypeChecker {
    const ALL: &'static [Self] = &[Self::Cargo, Self::Mypy, Self::Pyright, Self::Tsc, Self::Go, Self::Npm, Self::Make];
    const ERRAND: &'static str = "check types";

    fn name(self) -> &'static str {
        match self {
            Self::Cargo => "cargo",
            Self::Mypy => "mypy",
            Self::Pyright => "pyright",
            Self::Tsc => "tsc",
            Self::Go => "go",
            Self::Npm => "npm",
            Self::Make => "make",
        }
    }

    fn fit(self, signs: &Signs, python: PythonFiles) -> Fit {
        let configured = match self {
            Self::Cargo => signs.has("Cargo.toml"),
            Self::Mypy => {
                signs.has("mypy.ini")
                    || signs.has(".mypy.ini")
                    || signs.python_says("[tool.mypy")
                    || signs.python_says("[mypy")
            }
            Self::Pyright => signs.has("pyrightconfig.json") || signs.python_says("[tool.pyright"),
            Self::Tsc => signs.has("tsconfig.json"),
            Self::Go => signs.has("go.mod"),
            Self::Npm => signs.first_script(NAMES).is_some(),
            Self::Make => signs.first_target(NAMES).is_some(),
        };
        match self {
            _ if configured => Fit::Configured,
            Self::Mypy | Self::Pyright if python == PythonFiles::Present => Fit::IfInstalled,
            Self::Cargo | Self::Mypy | Self::Pyright | Self::Tsc | Self::Go | Self::Npm | Self::Make => Fit::Not,
        }
    }

    fn extensions(self) -> &'static [&'static str] {
        match self {
            Self::Cargo => &["rs", "toml"],
            Self::Mypy | Self::Pyright => PYTHON,
            Self::Tsc => checks::SCRIPTS,
            Self::Go => &["go", "mod"],
            Self::Npm | Self::Make => &[],
        }
    }

    fn program(self) -> &'static str {
        self.name()
    }

    fn looked_for(self) -> &'static str {
        match self {
            Self::Cargo => "Cargo.toml",
            Self::Mypy => "mypy.ini, [tool.mypy] in pyproject.toml, or Python files and an installed mypy",
            Self::Pyright => {
                "pyrightconfig.json, [tool.pyright] in pyproject.toml, or Python files and an installed pyright"
            }
            Self::Tsc => "tsconfig.json",
            Self::Go => "go.mod",
            Self::Npm => "a script `typecheck` in package.json",
            Self::Make => "a target `typecheck` in a makefile",
        }
    }
}

impl Tool for CheckTypesTool {
    fn name(&self) -> &str {
        "check_types"
    }

    fn title(&self) -> &str {
        "Check types"
    }

    fn description(&self) -> &str {
        "Runs the project's own type checker, or its compiler without building anything, and lists what it finds: \
         file, line, column, code and message. It is found from the files: cargo check, mypy, pyright, tsc, go, else \
         the script `typecheck` of package.json or the target `typecheck` of a makefile; `tool` chooses where several \
         fit. With `path` mypy and pyright look at that alone, the others at the whole project, and list what is there \
         first. Faster than build or run_tests: use it after each change. Nothing is changed. Verdict: passed (no \
         error), found (errors are listed), failed (the checker could not work, and its output says why). There is no \
         network: all must be installed on the host. After 45 seconds it answers status \"running\" and a run_id for \
         get_run."
    }

    fn annotations(&self) -> Annotations {
        // It executes programs, and nothing of what they write comes back.
        Annotations { read_only: true, destructive: false, idempotent: true, open_world: false }
    }

    fn input_schema(&self) -> Map<String, Value> {
        schema::input::<CheckTypesForm>()
    }

    fn output_schema(&self) -> Map<String, Value> {
        schema::output::<ReportOutput>()
    }

    fn plan(&self, arguments: &Map<String, Value>, project: &Project) -> Result<Plan, ArgumentError> {
        let form = arguments::parse::<CheckTypesForm>(arguments, project)?.form;
        Ok(arguments::routine(self.name(), &form, Work::Execute, checks::limits(form.timeout_seconds)))
    }

    fn notes(&self, arguments: &Map<String, Value>, project: &Project) -> Vec<String> {
        arguments::parse::<CheckTypesForm>(arguments, project).map(|parsed| parsed.notes).unwrap_or_default()
    }

    fn run(&self, plan: &Plan, sandbox: &mut dyn Sandbox) -> Result<Output, Failure> {
        let form: CheckTypesForm = arguments::recall(plan)?;
        let path = form.path.clone().unwrap_or_else(WorkspacePath::workspace);
        sandbox.progress("looking for the type checker");
        let chosen = choose(sandbox, &path, form.tool)?;
        let mut report = errand(sandbox, &chosen)?.run(sandbox)?;
        report.notes.extend(checks::others_note(&chosen, form.tool));
        match chosen.tool {
            TypeChecker::Mypy | TypeChecker::Pyright | TypeChecker::Go => {}
            TypeChecker::Cargo | TypeChecker::Tsc | TypeChecker::Npm | TypeChecker::Make => {
                report.notes.extend(chosen.whole_only());
            }
        }
        Ok(report.output(Written::HandedBack))
    }
}

/// The command of the type checker.
fn errand<'a>(sandbox: &mut dyn Sandbox, chosen: &'a Chosen<TypeChecker>) -> Result<Errand<'a>, Failure> {
    let target = chosen.target();
    let (command, read): (_, read::Reader) = match chosen.tool {
        TypeChecker::Cargo => {
            let arguments = ["check", "--offline", "--all-targets", "--message-format=json"];
            (checks::cargo_command(chosen, &arguments), read::cargo)
        }
        TypeChecker::Mypy => {
            // Every version since 0.981 has these lines; JSON came with 1.11.
            let mut arguments = vec!["--show-column-numbers", "--show-error-end", "--show-error-codes"];
            arguments.extend(["--no-pretty", "--no-error-summary", "--no-color-output"]);
            let chosen_by_settings = ["files", "packages", "modules"].iter().any(|key| chosen.signs.python_sets(key));
            if chosen.part.is_some() || !chosen_by_settings {
                arguments.push(&target);
            }
            (checks::command(chosen, &arguments), read::mypy)
        }
        TypeChecker::Pyright => {
            let mut arguments = vec!["--outputjson"];
            arguments.extend(chosen.part.as_ref().map(|_| target.as_str()));
            (checks::command(chosen, &arguments), read::pyright)
        }
        TypeChecker::Tsc => {
            let settings = text(sandbox, &folders::join(&chosen.directory, "tsconfig.json"))?;
            // A project that only refers to others has no files of its own; those are checked by building them, and what
            // that writes does not leave the sandbox.
            let arguments: &[&str] = if settings.contains("\"references\"") {
                &["--build", "--pretty", "false"]
            } else {
                &["--noEmit", "--pretty", "false", "--project", "."]
            };
            (checks::command(chosen, arguments), read::tsc)
        }
        TypeChecker::Go => {
            (checks::command(chosen, &["build", "-o", "/dev/null", &checks::go_packages(chosen)]), read::lines)
        }
        TypeChecker::Npm => {
            let script = chosen.signs.first_script(NAMES).unwrap_or("typecheck");
            (checks::command(chosen, &["run", "--silent", script]), read::lines)
        }
        TypeChecker::Make => {
            (checks::command(chosen, &[chosen.signs.first_target(NAMES).unwrap_or("typecheck")]), read::lines)
        }
    };
    let first = chosen.part.as_ref().map(|part| part.path());
    Ok(Errand { tool: chosen.tool.name(), command, read, first, ending: Ending::Check })
}
