//! Carries operations out and holds the rest, so that a stop at any moment loses nothing.

pub(super) mod flush;
mod journal;
pub(super) mod operation;
pub(super) mod recent;

#[cfg(test)]
pub(super) mod crash_tests;
#[cfg(test)]
mod race_tests;

use std::{collections::BTreeSet, io, path::PathBuf, sync::Arc};

use serde::Serialize;

use self::{
    flush::Flush,
    journal::{Journal, Leftovers, Phase},
    operation::{Operation, Reached, reason},
};
use super::{
    beneath::{self, Found},
    change::{Change, Held, Note, Reason, Special, What},
    git::{self, Untold},
    held::{
        layer::Ground,
        ledger::Ledger,
        stack::{Content, HeldChange, Origin, Piece, Stack},
    },
    kept::{
        archive::Archive,
        shelf::{self, Before, RETENTION, Recorded, Shelf, Slot, UNDO},
    },
    stamp::Stamp,
    tree_path::TreePath,
    version::{HostVersion, digest},
    workspace::{Patience, TurnError, Workspace},
};

/// A moment of a delivery, for a test that stops there as a killed server would.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// The journal names what will be staged.
    Journalled,
    /// This many operations are staged.
    Staged(usize),
    /// The next layer of held changes is on the disk.
    LayerBuilt,
    /// The journal says that everything is staged.
    Committed,
    /// The session's record names the next layer.
    StackSaved,
    /// This many operations are in place, the last one with what was there still beside it.
    Begun(usize),
    /// This many operations are carried out.
    CarriedOut(usize),
    /// What was not carried out is held.
    RestHeld,
    /// What was carried out is recorded, so that it can be undone.
    Recorded,
    /// The journal says that only temporary files are left to remove.
    Cleaning,
    /// Temporary files are removed.
    Cleaned,
}

/// Told of each step.
pub(super) trait Steps {
    /// `Err` stops the delivery right there.
    fn reached(&self, step: Step) -> Result<(), Stopped>;
}

/// The delivery was stopped by its [`Steps`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("stopped")]
pub struct Stopped;

/// Goes through every step.
pub(super) struct Uninterrupted;

impl Steps for Uninterrupted {
    fn reached(&self, _: Step) -> Result<(), Stopped> {
        Ok(())
    }
}

