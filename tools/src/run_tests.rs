//! `run_tests`: finds a project's test runner, runs it, and tells what failed.
//!
//! Nothing of a project decides what is executed but which of a few runners it is and that runner's own options: there
//! is no shell, arguments are handed over one by one, and a filter cannot become an option. Every runner's exit status
//! is reported beside what its output says, and a contradiction is told.

pub(crate) mod cargo;
mod detection;
mod go;
mod javascript;
mod nextest;
mod node;
pub(crate) mod node_script;
mod package_script;
pub(crate) mod projects;
mod python;
mod recorded;
pub(crate) mod records;
mod report;
mod report_text;
mod runner;
mod script_runner;

#[cfg(test)]
mod recorded_output_tests;

use cofferdam_contract::{HandBack, Limits, Plan, Sandbox, Work, WorkspacePath};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{
    Annotations, ArgumentError, Failure, Output, Project, Tool,
    arguments::{self, Form, Parsed},
    change,
    command_line::command_line,
    folders,
    part::Part,
    place::Place,
    schema,
    transcript::Transcript,
};

use self::{
    detection::Detected,
    node_script::Script,
    python::{Interpreter, PytestFilter, UnittestTarget},
    recorded::Printed,
    report::{Counting, Invocation, Results},
};

pub use records::progress_line;
pub use report::{CompileError, Counts, Outcome, Report, Test, TestFailure, Verdict};
pub use runner::Runner;

/// Runs a project's tests.
pub(crate) struct RunTestsTool;

/// Seconds that a run may take when the call does not say.
const DEFAULT_SECONDS: u64 = 600;

/// Output that is kept of a run, in KiB: a line for each of some 100,000 tests.
const OUTPUT_KB: u64 = 16 * 1024;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RunTestsForm {
    /// Only tests whose name contains this. For pytest also a test id (`tests/test_a.py::test_x`) or an expression
    /// (`a and not b`).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1000))]
    filter: Option<String>,
    /// A project's folder, or a test file or folder in it. Default: the workspace.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<schema::PathText>")]
    path: Option<WorkspacePath>,
    /// Default: found from the files, in this order.
    #[serde(skip_serializing_if = "Option::is_none")]
    runner: Option<Runner>,
    /// Globs of files written by the tests to keep in the workspace, such as `tests/snapshots/**`. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    keep: Option<Vec<String>>,
    /// Seconds it may take. Default 600.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 3600))]
    timeout_seconds: Option<u64>,
}

impl Form for RunTestsForm {
    const ALIASES: &'static [(&'static str, &'static str)] = &[
        ("test_filter", "filter"),
        ("test_name", "filter"),
        ("pattern", "filter"),
        ("file_path", "path"),
        ("test_path", "path"),
        ("file", "path"),
        ("directory", "path"),
        ("framework", "runner"),
    ];
}

impl Tool for RunTestsTool {
    fn name(&self) -> &str {
        "run_tests"
    }

    fn title(&self) -> &str {
        "Run tests"
    }

    fn description(&self) -> &str {
        "Runs the project's tests and reports each failure with its place, message and output. The runner is found \
         from the files: cargo test or nextest, pytest, unittest, vitest, jest, mocha, node:test, go test, else make \
         test or the script `test` of package.json. Start narrow: `filter` takes a part of a test's name (pytest: also \
         an id such as tests/test_a.py::test_x), `path` a test file, a test folder or a project's folder. The verdict \
         says what happened: passed, failed, build_failed (compile errors are listed), no_tests, timed_out. Only \
         passed means that tests ran and none failed. There is no network but the run's own loopback: tests that need \
         other hosts fail, and dependencies must be installed on the host beforehand. Files that tests write are \
         thrown away unless `keep` names them by globs. After 45 seconds it answers status \"running\" and a run_id \
         for get_run."
    }

    fn annotations(&self) -> Annotations {
        Annotations { read_only: false, destructive: false, idempotent: false, open_world: false }
    }

    fn input_schema(&self) -> Map<String, Value> {
        schema::input::<RunTestsForm>()
    }

