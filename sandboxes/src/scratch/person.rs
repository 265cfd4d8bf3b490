//! Scratch volumes for a person: what there is, what it takes of the disk, getting it out, removing it.
//!
//! A person takes the same turn and the same lock on the image as a run, so nothing is looked at while it is written, and
//! nothing is removed that a run uses. Looking changes nothing: an image that the next run will throw away, because it is of
//! another size or from before the machine was restarted, is shown as it is.

use std::{
    ffi::{OsStr, OsString},
    fmt,
    fs::{self, File},
    io,
    os::{
        fd::{AsFd, AsRawFd, OwnedFd},
        unix::{
            ffi::{OsStrExt, OsStringExt},
            fs::MetadataExt,
        },
    },
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use cofferdam_contract::{Ended, Limits};
use rustix::fs::{AtFlags, Mode, OFlags, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT};

use super::{
    LONGEST_WAIT, ScratchError, Waiting,
    export::{Destination, ExportError, Exported, export},
    folders_in,
    image::{Means, Still, remove},
    measure::{ENDLESS, Measure, Usage, measure},
    merged::Merged,
    removal::remove_all,
    take_turn,
};
use crate::{
    cancel::Cancel,
    workspace::{Workspace, beneath},
    yard::chain,
};

/// The file in a volume that says where it is shown.
const PLACE: &str = "place";

/// Bytes of a path that the kernel takes (`PATH_MAX`, limits.h).
const MOST_PLACE_BYTES: u64 = 4096;

/// What a person wants to do with the volumes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Intention {
    /// Look, and copy out.
    Look,
    /// Remove some.
    Change,
}

/// Who waits for the turn, and who is told.
pub struct PersonWaiting<'a> {
    /// Ends the waiting.
    pub cancel: &'a Cancel,
    /// Told once, when there is something to wait for.
    pub tell: &'a mut dyn FnMut(&str),
}

/// A workspace's volumes, which no run uses for as long as this is there.
#[derive(Debug)]
pub struct ScratchVolumes {
    folder: PathBuf,
    image: Option<KeptImage>,
    volumes: Vec<ScratchVolume>,
    _turn: File,
}

/// The image, and its mount if it can be mounted.
#[derive(Debug)]
struct KeptImage {
    path: PathBuf,
    mounted: Result<Still, String>,
    /// Its lock, until it is dropped.
    _file: File,
}

/// One volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScratchVolume {
    /// Where it is shown inside; `None` for one that was last used by a version which did not note that.
    pub place: Option<PathBuf>,
    /// Its name in our state.
    pub name: String,
    /// What it holds of its own, without its seed. A file with several names counts with each.
    pub size: ScratchSize,
    /// Whether that is all: an ordinary user may not look into folders whose permissions a program took away.
    pub is_whole: bool,
    /// Whether it lies over a folder of the host, or began as a copy of it.
    pub is_seeded: bool,
    /// When a run had it last.
    pub last_used: Option<SystemTime>,
    /// Its own files on the host; `None` for one in an image.
    pub folder: Option<PathBuf>,
}

/// Bytes and files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ScratchSize {
    /// Bytes on the disk.
    pub bytes: u64,
    /// Files, folders and links.
    pub files: u64,
}

/// What holds a workspace's volumes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ScratchHolder {
    /// An ext4 image on the host.
    Image {
        /// The file.
        file: PathBuf,
        /// What is used of it and what it has, or why it cannot be mounted.
        used: Result<(ScratchSize, ScratchSize), String>,
    },
    /// Folders in this one.
    Folders(PathBuf),
}

/// Why a person did not get at the volumes.
#[derive(Debug, thiserror::Error)]
pub enum PersonError {
    /// The waiting was ended.
    #[error(transparent)]
    Ended(#[from] Ended),
    /// A run has them.
    #[error(
        "a run on this workspace has the scratch volumes, and was waited for {waited_seconds} s: end it, or try again when \
         it is over"
    )]
    Busy {
        /// How long was waited, in seconds.
        waited_seconds: u64,
    },
    /// They could not be read, or not removed.
    #[error("failed to look after the scratch volumes in {}", path.display())]
    Volumes {
        /// Where they lie.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The image cannot be mounted, so single volumes cannot be reached.
    #[error("failed to mount {}: {why}. Without it no single volume can be reached; `cofferdam scratch clear` removes all", file.display())]
    Image {
        /// The file.
        file: PathBuf,
        /// Why.
        why: String,
    },
}