/// Why a delivery did not come about.
#[derive(Debug, thiserror::Error)]
pub(super) enum DeliveryError {
    #[error(transparent)]
    Stopped(#[from] Stopped),
    #[error(transparent)]
    Kernel(#[from] io::Error),
}

/// What is to be delivered.
pub(super) struct Delivery<'a> {
    pub(super) workspace: &'a Workspace,
    /// The session's record.
    pub(super) ledger: &'a Ledger,
    pub(super) stack: Arc<Stack>,
    /// What goes into the workspace, parents first, and where its content is.
    pub(super) operations: Vec<(Operation, Content<'a>)>,
    /// What is held besides.
    pub(super) pieces: Vec<Piece<'a>>,
    /// What is held no longer.
    pub(super) removed: BTreeSet<TreePath>,
    pub(super) origin: Origin,
    pub(super) stamp: &'a Stamp,
    /// Where what it replaces is kept.
    pub(super) undo: Archive,
}

/// What became of it.
#[derive(Debug, Default)]
pub(super) struct Delivered {
    pub(super) applied: Vec<Change>,
    /// Meant for the workspace, and held after all.
    pub(super) held: Vec<Held>,
    pub(super) notes: Vec<Note>,
}

impl Delivery<'_> {
    /// Delivers. The caller has the workspace's turn and has recovered what an earlier server left.
    pub(super) fn deliver(mut self, steps: &dyn Steps) -> Result<Delivered, DeliveryError> {
        let mut journal = self.journal();
        if !journal.operations.is_empty() {
            journal.note(self.workspace)?;
        }
        let prepared = steps.reached(Step::Journalled).map_err(DeliveryError::from).and_then(|()| self.prepare(steps));
        let (stack, mut delivered) = match prepared {
            Ok(prepared) => prepared,
            // As if killed: what is there stays for the next start.
            Err(DeliveryError::Stopped(stopped)) => return Err(stopped.into()),
            Err(DeliveryError::Kernel(error)) => {
                roll_back(self.workspace, (self.ledger, &self.undo), &journal)?;
                return Err(error.into());
            }
        };
        let contents: Vec<_>;
        (journal.operations, contents) = self.operations.into_iter().unzip();
        journal.phase = Phase::Committed;
        journal.stack = (stack != self.stack).then(|| Arc::clone(&stack));
        if !journal.operations.is_empty() {
            journal.save(self.workspace)?;
        }
        steps.reached(Step::Committed)?;
        if let Some(stack) = &journal.stack {
            self.ledger.save(stack)?;
        }
        steps.reached(Step::StackSaved)?;
        let shelf = (!journal.operations.is_empty()).then(|| Shelf::begin(self.undo.clone()));
        let shelf = shelf.and_then(|shelf| kept(shelf.map(Some)));
        let mut outcomes = Vec::new();
        for (count, operation) in journal.operations.iter().enumerate() {
            let changed = |path: &TreePath, entry: &beneath::Entry| {
                self.workspace.recent().changed_since(self.stamp, path, entry)
            };
            let begun = operation.begin(self.workspace);
            steps.reached(Step::Begun(count + 1))?;
            let slot = Slot { shelf: shelf.as_ref(), number: count };
            outcomes.push(match begun.and_then(|()| operation.complete(self.workspace, &changed, slot)) {
                Ok(note) => {
                    delivered.notes.extend(note);
                    Reached::Done
                }
                Err(reason) => Reached::Undone(reason),
            });
            steps.reached(Step::CarriedOut(count + 1))?;
        }
        let ends: Vec<_> = outcomes.into_iter().zip(contents.into_iter().map(Some)).collect();
        let finished = finish((self.workspace, self.ledger, shelf), &stack, journal, ends, steps)?;
        delivered.applied = finished.applied;
        delivered.held.extend(finished.held);
        delivered.notes.extend(finished.gone.into_iter().map(|file| Note::NotKept { file }));
        delivered.notes.extend(finished.lost.into_iter().filter_map(|change| match change.what {
            What::Special { special } => Some(not_restored(change.path, special)),
            What::File { .. } | What::Folder { .. } | What::Link { .. } | What::Deleted => None,
        }));
        Ok(delivered)
    }

    fn journal(&self) -> Journal {
        Journal {
            session: self.ledger.folder().file_name().unwrap_or_default().to_string_lossy().into_owned(),
            root: self.workspace.inode(),
            phase: Phase::Staging,
            stamp: self.stamp.time(),
            origin: self.origin.clone(),
            operations: self.operations.iter().map(|(operation, _)| operation.clone()).collect(),
            stack: None,
        }
    }

    /// Stages every operation and builds the next layer. What cannot be staged for a reason of its own is held.
    fn prepare(&mut self, steps: &dyn Steps) -> Result<(Arc<Stack>, Delivered), DeliveryError> {
        let mut delivered = Delivered::default();
        let mut staged = Vec::new();
        let mut folders = BTreeSet::new();
        let mut flush = Flush::default();
        for (count, (mut operation, content)) in std::mem::take(&mut self.operations).into_iter().enumerate() {
            let nothing = (self.workspace.fd(), TreePath::root());
            let (root, path) = match &content {
                Content::Copy { root, path } | Content::Draft { root, path } => (*root, path.clone()),
                Content::Secret { path, .. } => (self.workspace.fd(), path.clone()),
                Content::None => nothing,
            };
            let staged_one = operation.stage(self.workspace, (root, &path), &mut flush).map_err(reason);
            match staged_one.and_then(|()| confirm(self.workspace, &operation, &content)) {
                Ok(()) => {
                    folders.extend(operation.temporary.parent());
                    staged.push((operation, content));
                }
                Err(reason) => match reason {
                    Reason::Failed { error } => return Err(DeliveryError::Kernel(io::Error::other(error))),
                    reason => {
                        Leftovers::remove(self.workspace, std::slice::from_ref(&operation))?;
                        if let What::Special { special } = operation.change.what {
                            delivered.notes.push(not_restored(operation.change.path, special));
                            continue;
                        }
                        delivered.held.push(Held { change: operation.change.clone(), reason: reason.clone() });
                        match content {
                            // It stays held as it is, masked.
                            Content::Secret { .. } | Content::Draft { .. } => {}
                            content @ (Content::Copy { .. } | Content::None) => {
                                self.pieces.push(piece(
                                    self.workspace,
                                    operation.change,
                                    reason,
                                    &self.origin,
                                    content,
                                )?);
                            }
                        }
                    }
                },
            }
            steps.reached(Step::Staged(count + 1))?;
        }
        self.operations = staged;
        flush.flush(self.workspace.fd(), folders.iter().map(TreePath::as_path))?;
        let stack = if self.pieces.is_empty() && self.removed.is_empty() {
            Arc::clone(&self.stack)
        } else {
            let coming = self.operations.iter().filter_map(|(operation, _)| match operation.change.what {
                What::Folder { mode, .. } => Some((operation.change.path.clone(), mode)),
                What::File { .. } | What::Link { .. } | What::Deleted | What::Special { .. } => None,
            });
            let ground = Ground { workspace: self.workspace.fd(), modes: &coming.collect() };
            Arc::new(self.stack.next(self.ledger.folder(), ground, &self.removed, &self.pieces)?)
        };
        steps.reached(Step::LayerBuilt)?;
        Ok((stack, delivered))
    }
}

fn not_restored(file: TreePath, special: Special) -> Note {
    Note::NotRestored { file, what: special.to_string() }
}

/// Compares what was staged of a file with credentials with what was looked at: it may have been written to meanwhile, and what it
/// holds now need not be masked where it goes.
fn confirm(workspace: &Workspace, operation: &Operation, content: &Content<'_>) -> Result<(), Reason> {
    let Content::Secret { digest: looked_at, .. } = content else { return Ok(()) };
    let staged = beneath::file(workspace.fd(), operation.temporary.as_path()).and_then(digest).map_err(reason)?;
    if staged == *looked_at { Ok(()) } else { Err(Reason::Conflict) }
}

/// A change to be held.
pub(super) fn piece<'a>(
    workspace: &Workspace,
    change: Change,
    reason: Reason,
    origin: &Origin,
    content: Content<'a>,
) -> io::Result<Piece<'a>> {
    let host = HostVersion::of(workspace.fd(), &change.path, &change.what)?;
    let held = HeldChange { change, reason, origin: origin.clone(), host, told: None, mask: None };
    Ok(Piece { held, content })
}

