//! Which runner a project's tests are for, told from its files.

use cofferdam_contract::{EntryKind, ListFiles, OutputMode, Sandbox, SearchFiles, Status, Window, WorkspacePath};

use crate::{Failure, change, list_files, plain_text, read_file, search_files};

use super::{
    node,
    node_script::{self, Script},
    python,
    runner::Runner,
};

/// A project whose tests can be run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Detected {
    pub(super) runner: Runner,
    /// The project's folder.
    pub(super) directory: WorkspacePath,
    /// The part of the project that the call names; `None` for all of it.
    pub(super) part: Option<Part>,
    /// Other runners that fit the same folder.
    pub(super) others: Vec<Runner>,
    /// The package's test script, for node.
    pub(super) script: Script,
    /// Whether the project's files say pytest.
    pub(super) says_pytest: bool,
}

/// A file or folder of a project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Part {
    /// A file.
    File(WorkspacePath),
    /// A folder.
    Folder(WorkspacePath),
}

/// What is looked for, for the error of a project without tests.
const LOOKED_FOR: &str = "looked for: Cargo.toml (cargo test); pytest.ini, [tool.pytest], conftest.py, test_*.py or *_test.py \
                          (pytest, unittest); package.json whose scripts.test runs `node --test`, or *.test.js, test-*.js, \
                          test/*.js (node:test)";

/// Finds the project that `path` belongs to: at the path, else in the nearest folder above it.
pub(super) fn detect(
    sandbox: &mut dyn Sandbox,
    path: &WorkspacePath,
    wanted: Option<Runner>,
) -> Result<Detected, Failure> {
    let (folder, part) = match change::status(sandbox, path)? {
        None => return Err(Failure::new("not_found", format!("`{path}` does not exist; look with list_files"))),
        Some(Status { kind: EntryKind::Folder, .. }) => (path.clone(), Part::Folder(path.clone())),
        Some(Status { kind: EntryKind::File | EntryKind::Link(_) | EntryKind::Other, .. }) => {
            (python::ancestors(path).into_iter().nth(1).unwrap_or_else(|| path.clone()), Part::File(path.clone()))
        }
    };
    let mut other_scripts = Vec::new();
    for directory in python::ancestors(&folder) {
        let signs = Signs::read(sandbox, &directory)?;
        if let Script::Other { program } = &signs.script {
            other_scripts.push(format!(
                "`{directory}` has a package.json whose scripts.test runs `{}`",
                plain_text::one_line(program)
            ));
        }
        let fitting = signs.runners(&part, wanted);
        if let Some((runner, others)) = fitting.split_first() {
            let whole = matches!(&part, Part::Folder(folder) if *folder == directory);
            return Ok(Detected {
                runner: *runner,
                directory,
                part: (!whole).then_some(part),
                others: others.to_vec(),
                says_pytest: signs.pytest,
                script: signs.script,
            });
        }
    }
    Err(nothing_found(sandbox, path, &other_scripts))
}

/// What the files of one folder say.
#[derive(Debug)]
struct Signs {
    cargo: bool,
    /// A configuration of pytest, or a test that imports it.
    pytest: bool,
    /// A test that imports unittest.
    unittest: bool,
    /// Python test files, or a configuration of pytest, in a folder that a Python project can begin in.
    python: bool,
    script: Script,
    /// JavaScript test files beside or below, outside `node_modules`, in a folder that a package can begin in.
    node_files: bool,
}

impl Signs {
    fn read(sandbox: &mut dyn Sandbox, directory: &WorkspacePath) -> Result<Self, Failure> {
        let own = names(sandbox, directory, None, 1)?;
        let has = |name: &str| own.iter().any(|own| own == name);
        let script = if has("package.json") {
            node_script::read(&text(sandbox, &python::join(directory, "package.json"))?)
        } else {
            Script::Missing
        };
        // A folder of tests is no project: run there, its tests would not find what they import.
        let marks = ["pyproject.toml", "setup.py", "setup.cfg", "tox.ini", "pytest.ini", ".venv", "venv"];
        let begins_python = directory.is_workspace() || marks.iter().any(|name| has(name)) || has("requirements.txt");
        let mut configured = has("pytest.ini") || has(".pytest.ini") || has("conftest.py");
        for (name, section) in
            [("pyproject.toml", "[tool.pytest"), ("setup.cfg", "[tool:pytest]"), ("tox.ini", "[pytest]")]
        {
            if !configured && has(name) {
                configured = text(sandbox, &python::join(directory, name))?.contains(section);
            }
        }
        let test_files = names(sandbox, directory, Some("*test*.py"), 12)?.iter().any(|path| is_python_test(path));
        let imports = |sandbox: &mut dyn Sandbox, module: &str| {
            let pattern = format!("^[ \\t]*(import|from)[ \\t]+{module}\\b");
            if test_files { occurs(sandbox, directory, &pattern) } else { Ok(false) }
        };
        let pytest = configured || imports(sandbox, "pytest")?;
        let unittest = !pytest && imports(sandbox, "unittest")?;
        let beside = names(sandbox, directory, Some("*.{js,mjs,cjs}"), 12)?;
        Ok(Self {
            cargo: has("Cargo.toml"),
            pytest,
            unittest,
            python: begins_python && (configured || test_files),
            node_files: (directory.is_workspace() || has("package.json"))
                && beside.iter().any(|path| node::is_test_file(path)),
            script,
        })
    }

