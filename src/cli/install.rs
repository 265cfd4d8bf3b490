//! `cofferdam install`: writes the entry that makes a client start this server.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use clap::{Args, ValueEnum};
use cofferdam_sandboxes::WorkspaceError;
use serde_json::{Map, Value, json};

use super::{
    exit::Exit,
    terminal::{Colour, Mark, causes, note, print},
};
use crate::{config::Folders, server::Setup};

/// What to install.
#[derive(Debug, Args)]
pub(super) struct Install {
    /// The client
    #[arg(value_enum)]
    client: ClientProgram,
    /// Shows what would be written, and writes nothing
    #[arg(long)]
    dry_run: bool,
    /// The entry's name in the client
    #[arg(long, default_value = "cofferdam")]
    name: String,
}

/// A client whose configuration we know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ClientProgram {
    /// Claude Desktop: its own configuration file
    ClaudeDesktop,
    /// Claude Code: `.mcp.json` in the workspace
    ClaudeCode,
}

/// Why an entry could not be written.
#[derive(Debug, thiserror::Error)]
pub(super) enum InstallError {
    /// The folder is none that a server takes.
    #[error("use the workspace")]
    Workspace(#[source] WorkspaceError),
    /// The file cannot be read.
    #[error("read {path}")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The file is not what we may add to. It is left alone.
    #[error("add to {path}: {why}; correct the file, or move it away, and try again")]
    NotOurs {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The file, or its backup, cannot be written.
    #[error("write {path}")]
    Write {
        /// Which.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

/// Runs the command.
#[must_use]
pub(super) fn run(install: &Install, folders: &Folders, program: &Path, workspace: &Path, colour: Colour) -> Exit {
    let written = plan(install, folders, program, workspace).and_then(|planned| Ok((write(&planned)?, planned)));
    match written {
        Ok((backup, planned)) => {
            print(format_args!("{} {}", colour.paint(Mark::Good, "written"), planned.path.display()));
            if let Some(backup) = backup {
                print(format_args!("the file as it was: {}", backup.display()));
            }
            print("Start the client again to use it.");
            Exit::Success
        }
        Err(error) => failed(&error),
    }
}

/// Shows what [`run`] would write. Nothing is made, the state folder least of all.
#[must_use]
pub(super) fn show_only(install: &Install, setup: &Setup, colour: Colour) -> Exit {
    let program = &setup.environment.program;
    let planned = acceptable(&setup.workspace, &setup.folders)
        .map_err(InstallError::Workspace)
        .and_then(|workspace| Ok((plan(install, &setup.folders, program, &workspace)?, workspace)));
    match planned {
        Ok((planned, workspace)) => {
            show(&planned, colour);
            hint(install.client, &install.name, program, &workspace, colour);
            Exit::Success
        }
        Err(error) => failed(&error),
    }
}

impl Install {
    /// Whether nothing is to be written.
    pub(super) fn is_dry_run(&self) -> bool {
        self.dry_run
    }
}

/// The workspace's path as a server would know it, if it is one that a server takes.
///
/// For showing alone: what a server takes is decided by `Workspace::open`, which makes the workspace's state as well.
fn acceptable(workspace: &Path, folders: &Folders) -> Result<PathBuf, WorkspaceError> {
    let path = workspace.to_owned();
    let open = |source| WorkspaceError::Open { path: path.clone(), source };
    let found = fs::symlink_metadata(workspace).map_err(open)?;
    if found.is_symlink() {
        return Err(WorkspaceError::Link { path });
    }
    if !found.is_dir() {
        return Err(WorkspaceError::NotFolder { path });
    }
    let root = workspace.canonicalize().map_err(open)?;
    let holds = |inner: &Path| {
        let same = |outer: &Path| {
            fs::metadata(outer).is_ok_and(|outer| (outer.dev(), outer.ino()) == (found.dev(), found.ino()))
        };
        inner.ancestors().any(same)
    };
    let why = if root == Path::new("/") {
        Some("the whole machine")
    } else if holds(&folders.home) {
        Some("your home folder, or contains it")
    } else if holds(&folders.state) {
        Some("a folder that contains cofferdam's own state")
    } else if folders.state.canonicalize().is_ok_and(|state| root.starts_with(state)) {
        Some("part of cofferdam's own state")
    } else {
        None
    };
    match why {
        Some(why) => Err(WorkspaceError::TooWide { path: root, why }),
        None => Ok(root),
    }
}

/// What would be written.
fn plan(install: &Install, folders: &Folders, program: &Path, workspace: &Path) -> Result<Planned, InstallError> {
    let path = match install.client {
        ClientProgram::ClaudeDesktop => folders.config.join("Claude").join("claude_desktop_config.json"),
        ClientProgram::ClaudeCode => workspace.join(".mcp.json"),
    };
    prepare(&path, &install.name, entry(program, workspace))
}

fn failed(error: &InstallError) -> Exit {
    note(format_args!("cofferdam: failed to {}", causes(error)));
    Exit::Usage
}

fn entry(program: &Path, workspace: &Path) -> Value {
    json!({ "command": program, "args": ["serve", "--workspace", workspace] })
}

/// A file as it is and as it will be.
#[derive(Debug, PartialEq, Eq)]
struct Planned {
    path: PathBuf,
    /// `None` when there is no file.
    before: Option<String>,
    after: String,
}

fn prepare(path: &Path, name: &str, entry: Value) -> Result<Planned, InstallError> {
    let before = match fs::read_to_string(path) {
        Ok(text) => Some(text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(source) => return Err(InstallError::Read { path: path.to_owned(), source }),
    };
    let not_ours = |why: String| InstallError::NotOurs { path: path.to_owned(), why };
    let mut file: Map<String, Value> = match before.as_deref().map(str::trim) {
        None | Some("") => Map::new(),
        Some(text) => {
            serde_json::from_str(text).map_err(|error| not_ours(format!("it is not a JSON object ({error})")))?
        }
    };
    file.entry("mcpServers")
        .or_insert_with(|| Value::Object(Map::new()))
        .as_object_mut()
        .ok_or_else(|| not_ours("its mcpServers is not an object".to_owned()))?
        .insert(name.to_owned(), entry);
    let after = serde_json::to_string_pretty(&file).map_err(|error| not_ours(error.to_string()))? + "\n";
    Ok(Planned { path: path.to_owned(), before, after })
}

/// Writes the file beside itself and renames it, after keeping what was there. Returns the backup's path.
fn write(planned: &Planned) -> Result<Option<PathBuf>, InstallError> {
    let path = &planned.path;
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| InstallError::Write { path, source }
    };
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(failed(folder))?;
    }
    let backup = match &planned.before {
        Some(before) => Some(keep(path, before)?),
        None => None,
    };
    // A link stays a link: people keep their configuration in repositories.
    let real = path.canonicalize().unwrap_or_else(|_| path.clone());
    let mode = fs::metadata(&real).map_or(0o644, |metadata| metadata.permissions().mode() & 0o777);
    let fresh = with_suffix(&real, &format!("cofferdam-{}", std::process::id()));
    let written = write_new(&fresh, &planned.after, mode).and_then(|()| fs::rename(&fresh, &real));
    if written.is_err() {
        let _ = fs::remove_file(&fresh);
    }
    written.map_err(failed(&real))?;
    Ok(backup)
}

fn keep(path: &Path, before: &str) -> Result<PathBuf, InstallError> {
    for number in 1..1000 {
        let backup = with_suffix(path, &format!("before-cofferdam-{number}"));
        match write_new(&backup, before, 0o600) {
            Ok(()) => return Ok(backup),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(source) => return Err(InstallError::Write { path: backup, source }),
        }
    }
    let source = io::Error::other("there are too many backups already");
    Err(InstallError::Write { path: path.to_owned(), source })
}

fn write_new(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".");
    name.push(suffix);
    path.with_file_name(name)
}

fn show(planned: &Planned, colour: Colour) {
    print(colour.paint(Mark::Dim, format_args!("would write {}:", planned.path.display())));
    let before = planned.before.as_deref().unwrap_or("");
    let difference = similar::TextDiff::from_lines(before, &planned.after);
    for change in difference.iter_all_changes() {
        let line = change.value().trim_end_matches('\n');
        match change.tag() {
            similar::ChangeTag::Equal => print(format_args!("  {line}")),
            similar::ChangeTag::Delete => print(colour.paint(Mark::Bad, format_args!("- {line}"))),
            similar::ChangeTag::Insert => print(colour.paint(Mark::Good, format_args!("+ {line}"))),
        }
    }
}

fn hint(client: ClientProgram, name: &str, program: &Path, workspace: &Path, colour: Colour) {
    match client {
        ClientProgram::ClaudeDesktop => {}
        ClientProgram::ClaudeCode => {
            print(colour.paint(Mark::Dim, "the same, for you alone and not for the project:"));
            print(format_args!(
                "claude mcp add --transport stdio {name} -- {} serve --workspace {}",
                quoted(program),
                quoted(workspace)
            ));
        }
    }
}

/// A path as a shell reads it.
fn quoted(path: &Path) -> String {
    let text = path.to_string_lossy();
    let plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/._-+".contains(&byte));
    if plain { text.into_owned() } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prepared(path: &Path) -> Result<Planned, InstallError> {
        prepare(path, "cofferdam", entry(Path::new("/bin/cofferdam"), Path::new("/w")))
    }

    #[test]
    fn what_else_is_in_the_file_stays_and_a_backup_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.json");
        let before = r#"{"theme":"dark","mcpServers":{"other":{"command":"x"}}}"#;
        fs::write(&path, before).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let backup = write(&prepared(&path).unwrap()).unwrap().unwrap();
        let after: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        assert_eq!(
            after,
            json!({
                "theme": "dark",
                "mcpServers": {
                    "other": { "command": "x" },
                    "cofferdam": { "command": "/bin/cofferdam", "args": ["serve", "--workspace", "/w"] },
                },
            })
        );
        assert_eq!(fs::read_to_string(backup).unwrap(), before);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
        let second = write(&prepared(&path).unwrap()).unwrap().unwrap();
        assert!(second.ends_with("config.json.before-cofferdam-2"), "{second:?}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 3, "nothing is left over");
    }

    #[test]
    fn a_file_that_is_not_there_is_made_with_its_folder() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("Claude/config.json");
        assert_eq!(write(&prepared(&path).unwrap()).unwrap(), None);
        assert!(path.is_file());
    }

    #[test]
    fn a_file_that_cannot_be_understood_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.json");
        for text in ["{ // comment\n}", "[1]", r#"{"mcpServers":[]}"#] {
            fs::write(&path, text).unwrap();
            assert!(matches!(prepared(&path), Err(InstallError::NotOurs { .. })), "{text}");
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
    }

    #[test]
    fn folders_that_no_server_takes_are_not_shown_as_workspaces() {
        let all = tempfile::tempdir().unwrap();
        let at = |name: &str| all.path().canonicalize().unwrap().join(name);
        for name in ["work", "home", "state/inner"] {
            fs::create_dir_all(at(name)).unwrap();
        }
        std::os::unix::fs::symlink(at("work"), at("link")).unwrap();
        let folders = Folders { home: at("home"), config: at("home/.config"), state: at("state") };
        assert_eq!(acceptable(&at("work"), &folders).unwrap(), at("work"));
        for (wrong, why) in [
            (PathBuf::from("/"), "the whole machine"),
            (at("home"), "your home folder"),
            (at(""), "your home folder"),
            (at("state"), "own state"),
            (at("state/inner"), "own state"),
            (at("link"), "symbolic link"),
            (at("missing"), "failed to open"),
        ] {
            let error = acceptable(&wrong, &folders).unwrap_err();
            assert!(error.to_string().contains(why), "{wrong:?}: {error}");
        }
    }

    #[test]
    fn paths_are_quoted_for_a_shell() {
        assert_eq!(quoted(Path::new("/a/b-c")), "/a/b-c");
        assert_eq!(quoted(Path::new("/a b/it's")), r"'/a b/it'\''s'");
    }
}
