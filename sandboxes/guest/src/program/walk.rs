//! Walking a tree, each entry once, in a fixed order.
//!
//! Folders are opened relative to the folder they were found in, and never through a link. Links are entries, their
//! targets are not. `.git` is never entered: it is large, and nothing in it is source; who wants to look names it.

use std::{
    ffi::OsStr,
    os::{
        fd::{AsFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::{Path, PathBuf},
    sync::Arc,
};

use cofferdam_contract::{FileRefusal, Ignoring, LeftOut, RefusalKind, WorkspacePath};
use globset::{GlobBuilder, GlobMatcher};
use rustix::fs::FileType;

use super::{
    channel::Lifeline,
    folder::{self, Item, MAX_DEPTH},
    ignored::{Hidden, Rules, Verdict},
    refusal::{from_errno, refusal},
    workspace::{Place, Workspace},
};

/// The server is looked for with every entry whose number is a multiple of this: asking costs as much as naming an entry.
const ENTRIES_PER_LOOK: u64 = 64;

/// How a tree is walked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Walk<'a> {
    /// Looked at now and then.
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
    /// What ignore files name, and hidden names as this says, below the start's own entries: of those each is visited, and
    /// none entered that would be passed over.
    Below(Hidden),
    /// What ignore files name, and hidden names as this says.
    Ignored(Hidden),
}

impl Filter {
    /// What is asked for, with hidden names as a glob means them.
    pub(crate) fn of(ignoring: Ignoring, glob: Option<&Glob>) -> Self {
        match ignoring {
            Ignoring::Nowhere => Self::Nothing,
            Ignoring::BelowTheTop => Self::Below(Glob::hidden(glob)),
            Ignoring::Everywhere => Self::Ignored(Glob::hidden(glob)),
        }
    }

    fn hidden(self) -> Option<Hidden> {
        match self {
            Self::Nothing => None,
            Self::Below(hidden) | Self::Ignored(hidden) => Some(hidden),
        }
    }
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
    pub(crate) folder: &'a Arc<OwnedFd>,
    /// Its name there.
    pub(crate) name: &'a OsStr,
    /// Its path below the start.
    pub(crate) below: &'a Path,
    /// What it is.
    pub(crate) kind: FileType,
    /// What the ignore files say of it: only of the start's own entries can it be something else than shown.
    pub(crate) verdict: Verdict,
}

impl Walk<'_> {
    /// Walks the folder `place`, which `path` resolved to. Says what was passed over.
    pub(crate) fn run(
        &self,
        workspace: &Workspace,
        path: &WorkspacePath,
        place: &Place,
        visit: impl FnMut(Visited<'_>),
    ) -> Result<LeftOut, FileRefusal> {
        let failed = |error| from_errno(error, "list", path);
        let start = Arc::new(folder::open(place.folder.as_fd(), &place.name).map_err(failed)?);
        let rules = match self.filter {
            Filter::Nothing => Rules::default(),
            Filter::Below(_) | Filter::Ignored(_) => Rules::at(workspace, &place.real).map_err(failed)?,
        };
        let items = folder::items(&start).map_err(failed)?;
        let mut way = Way {
            walk: *self,
            start: &place.real,
            below: PathBuf::new(),
            level: 1,
            visit,
            left_out: LeftOut::default(),
            entries: 0,
        };
        way.folder(&start, items, &rules);
        Ok(way.left_out)
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
    left_out: LeftOut,
    /// Entries seen so far.
    entries: u64,
}

impl<V: FnMut(Visited<'_>)> Way<'_, V> {
    fn folder(&mut self, folder: &Arc<OwnedFd>, mut items: Vec<Item>, rules: &Rules) {
        if self.walk.order == Order::Paths {
            items.sort_unstable_by(|one, other| path_bytes(one).cmp(path_bytes(other)));
        }
        for Item { name, kind } in items {
            if self.entries.is_multiple_of(ENTRIES_PER_LOOK) {
                self.walk.lifeline.check();
            }
            self.entries += 1;
            self.below.push(&name);
            let is_folder = kind == FileType::Directory;
            let verdict = self.walk.filter.hidden().map_or(Verdict::Shown, |hidden| {
                rules.verdict(&name, || self.start.join(&self.below), is_folder, hidden)
            });
            let is_own = matches!(self.walk.filter, Filter::Below(_)) && self.level == 1;
            match verdict {
                Verdict::Shown => {}
                Verdict::Ignored if !is_own => self.left_out.ignored += 1,
                Verdict::Hidden if !is_own => self.left_out.hidden += 1,
                Verdict::Ignored | Verdict::Hidden => {}
            }
            if verdict == Verdict::Shown || is_own {
                (self.visit)(Visited { folder, name: &name, below: &self.below, kind, verdict });
            }
            if verdict == Verdict::Shown && is_folder && self.level < self.walk.depth && name != ".git" {
                self.descend(folder, &name, rules);
            }
            self.below.pop();
        }
    }

    fn descend(&mut self, parent: &OwnedFd, name: &OsStr, rules: &Rules) {
        let opened = folder::open(parent.as_fd(), name);
        let items = opened.as_ref().map_err(|error| *error).and_then(folder::items);
        let (Ok(folder), Ok(items), true) = (opened, items, self.level < MAX_DEPTH) else {
            self.left_out.unreadable += 1;
            return;
        };
        let entered = match self.walk.filter {
            Filter::Nothing => None,
            Filter::Below(_) | Filter::Ignored(_) => {
                rules.enter_listed(folder.as_fd(), || self.start.join(&self.below), &items)
            }
        };
        self.level += 1;
        self.folder(&Arc::new(folder), items, entered.as_ref().unwrap_or(rules));
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