    fn output_schema(&self) -> Map<String, Value> {
        schema::output::<report_text::RunTestsOutput>()
    }

    fn plan(&self, arguments: &Map<String, Value>, project: &Project) -> Result<Plan, ArgumentError> {
        let form = parse(arguments, project)?.form;
        let seconds = form.timeout_seconds.unwrap_or(DEFAULT_SECONDS);
        let limits = Limits {
            wall_seconds: seconds,
            cpu_seconds: Limits::TESTS.cpu_seconds.max(seconds.saturating_mul(3)),
            output_kb: OUTPUT_KB,
            ..Limits::TESTS
        };
        let plan = arguments::routine(self.name(), &form, Work::Execute, limits);
        let hand_back = form.keep.map_or(HandBack::Nothing, HandBack::Matching);
        Ok(Plan { hand_back, ..plan })
    }

    fn notes(&self, arguments: &Map<String, Value>, project: &Project) -> Vec<String> {
        parse(arguments, project).map(|parsed| parsed.notes).unwrap_or_default()
    }

    fn run(&self, plan: &Plan, sandbox: &mut dyn Sandbox) -> Result<Output, Failure> {
        report(plan, sandbox).map(|report| report.output())
    }
}

/// Parses, and checks what a schema cannot say.
fn parse(arguments: &Map<String, Value>, project: &Project) -> Result<Parsed<RunTestsForm>, ArgumentError> {
    let mut parsed = arguments::parse::<RunTestsForm>(arguments, project)?;
    if let Some(filter) = &parsed.form.filter {
        check_filter(filter, &project.workspace)?;
    }
    for glob in parsed.form.keep.iter_mut().flatten() {
        *glob = checked_glob("keep", glob)?;
    }
    Ok(parsed)
}

/// Refuses what a runner would take for an option, a file of options or several lines.
fn check_filter(filter: &str, workspace: &str) -> Result<(), ArgumentError> {
    let wrong = if filter.starts_with('-') {
        Some("begins with a dash, which runners take for an option")
    } else if filter.starts_with('@') {
        Some("begins with an at sign, which pytest takes for a file of options")
    } else if filter.chars().any(char::is_control) {
        Some("holds a control character")
    } else if filter.trim().is_empty() {
        Some("is blank")
    } else {
        None
    };
    if let Some(wrong) = wrong {
        let text = format!("argument `filter` {wrong}; write a part of a test's name");
        return Err(ArgumentError::Combination(text));
    }
    if let Some(path) = id_path(filter) {
        let path = WorkspacePath::parse(path, workspace);
        path.map_err(|source| ArgumentError::Path { name: "filter".to_owned(), source })?;
    }
    Ok(())
}

/// The path of a pytest id: `tests/test_a.py` in `tests/test_a.py::test_x[1]`.
fn id_path(filter: &str) -> Option<&str> {
    let path = filter.split("::").next().unwrap_or(filter);
    path.ends_with(".py").then_some(path)
}

/// A glob for files to bring back, relative to the workspace; `argument` names it.
pub(crate) fn checked_glob(argument: &str, glob: &str) -> Result<String, ArgumentError> {
    let plain = glob.strip_prefix("./").unwrap_or(glob);
    let climbs = plain.split('/').any(|name| name == "..");
    let strange = plain.starts_with('/') || plain.contains('\\') || plain.chars().any(char::is_control);
    if plain.is_empty() || plain.len() > 1000 || climbs || strange {
        let text = format!(
            "argument `{argument}`: `{}` is no glob relative to the workspace; write one such as `tests/snapshots/**`",
            arguments::shortened(glob)
        );
        return Err(ArgumentError::Combination(text));
    }
    // Here, and not when the tests have run: their result would be lost with it.
    globset::Glob::new(plain).map_err(|error| ArgumentError::Combination(format!("argument `{argument}`: {error}")))?;
    Ok(plain.to_owned())
}

