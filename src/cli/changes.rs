//! `cofferdam changes …`: a person sees what is held, decides about it, and takes back what was applied.

mod decide;
mod show;
mod undo;

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use clap::{Args, Subcommand};
use cofferdam_policy::Secrets;
use cofferdam_sandboxes::{Change, Patience, Session, SessionError, TreePath};

use super::{
    call::unusable,
    commit_take::{self, CommitTake},
    exit::Exit,
    terminal::{Colour, causes, note},
};
use crate::{
    audit::{self, Action, Call, ChangesDecided, ChangesOrdered, Event, Log},
    config,
    orders::{NO_WORDS, Orders, Seen},
    plain,
    server::{Setup, Unusable, finish_hand_back, load_policy, open_session},
};

/// How long to wait for calls that are handing back to the same workspace.
const PATIENCE: Duration = Duration::from_secs(30);

/// Paths that the audit log names.
const RECORDED: usize = 20;

const ABOUT: &str = "\
Held are changes that a person must see first: protected paths, conflicts with
your own edits, everything where the policy's mode is draft. The agent goes on
seeing its own version. Look, then decide:

  cofferdam changes list
  cofferdam changes diff src/lib.rs
  cofferdam changes apply --generation 7 src/lib.rs     or discard

What calls applied can be taken back, for 30 days:

  cofferdam changes history
  cofferdam changes undo 4f1c";

/// Shows and decides about changes that were held, and takes back what was applied.
#[derive(Debug, Subcommand)]
#[command(after_help = ABOUT)]
pub(super) enum Changes {
    /// Lists what is held, and why
    List(show::List),
    /// Shows held changes beside what the workspace has now
    Diff(show::Diff),
    /// Puts held changes into the workspace
    ///
    /// You have read them: protection does not matter any more. What the workspace changed itself meanwhile stays held
    /// and is listed as a conflict, until you order it again or discard it. Both halves of a move go together.
    Apply(Order),
    /// Forgets held changes for good
    Discard(Order),
    /// Lists the calls whose changes are in the workspace and can be taken back
    History(show::History),
    /// Takes back what a call changed in the workspace
    ///
    /// All or nothing: where a file is not any more as the call left it, nothing is done and the files are named; then
    /// name those that you want. An undo is in the history too, and can be undone. Devices, sockets and a file's set-id
    /// bits do not come back.
    Undo(undo::Undo),
    /// Moves your branch forward to the agent's commit
    CommitTake(CommitTake),
}

/// What is ordered.
#[derive(Debug, Args)]
pub(super) struct Order {
    #[command(flatten)]
    chosen: Chosen,
    /// Only if what is held is still what `list` or `diff` showed as this generation; in another session than the default
    /// it says which
    #[arg(long, value_name = "N|SESSION:N")]
    generation: Option<Seen>,
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
    let desk = match Desk::open(setup, colour) {
        Ok(desk) => desk,
        Err(error) => {
            note(format_args!("cofferdam: failed to {}", causes(&error)));
            return unusable(&error);
        }
    };
    let done = match command {
        Changes::List(list) => desk.list(list),
        Changes::Diff(diff) => desk.diff(diff),
        Changes::Apply(order) => desk.apply(order),
        Changes::Discard(order) => desk.discard(order),
        Changes::History(history) => desk.history(history),
        Changes::Undo(undo) => desk.undo(undo),
        Changes::CommitTake(take) => {
            // It opens the log itself.
            drop(desk);
            return commit_take::run(take, setup, colour);
        }
    };
    done.unwrap_or_else(|exit| exit)
}

/// A session and the log in which decisions about it are written.
struct Desk {
    session: Arc<Session>,
    log: Log,
    current_folder: PathBuf,
    orders: Orders,
    colour: Colour,
    setup: Setup,
}

impl Desk {
    fn open(setup: &Setup, colour: Colour) -> Result<Self, Unusable> {
        let state = config::prepare_state(&setup.folders.state)?;
        let session = open_session(setup, &state)?;
        let log = Log::open(&state, audit::time::system()).map_err(Unusable::Audit)?;
        // What a killed server left half done is neither held nor in the workspace: nothing can be said of it.
        finish_hand_back(&session, &log)?;
        Ok(Self {
            orders: Orders::from(setup, &session),
            session,
            log,
            current_folder: setup.environment.current_folder.clone(),
            colour,
            setup: setup.clone(),
        })
    }

    /// Which files hold credentials, by the policy as it is now. Without it nothing is done.
    fn secrets(&self) -> Result<Arc<Secrets>, Exit> {
        let policy = load_policy(&self.setup, self.session.workspace().root()).map_err(|error| {
            note(format_args!("cofferdam: nothing was done: failed to {}", causes(&error)));
            unusable(&error)
        })?;
        Ok(Arc::clone(policy.secrets()))
    }

    fn chosen(&self, chosen: &Chosen) -> Result<Vec<TreePath>, Exit> {
        if chosen.all { Ok(vec![TreePath::root()]) } else { self.paths(&chosen.paths) }
    }

