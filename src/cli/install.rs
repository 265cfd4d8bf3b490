//! `cofferdam install`: writes the entry that makes a client start this server.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use clap::{Args, ValueEnum};
use cofferdam_sandboxes::{Workspace, WorkspaceError};
use serde_json::{Map, Value, json};

use super::{
    exit::Exit,
    terminal::{Colour, Mark, causes, note, print},
};
use crate::{
    config::{self, Folders},
    orders::quoted,
    plain,
    server::Setup,
};

/// Options of `serve` that an entry carries: their names and values.
type Carried = [(&'static str, String)];

/// What to install.
#[derive(Debug, Args)]
pub(super) struct Install {
    /// The client
    #[arg(value_enum)]
    client: ClientProgram,
    /// Shows what would be written, and writes nothing
    #[arg(long)]
    dry_run: bool,
    /// The entry's name in the client; without it that of the entry for this workspace, else `cofferdam` for a client that
    /// keeps a file a workspace, and `cofferdam-FOLDER` for one that keeps one file for all
    #[arg(long)]
    name: Option<String>,
    /// Replaces an entry of that name that starts something else, and options that the workspace's entry has
    #[arg(long)]
    replace: bool,
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
    /// The workspace's entry has other options.
    #[error(
        "write {} in {path}: the entry is there with the arguments {has}, and would have {wanted}; --replace writes that, and \
         --name makes an entry of its own",
        plain::name(name)
    )]
    Different {
        /// Which.
        path: PathBuf,
        /// The entry.
        name: String,
        /// Its arguments.
        has: String,
        /// What they would be.
        wanted: String,
    },
    /// The file is not what we may add to. It is left alone.
    #[error("add to {path}: {why}; correct the file, or move it away, and try again")]
    NotOurs {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The name is somebody else's.
    #[error("add to {path}: its entry `{name}` starts something else{other}; choose another --name, or --replace it")]
    Taken {
        /// The file.
        path: PathBuf,
        /// The name.
        name: String,
        /// What it starts, as a clause; empty when that cannot be told.
        other: String,
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
pub(super) fn run(install: &Install, setup: &Setup, carried: &Carried, workspace: &Path, colour: Colour) -> Exit {
    let written = plan(install, setup, carried, workspace).and_then(|planned| {
        let backup = if planned.is_there() { None } else { write(&planned)? };
        Ok((backup, planned))
    });
    match written {
        Ok((_, planned)) if planned.is_there() => {
            let there = colour.paint(Mark::Good, "there already:");
            print(format_args!("{there} {} in {}", plain::name(&planned.name), planned.path.display()));
            Exit::Success
        }
        Ok((backup, planned)) => {
            let written = colour.paint(Mark::Good, "written");
            print(format_args!("{written} {} in {}", plain::name(&planned.name), planned.path.display()));
            if let Some(backup) = backup {
                print(format_args!("the file as it was: {}; remove it when you need it no more", backup.display()));
            }
            print("Start the client again to use it.");
            Exit::Success
        }
        Err(error) => failed(&error),
    }
}

/// Shows what [`run`] would write. Nothing is made, the state folder least of all.
#[must_use]
pub(super) fn show_only(install: &Install, setup: &Setup, carried: &Carried, colour: Colour) -> Exit {
    let planned = acceptable(&setup.workspace, &setup.folders)
        .and_then(|workspace| match config::account_home() {
            Some(home) => Workspace::refuse_home(&workspace, &home).map(|()| workspace),
            None => Ok(workspace),
        })
        .map_err(InstallError::Workspace)
        .and_then(|workspace| Ok((plan(install, setup, carried, &workspace)?, workspace)));
    match planned {
        Ok((planned, workspace)) => {
            show(&planned, colour);
            hint(install.client, &planned.name, &entry_words(&setup.environment.program, &workspace, carried), colour);
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
fn plan(install: &Install, setup: &Setup, carried: &Carried, workspace: &Path) -> Result<Planned, InstallError> {
    let path = match install.client {
        ClientProgram::ClaudeDesktop => setup.folders.config.join("Claude").join("claude_desktop_config.json"),
        ClientProgram::ClaudeCode => workspace.join(".mcp.json"),
    };
    let chosen = Chosen {
        name: match (&install.name, install.client) {
            (Some(name), _) => Name::Given(name.clone()),
            (None, ClientProgram::ClaudeCode) => Name::OfFile,
            (None, ClientProgram::ClaudeDesktop) => Name::OfFolder,
        },
        replace: install.replace,
    };
    prepare(&path, &chosen, &setup.environment.program, (workspace, carried))
}

/// What an entry is to be called, and what it may take the place of.
struct Chosen {
    name: Name,
    replace: bool,
}

/// Where an entry's name comes from, unless the file has an entry for the workspace.
enum Name {
    /// The command line.
    Given(String),
    /// The file is this workspace's alone, so one name does.
    OfFile,
    /// The file is for all workspaces, so the name says which.
    OfFolder,
}

/// The name of every entry, or what it begins with.
const NAME: &str = "cofferdam";

/// How an entry names the folder that its file lies in: Claude Code puts the path there. No other client reads it so.
const OWN_FOLDER: &str = "${CLAUDE_PROJECT_DIR:-.}";

/// What of a folder's name an entry's shows, bytes: hosts cut `mcp__ENTRY__TOOL` at 64, and a tool has 30 at most.
const FOLDER_BYTES: usize = 14;

/// A folder's name as an entry's: what all hosts take.
fn named_after(workspace: &Path) -> String {
    let folder = workspace.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    let plain = |character: char| if character.is_ascii_alphanumeric() { character } else { '-' };
    let folder: String = folder.chars().map(plain).take(FOLDER_BYTES).collect();
    match folder.trim_matches('-') {
        "" => NAME.to_owned(),
        folder => format!("{NAME}-{folder}"),
    }
}

/// Whether an entry starts a server on this workspace.
fn is_for(entry: &Value, workspace: &Path) -> bool {
    workspace_of(entry).is_some_and(|named| Path::new(named) == workspace || named == OWN_FOLDER)
}

/// The workspace of an entry that starts this server, as written.
fn workspace_of(entry: &Value) -> Option<&str> {
    let words: Vec<&str> = entry.get("args")?.as_array()?.iter().filter_map(Value::as_str).collect();
    if !words.contains(&"serve") {
        return None;
    }
    let place = words.iter().position(|word| *word == "--workspace")?;
    words.get(place + 1).copied()
}

impl Chosen {
    /// The name under which the entry goes into `servers`.
    fn settle(&self, servers: &Map<String, Value>, workspace: &Path) -> Result<String, (String, String)> {
        let own = |(_, entry): &(&String, &Value)| is_for(entry, workspace);
        let is_free = |name: &str| servers.get(name).is_none_or(|entry| is_for(entry, workspace));
        let name = match &self.name {
            Name::Given(name) => name.clone(),
            Name::OfFile | Name::OfFolder if servers.iter().any(|entry| own(&entry)) => {
                servers.iter().find(own).map(|(name, _)| name.clone()).unwrap_or_default()
            }
            Name::OfFile => NAME.to_owned(),
            Name::OfFolder => {
                let first = named_after(workspace);
                let others = (2..100).map(|number| format!("{first}-{number}"));
                std::iter::once(first.clone()).chain(others).find(|name| is_free(name)).unwrap_or(first)
            }
        };
        if is_free(&name) || self.replace {
            return Ok(name);
        }
        let other = servers.get(&name).and_then(workspace_of);
        let other = other.map_or_else(String::new, |other| format!(" (on {})", plain::name(other)));
        Err((name, other))
    }
}

fn failed(error: &InstallError) -> Exit {
    note(format_args!("cofferdam: failed to {}", causes(error)));
    Exit::Usage
}

fn entry(program: &Path, workspace: &Path, carried: &Carried) -> Value {
    let mut arguments = vec![json!("serve"), json!("--workspace"), json!(workspace)];
    carry(&mut arguments, carried);
    json!({ "command": program, "args": arguments })
}

/// The words of an entry's command.
fn entry_words(program: &Path, workspace: &Path, carried: &Carried) -> Vec<String> {
    let options = carried.iter().flat_map(|(name, value)| [(*name).to_owned(), value.clone()]);
    let begin = [program.to_string_lossy(), "serve".into(), "--workspace".into(), workspace.to_string_lossy()];
    begin.into_iter().map(std::borrow::Cow::into_owned).chain(options).collect()
}

/// Puts options among an entry's arguments, each in the place of the value that it has there.
fn carry(arguments: &mut Vec<Value>, carried: &Carried) {
    for (name, value) in carried {
        let joined = format!("{name}=");
        let is_joined = |word: &Value| word.as_str().is_some_and(|word| word.starts_with(&joined));
        if let Some(at) = arguments.iter().position(|word| word == *name) {
            match arguments.get_mut(at + 1) {
                Some(there) => *there = json!(value),
                None => arguments.push(json!(value)),
            }
        } else if let Some(at) = arguments.iter().position(is_joined) {
            arguments[at] = json!(format!("{joined}{value}"));
        } else {
            arguments.extend([json!(name), json!(value)]);
        }
    }
}

/// A file as it is and as it will be.
#[derive(Debug, PartialEq, Eq)]
struct Planned {
    path: PathBuf,
    /// The entry's name.
    name: String,
    /// `None` when there is no file.
    before: Option<String>,
    after: String,
}

impl Planned {
    /// Whether the file is as it is to be.
    fn is_there(&self) -> bool {
        self.before.as_ref() == Some(&self.after)
    }
}

fn prepare(
    path: &Path,
    chosen: &Chosen,
    program: &Path,
    (workspace, carried): (&Path, &Carried),
) -> Result<Planned, InstallError> {
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
    let servers = file
        .entry("mcpServers")
        .or_insert_with(|| Value::Object(Map::new()))
        .as_object_mut()
        .ok_or_else(|| not_ours("its mcpServers is not an object".to_owned()))?;
    let name = chosen.settle(servers, workspace).map_err(|(name, other)| InstallError::Taken {
        path: path.to_owned(),
        name,
        other,
    })?;
    let command = json!(program);
    match servers.get_mut(&name) {
        // What a person added to it stays.
        Some(there) if is_for(there, workspace) => {
            let was = there.clone();
            there["command"] = command;
            if let Some(arguments) = there["args"].as_array_mut() {
                carry(arguments, carried);
            }
            if there["args"] != was["args"] && !chosen.replace {
                let [has, wanted] = [&was["args"], &there["args"]].map(|arguments| plain::name(&arguments.to_string()));
                return Err(InstallError::Different { path: path.to_owned(), name, has, wanted });
            }
            if *there == was {
                let after = before.clone().unwrap_or_default();
                return Ok(Planned { path: path.to_owned(), name, before, after });
            }
        }
        Some(_) | None => {
            servers.insert(name.clone(), entry(program, workspace, carried));
        }
    }
    let after = serde_json::to_string_pretty(&file).map_err(|error| not_ours(error.to_string()))? + "\n";
    Ok(Planned { path: path.to_owned(), name, before, after })
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

fn hint(client: ClientProgram, name: &str, words: &[String], colour: Colour) {
    match client {
        ClientProgram::ClaudeDesktop => {}
        ClientProgram::ClaudeCode => {
            print(colour.paint(Mark::Dim, "the same, for you alone and not for the project:"));
            let words: Vec<String> = words.iter().map(quoted).collect();
            print(format_args!("claude mcp add --transport stdio {name} -- {}", words.join(" ")));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(path: &Path, workspace: &str, name: Name, replace: bool) -> Result<Planned, InstallError> {
        prepare(path, &Chosen { name, replace }, Path::new("/bin/cofferdam"), (Path::new(workspace), &[]))
    }

    fn prepared(path: &Path) -> Result<Planned, InstallError> {
        of(path, "/w", Name::OfFile, false)
    }

    #[test]
    fn workspaces_have_entries_of_their_own_and_none_is_replaced_unasked() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.json");
        let add = |workspace: &str| {
            let planned = of(&path, workspace, Name::OfFolder, false).unwrap();
            write(&planned).unwrap();
            planned.name
        };
        assert_eq!(add("/a/My Project!"), "cofferdam-my-project");
        assert_eq!(add("/b/My Project!"), "cofferdam-my-project-2");
        assert_eq!(add("/b/\u{e9}"), "cofferdam");
        assert_eq!(named_after(Path::new("/a-very-long-name-of-a-folder")).len(), NAME.len() + 1 + FOLDER_BYTES);
        let given = |name: &str| Name::Given(name.to_owned());
        let Err(InstallError::Taken { other, .. }) = of(&path, "/c", given("cofferdam-my-project"), false) else {
            panic!()
        };
        assert_eq!(other, " (on /a/My Project!)");
        assert!(matches!(of(&path, "/c", Name::OfFile, false), Err(InstallError::Taken { .. })));
        assert!(of(&path, "/c", given("cofferdam"), true).unwrap().after.contains("\"/c\""));
        // Another program in the same place is the same entry, and what a person added stays.
        let mut edited: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        edited["mcpServers"]["cofferdam-my-project"] =
            json!({ "command": "/old", "args": ["serve", "--session", "mine", "--workspace", "/a/My Project!"] });
        fs::write(&path, edited.to_string()).unwrap();
        assert_eq!(add("/a/My Project!"), "cofferdam-my-project");
        let after: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        assert_eq!(
            after["mcpServers"]["cofferdam-my-project"],
            json!({ "command": "/bin/cofferdam", "args": ["serve", "--session", "mine", "--workspace", "/a/My Project!"] })
        );
        assert_eq!(after["mcpServers"].as_object().unwrap().len(), 3);
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
        assert!(prepared(&path).unwrap().is_there(), "a second time there is nothing to write");
        let other = of(&path, "/v", Name::Given("x".into()), false).unwrap();
        let second = write(&other).unwrap().unwrap();
        assert!(second.ends_with("config.json.before-cofferdam-2"), "{second:?}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 3, "nothing is left over");
    }

    #[test]
    fn the_options_that_were_given_are_in_the_entry_and_replace_others_only_when_told_so() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(".mcp.json");
        let plan = |replace: bool, carried: &Carried| {
            let chosen = Chosen { name: Name::OfFile, replace };
            prepare(&path, &chosen, Path::new("/bin/cofferdam"), (Path::new("/w"), carried))
        };
        let arguments = |carried: &Carried| {
            let planned = plan(true, carried).unwrap();
            write(&planned).unwrap();
            let file: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
            file["mcpServers"]["cofferdam"]["args"].clone()
        };
        let given = |session: &str| [("--session", session.to_owned()), ("--policy", "/p".to_owned())];
        let expected = |session: &str| json!(["serve", "--workspace", "/w", "--session", session, "--policy", "/p"]);
        assert_eq!(arguments(&given("a")), expected("a"));
        let refused = plan(false, &given("b")).unwrap_err().to_string();
        assert!(refused.contains(r#""--session","a""#) && refused.contains(r#""--session","b""#), "{refused}");
        assert!(plan(false, &given("a")).unwrap().is_there());
        assert_eq!(arguments(&given("b")), expected("b"));
        assert_eq!(arguments(&[]), expected("b"), "what is not given stays");
        let mut joined = vec![json!("serve"), json!("--session=a")];
        carry(&mut joined, &given("b"));
        assert_eq!(joined, ["serve", "--session=b", "--policy", "/p"].map(|word| json!(word)));
    }

    #[test]
    fn an_entry_for_the_folder_that_holds_the_file_is_this_workspaces() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(".mcp.json");
        let args = json!(["serve", "--workspace", OWN_FOLDER]);
        let file = json!({ "mcpServers": { "ours": { "command": "/bin/cofferdam", "args": args } } });
        fs::write(&path, file.to_string()).unwrap();
        let planned = prepared(&path).unwrap();
        assert!(planned.is_there() && planned.name == "ours", "{planned:?}");
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
        assert_eq!(quoted("/a/b-c"), "/a/b-c");
        assert_eq!(quoted("/a b/it's"), r"'/a b/it'\''s'");
    }
}