/// Runs the tests of `plan` and reports on every one of them.
///
/// # Errors
/// A [`Failure`] when no test could be run at all. Failing tests and compile errors are a report.
pub fn report(plan: &Plan, sandbox: &mut dyn Sandbox) -> Result<Report, Failure> {
    let form: RunTestsForm = arguments::recall(plan)?;
    let path = form.path.clone().unwrap_or_else(WorkspacePath::workspace);
    sandbox.progress("looking for the tests");
    let detected = detection::detect(sandbox, &path, form.runner)?;
    let mut report = match detected.runner {
        Runner::Cargo | Runner::Nextest => run_cargo(sandbox, &detected, &form)?,
        Runner::Vitest | Runner::Jest | Runner::Mocha => run_javascript(sandbox, &detected, &form)?,
        Runner::Go => run_go(sandbox, &detected, &form)?,
        Runner::Make => run_make(sandbox, &detected, &form)?,
        Runner::Npm => run_package_script(sandbox, &detected, &form)?,
        Runner::Pytest | Runner::Unittest => run_python(sandbox, &detected, &form)?,
        Runner::Node => run_node(sandbox, &detected, &form)?,
    };
    if form.runner.is_none() {
        let others: Vec<&str> =
            detected.others.iter().filter(|other| **other != report.runner).map(|other| other.name()).collect();
        let same = |name: &&str| !(report.runner == Runner::Pytest && *name == "unittest");
        let others: Vec<&str> = others.into_iter().filter(same).collect();
        if !others.is_empty() {
            report.notes.push(format!("the project also fits {}; choose with the argument runner", others.join(", ")));
        }
        // Where nothing ran, every project below is worth a look; else those that this runner passes over.
        let beside = if report.verdict == Verdict::NoTests { &detected.below } else { &detected.beside };
        if !beside.is_empty() {
            let beside = projects::told(&detected.directory, beside);
            report.notes.push(format!("there are other projects below: {beside}; name one as path to test it"));
        }
    }
    report.notes.extend(advice(&report));
    Ok(report)
}

fn run_cargo(sandbox: &mut dyn Sandbox, detected: &Detected, form: &RunTestsForm) -> Result<Report, Failure> {
    let directory = &detected.directory;
    let mut notes = Vec::new();
    let target = match &detected.part {
        Some(Part::File(file)) => {
            let relative = folders::relative(file, directory);
            let stem = relative.strip_prefix("tests/").and_then(|name| name.strip_suffix(".rs"));
            let target = stem.filter(|stem| !stem.contains('/')).map(str::to_owned);
            if target.is_none() && !relative.ends_with("Cargo.toml") {
                notes.push(format!("cargo tests the whole package of `{file}`; use filter for single tests"));
            }
            target
        }
        Some(Part::Folder(folder)) => {
            notes.push(format!("cargo tests the whole package of `{folder}`; use filter for single tests"));
            None
        }
        None => None,
    };
    let selection = cargo::Selection { directory: directory.clone(), target, filter: form.filter.clone() };
    let workspace = sandbox.workspace().to_owned();
    let place = Place { workspace: &workspace, directory };
    let invocation = |command: &cofferdam_contract::Command| invocation(detected.runner, command);
    sandbox.progress("building the tests");
    let build = selection.build();
    let built = Transcript::execute(sandbox, &build)?;
    if !built.succeeded() {
        let compile_errors = if built.exit().is_some() { cargo::compile_errors(&built, place) } else { Vec::new() };
        let results = Results { compile_errors, complete: true, notes, ..Results::default() };
        return Ok(Report::new(invocation(&build), results, &built));
    }
    let runner = detected.runner;
    sandbox.progress(&format!("running {}", runner.name()));
    let (test, transcript, mut results) = if runner == Runner::Nextest {
        let test = nextest::test(&selection);
        let transcript = Transcript::execute(sandbox, &test)?;
        let results = nextest::read(&transcript);
        (test, transcript, results)
    } else {
        let test = selection.test();
        let transcript = Transcript::execute(sandbox, &test)?;
        let results = cargo::read(&transcript);
        (test, transcript, results)
    };
    results.notes.splice(0..0, notes);
    if transcript.exit().is_some() {
        locate(sandbox, directory, &mut results)?;
    }
    Ok(Report::new(invocation(&test), results, &transcript))
}

