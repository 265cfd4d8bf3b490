//! `cofferdam changes list|diff|apply|discard`: a person decides about what was held.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant, UNIX_EPOCH},
};

use clap::{Args, Subcommand};
use cofferdam_sandboxes::{Change, HeldChange, LayersError, Patience, Released, Session, SessionError, TreePath};
use serde::Serialize;
use serde_json::json;

use super::{
    call::unusable,
    commit_take::{self, CommitTake},
    exit::Exit,
    terminal::{Colour, Mark, causes, note, print},
};
use crate::{
    audit::{self, Action, ChangesDecided, ChangesOrdered, Event, Log},
    config, handed_back,
    server::{Setup, Unusable, open_session},
};

/// How long to wait for calls that are handing back to the same workspace.
const PATIENCE: Duration = Duration::from_secs(30);

/// Paths that the audit log names.
const RECORDED: usize = 20;

/// Shows and decides about changes that were held.
#[derive(Debug, Subcommand)]
pub(super) enum Changes {
    /// Lists what is held, and why
    List {
        /// Prints the list as JSON, each entry with the generation
        #[arg(long)]
        json: bool,
    },
    /// Shows held changes beside what the workspace has now
    Diff {
        /// Files or folders; without any, everything
        paths: Vec<PathBuf>,
    },
    /// Puts held changes into the workspace
    ///
    /// You have read them: protection does not matter any more. What the workspace changed itself meanwhile stays held,
    /// and is applied when you order it again.
    Apply(Order),
    /// Forgets held changes for good
    Discard(Order),
    /// Moves your branch forward to the agent's commit
    CommitTake(CommitTake),
}

/// What is ordered.
#[derive(Debug, Args)]
pub(super) struct Order {
    #[command(flatten)]
    chosen: Chosen,
    /// Only if what is held is still what `list` or `diff` showed as this generation
    #[arg(long, value_name = "N")]
    generation: Option<u64>,
}

/// Which changes.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(super) struct Chosen {
    /// Files or folders, with all that is below
    paths: Vec<PathBuf>,
    /// Everything that is held
    #[arg(long)]
    all: bool,
}

/// Runs the command.
#[must_use]
pub(super) fn run(command: &Changes, setup: &Setup, colour: Colour) -> Exit {
    let desk = match Desk::open(setup) {
        Ok(desk) => desk,
        Err(error) => {
            note(format_args!("cofferdam: failed to {}", causes(&error)));
            return unusable(&error);
        }
    };
    match command {
        Changes::List { json } => desk.list(*json, colour),
        Changes::Diff { paths } if paths.is_empty() => desk.diff(&[TreePath::root()], colour),
        Changes::Diff { paths } => desk.with_paths(paths, |paths| desk.diff(paths, colour)),
        Changes::Apply(Order { chosen, generation }) => {
            desk.with_chosen(chosen, |paths| desk.apply(paths, *generation, colour))
        }
        Changes::Discard(Order { chosen, generation }) => {
            desk.with_chosen(chosen, |paths| desk.discard(paths, *generation, colour))
        }
        Changes::CommitTake(take) => {
            // It opens the log itself.
            drop(desk);
            commit_take::run(take, setup, colour)
        }
    }
}

/// A session and the log in which decisions about it are written.
struct Desk {
    session: std::sync::Arc<Session>,
    log: Log,
    current_folder: PathBuf,
}

impl Desk {
    fn open(setup: &Setup) -> Result<Self, Unusable> {
        let state = config::prepare_state(&setup.folders.state)?;
        let session = open_session(setup, &state)?;
        let log = Log::open(&state, audit::time::system()).map_err(Unusable::Audit)?;
        Ok(Self { session, log, current_folder: setup.environment.current_folder.clone() })
    }

    fn with_chosen(&self, chosen: &Chosen, act: impl FnOnce(&[TreePath]) -> Exit) -> Exit {
        if chosen.all { act(&[TreePath::root()]) } else { self.with_paths(&chosen.paths, act) }
    }

