//! Hands a call's changes back to the workspace.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
};

use cofferdam_contract::HandBack;
use cofferdam_policy::{Mode, Permit, Protect, WriteScope};

use super::{
    authored::Authored,
    beneath,
    change::{Change, DropReason, Dropped, HandedBack, Held, Note, Reason, What},
    changeset::Changeset,
    delivery::{
        Delivered, Delivery, Steps, Uninterrupted,
        operation::{Expected, Operation},
        piece,
    },
    gate::{
        Decision,
        assessment::{Assessed, Assessment, Carrier},
        selection::Selection,
    },
    held::stack::{Bond, Content, HeldChange, Origin, Piece, Stack},
    kept::left,
    masking::{MaskError, Masks, OnTop},
    notice,
    session::{Session, SessionError},
    stamp::Stamp,
    tree_path::TreePath,
    version::{HostVersion, digest},
    workspace::Patience,
};

/// What the gate lets back into the workspace, as a permit says it.
#[derive(Debug, Clone, Copy)]
pub struct Admission<'a> {
    /// What the plan says may come back.
    pub allowed: &'a HandBack,
    /// Where the policy lets changes come back at all.
    pub write: &'a WriteScope,
    /// What is held for a person.
    pub protect: &'a Protect,
    /// How changes come back at all.
    pub mode: Mode,
}

impl<'a> Admission<'a> {
    /// That of a permit.
    pub(crate) fn of(permit: &'a Permit) -> Self {
        Self {
            allowed: &permit.plan().hand_back,
            write: permit.write(),
            protect: permit.protect(),
            mode: permit.mode(),
        }
    }
}

/// What is handed back, and on which terms.
#[derive(Debug, Clone, Copy)]
pub struct Order<'a> {
    /// What the call wrote.
    pub changeset: &'a Changeset,
    /// What of it may come back, and how.
    pub admission: Admission<'a>,
    /// What the call saw in place of files with credentials.
    pub masks: &'a Masks,
    /// What lay on top in its view: that, or what was held. A held change may have come or gone since.
    pub on_top: OnTop,
    /// When the call took its sandbox.
    pub stamp: &'a Stamp,
    /// What the workspace had at each path, for changes that are older than the stamp.
    pub seen: Option<&'a BTreeMap<TreePath, HostVersion>>,
    /// What of such changes is text that was masked for the call that made them.
    pub masked_then: Option<&'a BTreeMap<TreePath, Reason>>,
    /// The digests of the masks that the call saw which made such changes.
    pub masks_then: Option<&'a BTreeMap<TreePath, String>>,
    /// Where the changes come from. By its bond, paths that the plan names are one act.
    pub origin: &'a Origin,
}

impl Session {
    /// Hands a call's changes back: puts into the workspace what the plan allows, holds what a person must see.
    ///
    /// Hand-backs of one workspace follow one another, in all processes. The changeset can be handed back again with
    /// another `allowed` as long as its upper layer is there: what was left the first time can be brought back so.
    ///
    /// # Errors
    /// [`SessionError`]; the workspace is then unchanged, unless the kernel fails after the changes were committed, in
    /// which case the next hand-back or start finishes.
    pub fn hand_back(&self, order: &Order<'_>, patience: &Patience<'_>) -> Result<HandedBack, SessionError> {
        self.hand_back_in_steps(order, patience, &Uninterrupted)
    }

    pub(super) fn hand_back_in_steps(
        &self,
        order: &Order<'_>,
        patience: &Patience<'_>,
        steps: &dyn Steps,
    ) -> Result<HandedBack, SessionError> {
        let admission = order.admission;
        let selection = Selection::of(admission.allowed, order.origin.bond, admission.write)
            .map_err(|source| SessionError::Selection { source })?;
        let _turn = self.turn(patience)?;
        self.workspace().still_there()?;
        let failed = |source| self.kernel("compare the call's changes with the workspace", source);
        let stack = self.ledger().load().map_err(failed)?;
        let layers = stack.open(self.ledger().folder()).map_err(failed)?;
        let changed = order.changeset.changes.iter().map(|change| &change.path);
        let guard = self.workspace().naming().guard(self.workspace(), admission.protect, changed);
        let assessment = Assessment {
            workspace: self.workspace(),
            changeset: order.changeset,
            stack: &stack,
            selection: &selection,
            guard: &guard,
            mode: admission.mode,
            masks: order.masks,
            on_top: order.on_top,
            layers,
            stamp: order.stamp,
            seen: order.seen,
            masked_then: order.masked_then,
            listed_names: self.listed_names(order)?,
        };
        let assessed = unmoved(|| assessment.assess()).map_err(failed)?;
        let mut noticed = assessment.moves(&assessed);
        noticed.extend(assessment.twins(&assessed));
        drop(assessment);
        let bond = if selection.is_one_act() { Bond::OneAct } else { Bond::None };
        let origin = Origin { bond, ..order.origin.clone() };
        let sorted = self.sort((order, &origin), &stack, assessed).map_err(failed)?;
        let limit = order.changeset.bounds.bytes;
        if sorted.bytes > limit {
            return Err(SessionError::TooLarge { bytes: sorted.bytes, limit });
        }
        let authored = self.author(order, &sorted.operations);
        let delivery = Delivery {
            workspace: self.workspace(),
            ledger: self.ledger(),
            stack,
            operations: sorted.operations,
            pieces: sorted.pieces,
            removed: sorted.removed,
            origin,
            stamp: order.stamp,
            undo: self.undo_archive().clone(),
        };
        let delivered = self.deliver(delivery, steps)?;
        self.author_no_more(authored, &delivered.applied);
        let kept: Vec<&Change> = sorted.left.iter().filter(|change| left::is_worth_keeping(change)).collect();
        if order.seen.is_none() && !kept.is_empty() {
            let from = (self.workspace().as_ref(), order.changeset);
            // It is a convenience: the hand-back is done.
            if let Err(error) =
                left::keep(self.left_archive(), from, (order.stamp, order.origin), (&kept, &sorted.masked, order.masks))
            {
                noticed.push(Note::LeftIsGone { error: error.to_string() });
            }
        }
        Ok(report(order.changeset, delivered, sorted.held, sorted.left, noticed))
    }

