//! Which runner a project's tests are for, told from its files.

use cofferdam_contract::{Ignoring, OutputMode, Sandbox, SearchFiles, WorkspacePath};

use crate::{
    Failure, change,
    checks::SCRIPTS,
    folders,
    part::Part,
    plain_text,
    project_files::{names, text},
    project_signs::Signs,
    search_files,
};

use super::{
    node,
    node_script::{self, Script},
    package_script::Manager,
    projects::{self, Language, Project},
    runner::Runner,
    script_runner::{self, ScriptRunner},
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
    /// The makefile's target that runs tests.
    pub(super) make: Option<&'static str>,
    /// What runs the package's scripts.
    pub(super) manager: Manager,
    /// What the package's test script gives vitest, jest or mocha.
    pub(super) script_runner: ScriptRunner,
    /// Whether the project's files say pytest.
    pub(super) says_pytest: bool,
    /// Projects in folders below, when the call is for a whole project.
    pub(super) below: Vec<Project>,
    /// Those of them that the runner does not cover.
    pub(super) beside: Vec<Project>,
    /// What the call named.
    path: WorkspacePath,
}

impl Detected {
    /// The error of a project whose tests no runner that is installed can find.
    pub(super) fn nothing_found(&self, sandbox: &mut dyn Sandbox) -> Failure {
        nothing_found(sandbox, &self.path, &[], None)
    }
}

/// What is looked for, for the error of a project without tests.
const LOOKED_FOR: &str = "looked for: Cargo.toml (cargo test); pytest.ini, [tool.pytest], conftest.py, test_*.py or *_test.py \
                          (pytest, unittest); package.json whose scripts.test runs `node --test`, or *.test.js, test-*.js, \
                          test/*.js (node:test), or that runs or needs vitest, jest or mocha; go.mod with *_test.go (go test); \
                          a makefile with the target test or check (make); package.json with another scripts.test (npm)";

/// Finds the project that `path` belongs to: at the path, else in the nearest folder above it.
pub(super) fn detect(
    sandbox: &mut dyn Sandbox,
    path: &WorkspacePath,
    wanted: Option<Runner>,
) -> Result<Detected, Failure> {
    let part = Part::at(sandbox, path)?;
    let mut other_scripts = Vec::new();
    let mut fitting_otherwise = Vec::new();
    for directory in part.folders() {
        let signs = TestSigns::read(sandbox, &directory)?;
        if let (Script::Other { program }, None) = (&signs.script, &signs.scripted) {
            other_scripts.push(format!(
                "`{directory}` has a package.json whose scripts.test runs `{}`",
                plain_text::one_line(program)
            ));
        }
        let whole = part.is_folder(&directory);
        let scope = match &part {
            Part::File(file) => Scope::File(file.as_str().rsplit_once('.').map(|(_, extension)| extension)),
            Part::Folder(_) if whole => Scope::Whole,
            Part::Folder(folder) => Scope::Folder {
                name: folders::relative(folder, &directory),
                has_python: !names(sandbox, folder, Some("*.py"), 12)?.is_empty(),
            },
        };
        let all = signs.runners(&scope, wanted);
        if let Some(wanted) = wanted
            && !all.contains(&wanted)
        {
            fitting_otherwise.extend(all.iter().map(|runner| format!("{} (in `{directory}`)", runner.name())));
        }
        let fitting: Vec<Runner> =
            all.into_iter().filter(|runner| wanted.is_none_or(|wanted| wanted == *runner)).collect();
        if let Some((runner, others)) = fitting.split_first() {
            let below = if whole { signs.projects.clone() } else { Vec::new() };
            let beside = if whole { signs.not_covered_by(*runner) } else { Vec::new() };
            return Ok(Detected {
                runner: *runner,
                directory,
                part: (!whole).then_some(part),
                others: others.to_vec(),
                make: signs.make,
                manager: signs.manager,
                script_runner: signs.script_runner(*runner),
                says_pytest: signs.pytest,
                script: signs.script,
                below,
                beside,
                path: path.clone(),
            });
        }
    }
    let wanted = wanted.map(|wanted| (wanted, fitting_otherwise));
    Err(nothing_found(sandbox, path, &other_scripts, wanted))
}

