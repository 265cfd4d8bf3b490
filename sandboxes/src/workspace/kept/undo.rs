//! What a person does with an applied call: takes it back.
//!
//! What the call replaced returns from the shelf ([`super::shelf`]), what it made goes. That is a hand-back of its own, with
//! the same care: nothing is overwritten that is not exactly what the call left, a stop in the middle is finished or taken
//! back, and the undoing can be undone. It is all or nothing: where one path changed since, nothing is done and the
//! paths are named, so that the person chooses.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    os::fd::{AsFd, BorrowedFd},
    sync::Arc,
};

use cofferdam_policy::Secrets;
use rustix::fs::{AtFlags, Mode, OFlags, chmodat};
use serde::Serialize;

use super::shelf::{self, Before, Lacking, Lacks, Recorded, SPECIAL_BITS, Shelved};
use crate::workspace::{
    beneath::{self, Blocked, Found, Kind},
    change::{Change, Held, Note, Reason, Special, What},
    delivery::{
        Delivery, Steps, Uninterrupted,
        operation::{EntryState, Expected, Operation, Own},
    },
    gate::spared::Cost,
    held::stack::{Content, Origin, Stack},
    masking::Masks,
    session::{Session, SessionError},
    stamp::Stamp,
    tree_path::TreePath,
    version::{HostVersion, MAX_ENTRIES},
    workspace::Patience,
};

/// A call, or a person's order, whose changes are in the workspace and can be taken back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Undoable {
    /// The call's identifier, or that of the order (`apply-…`, `undo-…`).
    pub call: String,
    /// When its changes came to the workspace, in milliseconds since 1970.
    pub at_ms: u64,
    /// What it changed, sorted by path.
    pub changes: Vec<Change>,
    /// Bytes that are kept of what it replaced.
    pub kept_bytes: u64,
}

/// What came of taking a call back.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Undone {
    /// The identifier of this order, with which it can be undone itself.
    pub order: String,
    /// In the workspace now.
    pub applied: Vec<Change>,
    /// Why nothing was done, if this is not empty: these paths are not as the call left them, or not kept. After an edit that
    /// the host made in the last moment, also single paths that are held now instead.
    pub refused: Vec<Held>,
    /// Folders that the call made and that stay, since something else is in them now.
    pub stay: Vec<TreePath>,
    /// What the call made and is not there any more: there was nothing to do.
    pub gone: Vec<TreePath>,
    /// Files with credentials and repositories, beyond those of `refused`, that the order would have to name.
    pub unnamed: usize,
    /// Worth knowing.
    pub notes: Vec<Note>,
}

/// Why a call cannot be taken back.
#[derive(Debug, thiserror::Error)]
pub enum UndoError {
    /// There is no record of it.
    #[error(
        "nothing that can be undone has the identifier {call}: it changed nothing, or it is longer ago than is kept; \
         `cofferdam changes history` lists what can"
    )]
    Unknown {
        /// The identifier as given.
        call: String,
    },
    /// The beginning of an identifier fits several.
    #[error("{call} is the beginning of {count} identifiers; write more of it")]
    Ambiguous {
        /// The identifier as given.
        call: String,
        /// How many it fits.
        count: usize,
    },
    /// The session could not do it.
    #[error(transparent)]
    Session(#[from] SessionError),
}

impl Session {
    /// What can be taken back, newest first.
    ///
    /// # Errors
    /// [`SessionError::Kernel`] when the session's folder cannot be read.
    pub fn undoable(&self) -> Result<Vec<Undoable>, SessionError> {
        let shelved = self.shelved()?.into_iter().map(|shelved| {
            let mut changes: Vec<Change> = shelved.record.entries.into_iter().map(|entry| entry.change).collect();
            changes.sort_by(|one, other| one.path.cmp(&other.path));
            let Origin { call, at_ms, bond: _ } = shelved.record.origin;
            Undoable { call, at_ms, changes, kept_bytes: shelved.bytes }
        });
        Ok(shelved.collect())
    }

    /// Takes back what `call` changed in the workspace: at `paths` and below them, or all of it when there are none. The
    /// beginning of an identifier is enough when it fits one only. Files with credentials, as `secrets` lists them now, and
    /// repositories are only touched when `paths` names them.
    ///
    /// # Errors
    /// [`UndoError`]; the workspace is then unchanged.
    pub fn undo(
        &self,
        call: &str,
        paths: &[TreePath],
        secrets: &Arc<Secrets>,
        patience: &Patience<'_>,
    ) -> Result<Undone, UndoError> {
        self.undo_in_steps(call, (paths, secrets), patience, &Uninterrupted)
    }

