//! Scratch volumes: folders that keep what builds and tests write between calls, and never come back on their own.
//!
//! A volume is an overlay's upper folder in our state, one set per workspace. If the host has the folder it is the
//! volume's read-only lower layer (*seeded*), so what the user installed works at once. A seeded volume is emptied when
//! its seed changes: its files were made on top of what is no longer there.
//!
//! All volumes of a workspace together are bounded by the call's disk budget. A root server keeps them in an [`image`] of
//! that size, so the kernel holds the bound: programs get ENOSPC, the call goes on, and its result says so. An ordinary
//! user's server cannot mount one, so they are folders there (and where the view is a copy: what it writes is watched
//! anyway), which are measured while the call runs ([`watch`]); a call
//! whose volumes are beyond the bound is ended, and they are emptied. A cache that is beyond its budget is of no use, so
//! either kind begins empty when it is nearly full.
//!
//! An upper folder may be in use by one overlay at a time (kernel documentation, `overlayfs.rst`), so executing calls on
//! one workspace take turns, across servers too.

mod closer;
mod image;
mod measure;
mod removal;
mod turn;
mod watch;

use std::{
    fmt,
    fs::{self, File},
    io,
    os::{
        fd::AsFd,
        unix::fs::{MetadataExt, PermissionsExt, chown},
    },
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use cofferdam_contract::{Ended, Limits};
use sha2::{Digest, Sha256};

pub(crate) use closer::Closer;
pub(crate) use image::Means;
pub(crate) use turn::Waiting;
pub(crate) use watch::Watch;

use crate::{
    namespace::{Holding, Scratch, Seed, agent_of},
    root::HostRoot,
    workspace::{Copied, CopyBounds, CopyError, TreePath},
    yard::chain,
};
use image::{Image, ImageError};
use measure::{Measure, Usage, measure};
use removal::remove_all;

/// Folders of a workspace that are scratch: (name, the file beside it that makes it one even before it exists).
const FOLDERS: [(&str, Option<&str>); 6] = [
    ("target", Some("Cargo.toml")),
    ("node_modules", None),
    (".venv", None),
    ("venv", None),
    (".tox", None),
    (".nox", None),
];

/// Files whose change makes what was built from them stale.
const LOCK_FILES: [&str; 8] = [
    "Cargo.lock",
    "package-lock.json",
    "pnpm-lock.yaml",
    "yarn.lock",
    "poetry.lock",
    "uv.lock",
    "requirements.txt",
    "pyproject.toml",
];

/// How many entries of a seed are looked at to tell whether it changed.
const SEED_ENTRIES: usize = 256;

/// A workspace's volumes, lent to one call. Dropping it lets the next call have them.
#[derive(Debug)]
pub(crate) struct Volumes {
    scratch: Vec<Scratch>,
    holder: Holder,
    notes: Vec<ScratchNote>,
    _turn: File,
}

/// How a seed gets into its volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Seeding {
    /// As the layer below it.
    Layer,
    /// By being copied.
    Copy,
}

/// What volumes are asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Request<'a> {
    pub(crate) workspace: &'a Path,
    pub(crate) workspace_id: &'a str,
    /// The workspace's state folder.
    pub(crate) state: &'a Path,
    pub(crate) root: &'a HostRoot,
    pub(crate) limits: Limits,
    pub(crate) means: &'a Means,
    pub(crate) closer: &'a Arc<Closer>,
    pub(crate) seeding: Seeding,
}

/// What holds the volumes on the host.
#[derive(Debug)]
enum Holder {
    Image {
        /// `None` only while the volumes are given back.
        image: Option<Image>,
        closer: Arc<Closer>,
    },
    Folders {
        why: String,
        watch: Watch,
        /// Whether a call went beyond the bound, so that they are emptied when they are given back.
        spoiled: bool,
    },
}

/// What is to be known about the volumes of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ScratchNote {
    /// They were emptied before the call.
    BeganEmpty(BeganEmpty),
    /// Nothing more could be written to them.
    Full,
    /// They went beyond the call's disk budget, and were emptied after it.
    ThrownAway,
}

/// Why volumes were emptied before a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BeganEmpty {
    /// Less than an eighth of the budget was left.
    NearlyFull,
    /// The disk budget is another one now.
    OtherBudget,
    /// The machine was restarted since, and may not have kept all of it.
    OlderThanBoot,
    /// They could not be mounted, or not in good order.
    Damaged,
}

