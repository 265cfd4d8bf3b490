//! Copying out of a volume: what a build made, to where the person wants it.
//!
//! The copy has a temporary name until it is whole, and gets its own only where nothing has it. What could act on the
//! person's machine by itself does not come along: devices, sockets, set-id bits, links that lead out of the copy.
//! Everything is counted, since nothing bounds what a seed on the host holds.

use std::{
    ffi::{OsStr, OsString},
    fs::File,
    io::{self, Read},
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::{Component, Path, PathBuf},
    time::{Duration, Instant},
};

use cofferdam_contract::Ended;
use rustix::{
    fs::{AtFlags, Gid, Mode, OFlags, RenameFlags, Uid},
    io::Errno,
};

use super::merged::{Merged, Seen};
use crate::{
    cancel::Cancel,
    workspace::{
        TEMPORARY_PREFIX,
        beneath::{self, Entry, Kind},
    },
};

/// Bytes and entries that one export copies at most: twice what the volumes of a workspace hold with the builtin limits,
/// and more entries than those allow.
const MOST_BYTES: u64 = 16 << 30;
const MOST_ENTRIES: u64 = 4_000_000;

/// Folders in folders. Each level takes three descriptors, and a process has 1,024 by default (`getrlimit(2)`).
const DEEPEST: usize = 128;

/// How many of what was left out are named.
const NAMED: usize = 100;

/// Bytes that are copied between two looks at the clock and at the switch.
const CHUNK_BYTES: u64 = 4 << 20;

/// How often a long copy tells of itself.
const NEWS_EVERY: Duration = Duration::from_secs(2);

/// What was copied.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Exported {
    /// Regular files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// What was not, or not wholly, copied; the first hundred.
    pub skipped: Vec<Skipped>,
    /// How many there were.
    pub left_out: u64,
}

/// Something that was not, or not wholly, copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skipped {
    /// Where, below what was asked for; empty for that itself.
    pub path: PathBuf,
    /// Why.
    pub why: SkipReason,
}

/// Why something does not come along.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum SkipReason {
    /// It is a device.
    #[error("a device")]
    Device,
    /// It is a socket or a pipe.
    #[error("a socket or a pipe")]
    Pipe,
    /// It is a link whose target is not in the copy.
    #[error("a link that leads out of what is copied")]
    Link,
    /// The file came, without bits that make it run as somebody else.
    #[error("copied without its set-user-id, set-group-id or sticky bit")]
    ModeBits,
    /// Its permissions forbid reading it.
    #[error("its permissions forbid reading it")]
    Unreadable,
    /// It lies too deep.
    #[error("more than {DEEPEST} folders deep")]
    TooDeep,
}

/// Why nothing was copied. What had been begun is removed.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// There is no such file or folder in the volume.
    #[error("there is no {} in the scratch volume", .0.display())]
    Absent(PathBuf),
    /// It is not a regular file or folder.
    #[error("{} is {what}: only files and folders are copied out", path.display())]
    Kind {
        /// What was asked for.
        path: PathBuf,
        /// What it is, as a noun.
        what: String,
    },
    /// Something is at the destination.
    #[error("{} is there already, and nothing is overwritten: name another place with --to", .0.display())]
    Exists(PathBuf),
    /// The destination lies in what would be copied.
    #[error("{} lies in what would be copied: name another place with --to", .0.display())]
    Inside(PathBuf),
    /// It is more than is copied.
    #[error("it holds more than {MOST_BYTES} bytes or {MOST_ENTRIES} entries: name a part of it")]
    TooMuch,
    /// It was cancelled.
    #[error(transparent)]
    Ended(#[from] Ended),
    /// Something could not be read or written.
    #[error("failed to copy to {}", path.display())]
    Copy {
        /// The destination.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
}

/// Where a copy goes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Destination<'a> {
    /// A folder that is there.
    pub(super) folder: &'a Path,
    pub(super) name: &'a OsStr,
}