impl From<Usage> for ScratchSize {
    fn from(Usage { bytes, inodes }: Usage) -> Self {
        Self { bytes, files: inodes }
    }
}

impl ScratchSize {
    /// What all volumes of a workspace together may hold, for calls with these limits.
    #[must_use]
    pub fn allowed(limits: &Limits) -> Self {
        Usage::allowed(limits).into()
    }
}

impl ScratchVolumes {
    /// Takes the volumes of `workspace`, waiting until no run has them, ten minutes at most.
    ///
    /// # Errors
    /// [`PersonError`]. An image that cannot be mounted is none: [`ScratchVolumes::holder`] says so.
    pub fn take(workspace: &Workspace, intention: Intention, waiting: PersonWaiting<'_>) -> Result<Self, PersonError> {
        Self::take_with(workspace.state(), intention, waiting, LONGEST_WAIT, &Means::default())
    }

    /// As [`ScratchVolumes::take`], with the workspace's state folder.
    pub(super) fn take_with(
        state: &Path,
        intention: Intention,
        PersonWaiting { cancel, tell }: PersonWaiting<'_>,
        longest: Duration,
        means: &Means,
    ) -> Result<Self, PersonError> {
        let folder = state.join("scratch");
        let mut waiting = Waiting { longest, cancel, tell };
        let turn = take_turn(&folder, &mut waiting)?;
        let image = KeptImage::open(folder.join("image"), intention, means, &mut waiting)?;
        let mut volumes = list(&folder, Kept::Folders).map_err(|source| failed(&folder, source))?;
        if let Some(KeptImage { mounted: Ok(still), path, .. }) = &image {
            let root = reached(still);
            volumes.extend(list(&root, Kept::Image).map_err(|source| failed(path, source))?);
        }
        // As a person looks for them.
        volumes.sort_by(|one, other| (&one.place, &one.name).cmp(&(&other.place, &other.name)));
        Ok(Self { folder, image, volumes, _turn: turn })
    }

    /// The volumes, by their places.
    #[must_use]
    pub fn volumes(&self) -> &[ScratchVolume] {
        &self.volumes
    }

    /// What holds them.
    #[must_use]
    pub fn holder(&self) -> ScratchHolder {
        let Some(KeptImage { path, mounted, .. }) = &self.image else {
            return ScratchHolder::Folders(self.folder.clone());
        };
        let used = mounted.as_ref().map_err(Clone::clone).and_then(|still| {
            let status = rustix::fs::fstatvfs(still.root()).map_err(|errno| errno.to_string())?;
            let part = |blocks: u64, files| ScratchSize { bytes: blocks.saturating_mul(status.f_frsize), files };
            let all = part(status.f_blocks, status.f_files);
            let free = part(status.f_bfree, status.f_ffree);
            let used = ScratchSize { bytes: all.bytes - free.bytes, files: all.files - free.files };
            Ok((used, all))
        });
        ScratchHolder::Image { file: path.clone(), used }
    }

