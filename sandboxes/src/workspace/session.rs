//! A session: a workspace and a name, and the changes that are held in it.
//!
//! It lives in the state folder and outlives the process. Two clients with the same name share it.

use std::{
    collections::BTreeSet,
    fs::{self, DirBuilder},
    io,
    os::unix::fs::DirBuilderExt,
    sync::Arc,
};

use sha2::{Digest, Sha256};

use super::{
    change::Reason,
    delivery::{self, Delivery, DeliveryError, Steps, Uninterrupted},
    held::{
        diff::Difference,
        ledger::Ledger,
        stack::{Content, HeldChange, Layers, Piece, Since, Stack},
    },
    kept::{
        archive::{Archive, Retention},
        left::{self, LEFT},
        shelf::{RETENTION, UNDO},
    },
    masking::MaskError,
    tree_path::{TreePath, hexadecimal},
    workspace::{Patience, Turn, TurnError, Workspace, WorkspaceError},
};

/// The longest session name that is its own folder name, in bytes.
const MAX_PLAIN_NAME_BYTES: usize = 64;

/// The most that the files of a session's held changes may have, in bytes: 1 GiB. They lie in the state folder until a
/// person decides, and each call may add its whole disk limit. It is far more than a person reads, and holds one
/// installed `node_modules`.
const MAX_HELD_BYTES: u64 = 1 << 30;