/// Why volumes were not lent.
#[derive(Debug, thiserror::Error)]
pub enum ScratchError {
    /// The call ended while it waited for another run's end.
    #[error(transparent)]
    Ended(#[from] Ended),
    /// A folder of ours could not be made or read.
    #[error("failed to prepare the scratch folder {path}")]
    Prepare {
        /// Which.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
}

impl Volumes {
    /// Lends the volumes that are asked for, waiting until it is the call's turn.
    ///
    /// # Errors
    /// [`ScratchError`].
    pub(crate) fn take(request: Request<'_>, mut waiting: Waiting<'_>) -> Result<Self, ScratchError> {
        let folder = request.state.join("scratch");
        let prepare = |path: &Path| {
            let path = path.to_path_buf();
            move |source| ScratchError::Prepare { path, source }
        };
        fs::create_dir_all(&folder).map_err(prepare(&folder))?;
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).map_err(prepare(&folder))?;
        let path = folder.join("turn");
        let turn = File::options().create(true).truncate(false).write(true).open(&path).map_err(prepare(&path))?;
        waiting.lock(&turn, &path)?;
        let wanted = wanted(&request);
        let bound = Usage::allowed(&request.limits);
        let (opened, why) = if wanted.is_empty() {
            (None, String::new())
        } else if request.seeding == Seeding::Copy {
            (None, "a machine without overlays shows them as folders".to_owned())
        } else if rustix::process::geteuid().is_root() {
            match Image::open(&folder, bound, request.means, &mut waiting) {
                Ok(opened) => (Some(opened), String::new()),
                Err(ImageError::NoImage(why)) => (None, chain(&why)),
                Err(ImageError::Scratch(error)) => return Err(error),
            }
        } else {
            (None, "only root can mount one of a fixed size".to_owned())
        };
        match opened {
            Some((image, began_empty)) => {
                // Folders of the time before there was an image.
                remove_folders(&folder).map_err(prepare(&folder))?;
                let place = Held::Image { root: &image.folder(), agent: agent_of(request.workspace_id) };
                let scratch = wanted
                    .into_iter()
                    .map(|wanted| wanted.make_ready(place))
                    .collect::<io::Result<_>>()
                    .map_err(prepare(&folder))?;
                let notes = began_empty.map(ScratchNote::BeganEmpty).into_iter().collect();
                let holder = Holder::Image { image: Some(image), closer: Arc::clone(request.closer) };
                Ok(Self { scratch, holder, notes, _turn: turn })
            }
            None => {
                let (usage, cost, began_empty) = make_room(&folder, bound).map_err(prepare(&folder))?;
                let scratch: Vec<Scratch> = wanted
                    .into_iter()
                    .map(|wanted| wanted.make_ready(Held::Folder(&folder)))
                    .collect::<io::Result<_>>()
                    .map_err(prepare(&folder))?;
                let uppers = scratch.iter().map(|scratch| scratch.volume.join("upper")).collect();
                let watch = Watch::new(uppers, bound, usage, cost);
                let notes = began_empty.map(ScratchNote::BeganEmpty).into_iter().collect();
                Ok(Self { scratch, holder: Holder::Folders { why, watch, spoiled: false }, notes, _turn: turn })
            }
        }
    }

    /// Copies the seeds of volumes in the workspace that are new, for a machine without overlays. A seed that was copied
    /// halfway is copied again.
    pub(crate) fn copy_seeds(
        &mut self,
        workspace: &Path,
        bounds: CopyBounds,
        ended: &dyn Fn() -> Option<Ended>,
    ) -> Result<(), CopyError> {
        let mut has_copied = false;
        for Scratch { at, volume, seed } in &self.scratch {
            let (Seed::Folder(folder), true) = (seed, at.starts_with(workspace)) else { continue };
            let (upper, done) = (volume.join("upper"), volume.join("copied"));
            if done.exists() {
                continue;
            }
            let path = TreePath::new(at.strip_prefix(workspace).unwrap_or(at)).unwrap_or_else(TreePath::root);
            let failed = |source| CopyError::Kernel { path: path.clone(), source };
            remove_all(&upper).and_then(|()| fs::create_dir(&upper)).map_err(failed)?;
            let source = File::open(folder).map_err(failed)?;
            Copied::make(&[source.as_fd()], &upper, bounds, &[], ended)?;
            fs::write(&done, "").map_err(failed)?;
            has_copied = true;
        }
        match &mut self.holder {
            Holder::Folders { watch, .. } if has_copied => watch.begin_again(),
            Holder::Folders { .. } | Holder::Image { .. } => {}
        }
        Ok(())
    }

    /// The volumes.
    pub(crate) fn scratch(&self) -> &[Scratch] {
        &self.scratch
    }

    /// What holds them.
    pub(crate) fn holding(&self) -> Holding<'_> {
        match &self.holder {
            Holder::Image { image: Some(image), .. } => Holding::Image(image.mounted()),
            Holder::Image { image: None, .. } => Holding::Nothing,
            Holder::Folders { .. } if self.scratch.is_empty() => Holding::Nothing,
            Holder::Folders { why, .. } => Holding::Folders { why },
        }
    }

