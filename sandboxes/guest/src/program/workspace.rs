//! The workspace, and how a path below it becomes an open place that cannot lead elsewhere.
//!
//! A path is resolved name by name, each with `openat2(2)` relative to the folder that the name before it opened, and
//! no step follows a link: links are read and their target is put in front of the names that are left. So every step
//! starts from a descriptor that is held, nothing is looked up twice, and a link that climbs out or leads elsewhere is
//! refused before anything outside is touched: what exists out there makes no difference to the answer.
//! Doing this by hand, rather than with one `openat2(RESOLVE_BENEATH)`, gives two things that the kernel does not: an
//! absolute link that points below the workspace works, and the real path of a file behind links is known.

use std::{
    collections::VecDeque,
    ffi::{OsStr, OsString},
    io,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::ffi::{OsStrExt, OsStringExt},
    },
    path::{Path, PathBuf},
    rc::Rc,
};

use cofferdam_contract::{FileRefusal, RefusalKind, WorkspacePath};
use rustix::{
    fs::{CWD, FileType, Mode, OFlags, ResolveFlags, Stat},
    io::Errno,
};

use super::{
    list::shown,
    refusal::{from_errno, leads_out, other_owner, refusal},
};

/// How many links one path may pass, as in the kernel (`MAXSYMLINKS` of `include/linux/namei.h`).
const MAX_LINKS: usize = 40;

/// Every lookup is of one name, and follows nothing.
pub(crate) const ONE_NAME: ResolveFlags =
    ResolveFlags::BENEATH.union(ResolveFlags::NO_MAGICLINKS).union(ResolveFlags::NO_SYMLINKS);

/// The workspace's root folder, held open.
#[derive(Debug)]
pub(crate) struct Workspace {
    root: Rc<OwnedFd>,
    path: PathBuf,
    owner: Owner,
}

/// Whose something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Owner {
    user: u32,
    group: u32,
}

impl Owner {
    fn of(stat: &Stat) -> Self {
        Self { user: stat.st_uid, group: stat.st_gid }
    }

    /// Whether this owner is why something of `mode` may not be written to. Another group alone is no reason where the
    /// owner has no right to write either.
    fn forbids(self, found: Self, mode: u32) -> bool {
        found.user != self.user || (found.group != self.group && mode & 0o200 != 0)
    }
}

/// Where a path leads: a name in a folder that is held open, and what is there.
#[derive(Debug)]
pub(crate) struct Place {
    /// The folder.
    pub(crate) folder: Rc<OwnedFd>,
    /// The name in it. For the workspace itself it is `.`.
    pub(crate) name: OsString,
    /// What is there, if anything.
    pub(crate) found: Option<Found>,
    /// The path without links, relative to the workspace.
    pub(crate) real: PathBuf,
}

/// What is at a place.
#[derive(Debug)]
pub(crate) struct Found {
    /// Opened with `O_PATH`: neither readable nor writable, and without effect on devices and pipes.
    pub(crate) handle: Rc<OwnedFd>,
    /// Its status.
    pub(crate) stat: Stat,
}

/// What happens to a link at the end of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LastLink {
    /// It is followed.
    Followed,
    /// It is the place.
    Kept,
}

/// What happens when a folder on the way is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Missing {
    /// Nothing is there.
    NotFound,
    /// It is made.
    Made,
}

