//! A folder of its own for a test: a workspace, the product's state and configuration, and a canary outside of it all.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::Arc,
};

use serde_json::Value;
use tempfile::TempDir;

use super::{Person, Tree};

/// A test's own folder. Dropping it removes it.
pub(crate) struct Place {
    folder: TempDir,
    /// Whose it is, and who starts everything in it.
    person: Arc<Person>,
}

impl Place {
    /// An empty workspace of the invoker's, and a canary beside it that nothing may touch.
    pub(crate) fn new() -> Self {
        Self::of(Person::invoker())
    }

    /// An empty workspace of this person's, and a canary beside it that nothing may touch.
    pub(crate) fn of(person: Arc<Person>) -> Self {
        println!("as {person}");
        let folder = tempfile::Builder::new().prefix("cofferdam-test-").tempdir().unwrap();
        for name in ["project", "state", "config", "outside"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        fs::write(folder.path().join("outside/canary"), "untouched\n").unwrap();
        person.move_in(folder.path());
        Self { folder, person }
    }

    /// A workspace with these files.
    pub(crate) fn with(files: &[(&str, &str)]) -> Self {
        Self::new().and(files)
    }

    /// With these files too.
    pub(crate) fn and(self, files: &[(&str, &str)]) -> Self {
        for (path, text) in files {
            self.write(path, text);
        }
        self
    }

    /// With a copy of `original` as the workspace, links and modes kept.
    pub(crate) fn copying(self, original: &Path) -> Self {
        let place = self;
        fs::remove_dir(place.workspace()).unwrap();
        let status = Command::new("cp").arg("-a").arg(original).arg(place.workspace()).status().unwrap();
        assert!(status.success(), "cp -a {} ended with {status}", original.display());
        place.person.own_all(&place.workspace());
        place
    }

    /// The folder that holds everything of this test.
    pub(crate) fn all(&self) -> &Path {
        self.folder.path()
    }

    /// The workspace.
    pub(crate) fn workspace(&self) -> PathBuf {
        self.folder.path().join("project")
    }

    /// The product's state folder.
    pub(crate) fn state(&self) -> PathBuf {
        self.folder.path().join("state/cofferdam")
    }

    /// Writes a file of the workspace, with its folders.
    pub(crate) fn write(&self, path: &str, text: &str) {
        let path = self.workspace().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        self.person.own(&path, &self.workspace());
    }

    /// Removes everything in the workspace.
    pub(crate) fn empty(&self) {
        for entry in fs::read_dir(self.workspace()).unwrap() {
            let path = entry.unwrap().path();
            let folder = fs::symlink_metadata(&path).unwrap().is_dir();
            if folder { fs::remove_dir_all(path).unwrap() } else { fs::remove_file(path).unwrap() }
        }
    }

    /// Reads a file of the workspace.
    pub(crate) fn read(&self, path: &str) -> String {
        fs::read_to_string(self.workspace().join(path)).unwrap()
    }

    /// The workspace as it is now.
    pub(crate) fn tree(&self) -> Tree {
        Tree::of(&self.workspace())
    }

    /// What lies outside the workspace and must never change.
    pub(crate) fn outside(&self) -> Tree {
        Tree::of(&self.folder.path().join("outside"))
    }

    /// The policy file that this test's person has.
    pub(crate) fn policy(&self, text: &str) {
        let path = self.folder.path().join("config/cofferdam/policy.toml");
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// `program` as the person would start it in the workspace.
    pub(crate) fn program(&self, program: impl AsRef<Path>) -> Command {
        let mut command = self.person.program(program.as_ref(), self.folder.path());
        command.current_dir(self.workspace()).stdin(Stdio::null());
        command.env("XDG_STATE_HOME", self.folder.path().join("state"));
        command.env("XDG_CONFIG_HOME", self.folder.path().join("config"));
        command
    }

    /// Where the person has the product's binary.
    pub(crate) fn binary(&self) -> PathBuf {
        self.person.cofferdam(self.folder.path())
    }

    /// The product.
    pub(crate) fn cofferdam(&self) -> Command {
        self.program(self.binary())
    }

    /// The home of whoever starts everything here.
    pub(crate) fn home(&self) -> PathBuf {
        self.person.home(self.folder.path())
    }

    /// Runs the product with `arguments` and returns what came of it.
    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        self.cofferdam().args(arguments).output().unwrap()
    }

    /// One call on the command line: its exit status and its JSON.
    pub(crate) fn call(&self, tool: &str, arguments: &Value) -> (i32, Value) {
        let output = self.run(&["call", tool, &arguments.to_string(), "--json"]);
        let text = String::from_utf8_lossy(&output.stdout);
        let value = serde_json::from_str(&text).unwrap_or_else(|error| {
            panic!("call {tool} printed no JSON ({error}): {text}\n{}", String::from_utf8_lossy(&output.stderr))
        });
        (output.status.code().unwrap_or(-1), value)
    }
}
