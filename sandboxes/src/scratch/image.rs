//! The image: one file that holds all scratch volumes of a workspace, as an ext4 file system of a fixed size.
//!
//! The size is the call's disk budget, bytes and files alike, so the kernel holds the budget: a write beyond it answers
//! ENOSPC. One image and not one a volume, because the budget is for all of them together. The file is sparse, and what is
//! deleted inside is given back to the host.
//!
//! An image is a cache. One that is of another size, nearly full, damaged, or from before the machine last started (a
//! machine that lost power may have kept half of what was written) is thrown away for a fresh one. Growing was left out:
//! budgets change when an operator edits the policy.
//!
//! It may be attached once at a time. The loop device keeps the open file that it was given, so the lock on that file
//! holds until the kernel has let go of the image, also when the server was killed.

use std::{
    fs::{self, File},
    io,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::fs::{FileExt, MetadataExt, OpenOptionsExt},
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use rustix::fs::{Mode, StatVfs, StatVfsMountFlags};

use super::{BeganEmpty, ScratchError, closer::Closer, measure::Usage, turn::Waiting};
use crate::namespace::{LoopMount, LoopMountError, mount_file, mount_file_to_read};

/// The part of an image that must be free when a call begins.
const NEARLY_FULL_PART: u64 = 8;

/// The part of which less is free in an image that is called full, or else so many bytes: the kernel takes room for as
/// much as a program writes at once, and refuses all of it (measured: 1 MiB).
const FULL_PART: u64 = 128;
const FULL_BYTES: u64 = 2 << 20;

/// Where the superblock's state lies in an ext4 file system, and what it is when all is well: unmounted in order, no
/// errors seen (kernel documentation, `ext4/super.rst`, `s_state`).
const STATE_AT: u64 = 1024 + 0x3A;
const STATE_CLEAN: [u8; 2] = [1, 0];

/// By what images are made and mounted.
#[derive(Debug, Clone)]
pub(crate) struct Means {
    /// The device that hands out loop devices.
    pub(crate) control: PathBuf,
    /// Where mkfs.ext4 may be, in order.
    pub(crate) makers: Vec<PathBuf>,
}

/// A mounted image.
#[derive(Debug)]
pub(crate) struct Image {
    mounted: LoopMount,
    /// Its root, open for reading. It is older than any write, so that it is told of every write that failed.
    root: OwnedFd,
    path: PathBuf,
    /// Device and inode of the file.
    file: (u64, u64),
}

/// An image that was opened for a call.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) image: Image,
    /// A mount of it to give away.
    pub(super) mount: OwnedFd,
    /// Why it is fresh, if there was one before.
    pub(super) began_empty: Option<BeganEmpty>,
}

/// An image that is mounted for a person, as it is: of whatever size and age.
#[derive(Debug)]
pub(super) enum Still {
    /// To look at. Nothing in it can change.
    Read { _mounted: LoopMount, root: OwnedFd },
    /// To remove volumes from.
    Write(Image),
}

/// Why there is no image here, and folders are used.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoImage {
    #[error("there is no mkfs.ext4 (package e2fsprogs)")]
    Maker,
    #[error("mkfs.ext4 failed: {0}")]
    Make(String),
    #[error(transparent)]
    Loop(#[from] LoopMountError),
}

