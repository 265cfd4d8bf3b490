//! `cofferdam changes list|diff|history`: what there is to decide about, for people and for programs.

use std::{
    ffi::OsString,
    path::PathBuf,
    time::{Duration, UNIX_EPOCH},
};

use clap::Args;
use cofferdam_sandboxes::{Change, Difference, HeldChange, Reason, Since, TreePath, Undoable, What};
use serde::Serialize;
use serde_json::json;

use super::{
    super::{
        exit::Exit,
        terminal::{Colour, Mark, note, print},
    },
    Desk, failed,
};
use crate::{
    audit, handed_back,
    orders::{NO_WORDS, Seen},
    plain,
};

/// Paths of one call that the history names.
const NAMED: usize = 3;

/// Lists what is held.
#[derive(Debug, Args)]
pub(in crate::cli) struct List {
    /// Files or folders, with all that is below; without any, everything
    paths: Vec<PathBuf>,
    /// Prints the list as JSON, each entry with the generation
    #[arg(long)]
    json: bool,
}

/// Shows what is held beside the workspace.
#[derive(Debug, Args)]
pub(in crate::cli) struct Diff {
    /// Files or folders, with all that is below; without any, everything
    paths: Vec<PathBuf>,
    /// Prints both sides of each change as JSON, each entry with the generation
    #[arg(long)]
    json: bool,
}

/// Lists what can be undone.
#[derive(Debug, Args)]
pub(in crate::cli) struct History {
    /// Files or folders; only calls that changed one of them, or something below
    paths: Vec<PathBuf>,
    /// How many calls, the newest first
    #[arg(long, default_value_t = 20, value_name = "N")]
    last: usize,
    /// Prints the list as JSON, with every path
    #[arg(long)]
    json: bool,
}

impl Desk {
    pub(super) fn list(&self, List { paths, json }: &List) -> Result<Exit, Exit> {
        let paths = self.paths_or_all(paths)?;
        let layers = self.session.layers().map_err(|error| failed(&error))?;
        let generation = layers.generation();
        let listed: Vec<AsOf<&HeldChange>> = layers
            .held()
            .filter(|held| paths.iter().any(|path| held.change.path.is_within(path)))
            .map(|shown| AsOf { shown, generation: self.orders.seen(generation) })
            .collect();
        let listed = listed
            .into_iter()
            .map(|shown| Ok(Listed { since: self.session.since(shown.shown).map_err(|error| failed(&error))?, shown }));
        let listed: Vec<Listed<'_>> = listed.collect::<Result<_, Exit>>()?;
        if *json {
            print(plain::json(&json!(listed)));
            return Ok(Exit::Success);
        }
        for held in &listed {
            print(held_line(held, self.colour));
        }
        self.session
            .own_commits(&self.orders.changes("commit-take", &NO_WORDS))
            .map_err(|error| failed(&error))?
            .into_iter()
            .for_each(print);
        for (name, count) in self.session.others_that_hold().map_err(|error| failed(&error))? {
            let look = self.orders.of_session(&name).changes("list", &NO_WORDS);
            let text = format_args!("session {} holds {count}: `{look}`", plain::name(&name));
            print(self.colour.paint(Mark::Dim, text));
        }
        if listed.is_empty() {
            return Ok(self.nothing_there(&paths));
        }
        let is_conflict = listed.iter().any(|held| held.since == Since::Changed);
        let is_by_name = listed.iter().any(|held| held.shown.shown.reason.must_be_named());
        print(self.closing_line(generation, &paths, Exceptions { is_conflict, is_by_name }));
        Ok(Exit::Success)
    }

    pub(super) fn diff(&self, Diff { paths, json }: &Diff) -> Result<Exit, Exit> {
        let paths = self.paths_or_all(paths)?;
        // One snapshot for all: what is shown is one generation.
        let layers = self.session.layers().map_err(|error| failed(&error))?;
        let generation = layers.generation();
        let mut differences = Vec::new();
        for path in &paths {
            differences.extend(self.session.differences(&layers, path).map_err(|error| failed(&error))?);
        }
        if *json {
            let shown: Vec<AsOf<Difference>> =
                differences.into_iter().map(|shown| AsOf { shown, generation: self.orders.seen(generation) }).collect();
            print(plain::json(&json!(shown)));
            return Ok(Exit::Success);
        }
        if differences.is_empty() {
            return Ok(self.nothing_there(&paths));
        }
        for difference in &differences {
            difference.to_string().lines().for_each(|line| print(diff_line(line, self.colour)));
        }
        let is_conflict = differences.iter().any(|shown| shown.since == Since::Changed);
        let is_by_name = differences.iter().any(|shown| shown.held.reason.must_be_named());
        print(self.closing_line(generation, &paths, Exceptions { is_conflict, is_by_name }));
        Ok(Exit::Success)
    }

