//! Puts one change into the workspace.
//!
//! In two steps. *Staging* makes what will be there under a temporary name, in the nearest folder that exists, so it is on
//! the same file system and takes that folder's inheritance (access lists, group, labels). *Carrying out* is a rename:
//! never over something, but in exchange with it, so that what was there can be looked at after it has left its name
//! and is put back when it is not what was expected. An edit that the host makes between our look and our rename is so
//! found, not overwritten.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use rustix::{
    fs::{AtFlags, FileType, Gid, Mode, OFlags, RenameFlags, Uid},
    io::Errno,
};
use serde::{Deserialize, Serialize};

use super::{flush::Flush, recent::Recent};
use crate::workspace::{
    beneath::{self, Entry, Kind, Time},
    change::{Change, Note, Reason, Special, What},
    changeset::TEMPORARY_PREFIX,
    held::layer::copy_file,
    kept::shelf::{Before, Slot},
    tree_path::{TreePath, hexadecimal},
    version::MAX_ENTRIES,
    workspace::Workspace,
};

/// The end of a name that is on the compiled-in list of files with credentials, whatever the file holds.
const LISTED: &str = ".env";

/// One change on its way into the workspace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::workspace) struct Operation {
    pub(in crate::workspace) change: Change,
    /// What the workspace must have there.
    pub(in crate::workspace) expected: Expected,
    /// The name under which the new thing is staged, or the old one waits to be removed.
    pub(super) temporary: TreePath,
    /// Inode of what is staged; 0 when nothing is.
    pub(super) staged: u64,
    /// Whether it is a folder that is only made for what is below it: then it is not held when it cannot be made.
    pub(super) carries: bool,
    /// What the workspace itself had there, if this brings it back.
    #[serde(default)]
    pub(in crate::workspace) own: Option<Own>,
}

/// What an undo knows of something that the workspace itself had: no call can say this of what it wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::workspace) struct Own {
    /// All mode bits.
    pub(in crate::workspace) mode: u32,
    pub(in crate::workspace) owner: u32,
    pub(in crate::workspace) group: u32,
}

/// Set-group-id and sticky: what a folder that comes back may have besides its permission bits, where owner and group are
/// what they were. A file's set-id bits never come back: they would lend an identity to bytes that lay in another place.
pub(in crate::workspace) const FOLDER_BITS: u32 = 0o3000;

/// What must be at a path for an operation to happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::workspace) enum Expected {
    /// Nothing.
    Absent,
    /// Exactly this.
    Entry(EntryState),
}

/// What tells one state of a file from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::workspace) struct EntryState {
    kind: Kind,
    /// Permission bits (`0o777` part).
    mode: u32,
    inode: u64,
    size: u64,
    modified: Time,
    changed: Time,
}

impl EntryState {
    pub(in crate::workspace) fn of(entry: &Entry) -> Self {
        let Entry { kind, inode, size, modified, changed, .. } = *entry;
        Self { kind, mode: entry.permissions(), inode, size, modified, changed }
    }

    pub(in crate::workspace) fn is_folder(&self) -> bool {
        self.kind == Kind::Folder
    }

    /// Whether this is the same state, looked at after a rename, which sets the ctime.
    fn is_same_but_renamed(&self, entry: &Entry) -> bool {
        *self == Self { changed: self.changed, ..Self::of(entry) }
    }
}

/// How an operation is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// A folder is made.
    Make { mode: u32 },
    /// A folder's permission bits are set.
    Mode { mode: u32 },
    /// The staged thing takes a free name.
    Place,
    /// The staged thing changes places with what is there, and that is removed.
    Exchange(EntryState),
    /// What is there is moved away and removed.
    Remove(EntryState),
    /// Nothing is there that should go.
    Nothing,
}

/// Whether somebody changed an entry of the workspace since the call took its sandbox.
pub(super) type Changed<'a> = dyn Fn(&TreePath, &Entry) -> bool + 'a;

/// How far an operation came before the server stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reached {
    /// It is done.
    Done,
    /// It was not done, or was undone again.
    Undone(Reason),
}

impl Operation {
    /// An operation for `change`, staged in `folder`.
    pub(in crate::workspace) fn new(change: Change, expected: Expected, folder: &TreePath) -> io::Result<Self> {
        Self::under(change, expected, folder, "")
    }

