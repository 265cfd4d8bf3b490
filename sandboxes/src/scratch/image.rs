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
//! It may be mounted once at a time. The loop device keeps the open file that it was given, so the lock on that file
//! holds until the kernel has let go of the image, also when the server was killed.

use std::{
    fs::{self, File},
    io,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
        unix::fs::{FileExt, MetadataExt, OpenOptionsExt},
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use rustix::fs::{Mode, OFlags, StatVfs};

use super::{BeganEmpty, ScratchError, measure::Usage, turn::Waiting};
use crate::namespace::{LoopMountError, mount_file};

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
    mount: OwnedFd,
    /// Its root, open for reading. It is older than any write, so that it is told of every write that failed.
    root: OwnedFd,
    path: PathBuf,
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
    /// Mounts the image in `folder`, or a fresh one in its place, waiting until nobody else has it. Says why it is fresh
    /// if there was one before.
    ///
    /// # Errors
    /// [`ImageError`].
    pub(super) fn open(
        folder: &Path,
        size: Usage,
        means: &Means,
        waiting: &mut Waiting<'_>,
    ) -> Result<(Self, Option<BeganEmpty>), ImageError> {
        let maker = means.makers.iter().find(|maker| maker.is_file()).ok_or(NoImage::Maker)?;
        let path = folder.join("image");
        let why = match File::options().read(true).write(true).open(&path) {
            Ok(file) => {
                waiting.lock(&file, &path)?;
                match Self::keep(&file, &path, size, means)? {
                    Ok(image) => return Ok((image, None)),
                    Err(why) => Some(why),
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(source) => return Err(ScratchError::Prepare { path, source }.into()),
        };
        Ok((Self::make(folder, &path, size, maker, means)?, why))
    }

    /// Mounts an image that is there, or says why it is of no use.
    fn keep(file: &File, path: &Path, size: Usage, means: &Means) -> Result<Result<Self, BeganEmpty>, ImageError> {
        let noted = fs::read_to_string(note_of(path)).unwrap_or_default();
        if !noted.starts_with(&boot()) {
            return Ok(Err(BeganEmpty::OlderThanBoot));
        }
        if noted != note(size) {
            return Ok(Err(BeganEmpty::OtherBudget));
        }
        let mut state = [0; 2];
        let read = file.read_exact_at(&mut state, STATE_AT);
        // Whoever had it until now may have found it broken, and removed it.
        let is_there = file.metadata().is_ok_and(|metadata| metadata.nlink() > 0);
        if read.is_err() || state != STATE_CLEAN || !is_there {
            return Ok(Err(BeganEmpty::Damaged));
        }
        match Self::mount(file, path, means) {
            Ok(image) if image.is_nearly_full() => Ok(Err(BeganEmpty::NearlyFull)),
            Ok(image) => Ok(Ok(image)),
            Err(LoopMountError::Mount(_)) => Ok(Err(BeganEmpty::Damaged)),
            Err(error @ LoopMountError::Attach { .. }) => Err(NoImage::Loop(error).into()),
        }
    }

    fn make(folder: &Path, path: &Path, size: Usage, maker: &Path, means: &Means) -> Result<Self, ImageError> {
        let prepare = |source| ScratchError::Prepare { path: path.to_path_buf(), source };
        remove_if_there(&note_of(path)).map_err(prepare)?;
        remove_if_there(path).map_err(prepare)?;
        let fresh = folder.join("image.new");
        remove_if_there(&fresh).map_err(prepare)?;
        let file = File::options().create_new(true).read(true).write(true).mode(0o600).open(&fresh).map_err(prepare)?;
        file.set_len(size.bytes).map_err(prepare)?;
        format(maker, &fresh, size)?;
        let mounted = rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive)
            .map_err(|errno| LoopMountError::Mount(errno.into()))
            .and_then(|()| Self::mount(&file, path, means));
        let image = match mounted {
            Ok(image) => image,
            Err(error) => {
                remove_if_there(&fresh).map_err(prepare)?;
                return Err(NoImage::Loop(error).into());
            }
        };
        fs::rename(&fresh, path).map_err(prepare)?;
        fs::write(note_of(path), note(size)).map_err(prepare)?;
        Ok(image)
    }

    fn mount(file: &File, path: &Path, means: &Means) -> Result<Self, LoopMountError> {
        let mount = mount_file(file, &means.control)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::openat(&mount, c".", flags, Mode::empty())
            .map_err(|errno| LoopMountError::Mount(errno.into()))?;
        Ok(Self { mount, root, path: path.to_path_buf() })
    }

    /// The mount, which nobody sees.
    pub(super) fn mounted(&self) -> BorrowedFd<'_> {
        self.mount.as_fd()
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
            if let Err(error) = remove_if_there(&self.path) {
                tracing::warn!(%error, path = %self.path.display(), "an image of scratch volumes was not removed");
            }
        }
    }
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
fn note(size: Usage) -> String {
    format!("{} {} {}\n", boot(), size.bytes, size.inodes)
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