    pub(super) fn undo_in_steps(
        &self,
        call: &str,
        (paths, secrets): (&[TreePath], &Arc<Secrets>),
        patience: &Patience<'_>,
        steps: &dyn Steps,
    ) -> Result<Undone, UndoError> {
        let _turn = self.turn(patience)?;
        self.workspace().still_there().map_err(SessionError::from)?;
        let failed = |source| self.kernel("compare what a call changed with the workspace", source);
        let shelved = self.find(call)?;
        let stamp = Stamp::take(self.workspace()).map_err(failed)?;
        // After the stamp: a file that comes later is a conflict.
        let masks = self.workspace().masks(secrets).map_err(SessionError::from)?;
        let stack = self.ledger().load().map_err(failed)?;
        let selected = shelved
            .record
            .entries
            .iter()
            .filter(|entry| paths.is_empty() || paths.iter().any(|path| entry.change.path.is_within(path)));
        let selected = selected.map(|entry| (&entry.change.path, entry)).collect();
        let named = (paths, &*masks);
        let mut way = Way { session: self, shelved: &shelved, selected, named, stack: &stack, back: Back::default() };
        way.find().map_err(failed)?;
        // What was opened for reading stays open until it was copied.
        let Back { operations, refused, unnamed, stay, gone, notes: mut not_restored, bits, opened: _opened } =
            way.back;
        let origin = Origin::order("undo").map_err(failed)?;
        let order = origin.call.clone();
        if !refused.is_empty() || operations.is_empty() {
            return Ok(Undone { order, refused, unnamed, stay, gone, notes: not_restored, ..Undone::default() });
        }
        let delivery = Delivery {
            workspace: self.workspace(),
            ledger: self.ledger(),
            stack: Arc::clone(&stack),
            operations,
            pieces: Vec::new(),
            removed: BTreeSet::new(),
            origin,
            stamp: &stamp,
            undo: self.undo_archive().clone(),
        };
        let delivered = self.deliver(delivery, steps)?;
        not_restored.extend(delivered.notes);
        for (file, wanted) in bits {
            let Ok(Found::Entry(entry)) = beneath::find(self.workspace().fd(), &file) else { continue };
            let missing = wanted & !entry.mode;
            if missing != 0 {
                not_restored.push(Note::NotRestored { file, what: bits_of_it(missing) });
            }
        }
        let (applied, refused) = (delivered.applied, delivered.held);
        Ok(Undone { order, applied, refused, unnamed, stay, gone, notes: not_restored })
    }

    fn shelved(&self) -> Result<Vec<Shelved>, SessionError> {
        shelf::records(self.undo_archive()).map_err(|source| self.kernel("read what can be undone", source))
    }

    /// The newest record of a call. One call has several when it was handed back in several steps.
    fn find(&self, call: &str) -> Result<Shelved, UndoError> {
        let mut fitting: Vec<Shelved> = self.shelved()?;
        fitting.retain(|shelved| shelved.record.origin.call.starts_with(call));
        let calls: BTreeSet<&str> = fitting.iter().map(|shelved| shelved.record.origin.call.as_str()).collect();
        let count = calls.len();
        let unknown = || UndoError::Unknown { call: call.to_owned() };
        match count {
            _ if call.is_empty() => Err(unknown()),
            0 | 1 => fitting.into_iter().next().ok_or_else(unknown),
            _ => Err(UndoError::Ambiguous { call: call.to_owned(), count }),
        }
    }
}

/// What is done to take a call back.
#[derive(Default)]
struct Back<'a> {
    operations: Vec<(Operation, Content<'a>)>,
    refused: Vec<Held>,
    unnamed: usize,
    stay: Vec<TreePath>,
    gone: Vec<TreePath>,
    notes: Vec<Note>,
    /// Folders that had more than permission bits, with those.
    bits: Vec<(TreePath, u32)>,
    opened: Vec<Opened<'a>>,
}

/// Something on the shelf that its owner may not read, by its permission bits, and may until this is dropped.
struct Opened<'a> {
    shelf: BorrowedFd<'a>,
    path: TreePath,
    mode: u32,
}

impl<'a> Opened<'a> {
    /// Lets the owner read it, if it is a file or folder and does not. The shelf is the person's own, and closed to others.
    fn open(shelf: BorrowedFd<'a>, path: &TreePath, (kind, mode): (Kind, u32)) -> io::Result<Option<Self>> {
        let needed = match kind {
            Kind::File => 0o400,
            Kind::Folder => 0o500,
            Kind::Link | Kind::Character | Kind::Block | Kind::Fifo | Kind::Socket => return Ok(None),
        };
        if mode & needed == needed {
            return Ok(None);
        }
        let opened = Self { shelf, path: path.clone(), mode };
        opened.set(mode | needed)?;
        Ok(Some(opened))
    }

    fn set(&self, mode: u32) -> io::Result<()> {
        let folder = beneath::folder_of(self.shelf, &self.path)?;
        Ok(chmodat(&folder, self.path.name(), Mode::from_raw_mode(mode), AtFlags::empty())?)
    }
}

