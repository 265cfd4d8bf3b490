//! Keeps the contents of files that hold credentials out of views.
//!
//! The policy says which files ([`Secrets`]); here they are found, and an immutable layer is made that lies directly over the
//! workspace in every view: masked copies of them, or deletions. It is shared by all calls until the list or a file on it
//! changes, and everything that looks at a view ([`super::gate::assessment`], the copy of a workspace) takes it for what the call saw.
//!
//! Finding the files takes a walk through the workspace, which a call must not pay for. So the folders are watched
//! ([`watch`]): the kernel queues an event before the operation that it is about returns, so an empty queue says that the
//! list is true. Where folders cannot be watched, the walk is done before each call: slower, never weaker. The files on the list,
//! few as they are, are looked at before each call.
//!
//! A folder that the server cannot look into is absent from views: whoever runs inside may give themselves the right to look
//! into their copy of it. A file that cannot be masked is not shown: then the call is refused.

mod find;
mod layer;
mod readings;
mod shown;
mod watch;
mod way;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use cofferdam_policy::{Redactor, SecretFiles, Secrets};

use self::{
    find::{Finder, Refreshed},
    layer::Built,
    readings::Readings,
    shown::Shown,
    watch::Arrivals,
};
use super::{
    authored::Authored,
    beneath,
    change::What,
    held::stack::Layers,
    tree_path::TreePath,
    version::{HostVersion, digest},
    workspace::Workspace,
};
use crate::call_folder::CallFolder;

/// Masks made so far, in all workspaces of this process.
static MADE: AtomicU64 = AtomicU64::new(1);

/// Looks at workspaces that found something to have happened to a listed name, in all workspaces of this process.
static STIRRED: AtomicU64 = AtomicU64::new(1);

/// What views of a workspace have in place of its files with credentials. While it exists, its layer stays.
#[derive(Debug)]
pub struct Masks {
    number: u64,
    secrets: Arc<Secrets>,
    /// The files, and the line of the list that each is on.
    masked: BTreeMap<TreePath, String>,
    /// Links that lead to such files by a listed name.
    links: BTreeSet<TreePath>,
    /// Folders that are absent, since the server cannot look into them.
    sealed: BTreeSet<TreePath>,
    shown: Shown,
    layer: Option<MaskLayer>,
    redactor: Redactor,
    left_out: u64,
}

#[derive(Debug)]
struct MaskLayer {
    path: PathBuf,
    folder: OwnedFd,
    _kept: CallFolder,
}

/// A look at a workspace's files with credentials.
#[derive(Debug, Clone)]
pub struct Look {
    /// What views have in their place.
    pub masks: Arc<Masks>,
    /// Two looks with the same number: between them nothing happened to a listed name or to a folder above one. Where nothing is
    /// watched, nothing that can still be seen of it.
    pub quiet: u64,
    /// How many names of the workspace are on the list.
    pub listed: usize,
    /// When it was, in the count of folders that are new.
    pub(super) moment: u64,
}

/// Which of the layers over a workspace lie on top in a view.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnTop {
    /// What the session holds.
    Held,
    /// What hides credentials.
    Masks,
}

impl OnTop {
    /// Both in their order, top first.
    pub(crate) fn ordered<T>(self, held: impl IntoIterator<Item = T>, masks: Option<T>) -> Vec<T> {
        match self {
            Self::Held => held.into_iter().chain(masks).collect(),
            Self::Masks => masks.into_iter().chain(held).collect(),
        }
    }
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
    /// The workspace itself cannot be listed.
    #[error(
        "the workspace cannot be listed, so it cannot be said whether files with credentials are in it: let its owner give the right to read it"
    )]
    Unlisted,
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
        "the workspace has {found} files whose names say that they hold credentials, and {most} is the most ({in_folder} of them are in \
         {folder}): move that folder out of the workspace, or name a workspace that does not contain it"
    )]
    TooMany {
        /// How many.
        found: usize,
        /// The bound.
        most: usize,
        /// The folder that has the most of them.
        folder: TreePath,
        /// How many it has.
        in_folder: usize,
    },
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
    readings: Readings,
    masks: Arc<Masks>,
    quiet: u64,
}