/// Copies what is at `inside` of the volume `top`.
pub(super) fn export(
    top: Merged,
    inside: &Path,
    destination: Destination<'_>,
    cancel: &Cancel,
    tell: &mut dyn FnMut(&str),
) -> Result<Exported, ExportError> {
    let whole = destination.folder.join(destination.name);
    let failed = |source| ExportError::Copy { path: whole.clone(), source };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder = rustix::fs::open(destination.folder, flags, Mode::empty()).map_err(|errno| failed(errno.into()))?;
    if beneath::entry(folder.as_fd(), destination.name).map_err(failed)?.is_some() {
        return Err(ExportError::Exists(whole));
    }
    let owner = Owner::of(folder.as_fd()).map_err(failed)?;
    let mut random = [0; 8];
    getrandom::fill(&mut random).map_err(|error| failed(io::Error::other(error.to_string())))?;
    let staged = OsString::from(format!("{TEMPORARY_PREFIX}export-{:016x}", u64::from_ne_bytes(random)));
    let now = Instant::now();
    let mut copy = Copy { owner, cancel, tell, told: now, entries: 0, done: Exported::default() };
    let done = match copy.all(top, inside, (folder.as_fd(), &staged)) {
        Ok(()) => {
            match rustix::fs::renameat_with(&folder, &staged, &folder, destination.name, RenameFlags::NOREPLACE) {
                Ok(()) => return Ok(copy.done),
                Err(Errno::EXIST) => Err(ExportError::Exists(whole.clone())),
                Err(errno) => Err(failed(errno.into())),
            }
        }
        Err(Stopped::Absent) => Err(ExportError::Absent(inside.to_path_buf())),
        Err(Stopped::Kind(what)) => Err(ExportError::Kind { path: inside.to_path_buf(), what }),
        Err(Stopped::TooMuch) => Err(ExportError::TooMuch),
        Err(Stopped::Ended(why)) => Err(why.into()),
        Err(Stopped::Kernel(source)) => Err(failed(source)),
    };
    if let Err(error) = beneath::remove_all(folder.as_fd(), &staged) {
        tracing::warn!(%error, path = %destination.folder.join(&staged).display(), "what had been copied is not removed");
    }
    done
}

/// Why a copy stopped.
enum Stopped {
    Absent,
    Kind(String),
    TooMuch,
    Ended(Ended),
    Kernel(io::Error),
}

impl From<io::Error> for Stopped {
    fn from(error: io::Error) -> Self {
        Self::Kernel(error)
    }
}

impl From<Errno> for Stopped {
    fn from(errno: Errno) -> Self {
        Self::Kernel(errno.into())
    }
}

/// Who the copy belongs to: the person, and where that is root, whoever has the folder that it goes to.
#[derive(Debug, Clone, Copy)]
enum Owner {
    Copier,
    Other(Uid, Gid),
}

impl Owner {
    fn of(folder: BorrowedFd<'_>) -> io::Result<Self> {
        if !rustix::process::geteuid().is_root() {
            return Ok(Self::Copier);
        }
        let Entry { owner, group, .. } = beneath::entry_of(folder)?;
        Ok(Self::Other(Uid::from_raw(owner), Gid::from_raw(group)))
    }

    /// By its descriptor: behind a name there may be another file by now.
    fn give(self, made: BorrowedFd<'_>) -> io::Result<()> {
        match self {
            Self::Copier => Ok(()),
            Self::Other(owner, group) => {
                Ok(rustix::fs::chownat(made, "", Some(owner), Some(group), AtFlags::EMPTY_PATH)?)
            }
        }
    }
}

/// A copy under way.
struct Copy<'a> {
    owner: Owner,
    cancel: &'a Cancel,
    tell: &'a mut dyn FnMut(&str),
    told: Instant,
    entries: u64,
    done: Exported,
}

/// A folder that is being copied.
struct Level {
    from: Merged,
    to: OwnedFd,
    names: std::vec::IntoIter<OsString>,
    /// Its permission bits, which it gets when it is full.
    mode: u32,
}