impl Workspace {
    /// Opens the workspace at its absolute path.
    pub(crate) fn open(path: PathBuf) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::openat(CWD, &path, flags, Mode::empty())?;
        let owner = Owner::of(&rustix::fs::fstat(&root)?);
        Ok(Self { root: Rc::new(root), path, owner })
    }

    /// Its absolute path.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Its root folder, for looking up names in it.
    pub(crate) fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// Resolves `path`. The end of it need not exist.
    pub(crate) fn resolve(&self, path: &WorkspacePath, last: LastLink, missing: Missing) -> Result<Place, FileRefusal> {
        let failed = |error| from_errno(error, "open", path);
        // The folders passed so far, root excluded: the way back for `..`.
        let mut passed: Vec<(OsString, Rc<OwnedFd>)> = Vec::new();
        let mut names: VecDeque<OsString> = names(Path::new(path.as_str())).collect();
        let mut links = 0;
        while let Some(name) = names.pop_front() {
            if name == ".." {
                passed.pop().ok_or_else(|| leads_out(path))?;
                continue;
            }
            let folder = Rc::clone(passed.last().map_or(&self.root, |(_, folder)| folder));
            let handle = match look(folder.as_fd(), &name) {
                Err(Errno::NOENT) if names.is_empty() => {
                    let real = joined(&passed).join(&name);
                    return Ok(Place { folder, name, found: None, real });
                }
                Err(Errno::NOENT) if missing == Missing::Made => {
                    // Another process may be quicker; what is there then is looked at like anything else.
                    match rustix::fs::mkdirat(&folder, &name, Mode::from_raw_mode(0o777)) {
                        Ok(()) | Err(Errno::EXIST) => look(folder.as_fd(), &name).map_err(failed)?,
                        Err(error) => {
                            let new = Place { folder, name, found: None, real: PathBuf::new() };
                            return Err(self.refused(&new, error, "make the folder of", path));
                        }
                    }
                }
                other => other.map_err(failed)?,
            };
            let stat = rustix::fs::fstat(&handle).map_err(failed)?;
            match FileType::from_raw_mode(stat.st_mode) {
                FileType::Symlink if last == LastLink::Followed || !names.is_empty() => {
                    links += 1;
                    if links > MAX_LINKS {
                        return Err(refusal(RefusalKind::Failed, format!("the links at `{path}` lead in a circle")));
                    }
                    let target = rustix::fs::readlinkat(&handle, "", Vec::new()).map_err(failed)?;
                    let target = PathBuf::from(OsString::from_vec(target.into_bytes()));
                    let below = if target.is_absolute() {
                        passed.clear();
                        // Textual, as the workspace's path is inside and outside; a `..` behind it is caught above.
                        target.strip_prefix(&self.path).map_err(|_| leads_out(path))?
                    } else {
                        &target
                    };
                    for name in self::names(below).rev() {
                        names.push_front(name);
                    }
                }
                FileType::Directory => passed.push((name, Rc::new(handle))),
                _ if names.is_empty() => {
                    let real = joined(&passed).join(&name);
                    return Ok(Place { folder, name, found: Some(Found { handle: Rc::new(handle), stat }), real });
                }
                _ => return Err(failed(Errno::NOTDIR)),
            }
        }
        // The path ended at a folder.
        let real = joined(&passed);
        let (name, handle) = passed.pop().unwrap_or_else(|| (OsString::from("."), Rc::clone(&self.root)));
        let folder = Rc::clone(passed.last().map_or(&self.root, |(_, folder)| folder));
        let stat = rustix::fs::fstat(&handle).map_err(failed)?;
        Ok(Place { folder, name, found: Some(Found { handle, stat }), real })
    }

    /// Resolves `path` to something that exists, following links.
    pub(crate) fn existing(&self, path: &WorkspacePath) -> Result<(Place, FileType), FileRefusal> {
        let place = self.resolve(path, LastLink::Followed, Missing::NotFound);
        match place.map(|place| (place.kind(), place)) {
            Ok((Some(kind), place)) => Ok((place, kind)),
            Ok((None, _)) => Err(self.missing(path)),
            Err(refused) if refused.kind == RefusalKind::NotFound => Err(self.missing(path)),
            Err(refused) => Err(refused),
        }
    }

    /// Nothing is behind `path`: it is not there, or it is a link whose target is not.
    fn missing(&self, path: &WorkspacePath) -> FileRefusal {
        let link = self.resolve(path, LastLink::Kept, Missing::NotFound).ok().and_then(|place| place.found);
        let target = link.and_then(|link| rustix::fs::readlinkat(&link.handle, "", Vec::new()).ok());
        match target {
            Some(target) => {
                let target = shown(OsStr::from_bytes(target.as_bytes()));
                refusal(RefusalKind::NotFound, format!("`{path}` is a link to `{target}`, which does not exist"))
            }
            None => from_errno(Errno::NOENT, "open", path),
        }
    }

    /// Turns the kernel's word about a place into a refusal, which says so where its owner is the reason.
    pub(crate) fn refused(&self, place: &Place, error: Errno, doing: &str, path: &WorkspacePath) -> FileRefusal {
        if !matches!(error, Errno::ACCESS | Errno::PERM | Errno::OVERFLOW) {
            return from_errno(error, doing, path);
        }
        let forbidden = |stat: &Stat| self.owner.forbids(Owner::of(stat), stat.st_mode);
        if place.found.as_ref().is_some_and(|found| forbidden(&found.stat)) {
            other_owner(doing, path, "it")
        } else if rustix::fs::fstat(&place.folder).is_ok_and(|stat| forbidden(&stat)) {
            other_owner(doing, path, "its folder")
        } else {
            from_errno(error, doing, path)
        }
    }

    /// Opens a folder for looking up names in it.
    pub(crate) fn folder(&self, path: &WorkspacePath) -> Result<Rc<OwnedFd>, FileRefusal> {
        match self.existing(path)? {
            (Place { found: Some(found), .. }, FileType::Directory) => Ok(found.handle),
            (..) => Err(refusal(RefusalKind::WrongKind, format!("`{path}` is not a folder"))),
        }
    }
}