    pub(super) fn history(&self, History { paths, last, json }: &History) -> Result<Exit, Exit> {
        let paths = self.paths_or_all(paths)?;
        let mut calls = self.session.undoable().map_err(|error| failed(&error))?;
        let changed = |change: &Change| paths.iter().any(|path| change.path.is_within(path));
        calls.retain(|call| call.changes.iter().any(changed));
        let more = calls.len().saturating_sub(*last);
        calls.truncate(*last);
        if *json {
            print(plain::json(&json!(calls)));
            return Ok(Exit::Success);
        }
        for call in &calls {
            print(call_line(call, self.colour));
        }
        if more > 0 {
            print(self.colour.paint(Mark::Dim, format_args!("and {more} older ones; --last shows more")));
        }
        if calls.is_empty() {
            print("nothing that can be undone");
        }
        Ok(Exit::Success)
    }

    /// That nothing is held is what somebody who named no path wanted, and not what somebody who did expects.
    pub(super) fn nothing_there(&self, paths: &[TreePath]) -> Exit {
        if paths.contains(&TreePath::root()) {
            print("nothing is held");
            return Exit::Success;
        }
        let look = self.orders.changes("list", &NO_WORDS);
        note(format_args!("cofferdam: nothing is held there; `{look}` shows what is"));
        Exit::Failed
    }

    fn closing_line(&self, generation: u64, paths: &[TreePath], exceptions: Exceptions) -> String {
        let seen = self.orders.seen(generation);
        let mut words = vec![OsString::from("--generation"), seen.to_string().into()];
        match paths.contains(&TreePath::root()) {
            true => words.push("--all".into()),
            false => words.extend(paths.iter().map(|path| self.as_typed(path))),
        }
        let but = match exceptions {
            Exceptions { is_conflict: false, is_by_name: false } => "",
            Exceptions { is_conflict: true, is_by_name: false } => ", but for what you changed since",
            Exceptions { is_conflict: false, is_by_name: true } => {
                ", but for what only an order by its very name applies"
            }
            Exceptions { is_conflict: true, is_by_name: true } => {
                ", but for what you changed since, and for what only an order by its very name applies"
            }
        };
        let order = self.orders.changes("apply", &words);
        self.colour.paint(Mark::Dim, format_args!("as of generation {seen}; `{order}` applies exactly this{but}"))
    }
}

/// Something for programs, with the list's generation as `--generation` takes it.
#[derive(Serialize)]
struct AsOf<T> {
    #[serde(flatten)]
    shown: T,
    generation: Seen,
}

/// A held change as `list` shows it.
#[derive(Serialize)]
struct Listed<'a> {
    #[serde(flatten)]
    shown: AsOf<&'a HeldChange>,
    /// What became of the workspace's side since it was held.
    since: Since,
}

/// What of the shown changes one order does not apply: `is_by_name` where one costs credentials or a repository.
struct Exceptions {
    is_conflict: bool,
    is_by_name: bool,
}

fn when(at_ms: u64) -> String {
    audit::time::rfc3339(UNIX_EPOCH + Duration::from_millis(at_ms))
}

fn held_line(Listed { shown: AsOf { shown: held, .. }, since }: &Listed<'_>, colour: Colour) -> String {
    let mark = colour.paint(Mark::Warn, "conflict:");
    let conflict = match since {
        Since::Changed => format!("{mark} you changed it since; "),
        Since::Told => format!("{mark} you changed it since, as you were told; "),
        Since::Same if held.reason == Reason::Conflict => format!("{mark} "),
        Since::Same => String::new(),
    };
    format!(
        "{} ({}): {conflict}{}  {}",
        colour.paint(Mark::Bold, &held.change.path),
        handed_back::kind(&held.change.what),
        held.reason,
        colour.paint(Mark::Dim, format_args!("{} call {}", when(held.origin.at_ms), held.origin.call)),
    )
}

fn call_line(call: &Undoable, colour: Colour) -> String {
    // A folder says nothing beside what is in it.
    let is_file = |change: &&Change| !matches!(change.what, What::Folder { .. });
    let files: Vec<&Change> = call.changes.iter().filter(is_file).collect();
    let shown: Vec<&Change> = if files.is_empty() { call.changes.iter().collect() } else { files };
    let named: Vec<String> = shown
        .iter()
        .take(NAMED)
        .map(|change| match change.what {
            What::Deleted => format!("{} (deleted)", change.path),
            What::File { .. } | What::Folder { .. } | What::Link { .. } | What::Special { .. } => {
                change.path.to_string()
            }
        })
        .collect();
    let more = match shown.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!(
        "{}  {}  {}{more}",
        colour.paint(Mark::Dim, when(call.at_ms)),
        colour.paint(Mark::Bold, &call.call),
        named.join(", "),
    )
}

fn diff_line(line: &str, colour: Colour) -> String {
    let mark = match line.as_bytes() {
        [b'-', b'-', b'-', b' ', ..] | [b'+', b'+', b'+', b' ', ..] => Mark::Bold,
        [b'+', ..] => Mark::Good,
        [b'-', ..] => Mark::Bad,
        [b'@', b'@', ..] => Mark::Dim,
        _ if line.starts_with("held ") => Mark::Bold,
        _ if line.starts_with("both sides changed") => Mark::Warn,
        _ => return line.to_owned(),
    };
    colour.paint(mark, line)
}
