//! pytest and unittest: run by an interpreter with a recorder of ours, which reports each result as a record.

use std::collections::BTreeMap;

use cofferdam_contract::{Command, Exit, Sandbox, Stream, WorkspacePath};

use crate::{
    Failure, change, command_line::command_line, folders, plain_text, project_signs::ENVIRONMENTS,
    transcript::Transcript,
};

use super::{report::Invocation, runner::Runner};

/// Runs pytest as `python -m pytest` does.
const PYTEST_RECORDER: &str = include_str!("pytest_recorder.py");

/// Runs unittest as `python -m unittest` does.
const UNITTEST_RECORDER: &str = include_str!("unittest_recorder.py");

/// A Python interpreter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Interpreter {
    /// What to execute: a name on the PATH, or a virtual environment's `./…/bin/python` below the workspace.
    pub(super) program: String,
}

impl Interpreter {
    /// Finds the interpreter for `directory`: the nearest virtual environment at or above it, else the PATH's.
    pub(super) fn find(sandbox: &mut dyn Sandbox, directory: &WorkspacePath) -> Result<Self, Failure> {
        for folder in folders::ancestors(directory) {
            for environment in ENVIRONMENTS {
                let path = folders::join(&folder, &format!("{environment}/bin/python"));
                // The link leads out of the workspace, as a rule; that it is there is enough.
                if change::status(sandbox, &path)?.is_some() {
                    return Ok(Self { program: format!("./{}", path.as_str()) });
                }
            }
        }
        for name in ["python3", "python"] {
            if sandbox.find_program(name)?.is_some() {
                return Ok(Self { program: name.to_owned() });
            }
        }
        Err(Failure::new(
            "no_interpreter",
            "the tests need Python, and the sandbox has none: no .venv/bin/python or venv/bin/python in the project, no \
             python3 on its PATH; ask the person to install it (`cofferdam doctor` tells what the sandbox finds)",
        ))
    }

    /// Whether it can import `module`.
    pub(super) fn imports(
        &self,
        sandbox: &mut dyn Sandbox,
        directory: &WorkspacePath,
        module: &str,
    ) -> Result<bool, Failure> {
        let command = self.command(directory, vec!["-c".to_owned(), format!("import {module}")]);
        let transcript = Transcript::execute(sandbox, &command)?;
        Ok(transcript.succeeded())
    }

    fn command(&self, directory: &WorkspacePath, arguments: Vec<String>) -> Command {
        Command { program: self.program.clone(), arguments, directory: directory.clone(), environment: BTreeMap::new() }
    }

    /// The command that runs `runner` with its own `arguments`, and what is told about it.
    pub(super) fn run(
        &self,
        runner: Runner,
        directory: &WorkspacePath,
        arguments: Vec<String>,
    ) -> (Command, Invocation) {
        let (recorder, module) = match runner {
            Runner::Pytest => (PYTEST_RECORDER, "pytest"),
            Runner::Unittest
            | Runner::Cargo
            | Runner::Nextest
            | Runner::Vitest
            | Runner::Jest
            | Runner::Mocha
            | Runner::Node
            | Runner::Go
            | Runner::Make
            | Runner::Npm => (UNITTEST_RECORDER, "unittest"),
        };
        let told = format!("<the recorder of {module}'s results>");
        let argv = [self.program.clone(), "-c".to_owned(), told].into_iter().chain(arguments.clone()).collect();
        let plain = [self.program.clone(), "-m".to_owned(), module.to_owned()];
        let equivalent = command_line(plain.iter().chain(&arguments));
        let arguments = ["-c".to_owned(), recorder.to_owned()].into_iter().chain(arguments).collect();
        let invocation = Invocation { runner, argv, equivalent, directory: directory.to_string() };
        (self.command(directory, arguments), invocation)
    }
}

/// What pytest says of tests that it was asked for and did not find: status 4 and a line on standard error, without the
/// workspace's path (`UsageError` in `_pytest/main.py`). Status 4 is also that of a wrong configuration.
pub(super) fn not_found(transcript: &Transcript, workspace: &str) -> Option<String> {
    let mut found = None;
    transcript.for_each_line(|stream, line| {
        let told = line.strip_prefix("ERROR: ").filter(|_| stream == Stream::Stderr && found.is_none());
        let is_missing =
            |line: &&str| ["not found: ", "file or directory not found: "].iter().any(|words| line.starts_with(words));
        if let Some(line) = told.filter(is_missing) {
            found = Some(line.to_owned());
        }
    });
    let line = found.filter(|_| transcript.exit() == Some(Exit::Code(4)))?;
    Some(plain_text::one_line(&line.replace(&format!("{workspace}/"), "")))
}

/// What pytest says of an expression that it cannot read: status 4 and a line on standard error (`UsageError` of
/// `_pytest/mark/__init__.py`).
pub(super) fn wrong_expression(transcript: &Transcript) -> Option<String> {
    let mut found = None;
    transcript.for_each_line(|stream, line| {
        let told = line.strip_prefix("ERROR: Wrong expression passed to '-k': ");
        if let Some(told) = told.filter(|_| stream == Stream::Stderr && found.is_none()) {
            found = Some(plain_text::one_line(told));
        }
    });
    found.filter(|_| transcript.exit() == Some(Exit::Code(4)))
}

/// pytest's own arguments. A filter with `::` or a path is a test's id, any other is an expression over names.
pub(super) fn pytest_arguments(target: Option<String>, filter: Option<&PytestFilter>) -> Vec<String> {
    match filter {
        Some(PytestFilter::Id(id)) => vec![id.clone()],
        Some(PytestFilter::Expression(expression)) => {
            target.into_iter().chain(["-k".to_owned(), expression.clone()]).collect()
        }
        None => target.into_iter().collect(),
    }
}

/// What a filter means for pytest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum PytestFilter {
    /// A file, or `file::class::test`, as seen from the working directory.
    Id(String),
    /// An expression over names: `a and not b`.
    Expression(String),
}

/// unittest's own arguments. Without a target it discovers from the working directory, as it does by itself.
pub(super) fn unittest_arguments(target: Option<UnittestTarget>, filter: Option<&str>) -> Vec<String> {
    let mut arguments = match target {
        None => Vec::new(),
        Some(UnittestTarget::File(file)) => vec![file],
        Some(UnittestTarget::Folder(folder)) => vec!["discover".to_owned(), "-s".to_owned(), folder],
    };
    arguments.extend(filter.into_iter().flat_map(|filter| ["-k".to_owned(), filter.to_owned()]));
    arguments
}

/// What unittest is to look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum UnittestTarget {
    /// A file.
    File(String),
    /// A folder that is no package of the working directory.
    Folder(String),
}