    /// The runners that fit, the preferred one first. A file's own language decides when the call names a file.
    fn runners(&self, part: &Part, wanted: Option<Runner>) -> Vec<Runner> {
        let extension = match part {
            Part::File(path) => path.as_str().rsplit_once('.').map(|(_, extension)| extension),
            Part::Folder(_) => None,
        };
        let language = |extensions: &[&str]| extension.is_none_or(|extension| extensions.contains(&extension));
        let by_node = match &self.script {
            Script::Node(_) => true,
            Script::Missing => self.node_files,
            Script::Other { .. } => self.node_files && wanted == Some(Runner::Node),
        };
        let mut fitting = Vec::new();
        if self.cargo && (language(&["rs", "toml"]) || wanted == Some(Runner::Cargo)) {
            fitting.push(Runner::Cargo);
        }
        if self.python && language(&["py", "toml", "ini", "cfg"]) {
            // Which of the two is decided when it is known whether pytest is installed.
            let first =
                if self.unittest { [Runner::Unittest, Runner::Pytest] } else { [Runner::Pytest, Runner::Unittest] };
            fitting.extend(first);
        }
        if by_node && language(&["js", "mjs", "cjs", "ts", "mts", "cts", "jsx", "tsx", "json"]) {
            fitting.push(Runner::Node);
        }
        fitting.retain(|runner| wanted.is_none_or(|wanted| *runner == wanted));
        fitting
    }
}

/// Names in a folder, relative to it, without ignored files when it is looked at in depth.
fn names(
    sandbox: &mut dyn Sandbox,
    directory: &WorkspacePath,
    glob: Option<&str>,
    depth: u32,
) -> Result<Vec<String>, Failure> {
    let request = ListFiles {
        path: directory.clone(),
        glob: glob.map(str::to_owned),
        depth,
        max_entries: 5_000,
        respect_ignore: depth > 1,
    };
    let listing = list_files::list(sandbox, request)?;
    let environments = |name: &str| matches!(name, ".venv" | "venv");
    let prefix = if directory.is_workspace() { String::new() } else { format!("{}/", directory.as_str()) };
    let files = listing.entries.into_iter().filter(|entry| {
        entry.kind != EntryKind::Folder || (depth == 1 && entry.path.rsplit('/').next().is_some_and(environments))
    });
    let below = files.filter_map(|entry| entry.path.strip_prefix(&prefix).map(str::to_owned));
    Ok(below.filter(|path| !path.split('/').any(|name| name == "node_modules" || name == "site-packages")).collect())
}

/// The text of a small file.
fn text(sandbox: &mut dyn Sandbox, path: &WorkspacePath) -> Result<String, Failure> {
    let content = read_file::read(sandbox, path, Window::Bytes, 1024 * 1024)?;
    Ok(String::from_utf8_lossy(&content.bytes).into_owned())
}

/// Whether an expression occurs in a Python file.
fn occurs(sandbox: &mut dyn Sandbox, directory: &WorkspacePath, pattern: &str) -> Result<bool, Failure> {
    let request = SearchFiles {
        pattern: pattern.to_owned(),
        path: directory.clone(),
        glob: Some("*.py".to_owned()),
        file_type: None,
        mode: OutputMode::FilesWithMatches,
        context: 0,
        case_insensitive: false,
        multiline: false,
        offset: 0,
        head_limit: 1,
        max_line_bytes: 100,
    };
    Ok(search_files::search(sandbox, request)?.total_files > 0)
}

/// The names that pytest and unittest collect.
fn is_python_test(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    name.starts_with("test") || name.ends_with("_test.py")
}

/// The error of a place without tests, with the places below it that have some.
fn nothing_found(sandbox: &mut dyn Sandbox, path: &WorkspacePath, other_scripts: &[String]) -> Failure {
    let mut text = format!("no tests that can be run at `{path}` or above it; {LOOKED_FOR}.");
    for script in other_scripts {
        text.push_str(&format!(" {script}, which is none of these runners."));
    }
    if let Some(below) = projects_below(sandbox, path, &[]) {
        text.push_str(&format!(" {below}"));
    }
    Failure::new("no_tests", text)
}

