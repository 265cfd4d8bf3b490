//! Where a hand-back puts what it takes out of the workspace, so that a person can undo it.
//!
//! What is replaced or deleted moves to a folder of the session instead of being removed: by a rename where the state
//! folder lies on the workspace's file system, else as a copy. A record beside it says what each change found there and
//! what it left, and counts from when the folder gets its name; before that it is the `draft` of the delivery that is
//! under way, and a stop leaves it to the recovery, which goes on with it or removes it.
//!
//! Keeping never decides whether a hand-back happens: what is too large, or cannot be kept for another reason, goes as
//! if there were no shelf, and its record says so. Old records go first, by age, number and size.

use std::{
    cell::{Cell, RefCell},
    ffi::OsStr,
    fs::{self, DirBuilder},
    io,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::fs::DirBuilderExt,
    },
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::{
    fs::{Mode, OFlags, RenameFlags},
    io::Errno,
};
use serde::{Deserialize, Serialize};

use super::{
    beneath::{self, Entry, Kind},
    change::Change,
    flush::Flush,
    layer::copy_file,
    stack::Origin,
    tree_path::TreePath,
    version::{HostVersion, MAX_ENTRIES},
};

/// The folder of a session that holds its records.
const FOLDER: &str = "undo";

const DRAFT: &str = "draft";

const RECORD: &str = "record.json";

/// How much is kept of what hand-backs took out of a workspace, for one session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Hand-backs that can be undone; the oldest go first.
    pub records: usize,
    /// Bytes in all of them together. One hand-back keeps a quarter of that at most.
    pub bytes: u64,
    /// How long one can be undone.
    pub age: Duration,
}

impl Default for Retention {
    /// 500 hand-backs, 1 GiB, 30 days.
    fn default() -> Self {
        Self { records: 500, bytes: 1 << 30, age: Duration::from_secs(30 * 24 * 3600) }
    }
}

/// What one hand-back did, as far as it can be undone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) origin: Origin,
    pub(super) entries: Vec<Recorded>,
}

/// One change that was put into the workspace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Recorded {
    #[serde(flatten)]
    pub(super) change: Change,
    pub(super) before: Before,
    /// What it left there.
    pub(super) after: HostVersion,
}

/// What a change found in the workspace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "was", rename_all = "snake_case")]
pub(super) enum Before {
    /// Nothing.
    Absent,
    /// Something, which lies beside the record under this number.
    Kept {
        /// The name.
        number: usize,
    },
    /// A folder that it only gave other permission bits.
    Mode {
        /// The old ones (`0o777` part).
        mode: u32,
    },
    /// Something that is gone: it was larger than is kept, or could not be.
    Gone,
}

/// The folder of a delivery that is under way.
#[derive(Debug)]
pub(super) struct Shelf {
    undo: PathBuf,
    folder: OwnedFd,
    room: Cell<u64>,
    used: Cell<u64>,
    copies: RefCell<Flush>,
    retention: Retention,
}

/// The place on a shelf for what one operation takes out.
#[derive(Debug, Clone, Copy)]
pub(super) struct Slot<'a> {
    /// `None` when nothing is kept.
    pub(super) shelf: Option<&'a Shelf>,
    /// The operation's number in its delivery.
    pub(super) number: usize,
}

impl Shelf {
    /// Begins one for a delivery of the session in `folder`, in place of what an earlier one may have left.
    pub(super) fn begin(folder: &Path, retention: Retention) -> io::Result<Self> {
        discard(folder)?;
        let undo = folder.join(FOLDER);
        DirBuilder::new().recursive(true).mode(0o700).create(undo.join(DRAFT))?;
        Self::at(undo, retention)
    }