/// Why no image was opened.
#[derive(Debug, thiserror::Error)]
pub(super) enum ImageError {
    /// This machine cannot have one.
    #[error(transparent)]
    NoImage(#[from] NoImage),
    /// The call's volumes cannot be lent at all.
    #[error(transparent)]
    Scratch(#[from] ScratchError),
}

impl Default for Means {
    fn default() -> Self {
        Self {
            control: PathBuf::from("/dev/loop-control"),
            makers: ["/usr/sbin/mkfs.ext4", "/sbin/mkfs.ext4"].map(PathBuf::from).to_vec(),
        }
    }
}

impl Image {
    /// Takes the image in `folder` back from `closer`, or mounts it, or makes a fresh one in its place, waiting until nobody
    /// else has it.
    ///
    /// # Errors
    /// [`ImageError`].
    pub(super) fn open(
        folder: &Path,
        size: Usage,
        means: &Means,
        closer: &Closer,
        waiting: &mut Waiting<'_>,
    ) -> Result<Opened, ImageError> {
        let maker = means.makers.iter().find(|maker| maker.is_file()).ok_or(NoImage::Maker)?;
        let path = folder.join("image");
        let kept = match closer.take_back(&path) {
            Some(image) if image.is_at_its_path() => Some(image.keep_mounted(size)),
            // Somebody removed it, or put another in its place.
            Some(image) => {
                drop(image);
                None
            }
            None => None,
        };
        let kept = match kept {
            Some(kept) => Some(kept),
            None => match File::options().read(true).write(true).open(&path) {
                Ok(file) => {
                    let words = "waiting until another server lets go of this workspace's scratch volumes";
                    waiting.lock(&file, &path, words)?;
                    Some(Self::keep(&file, &path, size, means)?)
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => None,
                Err(source) => return Err(ScratchError::Prepare { path, source }.into()),
            },
        };
        let began_empty = match kept {
            Some(Ok((image, mount))) => return Ok(Opened { image, mount, began_empty: None }),
            Some(Err(why)) => Some(why),
            None => None,
        };
        let (image, mount) = Self::make(folder, &path, size, maker, means)?;
        Ok(Opened { image, mount, began_empty })
    }

    /// Mounts an image that is there, or says why it is of no use.
    fn keep(
        file: &File,
        path: &Path,
        size: Usage,
        means: &Means,
    ) -> Result<Result<(Self, OwnedFd), BeganEmpty>, ImageError> {
        if let Err(why) = is_of_use(path, size) {
            return Ok(Err(why));
        }
        let mut state = [0; 2];
        let read = file.read_exact_at(&mut state, STATE_AT);
        // Whoever had it until now may have found it broken, and removed it.
        let is_there = file.metadata().is_ok_and(|metadata| metadata.nlink() > 0);
        if read.is_err() || state != STATE_CLEAN || !is_there {
            return Ok(Err(BeganEmpty::Damaged));
        }
        match Self::mount(file, path, means) {
            Ok((image, _)) if image.is_nearly_full() => Ok(Err(BeganEmpty::NearlyFull)),
            Ok(mounted) => Ok(Ok(mounted)),
            Err(LoopMountError::Mount(_)) => Ok(Err(BeganEmpty::Damaged)),
            Err(error @ LoopMountError::Attach { .. }) => Err(NoImage::Loop(error).into()),
        }
    }

    /// Gives another call an image that is still mounted, or says why it is of no use.
    fn keep_mounted(self, size: Usage) -> Result<(Self, OwnedFd), BeganEmpty> {
        is_of_use(&self.path, size)?;
        if self.is_nearly_full() {
            return Err(BeganEmpty::NearlyFull);
        }
        // A file system that has met an error takes no write any more. Newer kernels say so in no flag, so one is tried.
        let is_read_only =
            rustix::fs::fstatvfs(&self.root).map_or(true, |status| status.f_flag.contains(StatVfsMountFlags::RDONLY));
        let takes_writes = rustix::fs::fchmod(&self.root, Mode::from_raw_mode(0o755)).is_ok();
        if is_read_only || !takes_writes {
            return Err(BeganEmpty::Damaged);
        }
        match self.mounted.again() {
            Ok(mount) => Ok((self, mount)),
            Err(error) => {
                tracing::warn!(%error, path = %self.path.display(), "scratch volumes could not be mounted again");
                Err(BeganEmpty::Damaged)
            }
        }
    }

    fn make(
        folder: &Path,
        path: &Path,
        size: Usage,
        maker: &Path,
        means: &Means,
    ) -> Result<(Self, OwnedFd), ImageError> {
        let prepare = |source| ScratchError::Prepare { path: path.to_path_buf(), source };
        remove(path).map_err(prepare)?;
        let fresh = folder.join("image.new");
        remove_if_there(&fresh).map_err(prepare)?;
        let file = File::options().create_new(true).read(true).write(true).mode(0o600).open(&fresh).map_err(prepare)?;
        file.set_len(size.bytes).map_err(prepare)?;
        format(maker, &fresh, size)?;
        let mounted = rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive)
            .map_err(|errno| LoopMountError::Mount(errno.into()))
            .and_then(|()| Self::mount(&file, path, means));
        let made = match mounted {
            Ok(made) => made,
            Err(error) => {
                remove_if_there(&fresh).map_err(prepare)?;
                return Err(NoImage::Loop(error).into());
            }
        };
        fs::rename(&fresh, path).map_err(prepare)?;
        fs::write(note_of(path), note(&boot(), size)).map_err(prepare)?;
        Ok(made)
    }

    fn mount(file: &File, path: &Path, means: &Means) -> Result<(Self, OwnedFd), LoopMountError> {
        let mounted = mount_file(file, &means.control)?;
        let root = mounted.open_root().map_err(LoopMountError::Mount)?;
        let mount = mounted.again().map_err(LoopMountError::Mount)?;
        let file = file.metadata().map(|metadata| identity(&metadata)).map_err(LoopMountError::Mount)?;
        Ok((Self { mounted, root, path: path.to_path_buf(), file }, mount))
    }

    /// Where its file is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether its file is still the one at its path.
    fn is_at_its_path(&self) -> bool {
        fs::symlink_metadata(&self.path).is_ok_and(|metadata| identity(&metadata) == self.file)
    }

    /// A path by which this process reaches what is in the image.
    pub(super) fn folder(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.root.as_raw_fd()))
    }

