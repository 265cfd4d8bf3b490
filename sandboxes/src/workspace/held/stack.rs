//! The held changes of a session, and the immutable layers that overlayfs shows of them between the workspace and a
//! call's own upper layer.
//!
//! A layer that is mounted must not change (overlayfs then shows a mixture), so every change of what is held makes a
//! new layer under a new generation. It holds what is new, merged with the layers on top that are not larger: so each
//! layer is larger than the one above it, there are at most as many as the number of held changes has binary digits
//! (overlayfs takes a bounded number), and a held change is moved to another layer that often at most. Files are hard
//! links to those of the layer before, so merging costs names, not bytes.
//!
//! A new layer over others shows the same as one layer of everything would. Where it cannot, since something that is held
//! goes, or a folder comes where something else was held, the layers that know of it are merged into the new one.
//! `stack.json` names the layers and says why each change is held ([`super::ledger`]).

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};

use super::layer::{self, Bytes, Ground};
use crate::workspace::{
    beneath::{self, Found, Kind},
    change::{Change, Reason, What},
    git::History,
    tree_path::{TreePath, hexadecimal},
    version::HostVersion,
};

/// A change that waits for a person, with what is needed to judge it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldChange {
    /// The change.
    #[serde(flatten)]
    pub change: Change,
    /// Why it waits.
    pub reason: Reason,
    /// Where it comes from.
    pub origin: Origin,
    /// What the workspace had there when it was held.
    pub host: HostVersion,
    /// What it had there instead when a person was last told so. It stays a conflict until it is applied, discarded, or
    /// the workspace has again what it had; only the next order knows that the person knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub told: Option<HostVersion>,
    /// SHA-256, in hexadecimal, of what was seen of the file there when the change was made, if it holds credentials and is masked;
    /// `None` where that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mask: Option<String>,
}

/// What the workspace has at a held path, beside what it had when the change was held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Since {
    /// The same.
    Same,
    /// Something else. An order to apply the change only says so.
    Changed,
    /// Something else, which a person was told of by an order. The next one applies the change.
    Told,
}

impl HeldChange {
    /// Judges what the workspace has there now.
    pub(super) fn since(&self, now: &HostVersion) -> Since {
        if *now == self.host {
            Since::Same
        } else if self.told.as_ref() == Some(now) {
            Since::Told
        } else {
            Since::Changed
        }
    }
}

/// Where a held change comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The call's identifier.
    pub call: String,
    /// When it was handed back, in milliseconds since 1970.
    pub at_ms: u64,
    /// Whether a person can decide about each of its changes alone.
    #[serde(default)]
    pub bond: Bond,
}

/// How the changes of one call belong together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Bond {
    /// Each stands alone.
    #[default]
    None,
    /// They are one act: half of a move would lose a file.
    OneAct,
}

impl Origin {
    /// A call that is handed back now.
    pub(crate) fn of_call(call: &str) -> Self {
        Self { call: call.to_owned(), at_ms: now_ms(), bond: Bond::None }
    }

    /// A person's order of this `kind`, now, under a name of its own.
    pub(in crate::workspace) fn order(kind: &str) -> io::Result<Self> {
        let mut random = [0; 4];
        getrandom::fill(&mut random).map_err(|error| io::Error::other(error.to_string()))?;
        Ok(Self::of_call(&format!("{kind}-{}", hexadecimal(&random))))
    }
}

/// Milliseconds since 1970.
fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    now.as_millis().try_into().unwrap_or(u64::MAX)
}

/// What is held, and in which layers it lies.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::workspace) struct Stack {
    pub(in crate::workspace) generation: u64,
    /// Top first.
    layers: Vec<Record>,
    #[serde(with = "as_list")]
    pub(in crate::workspace) held: BTreeMap<TreePath, HeldChange>,
    /// The commits that the session has of its own. What git keeps of them is among `held`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::workspace) history: Option<History>,
}

/// What is known of a layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Record {
    /// Its folder's name.
    name: String,
    /// The changes in it, those that a layer above it hides too.
    paths: BTreeSet<TreePath>,
}

/// Where a held change's content comes from when a layer is built.
#[derive(Debug, Clone)]
pub(in crate::workspace) enum Content<'a> {
    /// Copied from a file that may change or go.
    Copy { root: BorrowedFd<'a>, path: TreePath },
    /// That of a file with credentials of the workspace, of this SHA-256. It goes to a place in the workspace, and never into a
    /// layer.
    Secret { path: TreePath, digest: String },
    /// What a file with credentials of the workspace holds, with lines of the session. It, too, never goes into a layer.
    Draft { root: BorrowedFd<'a>, path: TreePath },
    /// It needs none, as a deletion does, or is held already.
    None,
}

/// A change to be held.
#[derive(Debug, Clone)]
pub(in crate::workspace) struct Piece<'a> {
    pub(in crate::workspace) held: HeldChange,
    pub(in crate::workspace) content: Content<'a>,
}

/// A session's held layers, opened. As a snapshot that [`Session::layers`](crate::workspace::Session::layers) takes, they stay while
/// it exists.
#[derive(Debug)]
pub struct Layers {
    stack: Arc<Stack>,
    /// Top first, as in the stack.
    layers: Vec<Layer>,
}

