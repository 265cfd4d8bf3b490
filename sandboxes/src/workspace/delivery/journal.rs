//! What a hand-back is doing, written down so that a server that was stopped in the middle loses nothing.
//!
//! The journal is written twice. First with every temporary name that will be used, so that leftovers are found without
//! walking the workspace; nothing is changed yet, and a stop here takes the whole hand-back back. Then, when everything
//! is staged and on the disk, as *committed*: from here on every change is either put into place or held.

use std::{fs, io, path::Path, sync::Arc};

use serde::{Deserialize, Serialize};

use super::operation::Operation;
use crate::workspace::{
    beneath::Time,
    changeset::is_temporary,
    held::{
        ledger::write_atomically,
        stack::{Origin, Stack},
    },
    workspace::Workspace,
};

const NAME: &str = "journal.json";

/// One that is being noted, before it has its name.
const NOTED: &str = "journal.json.noted";

/// Where one that cannot be read is put.
const ASIDE: &str = "journal.json.unreadable";

/// A hand-back under way.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Journal {
    /// The session's folder name.
    pub(super) session: String,
    /// The workspace folder's inode: another folder at the same path is not touched.
    pub(super) root: u64,
    pub(super) phase: Phase,
    /// The call's stamp.
    pub(super) stamp: Time,
    pub(super) origin: Origin,
    pub(super) operations: Vec<Operation>,
    /// What the session holds once this is committed, when that is something else than before.
    #[serde(with = "shared")]
    pub(super) stack: Option<Arc<Stack>>,
}

/// How far a hand-back is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Phase {
    /// Temporary files are being made.
    Staging,
    /// Everything is staged; renames are under way.
    Committed,
    /// What could not be renamed is held; only its temporary files are left.
    Cleaning,
}

impl Journal {
    /// The journal that a stopped server left behind. One that it had not finished to note is removed: nothing had begun.
    pub(super) fn load(workspace: &Workspace) -> io::Result<Option<Self>> {
        match fs::remove_file(workspace.state().join(NOTED)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        match fs::read(workspace.state().join(NAME)) {
            // Noted, and the power failed before it was on the disk: nothing was committed.
            Ok(text) if text.is_empty() => Ok(None),
            Ok(text) => match serde_json::from_slice(&text) {
                Ok(journal) => Ok(Some(journal)),
                // What is committed is on the disk before it counts; so this was only noted, and the power failed.
                Err(error) => {
                    let (from, to) = (workspace.state().join(NAME), workspace.state().join(ASIDE));
                    tracing::warn!(%error, moved_to = %to.display(), "a journal that cannot be read is put aside");
                    fs::rename(from, to)?;
                    Ok(None)
                }
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Writes the journal without waiting for the disk: enough for a server that is killed. When the power fails, the
    /// worst is a temporary file that nobody looks for.
    pub(super) fn note(&self, workspace: &Workspace) -> io::Result<()> {
        let text = serde_json::to_vec(self)?;
        fs::write(workspace.state().join(NOTED), text)?;
        fs::rename(workspace.state().join(NOTED), workspace.state().join(NAME))
    }

    /// Writes the journal, on the disk when this returns.
    pub(super) fn save(&self, workspace: &Workspace) -> io::Result<()> {
        write_atomically(workspace.state(), NAME, &serde_json::to_vec(self)?).map(drop)
    }

    /// Forgets it: everything that it says is done.
    pub(super) fn remove(workspace: &Workspace) -> io::Result<()> {
        match fs::remove_file(workspace.state().join(NAME)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            result => result,
        }
    }

    /// Puts it aside: it is about a folder that is not at the workspace's path any more.
    pub(super) fn put_aside(workspace: &Workspace) -> io::Result<()> {
        let state: &Path = workspace.state();
        fs::rename(state.join(NAME), state.join("journal.orphaned.json"))
    }
}

/// Temporary files that could not be removed since the host had moved their folder away. They are looked for again.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Leftovers {
    entries: Vec<Leftover>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Leftover {
    operation: Operation,
    tries: u32,
}

const LEFTOVERS: &str = "leftovers.json";

/// How often a leftover is looked for, at one look a hand-back. A folder that stays away that long was deleted.
const TRIES: u32 = 1000;

impl Leftovers {
    /// Removes what can be removed now.
    pub(super) fn sweep(workspace: &Workspace) -> io::Result<()> {
        Self::load(workspace)?.map_or(Ok(()), |leftovers| leftovers.retry(workspace))
    }

    /// Removes the temporary files of `operations`, and remembers those that cannot be reached.
    pub(super) fn remove(workspace: &Workspace, operations: &[Operation]) -> io::Result<()> {
        let unreachable = operations
            .iter()
            .filter(|operation| is_temporary(operation.temporary.name()) && operation.discard(workspace).is_err());
        let new: Vec<_> = unreachable.map(|operation| Leftover { operation: operation.clone(), tries: 0 }).collect();
        if new.is_empty() {
            return Ok(());
        }
        let mut leftovers = Self::load(workspace)?.unwrap_or_default();
        leftovers.entries.extend(new);
        leftovers.save(workspace)
    }

    fn load(workspace: &Workspace) -> io::Result<Option<Self>> {
        match fs::read(workspace.state().join(LEFTOVERS)) {
            Ok(text) => Ok(Some(serde_json::from_slice(&text)?)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn retry(mut self, workspace: &Workspace) -> io::Result<()> {
        self.entries.retain_mut(|leftover| {
            leftover.tries += 1;
            leftover.operation.discard(workspace).is_err() && leftover.tries < TRIES
        });
        self.save(workspace)
    }

    fn save(&self, workspace: &Workspace) -> io::Result<()> {
        if self.entries.is_empty() {
            return fs::remove_file(workspace.state().join(LEFTOVERS));
        }
        write_atomically(workspace.state(), LEFTOVERS, &serde_json::to_vec(self)?).map(drop)
    }
}

/// A stack behind a shared pointer, as the stack itself.
mod shared {
    use std::sync::Arc;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::Stack;

    pub(super) fn serialize<S: Serializer>(stack: &Option<Arc<Stack>>, serializer: S) -> Result<S::Ok, S::Error> {
        stack.as_deref().serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Arc<Stack>>, D::Error> {
        Ok(Option::<Stack>::deserialize(deserializer)?.map(Arc::new))
    }
}