/// Whether nextest is there for a cargo project.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Nextest {
    /// The project configures it, and it is installed.
    Configured,
    /// It is installed.
    Installed,
    /// It is not installed.
    Missing,
}

impl Nextest {
    fn of(sandbox: &mut dyn Sandbox, directory: &WorkspacePath) -> Result<Self, Failure> {
        if sandbox.find_program("cargo-nextest")?.is_none() {
            return Ok(Self::Missing);
        }
        for folder in folders::ancestors(directory) {
            // Its settings are the cargo workspace's, whose folder may be above.
            if change::status(sandbox, &folders::join(&folder, ".config/nextest.toml"))?.is_some() {
                return Ok(Self::Configured);
            }
        }
        Ok(Self::Installed)
    }
}

/// What a call is for, as seen from a project's folder.
enum Scope<'a> {
    /// All of it.
    Whole,
    /// A folder in it.
    Folder {
        /// Relative to the project's.
        name: String,
        /// Whether it holds Python files.
        has_python: bool,
    },
    /// A file with this extension.
    File(Option<&'a str>),
}

/// What the files of one folder say.
#[derive(Debug)]
struct TestSigns {
    cargo: bool,
    /// Whether the manifest is one of a cargo workspace.
    cargo_workspace: bool,
    /// A configuration of pytest, or a test that imports it.
    pytest: bool,
    /// A test that imports unittest.
    unittest: bool,
    /// Python test files, or a configuration of pytest, in a folder that a Python project can begin in.
    python: bool,
    /// Whether unittest, begun in the folder, would come to one of the test files.
    within_unittest: bool,
    script: Script,
    /// What the package's test script runs, of vitest, jest and mocha.
    scripted: Option<(Runner, ScriptRunner)>,
    /// Which of them the package needs, or has a configuration for.
    needed: Vec<Runner>,
    /// Whether the manifest's folder, or one above it, has a configuration of nextest, and whether it is installed.
    nextest: Nextest,
    /// Whether there are Go's test files in a module.
    go: bool,
    /// The makefile's target that runs tests.
    pub(super) make: Option<&'static str>,
    manager: Manager,
    /// JavaScript test files beside or below, outside `node_modules`, in a folder that a package can begin in.
    node_files: Vec<String>,
    /// Projects in folders below.
    projects: Vec<Project>,
}