/// One layer.
#[derive(Debug)]
struct Layer {
    path: PathBuf,
    folder: OwnedFd,
}

impl Layers {
    /// Counts the changes of what is held. Two snapshots with the same generation show the same.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.stack.generation
    }

    /// What is held, sorted by path, without what git keeps of the session's own commits.
    pub fn held(&self) -> impl Iterator<Item = &HeldChange> {
        self.stack.held.values().filter(|held| held.reason != Reason::RepositoryState)
    }

    /// The commits that the session has of its own.
    pub(in crate::workspace) fn history(&self) -> Option<&History> {
        self.stack.history()
    }

    /// The layers' folders, top first, as paths.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.layers.iter().map(|layer| layer.path.as_path())
    }

    /// The layers' folders, top first, opened.
    pub fn folders(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.layers.iter().map(|layer| layer.folder.as_fd())
    }

    /// The permission bits of the folder that the layers show at `path`.
    pub(super) fn folder_mode(&self, path: &TreePath) -> io::Result<u32> {
        for layer in self.folders() {
            match beneath::find(layer, path)? {
                Found::Entry(entry) if entry.kind == Kind::Folder => return Ok(entry.permissions()),
                Found::Entry(_) | Found::Absent { .. } | Found::Blocked(_) => {}
            }
        }
        Ok(0o755)
    }

    /// The layer that shows what is held at `path`; `None` when nothing is.
    pub(in crate::workspace) fn holding(&self, path: &TreePath) -> Option<BorrowedFd<'_>> {
        let number = self.stack.layer_of(path).filter(|_| self.stack.held.contains_key(path))?;
        self.layers.get(number).map(|layer| layer.folder.as_fd())
    }
}

impl Stack {
    /// Opens the layers of the session in `folder`.
    pub(in crate::workspace) fn open(self: &Arc<Self>, folder: &Path) -> io::Result<Layers> {
        let open = |record: &Record| {
            let path = folder.join("layers").join(&record.name);
            Ok(Layer { folder: layer::open(&path)?, path })
        };
        let layers = self.layers.iter().map(open).collect::<io::Result<_>>()?;
        Ok(Layers { stack: Arc::clone(self), layers })
    }

