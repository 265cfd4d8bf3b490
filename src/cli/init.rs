//! `cofferdam init`: writes a starting policy for the project at hand.
//!
//! Nothing is overwritten, and nothing is written that a server would refuse: the text is loaded first, with the layers
//! that it will stand among.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use clap::Args;
use cofferdam_contract::Limits;

use super::{
    call::unusable,
    exit::Exit,
    terminal::{Colour, Mark, causes, note, print},
};
use crate::{
    config::PolicyFile,
    policy_files::{PolicyFiles, REPOSITORY_FILE},
    server::{Setup, Unusable},
};

/// Writes a starting policy
///
/// Looks at the workspace for what it is made with, and writes `.cofferdam.toml` into it: a file for everybody who works
/// on the project, which can only take away. With --operator it writes your own policy file instead.
#[derive(Debug, Args)]
pub(super) struct Init {
    /// Writes your own policy file, for every workspace of yours
    #[arg(long)]
    operator: bool,
    /// Shows what would be written, and writes nothing
    #[arg(long)]
    dry_run: bool,
}

/// Why nothing was written.
#[derive(Debug, thiserror::Error)]
enum InitError {
    /// There is one.
    #[error("write {path}: it is there already, and nothing is overwritten; edit it, or move it away")]
    Exists {
        /// Which.
        path: PathBuf,
    },
    /// It cannot be written.
    #[error("write {path}")]
    Write {
        /// Which.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

/// What a project is made with, as its files show.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Found {
    /// Languages and their tools, for people.
    kinds: Vec<&'static str>,
    /// Folders of tests.
    tests: Vec<&'static str>,
    /// What a person should see before it changes.
    protect: Vec<&'static str>,
    /// Continuous integration, which is held anyway.
    pipelines: Vec<&'static str>,
}

/// A file of the workspace's own folder and the kind of project that it shows, for the words of this command alone. What
/// tools a project is set up for is told inside a sandbox, by `tools/src/project_signs.rs`.
const KINDS: [(&str, &str); 9] = [
    ("Cargo.toml", "Rust (cargo)"),
    ("package.json", "JavaScript (npm)"),
    ("pyproject.toml", "Python"),
    ("setup.py", "Python"),
    ("requirements.txt", "Python"),
    ("go.mod", "Go"),
    ("pom.xml", "Java (Maven)"),
    ("build.gradle", "Java (Gradle)"),
    ("Makefile", "make"),
];

/// Folders that hold tests.
const TESTS: [&str; 4] = ["tests", "test", "spec", "__tests__"];

/// A path that is looked for, and the glob that protects it.
const PROTECT: [(&str, &str); 9] = [
    ("migrations", "migrations/**"),
    ("db/migrate", "db/migrate/**"),
    ("alembic", "alembic/**"),
    ("prisma/migrations", "prisma/migrations/**"),
    ("deploy", "deploy/**"),
    ("terraform", "terraform/**"),
    ("infra", "infra/**"),
    ("k8s", "k8s/**"),
    ("deny.toml", "deny.toml"),
];

/// Places of continuous integration.
const PIPELINES: [&str; 5] = [".github/workflows", ".gitlab-ci.yml", ".circleci", "Jenkinsfile", "azure-pipelines.yml"];

/// What a workspace's file asks for at most: what the tests of most projects need.
const WANTED: Limits =
    Limits { wall_seconds: 1800, cpu_seconds: 7200, memory_mb: 8192, disk_mb: 16_384, pids: 1024, output_kb: 65_536 };

/// Runs the command.
#[must_use]
pub(super) fn run(init: &Init, setup: &Setup, colour: Colour) -> Exit {
    let found = Found::look(&setup.workspace);
    let text_and_path = if init.operator { own(setup, &found) } else { repository(setup, &found) };
    let (path, text) = match text_and_path {
        Ok(planned) => planned,
        Err(error) => {
            note(format_args!("cofferdam: failed to {}", causes(&error)));
            return unusable(&error);
        }
    };
    if init.dry_run {
        print(text.trim_end());
        note(colour.paint(Mark::Dim, format_args!("— would be written to {}", path.display())));
        return Exit::Success;
    }
    if let Err(error) = write(&path, &text) {
        note(format_args!("cofferdam: failed to {}", causes(&error)));
        return Exit::Failed;
    }
    let kinds = if found.kinds.is_empty() { "no known kind of project".to_owned() } else { found.kinds.join(", ") };
    print(format_args!("{} {}", colour.paint(Mark::Good, "written"), path.display()));
    print(format_args!("found: {kinds}"));
    for (what, list) in [("tests", &found.tests), ("to be held", &found.protect), ("held anyway", &found.pipelines)] {
        if !list.is_empty() && !init.operator {
            print(format_args!("{what}: {}", list.join(", ")));
        }
    }
    print("Read it, then: `cofferdam policy check`, and `cofferdam policy explain '{\"tool\": \"run_tests\"}'`");
    Exit::Success
}

/// The workspace's file, no wider than what is in force without it.
fn repository(setup: &Setup, found: &Found) -> Result<(PathBuf, String), Unusable> {
    let mut files = PolicyFiles::read(setup, &setup.workspace)?;
    files.repository = None;
    let in_force = files.load().map_err(Unusable::Policy)?;
    let text = written(found, WANTED.min(in_force.limits()), REPOSITORY_HEAD, "");
    files.repository = Some(text.clone());
    files.load().map_err(Unusable::Policy)?;
    Ok((setup.workspace.join(REPOSITORY_FILE), text))
}

/// The person's own file, for all of their workspaces.
fn own(setup: &Setup, found: &Found) -> Result<(PathBuf, String), Unusable> {
    let path = setup.folders.policy();
    let backtrace = found.kinds.iter().any(|kind| kind.starts_with("Rust"));
    let variables =
        if backtrace { "\n[env] # literal values, the same in every sandbox\nRUST_BACKTRACE = \"1\"\n" } else { "" };
    // What one project's folders are called is nothing for all of them.
    let text = written(&Found::default(), WANTED, OPERATOR_HEAD, variables);
    let operator = Some(PolicyFile { path: path.clone(), text: text.clone() });
    let files = PolicyFiles { operator, repository: None, command_line: String::new() };
    files.load().map_err(Unusable::Policy)?;
    Ok((path, text))
}

const REPOSITORY_HEAD: &str = "\
# What agents may do in this project, for everybody who works on it. It only takes away from each person's own policy:
# lower limits, more protected paths, rules that deny or ask. `cofferdam policy check` checks it.
version = 1
";

const OPERATOR_HEAD: &str = "\
# What agents may do in your workspaces, beside the builtin policy (`cofferdam policy show --builtin`).
# `cofferdam policy check` checks it; a running server takes a changed file for its next call.
version = 1
# require = [\"memory\"] # refuses calls where the kernel itself cannot hold the budget
";

fn written(found: &Found, limits: Limits, head: &str, variables: &str) -> String {
    let Limits { wall_seconds, cpu_seconds, memory_mb, disk_mb, pids, output_kb: _ } = limits;
    let mut text = format!(
        "{head}\n[limits] # what every call stays under\nnetwork      = \"off\"\n\
         # write      = [\"src/**\", \"tests/**\", \"docs/**\"] # where changes may come back; everywhere unless written\n\
         wall_seconds = {wall_seconds}\ncpu_seconds  = {cpu_seconds}\nmemory_mb    = {memory_mb}\ndisk_mb      = {disk_mb}\n\
         pids         = {pids}\n"
    );
    text.push_str("\n[protect] # held for a person, beside what always is (.git, hooks, workflows, editor and agent settings, …)\n");
    let globs: Vec<String> = found.protect.iter().map(|glob| format!("\"{glob}\"")).collect();
    text.push_str(&format!("paths = [{}]\n", globs.join(", ")));
    text.push_str(variables);
    if let Some(folder) = found.tests.first() {
        text.push_str(&format!(
            "\n[[rule]]\nid = \"no-deleting-tests\"\ntools = [\"delete_file\"]\ndecision = \"deny\"\n\
             when = {{ path = {{ prefix = \"{folder}\" }} }}\nwhy = \"A failing test is mended or discussed, not deleted.\"\n\
             match = [{{ tool = \"delete_file\", args = {{ path = \"{folder}/example\" }} }}]\n\
             not_match = [{{ tool = \"delete_file\", args = {{ path = \"src/old\" }} }}]\n\
             \n[[rule]]\nid = \"no-moving-tests-away\"\ntools = [\"move_file\"]\ndecision = \"deny\"\n\
             when = {{ source = {{ prefix = \"{folder}\" }} }}\nwhy = \"A test that is moved away is a test that is not run.\"\n\
             match = [{{ tool = \"move_file\", args = {{ source = \"{folder}/example\", destination = \"old/example\" }} }}]\n\
             not_match = [{{ tool = \"move_file\", args = {{ source = \"src/old\", destination = \"src/new\" }} }}]\n"
        ));
    }
    text
}

impl Found {
    /// Looks at what the workspace's own folder holds. Nothing is read.
    fn look(workspace: &Path) -> Self {
        let is_there = |name: &str| fs::symlink_metadata(workspace.join(name)).is_ok();
        let mut kinds: Vec<&str> = KINDS.iter().filter(|(file, _)| is_there(file)).map(|(_, kind)| *kind).collect();
        kinds.dedup();
        Self {
            kinds,
            tests: TESTS.into_iter().filter(|name| is_there(name)).collect(),
            protect: PROTECT.iter().filter(|(path, _)| is_there(path)).map(|(_, glob)| *glob).collect(),
            pipelines: PIPELINES.into_iter().filter(|name| is_there(name)).collect(),
        }
    }
}

/// Writes a file that is not there.
fn write(path: &Path, text: &str) -> Result<(), InitError> {
    let failed = |source| InitError::Write { path: path.to_owned(), source };
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(failed)?;
    }
    match OpenOptions::new().write(true).create_new(true).mode(0o644).open(path) {
        Ok(mut file) => file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(failed),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(InitError::Exists { path: path.to_owned() }),
        Err(error) => Err(failed(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::playground::Playground;

    #[test]
    fn what_is_there_is_found_and_what_is_written_loads() {
        let playground = Playground::with_policy("version = 1\n[limits]\nmemory_mb = 1000\nnetwork = \"off\"\n");
        for folder in ["tests", "db/migrate", ".github/workflows"] {
            fs::create_dir_all(playground.path("workspace").join(folder)).unwrap();
        }
        for file in ["Cargo.toml", "pyproject.toml", "setup.py"] {
            fs::write(playground.path("workspace").join(file), "").unwrap();
        }
        let setup = playground.setup();
        let found = Found::look(&setup.workspace);
        assert_eq!(
            found,
            Found {
                kinds: vec!["Rust (cargo)", "Python"],
                tests: vec!["tests"],
                protect: vec!["db/migrate/**"],
                pipelines: vec![".github/workflows"],
            }
        );
        let (path, text) = repository(&setup, &found).unwrap();
        assert_eq!(path, playground.path("workspace/.cofferdam.toml"));
        for part in ["memory_mb    = 1000\n", "db/migrate/**", "no-deleting-tests"] {
            assert!(text.contains(part), "{part}: {text}");
        }
        let (_, text) = own(&setup, &found).unwrap();
        assert!(text.contains("RUST_BACKTRACE") && text.contains("memory_mb    = 8192"), "{text}");
        assert!(repository(&setup, &Found::default()).is_ok() && own(&setup, &Found::default()).is_ok());
    }

    #[test]
    fn nothing_is_overwritten_and_no_link_is_followed() {
        let playground = Playground::new();
        let path = playground.path("workspace/.cofferdam.toml");
        std::os::unix::fs::symlink(playground.path("workspace/elsewhere"), &path).unwrap();
        assert!(matches!(write(&path, "x"), Err(InitError::Exists { .. })));
        assert!(!playground.path("workspace/elsewhere").exists());
    }
}