impl TestSigns {
    fn read(sandbox: &mut dyn Sandbox, directory: &WorkspacePath) -> Result<Self, Failure> {
        let signs = Signs::read(sandbox, directory)?;
        let has = |name: &str| signs.has(name);
        let needed = [
            (Runner::Vitest, "vitest", "vitest.config."),
            (Runner::Jest, "jest", "jest.config."),
            (Runner::Mocha, "mocha", ".mocharc."),
        ];
        let needed = needed.into_iter().filter(|(_, name, configuration)| {
            signs.needs(name)
                || (*name == "jest" && signs.package_has(name))
                || (signs.is_package() && signs.has_beginning(&[configuration]))
        });
        let needed: Vec<Runner> = needed.map(|(runner, _, _)| runner).collect();
        let script = signs.package().map_or(Script::Missing, node_script::read);
        let scripted = signs.package().and_then(script_runner::of_package);
        let go = has("go.mod") && !names(sandbox, directory, Some("*_test.go"), 12)?.is_empty();
        let make = signs.first_target(&["test", "check"]);
        let manager = Manager::of(&signs);
        // A folder of tests is no project: run there, its tests would not find what they import.
        let has_mark = signs.has_python_mark();
        let begins_python = directory.is_workspace() || has_mark;
        let sections = [("pyproject.toml", "[tool.pytest"), ("setup.cfg", "[tool:pytest]"), ("tox.ini", "[pytest]")];
        let configured = ["pytest.ini", ".pytest.ini", "conftest.py"].into_iter().any(has)
            || sections.into_iter().any(|(name, section)| signs.python_file_says(name, section));
        let mut tests = names(sandbox, directory, Some("*test*.py"), 12)?;
        tests.retain(|path| is_python_test(path));
        let projects = projects::below(sandbox, directory, &tests)?;
        if !has_mark {
            // A workspace is no project by itself: what is part of one below needs that one's environment.
            tests.retain(|path| !projects::holds(&projects, Language::Python, path));
        }
        let test_files = !tests.is_empty();
        let packages = if test_files { names(sandbox, directory, Some("__init__.py"), 12)? } else { Vec::new() };
        let imports = |sandbox: &mut dyn Sandbox, module: &str| {
            let pattern = format!("^[ \\t]*(import|from)[ \\t]+{module}\\b");
            if test_files { occurs(sandbox, directory, &pattern) } else { Ok(false) }
        };
        let pytest = configured || imports(sandbox, "pytest")?;
        let unittest = !pytest && imports(sandbox, "unittest")?;
        let mut node_files = names(sandbox, directory, Some("*.{js,mjs,cjs}"), 12)?;
        node_files.retain(|path| {
            let own = has("package.json")
                || (directory.is_workspace() && !projects::holds(&projects, Language::JavaScript, path));
            own && node::is_test_file(path)
        });
        let cargo = has("Cargo.toml");
        let nextest = if cargo { Nextest::of(sandbox, directory)? } else { Nextest::Missing };
        let cargo_workspace = cargo && text(sandbox, &folders::join(directory, "Cargo.toml"))?.contains("[workspace");
        Ok(Self {
            cargo,
            scripted,
            needed,
            nextest,
            go,
            make,
            manager,
            cargo_workspace,
            pytest,
            unittest,
            python: begins_python && (configured || test_files),
            within_unittest: tests.iter().any(|path| is_within_unittest(path, &packages)),
            node_files,
            script,
            projects,
        })
    }

    /// Projects below that `runner` does not come to: of another language, or where it stays in its own project.
    fn not_covered_by(&self, runner: Runner) -> Vec<Project> {
        let stays = match runner {
            Runner::Cargo | Runner::Nextest => !self.cargo_workspace,
            Runner::Unittest | Runner::Go => true,
            Runner::Make | Runner::Npm => return Vec::new(),
            Runner::Pytest | Runner::Vitest | Runner::Jest | Runner::Mocha | Runner::Node => false,
        };
        let language = Language::of(runner);
        self.projects.iter().filter(|project| stays || Some(project.language) != language).cloned().collect()
    }

    /// The runners that fit, the preferred one first. A file's own language decides when the call names a file, and
    /// what is in a folder when it names one.
    fn runners(&self, scope: &Scope<'_>, wanted: Option<Runner>) -> Vec<Runner> {
        let (extension, has_python, has_node) = match scope {
            Scope::Whole => (None, true, !self.node_files.is_empty()),
            Scope::Folder { name, has_python } => {
                let below = format!("{name}/");
                (None, *has_python, self.node_files.iter().any(|file| file.starts_with(&below)))
            }
            Scope::File(extension) => (*extension, true, !self.node_files.is_empty()),
        };
        let language = |extensions: &[&str]| extension.is_none_or(|extension| extensions.contains(&extension));
        let by_node = match &self.script {
            Script::Node(_) => has_node || !matches!(scope, Scope::Folder { .. }),
            Script::Missing => has_node && (self.needed.is_empty() || wanted == Some(Runner::Node)),
            Script::Other { .. } => has_node && wanted == Some(Runner::Node),
        };
        let mut fitting = Vec::new();
        if self.cargo && (language(&["rs", "toml"]) || wanted == Some(Runner::Cargo)) {
            match self.nextest {
                Nextest::Configured => fitting.extend([Runner::Nextest, Runner::Cargo]),
                Nextest::Installed => fitting.extend([Runner::Cargo, Runner::Nextest]),
                Nextest::Missing => fitting.push(Runner::Cargo),
            }
        }
        if self.python && has_python && language(&["py", "toml", "ini", "cfg"]) {
            // Which of the two is decided when it is known whether pytest is installed.
            let first =
                if self.unittest { [Runner::Unittest, Runner::Pytest] } else { [Runner::Pytest, Runner::Unittest] };
            // Asked for a part, or by name, unittest is begun at that part, or has to say itself that there is nothing.
            let unittest = self.within_unittest || !matches!(scope, Scope::Whole) || wanted == Some(Runner::Unittest);
            fitting.extend(first.into_iter().filter(|runner| *runner != Runner::Unittest || unittest));
        }
        if language(SCRIPTS) || language(&["json"]) {
            // The one that the script runs is the project's choice; of others that it needs the first may do.
            let scripted = self.scripted.iter().map(|(runner, _)| *runner);
            let own = matches!(self.script, Script::Node(_)).then_some(Runner::Node).filter(|_| by_node);
            let needed = self
                .needed
                .iter()
                .copied()
                .filter(|runner| self.scripted.as_ref().is_none_or(|(own, _)| own != runner));
            fitting.extend(scripted.chain(own).chain(needed));
            fitting.extend(Some(Runner::Node).filter(|_| by_node && own.is_none()));
        }
        if self.go && language(&["go", "mod"]) {
            fitting.push(Runner::Go);
        }
        if self.make.is_some() && matches!(scope, Scope::Whole) {
            fitting.push(Runner::Make);
        }
        // A script that comes to no known runner; asked for by name, any.
        let is_unknown = matches!(self.script, Script::Other { .. }) && self.scripted.is_none();
        let is_asked_for = wanted == Some(Runner::Npm) && self.script != Script::Missing;
        if (is_unknown || is_asked_for) && matches!(scope, Scope::Whole) {
            fitting.push(Runner::Npm);
        }
        fitting
    }