    /// The volume that `path`, absolute as programs saw it, lies in, and the rest of the path.
    #[must_use]
    pub fn find<'a>(&self, path: &'a Path) -> Option<(&ScratchVolume, &'a Path)> {
        let rest = |volume: &ScratchVolume| path.strip_prefix(volume.place.as_ref()?).ok();
        let found = self.volumes.iter().filter_map(|volume| Some((volume, rest(volume)?)));
        found.min_by_key(|(_, rest)| rest.as_os_str().len())
    }

    /// Copies the file or folder `inside` of a volume, as programs saw it, to the name `to` in `folder`.
    ///
    /// Nothing is overwritten, no link is followed, and the copy belongs to the person, or for root to whoever owns
    /// `folder`. It has its name when it is whole.
    ///
    /// # Errors
    /// [`ExportError`]; then nothing is there.
    pub fn export(
        &self,
        workspace: &Workspace,
        (volume, inside): (&ScratchVolume, &Path),
        (folder, name): (&Path, &OsStr),
        PersonWaiting { cancel, tell }: PersonWaiting<'_>,
    ) -> Result<Exported, ExportError> {
        let copy = |source| ExportError::Copy { path: folder.join(name), source };
        let place = volume.place.as_deref().unwrap_or(Path::new(""));
        let real = folder.canonicalize().map_err(copy)?;
        if volume.place.is_some() && real.starts_with(place.join(inside)) {
            return Err(ExportError::Inside(real));
        }
        let own = self.root_of(volume).join(&volume.name);
        let opened = File::open(&own).map_err(copy)?;
        let upper = beneath::open(opened.as_fd(), Path::new("upper"), OFlags::RDONLY | OFlags::DIRECTORY);
        let top = Merged::top(Some(upper.map_err(copy)?), seed(workspace, &own, place));
        export(top, inside, Destination { folder, name }, cancel, tell)
    }

    /// Removes the volumes with these names, and gives those that were there.
    ///
    /// # Errors
    /// [`PersonError`]; some may be gone then. They must have been taken with [`Intention::Change`].
    pub fn clear(mut self, names: &[&str]) -> Result<Vec<ScratchVolume>, PersonError> {
        let (cleared, kept): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.volumes).into_iter().partition(|volume| names.contains(&volume.name.as_str()));
        self.volumes = kept;
        for volume in &cleared {
            let path = self.root_of(volume).join(&volume.name);
            remove_all(&path).map_err(|source| failed(&path, source))?;
        }
        if let Some(KeptImage { mounted: Ok(still), .. }) = self.image.take() {
            still.close();
        }
        Ok(cleared)
    }

    /// Removes all volumes, and what holds them; an image also where it cannot be mounted.
    ///
    /// # Errors
    /// [`PersonError`]; some may be gone then.
    pub fn clear_all(mut self) -> Result<Vec<ScratchVolume>, PersonError> {
        if let Some(KeptImage { path, mounted, _file }) = self.image.take() {
            drop(mounted);
            // Under its lock: whoever waits for that finds it gone.
            remove(&path).map_err(|source| failed(&path, source))?;
        }
        for volume in folders_in(&self.folder).map_err(|source| failed(&self.folder, source))? {
            remove_all(&volume).map_err(|source| failed(&volume, source))?;
        }
        Ok(std::mem::take(&mut self.volumes))
    }

    /// Why the volumes of an image cannot be reached.
    ///
    /// # Errors
    /// [`PersonError::Image`].
    pub fn reachable(&self) -> Result<(), PersonError> {
        match &self.image {
            Some(KeptImage { path, mounted: Err(why), .. }) => {
                Err(PersonError::Image { file: path.clone(), why: why.clone() })
            }
            Some(_) | None => Ok(()),
        }
    }

    fn root_of(&self, volume: &ScratchVolume) -> PathBuf {
        match (&volume.folder, &self.image) {
            (None, Some(KeptImage { mounted: Ok(still), .. })) => reached(still),
            (Some(_) | None, _) => self.folder.clone(),
        }
    }
}

impl KeptImage {
    /// Opens the image at `path`, if there is one, when nobody else has it.
    fn open(
        path: PathBuf,
        intention: Intention,
        means: &Means,
        waiting: &mut Waiting<'_>,
    ) -> Result<Option<Self>, PersonError> {
        let opened = match intention {
            Intention::Look => File::open(&path),
            Intention::Change => File::options().read(true).write(true).open(&path),
        };
        let file = match opened {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(failed(&path, source)),
        };
        waiting.lock(&file, &path, "waiting until a server lets go of this workspace's scratch volumes")?;
        // Whoever had it until now may have found it broken, and removed it.
        if file.metadata().map_err(|source| failed(&path, source))?.nlink() == 0 {
            return Ok(None);
        }
        let mounted = match intention {
            Intention::Look => Still::read(&file, means),
            Intention::Change => Still::write(&file, &path, means),
        };
        Ok(Some(Self { path, mounted: mounted.map_err(|error| chain(&error)), _file: file }))
    }
}

