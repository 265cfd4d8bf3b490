//! What a folder's files say about the tools that its project uses: read once, for tests as for checks.

use cofferdam_contract::{Sandbox, WorkspacePath};
use serde_json::Value;

use crate::{
    Failure, folders,
    project_files::{names, text},
};

/// Files that make a folder a Python project of its own.
pub(crate) const PYTHON_MARKS: [&str; 6] =
    ["pyproject.toml", "setup.py", "setup.cfg", "tox.ini", "pytest.ini", "requirements.txt"];

/// Folders that do, too: virtual environments.
pub(crate) const ENVIRONMENTS: [&str; 2] = [".venv", "venv"];

/// Settings files of Python's tools.
const PYTHON_SETTINGS: [&str; 5] = ["pyproject.toml", "setup.cfg", "tox.ini", "mypy.ini", ".mypy.ini"];

/// What the files of one folder say.
#[derive(Debug, Default)]
pub(crate) struct Signs {
    /// The names in the folder itself.
    own: Vec<String>,
    /// `package.json`, if it can be read.
    package: Option<Value>,
    /// The settings files of Python's tools that are there, and their texts.
    python: Vec<(&'static str, String)>,
    /// Targets of the makefile.
    targets: Vec<String>,
}

impl Signs {
    /// Reads them.
    pub(crate) fn read(sandbox: &mut dyn Sandbox, directory: &WorkspacePath) -> Result<Self, Failure> {
        let own = names(sandbox, directory, None, 1)?;
        let mut signs = Self { own, ..Self::default() };
        if signs.has("package.json") {
            let package = text(sandbox, &folders::join(directory, "package.json"))?;
            signs.package = serde_json::from_str(&package).ok();
        }
        for name in PYTHON_SETTINGS {
            if signs.has(name) {
                signs.python.push((name, text(sandbox, &folders::join(directory, name))?));
            }
        }
        if let Some(name) = ["GNUmakefile", "makefile", "Makefile"].into_iter().find(|name| signs.has(name)) {
            signs.targets = targets(&text(sandbox, &folders::join(directory, name))?);
        }
        Ok(signs)
    }

    /// Whether the folder holds a file of this name.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.own.iter().any(|own| own == name)
    }

    /// Whether the folder holds a file whose name begins so.
    pub(crate) fn has_beginning(&self, beginnings: &[&str]) -> bool {
        self.own.iter().any(|own| beginnings.iter().any(|beginning| own.starts_with(beginning)))
    }

    /// Whether the folder is a Python project of its own, wherever it lies.
    pub(crate) fn has_python_mark(&self) -> bool {
        PYTHON_MARKS.iter().chain(&ENVIRONMENTS).any(|name| self.has(name))
    }

    /// Whether the settings of Python's tools hold this.
    pub(crate) fn python_says(&self, part: &str) -> bool {
        self.python.iter().any(|(_, text)| text.contains(part))
    }

    /// Whether this settings file of Python's tools holds this.
    pub(crate) fn python_file_says(&self, file: &str, part: &str) -> bool {
        self.python.iter().any(|(name, text)| *name == file && text.contains(part))
    }

    /// Whether a line of the settings of Python's tools begins with this key.
    pub(crate) fn python_sets(&self, key: &str) -> bool {
        let mut lines = self.python.iter().flat_map(|(_, text)| text.lines());
        lines.any(|line| line.trim_start().strip_prefix(key).is_some_and(|rest| rest.trim_start().starts_with('=')))
    }

    /// `package.json`, if it can be read.
    pub(crate) fn package(&self) -> Option<&Value> {
        self.package.as_ref()
    }

    /// Whether there is a `package.json`.
    pub(crate) fn is_package(&self) -> bool {
        self.has("package.json")
    }

    /// Whether `package.json` has this key at its top.
    pub(crate) fn package_has(&self, key: &str) -> bool {
        self.package.as_ref().is_some_and(|package| package.get(key).is_some())
    }

    /// Whether `package.json` names this package among what it needs.
    pub(crate) fn needs(&self, name: &str) -> bool {
        let lists = ["dependencies", "devDependencies"].into_iter();
        let mut lists = lists.filter_map(|list| self.package.as_ref()?.get(list)?.as_object());
        lists.any(|list| list.contains_key(name))
    }

    /// A script of `package.json`.
    pub(crate) fn script(&self, name: &str) -> Option<&str> {
        self.package.as_ref()?.get("scripts")?.get(name)?.as_str()
    }