    /// The names of the layers' folders.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.layers.iter().map(|record| record.name.as_str())
    }

    /// The number of the topmost layer that has something at `path`.
    fn layer_of(&self, path: &TreePath) -> Option<usize> {
        self.layers.iter().position(|record| record.paths.contains(path))
    }

    /// Whether a change at `path` builds on something that is held.
    pub(in crate::workspace) fn is_related(&self, path: &TreePath, what: &What) -> bool {
        if self.held.contains_key(path) || path.folders_above().any(|above| self.stands_on(&above)) {
            return true;
        }
        match what {
            // A folder adds to what is held below it.
            What::Folder { .. } => false,
            What::File { .. } | What::Link { .. } | What::Deleted | What::Special { .. } => self.holds_below(path),
        }
    }

    /// Whether what is below `folder` depends on a held change of it: it is not there yet, or not a folder yet. What a person was
    /// told of may be gone again, so only what was there all the time is taken for there.
    fn stands_on(&self, folder: &TreePath) -> bool {
        let is_folder = |host: &HostVersion| match host {
            HostVersion::Folder { .. } => true,
            HostVersion::Absent
            | HostVersion::File { .. }
            | HostVersion::Tree { .. }
            | HostVersion::Link { .. }
            | HostVersion::Fifo { .. }
            | HostVersion::Unknown => false,
        };
        self.held.get(folder).is_some_and(|held| !is_folder(&held.host) || !held.told.iter().all(is_folder))
    }

    /// Whether anything below `path` is held.
    pub(in crate::workspace) fn holds_below(&self, path: &TreePath) -> bool {
        self.below(path).next().is_some()
    }

    /// The paths held below `path`.
    pub(in crate::workspace) fn below<'a>(&'a self, path: &'a TreePath) -> impl Iterator<Item = &'a TreePath> {
        below(&self.held, path)
    }

    /// The bytes in files that are held once `removed` goes and `added` comes. What a newer change hides in a layer below
    /// it is not counted; it goes when the layers are merged.
    pub(in crate::workspace) fn bytes_with(&self, removed: &BTreeSet<TreePath>, added: &[Piece<'_>]) -> u64 {
        let size = |held: &HeldChange| match held.change.what {
            What::File { size, .. } => size,
            What::Folder { .. } | What::Link { .. } | What::Deleted | What::Special { .. } => 0,
        };
        self.revised(removed, added).held.values().map(size).fold(0, u64::saturating_add)
    }

    /// Builds the next generation in the session's `folder`: `removed` goes, `added` comes, in that order. Its layers are
    /// on the disk when it returns; it counts when it is saved.
    pub(in crate::workspace) fn next(
        self: &Arc<Self>,
        folder: &Path,
        ground: Ground<'_>,
        removed: &BTreeSet<TreePath>,
        added: &[Piece<'_>],
    ) -> io::Result<Self> {
        let Revised { held, disturbed } = self.revised(removed, added);
        let generation = self.generation + 1;
        let fresh: BTreeMap<&TreePath, &Content<'_>> =
            added.iter().map(|piece| (&piece.held.change.path, &piece.content)).collect();
        let fresh_count = fresh.keys().filter(|path| held.contains_key(**path)).count();
        let merged = self.merged(&disturbed, fresh_count);
        let layers = self.open(folder)?;
        let mut entries = BTreeMap::new();
        let moved = self.layers[..merged].iter().flat_map(|record| &record.paths);
        for path in moved.chain(fresh.keys().copied()).filter(|path| held.contains_key(path)) {
            let bytes = match (fresh.get(path), layers.holding(path)) {
                (Some(Content::Copy { root, path }), _) => Bytes::Copy { root: *root, path: path.clone() },
                (Some(Content::Secret { .. } | Content::Draft { .. } | Content::None) | None, Some(layer)) => {
                    Bytes::Share { layer }
                }
                (Some(Content::Secret { .. } | Content::Draft { .. } | Content::None) | None, None) => Bytes::None,
            };
            entries.insert(path, bytes);
        }
        let mut records = self.layers[merged..].to_vec();
        if !entries.is_empty() {
            let mut random = [0; 4];
            getrandom::fill(&mut random).map_err(|error| io::Error::other(error.to_string()))?;
            let name = format!("{generation}-{}", hexadecimal(&random));
            let whats = held.iter().map(|(path, held)| (path, &held.change.what)).collect();
            layer::build(&folder.join("layers"), &name, ground, &whats, &entries)?;
            records.insert(0, Record { name, paths: entries.into_keys().cloned().collect() });
        }
        Ok(Self { generation, layers: records, held, history: self.history.clone() })
    }

    /// What is held when `removed` goes and `added` comes.
    fn revised(&self, removed: &BTreeSet<TreePath>, added: &[Piece<'_>]) -> Revised {
        let is_folder = |held: &HeldChange| matches!(held.change.what, What::Folder { .. });
        let mut held = self.held.clone();
        let mut disturbed: BTreeSet<TreePath> =
            removed.iter().filter(|path| held.remove(path).is_some()).cloned().collect();
        for piece in added {
            let mut piece = piece.held.clone();
            // Its owner is the server, who must be able to read it again.
            match &mut piece.change.what {
                What::File { mode, .. } => *mode |= 0o400,
                What::Folder { mode, .. } => *mode |= 0o700,
                What::Link { .. } | What::Deleted | What::Special { .. } => {}
            }
            let path = &piece.change.path;
            // Nothing can be below what is no folder; the newer change wins. What goes so is hidden from the layer above.
            if !is_folder(&piece) {
                let below: Vec<_> = below(&held, path).cloned().collect();
                below.iter().for_each(|path| drop(held.remove(path)));
            } else if held.get(path).is_some_and(|before| !is_folder(before)) {
                disturbed.insert(path.clone());
            }
            for above in path.folders_above() {
                if held.get(&above).is_some_and(|above| !is_folder(above)) {
                    held.remove(&above);
                    disturbed.insert(above);
                }
            }
            held.insert(path.clone(), piece);
        }
        Revised { held, disturbed }
    }

    /// How many layers, from the top, go into a new one with `fresh` changes: those that know of what is `disturbed`, and
    /// those that are not larger than it becomes.
    fn merged(&self, disturbed: &BTreeSet<TreePath>, fresh: usize) -> usize {
        let knows = |record: &Record| {
            disturbed.iter().any(|path| record.paths.range(path..).next().is_some_and(|known| known.is_within(path)))
        };
        let mut merged = self.layers.iter().rposition(knows).map_or(0, |deepest| deepest + 1);
        let mut size = fresh + self.layers[..merged].iter().map(|record| record.paths.len()).sum::<usize>();
        while let Some(record) = self.layers.get(merged).filter(|record| record.paths.len() <= size) {
            size += record.paths.len();
            merged += 1;
        }
        merged
    }
}

/// What is held next.
struct Revised {
    held: BTreeMap<TreePath, HeldChange>,
    /// What layers must no longer show as they do: it goes, or was no folder and becomes one.
    disturbed: BTreeSet<TreePath>,
}

/// The paths below `path`.
fn below<'a>(held: &'a BTreeMap<TreePath, HeldChange>, path: &'a TreePath) -> impl Iterator<Item = &'a TreePath> {
    // Ordered name by name: everything below a path follows it directly.
    held.range(path.clone()..)
        .map(|(held, _)| held)
        .skip_while(move |held| *held == path)
        .take_while(move |held| held.is_within(path))
}

/// The map of held changes as the list of its values.
mod as_list {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Deserializer, Serializer};

    use super::{HeldChange, TreePath};

    pub(super) fn serialize<S: Serializer>(
        held: &BTreeMap<TreePath, HeldChange>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(held.values())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<BTreeMap<TreePath, HeldChange>, D::Error> {
        let list = Vec::<HeldChange>::deserialize(deserializer)?;
        Ok(list.into_iter().map(|held| (held.change.path.clone(), held)).collect())
    }
}