impl From<ScratchError> for PersonError {
    fn from(error: ScratchError) -> Self {
        match error {
            ScratchError::Ended(why) => Self::Ended(why),
            ScratchError::Busy { waited_seconds } => Self::Busy { waited_seconds },
            ScratchError::Prepare { path, source } => Self::Volumes { path, source },
        }
    }
}

impl fmt::Debug for PersonWaiting<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("PersonWaiting").field("cancel", &self.cancel).finish_non_exhaustive()
    }
}

/// Notes where a volume is shown, and that a run has it now.
pub(super) fn note_place(volume: &Path, at: &Path) -> io::Result<()> {
    let noted = volume.join(PLACE);
    let bytes = at.as_os_str().as_bytes();
    if fs::read(&noted).is_ok_and(|old| old == bytes) {
        let now = |nanoseconds| Timespec { tv_sec: 0, tv_nsec: nanoseconds };
        let times = Timestamps { last_access: now(UTIME_OMIT), last_modification: now(UTIME_NOW) };
        return Ok(rustix::fs::utimensat(rustix::fs::CWD, &noted, &times, AtFlags::SYMLINK_NOFOLLOW)?);
    }
    fs::write(&noted, bytes)
}

fn failed(path: &Path, source: io::Error) -> PersonError {
    PersonError::Volumes { path: path.to_path_buf(), source }
}

/// A path by which this process reaches what is in an image.
fn reached(still: &Still) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", still.root().as_raw_fd()))
}

/// What volumes lie in.
#[derive(Debug, Clone, Copy)]
enum Kept {
    Image,
    Folders,
}

fn list(root: &Path, kept: Kept) -> io::Result<Vec<ScratchVolume>> {
    let mut volumes = Vec::new();
    for folder in folders_in(root)? {
        let upper = folder.join("upper");
        let noted = fs::read_to_string(folder.join("seed"));
        let (Ok(noted), Some(name)) = (noted, folder.file_name().and_then(|name| name.to_str())) else {
            // `lost+found` of an image, or a volume that was being made.
            continue;
        };
        let (usage, is_whole) = match measure([upper.as_path()], ENDLESS) {
            Measure::Whole(usage) => (usage, true),
            Measure::AtLeast(usage) => (usage, false),
            // Nothing is above that bound, but a tree may be too deep to be measured.
            Measure::Beyond => (Usage::default(), false),
        };
        volumes.push(ScratchVolume {
            place: place_of(&folder),
            name: name.to_owned(),
            size: usage.into(),
            is_whole,
            is_seeded: !is_unseeded(&noted),
            last_used: fs::symlink_metadata(folder.join(PLACE)).and_then(|metadata| metadata.modified()).ok(),
            folder: match kept {
                Kept::Image => None,
                Kept::Folders => Some(upper),
            },
        });
    }
    Ok(volumes)
}

fn place_of(volume: &Path) -> Option<PathBuf> {
    let noted = volume.join(PLACE);
    if fs::symlink_metadata(&noted).ok()?.len() > MOST_PLACE_BYTES {
        return None;
    }
    let place = PathBuf::from(OsString::from_vec(fs::read(&noted).ok()?));
    place.is_absolute().then_some(place)
}

/// Whether what is noted of a volume's seed says that it has none.
fn is_unseeded(noted: &str) -> bool {
    noted.split(' ').next() == Some("empty")
}

/// The folder of the host that a volume lies over. One that is gone, or is behind a link now, shows nothing.
fn seed(workspace: &Workspace, volume: &Path, place: &Path) -> Option<OwnedFd> {
    let noted = fs::read_to_string(volume.join("seed")).ok()?;
    let is_copied = noted.ends_with(" copied");
    if is_unseeded(&noted) || is_copied {
        return None;
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW;
    match place.strip_prefix(workspace.root()) {
        Ok(below) => beneath::open(workspace.fd(), below, flags).ok(),
        Err(_) => rustix::fs::open(place, flags | OFlags::CLOEXEC, Mode::empty()).ok(),
    }
}