    /// What the script gives this runner, if it is the one that the script runs.
    fn script_runner(&self, runner: Runner) -> ScriptRunner {
        let own = self.scripted.as_ref().filter(|(scripted, _)| *scripted == runner);
        own.map(|(_, script)| script.clone()).unwrap_or_default()
    }
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
        ignoring: Ignoring::Everywhere,
    };
    Ok(search_files::search(sandbox, request)?.total_files > 0)
}

/// The names that pytest and unittest collect.
fn is_python_test(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    name.starts_with("test") || name.ends_with("_test.py")
}

/// Whether unittest finds a test file when it is begun above: beside it, in the folder of tests that it is pointed at
/// (`tests` or `test`), or in packages all the way down.
fn is_within_unittest(path: &str, packages: &[String]) -> bool {
    let mut folders = path.match_indices('/').map(|(end, _)| &path[..end]);
    path.starts_with("tests/")
        || path.starts_with("test/")
        || folders.all(|folder| packages.contains(&format!("{folder}/__init__.py")))
}

/// The error of a place without tests, with the places below it that have some.
fn nothing_found(
    sandbox: &mut dyn Sandbox,
    path: &WorkspacePath,
    other_scripts: &[String],
    wanted: Option<(Runner, Vec<String>)>,
) -> Failure {
    let mut text = match wanted {
        Some((wanted, fitting)) => {
            let mut text = format!(
                "the runner `{}` does not fit `{path}`, by itself or as a part of a project above it: it needs {}.",
                wanted.name(),
                wanted.looked_for()
            );
            if !fitting.is_empty() {
                text.push_str(&format!(" What fits: {}; name it as runner, or leave runner out.", fitting.join(", ")));
            }
            text
        }
        None => {
            format!("there is nothing to run at `{path}`, by itself or as a part of a project above it; {LOOKED_FOR}.")
        }
    };
    for script in other_scripts {
        text.push_str(&format!(" {script}, which is none of these runners."));
    }
    // The hint is extra: where the place cannot be listed, the error stands without it.
    let below = tests_below(sandbox, path).unwrap_or_default();
    if !below.is_empty() {
        text.push_str(&format!(" There are projects below: {}; name a folder as path.", projects::told(path, &below)));
    }
    Failure::new("nothing_to_run", text)
}