/// Finds the files that rustc named relative to cargo's workspace, which is at the package's folder or above it.
fn locate(sandbox: &mut dyn Sandbox, directory: &WorkspacePath, results: &mut Results) -> Result<(), Failure> {
    let mut found: std::collections::BTreeMap<String, Option<String>> = std::collections::BTreeMap::new();
    for failure in &mut results.failures {
        let Some(file) = failure.file.take() else { continue };
        // A hundred distinct files are enough for a report that shows 32 failures.
        if found.len() < 100 && !found.contains_key(&file) && !file.starts_with('/') {
            let mut place = None;
            for folder in folders::ancestors(directory) {
                let path = folders::join(&folder, &file);
                if path != folder && change::status(sandbox, &path)?.is_some() {
                    place = Some(path.to_string());
                    break;
                }
            }
            found.insert(file.clone(), place);
        }
        let absolute = file.strip_prefix(&format!("{}/", sandbox.workspace())).map(str::to_owned);
        failure.file = absolute.or_else(|| found.get(&file).cloned().flatten());
        if failure.file.is_none() {
            failure.line = None;
        }
    }
    Ok(())
}

fn run_python(sandbox: &mut dyn Sandbox, detected: &Detected, form: &RunTestsForm) -> Result<Report, Failure> {
    let directory = &detected.directory;
    let interpreter = Interpreter::find(sandbox, directory)?;
    let runner = match (form.runner, detected.runner) {
        (Some(wanted), _) => wanted,
        (None, Runner::Pytest) if !detected.says_pytest && !interpreter.imports(sandbox, directory, "pytest")? => {
            if !detected.others.contains(&Runner::Unittest) {
                return Err(detected.nothing_found(sandbox));
            }
            Runner::Unittest
        }
        (None, runner) => runner,
    };
    let arguments = if runner == Runner::Pytest {
        let filter = form.filter.as_deref().map(|filter| pytest_filter(sandbox, directory, filter)).transpose()?;
        let target = detected.part.as_ref().map(|part| folders::relative(part.path(), directory));
        python::pytest_arguments(target, filter.as_ref())
    } else {
        python::unittest_arguments(unittest_target(sandbox, detected)?, form.filter.as_deref())
    };
    let (command, invocation) = interpreter.run(runner, directory, arguments);
    sandbox.progress(&format!("running {}", runner.name()));
    let transcript = Transcript::execute(sandbox, &command)?;
    let workspace = sandbox.workspace().to_owned();
    let place = Place { workspace: &workspace, directory };
    let printed = if runner == Runner::Pytest { Printed::InRecord } else { Printed::Between };
    let mut results = recorded::read(&transcript, place, printed).map_err(|unavailable| {
        let text = format!(
            "the project's tests need pytest, and `{}` cannot import it ({}); install it on the host, in the project's \
             .venv for example, or set runner to unittest",
            interpreter.program, unavailable.message
        );
        Failure::new("no_runner", text)
    })?;
    if runner == Runner::Pytest
        && let Some(wrong) = python::wrong_expression(&transcript)
    {
        let filter = form.filter.as_deref().map(arguments::shortened).unwrap_or_default();
        let text = format!(
            "argument `filter`: `{filter}` is no expression that pytest understands ({wrong}); write a part of a test's \
             name, an expression such as `a and not b`, or a test's id"
        );
        return Err(Failure::new("invalid_arguments", text));
    }
    if runner == Runner::Pytest {
        results.not_found = python::not_found(&transcript, &workspace);
    }
    Ok(Report::new(invocation, results, &transcript))
}