    fn with_paths(&self, paths: &[PathBuf], act: impl FnOnce(&[TreePath]) -> Exit) -> Exit {
        let root = self.session.workspace().root();
        let mut found = Vec::new();
        for path in paths {
            match tree_path(path, root, &self.current_folder) {
                Some(path) => found.push(path),
                None => {
                    note(format_args!("cofferdam: {} is not a path below {}", path.display(), root.display()));
                    return Exit::Usage;
                }
            }
        }
        act(&found)
    }

    fn list(&self, json: bool, colour: Colour) -> Exit {
        let layers = match self.session.layers() {
            Ok(layers) => layers,
            Err(error) => return failed(&error),
        };
        let generation = layers.generation();
        let held: Vec<Listed<'_>> = layers.held().map(|held| Listed { held, generation }).collect();
        if json {
            print(json!(held));
            return Exit::Success;
        }
        for Listed { held, .. } in &held {
            print(held_line(held, colour));
        }
        match self.session.own_commits() {
            Ok(commits) => commits.into_iter().for_each(print),
            Err(error) => return failed(&error),
        }
        print(if held.is_empty() { "nothing is held".to_owned() } else { closing_line(generation, "--all", colour) });
        Exit::Success
    }

    fn diff(&self, paths: &[TreePath], colour: Colour) -> Exit {
        // One snapshot for all: what is shown is one generation.
        let read = || -> Result<(String, u64), LayersError> {
            let layers = self.session.layers()?;
            let texts: Result<String, _> = paths.iter().map(|path| self.session.diff(&layers, path)).collect();
            Ok((texts?, layers.generation()))
        };
        let (text, generation) = match read() {
            Ok(read) => read,
            Err(error) => return failed(&error),
        };
        if text.is_empty() {
            return nothing_there(paths);
        }
        text.lines().for_each(|line| print(diff_line(line, colour)));
        let chosen = if paths.contains(&TreePath::root()) { "--all" } else { "PATH…" };
        print(closing_line(generation, chosen, colour));
        Exit::Success
    }

    fn apply(&self, paths: &[TreePath], generation: Option<u64>, colour: Colour) -> Exit {
        if let Err(exit) = self.announce(Action::Apply, paths) {
            return exit;
        }
        let released = match generation {
            None => self.session.apply(paths, &patience()),
            Some(generation) => self.session.apply_as_of(generation, paths, &patience()),
        };
        let released = match released {
            Ok(released) => released,
            Err(error) => return not_done(&error),
        };
        let Released { applied, held, notes } = &released;
        for change in applied {
            print(format_args!("{} {}", colour.paint(Mark::Good, "applied"), change.path));
        }
        for held in held {
            print(format_args!("{} {}: {}", colour.paint(Mark::Warn, "still held"), held.change.path, held.reason));
        }
        for note in notes {
            print(format_args!("note: {}", handed_back::note(note)));
        }
        let exit = match (applied.is_empty(), held.is_empty()) {
            (true, true) => nothing_there(paths),
            (false, true) => Exit::Success,
            (true | false, false) => Exit::Person,
        };
        self.record(Action::Apply, applied, exit)
    }

    fn discard(&self, paths: &[TreePath], generation: Option<u64>, colour: Colour) -> Exit {
        if let Err(exit) = self.announce(Action::Discard, paths) {
            return exit;
        }
        let discarded = match generation {
            None => self.session.discard(paths, &patience()),
            Some(generation) => self.session.discard_as_of(generation, paths, &patience()),
        };
        let discarded = match discarded {
            Ok(discarded) => discarded,
            Err(error) => return not_done(&error),
        };
        for change in &discarded {
            print(format_args!("{} {}", colour.paint(Mark::Warn, "discarded"), change.path));
        }
        let exit = if discarded.is_empty() { nothing_there(paths) } else { Exit::Success };
        self.record(Action::Discard, &discarded, exit)
    }

    /// Puts the order on the disk, before anything is done.
    fn announce(&self, action: Action, paths: &[TreePath]) -> Result<(), Exit> {
        let name = |path: &TreePath| if *path == TreePath::root() { ".".to_owned() } else { path.to_string() };
        let event = Event::ChangesOrdered(ChangesOrdered {
            session: self.session.name().to_owned(),
            workspace: self.session.workspace().root().to_string_lossy().into_owned(),
            action,
            named: paths.len() as u64,
            paths: paths.iter().take(RECORDED).map(name).collect(),
        });
        self.log.append(vec![event]).map_err(|error| {
            note(format_args!("cofferdam: nothing was done: the order failed to be recorded: {}", causes(&error)));
            Exit::NoAudit
        })
    }