/// How a delivery ended.
#[derive(Default)]
struct Finished {
    applied: Vec<Change>,
    held: Vec<Held>,
    lost: Vec<Change>,
    /// Where something was replaced or deleted that is not kept.
    gone: Vec<TreePath>,
}

/// Holds what was not carried out besides `stack`, records what was, and cleans up. With each operation's end comes where
/// its content still is.
fn finish(
    (workspace, ledger, shelf): (&Workspace, &Ledger, Option<Shelf>),
    stack: &Arc<Stack>,
    mut journal: Journal,
    ends: Vec<(Reached, Option<Content<'_>>)>,
    steps: &dyn Steps,
) -> Result<Finished, DeliveryError> {
    let mut finished = Finished::default();
    let (mut removed, mut pieces, mut undone) = (BTreeSet::new(), Vec::new(), Vec::new());
    let mut folders = BTreeSet::new();
    let mut recorded = Vec::new();
    let operations = std::mem::take(&mut journal.operations).into_iter().enumerate();
    for ((number, operation), (reached, content)) in operations.zip(ends) {
        let change = operation.change.clone();
        match (reached, content) {
            (Reached::Done, _) => {
                if let Some(before) = operation.before(Slot { shelf: shelf.as_ref(), number }) {
                    let after = HostVersion::of(workspace.fd(), &change.path, &change.what)?;
                    if before == Before::Gone {
                        finished.gone.push(change.path.clone());
                    }
                    recorded.push(Recorded { change: change.clone(), before, after });
                }
                folders.extend(change.path.parent());
                if stack.held.contains_key(&change.path) {
                    removed.insert(change.path.clone());
                }
                finished.applied.push(change);
            }
            // What is below it is held, and brings it along.
            (Reached::Undone(_), _) if operation.carries => undone.push(operation),
            (Reached::Undone(_), None) => finished.lost.push(change),
            // A layer holds no such file.
            (Reached::Undone(_), Some(_)) if matches!(change.what, What::Special { .. }) => {
                finished.lost.push(change);
                undone.push(operation);
            }
            (Reached::Undone(reason), Some(content)) => {
                finished.held.push(Held { change: change.clone(), reason: reason.clone() });
                // A held change that a person wanted applied is still held, with its own reason and content.
                if !stack.held.contains_key(&change.path) {
                    pieces.push(piece(workspace, change, reason, &journal.origin, content)?);
                }
                undone.push(operation);
            }
        }
    }
    let next = if removed.is_empty() && pieces.is_empty() {
        Arc::clone(stack)
    } else {
        let next = Arc::new(stack.next(ledger.folder(), Ground::as_it_is(workspace.fd()), &removed, &pieces)?);
        ledger.save(&next)?;
        next
    };
    steps.reached(Step::RestHeld)?;
    if let Some(shelf) = shelf {
        kept(shelf.close(&journal.origin, recorded).map(Some));
    }
    steps.reached(Step::Recorded)?;
    if !undone.is_empty() {
        // Once a staged file is removed, its absence would read as "renamed into place".
        journal.operations = undone;
        journal.phase = Phase::Cleaning;
        journal.save(workspace)?;
        steps.reached(Step::Cleaning)?;
    }
    Leftovers::remove(workspace, &journal.operations)?;
    steps.reached(Step::Cleaned)?;
    Flush::default().flush(workspace.fd(), folders.iter().map(TreePath::as_path))?;
    Journal::remove(workspace)?;
    workspace.recent().complete();
    ledger.sweep(&next)?;
    Ok(finished)
}

/// What came of keeping what a hand-back replaces. The hand-back goes on without.
fn kept<T>(kept: io::Result<Option<T>>) -> Option<T> {
    kept.unwrap_or_else(|error| {
        tracing::warn!(%error, "a hand-back cannot be undone: what it replaced could not be kept");
        None
    })
}

/// Takes a delivery back that was not committed: the workspace is untouched but for temporary files.
fn roll_back(workspace: &Workspace, (ledger, undo): (&Ledger, &Archive), journal: &Journal) -> io::Result<()> {
    Leftovers::remove(workspace, &journal.operations)?;
    shelf::discard(undo)?;
    Journal::remove(workspace)?;
    ledger.sweep(&*ledger.load()?)
}

/// What a start found of a delivery that another server had begun.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Recovered {
    /// The call whose hand-back was under way.
    pub call: Option<String>,
    /// Changes that had not been put into place and are held now.
    pub held: Vec<Held>,
    /// Changes whose content is gone with the folder in which it was staged: the host deleted that folder meanwhile.
    pub lost: Vec<Change>,
    /// Whether the hand-back was taken back as a whole, because it had not been committed.
    pub rolled_back: bool,
    /// Commits that were taken by a person's order of which the audit log may not know, whoever finished that.
    pub untold: Vec<Untold>,
}

