//! Where a hand-back puts what it takes out of the workspace, so that a person can undo it.
//!
//! What is replaced or deleted moves to a folder of the session instead of being removed: by a rename where the state
//! folder lies on the workspace's file system, else as a copy. A record beside it says what each change found there and
//! what it left, and counts from when the folder gets its name; before that it is the `unfinished` one of the delivery
//! that is under way, and a stop leaves it to the recovery, which goes on with it or removes it.
//!
//! Keeping never decides whether a hand-back happens: what is too large, or cannot be kept for another reason, goes as
//! if there were no shelf, and its record says so. Old records go first, by age, number and size.

use std::{
    cell::{Cell, RefCell},
    ffi::OsStr,
    fs, io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    time::Duration,
};

use rustix::{
    fs::{AtFlags, FileType, Gid, Mode, OFlags, RenameFlags, Uid},
    io::Errno,
};
use serde::{Deserialize, Serialize};

use super::archive::{self, Archive, Retention, UNFINISHED};
use crate::workspace::{
    beneath::{self, Entry, Kind},
    change::{Change, Special},
    delivery::{flush::Flush, operation::FOLDER_BITS},
    held::{layer::copy_file, ledger::write_atomically, stack::Origin},
    tree_path::TreePath,
    version::{HostVersion, MAX_ENTRIES},
};

/// The folder of a session that holds its records.
pub(in crate::workspace) const UNDO: &str = "undo";

const RECORD: &str = "record.json";

/// Set-user-id, set-group-id and sticky (inode(7)).
pub(super) const SPECIAL_BITS: u32 = 0o7000;

/// What is kept of what hand-backs took out of a workspace, for one session: 2000 of them, 1 GiB, 30 days. One of them keeps
/// a quarter of the bytes at most. Listing so many costs a hand-back about a millisecond.
pub(in crate::workspace) const RETENTION: Retention =
    Retention { number: 2_000, bytes: 1 << 30, age: Duration::from_secs(30 * 24 * 3600) };

/// What one hand-back did, as far as it can be undone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) origin: Origin,
    pub(super) entries: Vec<Recorded>,
}

/// One change that was put into the workspace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::workspace) struct Recorded {
    #[serde(flatten)]
    pub(in crate::workspace) change: Change,
    pub(in crate::workspace) before: Before,
    /// What it left there.
    pub(in crate::workspace) after: HostVersion,
}

/// What a change found in the workspace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "was", rename_all = "snake_case")]
pub(in crate::workspace) enum Before {
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

/// Something that what is kept as a copy has not, and an undo cannot bring back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Lacking {
    /// Where, below what is kept; the root for itself.
    pub(super) path: TreePath,
    pub(super) what: Lacks,
}

/// What a copy has not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "lacks", rename_all = "snake_case")]
pub(super) enum Lacks {
    /// Mode bits beside the permissions.
    Bits {
        /// Which.
        bits: u32,
    },
    /// The whole of it.
    Special {
        /// What it was.
        special: Special,
    },
    /// It is not known, since the list cannot be read.
    Unknown,
}

impl Lacking {
    fn bits(path: &TreePath, bits: u32) -> Option<Self> {
        (bits != 0).then(|| Self { path: path.clone(), what: Lacks::Bits { bits } })
    }

    fn special(path: &TreePath, special: Special) -> Self {
        Self { path: path.clone(), what: Lacks::Special { special } }
    }
}

/// The file that says what the copy `number` has not; it is there before the copy has its name.
fn lacking_name(number: &str) -> String {
    format!("{number}-lacks.json")
}

/// The folder of a delivery that is under way.
#[derive(Debug)]
pub(in crate::workspace) struct Shelf {
    archive: Archive,
    folder: OwnedFd,
    room: Cell<u64>,
    used: Cell<u64>,
    copies: RefCell<Flush>,
}

/// The place on a shelf for what one operation takes out.
#[derive(Debug, Clone, Copy)]
pub(in crate::workspace) struct Slot<'a> {
    /// `None` when nothing is kept.
    pub(in crate::workspace) shelf: Option<&'a Shelf>,
    /// The operation's number in its delivery.
    pub(in crate::workspace) number: usize,
}

impl Shelf {
    /// Begins one for a delivery, in place of what an earlier one may have left.
    pub(in crate::workspace) fn begin(archive: Archive) -> io::Result<Self> {
        archive.begin()?;
        Self::at(archive)
    }