    /// The one that a stopped server had begun; `None` when there is none.
    pub(super) fn reopen(folder: &Path, retention: Retention) -> io::Result<Option<Self>> {
        match Self::at(folder.join(FOLDER), retention) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            shelf => shelf.map(Some),
        }
    }

    fn at(undo: PathBuf, retention: Retention) -> io::Result<Self> {
        let folder = open(&undo.join(DRAFT))?;
        let (room, used) = (Cell::new(retention.bytes / 4), Cell::new(0));
        Ok(Self { undo, folder, room, used, copies: RefCell::default(), retention })
    }

    /// Whether something was put under this number.
    fn holds(&self, number: usize) -> bool {
        matches!(beneath::entry(self.folder.as_fd(), number.to_string().as_ref()), Ok(Some(_)))
    }

    /// Moves `name` of `from` here. `false` when it is still there, kept as a copy or not at all.
    fn take(&self, number: usize, from: BorrowedFd<'_>, name: &OsStr) -> io::Result<bool> {
        let Some(entry) = beneath::entry(from, name)? else { return Ok(false) };
        if self.holds(number) {
            return Ok(false);
        }
        let Some(bytes) = self.measure(from, name, &entry)? else { return Ok(false) };
        self.room.set(self.room.get() - bytes);
        self.used.set(self.used.get() + bytes);
        let number = number.to_string();
        // Behind another name of the same file somebody could go on writing.
        let has_other_names = entry.kind == Kind::File && entry.links > 1;
        if !has_other_names {
            match rustix::fs::renameat_with(from, name, &self.folder, &number, RenameFlags::NOREPLACE) {
                Ok(()) => return Ok(true),
                // Another file system, a folder that is not ours to move, a file system without the flag.
                Err(Errno::XDEV | Errno::ACCESS | Errno::PERM | Errno::INVAL) => {}
                Err(error) => return Err(error.into()),
            }
        }
        // A copy has its name when it is whole.
        let partial = format!("{number}-partial");
        beneath::remove_all(self.folder.as_fd(), partial.as_ref())?;
        let copied = self.copy(from, name, partial.as_ref());
        if copied.is_err() {
            beneath::remove_all(self.folder.as_fd(), partial.as_ref())?;
        }
        copied?;
        rustix::fs::renameat(&self.folder, &partial, &self.folder, &number)?;
        Ok(false)
    }

    /// The bytes of what would be kept; `None` when that is more than there is room for.
    fn measure(&self, from: BorrowedFd<'_>, name: &OsStr, entry: &Entry) -> io::Result<Option<u64>> {
        let (mut bytes, mut entries) = (entry.size, 0);
        let top = TreePath::root().join(name);
        let mut pending = if entry.kind == Kind::Folder { vec![top] } else { Vec::new() };
        while let Some(path) = pending.pop() {
            let folder = beneath::open(from, path.as_path(), OFlags::RDONLY | OFlags::DIRECTORY)?;
            for name in beneath::names(folder.as_fd())? {
                let Some(entry) = beneath::entry(folder.as_fd(), &name)? else { continue };
                entries += 1;
                bytes += entry.size;
                if entries > MAX_ENTRIES || bytes > self.room.get() {
                    return Ok(None);
                }
                if entry.kind == Kind::Folder {
                    pending.push(path.join(&name));
                }
            }
        }
        Ok((bytes <= self.room.get()).then_some(bytes))
    }

    /// Copies files, folders and links; what else there is stays behind.
    fn copy(&self, from: BorrowedFd<'_>, name: &OsStr, number: &OsStr) -> io::Result<()> {
        let here = self.folder.as_fd();
        let mut pending = vec![(TreePath::root().join(name), TreePath::root().join(number))];
        while let Some((source, target)) = pending.pop() {
            let (source_folder, target_folder) =
                (beneath::folder_of(from, &source)?, beneath::folder_of(here, &target)?);
            let Some(entry) = beneath::entry(source_folder.as_fd(), source.name())? else { continue };
            match entry.kind {
                Kind::File => {
                    let copy =
                        copy_file(from, &source, target_folder.as_fd(), target.name(), entry.permissions() | 0o400)?;
                    self.copies.borrow_mut().add(copy);
                }
                Kind::Link => {
                    let text = beneath::link_target(source_folder.as_fd(), source.name())?;
                    rustix::fs::symlinkat(text, &target_folder, target.name())?;
                }
                Kind::Folder => {
                    rustix::fs::mkdirat(&target_folder, target.name(), Mode::RWXU)?;
                    let made = beneath::folder(here, target.as_path())?;
                    beneath::set_mode(made.as_fd(), entry.permissions() | 0o700)?;
                    let folder = beneath::open(from, source.as_path(), OFlags::RDONLY | OFlags::DIRECTORY)?;
                    let names = beneath::names(folder.as_fd())?;
                    pending.extend(names.iter().map(|name| (source.join(name), target.join(name))));
                }
                Kind::Character | Kind::Block | Kind::Fifo | Kind::Socket => {}
            }
        }
        Ok(())
    }

    /// Gives the shelf its name and the record, and removes the records that are over the retention. Nothing is kept of
    /// a delivery that changed nothing.
    pub(super) fn close(self, origin: &Origin, entries: Vec<Recorded>) -> io::Result<()> {
        let Self { undo, folder, used, copies, retention, .. } = self;
        let draft = undo.join(DRAFT);
        if entries.is_empty() {
            return remove(&undo, DRAFT.as_ref());
        }
        copies.into_inner().flush(folder.as_fd(), std::iter::empty())?;
        let record = Record { origin: origin.clone(), entries };
        fs::write(draft.join(RECORD), serde_json::to_vec(&record)?)?;
        // One delivery at a time closes a shelf: it has the workspace's turn.
        let number = named(&undo)?.first().map_or(1, |newest| newest.number + 1);
        let name = Name { number, at_ms: origin.at_ms, bytes: used.get() };
        fs::rename(draft, undo.join(name.to_string()))?;
        retain(&undo, retention, origin.at_ms)
    }
}