/// What a filter means for pytest, its path as seen from the project's folder.
fn pytest_filter(sandbox: &mut dyn Sandbox, directory: &WorkspacePath, filter: &str) -> Result<PytestFilter, Failure> {
    let Some(written) = id_path(filter) else { return Ok(PytestFilter::Expression(filter.to_owned())) };
    let rest = &filter[written.len()..];
    let from_workspace = WorkspacePath::parse(written, sandbox.workspace());
    let from_workspace = from_workspace.map_err(|error| Failure::new("invalid", error.to_string()))?;
    let path = if from_workspace.is_within(directory) && change::status(sandbox, &from_workspace)?.is_some() {
        from_workspace
    } else {
        folders::join(directory, from_workspace.as_str())
    };
    Ok(PytestFilter::Id(format!("{}{rest}", folders::relative(&path, directory))))
}

/// What unittest is to look at: without a part, and when the tests' folder is no package, that folder.
fn unittest_target(sandbox: &mut dyn Sandbox, detected: &Detected) -> Result<Option<UnittestTarget>, Failure> {
    let directory = &detected.directory;
    match &detected.part {
        Some(Part::File(file)) => return Ok(Some(UnittestTarget::File(folders::relative(file, directory)))),
        Some(Part::Folder(folder)) => return Ok(Some(UnittestTarget::Folder(folders::relative(folder, directory)))),
        None => {}
    }
    for name in ["tests", "test"] {
        let folder = folders::join(directory, name);
        let package = folders::join(&folder, "__init__.py");
        if change::status(sandbox, &folder)?.is_some() && change::status(sandbox, &package)?.is_none() {
            return Ok(Some(UnittestTarget::Folder(name.to_owned())));
        }
    }
    Ok(None)
}

fn run_javascript(sandbox: &mut dyn Sandbox, detected: &Detected, form: &RunTestsForm) -> Result<Report, Failure> {
    let target = detected.part.as_ref().map(|part| part.path().clone());
    let selection = javascript::Selection {
        runner: detected.runner,
        directory: detected.directory.clone(),
        script: detected.script_runner.clone(),
        target,
        filter: form.filter.clone(),
    };
    let (invocation, results, transcript) = selection.run(sandbox)?;
    Ok(Report::new(invocation, results, &transcript))
}

fn run_go(sandbox: &mut dyn Sandbox, detected: &Detected, form: &RunTestsForm) -> Result<Report, Failure> {
    let directory = &detected.directory;
    if sandbox.find_program("go")?.is_none() {
        let text = "the tests need Go, and the sandbox has none on its PATH; ask the person to install it \
                    (`cofferdam doctor` tells what the sandbox finds)";
        return Err(Failure::new("no_interpreter", text));
    }
    let part = |path: &WorkspacePath| folders::relative(path, directory).trim_start_matches("./").to_owned();
    let packages = match &detected.part {
        None => "./...".to_owned(),
        Some(Part::Folder(folder)) => format!("./{}/...", part(folder)),
        Some(Part::File(file)) => {
            part(file).rsplit_once('/').map_or_else(|| ".".to_owned(), |(folder, _)| format!("./{folder}"))
        }
    };
    let settings = crate::project_files::text(sandbox, &folders::join(directory, "go.mod"))?;
    let selection = go::Selection { directory: directory.clone(), packages, filter: form.filter.clone() };
    let command = selection.command();
    sandbox.progress("running go test");
    let transcript = Transcript::execute(sandbox, &command)?;
    let workspace = sandbox.workspace().to_owned();
    let place = Place { workspace: &workspace, directory };
    let results = go::read(&transcript, place, go::module(&settings));
    Ok(Report::new(invocation(Runner::Go, &command), results, &transcript))
}

fn run_package_script(sandbox: &mut dyn Sandbox, detected: &Detected, form: &RunTestsForm) -> Result<Report, Failure> {
    if form.filter.is_some() {
        let text = "the package's script `test` runs all of its tests: leave filter out, or name another runner";
        return Err(Failure::new("invalid_arguments", text));
    }
    let (command, note) = package_script::command(sandbox, detected.manager, &detected.directory)?;
    sandbox.progress("running the script `test`");
    let transcript = Transcript::execute(sandbox, &command)?;
    let mut notes: Vec<String> = note.into_iter().collect();
    notes.push(
        "a script of package.json tells how it ended and nothing about single tests; its output is all there is"
            .to_owned(),
    );
    // What a shell says of a program that it does not find (POSIX, "Exit Status for Commands").
    if transcript.exit() == Some(cofferdam_contract::Exit::Code(127)) {
        notes.push(
            "a program of the script was not found: the package's dependencies must be installed on the host".into(),
        );
    }
    let results = Results { complete: true, counting: Counting::ByStatus, notes, ..Results::default() };
    Ok(Report::new(invocation(Runner::Npm, &command), results, &transcript))
}

