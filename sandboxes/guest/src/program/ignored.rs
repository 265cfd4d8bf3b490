//! Which paths ripgrep would pass over: ignore files and hidden names.
//!
//! The matching is the `ignore` crate's. Its walker is not used: it opens by path and follows what it finds there, and
//! it reads ignore files above the workspace and in the home. The order of the rules is the walker's
//! (`ignore::WalkBuilder`, "Ignore rules"): `.rgignore` before `.ignore` before `.gitignore` before `.git/info/exclude`,
//! within one kind the innermost folder first; a repository's `.gitignore` does not reach into a repository inside it.

use std::{
    ffi::OsStr,
    io::Read,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::{Path, PathBuf},
    rc::Rc,
};

use ignore::{
    Match,
    gitignore::{Gitignore, GitignoreBuilder},
};

use rustix::io::Errno;

use super::{
    folder::{self, Item},
    workspace::{Workspace, look, open_file},
};

/// An ignore file longer than this is not read, in bytes. The longest published ones have a few thousand lines.
const MAX_IGNORE_BYTES: u64 = 1 << 20;

/// What happens to names that start with a dot, when no ignore file speaks for or against them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hidden {
    /// They are passed over.
    PassedOver,
    /// They are shown.
    Shown,
}

/// What is done with a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is shown.
    Shown,
    /// An ignore file names it.
    Ignored,
    /// It starts with a dot.
    Hidden,
}

/// The names in a folder that its rules come from.
const SOURCES: [&str; 4] = [".git", ".gitignore", ".ignore", ".rgignore"];

/// The rules that hold in one folder: its own and those of the folders above, up to the workspace.
#[derive(Debug, Default)]
pub(crate) struct Rules {
    /// From the workspace inwards.
    levels: Vec<Rc<Level>>,
}

/// The ignore files of one folder.
#[derive(Debug)]
struct Level {
    rgignore: Option<Gitignore>,
    ignore: Option<Gitignore>,
    gitignore: Option<Gitignore>,
    exclude: Option<Gitignore>,
    is_repository: bool,
}

impl Rules {
    /// The rules in the folder at `path`, a path without links below the workspace.
    pub(crate) fn at(workspace: &Workspace, path: &Path) -> Result<Self, Errno> {
        let mut rules = Self::default().enter(workspace.root(), Path::new(""));
        let mut folder: Option<OwnedFd> = None;
        let mut reached = PathBuf::new();
        for name in path {
            let next = look(folder.as_ref().map_or(workspace.root(), AsFd::as_fd), name)?;
            reached.push(name);
            rules = rules.enter(next.as_fd(), &reached);
            folder = Some(next);
        }
        Ok(rules)
    }

    /// The rules in a folder inside one that these hold for. `path` is its path below the workspace.
    pub(crate) fn enter(&self, folder: BorrowedFd<'_>, path: &Path) -> Self {
        let mut levels = self.levels.clone();
        levels.push(Rc::new(Level::read(folder, path)));
        Self { levels }
    }

    /// As [`Rules::enter`], for a folder with these `items`, sorted by name; `None` when it has no rules of its own, as most
    /// folders have none.
    pub(crate) fn enter_listed(
        &self,
        folder: BorrowedFd<'_>,
        path: impl FnOnce() -> PathBuf,
        items: &[Item],
    ) -> Option<Self> {
        let has = |name: &&str| items.binary_search_by(|item| item.name.as_os_str().cmp(OsStr::new(name))).is_ok();
        SOURCES.iter().any(has).then(|| self.enter(folder, &path()))
    }

    /// What is done with `name`, which lies at `path` below the workspace.
    pub(crate) fn verdict(
        &self,
        name: &OsStr,
        path: impl FnOnce() -> PathBuf,
        is_folder: bool,
        hidden: Hidden,
    ) -> Verdict {
        let spoken = if self.levels.iter().any(|level| level.speaks()) {
            self.spoken(&path(), is_folder)
        } else {
            // Making the path costs more than all else where no file has rules.
            None
        };
        match spoken {
            Some(Spoken::Against) => Verdict::Ignored,
            // A rule that speaks for a hidden name lets it in.
            Some(Spoken::For) => Verdict::Shown,
            None if hidden == Hidden::PassedOver && name.as_bytes().starts_with(b".") => Verdict::Hidden,
            None => Verdict::Shown,
        }
    }

    fn spoken(&self, path: &Path, is_folder: bool) -> Option<Spoken> {
        let path = rooted(path);
        let of_kind = |kind: fn(&Level) -> &Option<Gitignore>| {
            let levels = self.levels.iter().rev();
            first(levels.filter_map(|level| kind(level).as_ref()), &path, is_folder)
        };
        // Git's own files end at the repository that the path is in.
        let of_git = |kind: fn(&Level) -> &Option<Gitignore>| {
            let repository = self.levels.iter().rposition(|level| level.is_repository).unwrap_or(0);
            let levels = self.levels.get(repository..).unwrap_or_default().iter().rev();
            first(levels.filter_map(|level| kind(level).as_ref()), &path, is_folder)
        };
        of_kind(|level| &level.rgignore)
            .or_else(|| of_kind(|level| &level.ignore))
            .or_else(|| of_git(|level| &level.gitignore))
            .or_else(|| of_git(|level| &level.exclude))
    }
}

/// What an ignore file says of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Spoken {
    For,
    Against,
}

impl Level {
    fn read(folder: BorrowedFd<'_>, path: &Path) -> Self {
        let exclude = || {
            let git = folder::open(folder, OsStr::new(".git")).ok()?;
            let info = folder::open(git.as_fd(), OsStr::new("info")).ok()?;
            compile(&info, "exclude", path)
        };
        let own = |name| compile(&folder, name, path);
        Self {
            rgignore: own(".rgignore"),
            ignore: own(".ignore"),
            gitignore: own(".gitignore"),
            exclude: exclude(),
            is_repository: look(folder, OsStr::new(".git")).is_ok(),
        }
    }

    /// Whether any file of the folder has a rule.
    fn speaks(&self) -> bool {
        [&self.rgignore, &self.ignore, &self.gitignore, &self.exclude].into_iter().any(Option::is_some)
    }
}

/// What the first matcher with an opinion says.
fn first<'a>(matchers: impl Iterator<Item = &'a Gitignore>, path: &Path, is_folder: bool) -> Option<Spoken> {
    matchers.map(|matcher| matcher.matched(path, is_folder)).find_map(|verdict| match verdict {
        Match::None => None,
        Match::Ignore(_) => Some(Spoken::Against),
        Match::Whitelist(_) => Some(Spoken::For),
    })
}

/// Reads the ignore file `name` in `folder`. A line that cannot be understood is passed over, as git does.
fn compile(folder: &impl AsFd, name: &str, path: &Path) -> Option<Gitignore> {
    let file = open_file(folder.as_fd(), OsStr::new(name)).ok()?;
    let mut text = Vec::new();
    file.take(MAX_IGNORE_BYTES).read_to_end(&mut text).ok()?;
    let mut builder = GitignoreBuilder::new(rooted(path));
    for line in String::from_utf8_lossy(&text).trim_start_matches('\u{feff}').lines() {
        // The error is the passed-over line.
        let _ = builder.add_line(None, line);
    }
    builder.build().ok().filter(|matcher| !matcher.is_empty())
}

/// The matchers strip their folder off a path; a root in front of both keeps a bare name from being taken for a match
/// anywhere.
fn rooted(path: &Path) -> PathBuf {
    Path::new("/").join(path)
}