impl Drop for Opened<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.set(self.mode) {
            tracing::warn!(%error, path = %self.path, "the permission bits of something that is kept were not put back");
        }
    }
}

/// The way back of one call.
struct Way<'a> {
    session: &'a Session,
    shelved: &'a Shelved,
    selected: BTreeMap<&'a TreePath, &'a Recorded>,
    /// What the order names, and what is masked now.
    named: (&'a [TreePath], &'a Masks),
    stack: &'a Stack,
    back: Back<'a>,
}

impl<'a> Way<'a> {
    /// Finds it, parents first.
    fn find(&mut self) -> io::Result<()> {
        // A folder that goes as a whole, with all that the call put into it.
        let mut whole: Option<&TreePath> = None;
        for (path, entry) in self.selected.clone() {
            if whole.is_some_and(|whole| path.is_within(whole)) {
                continue;
            }
            let reason = match self.take_back(path, entry, &mut whole) {
                // One path that cannot be read: it is named, and the others can be asked for.
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                    Some(Reason::Failed { error: error.to_string() })
                }
                reason => reason?,
            };
            if let Some(reason) = reason {
                self.back.refused.push(Held { change: entry.change.clone(), reason });
            }
        }
        Ok(())
    }

    /// Takes one change back; gives the reason why it cannot be.
    fn take_back(
        &mut self,
        path: &'a TreePath,
        entry: &'a Recorded,
        whole: &mut Option<&'a TreePath>,
    ) -> io::Result<Option<Reason>> {
        let workspace = self.session.workspace();
        let found = beneath::find(workspace.fd(), path)?;
        if matches!((&found, entry.before), (Found::Absent { .. }, Before::Absent)) {
            self.back.gone.push(path.clone());
            return Ok(None);
        }
        // Read after it was looked at, so that a change in between is found by the operation.
        if HostVersion::of(workspace.fd(), path, &entry.change.what)? != entry.after
            || entry.after == HostVersion::Unknown
        {
            return Ok(Some(Reason::Conflict));
        }
        if self.stack.held.contains_key(path) {
            return Ok(Some(Reason::BuildsOnHeld));
        }
        let nearest = path.parent().unwrap_or_else(TreePath::root);
        let there = match found {
            Found::Entry(entry) => Some(entry),
            Found::Absent { folder, .. } if folder == nearest => None,
            Found::Absent { .. } => return Ok(Some(Reason::FolderGone)),
            Found::Blocked(blocked) => {
                return Ok(Some(match blocked {
                    Blocked::Link => Reason::ThroughLink,
                    Blocked::NotFolder => Reason::NotInFolder,
                    Blocked::Mount => Reason::OtherMount,
                    Blocked::Permission => Reason::NotPermitted,
                }));
            }
        };
        let expected = there.as_ref().map_or(Expected::Absent, |there| Expected::Entry(EntryState::of(there)));
        let is_folder = there.is_some_and(|there| there.kind == Kind::Folder);
        match entry.before {
            Before::Gone => return Ok(Some(Reason::NotKept)),
            Before::Absent if is_folder && !self.is_ours(path)? => self.back.stay.push(path.clone()),
            Before::Absent => {
                *whole = Some(path);
                if self.costs(entry, What::Deleted)? {
                    return Ok(None);
                }
                self.push(path.clone(), What::Deleted, expected, &nearest, Content::None)?;
            }
            Before::Mode { mode } => {
                self.push(path.clone(), What::Folder { mode, opaque: false }, expected, &nearest, Content::None)?;
            }
            Before::Kept { .. } if is_folder && !self.is_ours(path)? => return Ok(Some(Reason::Conflict)),
            Before::Kept { number } => {
                *whole = Some(path);
                if self.costs(entry, self.in_its_place(number)?)? {
                    return Ok(None);
                }
                self.bring_back(path, number, expected, &nearest)?;
            }
        }
        Ok(None)
    }

    /// Whether it would cost files with credentials or repositories that the order does not name, if `what` takes the place
    /// of what the call left. Each that is told is refused, with all that is below.
    fn costs(&mut self, entry: &Recorded, what: What) -> io::Result<bool> {
        let Cost { reasons, more } =
            self.session.cost(&Change { path: entry.change.path.clone(), what }, self.named)?;
        self.back.unnamed += more;
        let costs = !reasons.is_empty();
        let refused = reasons.into_iter().map(|reason| Held { change: entry.change.clone(), reason });
        self.back.refused.extend(refused);
        Ok(costs)
    }

    /// What takes the place of what the call left. Of a folder that is there nothing stays.
    fn in_its_place(&self, number: usize) -> io::Result<What> {
        let kept = beneath::entry(self.shelved.folder.as_fd(), number.to_string().as_ref())?;
        Ok(match kept {
            Some(kept) if kept.kind == Kind::File => What::File { size: kept.size, mode: kept.permissions() },
            Some(_) | None => What::Deleted,
        })
    }

    /// Whether a folder of the workspace holds nothing but what the call put there, as it left it.
    fn is_ours(&self, top: &TreePath) -> io::Result<bool> {
        let workspace = self.session.workspace();
        let mut pending = vec![top.clone()];
        let mut entries = 0;
        while let Some(path) = pending.pop() {
            let folder = beneath::open(workspace.fd(), path.as_path(), OFlags::RDONLY | OFlags::DIRECTORY)?;
            for name in beneath::names(folder.as_fd())? {
                entries += 1;
                let child = path.join(&name);
                let Some(entry) = self.selected.get(&child) else { return Ok(false) };
                let now = HostVersion::of(workspace.fd(), &child, &entry.change.what)?;
                if now != entry.after || self.stack.held.contains_key(&child) || entries > MAX_ENTRIES {
                    return Ok(false);
                }
                if matches!(entry.change.what, What::Folder { .. }) {
                    pending.push(child);
                }
            }
        }
        Ok(true)
    }

    /// Brings back what lies on the shelf, with all that is below it.
    fn bring_back(&mut self, path: &TreePath, number: usize, expected: Expected, nearest: &TreePath) -> io::Result<()> {
        let shelf = self.shelved.folder.as_fd();
        let top = TreePath::root().join(number.to_string().as_ref());
        for Lacking { path: within, what } in self.shelved.lacking(number)? {
            let what = match what {
                Lacks::Bits { bits } => bits_of_it(bits),
                Lacks::Special { special } => special.to_string(),
                Lacks::Unknown => "whatever the copy of it lacks, since the list of that cannot be read".to_owned(),
            };
            self.back.notes.push(Note::NotRestored { file: path.join_all(&within), what });
        }
        let mut pending = vec![(top, path.clone(), expected)];
        while let Some((kept, path, expected)) = pending.pop() {
            let folder = beneath::folder_of(shelf, &kept)?;
            let Some(entry) = beneath::entry(folder.as_fd(), kept.name())? else { continue };
            self.back.opened.extend(Opened::open(shelf, &kept, (entry.kind, entry.mode & 0o7777))?);
            let not_restored = match entry.kind {
                Kind::File if entry.mode & SPECIAL_BITS != 0 => Some(bits_of_it(entry.mode & SPECIAL_BITS)),
                Kind::Folder if entry.mode & SPECIAL_BITS != 0 => {
                    self.back.bits.push((path.clone(), entry.mode & SPECIAL_BITS));
                    None
                }
                Kind::File | Kind::Folder | Kind::Link | Kind::Fifo => None,
                Kind::Character => Some(Special::CharacterDevice.to_string()),
                Kind::Block => Some(Special::BlockDevice.to_string()),
                Kind::Socket => Some(Special::Socket.to_string()),
            };
            let note = not_restored.map(|what| Note::NotRestored { file: path.clone(), what });
            self.back.notes.extend(note);
            let (what, content) = match entry.kind {
                Kind::File => {
                    let what = What::File { size: entry.size, mode: entry.permissions() };
                    (what, Content::Copy { root: shelf, path: kept })
                }
                Kind::Link => {
                    (What::Link { target: beneath::link_target(folder.as_fd(), kept.name())? }, Content::None)
                }
                Kind::Folder => {
                    let opened = beneath::open(shelf, kept.as_path(), OFlags::RDONLY | OFlags::DIRECTORY)?;
                    let names = beneath::names(opened.as_fd())?;
                    let below = names.iter().map(|name| (kept.join(name), path.join(name), Expected::Absent));
                    pending.extend(below);
                    (What::Folder { mode: entry.permissions(), opaque: false }, Content::None)
                }
                Kind::Fifo => (What::Special { special: Special::Fifo }, Content::None),
                Kind::Character | Kind::Block | Kind::Socket => continue,
            };
            self.push(path, what, expected, nearest, content)?;
            if let Some((operation, _)) = self.back.operations.last_mut() {
                operation.own = Some(Own { mode: entry.mode, owner: entry.owner, group: entry.group });
            }
        }
        Ok(())
    }

    fn push(
        &mut self,
        path: TreePath,
        what: What,
        expected: Expected,
        nearest: &TreePath,
        content: Content<'a>,
    ) -> io::Result<()> {
        let operation = match self.named.1.concern(&path) {
            true => Operation::masked(Change { path, what }, expected, nearest)?,
            false => Operation::new(Change { path, what }, expected, nearest)?,
        };
        self.back.operations.push((operation, content));
        Ok(())
    }
}

/// Mode bits, as a noun.
fn bits_of_it(bits: u32) -> String {
    format!("the mode bits {bits:o} of it")
}