    /// As [`Operation::new`], for a file with credentials, or what takes its place: its temporary name is masked too, for views
    /// that are open meanwhile, and should the server be killed.
    pub(in crate::workspace) fn masked(change: Change, expected: Expected, folder: &TreePath) -> io::Result<Self> {
        Self::under(change, expected, folder, LISTED)
    }

    fn under(change: Change, expected: Expected, folder: &TreePath, end: &str) -> io::Result<Self> {
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(|error| io::Error::other(error.to_string()))?;
        let temporary = folder.join(format!("{TEMPORARY_PREFIX}{}{end}", hexadecimal(&random)).as_ref());
        Ok(Self { change, expected, temporary, staged: 0, carries: false, own: None })
    }

    /// An operation that makes the folder `change` for what is below it.
    pub(in crate::workspace) fn carrier(change: Change, folder: &TreePath) -> io::Result<Self> {
        Ok(Self { carries: true, ..Self::new(change, Expected::Absent, folder)? })
    }

    fn way(&self) -> Way {
        match (&self.change.what, self.expected) {
            (What::Folder { mode, .. }, Expected::Absent) => Way::Make { mode: *mode },
            (What::Folder { mode, .. }, Expected::Entry(there)) if there.kind == Kind::Folder => {
                Way::Mode { mode: *mode }
            }
            (What::Deleted, Expected::Entry(there)) => Way::Remove(there),
            (What::Special { special: Special::Fifo }, Expected::Absent) if self.own.is_some() => Way::Place,
            (What::Special { special: Special::Fifo }, Expected::Entry(there)) if self.own.is_some() => {
                Way::Exchange(there)
            }
            (What::Deleted, Expected::Absent) | (What::Special { .. }, _) => Way::Nothing,
            (What::File { .. } | What::Link { .. } | What::Folder { .. }, Expected::Entry(there)) => {
                Way::Exchange(there)
            }
            (What::File { .. } | What::Link { .. }, Expected::Absent) => Way::Place,
        }
    }