impl Masks {
    /// Nothing is masked, by this list.
    #[must_use]
    pub fn none(secrets: &Arc<Secrets>) -> Arc<Self> {
        Arc::new(Self {
            number: 0,
            secrets: Arc::clone(secrets),
            masked: BTreeMap::new(),
            links: BTreeSet::new(),
            sealed: BTreeSet::new(),
            shown: Shown::default(),
            layer: None,
            redactor: Redactor::default(),
            left_out: 0,
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
        self.secrets.files()
    }

    /// The list.
    #[must_use]
    pub fn secrets(&self) -> &Arc<Secrets> {
        &self.secrets
    }

    /// The files, sorted.
    pub fn paths(&self) -> impl Iterator<Item = &TreePath> {
        self.masked.keys()
    }

    /// Folders that are absent since the server cannot look into them, sorted.
    pub fn sealed(&self) -> impl Iterator<Item = &TreePath> {
        self.sealed.iter()
    }

    /// Links that lead to the files by a listed name.
    pub(super) fn links(&self) -> &BTreeSet<TreePath> {
        &self.links
    }

    /// Takes the values that the files hold out of text.
    #[must_use]
    pub fn redactor(&self) -> &Redactor {
        &self.redactor
    }

    /// How many values of the files are not looked for, since there are too many.
    #[must_use]
    pub fn left_out(&self) -> u64 {
        self.left_out
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
        self.layer().filter(|_| self.masked.contains_key(path) || self.sealed.contains(path))
    }

    /// What lies on top in a view of these layers. What is held does, as a rule: what a session wrote of a masked file is its own.
    /// But a file that was seen as it is when its change was held, and is masked now, would show itself through that.
    pub(crate) fn on_top(&self, layers: &Layers) -> OnTop {
        let shows_itself = layers.held().any(|held| {
            let was_seen = matches!(held.host, HostVersion::File { .. }) && !held.reason.is_about_secrets();
            was_seen && matches!(held.change.what, What::File { .. }) && self.masked.contains_key(&held.change.path)
        });
        if shows_itself { OnTop::Masks } else { OnTop::Held }
    }

    /// The line of the list that the host's file at `path` is on, or the target of the link there; or why nothing is known of
    /// what lies there.
    pub(super) fn pattern(&self, path: &TreePath) -> Option<&str> {
        match self.masked.get(path) {
            Some(pattern) => Some(pattern),
            None if self.links.contains(path) => Some("a link to such a file"),
            None => self.is_sealed(path).then_some("a folder that cannot be looked into"),
        }
    }

    /// What of these lies below a folder: files, links to them, and folders that cannot be looked into.
    pub(super) fn below<'a>(&'a self, folder: &'a TreePath) -> impl Iterator<Item = &'a TreePath> {
        let links = self.links.iter().filter(move |path| *path != folder && path.is_within(folder));
        self.hidden_below(folder).chain(links)
    }

    /// What the layer has below a folder: files, and folders that cannot be looked into. Links are seen as they are, and lead to
    /// masked files.
    pub(crate) fn hidden_below<'a>(&'a self, folder: &'a TreePath) -> impl Iterator<Item = &'a TreePath> {
        let all = self.masked.keys().chain(&self.sealed);
        all.filter(move |path| *path != folder && path.is_within(folder))
    }

    /// The masked file of which a file of this size (bytes) and digest is a copy, as far as that matters: at a listed name for use, at
    /// its own, or where the masked file `goes`. `Some(None)` where it could be one of several.
    pub(super) fn copied(
        &self,
        path: &TreePath,
        size: u64,
        digest: impl FnOnce() -> io::Result<String>,
        goes: impl Fn(&TreePath) -> bool,
    ) -> io::Result<Option<Option<String>>> {
        let fitting = self.shown.files(size, digest)?;
        if fitting.contains(path) {
            return Ok(Some(Some(path.to_string())));
        }
        let going: Vec<&TreePath> = fitting.iter().filter(|of| goes(of)).collect();
        let is_listed = || self.secrets.candidate(path.as_path()).is_some_and(|candidate| candidate.is_for_use());
        if going.is_empty() && (fitting.is_empty() || !is_listed()) {
            return Ok(None);
        }
        let among = if going.is_empty() { fitting.iter().collect() } else { going };
        let tail = |of: &TreePath| {
            let names = path.as_path().iter().rev().zip(of.as_path().iter().rev());
            names.take_while(|(one, other)| one == other).count()
        };
        let longest = among.iter().map(|of| tail(of)).max();
        let mut nearest = among.into_iter().filter(|of| Some(tail(of)) == longest);
        Ok(Some(match (nearest.next(), nearest.next()) {
            (Some(of), None) => Some(of.to_string()),
            (Some(_) | None, _) => None,
        }))
    }

    /// Whether a file has a line that is seen in the place of one with credentials. What is larger than a file that is masked
    /// line by line has none.
    pub(super) fn holds_masked_lines(&self, file: File) -> io::Result<bool> {
        self.shown.has_line_of(file)
    }

    /// Whether the file at `path` itself is masked, and so that it is seen.
    pub(super) fn hides(&self, path: &TreePath) -> bool {
        self.masked.contains_key(path) && self.files() == SecretFiles::Masked
    }

    /// SHA-256, in hexadecimal, of what is seen of the file at `path`, if it is masked and so that it is seen.
    pub(super) fn digest_at(&self, path: &TreePath) -> io::Result<Option<String>> {
        let layer = self.layer().filter(|_| self.hides(path));
        layer.map(|layer| digest(beneath::file(layer, path.as_path())?)).transpose()
    }

    /// The masked file of this name.
    pub(super) fn masked(&self, name: &str) -> Option<&TreePath> {
        self.masked.keys().find(|path| path.to_string() == name)
    }

    fn is_sealed(&self, path: &TreePath) -> bool {
        is_in(&self.sealed, path)
    }

    /// Whether what is at `path`, or comes there, may be a file that is masked.
    pub(super) fn concern(&self, path: &TreePath) -> bool {
        self.pattern(path).is_some() || self.secrets.candidate(path.as_path()).is_some()
    }

    /// Whether a file of this name, and this content, would be masked.
    pub(super) fn would_hide(&self, path: &TreePath, content: &[u8]) -> bool {
        let candidate = self.secrets.candidate(path.as_path()).filter(|_| find::is_looked_at(path));
        candidate.is_some_and(|candidate| candidate.mask(path.as_path(), content).is_some())
    }
}

/// Whether a path is one of `folders`, or below one.
fn is_in(folders: &BTreeSet<TreePath>, path: &TreePath) -> bool {
    !folders.is_empty() && (folders.contains(path) || path.folders_above().any(|above| folders.contains(&above)))
}

impl Workspace {
    /// What views of the workspace have in place of its files with credentials, now.
    ///
    /// # Errors
    /// [`MaskError`]: no view may be made then.
    pub fn masks(&self, secrets: &Arc<Secrets>) -> Result<Arc<Masks>, MaskError> {
        Ok(self.look_for_secrets(secrets)?.masks)
    }

    /// As [`Workspace::masks`], with a number that tells whether anything happened to such files since.
    ///
    /// # Errors
    /// [`MaskError`]: no view may be made then.
    pub fn look_for_secrets(&self, secrets: &Arc<Secrets>) -> Result<Look, MaskError> {
        let mut kept = self.masking().state.lock().unwrap_or_else(PoisonError::into_inner);
        // Put back when all went well: half a walk must not be taken for a whole one.
        let state = match kept.take().filter(|known| known.secrets == *secrets) {
            Some(mut known) => {
                let refreshed = known.finder.refresh(self.fd(), secrets)?;
                match refreshed {
                    Refreshed::Quiet => {}
                    Refreshed::Stirred | Refreshed::Changed => {
                        known.quiet = STIRRED.fetch_add(1, Ordering::Relaxed);
                    }
                }
                match refreshed {
                    Refreshed::Quiet | Refreshed::Stirred => {}
                    Refreshed::Changed => {
                        let before = (&known.readings, known.masks.layer());
                        (known.masks, known.readings) = self.mask(secrets, &known.finder, before)?;
                    }
                }
                known
            }
            None => {
                let mut finder = Finder::new();
                finder.refresh(self.fd(), secrets)?;
                let quiet = STIRRED.fetch_add(1, Ordering::Relaxed);
                let (masks, readings) = self.mask(secrets, &finder, (&Readings::default(), None))?;
                State { secrets: Arc::clone(secrets), finder, readings, masks, quiet }
            }
        };
        let (masks, listed) = (Arc::clone(&state.masks), state.finder.listed());
        let look = Look { masks, quiet: state.quiet, listed, moment: Arrivals::now() };
        *kept = Some(state);
        Ok(look)
    }

    /// Takes the values out of text that were found at the last look; one that is under way is waited for.
    #[must_use]
    pub fn redactor(&self) -> Redactor {
        let kept = self.masking().state.lock().unwrap_or_else(PoisonError::into_inner);
        kept.as_ref().map_or_else(Redactor::default, |known| known.masks.redactor().clone())
    }

    /// The folders that were made, or moved to where they are, between two looks, where files with credentials are looked for; `None`
    /// where that is not known of all.
    pub(super) fn folders_new_since(&self, look: &Look) -> Option<BTreeSet<TreePath>> {
        let kept = self.masking().state.lock().unwrap_or_else(PoisonError::into_inner);
        let new = kept.as_ref()?.finder.arrivals().after(look.moment)?;
        Some(new.cloned().collect())
    }

    /// Whether new names in a folder are told of, where the workspace is watched.
    pub(super) fn watches(folder: &TreePath) -> bool {
        find::is_looked_into(folder)
    }

    /// How many names the workspace has where files with credentials are looked for, about; `None` where that is not watched.
    pub(super) fn watched_names(&self) -> Option<usize> {
        let kept = self.masking().state.lock().unwrap_or_else(PoisonError::into_inner);
        kept.as_ref().and_then(|known| known.finder.watched_names())
    }

    /// Makes masks, of what was made `before` where that is true still.
    fn mask(
        &self,
        secrets: &Arc<Secrets>,
        finder: &Finder,
        before: (&Readings, Option<BorrowedFd<'_>>),
    ) -> Result<(Arc<Masks>, Readings), MaskError> {
        let failed = |source| MaskError::Mask { path: TreePath::root(), source };
        let sealed = finder.sealed();
        let mut places = finder.places();
        places.retain(|place| !is_in(&sealed, &place.target));
        if places.is_empty() && sealed.is_empty() {
            return Ok((Masks::none(secrets), Readings::default()));
        }
        let authored = Authored::load(self);
        let call_folder = CallFolder::make(self.state(), &["mask"]).map_err(failed)?;
        let path = call_folder.join("mask");
        let folder = super::held::layer::open(&path).map_err(failed)?;
        let mut built = Built::new(folder.as_fd(), self.fd(), secrets, before, &authored);
        built.add_all(&places)?;
        let mut others = built.others(&places, finder.names());
        others.retain(|place| !is_in(&sealed, &place.target));
        built.add_all(&others)?;
        for folder in &sealed {
            built.seal(folder)?;
        }
        let readings = Readings::new(built.files);
        let masked: BTreeMap<TreePath, String> =
            readings.made().map(|(path, made)| (path.clone(), made.pattern.clone())).collect();
        if masked.is_empty() && sealed.is_empty() {
            return Ok((Masks::none(secrets), readings));
        }
        let mut shown = Shown::default();
        for (path, made) in readings.made() {
            made.seen.iter().for_each(|seen| shown.add(path, seen));
        }
        let links = places.into_iter().filter(|place| masked.contains_key(&place.target)).flat_map(|place| place.links);
        let masks = Masks {
            number: MADE.fetch_add(1, Ordering::Relaxed),
            secrets: Arc::clone(secrets),
            links: links.collect(),
            masked,
            sealed,
            shown,
            layer: Some(MaskLayer { path, folder, _kept: call_folder }),
            redactor: Redactor::new(readings.secrets()),
            left_out: readings.left_out(),
        };
        Ok((Arc::new(masks), readings))
    }
}