    /// The one that a stopped server had begun; `None` when there is none.
    pub(in crate::workspace) fn reopen(archive: Archive) -> io::Result<Option<Self>> {
        match Self::at(archive) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            shelf => shelf.map(Some),
        }
    }

    fn at(archive: Archive) -> io::Result<Self> {
        let folder = archive::open(&archive.path(&UNFINISHED))?;
        let (room, used) = (Cell::new(archive.retention().bytes / 4), Cell::new(0));
        Ok(Self { archive, folder, room, used, copies: RefCell::default() })
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
        let lacking = copied?;
        if !lacking.is_empty() {
            let folder = self.archive.path(&UNFINISHED);
            write_atomically(&folder, &lacking_name(&number), &serde_json::to_vec(&lacking)?)?;
        }
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

    /// Copies files, folders, links and named pipes, with their permission bits. Gives what else there was.
    fn copy(&self, from: BorrowedFd<'_>, name: &OsStr, number: &OsStr) -> io::Result<Vec<Lacking>> {
        let here = self.folder.as_fd();
        let mut lacking = Vec::new();
        let root = TreePath::root;
        let mut pending = vec![(root().join(name), root().join(number), root())];
        while let Some((source, target, within)) = pending.pop() {
            let (source_folder, target_folder) =
                (beneath::folder_of(from, &source)?, beneath::folder_of(here, &target)?);
            let Some(entry) = beneath::entry(source_folder.as_fd(), source.name())? else { continue };
            match entry.kind {
                Kind::File => {
                    let copy =
                        copy_file(from, &source, target_folder.as_fd(), target.name(), entry.permissions() | 0o400)?;
                    self.copies.borrow_mut().add(copy);
                    lacking.extend(Lacking::bits(&within, entry.mode & SPECIAL_BITS));
                }
                Kind::Link => {
                    let text = beneath::link_target(source_folder.as_fd(), source.name())?;
                    rustix::fs::symlinkat(text, &target_folder, target.name())?;
                }
                Kind::Folder => {
                    rustix::fs::mkdirat(&target_folder, target.name(), Mode::RWXU)?;
                    let made = beneath::folder(here, target.as_path())?;
                    let (owner, group) = (Uid::from_raw(entry.owner), Gid::from_raw(entry.group));
                    let bits = match rustix::fs::chownat(&made, "", Some(owner), Some(group), AtFlags::EMPTY_PATH) {
                        Ok(()) => entry.mode & FOLDER_BITS,
                        // An ordinary user keeps it as his own, and what the bits say of its group is not true of his.
                        Err(Errno::PERM) => 0,
                        Err(error) => return Err(error.into()),
                    };
                    beneath::set_mode(made.as_fd(), bits | entry.permissions() | 0o700)?;
                    // The kernel may have left some out too (chmod(2): of a group that the caller is not in).
                    let has = beneath::entry_of(&made)?.mode;
                    lacking.extend(Lacking::bits(&within, entry.mode & SPECIAL_BITS & !has));
                    let folder = beneath::open(from, source.as_path(), OFlags::RDONLY | OFlags::DIRECTORY)?;
                    let names = beneath::names(folder.as_fd())?;
                    let below = names.iter().map(|name| (source.join(name), target.join(name), within.join(name)));
                    pending.extend(below);
                }
                Kind::Fifo => {
                    let mode = Mode::from_raw_mode(entry.permissions());
                    rustix::fs::mknodat(&target_folder, target.name(), FileType::Fifo, mode, 0)?;
                    rustix::fs::chmodat(&target_folder, target.name(), mode, AtFlags::empty())?;
                }
                Kind::Character => lacking.push(Lacking::special(&within, Special::CharacterDevice)),
                Kind::Block => lacking.push(Lacking::special(&within, Special::BlockDevice)),
                Kind::Socket => lacking.push(Lacking::special(&within, Special::Socket)),
            }
        }
        Ok(lacking)
    }

    /// Files the shelf with its record. Nothing is kept of a delivery that changed nothing.
    pub(in crate::workspace) fn close(self, origin: &Origin, entries: Vec<Recorded>) -> io::Result<()> {
        let Self { archive, folder, used, copies, .. } = self;
        if entries.is_empty() {
            return archive.remove(&UNFINISHED);
        }
        copies.into_inner().flush(folder.as_fd(), std::iter::empty())?;
        let record = Record { origin: origin.clone(), entries };
        fs::write(archive.path(&UNFINISHED).join(RECORD), serde_json::to_vec(&record)?)?;
        archive.file(origin.at_ms, used.get())
    }
}