    /// Looks at what they take, from time to time, and says whether the call must end.
    pub(crate) fn exceeded(&mut self) -> Option<Ended> {
        match &mut self.holder {
            Holder::Image { image, .. } => {
                if image.as_ref().is_some_and(Image::is_full) && !self.notes.contains(&ScratchNote::Full) {
                    self.notes.push(ScratchNote::Full);
                }
                None
            }
            Holder::Folders { watch, spoiled, .. } => {
                if watch.is_beyond() && !*spoiled {
                    *spoiled = true;
                    self.notes.push(ScratchNote::ThrownAway);
                }
                spoiled.then_some(Ended::DiskFull)
            }
        }
    }

    /// What is to be known about them, when the call is over.
    pub(crate) fn notes(&mut self) -> Vec<ScratchNote> {
        match &self.holder {
            // Once more: it may have become full since the last look.
            Holder::Image { .. } => drop(self.exceeded()),
            Holder::Folders { .. } => {}
        }
        self.notes.clone()
    }
}

impl Drop for Volumes {
    fn drop(&mut self) {
        match &mut self.holder {
            Holder::Image { image, closer } => {
                if let Some(image) = image.take() {
                    closer.close(image);
                }
            }
            Holder::Folders { spoiled: true, .. } => {
                for volume in self.scratch.iter().map(|scratch| &scratch.volume) {
                    if let Err(error) = remove_all(volume) {
                        tracing::warn!(%error, path = %volume.display(), "a scratch volume was not emptied");
                    }
                }
            }
            Holder::Folders { spoiled: false, .. } => {}
        }
    }
}

impl fmt::Display for ScratchNote {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::BeganEmpty(BeganEmpty::NearlyFull) => {
                "the scratch volumes (build folders, package stores) were nearly full and were emptied before the run"
            }
            Self::BeganEmpty(BeganEmpty::OtherBudget) => {
                "the scratch volumes (build folders, package stores) began empty, since the disk limit was changed"
            }
            Self::BeganEmpty(BeganEmpty::OlderThanBoot) => {
                "the scratch volumes (build folders, package stores) began empty, since the machine was restarted"
            }
            Self::BeganEmpty(BeganEmpty::Damaged) => {
                "the scratch volumes (build folders, package stores) were damaged and began empty"
            }
            Self::Full => {
                "the scratch volumes (build folders, package stores) are full: programs that write more are told \
                 that no space is left. They are emptied before the next run; a person can raise `disk_mb` in the policy"
            }
            Self::ThrownAway => {
                "the scratch volumes (build folders, package stores) went beyond the disk limit and were emptied; a \
                 person can raise `disk_mb` in the policy"
            }
        })
    }
}

/// A volume that the workspace or the host asks for.
#[derive(Debug)]
struct Wanted {
    at: PathBuf,
    name: String,
    seed: Seed,
    /// What tells one state of the seed from another.
    identity: String,
}