    /// The first of these scripts that is there.
    pub(crate) fn first_script<'a>(&self, names: &[&'a str]) -> Option<&'a str> {
        names.iter().copied().find(|name| self.script(name).is_some())
    }

    /// The first of these makefile targets that is there.
    pub(crate) fn first_target<'a>(&self, names: &[&'a str]) -> Option<&'a str> {
        names.iter().copied().find(|name| self.targets.iter().any(|target| target == name))
    }

    /// Whether there is a makefile with a target.
    pub(crate) fn has_targets(&self) -> bool {
        !self.targets.is_empty()
    }

    /// What is there, for the error of a place where nothing fits: `Cargo.toml`, `package.json with the scripts …`.
    pub(crate) fn told(&self) -> Vec<String> {
        const MARKS: [&str; 8] = [
            "Cargo.toml",
            "pyproject.toml",
            "setup.py",
            "setup.cfg",
            "requirements.txt",
            "go.mod",
            "tsconfig.json",
            "CMakeLists.txt",
        ];
        let mut told: Vec<String> = MARKS.iter().filter(|mark| self.has(mark)).map(|mark| (*mark).to_owned()).collect();
        if self.is_package() {
            let scripts = self.package.as_ref().and_then(|package| package.get("scripts")?.as_object());
            let scripts: Vec<&str> = scripts.into_iter().flatten().map(|(name, _)| name.as_str()).collect();
            told.push(with_list("package.json", "scripts", &scripts));
        }
        if self.has_targets() {
            let targets: Vec<&str> = self.targets.iter().map(String::as_str).collect();
            told.push(with_list("a makefile", "targets", &targets));
        }
        told
    }
}

fn with_list(what: &str, kind: &str, names: &[&str]) -> String {
    if names.is_empty() {
        return format!("{what} without {kind}");
    }
    let shown: Vec<String> = names.iter().take(12).map(|name| crate::plain_text::one_line(name)).collect();
    let more = if names.len() > shown.len() { ", …" } else { "" };
    format!("{what} with the {kind} {}{more}", shown.join(", "))
}

/// The targets that a makefile names: words before a colon at the start of a line, without patterns and variables.
fn targets(makefile: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for line in makefile.lines() {
        let Some((names, rest)) = line.split_once(':') else { continue };
        if rest.starts_with('=') || rest.starts_with(":=") || names.contains(['=', '#', '$', '%', '\t']) {
            continue;
        }
        for name in names.split_whitespace().filter(|name| !name.starts_with('.')) {
            // `make` itself would take such a name for an option.
            if !name.starts_with('-') && !found.iter().any(|found| found == name) {
                found.push(name.to_owned());
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::folder_sandbox::FolderSandbox;

    #[test]
    fn a_makefile_s_targets_are_its_plain_names() {
        let makefile =
            "CC := gcc\nall: a b\n\techo x: y\n.PHONY: lint test\nlint test:\n%.o: %.c\n$(X): y\nv = a:b\n# c: d\n";
        assert_eq!(targets(makefile), ["all", "lint", "test"]);
    }

    #[test]
    fn what_is_there_is_told() {
        let package = r#"{"scripts": {"build": "x", "start": "y"}, "devDependencies": {"eslint": "1"}}"#;
        let sandbox = FolderSandbox::new(&[("package.json", package), ("Makefile", "all:\n"), ("go.mod", "")]);
        let signs = Signs::read(&mut &sandbox, &WorkspacePath::workspace()).unwrap();
        assert!(signs.needs("eslint") && !signs.needs("jest"));
        let told = ["go.mod", "package.json with the scripts build, start", "a makefile with the targets all"];
        assert_eq!(signs.told(), told);
    }

    #[test]
    fn a_section_counts_in_its_own_file() {
        let sandbox = FolderSandbox::new(&[("setup.cfg", "[pytest]"), ("tox.ini", "[tool:pytest]")]);
        let signs = Signs::read(&mut &sandbox, &WorkspacePath::workspace()).unwrap();
        assert!(signs.python_says("[pytest]") && signs.has_python_mark());
        assert!(!signs.python_file_says("tox.ini", "[pytest]") && signs.python_file_says("setup.cfg", "[pytest]"));
    }

    #[test]
    fn a_setting_is_a_key_of_its_own() {
        let sandbox = FolderSandbox::new(&[("mypy.ini", "[mypy]\nfiles = a\nprofile=b\n")]);
        let signs = Signs::read(&mut &sandbox, &WorkspacePath::workspace()).unwrap();
        assert!(signs.python_sets("files") && !signs.python_sets("file") && !signs.python_sets("packages"));
    }
}
