//! A session: a workspace and a name, and the changes that are held in it.
//!
//! It lives in the state folder and outlives the process. Two clients with the same name share one draft.

use std::{fs::DirBuilder, io, os::unix::fs::DirBuilderExt, sync::Arc};

use sha2::{Digest, Sha256};

use super::{
    delivery::{self, Delivery, DeliveryError, Steps, Uninterrupted},
    ledger::Ledger,
    stack::{HeldChange, Layers},
    tree_path::{TreePath, hexadecimal},
    workspace::{Patience, Turn, TurnError, Workspace, WorkspaceError},
};

/// The longest session name that is its own folder name, in bytes.
const MAX_PLAIN_NAME_BYTES: usize = 64;

/// The changes of one workspace that are held under one name.
#[derive(Debug)]
pub struct Session {
    workspace: Arc<Workspace>,
    name: String,
    ledger: Ledger,
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

impl Session {
    /// Opens a session. Nothing of the workspace is looked at; see [`Workspace::recover`] for what a start does first.
    ///
    /// # Errors
    /// [`SessionError::Kernel`] when its folder cannot be made.
    pub fn open(workspace: Arc<Workspace>, name: &str) -> Result<Self, SessionError> {
        let folder = workspace.state().join("sessions").join(folder_name(name));
        let session = Self { workspace, name: name.to_owned(), ledger: Ledger::new(folder) };
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

    /// What is held, sorted by path.
    ///
    /// # Errors
    /// When the session's record cannot be read.
    pub fn held(&self) -> Result<Vec<HeldChange>, LayersError> {
        let stack = self.ledger.load().map_err(|source| self.layers_error(source))?;
        Ok(stack.held.values().cloned().collect())
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
            // Released or discarded since the snapshot was taken.
            let Some(layer) = layers.holding(&held.change.path) else { continue };
            text += &super::diff::of(held, self.workspace.fd(), layer).map_err(|source| self.layers_error(source))?;
        }
        Ok(text)
    }

    pub(super) fn deliver(
        &self,
        delivery: Delivery<'_>,
        steps: &dyn Steps,
    ) -> Result<delivery::Delivered, SessionError> {
        if delivery.operations.is_empty() && delivery.pieces.is_empty() && delivery.removed.is_empty() {
            return Ok(delivery::Delivered::default());
        }
        delivery.deliver(steps).map_err(|error| self.delivery_error("hand changes back", error))
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