/// Where volumes are made ready.
#[derive(Debug, Clone, Copy)]
enum Held<'a> {
    /// In an image whose root this process reaches at `root`; what is in it belongs to `agent` (user and group).
    Image { root: &'a Path, agent: (u32, u32) },
    /// In a folder.
    Folder(&'a Path),
}

/// The volumes of the workspace's folders and of the host's package stores.
fn wanted(request: &Request<'_>) -> Vec<Wanted> {
    let mut all = Vec::new();
    let locks = lock_files(request.workspace);
    for (name, marker) in FOLDERS {
        let at = request.workspace.join(name);
        let there = fs::symlink_metadata(&at).map(|metadata| metadata.is_dir());
        let wanted = match there {
            Ok(is_folder) => is_folder,
            Err(_) => marker.is_some_and(|marker| request.workspace.join(marker).is_file()),
        };
        if wanted {
            let seed = match request.seeding {
                // What a build tool makes is made again sooner than copied.
                Seeding::Copy if name == "target" => Seed::Empty,
                Seeding::Layer | Seeding::Copy if there.is_ok() => Seed::Folder(at.clone()),
                Seeding::Layer | Seeding::Copy => Seed::Empty,
            };
            let identity = identity_of(&seed, &locks, request.seeding);
            all.push(Wanted { at, name: name.trim_start_matches('.').to_owned(), seed, identity });
        }
    }
    for store in &request.root.stores {
        let seed = Seed::Folder(store.path.clone());
        let identity = identity_of(&seed, b"", request.seeding);
        all.push(Wanted { at: store.path.clone(), name: format!("store-{}", store.name), seed, identity });
    }
    all
}

impl Wanted {
    /// Makes the volume ready: `upper` and `work` exist, and are empty if what they were made on is gone.
    fn make_ready(self, held: Held<'_>) -> io::Result<Scratch> {
        let Self { at, name, seed, identity } = self;
        let volume = match held {
            Held::Image { root, .. } => root.join(&name),
            Held::Folder(folder) => folder.join(&name),
        };
        let noted = volume.join("seed");
        let old = fs::read_to_string(&noted).ok();
        if old.as_ref().is_some_and(|old| *old != identity) {
            remove_all(&volume)?;
        }
        for folder in ["upper", "work"].map(|folder| volume.join(folder)) {
            fs::create_dir_all(&folder)?;
            match held {
                Held::Image { agent: (user, group), .. } => chown(&folder, Some(user), Some(group))?,
                // Shown inside as the agent's, whoever owns them here.
                Held::Folder(_) => {}
            }
        }
        if old.as_ref() != Some(&identity) {
            fs::write(&noted, identity)?;
        }
        let volume = match held {
            Held::Image { .. } => PathBuf::from(name),
            Held::Folder(_) => volume,
        };
        Ok(Scratch { at, volume, seed })
    }
}

/// Empties volumes that are folders when they are nearly full, or hold what cannot be measured. Says what they take.
fn make_room(folder: &Path, bound: Usage) -> io::Result<(Usage, Duration, Option<BeganEmpty>)> {
    let uppers: Vec<PathBuf> = folders_in(folder)?.iter().map(|volume| volume.join("upper")).collect();
    let before = Instant::now();
    match measure(uppers.iter().map(PathBuf::as_path), bound.less_an_eighth()) {
        Measure::Whole(usage) => Ok((usage, before.elapsed(), None)),
        Measure::AtLeast(_) | Measure::Beyond => {
            remove_folders(folder)?;
            Ok((Usage::default(), Duration::ZERO, Some(BeganEmpty::NearlyFull)))
        }
    }
}

fn remove_folders(folder: &Path) -> io::Result<()> {
    folders_in(folder)?.iter().try_for_each(|volume| remove_all(volume))
}

fn folders_in(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut folders = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            folders.push(entry.path());
        }
    }
    Ok(folders)
}

/// What tells one state of a seed, and one way to have it, from another.
fn identity_of(seed: &Seed, locks: &[u8], seeding: Seeding) -> String {
    let identity = match seed {
        Seed::Empty => "empty".to_owned(),
        Seed::Folder(folder) => seed_identity(folder, locks),
    };
    // An upper layer is no folder by itself, nor the other way round.
    match seeding {
        Seeding::Layer => identity,
        Seeding::Copy => format!("{identity} copied"),
    }
}

/// What tells one state of a seed from another: identity and change times of the folder and of the entries two levels
/// below it (package managers and build tools touch one of those), and the workspace's lock files.
fn seed_identity(folder: &Path, locks: &[u8]) -> String {
    let mut hash = Sha256::new();
    hash.update(locks);
    let mut looked = 0;
    let mut folders = vec![(folder.to_path_buf(), 0)];
    while let Some((folder, depth)) = folders.pop() {
        let Ok(metadata) = fs::symlink_metadata(&folder) else { continue };
        for number in
            [metadata.dev(), metadata.ino(), metadata.ctime().cast_unsigned(), metadata.ctime_nsec().cast_unsigned()]
        {
            hash.update(number.to_le_bytes());
        }
        looked += 1;
        if depth < 2 && metadata.is_dir() && looked < SEED_ENTRIES {
            let mut names: Vec<PathBuf> =
                fs::read_dir(&folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
            names.sort();
            folders.extend(names.into_iter().take(SEED_ENTRIES).map(|path| (path, depth + 1)));
        }
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Sizes and change times of the workspace's lock files: their content is read by what builds from them, not here.
fn lock_files(workspace: &Path) -> Vec<u8> {
    let mut all = Vec::new();
    for name in LOCK_FILES {
        if let Ok(metadata) = fs::symlink_metadata(workspace.join(name)) {
            for number in [metadata.len(), metadata.mtime().cast_unsigned(), metadata.mtime_nsec().cast_unsigned()] {
                all.extend(number.to_le_bytes());
            }
        }
    }
    all
}

#[cfg(test)]
#[path = "scratch/tests.rs"]
mod tests;