/// The projects below a place, and the folders at its top that hold Python tests without being one.
fn tests_below(sandbox: &mut dyn Sandbox, path: &WorkspacePath) -> Result<Vec<Project>, Failure> {
    let mut tests = names(sandbox, path, Some("*test*.py"), 12)?;
    tests.retain(|path| is_python_test(path));
    let mut found = projects::below(sandbox, path, &tests)?;
    tests.retain(|path| !projects::holds(&found, Language::Python, path));
    found.extend(projects::tops(&tests).map(|folder| Project { folder, language: Language::Python }));
    found.sort();
    found.dedup();
    Ok(found)
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
    fn a_script_chooses_among_javascript_s_runners_and_a_need_is_enough() {
        let package = |text: &'static str| [("package.json", text), ("test/a.js", "")];
        assert_eq!(runner(&package(r#"{"scripts":{"test":"npm run x","x":"jest --ci"}}"#)), Runner::Jest);
        assert_eq!(runner(&package(r#"{"devDependencies":{"vitest":"3"}}"#)), Runner::Vitest);
        assert_eq!(
            runner(&package(r#"{"scripts":{"test":"node --test"},"devDependencies":{"mocha":"1"}}"#)),
            Runner::Node
        );
        assert_eq!(runner(&package("{}")), Runner::Node);
        let both = package(r#"{"scripts":{"test":"mocha"},"devDependencies":{"mocha":"1","vitest":"3"}}"#);
        let found = detected(&both, ".", None).unwrap();
        assert_eq!((found.runner, found.others), (Runner::Mocha, vec![Runner::Vitest]));
        assert_eq!(runner(&[("package.json", "{}"), (".mocharc.yml", ""), ("a.test.js", "")]), Runner::Mocha);
    }

    #[test]
    fn a_script_that_comes_to_no_known_runner_is_run_as_it_is() {
        let package = |script: &str| format!(r#"{{"scripts":{{"test":"{script}"}}}}"#);
        assert_eq!(runner(&[("package.json", &package("ava")), ("a.test.js", "")]), Runner::Npm);
        assert_eq!(runner(&[("package.json", &package("./run.sh && xo")), ("pnpm-lock.yaml", "")]), Runner::Npm);
        let both = [("package.json", &*package("tap")), ("Makefile", "test:\n")];
        let found = detected(&both, ".", None).unwrap();
        assert_eq!((found.runner, found.others), (Runner::Make, vec![Runner::Npm]));
        let jest = [("package.json", &*package("jest"))];
        assert_eq!(detected(&jest, ".", None).unwrap().others, []);
        assert_eq!(detected(&jest, ".", Some(Runner::Npm)).unwrap().runner, Runner::Npm);
        let placeholder = package("echo no test specified && exit 1");
        assert!(detected(&[("package.json", &placeholder)], ".", None).is_err());
        assert!(detected(&[("package.json", &placeholder)], ".", Some(Runner::Npm)).is_err());
    }

    #[test]
    fn go_and_make_are_told_by_their_files() {
        assert_eq!(runner(&[("go.mod", ""), ("a/a_test.go", "")]), Runner::Go);
        assert_eq!(runner(&[("Makefile", "check:\n\ttrue\n")]), Runner::Make);
        assert_eq!(runner(&[("Makefile", "test:\n"), ("Cargo.toml", "")]), Runner::Cargo);
        assert!(detected(&[("go.mod", ""), ("a.go", "")], ".", None).is_err());
        assert!(detected(&[("Makefile", "all:\n")], ".", None).is_err());
        let below = [("Makefile", "test:\n"), ("deep/x.c", "")];
        assert!(detected(&below, "deep", None).is_err(), "make runs everything, and a part was asked for");
    }

    #[test]
    fn a_runner_that_does_not_fit_is_named_with_what_does() {
        let failure = detected(&[("Cargo.toml", ""), ("sub/go.mod", "")], ".", Some(Runner::Pytest)).unwrap_err();
        assert_eq!(failure.code, "nothing_to_run");
        for part in
            ["the runner `pytest` does not fit `.`", "it needs pytest.ini", "What fits: cargo (in `.`)", "`sub` (go)"]
        {
            assert!(failure.text.contains(part), "{part}: {}", failure.text);
        }
        let failure = detected(&[("Cargo.toml", "")], ".", Some(Runner::Nextest)).unwrap_err();
        assert!(failure.text.contains("an installed cargo-nextest"), "{}", failure.text);
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
        let files = [("package.json", r#"{"scripts":{"test":"ava"}}"#), ("sub/a.js", ""), ("sub/b/Cargo.toml", "")];
        let failure = detected(&files, "sub", None).unwrap_err();
        assert_eq!(failure.code, "nothing_to_run");
        for part in ["Cargo.toml (cargo test)", "scripts.test runs `ava`", "`sub/b` (cargo)"] {
            assert!(failure.text.contains(part), "{}", failure.text);
        }
        assert_eq!(detected(&files, "nowhere", None).unwrap_err().code, "not_found");
    }

    /// What the error of a workspace without tests of its own names.
    fn hint(files: &[(&str, &str)], path: &str) -> String {
        let failure = detected(files, path, None).unwrap_err();
        assert_eq!(failure.code, "nothing_to_run");
        assert!(failure.text.contains("looked for: Cargo.toml"), "{}", failure.text);
        failure.text.split_once("There are projects below: ").map_or(String::new(), |(_, hint)| hint.to_owned())
    }

    #[test]
    fn tests_of_projects_below_are_not_the_workspaces() {
        let backend = [("backend/.venv/bin/python", ""), ("backend/test_a.py", "import unittest")];
        assert_eq!(hint(&backend, "."), "`backend` (python); name a folder as path.");
        assert_eq!(detected(&backend, "backend", None).unwrap().directory.as_str(), "backend");
        let several = [("web/package.json", "{}"), ("web/test/a.js", ""), ("api/setup.py", ""), ("api/test_a.py", "")];
        assert_eq!(hint(&several, "."), "`api` (python), `web` (node); name a folder as path.");
        assert_eq!(detected(&several, "web", None).unwrap().runner, Runner::Node);
        assert_eq!(hint(&[("readme/README.md", "")], "."), "");
        // With a mark of its own the workspace is a project, and its runner looks below.
        let own = [("pyproject.toml", ""), ("api/setup.py", ""), ("api/test_a.py", "import pytest")];
        assert_eq!(runner(&own), Runner::Pytest);
    }

    #[test]
    fn a_folder_without_tests_fits_no_runner_of_the_project_above() {
        let files = [("none/README.md", ""), ("tests/test_a.py", "import unittest"), ("web/a.test.js", "")];
        assert_eq!(hint(&files, "none"), "");
        assert_eq!(detected(&files, "none", Some(Runner::Pytest)).unwrap_err().code, "nothing_to_run");
        assert_eq!(detected(&files, "web", None).unwrap().runner, Runner::Node);
        let tests = detected(&files, "tests", None).unwrap();
        assert_eq!((tests.runner, tests.others), (Runner::Unittest, vec![Runner::Pytest]));
    }

    #[test]
    fn unittest_fits_where_it_would_come_to_a_test() {
        let others = |files: &[(&str, &str)]| detected(files, ".", None).unwrap().others;
        assert_eq!(others(&[("a/test_x.py", "")]), []);
        assert_eq!(others(&[("a/test_x.py", ""), ("a/__init__.py", "")]), [Runner::Unittest]);
        assert_eq!(others(&[("test_x.py", "")]), [Runner::Unittest]);
        assert_eq!(others(&[("tests/deep/test_x.py", "")]), [Runner::Unittest]);
    }

    #[test]
    fn projects_that_the_runner_does_not_cover_are_told() {
        let beside = |files: &[(&str, &str)], path: &str| {
            let found = detected(files, path, None).unwrap();
            projects::told(&found.directory, &found.beside)
        };
        let files = [("nodep/a.test.js", ""), ("rustproj/Cargo.toml", "")];
        assert_eq!(beside(&files, "."), "`rustproj` (cargo)");
        assert_eq!(beside(&files, "nodep"), "", "a part was asked for");
        assert_eq!(beside(&[("Cargo.toml", "[package]"), ("b/Cargo.toml", "")], "."), "`b` (cargo)");
        assert_eq!(beside(&[("Cargo.toml", "[workspace]"), ("b/Cargo.toml", "")], "."), "");
    }
}