/// The changes of one workspace that are held under one name.
#[derive(Debug)]
pub struct Session {
    workspace: Arc<Workspace>,
    name: String,
    ledger: Ledger,
    /// In bytes; [`MAX_HELD_BYTES`] but in tests.
    most_held: u64,
    undo: Archive,
    left: Archive,
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
    /// Too much would wait for a person.
    #[error(
        "session {session} would hold {bytes} bytes for a person, more than {limit}; nothing was handed back; look with \
         `cofferdam changes list`, and apply or discard what is there"
    )]
    TooMuchHeld {
        /// The session's name.
        session: String,
        /// What would be held, in bytes.
        bytes: u64,
        /// The bound, in bytes.
        limit: u64,
    },
    /// Which files hold credentials is not known.
    #[error(transparent)]
    Masks(#[from] MaskError),
    /// What is held is not what the person saw.
    #[error("what is held has changed: it was generation {seen}, and is generation {found} now")]
    Changed {
        /// The generation that the order is about.
        seen: u64,
        /// The generation that is there.
        found: u64,
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

impl Session {
    /// Opens a session. Nothing of the workspace is looked at; see [`Workspace::recover`] for what a start does first.
    ///
    /// # Errors
    /// [`SessionError::Kernel`] when its folder cannot be made.
    pub fn open(workspace: Arc<Workspace>, name: &str) -> Result<Self, SessionError> {
        let folder = workspace.state().join("sessions").join(folder_name(name));
        let undo = Archive::new(folder.join(UNDO), RETENTION);
        let left = Archive::new(folder.join(LEFT), left::RETENTION);
        let ledger = Ledger::new(folder);
        let session = Self { workspace, name: name.to_owned(), ledger, most_held: MAX_HELD_BYTES, undo, left };
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(session.ledger.folder())
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
        self.ledger.lock().map_err(|source| self.layers_error(source))
    }

    /// What is held, sorted by path, without what git keeps of the session's own commits.
    ///
    /// # Errors
    /// When the session's record cannot be read.
    pub fn held(&self) -> Result<Vec<HeldChange>, LayersError> {
        let stack = self.ledger.load().map_err(|source| self.layers_error(source))?;
        Ok(stack.held.values().filter(|held| held.reason != Reason::RepositoryState).cloned().collect())
    }

    /// What is held in a snapshot at `path` and below it, each beside what the workspace has there.
    ///
    /// # Errors
    /// When the workspace or the layer cannot be read.
    pub fn differences(&self, layers: &Layers, path: &TreePath) -> Result<Vec<Difference>, LayersError> {
        let compare = |held: &HeldChange| {
            let missing = || self.layers_error(io::Error::other("a held change has no layer"));
            let layer = layers.holding(&held.change.path).ok_or_else(missing)?;
            super::held::diff::of(held, self.workspace.fd(), layer).map_err(|source| self.layers_error(source))
        };
        layers.held().filter(|held| held.change.path.is_within(path)).map(compare).collect()
    }

    /// Whether the workspace changed at a held path since the change was held, and whether a person was told of it.
    ///
    /// # Errors
    /// When the workspace cannot be read.
    pub fn since(&self, held: &HeldChange) -> Result<Since, LayersError> {
        super::held::diff::since(held, self.workspace.fd()).map_err(|source| self.layers_error(source))
    }

    /// The other sessions of the workspace that hold something, by name, with the number of their changes. A session whose
    /// name is no plain folder name is called by its folder's (`~` and a digest).
    ///
    /// # Errors
    /// When a session's record cannot be read.
    pub fn others_that_hold(&self) -> Result<Vec<(String, usize)>, LayersError> {
        let read = |source| self.layers_error(source);
        let mut others = Vec::new();
        for item in fs::read_dir(self.workspace.state().join("sessions")).map_err(read)? {
            let folder = item.map_err(read)?.path();
            if folder == self.ledger.folder() || !folder.is_dir() {
                continue;
            }
            let stack = Ledger::new(folder.clone()).load().map_err(read)?;
            let count = stack.held.values().filter(|held| held.reason != Reason::RepositoryState).count();
            if count > 0 {
                others.push((folder.file_name().unwrap_or_default().to_string_lossy().into_owned(), count));
            }
        }
        others.sort();
        Ok(others)
    }

    pub(super) fn deliver(
        &self,
        delivery: Delivery<'_>,
        steps: &dyn Steps,
    ) -> Result<delivery::Delivered, SessionError> {
        if delivery.operations.is_empty() && delivery.pieces.is_empty() && delivery.removed.is_empty() {
            return Ok(delivery::Delivered::default());
        }
        self.is_within_bounds(&delivery.stack, &delivery.removed, &delivery.pieces)?;
        delivery.deliver(steps).map_err(|error| self.delivery_error("hand changes back", error))
    }

    /// Refuses when more would be held than a session may.
    pub(super) fn is_within_bounds(
        &self,
        stack: &Stack,
        removed: &BTreeSet<TreePath>,
        pieces: &[Piece<'_>],
    ) -> Result<(), SessionError> {
        let grows = pieces.iter().any(|piece| matches!(piece.content, Content::Copy { .. }));
        let bytes = if grows { stack.bytes_with(removed, pieces) } else { 0 };
        if bytes > self.most_held {
            return Err(SessionError::TooMuchHeld { session: self.name.clone(), bytes, limit: self.most_held });
        }
        Ok(())
    }

    /// Waits for the workspace's turn, and finishes what a stopped server left.
    pub(super) fn turn(&self, patience: &Patience<'_>) -> Result<Turn, SessionError> {
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

    pub(super) fn kernel(&self, doing: &'static str, source: io::Error) -> SessionError {
        SessionError::Kernel { doing, session: self.name.clone(), source }
    }

    fn layers_error(&self, source: io::Error) -> LayersError {
        LayersError { session: self.name.clone(), source }
    }

    /// Where what hand-backs replace is kept.
    pub(super) fn undo_archive(&self) -> &Archive {
        &self.undo
    }

    /// Where what runs left is kept.
    pub(super) fn left_archive(&self) -> &Archive {
        &self.left
    }

    /// The same with another retention of what hand-backs replaced.
    #[must_use]
    pub fn retaining(self, retention: Retention) -> Self {
        Self { undo: Archive::new(self.ledger.folder().join(UNDO), retention), ..self }
    }

    /// The same with another bound on what is held, in bytes.
    #[cfg(test)]
    pub(super) fn holding_at_most(self, most_held: u64) -> Self {
        Self { most_held, ..self }
    }

    pub(super) fn ledger(&self) -> &Ledger {
        &self.ledger
    }
}

/// A folder name for a session name: itself where it is plain, else its digest.
fn folder_name(name: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let is_plain =
        !name.is_empty() && name.len() <= MAX_PLAIN_NAME_BYTES && !name.starts_with('.') && name.bytes().all(plain);
    // A plain name holds no `~`, so the two kinds never meet.
    if is_plain { name.to_owned() } else { format!("~{}", hexadecimal(&Sha256::digest(name)[..16])) }
}