    fn record(&self, action: Action, done: &[Change], exit: Exit) -> Exit {
        let event = Event::Changes(ChangesDecided {
            session: self.session.name().to_owned(),
            workspace: self.session.workspace().root().to_string_lossy().into_owned(),
            action,
            done: done.len() as u64,
            paths: done.iter().take(RECORDED).map(|change| change.path.to_string()).collect(),
        });
        match self.log.append(vec![event]) {
            Ok(()) => exit,
            Err(error) => {
                note(format_args!("cofferdam: it was done, but failed to be recorded: {}", causes(&error)));
                Exit::NoAudit
            }
        }
    }
}

/// A held change in the list that programs read.
#[derive(Serialize)]
struct Listed<'a> {
    #[serde(flatten)]
    held: &'a HeldChange,
    /// The list's, for `--generation`.
    generation: u64,
}

/// That nothing is held is what somebody who named no path wanted, and not what somebody who did expects.
fn nothing_there(paths: &[TreePath]) -> Exit {
    if paths.contains(&TreePath::root()) {
        print("nothing is held");
        return Exit::Success;
    }
    note(format_args!("cofferdam: nothing is held there; `cofferdam changes list` shows what is"));
    Exit::Failed
}

fn patience() -> Patience<'static> {
    Patience { until: Instant::now() + PATIENCE, cancelled: &|| false }
}

fn failed(error: &dyn std::error::Error) -> Exit {
    note(format_args!("cofferdam: {}", causes(error)));
    Exit::Failed
}

/// Why an order was not carried out. What changed under a person's eyes waits for that person.
fn not_done(error: &SessionError) -> Exit {
    if let SessionError::Changed { .. } = error {
        note(format_args!("cofferdam: {error}; nothing was done. Look again with `cofferdam changes diff`"));
        return Exit::Person;
    }
    failed(error)
}

/// A path as a person writes it: relative to the workspace, to the current folder if that lies in the workspace, or
/// absolute below it.
fn tree_path(path: &Path, root: &Path, current_folder: &Path) -> Option<TreePath> {
    let absolute = if path.is_absolute() {
        path.to_owned()
    } else if current_folder.starts_with(root) {
        current_folder.join(path)
    } else {
        root.join(path)
    };
    let absolute: PathBuf = absolute.components().collect();
    let relative = absolute.strip_prefix(root).ok()?;
    if relative.as_os_str().is_empty() { Some(TreePath::root()) } else { TreePath::new(relative) }
}

fn held_line(held: &HeldChange, colour: Colour) -> String {
    let since = audit::time::rfc3339(UNIX_EPOCH + Duration::from_millis(held.origin.at_ms));
    format!(
        "{} ({}): {}  {}",
        colour.paint(Mark::Bold, &held.change.path),
        handed_back::kind(&held.change.what),
        held.reason,
        colour.paint(Mark::Dim, format_args!("{since} call {}", held.origin.call)),
    )
}

fn closing_line(generation: u64, chosen: &str, colour: Colour) -> String {
    let order = format!("`cofferdam changes apply --generation {generation} {chosen}` applies exactly this");
    colour.paint(Mark::Dim, format_args!("as of generation {generation}; {order}"))
}

fn diff_line(line: &str, colour: Colour) -> String {
    match line.as_bytes().first() {
        Some(b'+') => colour.paint(Mark::Good, line),
        Some(b'-') => colour.paint(Mark::Bad, line),
        Some(_) | None => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_read_as_a_person_means_them() {
        let read = |path: &str, current: &str| tree_path(Path::new(path), Path::new("/w"), Path::new(current));
        let wanted = TreePath::new("a/b");
        assert_eq!(read("a/b", "/elsewhere"), wanted);
        assert_eq!(read("b", "/w/a"), wanted);
        assert_eq!(read("/w/a/./b", "/"), wanted);
        assert_eq!(read(".", "/w"), Some(TreePath::root()));
        assert_eq!(read("/wx/a", "/w"), None);
        assert_eq!(read("../x", "/w"), None);
    }
}