impl Place {
    /// What is there.
    pub(crate) fn kind(&self) -> Option<FileType> {
        self.found.as_ref().map(|found| FileType::from_raw_mode(found.stat.st_mode))
    }

    /// Opens the regular file that was found here, for reading. `O_NONBLOCK` in case a pipe has taken its place.
    pub(crate) fn open_file(&self) -> Result<std::fs::File, Errno> {
        open_file(self.folder.as_fd(), &self.name)
    }
}

/// Opens a regular file in a folder for reading, without ever waiting for the other end of a pipe.
pub(crate) fn open_file(folder: BorrowedFd<'_>, name: &OsStr) -> Result<std::fs::File, Errno> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::openat2(folder, name, flags, Mode::empty(), ONE_NAME)?;
    match FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode) {
        FileType::RegularFile => Ok(file.into()),
        FileType::Directory => Err(Errno::ISDIR),
        _ => Err(Errno::NXIO),
    }
}

/// Looks at one name in a folder.
pub(crate) fn look(folder: BorrowedFd<'_>, name: &OsStr) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    loop {
        match rustix::fs::openat2(folder, name, flags, Mode::empty(), ONE_NAME) {
            // openat2(2): the kernel could not rule out a race with a rename and asks to try again.
            Err(Errno::AGAIN | Errno::INTR) => {}
            result => return result,
        }
    }
}

/// The names of a path; `.` and slashes are left out, `..` stays.
fn names(path: &Path) -> impl DoubleEndedIterator<Item = OsString> + '_ {
    path.as_os_str()
        .as_bytes()
        .split(|byte| *byte == b'/')
        .filter(|name| !name.is_empty() && *name != b".")
        .map(|name| OsStr::from_bytes(name).to_os_string())
}

fn joined(passed: &[(OsString, Rc<OwnedFd>)]) -> PathBuf {
    passed.iter().map(|(name, _)| name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_user_is_a_reason_and_another_group_only_where_the_mode_is_none() {
        let me = Owner { user: 1, group: 1 };
        for (found, mode, expected) in [
            (me, 0o644, false),
            (me, 0o444, false),
            (Owner { user: 2, ..me }, 0o644, true),
            (Owner { user: 2, ..me }, 0o444, true),
            (Owner { group: 2, ..me }, 0o644, true),
            (Owner { group: 2, ..me }, 0o444, false),
        ] {
            assert_eq!(me.forbids(found, mode), expected, "{found:?} {mode:o}");
        }
    }

    #[test]
    fn a_link_without_a_target_is_told_from_a_missing_file() {
        let folder = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("gone/file", folder.path().join("link")).unwrap();
        let workspace = Workspace::open(folder.path().canonicalize().unwrap()).unwrap();
        for (path, message) in
            [("link", "`link` is a link to `gone/file`, which does not exist"), ("missing", "`missing` does not exist")]
        {
            let refused = workspace.existing(&WorkspacePath::try_from(path.to_owned()).unwrap()).unwrap_err();
            assert_eq!((refused.kind, refused.message.as_str()), (RefusalKind::NotFound, message));
        }
    }
}
