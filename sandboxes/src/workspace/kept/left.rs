//! What runs wrote and nobody asked to keep, for a while: an agent that sees too late what it needed brings it back.
//!
//! It lies in the session's folder as a layer, with what the workspace had at each path when the run ended. Bringing it
//! back is a hand-back like any other, through the same gate; where the workspace is not as it was then, it is a
//! conflict.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    os::fd::AsFd,
    sync::Arc,
    time::Duration,
};

use cofferdam_policy::Secrets;
use serde::{Deserialize, Serialize};

use super::archive::{self, Archive, Retention};
use crate::workspace::{
    beneath::{self, Found},
    change::{Change, HandedBack, Reason, What},
    changeset::{Bounds, Changeset, ChangesetError, Marks},
    hand_back::{Admission, Order},
    held::{
        layer::{self, Bytes, Ground},
        stack::Origin,
    },
    masking::{MaskError, Masks},
    session::{Session, SessionError},
    stamp::Stamp,
    tree_path::TreePath,
    version::HostVersion,
    workspace::{Patience, Workspace},
};

/// What is kept of what runs left, for one session: of 50 runs, 256 MiB, 7 days.
pub(in crate::workspace) const RETENTION: Retention =
    Retention { number: 50, bytes: 256 << 20, age: Duration::from_secs(7 * 24 * 3600) };

/// The folder of a session that holds it.
pub(in crate::workspace) const LEFT: &str = "left";

/// Bytes of the files of one run that are kept.
const MOST_BYTES: u64 = 64 << 20;

/// Files, folders, links and deletions of one run that are kept. Each costs some 50 µs.
const MOST_ENTRIES: usize = 5_000;

const RECORD: &str = "left.json";

const LAYER: &str = "layer";

/// What one run left.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    origin: Origin,
    entries: Vec<LeftChange>,
    /// Changes that were more than is kept.
    omitted: usize,
}

/// One change that a run left.
#[derive(Debug, Serialize, Deserialize)]
struct LeftChange {
    #[serde(flatten)]
    change: Change,
    /// What the workspace had there.
    host: HostVersion,
    /// Why it is text that was masked, if it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    masked: Option<Reason>,
    /// SHA-256, in hexadecimal, of what was seen of the file there, if it was masked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    mask: Option<String>,
}

