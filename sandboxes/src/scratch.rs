//! Scratch volumes: folders that keep what builds and tests write between calls, and never come back on their own.
//!
//! A volume is an overlay's upper folder in our state, one set per workspace. If the host has the folder it is the
//! volume's read-only lower layer (*seeded*), so what the user installed works at once. A seeded volume is emptied when
//! its seed changes: its files were made on top of what is no longer there. What of the seed holds credentials is masked as in
//! the view ([`masked`]).
//!
//! All volumes of a workspace together are bounded by the call's disk budget. A root server keeps them in an [`image`] of
//! that size, so the kernel holds the bound: programs get ENOSPC, the call goes on, and its result says so. An ordinary
//! user's server cannot mount one, so they are folders there (and where the view is a copy: what it writes is watched
//! anyway), which are measured while the call runs ([`watch`]); a call
//! whose volumes are beyond the bound is ended, and they are emptied. A cache that is beyond its budget is of no use, so
//! either kind begins empty when it is nearly full.
//!
//! An upper folder may be in use by one overlay at a time (kernel documentation, `overlayfs.rst`), so executing calls on
//! one workspace take turns, across servers too. An image stays mounted for a moment after a call, for the same server's
//! next one ([`closer`]).

mod closer;
mod export;
mod image;
mod masked;
mod measure;
mod merged;
mod person;
mod removal;
mod turn;
mod wanted;
mod watch;

use std::{
    fmt,
    fs::{self, File},
    io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::{PermissionsExt, chown},
    },
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use cofferdam_contract::{Ended, Limits};

pub(crate) use closer::{Closer, LINGER};
pub use export::{ExportError, Exported, SkipReason, Skipped};
pub(crate) use image::Means;
pub use person::{Intention, PersonError, PersonWaiting, ScratchHolder, ScratchSize, ScratchVolume, ScratchVolumes};
pub(crate) use turn::{LONGEST_WAIT, Waiting};
pub(crate) use watch::Watch;

use crate::{
    namespace::{Holding, Scratch, Seed, agent_of},
    root::HostRoot,
    workspace::{Copied, CopyBounds, CopyError, TreePath},
    yard::chain,
};
use image::{Image, ImageError, Opened};
use measure::{Measure, Usage, measure};
use removal::remove_all;
use wanted::{Wanted, wanted};

/// The file in a volume that says that its seed was copied into it.
const COPIED: &str = "copied";

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
    /// The folder or file in it that the call names, relative to it; empty for the workspace itself. It is the agent's
    /// word: nothing need be there.
    pub(crate) folder: &'a Path,
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
        /// A mount of it for the sandbox.
        mount: OwnedFd,
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
    /// It was not the call's turn in time.
    #[error(
        "another run has this workspace, and runs take turns: this one waited {waited_seconds} s and was not started. \
         Look at the other one with get_run and end it with cancel_run, or wait for it; it may be another client's"
    )]
    Busy {
        /// How long it waited, in seconds.
        waited_seconds: u64,
    },
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
        let turn = take_turn(&folder, &mut waiting)?;
        let wanted = wanted(&request);
        let bound = Usage::allowed(&request.limits);
        let (opened, why) = if wanted.is_empty() {
            (None, String::new())
        } else if request.seeding == Seeding::Copy {
            (None, "a machine without overlays shows them as folders".to_owned())
        } else if rustix::process::geteuid().is_root() {
            match Image::open(&folder, bound, request.means, request.closer, &mut waiting) {
                Ok(opened) => (Some(opened), String::new()),
                Err(ImageError::NoImage(why)) => (None, chain(&why)),
                Err(ImageError::Scratch(error)) => return Err(error),
            }
        } else {
            (None, "only root can mount one of a fixed size".to_owned())
        };
        match opened {
            Some(Opened { image, mount, began_empty }) => {
                // Folders of the time before there was an image.
                remove_folders(&folder).map_err(prepare(&folder))?;
                let place = Held::Image { root: &image.folder(), agent: agent_of(request.workspace_id) };
                let scratch = wanted
                    .into_iter()
                    .map(|wanted| wanted.make_ready(place))
                    .collect::<io::Result<_>>()
                    .map_err(prepare(&folder))?;
                let notes = began_empty.map(ScratchNote::BeganEmpty).into_iter().collect();
                let holder = Holder::Image { image: Some(image), mount, closer: Arc::clone(request.closer) };
                Ok(Self { scratch, holder, notes, _turn: turn })
            }
            None => {
                let (usage, cost, began_empty) = make_room(&folder, bound).map_err(prepare(&folder))?;
                let scratch: Vec<Scratch> = wanted
                    .into_iter()
                    .map(|wanted| wanted.make_ready(Held::Folder(&folder)))
                    .collect::<io::Result<_>>()
                    .map_err(prepare(&folder))?;
                // Also those that this call does not have: the bound is for all together.
                let uppers = folders_in(&folder).map_err(prepare(&folder))?;
                let uppers = uppers.iter().map(|volume| volume.join("upper")).collect();
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
        for Scratch { at, volume, seed, masks } in &self.scratch {
            let (Seed::Folder(folder), true) = (seed, at.starts_with(workspace)) else { continue };
            let (upper, done) = (volume.join("upper"), volume.join(COPIED));
            if done.exists() {
                continue;
            }
            let path = TreePath::new(at.strip_prefix(workspace).unwrap_or(at)).unwrap_or_else(TreePath::root);
            let failed = |source| CopyError::Kernel { path: path.clone(), source };
            remove_all(&upper).and_then(|()| fs::create_dir(&upper)).map_err(failed)?;
            let masks = masks.iter().map(|masks| masks.as_path());
            let sources =
                masks.chain([folder.as_path()]).map(File::open).collect::<io::Result<Vec<_>>>().map_err(failed)?;
            let sources: Vec<_> = sources.iter().map(File::as_fd).collect();
            Copied::make(&sources, &upper, bounds, &[], ended)?;
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
            Holder::Image { mount, .. } => Holding::Image(mount.as_fd()),
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
            Holder::Image { image, closer, .. } => {
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

/// Waits until no other call, and no person, has the volumes in `folder`, which is made if it is not there.
fn take_turn(folder: &Path, waiting: &mut Waiting<'_>) -> Result<File, ScratchError> {
    let prepare = |path: &Path| {
        let path = path.to_path_buf();
        move |source| ScratchError::Prepare { path, source }
    };
    fs::create_dir_all(folder).map_err(prepare(folder))?;
    fs::set_permissions(folder, fs::Permissions::from_mode(0o700)).map_err(prepare(folder))?;
    let path = folder.join("turn");
    let turn = File::options().create(true).truncate(false).write(true).open(&path).map_err(prepare(&path))?;
    waiting.lock(&turn, &path, "waiting for another run on this workspace to end")?;
    Ok(turn)
}

/// Where volumes are made ready.
#[derive(Debug, Clone, Copy)]
enum Held<'a> {
    /// In an image whose root this process reaches at `root`; what is in it belongs to `agent` (user and group).
    Image { root: &'a Path, agent: (u32, u32) },
    /// In a folder.
    Folder(&'a Path),
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
        person::note_place(&volume, &at)?;
        let volume = match held {
            Held::Image { .. } => PathBuf::from(name),
            Held::Folder(_) => volume,
        };
        Ok(Scratch { at, volume, seed, masks: None })
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

#[cfg(test)]
#[path = "scratch/tests.rs"]
mod tests;

#[cfg(test)]
#[path = "scratch/person_tests.rs"]
mod person_tests;
