//! A session: a workspace and a name, and the changes that are held in it.
//!
//! It lives in the state folder and outlives the process. Two clients with the same name share one draft.

use std::{
    collections::BTreeSet,
    fs::DirBuilder,
    io,
    os::{fd::AsFd, unix::fs::DirBuilderExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use cofferdam_contract::HandBack;
use cofferdam_policy::Protect;
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::{
    assessment::Assessment,
    beneath::{self, Found},
    change::{Change, DropReason, HandedBack, Held, Note, Reason, What},
    changeset::Changeset,
    delivery::{self, Delivery, DeliveryError, Steps, Uninterrupted, piece},
    gate::Decision,
    notice,
    operation::{Expected, Identity, Operation},
    selection::Selection,
    stack::{Content, HeldChange, Layers, Origin, Stack},
    stamp::Stamp,
    tree_path::{TreePath, hexadecimal},
    version::HostVersion,
    workspace::{Patience, Turn, TurnError, Workspace, WorkspaceError},
};

/// The longest session name that is its own folder name, in bytes.
const MAX_PLAIN_NAME_BYTES: usize = 64;

/// The changes of one workspace that are held under one name.
#[derive(Debug)]
pub struct Session {
    workspace: Arc<Workspace>,
    name: String,
    folder: PathBuf,
}

/// Why the session could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// The workspace's turn did not come.
    #[error(transparent)]
    Turn(#[from] TurnError),
    /// The workspace is not the folder that was opened.
    #[error(transparent)]
    Workspace(#[from] WorkspaceError),
    /// A glob of the plan's hand-back is not one.
    #[error("the paths to keep are not valid")]
    Selection {
        /// What is wrong.
        source: globset::Error,
    },
    /// The changes to copy are too large.
    #[error("the changes to hand back hold {bytes} bytes, more than the {limit} that one call may write")]
    TooLarge {
        /// Their size, in bytes.
        bytes: u64,
        /// The bound, in bytes.
        limit: u64,
    },
    /// The kernel refused something that concerns the whole.
    #[error("failed to {doing} in session {session}")]
    Kernel {
        /// What was being done.
        doing: &'static str,
        /// The session's name.
        session: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// A test stopped it.
    #[error(transparent)]
    Stopped(#[from] delivery::Stopped),
}

/// What a session holds cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("failed to read the changes that are held in session {session}")]
pub struct LayersError {
    /// The session's name.
    session: String,
    /// What the kernel said.
    source: io::Error,
}

/// What became of held changes that a person wanted in the workspace.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Released {
    /// In the workspace now.
    pub applied: Vec<Change>,
    /// Still held. [`Reason::Conflict`] means that the workspace changed since the change was held, or since a person was
    /// last told so; the next attempt applies it if it does not change again.
    pub held: Vec<Held>,
    /// Worth knowing.
    pub notes: Vec<Note>,
}

impl Session {
    /// Opens a session. Nothing of the workspace is looked at; see [`Workspace::recover`] for what a start does first.
    ///
    /// # Errors
    /// [`SessionError::Kernel`] when its folder cannot be made.
    pub fn open(workspace: Arc<Workspace>, name: &str) -> Result<Self, SessionError> {
        let folder = workspace.state().join("sessions").join(folder_name(name));
        let session = Self { workspace, name: name.to_owned(), folder };
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&session.folder)
            .map_err(|source| session.kernel("make the session's folder", source))?;
        Ok(session)
    }

    /// The session's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The workspace.
    #[must_use]
    pub fn workspace(&self) -> &Arc<Workspace> {
        &self.workspace
    }

    /// Takes a snapshot of the held layers. While it exists, they stay.
    ///
    /// # Errors
    /// When the session's record cannot be read.
    pub fn layers(&self) -> Result<Layers, LayersError> {
        Stack::lock(&self.folder).map_err(|source| self.layers_error(source))
    }

    /// What is held, sorted by path.
    ///
    /// # Errors
    /// When the session's record cannot be read.
    pub fn held(&self) -> Result<Vec<HeldChange>, LayersError> {
        let stack = Stack::load(&self.folder).map_err(|source| self.layers_error(source))?;
        Ok(stack.held.into_values().collect())
    }

    /// Hands a call's changes back: puts into the workspace what the plan allows, holds what a person must see.
    ///
    /// Hand-backs of one workspace follow one another, in all processes. The changeset can be handed back again with
    /// another `allowed` as long as its upper layer is there: what was left the first time can be brought back so.
    ///
    /// # Errors
    /// [`SessionError`]; the workspace is then unchanged, unless the kernel fails after the changes were committed, in
    /// which case the next hand-back or start finishes.
    pub fn hand_back(
        &self,
        changeset: &Changeset,
        allowed: &HandBack,
        protect: &Protect,
        stamp: &Stamp,
        origin: &Origin,
        patience: &Patience<'_>,
    ) -> Result<HandedBack, SessionError> {
        let order = Order { changeset, allowed, protect, stamp, origin };
        self.hand_back_in_steps(&order, patience, &Uninterrupted)
    }

    pub(super) fn hand_back_in_steps(
        &self,
        order: &Order<'_>,
        patience: &Patience<'_>,
        steps: &dyn Steps,
    ) -> Result<HandedBack, SessionError> {
        let selection = Selection::of(order.allowed).map_err(|source| SessionError::Selection { source })?;
        let _turn = self.turn(patience)?;
        self.workspace.still_there()?;
        let failed = |source| self.kernel("compare the call's changes with the workspace", source);
        let stack = Stack::load(&self.folder).map_err(failed)?;
        let layer = stack.folder(&self.folder).map_err(failed)?;
        let assessment = Assessment {
            workspace: &self.workspace,
            changeset: order.changeset,
            stack: &stack,
            layer,
            selection: &selection,
            protect: order.protect,
            stamp: order.stamp,
        };
        let assessed = assessment.assess().map_err(failed)?;
        let mut back = HandedBack { notes: assessment.moves(&assessed), ..HandedBack::default() };
        drop(assessment);
        let (mut operations, mut pieces, mut removed) = (Vec::new(), Vec::new(), BTreeSet::new());
        let mut bytes = 0_u64;
        for one in assessed {
            let change = one.change;
            let content = match change.what {
                What::File { size, .. } => {
                    if matches!(one.decision, Decision::Apply | Decision::Hold(_)) {
                        bytes = bytes.saturating_add(size);
                    }
                    Content::Copy { root: order.changeset.upper(), path: change.path.clone() }
                }
                What::Folder { .. } | What::Link { .. } | What::Deleted | What::Special { .. } => Content::None,
            };
            match one.decision {
                // Special files are among the changeset's dropped entries.
                Decision::Unchanged | Decision::Drop => {}
                Decision::Leave => back.left.push(change),
                Decision::Settled => settle(&stack, &change, &mut removed),
                Decision::Hold(reason) => {
                    back.held.push(Held { change: change.clone(), reason: reason.clone() });
                    pieces.push(piece(&self.workspace, change, reason, order.origin, content).map_err(failed)?);
                }
                Decision::Apply => {
                    let operation = Operation::new(change, one.expected, &one.nearest).map_err(failed)?;
                    operations.push((operation, content));
                }
            }
        }
        let limit = order.changeset.bounds.bytes;
        if bytes > limit {
            return Err(SessionError::TooLarge { bytes, limit });
        }
        let delivered = self.deliver(
            Delivery {
                workspace: &self.workspace,
                session: &self.folder,
                stack,
                operations,
                pieces,
                removed,
                origin: order.origin.clone(),
                stamp: order.stamp,
            },
            steps,
        )?;
        back.applied = delivered.applied;
        back.held.extend(delivered.held);
        back.held.sort_by(|one, other| one.change.path.cmp(&other.change.path));
        back.notes.extend(delivered.notes);
        back.dropped = relevant_drops(order.changeset, &back);
        let returned = back.applied.iter().chain(back.held.iter().map(|held| &held.change));
        let noticed: Vec<Note> = returned
            .filter(|change| change.what != What::Deleted)
            .flat_map(|change| notice::notes(&change.path))
            .collect();
        back.notes.extend(noticed);
        Ok(back)
    }

    /// Puts held changes into the workspace because a person ordered it: those at `paths` and below them. Protection does
    /// not matter then; a workspace that changed since does.
    ///
    /// # Errors
    /// [`SessionError`].
    pub fn apply(&self, paths: &[TreePath], patience: &Patience<'_>) -> Result<Released, SessionError> {
        self.apply_in_steps(paths, patience, &Uninterrupted)
    }

    pub(super) fn apply_in_steps(
        &self,
        paths: &[TreePath],
        patience: &Patience<'_>,
        steps: &dyn Steps,
    ) -> Result<Released, SessionError> {
        let _turn = self.turn(patience)?;
        self.workspace.still_there()?;
        let failed = |source| self.kernel("compare what is held with the workspace", source);
        let stamp = Stamp::take(&self.workspace).map_err(failed)?;
        let stack = Stack::load(&self.folder).map_err(failed)?;
        let layer = stack.folder(&self.folder).map_err(failed)?;
        let mut selected: BTreeSet<&TreePath> = BTreeSet::new();
        for path in stack.held.keys().filter(|held| paths.iter().any(|path| held.is_within(path))) {
            selected.insert(path);
            // What is below a held folder cannot be without it.
            selected.extend(stack.held.keys().filter(|held| path.is_within(held)));
        }
        let mut released = Released::default();
        let (mut operations, mut pieces) = (Vec::new(), Vec::new());
        let mut origin = Origin { call: "apply".to_owned(), at_ms: 0 };
        let mut fresh: Option<TreePath> = None;
        for path in selected {
            let held = &stack.held[path];
            origin = held.origin.clone();
            let content = match (&held.change.what, &layer) {
                (What::File { .. }, Some(layer)) => Content::Copy { root: layer.as_fd(), path: path.clone() },
                _ => Content::None,
            };
            let below_fresh = fresh.as_ref().is_some_and(|folder| path != folder && path.is_within(folder));
            let place = match self.place_for(held, below_fresh.then_some(&fresh).and_then(Option::as_ref)) {
                Ok(place) => place,
                Err(PlaceError::Refused(reason)) => {
                    released.held.push(Held { change: held.change.clone(), reason: reason.clone() });
                    if reason == Reason::Conflict {
                        // Told now: the next order is about what is there now.
                        pieces.push(piece(&self.workspace, held.change.clone(), held.reason.clone(), &held.origin, Content::None).map_err(failed)?);
                    }
                    continue;
                }
                Err(PlaceError::Kernel(source)) => return Err(failed(source)),
            };
            let (expected, nearest) = place;
            if matches!(held.change.what, What::Folder { .. })
                && matches!(expected, Expected::Entry(there) if !there.is_folder())
            {
                fresh = Some(path.clone());
            }
            operations.push((Operation::new(held.change.clone(), expected, &nearest).map_err(failed)?, content));
        }
        let delivered = self.deliver(
            Delivery {
                workspace: &self.workspace,
                session: &self.folder,
                stack: stack.clone(),
                operations,
                pieces,
                removed: BTreeSet::new(),
                origin,
                stamp: &stamp,
            },
            steps,
        )?;
        released.applied = delivered.applied;
        released.held.extend(delivered.held);
        released.notes = delivered.notes;
        Ok(released)
    }

    /// Forgets held changes: those at `paths` and below them. Gives what was forgotten.
    ///
    /// # Errors
    /// [`SessionError`].
    pub fn discard(&self, paths: &[TreePath], patience: &Patience<'_>) -> Result<Vec<Change>, SessionError> {
        let _turn = self.turn(patience)?;
        let failed = |source| self.kernel("discard held changes", source);
        let stack = Stack::load(&self.folder).map_err(failed)?;
        let selected: Vec<Change> = stack
            .held
            .values()
            .filter(|held| paths.iter().any(|path| held.change.path.is_within(path)))
            .map(|held| held.change.clone())
            .collect();
        if selected.is_empty() {
            return Ok(selected);
        }
        let removed = selected.iter().map(|change| change.path.clone()).collect();
        let next = stack.next(&self.folder, self.workspace.fd(), &removed, &[]).map_err(failed)?;
        next.save(&self.folder).map_err(failed)?;
        next.sweep(&self.folder).map_err(failed)?;
        Ok(selected)
    }

    /// Shows a held change, and those below it, beside what the workspace has there: for a person to read, with control
    /// characters made visible.
    ///
    /// # Errors
    /// When the workspace or the layer cannot be read.
    pub fn diff(&self, path: &TreePath) -> Result<String, LayersError> {
        let layers = self.layers()?;
        let mut text = String::new();
        for held in self.held()?.iter().filter(|held| held.change.path.is_within(path)) {
            // Nothing is held without a layer.
            let Some(layer) = layers.folders().next() else { continue };
            text += &super::diff::of(held, self.workspace.fd(), layer).map_err(|source| self.layers_error(source))?;
        }
        Ok(text)
    }

    /// What must be in the workspace for a held change to be applied, and where it is staged.
    fn place_for(&self, held: &HeldChange, fresh: Option<&TreePath>) -> Result<(Expected, TreePath), PlaceError> {
        let change = &held.change;
        if let Some(fresh) = fresh {
            return Ok((Expected::Absent, fresh.parent().unwrap_or_else(TreePath::root)));
        }
        let found = beneath::find(self.workspace.fd(), &change.path)?;
        // Looked at after the file: a change in between is seen as a change.
        if HostVersion::of(self.workspace.fd(), &change.path, &change.what)? != held.host {
            return Err(PlaceError::Refused(Reason::Conflict));
        }
        match found {
            Found::Entry(entry) if entry.device != self.workspace.device() => {
                Err(PlaceError::Refused(Reason::OtherMount))
            }
            Found::Entry(entry) => {
                let nearest = change.path.parent().unwrap_or_else(TreePath::root);
                Ok((Expected::Entry(Identity::of(&entry)), nearest))
            }
            Found::Absent { folder, .. } => Ok((Expected::Absent, folder)),
            Found::Blocked(blocked) => Err(PlaceError::Refused(match blocked {
                beneath::Blocked::Link => Reason::ThroughLink,
                beneath::Blocked::NotFolder => Reason::NotInFolder,
                beneath::Blocked::Mount => Reason::OtherMount,
                beneath::Blocked::Permission => Reason::NotPermitted,
            })),
        }
    }

    fn deliver(&self, delivery: Delivery<'_>, steps: &dyn Steps) -> Result<delivery::Delivered, SessionError> {
        if delivery.operations.is_empty() && delivery.pieces.is_empty() && delivery.removed.is_empty() {
            return Ok(delivery::Delivered::default());
        }
        delivery.deliver(steps).map_err(|error| self.delivery_error("hand changes back", error))
    }

    /// Waits for the workspace's turn, and finishes what a stopped server left.
    fn turn(&self, patience: &Patience<'_>) -> Result<Turn, SessionError> {
        let turn = self.workspace.turn(patience)?;
        delivery::recover(&self.workspace, &Uninterrupted)
            .map_err(|error| self.delivery_error("finish an interrupted hand-back", error))?;
        Ok(turn)
    }

    fn delivery_error(&self, doing: &'static str, error: DeliveryError) -> SessionError {
        match error {
            DeliveryError::Stopped(stopped) => stopped.into(),
            DeliveryError::Kernel(source) => self.kernel(doing, source),
        }
    }

    fn kernel(&self, doing: &'static str, source: io::Error) -> SessionError {
        SessionError::Kernel { doing, session: self.name.clone(), source }
    }

    fn layers_error(&self, source: io::Error) -> LayersError {
        LayersError { session: self.name.clone(), source }
    }

    #[cfg(test)]
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }
}

/// What is handed back, and under what rules.
#[derive(Debug, Clone, Copy)]
pub(super) struct Order<'a> {
    pub(super) changeset: &'a Changeset,
    pub(super) allowed: &'a HandBack,
    pub(super) protect: &'a Protect,
    pub(super) stamp: &'a Stamp,
    pub(super) origin: &'a Origin,
}

/// Why a held change has no place in the workspace.
enum PlaceError {
    Refused(Reason),
    Kernel(io::Error),
}

impl From<io::Error> for PlaceError {
    fn from(error: io::Error) -> Self {
        Self::Kernel(error)
    }
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
fn relevant_drops(changeset: &Changeset, back: &HandedBack) -> Vec<super::change::Dropped> {
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

/// A folder name for a session name: itself where it is plain, else its digest.
fn folder_name(name: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let is_plain = !name.is_empty()
        && name.len() <= MAX_PLAIN_NAME_BYTES
        && !name.starts_with('.')
        && name.bytes().all(plain);
    // A plain name holds no `~`, so the two kinds never meet.
    if is_plain { name.to_owned() } else { format!("~{}", hexadecimal(&Sha256::digest(name)[..16])) }
}
