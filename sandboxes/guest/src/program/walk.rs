//! Walking a tree, each entry once, in a fixed order.
//!
//! Folders are opened relative to the folder they were found in, and never through a link. Links are entries, their
//! targets are not. `.git` is never entered: it is large, and nothing in it is source; who wants to look names it.

use std::{
    ffi::OsStr,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::{Path, PathBuf},
};

use cofferdam_contract::{FileRefusal, RefusalKind, WorkspacePath};
use globset::{GlobBuilder, GlobMatcher};
use rustix::fs::FileType;

use super::{
    channel::Lifeline,
    folder::{self, Item, MAX_DEPTH},
    ignored::{Hidden, Rules},
    refusal::{from_errno, refusal},
    workspace::{Place, Workspace},
};

/// How a tree is walked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Walk<'a> {
    /// Looked at for every entry.
    pub(crate) lifeline: Lifeline<'a>,
    /// What is passed over.
    pub(crate) filter: Filter,
    /// In which order.
    pub(crate) order: Order,
    /// Folder levels to descend; 1 is the start's own entries.
    pub(crate) depth: u32,
}

/// What is passed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Filter {
    /// Nothing.
    Nothing,
    /// What ignore files name, and hidden names as this says.
    Ignored(Hidden),
}

/// The order of the entries of one folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// By name.
    Names,
    /// By the paths that come of them: a folder counts as its name and a slash, so that `a-b` comes before `a/c`.
    Paths,
}

/// One entry on the way.
#[derive(Debug)]
pub(crate) struct Visited<'a> {
    /// The folder it is in.
    pub(crate) folder: BorrowedFd<'a>,
    /// Its name there.
    pub(crate) name: &'a OsStr,
    /// Its path below the start.
    pub(crate) below: &'a Path,
    /// What it is.
    pub(crate) kind: FileType,
}

impl Walk<'_> {
    /// Walks the folder `place`, which `path` resolved to. Says how many folders could not be read.
    pub(crate) fn run(
        &self,
        workspace: &Workspace,
        path: &WorkspacePath,
        place: &Place,
        visit: impl FnMut(Visited<'_>),
    ) -> Result<u64, FileRefusal> {
        let failed = |error| from_errno(error, "list", path);
        let start = folder::open(place.folder.as_fd(), &place.name).map_err(failed)?;
        let rules = match self.filter {
            Filter::Nothing => Rules::default(),
            Filter::Ignored(_) => Rules::at(workspace, &place.real).map_err(failed)?,
        };
        let items = folder::items(&start).map_err(failed)?;
        let mut way = Way { walk: *self, start: &place.real, below: PathBuf::new(), level: 1, visit, unreadable: 0 };
        way.folder(&start, items, &rules);
        Ok(way.unreadable)
    }
}

/// Where a walk is.
struct Way<'a, V> {
    walk: Walk<'a>,
    /// The start's path without links, below the workspace; ignore files speak of such paths.
    start: &'a Path,
    /// The current path below the start.
    below: PathBuf,
    /// 1 in the start itself.
    level: u32,
    visit: V,
    unreadable: u64,
}

impl<V: FnMut(Visited<'_>)> Way<'_, V> {
    fn folder(&mut self, folder: &OwnedFd, mut items: Vec<Item>, rules: &Rules) {
        if self.walk.order == Order::Paths {
            items.sort_unstable_by(|one, other| path_bytes(one).cmp(path_bytes(other)));
        }
        for Item { name, kind } in items {
            self.walk.lifeline.check();
            self.below.push(&name);
            let is_folder = kind == FileType::Directory;
            let is_shown = match self.walk.filter {
                Filter::Nothing => true,
                Filter::Ignored(hidden) => !rules.ignore(&self.start.join(&self.below), is_folder, hidden),
            };
            if is_shown {
                (self.visit)(Visited { folder: folder.as_fd(), name: &name, below: &self.below, kind });
                if is_folder && self.level < self.walk.depth && name != ".git" {
                    self.descend(folder, &name, rules);
                }
            }
            self.below.pop();
        }
    }

    fn descend(&mut self, parent: &OwnedFd, name: &OsStr, rules: &Rules) {
        let opened = folder::open(parent.as_fd(), name);
        let items = opened.as_ref().map_err(|error| *error).and_then(folder::items);
        let (Ok(folder), Ok(items), true) = (opened, items, self.level < MAX_DEPTH) else {
            self.unreadable += 1;
            return;
        };
        let rules = match self.walk.filter {
            Filter::Nothing => Rules::default(),
            Filter::Ignored(_) => rules.enter(folder.as_fd(), &self.start.join(&self.below)),
        };
        self.level += 1;
        self.folder(&folder, items, &rules);
        self.level -= 1;
    }
}

/// The bytes that an entry's place in the order of paths depends on.
fn path_bytes(item: &Item) -> impl Iterator<Item = &u8> {
    let slash: &[u8] = if item.kind == FileType::Directory { b"/" } else { b"" };
    item.name.as_bytes().iter().chain(slash)
}

/// A glob over paths below the start of a walk.
#[derive(Debug)]
pub(crate) struct Glob {
    matcher: GlobMatcher,
    hidden: Hidden,
}

impl Glob {
    /// Reads a glob. `**` crosses folders, `*` does not; one without a slash matches the name anywhere.
    pub(crate) fn parse(text: &str) -> Result<Self, FileRefusal> {
        let plain = text.strip_prefix("./").or(text.strip_prefix('/')).unwrap_or(text);
        let anywhere = if plain.contains('/') { plain.to_owned() } else { format!("**/{plain}") };
        let glob = GlobBuilder::new(&anywhere)
            .literal_separator(true)
            .build()
            .map_err(|error| refusal(RefusalKind::Invalid, format!("`{text}` is no glob: {}", error.kind())))?;
        // Who writes a dot at the start of a name means hidden names.
        let hidden =
            if plain.split('/').any(|name| name.starts_with('.')) { Hidden::Shown } else { Hidden::PassedOver };
        Ok(Self { matcher: glob.compile_matcher(), hidden })
    }

    /// Whether the path matches.
    pub(crate) fn matches(&self, below: &Path) -> bool {
        self.matcher.is_match(below)
    }

    /// What the glob means for hidden names.
    pub(crate) fn hidden(glob: Option<&Self>) -> Hidden {
        glob.map_or(Hidden::PassedOver, |glob| glob.hidden)
    }
}