fn run_make(sandbox: &mut dyn Sandbox, detected: &Detected, form: &RunTestsForm) -> Result<Report, Failure> {
    if form.filter.is_some() {
        let text = "make runs all tests of its target: leave filter out, or name another runner";
        return Err(Failure::new("invalid_arguments", text));
    }
    if sandbox.find_program("make")?.is_none() {
        let text = "the tests are run by make, and the sandbox has none on its PATH; ask the person to install it";
        return Err(Failure::new("no_runner", text));
    }
    let command = cofferdam_contract::Command {
        program: "make".to_owned(),
        arguments: vec![detected.make.unwrap_or("test").to_owned()],
        directory: detected.directory.clone(),
        environment: std::collections::BTreeMap::new(),
    };
    sandbox.progress("running make");
    let transcript = Transcript::execute(sandbox, &command)?;
    let notes = vec!["make tells how it ended and nothing about single tests; its output is all there is".to_owned()];
    let results = Results { complete: true, counting: Counting::ByStatus, notes, ..Results::default() };
    Ok(Report::new(invocation(Runner::Make, &command), results, &transcript))
}

/// What is told about a command that is shown as it was run.
fn invocation(runner: Runner, command: &cofferdam_contract::Command) -> Invocation {
    let argv: Vec<String> = std::iter::once(&command.program).chain(&command.arguments).cloned().collect();
    Invocation { runner, equivalent: command_line(argv.iter()), argv, directory: command.directory.to_string() }
}

fn run_node(sandbox: &mut dyn Sandbox, detected: &Detected, form: &RunTestsForm) -> Result<Report, Failure> {
    let mut notes = Vec::new();
    let script = match &detected.script {
        Script::Node(command) => {
            if !command.besides.is_empty() {
                let besides = crate::plain_text::one_line(&command.besides.join("`, `"));
                notes.push(format!("scripts.test also runs `{besides}`; that is not done here"));
            }
            command.clone()
        }
        Script::Missing | Script::Other { .. } => node_script::NodeCommand::default(),
    };
    let target = detected.part.as_ref().map(|part| match part {
        Part::File(file) => node::Target::File(file.clone()),
        Part::Folder(folder) => node::Target::Folder(folder.clone()),
    });
    let selection =
        node::Selection { directory: detected.directory.clone(), script, target, filter: form.filter.clone() };
    if sandbox.find_program("node")?.is_none() {
        let text = "the tests need Node, and the sandbox has none on its PATH; ask the person to install it \
                    (`cofferdam doctor` tells what the sandbox finds)";
        return Err(Failure::new("no_interpreter", text));
    }
    let (command, invocation) = selection.command(sandbox)?;
    sandbox.progress("running node --test");
    let transcript = Transcript::execute(sandbox, &command)?;
    let workspace = sandbox.workspace().to_owned();
    let place = Place { workspace: &workspace, directory: &detected.directory };
    let mut results = recorded::read(&transcript, place, Printed::ByFile)
        .map_err(|unavailable| Failure::new("no_runner", unavailable.message))?;
    if form.filter.is_some() {
        recorded::leave_out_whole_files(&mut results, place);
    }
    results.notes.splice(0..0, notes);
    let report = Report::new(invocation, results, &transcript);
    if report.output.contains("bad option: --test") {
        return Err(Failure::new("no_runner", "this Node is too old: its test reporters begin with version 18.15"));
    }
    Ok(report)
}

