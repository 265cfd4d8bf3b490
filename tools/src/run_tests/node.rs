//! node:test: run as the package's own test script runs it, with a reporter of ours that writes records.

use std::collections::BTreeMap;

use cofferdam_contract::{Command, EntryKind, Ignoring, ListFiles, Sandbox, WorkspacePath};

use crate::{Failure, command_line::command_line, folders, list_files};

use super::{
    node_script::{NodeCommand, Quoting},
    report::Invocation,
    runner::Runner,
};

/// The reporter's module.
const REPORTER: &str = include_str!("node_reporter.mjs");

/// Files that one run is given at most.
const FILES: u64 = 5_000;

/// What node is to test.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Selection {
    pub(super) directory: WorkspacePath,
    /// What the package's script says; empty when there is none.
    pub(super) script: NodeCommand,
    /// Only the tests of this file or folder.
    pub(super) target: Option<Target>,
    /// Only tests whose name contains this.
    pub(super) filter: Option<String>,
}

/// A part of the tests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Target {
    /// One file.
    File(WorkspacePath),
    /// All test files below a folder.
    Folder(WorkspacePath),
}

impl Selection {
    /// The command, and what is told about it. Globs are resolved here, since there is no shell.
    pub(super) fn command(&self, sandbox: &mut dyn Sandbox) -> Result<(Command, Invocation), Failure> {
        let files = match &self.target {
            Some(Target::File(file)) => vec![folders::relative(file, &self.directory)],
            Some(Target::Folder(folder)) => self.test_files(sandbox, folder)?,
            None => self.script_files(sandbox)?,
        };
        let mut options = self.script.options.clone();
        options.push("--test".to_owned());
        options.extend(self.filter.as_ref().map(|filter| format!("--test-name-pattern={}", literal(filter))));
        let ours =
            |reporter: &str| [format!("--test-reporter={reporter}"), "--test-reporter-destination=stdout".to_owned()];
        let arguments = |reporter: &str| -> Vec<String> {
            ours(reporter).into_iter().chain(options.clone()).chain(files.clone()).collect()
        };
        let program = "node".to_owned();
        let argv: Vec<String> =
            std::iter::once(program.clone()).chain(arguments("<the reporter of node's results>")).collect();
        let equivalent = command_line(std::iter::once(&program).chain(&options).chain(&files));
        let invocation = Invocation { runner: Runner::Node, argv, equivalent, directory: self.directory.to_string() };
        let command = Command {
            program,
            arguments: arguments(&format!("data:text/javascript,{}", percent_encoded(REPORTER))),
            directory: self.directory.clone(),
            environment: BTreeMap::new(),
        };
        Ok((command, invocation))
    }

    /// The files that the script names, globs expanded as `sh` would: `*` stays within a folder and passes over
    /// hidden names, and a glob that matches nothing stays as it is.
    fn script_files(&self, sandbox: &mut dyn Sandbox) -> Result<Vec<String>, Failure> {
        let mut files = Vec::new();
        for (word, quoting) in &self.script.files {
            if *quoting == Quoting::Quoted || !word.contains(['*', '?', '[']) {
                files.push(word.clone());
                continue;
            }
            let plain = word.trim_start_matches("./").replace("**", "*");
            let depth = u32::try_from(plain.matches('/').count() + 1).unwrap_or(u32::MAX);
            // A glob without a slash would match in every folder; the depth keeps it in this one.
            let found = self.list(sandbox, &self.directory, Some(plain), depth)?;
            let found: Vec<String> = found.into_iter().map(|file| folders::relative(&file, &self.directory)).collect();
            if found.is_empty() { files.push(word.clone()) } else { files.extend(found) }
        }
        Ok(files)
    }

    /// The files below `folder` that node itself would take for tests.
    fn test_files(&self, sandbox: &mut dyn Sandbox, folder: &WorkspacePath) -> Result<Vec<String>, Failure> {
        let found = self.list(sandbox, folder, None, 32)?;
        let files: Vec<String> = found
            .iter()
            .filter(|file| is_test_file(file.as_str()))
            .map(|file| folders::relative(file, &self.directory))
            .collect();
        if files.is_empty() {
            let text =
                format!("there is no test file below `{folder}`: node looks for *.test.js, test-*.js, test/*.js");
            return Err(Failure::new("nothing_to_run", text));
        }
        Ok(files)
    }

    fn list(
        &self,
        sandbox: &mut dyn Sandbox,
        folder: &WorkspacePath,
        glob: Option<String>,
        depth: u32,
    ) -> Result<Vec<WorkspacePath>, Failure> {
        let ignoring = Ignoring::Everywhere;
        let request = ListFiles { path: folder.clone(), glob, depth, offset: 0, max_entries: FILES, ignoring };
        let listing = list_files::list(sandbox, request)?;
        let files = listing.entries.into_iter().filter(|entry| entry.exact && entry.kind == EntryKind::File);
        Ok(files.filter_map(|entry| WorkspacePath::try_from(entry.path).ok()).collect())
    }
}

/// Whether node's test runner takes a file for a test (nodejs.org/api/test.html, "Running tests from the command line").
pub(super) fn is_test_file(path: &str) -> bool {
    let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
    let Some((stem, extension)) = name.rsplit_once('.') else { return false };
    if !matches!(extension, "js" | "mjs" | "cjs") || path.split('/').any(|name| name == "node_modules") {
        return false;
    }
    stem == "test"
        || stem.starts_with("test-")
        || [".test", "-test", "_test"].iter().any(|end| stem.ends_with(end))
        || folder.split('/').any(|name| name == "test")
}

/// A regular expression of JavaScript that matches `text` itself.
pub(super) fn literal(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len());
    for character in text.chars() {
        if "\\^$.*+?()[]{}|/".contains(character) {
            pattern.push('\\');
        }
        pattern.push(character);
    }
    pattern
}

/// `text` as a URL holds it.
fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len() * 2);
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.!~*'()".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn node_s_own_rule_for_test_files() {
        for file in ["test.js", "a.test.mjs", "src/a-test.cjs", "src/a_test.js", "test-a.js", "test/deep/any.js"] {
            assert!(is_test_file(file), "{file}");
        }
        for file in ["a.js", "tests/a.js", "a.test.ts", "node_modules/x/test.js", "test/readme.md", "testing.js"] {
            assert!(!is_test_file(file), "{file}");
        }
    }

    #[test]
    fn a_filter_is_taken_literally() {
        assert_eq!(literal("adds (1+1)"), "adds \\(1\\+1\\)");
        assert_eq!(percent_encoded("a b\n%"), "a%20b%0A%25");
    }
}