    /// Reads paths as a person writes them. None means all.
    fn paths_or_all(&self, paths: &[PathBuf]) -> Result<Vec<TreePath>, Exit> {
        if paths.is_empty() { Ok(vec![TreePath::root()]) } else { self.paths(paths) }
    }

    fn paths(&self, paths: &[PathBuf]) -> Result<Vec<TreePath>, Exit> {
        let root = self.session.workspace().root();
        let read = |path: &PathBuf| {
            tree_path(path, root, &self.current_folder).ok_or_else(|| {
                note(format_args!("cofferdam: {} is not a path below {}", path.display(), root.display()));
                Exit::Usage
            })
        };
        paths.iter().map(read).collect()
    }

    /// Refuses an order about what was seen in another session.
    fn confirm(&self, seen: &Seen) -> Result<u64, Exit> {
        if seen.session == self.session.name() {
            return Ok(seen.generation);
        }
        note(format_args!(
            "cofferdam: generation {seen} was seen in session {}, and this order is about session {}; nothing was done. Look \
             again with `{}`",
            plain::name(&seen.session),
            plain::name(self.session.name()),
            self.orders.changes("diff", &NO_WORDS),
        ));
        Err(Exit::Person)
    }

    /// A path as a person types it here; see [`tree_path`].
    fn as_typed(&self, path: &TreePath) -> OsString {
        let root = self.session.workspace().root();
        let whole = root.join(path.as_path());
        let relative = if self.current_folder.starts_with(root) {
            whole.strip_prefix(&self.current_folder).unwrap_or(&whole)
        } else {
            path.as_path()
        };
        if relative.as_os_str().is_empty() {
            return ".".into();
        }
        // It would be read as an option.
        let is_like_an_option = relative.as_os_str().as_encoded_bytes().starts_with(b"-");
        if is_like_an_option { Path::new(".").join(relative).into() } else { relative.into() }
    }

    /// The order that takes back `changes` of `call`, with those that must be `named`.
    fn undo_order(&self, call: &str, changes: &[Change], named: &[TreePath]) -> String {
        let is_other = |change: &Change| !named.contains(&change.path);
        let mut words = vec![OsString::from(call)];
        if !named.is_empty() && changes.iter().any(is_other) {
            words.push(self.as_typed(&TreePath::root()));
        }
        words.extend(named.iter().map(|path| self.as_typed(path)));
        self.orders.changes("undo", &words)
    }

    /// Puts the order on the disk, before anything is done.
    fn announce(&self, action: Action, paths: &[TreePath], call: Option<&str>) -> Result<(), Exit> {
        let name = |path: &TreePath| if *path == TreePath::root() { ".".to_owned() } else { path.to_string() };
        let event = Event::ChangesOrdered(ChangesOrdered {
            session: self.session.name().to_owned(),
            workspace: self.session.workspace().root().to_string_lossy().into_owned(),
            action,
            named: paths.len() as u64,
            paths: paths.iter().take(RECORDED).map(name).collect(),
            call: call.map(|call| Call(call.to_owned())),
        });
        self.log.append(vec![event]).map_err(|error| {
            note(format_args!("cofferdam: nothing was done: the order failed to be recorded: {}", causes(&error)));
            Exit::NoAudit
        })
    }

    fn record(&self, action: Action, done: &[Change], order: Option<String>) -> Result<(), Exit> {
        let event = Event::Changes(ChangesDecided {
            session: self.session.name().to_owned(),
            workspace: self.session.workspace().root().to_string_lossy().into_owned(),
            action,
            done: done.len() as u64,
            paths: done.iter().take(RECORDED).map(|change| change.path.to_string()).collect(),
            order: order.map(Call),
        });
        self.log.append(vec![event]).map_err(|error| {
            note(format_args!("cofferdam: it was done, but failed to be recorded: {}", causes(&error)));
            Exit::NoAudit
        })
    }
}

fn patience() -> Patience<'static> {
    Patience { until: Instant::now() + PATIENCE, cancelled: &|| false }
}

fn failed(error: &dyn std::error::Error) -> Exit {
    note(format_args!("cofferdam: {}", causes(error)));
    Exit::Failed
}

/// Why an order was not carried out. What changed under a person's eyes waits for that person.
fn not_done(error: &SessionError, orders: &Orders) -> Exit {
    if let SessionError::Changed { .. } = error {
        let look = orders.changes("diff", &NO_WORDS);
        note(format_args!("cofferdam: {error}; nothing was done. Look again with `{look}`"));
        return Exit::Person;
    }
    failed(error)
}

/// Those of `changes` that an order may have to name: credentials, or a repository.
fn to_be_named(changes: &[Change], secrets: &Secrets) -> Vec<TreePath> {
    let is_git = |path: &TreePath| path.as_path().file_name().is_some_and(|name| name == ".git");
    let paths = changes.iter().map(|change| &change.path);
    paths.filter(|path| secrets.candidate(path.as_path()).is_some() || is_git(path)).cloned().collect()
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