/// Signs of a connection that no sandbox here allows.
const NO_CONNECTION: [&str; 12] = [
    "ECONNREFUSED",
    "ENETUNREACH",
    "EHOSTUNREACH",
    "EAI_AGAIN",
    "ENOTFOUND",
    "getaddrinfo",
    "Connection refused",
    "ConnectionRefused",
    "Network is unreachable",
    "Name or service not known",
    "Temporary failure in name resolution",
    "failed to lookup address",
];

/// Signs of a dependency that is not installed.
const NOT_INSTALLED: [&str; 6] = [
    "ModuleNotFoundError",
    "ERR_MODULE_NOT_FOUND",
    "Cannot find module",
    "Cannot find package",
    "you're using offline mode",
    "attempting to make an HTTP request, but --offline was specified",
];

/// What the sandbox has to do with some failures.
fn advice(report: &Report) -> Vec<String> {
    let told = |signs: &[&str]| {
        let failing = report
            .failures
            .iter()
            .filter(|failure| signs.iter().any(|sign| failure.message.contains(sign) || failure.output.contains(sign)));
        let broken =
            report.compile_errors.iter().filter(|error| signs.iter().any(|sign| error.rendered.contains(sign)));
        failing.count() + broken.count()
    };
    let mut notes = Vec::new();
    let unconnected = told(&NO_CONNECTION);
    if unconnected > 0 {
        notes.push(format!(
            "{unconnected} failing tests could not connect: the sandbox has its own loopback and no network, so servers \
             on the host or elsewhere are out of reach; a server that the test itself starts is not"
        ));
    }
    // What a script printed is all there is of it.
    let is_said = matches!(report.runner, Runner::Make | Runner::Npm)
        && report.verdict != Verdict::Passed
        && NOT_INSTALLED.iter().any(|sign| report.output.contains(sign));
    if told(&NOT_INSTALLED) > 0 || is_said {
        notes.push(
            "something that is imported is not there; if it is a dependency, ask the person to install it on the host, \
             since nothing can be downloaded here"
                .to_owned(),
        );
    }
    notes
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn plan(arguments: Value) -> Result<Plan, String> {
        let Value::Object(arguments) = arguments else { unreachable!() };
        let project = Project { workspace: "/work".into() };
        RunTestsTool.plan(&arguments, &project).map_err(|error| error.to_string())
    }

    #[test]
    fn a_filter_cannot_become_an_option_or_a_path_outside() {
        for filter in ["-x", "--rootdir=/", "@args.txt", "a\n--pdb", "  ", "../../etc/x.py::t", "/etc/test_x.py"] {
            let error = plan(json!({"filter": filter})).unwrap_err();
            assert!(error.starts_with("argument `filter`"), "{error}");
        }
        for filter in ["adds", "a and not b", "tests/test_a.py::T::test_x[a b]", "$(id); rm -rf /", "a::b"] {
            plan(json!({"filter": filter})).unwrap();
        }
    }

    #[test]
    fn only_what_is_asked_for_is_kept() {
        assert_eq!(plan(json!({})).unwrap().hand_back, HandBack::Nothing);
        let kept = plan(json!({"keep": ["./snapshots/**", "*.snap"]})).unwrap();
        assert_eq!(kept.hand_back, HandBack::Matching(vec!["snapshots/**".into(), "*.snap".into()]));
        for glob in ["[", "{a", "/etc/*", "../*", "a/../../b", ""] {
            let error = plan(json!({"keep": [glob]})).unwrap_err();
            assert!(error.starts_with("argument `keep`"), "{error}");
        }
    }

    #[test]
    fn the_time_limit_is_the_calls() {
        assert_eq!(plan(json!({})).unwrap().limits.wall_seconds, 600);
        let limits = plan(json!({"timeout_seconds": 3600})).unwrap().limits;
        assert_eq!((limits.wall_seconds, limits.cpu_seconds), (3600, 10_800));
        assert!(plan(json!({"timeout_seconds": 0})).is_err());
        assert!(plan(json!({"timeout": 5})).unwrap_err().contains("did you mean"), "a number of what?");
    }
}