/// What begins a project of which runner.
const BEGINNINGS: [(&str, Runner); 8] = [
    ("Cargo.toml", Runner::Cargo),
    ("pyproject.toml", Runner::Pytest),
    ("setup.py", Runner::Pytest),
    ("setup.cfg", Runner::Pytest),
    ("pytest.ini", Runner::Pytest),
    ("tox.ini", Runner::Pytest),
    ("requirements.txt", Runner::Pytest),
    ("package.json", Runner::Node),
];

/// A sentence about the projects in folders below `path`, but those of the runners in `except`.
pub(super) fn projects_below(sandbox: &mut dyn Sandbox, path: &WorkspacePath, except: &[Runner]) -> Option<String> {
    let except: Vec<Runner> =
        except.iter().map(|runner| if *runner == Runner::Unittest { Runner::Pytest } else { *runner }).collect();
    let names: Vec<&str> =
        BEGINNINGS.iter().filter(|(_, runner)| !except.contains(runner)).map(|(name, _)| *name).collect();
    let request = ListFiles {
        path: path.clone(),
        glob: Some(format!("{{{}}}", names.join(","))),
        depth: 4,
        max_entries: 20,
        respect_ignore: true,
    };
    let listing = list_files::list(sandbox, request).ok()?;
    let own = |file: &str| file.rsplit_once('/').map_or("", |(folder, _)| folder) == path.as_str();
    let below: Vec<String> = listing
        .entries
        .iter()
        .filter(|entry| !own(&entry.path) && !entry.path.split('/').any(|name| name == "node_modules"))
        .map(|entry| format!("`{}`", plain_text::one_line(&entry.path)))
        .collect();
    if below.is_empty() {
        return None;
    }
    Some(format!("There are projects below: {}; name a folder as path.", below.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::folder_sandbox::FolderSandbox;

    fn detected(files: &[(&str, &str)], path: &str, wanted: Option<Runner>) -> Result<Detected, Failure> {
        let sandbox = FolderSandbox::new(files);
        let path = WorkspacePath::parse(path, sandbox.root()).unwrap();
        detect(&mut &sandbox, &path, wanted)
    }

    fn runner(files: &[(&str, &str)]) -> Runner {
        detected(files, ".", None).unwrap().runner
    }

    #[test]
    fn files_tell_the_runner() {
        assert_eq!(runner(&[("Cargo.toml", "")]), Runner::Cargo);
        assert_eq!(runner(&[("pyproject.toml", "[tool.pytest.ini_options]\n")]), Runner::Pytest);
        assert_eq!(runner(&[("tests/test_a.py", "import pytest\n")]), Runner::Pytest);
        assert_eq!(runner(&[("tests/test_a.py", "from unittest import TestCase\n")]), Runner::Unittest);
        assert_eq!(runner(&[("package.json", r#"{"scripts":{"test":"node --test"}}"#)]), Runner::Node);
        assert_eq!(runner(&[("lib/a.test.mjs", "")]), Runner::Node);
    }

    #[test]
    fn several_runners_are_ordered_and_the_others_are_told() {
        let files = [("Cargo.toml", ""), ("tests/test_a.py", "import pytest"), ("test/a.js", "")];
        let found = detected(&files, ".", None).unwrap();
        assert_eq!((found.runner, found.others), (Runner::Cargo, vec![Runner::Pytest, Runner::Unittest, Runner::Node]));
        assert_eq!(detected(&files, ".", Some(Runner::Node)).unwrap().runner, Runner::Node);
        assert_eq!(detected(&files, "tests/test_a.py", None).unwrap().runner, Runner::Pytest);
    }

    #[test]
    fn the_nearest_project_above_a_path_is_taken() {
        let files = [("a/Cargo.toml", ""), ("a/src/deep/x.rs", ""), ("Cargo.toml", "")];
        let found = detected(&files, "a/src/deep", None).unwrap();
        assert_eq!(found.directory.as_str(), "a");
        // A folder of tests is a part of the project above it.
        let python =
            [("sub/pyproject.toml", ""), ("sub/tests/test_a.py", "import pytest"), ("sub/tests/conftest.py", "")];
        assert_eq!(detected(&python, "sub/tests", None).unwrap().directory.as_str(), "sub");
        assert_eq!(found.part, Some(Part::Folder(WorkspacePath::parse("a/src/deep", "/work").unwrap())));
        assert_eq!(detected(&files, "a", None).unwrap().part, None);
    }

    #[test]
    fn a_place_without_tests_says_what_was_looked_for_and_what_is_below() {
        let files = [("package.json", r#"{"scripts":{"test":"jest"}}"#), ("a.test.js", ""), ("b/Cargo.toml", "")];
        let failure = detected(&files, ".", None).unwrap_err();
        assert_eq!(failure.code, "no_tests");
        for part in ["Cargo.toml (cargo test)", "scripts.test runs `jest`", "`b/Cargo.toml`"] {
            assert!(failure.text.contains(part), "{}", failure.text);
        }
        assert_eq!(detected(&files, "nowhere", None).unwrap_err().code, "not_found");
    }
}