impl Copy<'_> {
    /// Copies what is at `inside` to the name `to`.
    fn all(&mut self, top: Merged, inside: &Path, to: (BorrowedFd<'_>, &OsStr)) -> Result<(), Stopped> {
        if inside.components().any(|component| !matches!(component, Component::Normal(_))) {
            return Err(Stopped::Absent);
        }
        let mut names: Vec<&OsStr> = inside.iter().collect();
        let Some(last) = names.pop() else { return self.tree(top, 0o755, to) };
        let mut folder = top;
        for name in names {
            match folder.look(name)?.map(|seen| seen.entry.kind) {
                Some(Kind::Folder) => folder = folder.folder(name)?,
                Some(Kind::File | Kind::Link | Kind::Character | Kind::Block | Kind::Fifo | Kind::Socket) | None => {
                    return Err(Stopped::Absent);
                }
            }
        }
        let Some(seen) = folder.look(last)? else { return Err(Stopped::Absent) };
        match seen.entry.kind {
            Kind::Folder => {
                let mode = seen.entry.permissions();
                self.tree(folder.folder(last)?, mode, to)
            }
            Kind::File => {
                self.file(&seen, to, Path::new(""))?;
                match self.done.skipped.iter().find(|skipped| skipped.why == SkipReason::Unreadable) {
                    Some(_) => Err(Stopped::Kernel(io::ErrorKind::PermissionDenied.into())),
                    None => Ok(()),
                }
            }
            Kind::Link => Err(Stopped::Kind(format!("a link to {}", Path::new(&seen.link_target()?).display()))),
            Kind::Character | Kind::Block => Err(Stopped::Kind("a device".to_owned())),
            Kind::Fifo | Kind::Socket => Err(Stopped::Kind("a socket or a pipe".to_owned())),
        }
    }

    /// Copies a folder with all that is in it.
    fn tree(&mut self, from: Merged, mode: u32, (to, name): (BorrowedFd<'_>, &OsStr)) -> Result<(), Stopped> {
        let mut path = PathBuf::new();
        let mut levels = vec![Level { names: sorted(&from)?, to: make(to, name)?, from, mode }];
        while let Some(level) = levels.last_mut() {
            let Some(name) = level.names.next() else {
                // Nobody else gets into a folder before it is full.
                let mode = Mode::from_raw_mode((level.mode | 0o700) & !0o022);
                rustix::fs::fchmod(&level.to, mode)?;
                self.owner.give(level.to.as_fd())?;
                levels.pop();
                path.pop();
                continue;
            };
            path.push(&name);
            if let Some(below) = self.entry(level, &name, &path)? {
                if levels.len() < DEEPEST {
                    levels.push(below);
                    continue;
                }
                self.leave_out(&path, SkipReason::TooDeep);
            }
            path.pop();
        }
        Ok(())
    }

    /// Copies one entry, and gives the folder to go into if it is one.
    fn entry(&mut self, level: &Level, name: &OsStr, path: &Path) -> Result<Option<Level>, Stopped> {
        let Some(seen) = level.from.look(name)? else { return Ok(None) };
        self.entries += 1;
        self.go_on()?;
        match seen.entry.kind {
            Kind::Folder => match level.from.folder(name).and_then(|from| Ok((sorted(&from)?, from))) {
                Ok((names, from)) => {
                    let mode = seen.entry.permissions();
                    return Ok(Some(Level { from, to: make(level.to.as_fd(), name)?, names, mode }));
                }
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                    self.leave_out(path, SkipReason::Unreadable);
                }
                Err(error) => return Err(error.into()),
            },
            Kind::File => self.file(&seen, (level.to.as_fd(), name), path)?,
            Kind::Link => {
                let target = seen.link_target()?;
                if stays_inside(path, Path::new(&target)) {
                    rustix::fs::symlinkat(target.as_os_str(), &level.to, name)?;
                    let link = beneath::open(level.to.as_fd(), Path::new(name), OFlags::PATH | OFlags::NOFOLLOW)?;
                    self.owner.give(link.as_fd())?;
                } else {
                    self.leave_out(path, SkipReason::Link);
                }
            }
            Kind::Character | Kind::Block => self.leave_out(path, SkipReason::Device),
            Kind::Fifo | Kind::Socket => self.leave_out(path, SkipReason::Pipe),
        }
        Ok(None)
    }

    fn file(&mut self, seen: &Seen<'_>, (to, name): (BorrowedFd<'_>, &OsStr), path: &Path) -> Result<(), Stopped> {
        let source = match seen.file() {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                self.leave_out(path, SkipReason::Unreadable);
                return Ok(());
            }
            source => source?,
        };
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        // The person's umask takes its part.
        let mode = Mode::from_raw_mode((seen.entry.permissions() | 0o600) & !0o022);
        let mut copy = File::from(rustix::fs::openat(to, name, flags, mode)?);
        loop {
            let copied = io::copy(&mut (&source).take(CHUNK_BYTES), &mut copy)?;
            self.done.bytes += copied;
            self.go_on()?;
            if copied < CHUNK_BYTES {
                break;
            }
        }
        self.owner.give(copy.as_fd())?;
        self.done.files += 1;
        if seen.entry.mode & 0o7000 != 0 {
            self.leave_out(path, SkipReason::ModeBits);
        }
        Ok(())
    }

    /// Looks whether to go on, and tells of it from time to time.
    fn go_on(&mut self) -> Result<(), Stopped> {
        if self.done.bytes > MOST_BYTES || self.entries > MOST_ENTRIES {
            return Err(Stopped::TooMuch);
        }
        if let Some(why) = self.cancel.why() {
            return Err(Stopped::Ended(why));
        }
        if self.told.elapsed() >= NEWS_EVERY {
            self.told = Instant::now();
            (self.tell)(&format!("copied {} files, {} MiB so far", self.done.files, self.done.bytes >> 20));
        }
        Ok(())
    }

    fn leave_out(&mut self, path: &Path, why: SkipReason) {
        self.done.left_out += 1;
        if self.done.skipped.len() < NAMED {
            self.done.skipped.push(Skipped { path: path.to_path_buf(), why });
        }
    }
}