/// Why nothing was brought back.
#[derive(Debug, thiserror::Error)]
pub enum KeepError {
    /// Nothing is kept of the call.
    #[error("nothing is kept of a call {call}: it left nothing, or it is longer ago than is kept")]
    Unknown {
        /// Its identifier as given.
        call: String,
    },
    /// What is kept cannot be read.
    #[error("failed to read what call {call} left")]
    Read {
        /// Its identifier.
        call: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// What calls see in place of files with credentials is not known.
    #[error(transparent)]
    Masks(#[from] MaskError),
    /// It is not a layer that can be handed back.
    #[error(transparent)]
    Changeset(#[from] ChangesetError),
    /// The gate could not do it.
    #[error(transparent)]
    Session(#[from] SessionError),
}

/// What came of bringing something back.
#[derive(Debug)]
pub struct Kept {
    /// What became of what the run left; what was not asked for this time is still left.
    pub handed_back: HandedBack,
    /// What the run wrote and the session sees already: in the workspace, or held. Whatever was asked for.
    pub already: Vec<TreePath>,
    /// Changes of the run that were more than is kept, and are gone.
    pub omitted: usize,
}

/// What is asked for of what a run left.
#[derive(Debug, Clone, Copy)]
pub struct Keep<'a> {
    /// The call that left it.
    pub call: &'a str,
    /// What of it may come back, and how.
    pub admission: Admission<'a>,
    /// Which files hold credentials.
    pub secrets: &'a Arc<Secrets>,
    /// The call that brings it back.
    pub origin: &'a Origin,
}

impl Session {
    /// Brings back what a run of this session wrote and did not keep.
    ///
    /// # Errors
    /// [`KeepError`]; the workspace is then unchanged.
    pub fn keep(&self, keep: &Keep<'_>, patience: &Patience<'_>) -> Result<Kept, KeepError> {
        let read = |source| KeepError::Read { call: keep.call.to_owned(), source };
        let found = find(self.left_archive(), keep.call).map_err(read)?;
        let Some((record, folder)) = found else { return Err(KeepError::Unknown { call: keep.call.to_owned() }) };
        let stamp = Stamp::take(self.workspace()).map_err(read)?;
        // After the stamp: a file that comes later is a conflict.
        let masks = self.workspace().masks(keep.secrets)?;
        let layer = archive::open(&folder.join(LAYER)).map_err(read)?;
        let changeset = Changeset::walk(layer.as_fd(), Marks::User, Bounds::of_bytes(MOST_BYTES * 2), &[])?;
        let masked = record.entries.iter().filter_map(|entry| Some((entry.change.path.clone(), entry.masked.clone()?)));
        let masked = masked.collect();
        let shown = record.entries.iter().filter_map(|entry| Some((entry.change.path.clone(), entry.mask.clone()?)));
        let shown = shown.collect();
        let files = record.entries.iter().filter(|entry| !matches!(entry.change.what, What::Folder { .. }));
        let mut already: BTreeSet<TreePath> = files.map(|entry| entry.change.path.clone()).collect();
        let seen = record.entries.into_iter().map(|entry| (entry.change.path, entry.host)).collect();
        let order = Order {
            changeset: &changeset,
            admission: keep.admission,
            masks: &masks,
            on_top: masks.on_top(&self.layers().map_err(|error| read(io::Error::other(error)))?),
            stamp: &stamp,
            seen: Some(&seen),
            masked_then: Some(&masked),
            masks_then: Some(&shown),
            origin: keep.origin,
        };
        let handed_back = self.hand_back(&order, patience)?;
        let HandedBack { applied, held, dropped, left, notes: _ } = &handed_back;
        let changed = applied.iter().chain(left).chain(held.iter().map(|held| &held.change)).map(|change| &change.path);
        for path in changed.chain(dropped.iter().map(|dropped| &dropped.path)) {
            already.remove(path);
        }
        Ok(Kept { handed_back, already: already.into_iter().collect(), omitted: record.omitted })
    }
}

/// Whether somebody may want it back. Objects of the workspace's repository are nothing by themselves: a commit takes those that
/// it needs out of its sandbox ([`crate::workspace::git`]), and there are as many as files in it.
pub(in crate::workspace) fn is_worth_keeping(change: &Change) -> bool {
    !change.path.as_path().starts_with(".git/objects")
}

/// Keeps what a call left, whose files are in its changeset. The caller has the workspace's turn. It is an error when
/// nothing of it can be kept.
pub(in crate::workspace) fn keep(
    archive: &Archive,
    (workspace, changeset): (&Workspace, &Changeset),
    (stamp, origin): (&Stamp, &Origin),
    (left, masked, masks): (&[&Change], &BTreeMap<TreePath, Reason>, &Masks),
) -> io::Result<()> {
    let mut entries = Vec::new();
    let mut bytes = 0_u64;
    for change in left {
        let size = match change.what {
            What::File { size, .. } => size,
            What::Folder { .. } | What::Link { .. } | What::Deleted => 0,
            What::Special { .. } => continue,
        };
        if entries.len() < MOST_ENTRIES && bytes.saturating_add(size) <= MOST_BYTES {
            bytes += size;
            let host = version(workspace, stamp, change)?;
            let masked = masked.get(&change.path).cloned();
            let mask = masks.digest_at(&change.path)?;
            entries.push(LeftChange { change: (*change).clone(), host, masked, mask });
        }
    }
    if entries.is_empty() {
        return Err(io::Error::other("all of it is too large to be kept, or no file, folder or link"));
    }
    let folder = archive.begin()?;
    let whats = entries.iter().map(|entry| (&entry.change.path, &entry.change.what)).collect();
    let contents = entries.iter().map(|entry| {
        let path = &entry.change.path;
        let bytes = match entry.change.what {
            What::File { .. } => Bytes::Copy { root: changeset.upper(), path: path.clone() },
            What::Folder { .. } | What::Link { .. } | What::Deleted | What::Special { .. } => Bytes::None,
        };
        (path, bytes)
    });
    let ground = Ground::as_it_is(workspace.fd());
    layer::build_unsynced(&folder.join(LAYER), ground, &whats, &contents.collect())?;
    let omitted = left.len() - entries.len();
    let record = Record { origin: origin.clone(), entries, omitted };
    fs::write(folder.join(RECORD), serde_json::to_vec(&record)?)?;
    archive.file(origin.at_ms, bytes)
}

/// What the workspace has where a change was left; unknown when that is not what the call saw.
fn version(workspace: &Workspace, stamp: &Stamp, change: &Change) -> io::Result<HostVersion> {
    if let Found::Entry(entry) = beneath::find(workspace.fd(), &change.path)?
        && workspace.recent().changed_since(stamp, &change.path, &entry)
    {
        return Ok(HostVersion::Unknown);
    }
    HostVersion::of(workspace.fd(), &change.path, &change.what)
}

/// What the newest hand-back of a call left.
fn find(archive: &Archive, call: &str) -> io::Result<Option<(Record, std::path::PathBuf)>> {
    for name in archive.names()? {
        let folder = archive.path(&name);
        // Swept by another process since it was listed, or never wholly on the disk.
        let Ok(text) = fs::read(folder.join(RECORD)) else { continue };
        let Ok(record) = serde_json::from_slice::<Record>(&text) else { continue };
        if record.origin.call == call {
            return Ok(Some((record, folder)));
        }
    }
    Ok(None)
}