    /// Stages the new thing. `content` is where a file's bytes are; the copy is on the disk after `flush`.
    pub(super) fn stage(
        &mut self,
        workspace: &Workspace,
        content: (BorrowedFd<'_>, &TreePath),
        flush: &mut Flush,
    ) -> io::Result<()> {
        match self.way() {
            Way::Place | Way::Exchange(_) => {}
            Way::Make { .. } | Way::Mode { .. } | Way::Remove(_) | Way::Nothing => return Ok(()),
        }
        let root = workspace.fd();
        let folder = beneath::folder_of(root, &self.temporary)?;
        let name = self.temporary.name();
        let owner = Owner::for_path(root, &self.change.path, folder.as_fd())?;
        let staged = traced(workspace, &[&self.temporary], || {
            Ok(match &self.change.what {
                What::File { mode, .. } => {
                    let copy = copy_file(content.0, content.1, folder.as_fd(), name, *mode)?;
                    owner.give(copy.as_fd())?;
                    let staged = beneath::entry_of(&copy)?.inode;
                    flush.add(copy);
                    staged
                }
                What::Link { target } => {
                    rustix::fs::symlinkat(target.as_os_str(), &folder, name)?;
                    let link = made(folder.as_fd(), name, Kind::Link)?;
                    owner.give(link.as_fd())?;
                    beneath::entry_of(link)?.inode
                }
                What::Folder { mode, .. } => {
                    rustix::fs::mkdirat(&folder, name, Mode::RWXU)?;
                    let made = made(folder.as_fd(), name, Kind::Folder)?;
                    owner.give(made.as_fd())?;
                    self.set_folder_mode(made.as_fd(), *mode)?;
                    beneath::entry_of(made)?.inode
                }
                What::Special { special: Special::Fifo } => {
                    // `way` comes to nothing for one that is not brought back.
                    let Some(own) = self.own else { return Ok(0) };
                    rustix::fs::mknodat(&folder, name, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)?;
                    let made = made(folder.as_fd(), name, Kind::Fifo)?;
                    owner.give(made.as_fd())?;
                    beneath::set_mode(made.as_fd(), own.mode & 0o777)?;
                    beneath::entry_of(made)?.inode
                }
                What::Deleted | What::Special { .. } => 0,
            })
        })?;
        self.staged = staged;
        Ok(())
    }

    /// Removes what is staged, if it is still there.
    ///
    /// # Errors
    /// Also when its folder cannot be reached, since the host moved it: what was staged may come back with it.
    pub(super) fn discard(&self, workspace: &Workspace) -> io::Result<()> {
        let folder = beneath::folder_of(workspace.fd(), &self.temporary)?;
        traced(workspace, &[&self.temporary], || {
            beneath::remove_all(folder.as_fd(), self.doomed().name())?;
            beneath::remove_all(folder.as_fd(), self.temporary.name())
        })
    }

    /// Puts the change into place. What was there is still beside it, under the temporary name, until
    /// [`Operation::complete`]. On `Err` nothing is changed, and what was staged still is.
    pub(super) fn begin(&self, workspace: &Workspace) -> Result<(), Reason> {
        let root = workspace.fd();
        let paths = [&self.change.path, &self.temporary];
        match self.way() {
            Way::Nothing => Ok(()),
            Way::Make { mode } => self.make(workspace, mode),
            Way::Mode { mode } => self.change_folder_mode(workspace, mode),
            Way::Place => {
                let (parent, staging) = self.folders(root)?;
                let placed = traced(workspace, &paths, || {
                    rename(&staging, &self.temporary, &parent, &self.change.path, RenameFlags::NOREPLACE)
                });
                placed.map_err(reason)
            }
            Way::Exchange(there) | Way::Remove(there) => {
                let (parent, staging) = self.folders(root)?;
                let found = beneath::entry(parent.as_fd(), self.change.path.name()).map_err(reason)?;
                if found.as_ref().map(EntryState::of) != Some(there) {
                    return Err(Reason::Conflict);
                }
                traced(workspace, &paths, || {
                    rename(&parent, &self.change.path, &staging, &self.temporary, self.rename_flags())
                })
                .map_err(reason)
            }
        }
    }

    /// Looks at what was there, and puts it away into `slot` or removes it when it is what was expected; else puts it back
    /// and says so. On `Err` nothing is changed, and what was staged still is.
    pub(super) fn complete(
        &self,
        workspace: &Workspace,
        changed: &Changed<'_>,
        slot: Slot<'_>,
    ) -> Result<Option<Note>, Reason> {
        let note = match self.way() {
            Way::Nothing | Way::Make { .. } | Way::Mode { .. } | Way::Place => None,
            Way::Exchange(there) | Way::Remove(there) => self.settle(workspace, there, changed, slot)?,
        };
        // A look that fails now only means that a later call may see a conflict with this one.
        if let Ok(parent) = beneath::folder_of(workspace.fd(), &self.change.path)
            && let Ok(left) = beneath::entry(parent.as_fd(), self.change.path.name())
        {
            workspace.recent().left(&self.change.path, left.as_ref());
        }
        Ok(note)
    }

    fn rename_flags(&self) -> RenameFlags {
        match self.way() {
            Way::Exchange(_) => RenameFlags::EXCHANGE,
            Way::Place | Way::Remove(_) | Way::Make { .. } | Way::Mode { .. } | Way::Nothing => RenameFlags::NOREPLACE,
        }
    }

    /// What the operation found, once it is done; `None` when it did nothing.
    pub(super) fn before(&self, slot: Slot<'_>) -> Option<Before> {
        match (self.way(), self.expected) {
            (Way::Nothing, _) => None,
            (Way::Make { .. } | Way::Place, _) => Some(Before::Absent),
            (Way::Mode { .. }, Expected::Entry(there)) => Some(Before::Mode { mode: there.mode }),
            (Way::Mode { .. }, Expected::Absent) => Some(Before::Absent),
            (Way::Exchange(_) | Way::Remove(_), _) => Some(slot.before()),
        }
    }

    /// Looks at what was renamed away, and puts it away when it is what was expected; else puts it back.
    fn settle(
        &self,
        workspace: &Workspace,
        there: EntryState,
        changed: &Changed<'_>,
        slot: Slot<'_>,
    ) -> Result<Option<Note>, Reason> {
        let (parent, staging) = self.folders(workspace.fd())?;
        let paths = [&self.change.path, &self.temporary];
        let away = beneath::entry(staging.as_fd(), self.temporary.name()).map_err(reason)?;
        let expected = away.is_some_and(|away| {
            there.is_same_but_renamed(&away)
                && (away.kind != Kind::Folder || self.is_tree_unchanged(workspace.fd(), changed))
        });
        if !expected {
            traced(workspace, &paths, || {
                let (from, to) = ((&staging, &self.temporary), (&parent, &self.change.path));
                rename(from.0, from.1, to.0, to.1, self.rename_flags())
            })
            .map_err(reason)?;
            return Err(Reason::Conflict);
        }
        let is_folder = away.is_some_and(|away| away.kind == Kind::Folder);
        let doomed = if is_folder { self.doomed() } else { self.temporary.clone() };
        let removed = traced(workspace, &[&self.temporary], || {
            if is_folder {
                // Emptying a folder takes a while and cannot be undone. From here on its name says that it may go.
                rename(&staging, &self.temporary, &staging, &doomed, RenameFlags::NOREPLACE)?;
            }
            if slot.take(staging.as_fd(), doomed.name()) {
                return Ok(());
            }
            beneath::remove_all(staging.as_fd(), doomed.name())
        });
        Ok(removed.err().map(|error| Note::Leftover { file: doomed, error: error.to_string() }))
    }

    /// The name of a folder that was looked at and is being emptied.
    fn doomed(&self) -> TreePath {
        let mut name = self.temporary.name().to_owned();
        name.push("-gone");
        self.temporary.parent().unwrap_or_else(TreePath::root).join(&name)
    }

    /// Whether nothing below a folder that was renamed away changed since the call took its sandbox.
    fn is_tree_unchanged(&self, root: BorrowedFd<'_>, changed: &Changed<'_>) -> bool {
        let mut entries = 0;
        let mut pending = vec![TreePath::root()];
        while let Some(below) = pending.pop() {
            let place = TreePath::new(self.temporary.as_path().join(&below));
            let Some(place) = place else { return false };
            let listed = beneath::open(root, place.as_path(), OFlags::RDONLY | OFlags::DIRECTORY)
                .and_then(|folder| Ok((beneath::names(folder.as_fd())?, folder)));
            let Ok((names, folder)) = listed else { return false };
            for name in names {
                entries += 1;
                let path = below.join(&name);
                let was = TreePath::new(self.change.path.as_path().join(&path));
                match (beneath::entry(folder.as_fd(), &name), was) {
                    (Ok(Some(entry)), Some(was)) if entries <= MAX_ENTRIES && !changed(&was, &entry) => {
                        if entry.kind == Kind::Folder {
                            pending.push(path);
                        }
                    }
                    _ => return false,
                }
            }
        }
        true
    }

    /// Finds out how far the operation came when the server stopped in the middle, and removes or puts back what is in
    /// between. What it may have put into `slot` before stays there.
    pub(super) fn resume(&self, workspace: &Workspace, changed: &Changed<'_>, slot: Slot<'_>) -> io::Result<Reached> {
        let interrupted = Ok(Reached::Undone(Reason::Interrupted));
        let root = workspace.fd();
        let (parent, staging) = match self.folders(root) {
            Ok(folders) => folders,
            // The folder is gone: with the staged file if that was in it.
            Err(reason) => return Ok(Reached::Undone(reason)),
        };
        if beneath::entry(staging.as_fd(), self.doomed().name())?.is_some() {
            // It may be half emptied: only what is on the shelf by now was kept whole.
            beneath::remove_all(staging.as_fd(), self.doomed().name())?;
            return Ok(Reached::Done);
        }
        let temporary = beneath::entry(staging.as_fd(), self.temporary.name())?;
        let there = beneath::entry(parent.as_fd(), self.change.path.name())?;
        match self.way() {
            Way::Nothing => Ok(Reached::Done),
            Way::Make { .. } => match there {
                Some(there) if there.kind == Kind::Folder => Ok(Reached::Done),
                Some(_) | None => interrupted,
            },
            Way::Mode { mode } => match there {
                Some(there) if there.permissions() == mode => Ok(Reached::Done),
                Some(_) | None => interrupted,
            },
            Way::Place => match temporary {
                Some(temporary) if temporary.inode == self.staged => interrupted,
                Some(_) | None => Ok(Reached::Done),
            },
            Way::Exchange(expected) | Way::Remove(expected) => match (temporary, there) {
                (Some(temporary), _) if temporary.inode == self.staged => interrupted,
                (Some(_), _) => Ok(match self.settle(workspace, expected, changed, slot) {
                    Ok(_) => Reached::Done,
                    Err(reason) => Reached::Undone(reason),
                }),
                // Still under its own name: a deletion that had not begun.
                (None, Some(there)) if self.staged == 0 && there.inode == expected.inode => interrupted,
                (None, _) => Ok(Reached::Done),
            },
        }
    }

    /// Sets the mode of a folder that was just made.
    fn set_folder_mode(&self, folder: BorrowedFd<'_>, mode: u32) -> io::Result<()> {
        match self.own {
            Some(own) => restore_folder_mode(folder, mode, own),
            None => beneath::set_mode(folder, mode),
        }
    }

    fn make(&self, workspace: &Workspace, mode: u32) -> Result<(), Reason> {
        let root = workspace.fd();
        let path = &self.change.path;
        let parent = beneath::folder_of(root, path).map_err(reason)?;
        let made = traced(workspace, &[path], || {
            let owner = Owner::for_path(root, path, parent.as_fd())?;
            match rustix::fs::mkdirat(&parent, path.name(), Mode::RWXU) {
                Ok(()) => {
                    let folder = made(parent.as_fd(), path.name(), Kind::Folder)?;
                    owner.give(folder.as_fd())?;
                    self.set_folder_mode(folder.as_fd(), mode)?;
                    Ok(Some(beneath::entry_of(folder)?))
                }
                // Somebody made the same folder: what comes below it is judged by itself.
                Err(Errno::EXIST) => Ok(None),
                Err(error) => Err(error.into()),
            }
        });
        match made.map_err(reason)? {
            Some(entry) => workspace.recent().made(path, &entry),
            None => match beneath::entry(parent.as_fd(), path.name()).map_err(reason)? {
                Some(entry) if entry.kind == Kind::Folder => {}
                Some(_) | None => return Err(Reason::Conflict),
            },
        }
        Ok(())
    }

    fn change_folder_mode(&self, workspace: &Workspace, mode: u32) -> Result<(), Reason> {
        let folder = beneath::folder(workspace.fd(), self.change.path.as_path()).map_err(reason)?;
        let entry = beneath::entry_of(&folder).map_err(reason)?;
        match self.expected {
            Expected::Entry(there) if there.inode == entry.inode => {}
            Expected::Entry(_) | Expected::Absent => return Err(Reason::Conflict),
        }
        // The host's own set-group-id and sticky bits stay.
        beneath::set_mode(folder.as_fd(), (entry.mode & 0o7000) | mode).map_err(reason)
    }

    /// The folders of the change's path and of its temporary name.
    fn folders(&self, root: BorrowedFd<'_>) -> Result<(OwnedFd, OwnedFd), Reason> {
        let parent = beneath::folder_of(root, &self.change.path).map_err(reason)?;
        let staging = beneath::folder_of(root, &self.temporary).map_err(reason)?;
        Ok((parent, staging))
    }
}

/// The words for what the kernel refused.
pub(super) fn reason(error: impl Into<io::Error>) -> Reason {
    let error = error.into();
    match Errno::from_io_error(&error) {
        Some(Errno::LOOP) => Reason::ThroughLink,
        Some(Errno::NOTDIR | Errno::NOENT) => Reason::NotInFolder,
        Some(Errno::XDEV | Errno::BUSY) => Reason::OtherMount,
        Some(Errno::ACCESS | Errno::PERM | Errno::ROFS) => Reason::NotPermitted,
        Some(Errno::EXIST) => Reason::Conflict,
        _ => Reason::Failed { error: error.to_string() },
    }
}

/// Renames; where the file system does not know `RENAME_NOREPLACE`, looks first.
fn rename(from: &OwnedFd, source: &TreePath, to: &OwnedFd, target: &TreePath, flags: RenameFlags) -> io::Result<()> {
    match rustix::fs::renameat_with(from, source.name(), to, target.name(), flags) {
        // rename(2): EINVAL is a file system that does not support the flag.
        Err(Errno::INVAL) if flags == RenameFlags::NOREPLACE => {
            if beneath::entry(to.as_fd(), target.name())?.is_some() {
                return Err(Errno::EXIST.into());
            }
            Ok(rustix::fs::renameat(from, source.name(), to, target.name())?)
        }
        result => Ok(result?),
    }
}

/// Does `work` and remembers what it did to the ctimes of the folders that hold `paths`.
fn traced<T>(workspace: &Workspace, paths: &[&TreePath], work: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    let mut folders: Vec<TreePath> = paths.iter().filter_map(|path| path.parent()).collect();
    folders.dedup();
    let look = |folder: &TreePath| beneath::entry_of(beneath::folder(workspace.fd(), folder.as_path())?);
    let before: Vec<_> = folders.iter().map(look).collect();
    let result = work();
    let mut recent = workspace.recent();
    for (folder, before) in folders.iter().zip(before) {
        if let (Ok(before), Ok(after)) = (before, look(folder)) {
            remember(&mut recent, folder, &before, &after);
        }
    }
    result
}

fn remember(recent: &mut Recent, folder: &TreePath, before: &Entry, after: &Entry) {
    if before.inode == after.inode {
        recent.changed_in(folder, before.changed, after.changed);
    }
}

/// Opens a link, pipe or folder that was just made. Whoever may write to the workspace may have put another thing there
/// meanwhile, which must not be given to anybody: only what is ours, and is no folder or holds nothing, is taken.
fn made(folder: BorrowedFd<'_>, name: &std::ffi::OsStr, kind: Kind) -> io::Result<OwnedFd> {
    let flags = match kind {
        Kind::Folder => OFlags::RDONLY | OFlags::DIRECTORY,
        Kind::Link | Kind::File | Kind::Character | Kind::Block | Kind::Fifo | Kind::Socket => OFlags::PATH,
    };
    let opened = rustix::fs::openat(folder, name, flags | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
    let entry = beneath::entry_of(&opened)?;
    let is_ours = entry.kind == kind
        && entry.owner == rustix::process::geteuid().as_raw()
        && (kind != Kind::Folder || beneath::names(opened.as_fd())?.is_empty());
    if is_ours { Ok(opened) } else { Err(Errno::STALE.into()) }
}

/// Sets the mode of a folder that was just made in place of one that the workspace had, with that one's [`FOLDER_BITS`].
fn restore_folder_mode(folder: BorrowedFd<'_>, mode: u32, own: Own) -> io::Result<()> {
    let made = beneath::entry_of(folder)?;
    let is_as_it_was = (own.owner, own.group) == (made.owner, made.group);
    beneath::set_mode(folder, if is_as_it_was { mode | own.mode & FOLDER_BITS } else { mode })
}

/// Who a new file belongs to.
struct Owner {
    owner: Option<Uid>,
    group: Option<Gid>,
}

impl Owner {
    /// A root server keeps the owner of what is replaced, else that of the folder. An ordinary user's files are his; only
    /// the group is kept where the kernel lets him.
    fn for_path(root: BorrowedFd<'_>, path: &TreePath, folder: BorrowedFd<'_>) -> io::Result<Self> {
        let replaced = match beneath::find(root, path)? {
            beneath::Found::Entry(entry) => Some(entry),
            beneath::Found::Absent { .. } | beneath::Found::Blocked(_) => None,
        };
        let group = |entry: &Entry| Some(Gid::from_raw(entry.group));
        if rustix::process::geteuid().is_root() {
            let model = replaced.map_or_else(|| beneath::entry_of(folder), Ok)?;
            return Ok(Self { owner: Some(Uid::from_raw(model.owner)), group: group(&model) });
        }
        Ok(Self { owner: None, group: replaced.as_ref().and_then(group) })
    }

    /// Gives what was made. By its descriptor: behind a name there may be another file by now.
    fn give(&self, made: BorrowedFd<'_>) -> io::Result<()> {
        if self.owner.is_none() && self.group.is_none() {
            return Ok(());
        }
        match rustix::fs::chownat(made, "", self.owner, self.group, AtFlags::EMPTY_PATH) {
            // An ordinary user who is not in the group.
            Err(Errno::PERM) if self.owner.is_none() => Ok(()),
            result => Ok(result?),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_put_in_the_place_of_what_was_made_is_not_taken_for_it() {
        let place = tempfile::tempdir().unwrap();
        let root = std::fs::File::open(place.path()).unwrap();
        std::fs::create_dir_all(place.path().join("full/inside")).unwrap();
        std::fs::create_dir(place.path().join("empty")).unwrap();
        std::fs::write(place.path().join("file"), "secret").unwrap();
        std::os::unix::fs::symlink("empty", place.path().join("link")).unwrap();
        let taken = |name: &str, kind| made(root.as_fd(), name.as_ref(), kind).is_ok();
        assert!(taken("empty", Kind::Folder) && taken("link", Kind::Link));
        assert!(!taken("full", Kind::Folder), "a folder that was just made holds nothing");
        assert!(!taken("link", Kind::Folder) && !taken("file", Kind::Folder));
        assert!(!taken("file", Kind::Link) && !taken("empty", Kind::Link));
    }
}