fn sorted(folder: &Merged) -> io::Result<std::vec::IntoIter<OsString>> {
    Ok(folder.names()?.into_iter().collect::<Vec<_>>().into_iter())
}

/// Makes a folder that nobody else gets into, and opens it. Whoever may write beside it may have put another in its place:
/// only what is ours and empty is taken.
fn make(parent: BorrowedFd<'_>, name: &OsStr) -> io::Result<OwnedFd> {
    rustix::fs::mkdirat(parent, name, Mode::RWXU)?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY;
    let made = beneath::open(parent, Path::new(name), flags)?;
    let is_ours = beneath::entry_of(&made)?.owner == rustix::process::geteuid().as_raw();
    if is_ours && beneath::names(made.as_fd())?.is_empty() { Ok(made) } else { Err(Errno::STALE.into()) }
}

/// Whether a link at `path`, relative to the copy's top, leads to something in the copy, whatever else is in it. It may
/// only go up from its own folder, which is a real one: `..` behind a name could be that of another link's folder.
fn stays_inside(path: &Path, target: &Path) -> bool {
    if target.as_os_str().as_bytes().is_empty() {
        return false;
    }
    let mut room = path.components().count().saturating_sub(1);
    let mut has_gone_down = false;
    target.components().all(|component| match component {
        Component::CurDir => true,
        Component::Normal(_) => {
            has_gone_down = true;
            true
        }
        Component::ParentDir if !has_gone_down && room > 0 => {
            room -= 1;
            true
        }
        Component::ParentDir | Component::RootDir | Component::Prefix(_) => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_stays_inside_only_where_no_other_link_could_lead_it_out() {
        let inside = |path: &str, target: &str| stays_inside(Path::new(path), Path::new(target));
        assert!(inside("a/link", "b") && inside("a/link", "../b/c") && inside("link", "./a"));
        assert!(inside("a/b/link", "../../c"));
        for (path, target) in
            [("link", ".."), ("link", "../x"), ("a/link", "../../x"), ("link", "/etc/passwd"), ("link", "")]
        {
            assert!(!inside(path, target), "{path} -> {target}");
        }
        // `k` may be a link to `.`, and then `k/..` is what holds the copy.
        assert!(!inside("link", "k/../x"));
    }
}
