//! Projects in the folders below a folder: what a run there does not cover, and what a call may name instead.

use std::collections::BTreeSet;

use cofferdam_contract::{Sandbox, WorkspacePath};

use crate::{
    Failure, change, folders, plain_text, project_files,
    project_signs::{ENVIRONMENTS, PYTHON_MARKS},
};

use super::runner::Runner;

/// Folder levels that are looked at for projects.
const DEPTH: u32 = 4;

/// Folders that are asked for a virtual environment at most.
const FOLDERS: usize = 50;

/// Projects that are named at most.
const NAMED: usize = 10;

/// A project in a folder below.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Project {
    /// Its folder, relative to where it was looked for.
    pub(super) folder: String,
    pub(super) language: Language,
}

/// What a project's tests are written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Language {
    Rust,
    Python,
    JavaScript,
    Go,
}

impl Language {
    /// The language that a runner's tests are written in.
    /// `None` for any.
    pub(super) fn of(runner: Runner) -> Option<Self> {
        match runner {
            Runner::Cargo | Runner::Nextest => Some(Self::Rust),
            Runner::Pytest | Runner::Unittest => Some(Self::Python),
            Runner::Vitest | Runner::Jest | Runner::Mocha | Runner::Node => Some(Self::JavaScript),
            Runner::Go => Some(Self::Go),
            Runner::Make => None,
            Runner::Npm => Some(Self::JavaScript),
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Rust => "cargo",
            Self::Python => "python",
            Self::JavaScript => "node",
            Self::Go => "go",
        }
    }
}

/// The projects below `directory`, the topmost of each language. `python_tests` are Python's test files there: beside
/// them, or above, an environment is looked for, since hidden folders are in no listing.
pub(super) fn below(
    sandbox: &mut dyn Sandbox,
    directory: &WorkspacePath,
    python_tests: &[String],
) -> Result<Vec<Project>, Failure> {
    let glob = format!("{{Cargo.toml,package.json,go.mod,{}}}", PYTHON_MARKS.join(","));
    let mut found = BTreeSet::new();
    for path in project_files::names(sandbox, directory, Some(&glob), DEPTH)? {
        let Some((folder, name)) = path.rsplit_once('/') else { continue };
        let language = match name {
            "Cargo.toml" => Language::Rust,
            "package.json" => Language::JavaScript,
            "go.mod" => Language::Go,
            // Tests may have requirements and be no project for that.
            "requirements.txt" if matches!(folder.rsplit('/').next(), Some("test" | "tests" | "docs")) => continue,
            _ => Language::Python,
        };
        found.insert(Project { folder: folder.to_owned(), language });
    }
    let folders: BTreeSet<&str> = python_tests.iter().flat_map(|path| folders_above(path)).collect();
    for folder in folders.into_iter().take(FOLDERS) {
        for environment in ENVIRONMENTS {
            let path = folders::join(directory, &format!("{folder}/{environment}"));
            if change::status(sandbox, &path)?.is_some() {
                found.insert(Project { folder: folder.to_owned(), language: Language::Python });
            }
        }
    }
    let topmost = found.iter().filter(|project| {
        let mut above = folders_above(&project.folder);
        !above.any(|folder| found.contains(&Project { folder: folder.to_owned(), language: project.language }))
    });
    Ok(topmost.cloned().collect())
}

/// Whether a file, relative as the projects are, belongs to a project of that language below.
pub(super) fn holds(projects: &[Project], language: Language, path: &str) -> bool {
    let same = projects.iter().filter(|project| project.language == language);
    folders_above(path).any(|folder| same.clone().any(|project| project.folder == folder))
}

/// The folders at the top that hold these files.
pub(super) fn tops(files: &[String]) -> impl Iterator<Item = String> + '_ {
    files.iter().filter_map(|file| file.split_once('/').map(|(top, _)| top.to_owned()))
}

/// Projects for a sentence: "`a` (cargo), `b` (python) and 3 more".
pub(super) fn told(directory: &WorkspacePath, projects: &[Project]) -> String {
    let named = projects.iter().take(NAMED).map(|project| {
        let path = folders::join(directory, &project.folder).to_string();
        format!("`{}` ({})", plain_text::one_line(&path), project.language.word())
    });
    let named = named.collect::<Vec<_>>().join(", ");
    match projects.len().saturating_sub(NAMED) {
        0 => named,
        more => format!("{named} and {more} more"),
    }
}

/// `a` and `a/b` of `a/b/c`.
fn folders_above(path: &str) -> impl Iterator<Item = &str> {
    path.match_indices('/').map(|(end, _)| &path[..end])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::folder_sandbox::FolderSandbox;

    #[test]
    fn the_topmost_project_of_each_language_is_found_with_its_marks_or_its_environment() {
        let sandbox = FolderSandbox::new(&[
            ("Cargo.toml", ""),
            ("a/Cargo.toml", ""),
            ("a/deep/Cargo.toml", ""),
            ("a/deep/package.json", ""),
            ("b/.venv/bin/python", ""),
            ("b/unit/test_x.py", ""),
            ("tests/requirements.txt", ""),
            ("tests/test_a.py", ""),
            ("web/node_modules/x/package.json", ""),
        ]);
        let tests = ["b/unit/test_x.py".to_owned(), "tests/test_a.py".to_owned()];
        let found = below(&mut &sandbox, &WorkspacePath::workspace(), &tests).unwrap();
        assert_eq!(told(&WorkspacePath::workspace(), &found), "`a` (cargo), `a/deep` (node), `b` (python)");
        assert!(holds(&found, Language::Python, "b/unit/test_x.py"));
        assert!(!holds(&found, Language::Python, "tests/test_a.py"));
        assert!(!holds(&found, Language::JavaScript, "a/x.test.js"));
    }
}