impl Slot<'_> {
    /// Keeps `name` of `from`. `true` when it is not there any more; else the caller removes it. What cannot be kept is
    /// told to the log and no reason to stop.
    pub(super) fn take(&self, from: BorrowedFd<'_>, name: &OsStr) -> bool {
        let Some(shelf) = self.shelf else { return false };
        shelf.take(self.number, from, name).unwrap_or_else(|error| {
            tracing::warn!(%error, "what a hand-back replaced could not be kept, so it cannot be undone");
            false
        })
    }

    /// What lies there now, for a change that found something that had to go.
    pub(super) fn before(&self) -> Before {
        if self.shelf.is_some_and(|shelf| shelf.holds(self.number)) {
            Before::Kept { number: self.number }
        } else {
            Before::Gone
        }
    }
}

/// Removes what a delivery had begun.
pub(super) fn discard(session: &Path) -> io::Result<()> {
    remove(&session.join(FOLDER), DRAFT.as_ref())
}

/// A record, with the folder in which what it names is kept.
#[derive(Debug)]
pub(super) struct Shelved {
    pub(super) record: Record,
    pub(super) folder: OwnedFd,
    pub(super) bytes: u64,
}

/// The records of the session in `folder` that can be read, newest first.
pub(super) fn records(session: &Path) -> io::Result<Vec<Shelved>> {
    let undo = session.join(FOLDER);
    let mut shelved = Vec::new();
    for name in named(&undo)? {
        let folder = undo.join(name.to_string());
        // Swept by another process since it was listed, or never wholly on the disk.
        let Ok(text) = fs::read(folder.join(RECORD)) else { continue };
        let Ok(record) = serde_json::from_slice(&text) else { continue };
        shelved.push(Shelved { record, folder: open(&folder)?, bytes: name.bytes });
    }
    Ok(shelved)
}

/// A record's folder name: which, when and how much.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Name {
    number: u64,
    at_ms: u64,
    bytes: u64,
}

impl std::fmt::Display for Name {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}-{}-{}", self.number, self.at_ms, self.bytes)
    }
}

impl Name {
    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('-').map(|part| part.parse().ok());
        let name = Self { number: parts.next()??, at_ms: parts.next()??, bytes: parts.next()?? };
        parts.next().is_none().then_some(name)
    }
}

/// The names of all records, newest first.
fn named(undo: &Path) -> io::Result<Vec<Name>> {
    let items = match fs::read_dir(undo) {
        Ok(items) => items,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut names = Vec::new();
    for item in items {
        names.extend(item?.file_name().to_str().and_then(Name::parse));
    }
    names.sort();
    names.reverse();
    Ok(names)
}

/// Removes the records beyond the retention, as of `now_ms`.
fn retain(undo: &Path, retention: Retention, now_ms: u64) -> io::Result<()> {
    let oldest = now_ms.saturating_sub(retention.age.as_millis().try_into().unwrap_or(u64::MAX));
    let mut bytes = 0_u64;
    for (number, name) in named(undo)?.into_iter().enumerate() {
        bytes = bytes.saturating_add(name.bytes);
        if number >= retention.records || bytes > retention.bytes || name.at_ms < oldest {
            remove(undo, name.to_string().as_ref())?;
        }
    }
    Ok(())
}

fn remove(undo: &Path, name: &OsStr) -> io::Result<()> {
    match open(undo) {
        Ok(folder) => beneath::remove_all(folder.as_fd(), name),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

fn open(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::empty())?)
}