    /// Remembers the files of listed names that a call makes, before they are there: their values are the agent's own. Gives
    /// which. Of a file that the host had before nothing is remembered, whatever it is now.
    fn author(&self, order: &Order<'_>, operations: &[(Operation, Content<'_>)]) -> Vec<TreePath> {
        // What a program writes may be what a person wrote elsewhere, as git and archives have it; what a call moves, too. What is
        // left are file tools that were given the text.
        let moves = order.changeset.changes.iter().any(|change| change.what == What::Deleted);
        if order.origin.bond != Bond::OneAct || moves {
            return Vec::new();
        }
        let secrets = order.masks.secrets();
        let listed = operations.iter().filter(|(operation, _)| {
            matches!(operation.change.what, What::File { .. })
                && secrets.candidate(operation.change.path.as_path()).is_some()
        });
        let mut listed = listed.peekable();
        if listed.peek().is_none() {
            return Vec::new();
        }
        let authored = Authored::load(self.workspace());
        let made = listed
            .filter(|(operation, _)| operation.expected == Expected::Absent || authored.has(&operation.change.path));
        let digests = made.map(|(operation, _)| {
            let path = operation.change.path.clone();
            Ok((path.clone(), digest(beneath::file(order.changeset.upper(), path.as_path())?)?))
        });
        let remembered = digests.collect::<io::Result<Vec<_>>>().and_then(|files| {
            let paths = files.iter().map(|(path, _): &(TreePath, String)| path.clone()).collect();
            authored.remember(self.workspace(), files).map(|()| paths)
        });
        remembered.unwrap_or_else(|error| {
            tracing::warn!(%error, "that an agent made a file is not remembered; its values are looked for");
            Vec::new()
        })
    }

    /// Forgets those that did not come.
    fn author_no_more(&self, mut authored: Vec<TreePath>, applied: &[Change]) {
        let came: BTreeSet<&TreePath> = applied.iter().map(|change| &change.path).collect();
        authored.retain(|path| !came.contains(path));
        if !authored.is_empty()
            && let Err(error) = Authored::load(self.workspace()).forget(self.workspace(), &authored)
        {
            tracing::warn!(%error, "that files of an agent did not come is not remembered");
        }
    }

    /// How many names of the workspace are on the list of files with credentials; not counted for a call that brings none.
    fn listed_names(&self, order: &Order<'_>) -> Result<usize, MaskError> {
        let secrets = order.masks.secrets();
        let is_listed = |change: &Change| match change.what {
            What::File { .. } => secrets.candidate(change.path.as_path()).is_some(),
            What::Folder { .. } | What::Link { .. } | What::Deleted | What::Special { .. } => false,
        };
        if !order.changeset.changes.iter().any(is_listed) {
            return Ok(0);
        }
        // In the workspace's turn: hand-backs at the same time are counted one after the other.
        Ok(self.workspace().look_for_secrets(secrets)?.listed)
    }

    /// Sorts the assessed changes by what is done with them.
    fn sort<'a>(
        &self,
        (order, origin): (&Order<'a>, &Origin),
        stack: &Stack,
        assessed: Vec<Assessed>,
    ) -> io::Result<Sorted<'a>> {
        let mut sorted = Sorted::default();
        for one in assessed {
            let change = one.change;
            let (content, size) = match change.what {
                What::File { size, .. } => {
                    (Content::Copy { root: order.changeset.upper(), path: change.path.clone() }, size)
                }
                What::Folder { .. } | What::Link { .. } | What::Deleted | What::Special { .. } => (Content::None, 0),
            };
            match one.decision {
                // Special files are among the changeset's dropped entries.
                Decision::Unchanged | Decision::Drop => {}
                Decision::Leave => {
                    sorted.masked.extend(one.masked.map(|masked| (change.path.clone(), masked)));
                    sorted.left.push(change);
                }
                Decision::Settled => settle(stack, &change, &mut sorted.removed),
                Decision::Hold(reason) => {
                    sorted.bytes = sorted.bytes.saturating_add(size);
                    sorted.held.push(Held { change: change.clone(), reason: reason.clone() });
                    let mut piece = piece(self.workspace(), change, reason, origin, content)?;
                    // What the host changed since the first of them is a conflict still, however often the agent went on.
                    let earlier = stack.held.get(&piece.held.change.path);
                    if let Some(earlier) = earlier {
                        (piece.held.host, piece.held.told) = (earlier.host.clone(), earlier.told.clone());
                    }
                    piece.held.mask = mask(order, &piece.held.change.path, earlier)?;
                    sorted.pieces.push(piece);
                }
                Decision::Apply => {
                    sorted.bytes = sorted.bytes.saturating_add(size);
                    let operation = match one.carrier {
                        Carrier::No => Operation::new(change, one.expected, &one.nearest)?,
                        Carrier::Made | Carrier::Seen => Operation::carrier(change, &one.nearest)?,
                    };
                    sorted.operations.push((operation, content));
                }
            }
        }
        Ok(sorted)
    }
}