    /// Whether next to nothing more can be written.
    pub(super) fn is_full(&self) -> bool {
        rustix::fs::fstatvfs(&self.root).is_ok_and(|status| {
            status.f_bavail.saturating_mul(status.f_frsize) < FULL_BYTES && lacks(&status, NEARLY_FULL_PART)
                || lacks(&status, FULL_PART)
        })
    }

    fn is_nearly_full(&self) -> bool {
        rustix::fs::fstatvfs(&self.root).is_ok_and(|status| lacks(&status, NEARLY_FULL_PART))
    }

    /// Writes back what is in memory, and unmounts: the longest part, some seconds for a GiB on a slow disk. An image
    /// that did not keep what was written, because the host's own disk is full or broken, is removed.
    pub(super) fn close(self) {
        // syncfs(2), since Linux 5.8: tells of any failed write since the descriptor was opened.
        if let Err(error) = rustix::fs::syncfs(&self.root) {
            tracing::warn!(%error, path = %self.path.display(), "the host did not keep what was written to scratch volumes; they are thrown away");
            if self.is_at_its_path()
                && let Err(error) = remove_if_there(&self.path)
            {
                tracing::warn!(%error, path = %self.path.display(), "an image of scratch volumes was not removed");
            }
        }
    }
}

impl Still {
    /// Mounts an image whose `file` is locked, so that nothing in it can change.
    ///
    /// # Errors
    /// [`LoopMountError`].
    pub(super) fn read(file: &File, means: &Means) -> Result<Self, LoopMountError> {
        let mounted = mount_file_to_read(file, &means.control)?;
        let root = mounted.open_root().map_err(LoopMountError::Mount)?;
        Ok(Self::Read { _mounted: mounted, root })
    }

    /// Mounts an image whose `file` is locked, and at `path`, so that volumes can be removed from it.
    ///
    /// # Errors
    /// [`LoopMountError`]; also for one that is not in good order, in which the kernel might make more of a mess.
    pub(super) fn write(file: &File, path: &Path, means: &Means) -> Result<Self, LoopMountError> {
        let mut state = [0; 2];
        let read = file.read_exact_at(&mut state, STATE_AT);
        if read.is_err() || state != STATE_CLEAN {
            return Err(LoopMountError::Mount(io::Error::other("it was not unmounted in order")));
        }
        Ok(Self::Write(Image::mount(file, path, means)?.0))
    }

    /// Its root.
    pub(super) fn root(&self) -> &OwnedFd {
        match self {
            Self::Read { root, .. } | Self::Write(Image { root, .. }) => root,
        }
    }

    /// Writes back what was changed, and unmounts.
    pub(super) fn close(self) {
        match self {
            Self::Read { .. } => {}
            Self::Write(image) => image.close(),
        }
    }
}

/// Removes an image with all that is in it, and what is noted beside it.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    remove_if_there(&note_of(path))?;
    remove_if_there(path)
}

/// Says why an image is of no use to a call with a budget of `size`, from what is noted beside it.
fn is_of_use(path: &Path, size: Usage) -> Result<(), BeganEmpty> {
    let noted = fs::read_to_string(note_of(path)).unwrap_or_default();
    let boot = boot();
    if !noted.starts_with(&boot) {
        return Err(BeganEmpty::OlderThanBoot);
    }
    if noted != note(&boot, size) {
        return Err(BeganEmpty::OtherBudget);
    }
    Ok(())
}

/// What tells one file from another.
fn identity(metadata: &fs::Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

/// Whether less than one part of so many is free, of bytes or of files.
fn lacks(status: &StatVfs, part: u64) -> bool {
    status.f_bavail < status.f_blocks / part || status.f_favail < status.f_files / part
}

/// Makes the file system. It has no journal, since a machine that stops in between begins a fresh one, and no blocks
/// that are reserved for root.
fn format(maker: &Path, image: &Path, size: Usage) -> Result<(), NoImage> {
    let made = Command::new(maker)
        .args(["-q", "-F", "-b", "4096", "-I", "256", "-m", "0", "-O", "^has_journal", "-N"])
        .arg(size.inodes.to_string())
        .args(["-E", "lazy_itable_init=1,nodiscard"])
        .arg(image)
        .env_clear()
        .stdin(Stdio::null())
        .output()
        .map_err(|error| NoImage::Make(error.to_string()))?;
    if made.status.success() {
        return Ok(());
    }
    Err(NoImage::Make(String::from_utf8_lossy(&made.stderr).trim().to_owned()))
}

/// What is noted beside an image: since when the machine runs, and the size.
fn note(boot: &str, size: Usage) -> String {
    format!("{boot} {} {}\n", size.bytes, size.inodes)
}

fn note_of(image: &Path) -> PathBuf {
    image.with_extension("made")
}

/// What tells one start of the machine from another (`random(4)`).
fn boot() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}
