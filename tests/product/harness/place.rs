//! A folder of its own for a test: a workspace, the product's state and configuration, and a canary outside of it all.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use serde_json::Value;
use tempfile::TempDir;

use super::Tree;

/// Variables of the person's own environment that programs need. What cargo and nextest add to a test's is left out.
const KEPT: [&str; 9] = ["PATH", "HOME", "USER", "LOGNAME", "LANG", "TZ", "SSL_CERT_FILE", "CARGO_HOME", "RUSTUP_HOME"];

/// A test's own folder. Dropping it removes it.
pub(crate) struct Place {
    folder: TempDir,
}

impl Place {
    /// An empty workspace, and a canary beside it that nothing may touch.
    pub(crate) fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("cofferdam-test-").tempdir().unwrap();
        for name in ["project", "state", "config", "outside"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        fs::write(folder.path().join("outside/canary"), "untouched\n").unwrap();
        Self { folder }
    }

    /// A workspace with these files.
    pub(crate) fn with(files: &[(&str, &str)]) -> Self {
        let place = Self::new();
        for (path, text) in files {
            place.write(path, text);
        }
        place
    }

    /// A workspace that is a copy of `original`, links and modes kept.
    pub(crate) fn copy_of(original: &Path) -> Self {
        let place = Self::new();
        fs::remove_dir(place.workspace()).unwrap();
        let status = Command::new("cp").arg("-a").arg(original).arg(place.workspace()).status().unwrap();
        assert!(status.success(), "cp -a {} ended with {status}", original.display());
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
        fs::write(path, text).unwrap();
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
        let mut command = Command::new(program.as_ref());
        command.env_clear().current_dir(self.workspace()).stdin(Stdio::null());
        command.envs(KEPT.into_iter().filter_map(|name| env::var_os(name).map(|value| (name, value))));
        command.env("XDG_STATE_HOME", self.folder.path().join("state"));
        command.env("XDG_CONFIG_HOME", self.folder.path().join("config"));
        command
    }

    /// The product's binary.
    pub(crate) fn cofferdam(&self) -> Command {
        self.program(env!("CARGO_BIN_EXE_cofferdam"))
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