impl Slot<'_> {
    /// Keeps `name` of `from`. `true` when it is not there any more; else the caller removes it. What cannot be kept is
    /// told to the log and no reason to stop.
    pub(in crate::workspace) fn take(&self, from: BorrowedFd<'_>, name: &OsStr) -> bool {
        let Some(shelf) = self.shelf else { return false };
        shelf.take(self.number, from, name).unwrap_or_else(|error| {
            tracing::warn!(%error, "what a hand-back replaced could not be kept, so it cannot be undone");
            false
        })
    }

    /// What lies there now, for a change that found something that had to go.
    pub(in crate::workspace) fn before(&self) -> Before {
        if self.shelf.is_some_and(|shelf| shelf.holds(self.number)) {
            Before::Kept { number: self.number }
        } else {
            Before::Gone
        }
    }
}

/// Removes what a delivery had begun.
pub(in crate::workspace) fn discard(archive: &Archive) -> io::Result<()> {
    archive.remove(&UNFINISHED)
}

/// A record, with the folder in which what it names is kept.
#[derive(Debug)]
pub(super) struct Shelved {
    pub(super) record: Record,
    pub(super) folder: OwnedFd,
    pub(super) bytes: u64,
}

impl Shelved {
    /// What the copy of this number lacks; nothing for what was moved. A list that cannot be read keeps nothing from coming back.
    pub(super) fn lacking(&self, number: usize) -> io::Result<Vec<Lacking>> {
        let name = lacking_name(&number.to_string());
        if beneath::entry(self.folder.as_fd(), name.as_ref())?.is_none() {
            return Ok(Vec::new());
        }
        let path = TreePath::root().join(name.as_ref());
        let text = io::read_to_string(beneath::file(self.folder.as_fd(), path.as_path())?)?;
        let unknown = |error| {
            tracing::warn!(%error, name, "the list of what a copy lacks cannot be read");
            vec![Lacking { path: TreePath::root(), what: Lacks::Unknown }]
        };
        Ok(serde_json::from_str(&text).unwrap_or_else(unknown))
    }
}

/// The records that can be read, newest first.
pub(super) fn records(archive: &Archive) -> io::Result<Vec<Shelved>> {
    let mut shelved = Vec::new();
    for name in archive.names()? {
        let folder = archive.path(&name);
        // Swept by another process since it was listed, or never wholly on the disk.
        let Ok(text) = fs::read(folder.join(RECORD)) else { continue };
        let Ok(record) = serde_json::from_slice(&text) else { continue };
        shelved.push(Shelved { record, folder: archive::open(&folder)?, bytes: name.bytes });
    }
    Ok(shelved)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};

    use super::*;

    /// A root's test gives the folder to a group that an ordinary server's user is not in, and is that user on one thread.
    #[test]
    fn a_copy_whose_group_could_not_be_kept_has_no_set_group_id_and_says_so() {
        let place = tempfile::tempdir().unwrap();
        let (ground, state) = (place.path().join("ground"), place.path().join("state"));
        let shared = ground.join("shared");
        fs::create_dir_all(&shared).unwrap();
        fs::create_dir(&state).unwrap();
        let is_root = rustix::process::geteuid().is_root();
        if is_root {
            for path in [place.path(), &ground] {
                fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
            }
            chown(&shared, None, Some(2345)).unwrap();
            chown(&state, Some(1234), Some(1234)).unwrap();
        }
        fs::set_permissions(&shared, fs::Permissions::from_mode(0o2755)).unwrap();
        let from = fs::File::open(&ground).unwrap();
        let kept = std::thread::scope(|scope| {
            let copied = scope.spawn(|| {
                if is_root {
                    let (user, group) = (Uid::from_raw(1234), Gid::from_raw(1234));
                    rustix::thread::set_thread_groups(&[]).unwrap();
                    rustix::thread::set_thread_res_gid(group, group, group).unwrap();
                    rustix::thread::set_thread_res_uid(user, user, user).unwrap();
                }
                let shelf = Shelf::begin(Archive::new(state.join(UNDO), RETENTION)).unwrap();
                shelf.copy(from.as_fd(), "shared".as_ref(), "7".as_ref()).unwrap()
            });
            copied.join().unwrap()
        });
        let copy = fs::metadata(state.join(UNDO).join(UNFINISHED).join("7")).unwrap();
        let (bits, lacking) = match is_root {
            true => (0, vec![Lacking { path: TreePath::root(), what: Lacks::Bits { bits: 0o2000 } }]),
            false => (0o2000, Vec::new()),
        };
        assert_eq!((copy.mode() & 0o7000, kept), (bits, lacking));
    }
}
