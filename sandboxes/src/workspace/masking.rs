//! Keeps the contents of files that hold credentials out of views.
//!
//! The policy says which files ([`Secrets`]); here they are found, and an immutable layer is made that lies directly over the
//! workspace in every view: masked copies of them, or deletions. It is shared by all calls until the list or a file on it
//! changes, and everything that looks at a view ([`super::assessment`], the copy of a workspace) takes it for what the call saw.
//!
//! Finding the files takes a walk through the workspace, which a call must not pay for. So the folders are watched
//! ([`watch`]): the kernel queues an event before the operation that it is about returns, so an empty queue says that the
//! list is true. Where folders cannot be watched, the walk is done before each call: slower, never weaker. The files on the list,
//! few as they are, are looked at before each call.
//!
//! A file that cannot be masked is not shown: then the call is refused.

mod find;
mod layer;
mod watch;

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use cofferdam_policy::{Redactor, Secret, SecretFiles, Secrets};

use self::{find::Finder, layer::Built};
use super::{tree_path::TreePath, workspace::Workspace};
use crate::call_folder::CallFolder;

/// Masks made so far, in all workspaces of this process.
static MADE: AtomicU64 = AtomicU64::new(1);

/// What views of a workspace have in place of its files with credentials. While it exists, its layer stays.
#[derive(Debug)]
pub struct Masks {
    number: u64,
    files: SecretFiles,
    /// The files, and the line of the list that each is on.
    masked: BTreeMap<TreePath, String>,
    /// Links that lead to such files by a listed name.
    links: BTreeSet<TreePath>,
    layer: Option<MaskLayer>,
    redactor: Redactor,
}

#[derive(Debug)]
struct MaskLayer {
    path: PathBuf,
    folder: OwnedFd,
    _kept: CallFolder,
}

/// Why files with credentials could not be kept out.
#[derive(Debug, thiserror::Error)]
pub enum MaskError {
    /// They could not be found.
    #[error("failed to look for files with credentials in {path}, so nothing is shown of the workspace")]
    Find {
        /// Where.
        path: TreePath,
        /// What the kernel said.
        source: io::Error,
    },
    /// A folder can be entered and not be listed.
    #[error(
        "the folder {path} can be entered and not be listed, so it cannot be said whether files with credentials are in it: let its owner take the right to enter it away, or give the right to read it"
    )]
    Unlisted {
        /// Which folder.
        path: TreePath,
    },
    /// A file could not be masked.
    #[error("failed to mask {path}, which holds credentials, so nothing is shown of the workspace")]
    Mask {
        /// Which file.
        path: TreePath,
        /// What the kernel said.
        source: io::Error,
    },
    /// There are too many.
    #[error(
        "the workspace has more than {0} files whose names say that they hold credentials; name a smaller workspace"
    )]
    TooMany(usize),
}

/// What is known of a workspace's files with credentials.
#[derive(Debug, Default)]
pub(super) struct Masking {
    state: Mutex<Option<State>>,
}

#[derive(Debug)]
struct State {
    secrets: Arc<Secrets>,
    finder: Finder,
    masks: Arc<Masks>,
}

impl Masks {
    /// Nothing is masked.
    #[must_use]
    pub fn none() -> Arc<Self> {
        Arc::new(Self {
            number: 0,
            files: SecretFiles::Masked,
            masked: BTreeMap::new(),
            links: BTreeSet::new(),
            layer: None,
            redactor: Redactor::default(),
        })
    }

    /// Two with the same number show the same.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.number
    }

    /// What such files are in a view.
    #[must_use]
    pub fn files(&self) -> SecretFiles {
        self.files
    }

    /// The files, sorted.
    pub fn paths(&self) -> impl Iterator<Item = &TreePath> {
        self.masked.keys()
    }

    /// Takes the values that the files hold out of text.
    #[must_use]
    pub fn redactor(&self) -> &Redactor {
        &self.redactor
    }

    /// The files that these mask and `earlier` did not.
    #[must_use]
    pub fn beyond(&self, earlier: &Self) -> Vec<TreePath> {
        if self.number == earlier.number {
            return Vec::new();
        }
        self.masked.keys().filter(|path| !earlier.masked.contains_key(path)).cloned().collect()
    }

    /// The layer's folder, if there is one.
    pub(crate) fn layer_path(&self) -> Option<&Path> {
        self.layer.as_ref().map(|layer| layer.path.as_path())
    }

    /// The layer, if there is one.
    pub(crate) fn layer(&self) -> Option<BorrowedFd<'_>> {
        self.layer.as_ref().map(|layer| layer.folder.as_fd())
    }

    /// The layer, if it has something at `path`.
    pub(super) fn masking(&self, path: &TreePath) -> Option<BorrowedFd<'_>> {
        self.layer().filter(|_| self.masked.contains_key(path))
    }

    /// The line of the list that the host's file at `path` is on, or the target of the link there.
    pub(super) fn pattern(&self, path: &TreePath) -> Option<&str> {
        match self.masked.get(path) {
            Some(pattern) => Some(pattern),
            None => self.links.contains(path).then_some("a link to such a file"),
        }
    }
}

impl Workspace {
    /// What views of the workspace have in place of its files with credentials, now.
    ///
    /// # Errors
    /// [`MaskError`]: no view may be made then.
    pub fn masks(&self, secrets: &Arc<Secrets>) -> Result<Arc<Masks>, MaskError> {
        let mut kept = self.masking().state.lock().unwrap_or_else(PoisonError::into_inner);
        // Put back when all went well: half a walk must not be taken for a whole one.
        let state = match kept.take().filter(|known| known.secrets == *secrets) {
            Some(mut known) => {
                if known.finder.refresh(self.fd(), secrets)? {
                    known.masks = self.mask(secrets, &known.finder)?;
                }
                known
            }
            None => {
                let mut finder = Finder::new();
                finder.refresh(self.fd(), secrets)?;
                State { secrets: Arc::clone(secrets), masks: self.mask(secrets, &finder)?, finder }
            }
        };
        let masks = Arc::clone(&state.masks);
        *kept = Some(state);
        Ok(masks)
    }

    /// Takes the values out of text that were found at the last look; one that is under way is waited for.
    #[must_use]
    pub fn redactor(&self) -> Redactor {
        let kept = self.masking().state.lock().unwrap_or_else(PoisonError::into_inner);
        kept.as_ref().map_or_else(Redactor::default, |known| known.masks.redactor().clone())
    }

    fn mask(&self, secrets: &Secrets, finder: &Finder) -> Result<Arc<Masks>, MaskError> {
        let failed = |source| MaskError::Mask { path: TreePath::root(), source };
        let places = finder.places();
        if places.is_empty() {
            return Ok(Masks::none());
        }
        let kept = CallFolder::make(self.state(), &["mask"]).map_err(failed)?;
        let path = kept.join("mask");
        let folder = super::layer::open(&path).map_err(failed)?;
        let mut built = Built::new(folder.as_fd(), self.fd(), secrets);
        for place in &places {
            built.add(place)?;
        }
        let Built { masked, values, .. } = built;
        if masked.is_empty() {
            return Ok(Masks::none());
        }
        let links = places.into_iter().filter(|place| masked.contains_key(&place.target)).flat_map(|place| place.links);
        let secret = |(value, file): (String, String)| Secret { value, file };
        Ok(Arc::new(Masks {
            number: MADE.fetch_add(1, Ordering::Relaxed),
            files: secrets.files(),
            links: links.collect(),
            masked,
            layer: Some(MaskLayer { path, folder, _kept: kept }),
            redactor: Redactor::new(values.into_iter().map(secret).collect()),
        }))
    }
}