/// The digest of what a call saw of a masked file, where that is known. One that saw an earlier change of its session in its place
/// began with what that began with.
fn mask(order: &Order<'_>, path: &TreePath, earlier: Option<&HeldChange>) -> io::Result<Option<String>> {
    let mask = match order.masks_then {
        Some(then) => then.get(path).cloned(),
        None => order.masks.digest_at(path)?,
    };
    Ok(match (order.on_top, earlier) {
        // Where it is another one by now it is not known which of them was seen.
        (OnTop::Held, Some(earlier)) => mask.filter(|mask| earlier.mask.as_ref() == Some(mask)),
        (OnTop::Held, None) | (OnTop::Masks, _) => mask,
    })
}

/// Changes by what is done with them.
#[derive(Default)]
struct Sorted<'a> {
    operations: Vec<(Operation, Content<'a>)>,
    pieces: Vec<Piece<'a>>,
    held: Vec<Held>,
    left: Vec<Change>,
    /// What of those that are left is masked text.
    masked: BTreeMap<TreePath, Reason>,
    removed: BTreeSet<TreePath>,
    /// Bytes to copy.
    bytes: u64,
}

/// Puts together what is told about a hand-back.
fn report(
    changeset: &Changeset,
    delivered: Delivered,
    held: Vec<Held>,
    left: Vec<Change>,
    noticed: Vec<Note>,
) -> HandedBack {
    let mut back = HandedBack { applied: delivered.applied, held, left, dropped: Vec::new(), notes: noticed };
    back.held.extend(delivered.held);
    back.held.sort_by(|one, other| one.change.path.cmp(&other.change.path));
    back.dropped = relevant_drops(changeset, &back);
    back.notes.extend(delivered.notes);
    let returned = back.applied.iter().chain(back.held.iter().map(|held| &held.change));
    let there = returned.filter(|change| change.what != What::Deleted);
    let noticed: Vec<Note> = there.flat_map(|change| notice::notes(&change.path)).collect();
    back.notes.extend(noticed);
    back
}

/// How often a comparison is begun anew when the host moves folders under it.
const ATTEMPTS: u32 = 20;

/// Does `work` until the host lets it finish.
fn unmoved<T>(work: impl Fn() -> io::Result<T>) -> io::Result<T> {
    for _ in 1..ATTEMPTS {
        match work() {
            Err(error) if beneath::is_moved(&error) => {}
            result => return result,
        }
    }
    work()
}

/// Takes back what is held at a change's path: the host has what the call wants.
fn settle(stack: &Stack, change: &Change, removed: &mut BTreeSet<TreePath>) {
    if stack.held.contains_key(&change.path) {
        removed.insert(change.path.clone());
    }
    if !matches!(change.what, What::Folder { .. }) {
        removed.extend(stack.below(&change.path).cloned());
    }
}

/// The dropped entries that are about something that came back or is held, and special files.
fn relevant_drops(changeset: &Changeset, back: &HandedBack) -> Vec<Dropped> {
    let returned: BTreeSet<&TreePath> = back
        .applied
        .iter()
        .chain(back.held.iter().map(|held| &held.change))
        .filter(|change| matches!(change.what, What::File { .. } | What::Folder { .. }))
        .map(|change| &change.path)
        .collect();
    changeset
        .dropped
        .iter()
        .filter(|dropped| match dropped.reason {
            DropReason::ModeBits { .. } | DropReason::Attributes { .. } => returned.contains(&dropped.path),
            DropReason::Special { .. } | DropReason::ForgedMark { .. } | DropReason::PathTooLong => true,
        })
        .cloned()
        .collect()
}