/// Why a start could not finish what another server had begun.
#[derive(Debug, thiserror::Error)]
pub enum RecoverError {
    /// The workspace's turn did not come.
    #[error(transparent)]
    Turn(#[from] TurnError),
    /// The kernel refused something; the journal stays for the next attempt.
    #[error("failed to finish an interrupted hand-back in {}", workspace.display())]
    Kernel {
        /// The workspace.
        workspace: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
}

impl Workspace {
    /// Finishes what a server that was stopped in the middle of a hand-back left in the workspace: removes its temporary
    /// files, and holds what was not yet in place. Every hand-back does so first; a start should too, so that held
    /// changes are seen and no temporary file lies about until then.
    ///
    /// # Errors
    /// [`RecoverError`].
    pub fn recover(&self, patience: &Patience<'_>) -> Result<Recovered, RecoverError> {
        let _turn = self.turn(patience)?;
        let failed = |source| RecoverError::Kernel { workspace: self.root().to_owned(), source };
        let recovered = recover(self, &Uninterrupted).map_err(|error| match error {
            DeliveryError::Stopped(stopped) => failed(io::Error::other(stopped)),
            DeliveryError::Kernel(source) => failed(source),
        })?;
        Ok(Recovered { untold: git::untold(self).map_err(failed)?, ..recovered })
    }
}

/// Finishes what a stopped server began. The caller has the turn.
pub(super) fn recover(workspace: &Workspace, steps: &dyn Steps) -> Result<Recovered, DeliveryError> {
    Leftovers::sweep(workspace)?;
    git::recover(workspace)?;
    let Some(journal) = Journal::load(workspace)? else {
        return Ok(Recovered::default());
    };
    let folder = workspace.state().join("sessions").join(&journal.session);
    let (ledger, undo) = (Ledger::new(folder.clone()), Archive::new(folder.join(UNDO), RETENTION));
    let mut recovered = Recovered { call: Some(journal.origin.call.clone()), ..Recovered::default() };
    let same_folder = journal.root == workspace.inode();
    match journal.phase {
        Phase::Staging | Phase::Cleaning if same_folder => {
            recovered.rolled_back = journal.phase == Phase::Staging;
            roll_back(workspace, (&ledger, &undo), &journal)?;
        }
        Phase::Staging | Phase::Cleaning => Journal::put_aside(workspace)?,
        Phase::Committed => {
            if let Some(stack) = &journal.stack
                && ledger.load()?.generation < stack.generation
            {
                ledger.save(stack)?;
            }
            if !same_folder {
                Journal::put_aside(workspace)?;
                return Ok(recovered);
            }
            let mut ends = Vec::new();
            let stamp = journal.stamp;
            let shelf = kept(Shelf::reopen(undo.clone()));
            for (number, operation) in journal.operations.iter().enumerate() {
                let slot = Slot { shelf: shelf.as_ref(), number };
                let reached = operation.resume(workspace, &|_, entry| entry.changed >= stamp, slot)?;
                ends.push((reached, staged_content(workspace, operation)?));
            }
            let finished = finish((workspace, &ledger, shelf), &ledger.load()?, journal, ends, steps)?;
            (recovered.held, recovered.lost) = (finished.held, finished.lost);
        }
    }
    Ok(recovered)
}

/// Where the content of an operation is that was not carried out.
fn staged_content<'a>(workspace: &'a Workspace, operation: &Operation) -> io::Result<Option<Content<'a>>> {
    match operation.change.what {
        What::File { .. } => {}
        What::Folder { .. } | What::Link { .. } | What::Deleted | What::Special { .. } => {
            return Ok(Some(Content::None));
        }
    }
    let path = &operation.temporary;
    Ok(match beneath::find(workspace.fd(), path)? {
        Found::Entry(entry) if entry.inode == operation.staged => {
            Some(Content::Copy { root: workspace.fd(), path: path.clone() })
        }
        Found::Entry(_) | Found::Absent { .. } | Found::Blocked(_) => None,
    })
}
