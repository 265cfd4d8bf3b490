//! Looking things up beneath a folder, and never anywhere else.
//!
//! Every path of a workspace, of an upper layer and of a held layer is resolved here, by `openat2(2)` with
//! `RESOLVE_BENEATH | NO_SYMLINKS | NO_MAGICLINKS | NO_XDEV`: a link swapped in while we work gives `ELOOP`, a mount
//! gives `EXDEV`, and neither is ever walked through. The last name of a path is only ever used with calls that do not
//! follow links, relative to its already opened folder.

use std::{
    ffi::{OsStr, OsString},
    fs::File,
    io::{self, Read},
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
        unix::ffi::OsStringExt,
    },
    path::Path,
};

use rustix::{
    fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags, Stat},
    io::Errno,
};

use super::tree_path::TreePath;

/// Links that one path may pass, as in the kernel (`MAXSYMLINKS` of `include/linux/namei.h`).
pub(crate) const MAX_LINKS: usize = 40;

const RESOLVE: ResolveFlags = ResolveFlags::BENEATH
    .union(ResolveFlags::NO_SYMLINKS)
    .union(ResolveFlags::NO_MAGICLINKS)
    .union(ResolveFlags::NO_XDEV);

/// What a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) enum Kind {
    File,
    Folder,
    Link,
    /// A character device; with device number 0:0 overlayfs means "deleted" (Documentation/filesystems/overlayfs.rst).
    Character,
    Block,
    Fifo,
    Socket,
}

/// What `fstatat(2)` says about one name, without following it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) kind: Kind,
    pub(crate) device: u64,
    pub(crate) inode: u64,
    /// Device number of a device node.
    pub(crate) node: u64,
    /// All mode bits but the file type.
    pub(crate) mode: u32,
    pub(crate) owner: u32,
    pub(crate) group: u32,
    /// Names that it has; for a folder, as its file system counts.
    pub(crate) links: u64,
    pub(crate) size: u64,
    /// Bytes that it occupies.
    pub(crate) occupied: u64,
    pub(crate) changed: Time,
    pub(crate) modified: Time,
}

/// A file system time: seconds and nanoseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub(crate) struct Time {
    pub(super) seconds: i64,
    pub(super) nanoseconds: i64,
}

impl Entry {
    /// Which file it is, under whatever name: its device and inode.
    pub(super) fn identity(&self) -> (u64, u64) {
        (self.device, self.inode)
    }

    pub(super) fn of(status: &Stat) -> io::Result<Self> {
        let kind = match FileType::from_raw_mode(status.st_mode) {
            FileType::RegularFile => Kind::File,
            FileType::Directory => Kind::Folder,
            FileType::Symlink => Kind::Link,
            FileType::CharacterDevice => Kind::Character,
            FileType::BlockDevice => Kind::Block,
            FileType::Fifo => Kind::Fifo,
            FileType::Socket => Kind::Socket,
            _ => return Err(io::Error::other("a file of a kind that Linux does not have")),
        };
        // The C library's types differ between architectures; the values are what the kernel documents in stat(2).
        #[expect(clippy::unnecessary_cast, clippy::cast_sign_loss, reason = "the widths differ between architectures")]
        Ok(Self {
            kind,
            device: status.st_dev as u64,
            inode: status.st_ino as u64,
            node: status.st_rdev as u64,
            mode: status.st_mode & 0o7777,
            owner: status.st_uid,
            group: status.st_gid,
            links: status.st_nlink as u64,
            size: status.st_size as u64,
            occupied: status.st_blocks as u64 * 512,
            changed: Time { seconds: status.st_ctime as i64, nanoseconds: status.st_ctime_nsec as i64 },
            modified: Time { seconds: status.st_mtime as i64, nanoseconds: status.st_mtime_nsec as i64 },
        })
    }

    /// The permission bits.
    pub(crate) fn permissions(&self) -> u32 {
        self.mode & 0o777
    }

    /// The same with what no call takes from the owner: reading, and entering of a folder. Whoever cannot read a file can
    /// neither see what it holds nor take a change of it back.
    pub(crate) fn owned_permissions(&self) -> u32 {
        match self.kind {
            Kind::Folder => self.permissions() | 0o500,
            Kind::File => self.permissions() | 0o400,
            Kind::Link | Kind::Character | Kind::Block | Kind::Fifo | Kind::Socket => self.permissions(),
        }
    }
}

/// What is at a path below a root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Found {
    /// Something.
    Entry(Entry),
    /// Nothing; `folder` is the nearest folder above that exists.
    Absent { folder: TreePath, entry: Entry },
    /// A folder above it cannot be walked through.
    Blocked(Blocked),
}

/// Why a path cannot be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Blocked {
    /// A link is in the way.
    Link,
    /// Something that is not a folder is in the way.
    NotFolder,
    /// Another file system is mounted in the way.
    Mount,
    /// Permission is missing.
    Permission,
}

/// Opens `path` below `root`. The empty path is `root` itself.
pub(crate) fn open(root: BorrowedFd<'_>, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    loop {
        match rustix::fs::openat2(root, path, flags | OFlags::CLOEXEC, Mode::empty(), RESOLVE) {
            // EAGAIN: a rename raced with a scoped lookup (openat2(2)); the lookup is safe to repeat.
            Err(Errno::INTR | Errno::AGAIN) => {}
            result => return Ok(result?),
        }
    }
}

/// Opens a folder for calls relative to it.
pub(crate) fn folder(root: BorrowedFd<'_>, path: &Path) -> io::Result<OwnedFd> {
    open(root, path, OFlags::PATH | OFlags::DIRECTORY)
}

/// Opens the folder that holds `path`, whose last name is then used relative to it.
pub(super) fn folder_of(root: BorrowedFd<'_>, path: &TreePath) -> io::Result<OwnedFd> {
    folder(root, path.as_path().parent().unwrap_or(Path::new("")))
}

/// Opens a regular file for reading. `O_NONBLOCK` keeps a FIFO from stopping us; the caller has seen a regular file.
pub(crate) fn file(root: BorrowedFd<'_>, path: &Path) -> io::Result<File> {
    let file = File::from(open(root, path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW)?);
    if !file.metadata()?.is_file() {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    Ok(file)
}

/// What `name` in `folder` is; `None` when there is nothing.
pub(crate) fn entry(folder: BorrowedFd<'_>, name: &OsStr) -> io::Result<Option<Entry>> {
    match rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(status) => Entry::of(&status).map(Some),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// What `fd` is.
pub(crate) fn entry_of(fd: impl AsFd) -> io::Result<Entry> {
    Entry::of(&rustix::fs::fstat(fd)?)
}

/// Looks `path` up below `root`.
pub(super) fn find(root: BorrowedFd<'_>, path: &TreePath) -> io::Result<Found> {
    let mut looked_up = path.clone();
    while let Some(parent) = looked_up.parent() {
        match folder(root, parent.as_path()) {
            Ok(folder) => {
                return match entry(folder.as_fd(), looked_up.name()) {
                    Ok(Some(found)) if looked_up == *path => Ok(Found::Entry(found)),
                    // A folder appeared between two looks. Whatever it is, it is not what was there before.
                    Ok(Some(_)) => Ok(Found::Blocked(Blocked::NotFolder)),
                    Ok(None) => Ok(Found::Absent { folder: parent, entry: entry_of(folder)? }),
                    Err(error) => blocked(error).map(Found::Blocked),
                };
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => looked_up = parent,
            Err(error) => return blocked(error).map(Found::Blocked),
        }
    }
    Ok(Found::Entry(entry_of(root)?))
}

impl Blocked {
    /// Whether an error of a lookup says that the path cannot be walked.
    pub(super) fn of(error: &io::Error) -> Option<Self> {
        match Errno::from_io_error(error) {
            Some(Errno::LOOP) => Some(Self::Link),
            Some(Errno::NOTDIR) => Some(Self::NotFolder),
            Some(Errno::XDEV) => Some(Self::Mount),
            Some(Errno::ACCESS | Errno::PERM) => Some(Self::Permission),
            _ => None,
        }
    }
}

/// Whether an error of a look says that the host moved or replaced something between that look and the one before.
pub(super) fn is_moved(error: &io::Error) -> bool {
    // EINVAL: no link any more (readlink(2)), or no regular file (`file`). EISDIR: a folder now.
    let replaced =
        matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidInput | io::ErrorKind::IsADirectory);
    replaced || Blocked::of(error).is_some()
}

fn blocked(error: io::Error) -> io::Result<Blocked> {
    Blocked::of(&error).ok_or(error)
}

/// The names in a folder, sorted. An `O_PATH` descriptor is enough.
pub(crate) fn names(folder: BorrowedFd<'_>) -> io::Result<Vec<OsString>> {
    let mut names = Vec::new();
    let readable =
        rustix::fs::openat(folder, ".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    for item in Dir::new(readable)? {
        let item = item?;
        let name = item.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(OsString::from_vec(name.to_vec()));
        }
    }
    names.sort();
    Ok(names)
}

/// Where a link points to, as it is written.
pub(crate) fn link_target(folder: BorrowedFd<'_>, name: &OsStr) -> io::Result<OsString> {
    Ok(OsString::from_vec(rustix::fs::readlinkat(folder, name, Vec::new())?.into_bytes()))
}

/// Whether two files hold the same bytes.
pub(super) fn same_content(first: File, second: File) -> io::Result<bool> {
    const CHUNK_BYTES: usize = 128 * 1024;
    let (mut first, mut second) = (first, second);
    let (mut one, mut other) = (vec![0; CHUNK_BYTES], vec![0; CHUNK_BYTES]);
    loop {
        let count = fill(&mut first, &mut one)?;
        if count != fill(&mut second, &mut other)? || one[..count] != other[..count] {
            return Ok(false);
        }
        if count == 0 {
            return Ok(true);
        }
    }
}

fn fill(file: &mut File, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// Removes `name` from `folder`, with all that is below it when it is a folder. Links are removed, not followed, and a
/// mount below is an error. Nothing being there is fine.
pub(crate) fn remove_all(folder: BorrowedFd<'_>, name: &OsStr) -> io::Result<()> {
    match rustix::fs::unlinkat(folder, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        // POSIX says EPERM and Linux says EISDIR for a folder.
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(error) => return Err(error.into()),
    }
    // Iterative, one open folder at a time: a tree may be deeper than there are file descriptors.
    let mut pending = vec![(TreePath::root().join(name), false)];
    while let Some((path, emptied)) = pending.pop() {
        let parent = folder_of(folder, &path)?;
        if emptied {
            rustix::fs::unlinkat(&parent, path.name(), AtFlags::REMOVEDIR)?;
            continue;
        }
        let opened = open_listable(folder, &path)?;
        pending.push((path.clone(), true));
        for child in names(opened.as_fd())? {
            match rustix::fs::unlinkat(&opened, &child, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(Errno::ISDIR | Errno::PERM) => pending.push((path.join(&child), false)),
                Err(error) => return Err(error.into()),
            }
        }
    }
    Ok(())
}

/// Opens a folder that is about to be emptied; when its own permission bits forbid that to their owner, they are widened.
fn open_listable(root: BorrowedFd<'_>, path: &TreePath) -> io::Result<OwnedFd> {
    let opened = folder(root, path.as_path())?;
    let found = entry_of(&opened)?;
    if found.mode & 0o700 != 0o700 && !rustix::process::geteuid().is_root() {
        set_mode(opened.as_fd(), found.permissions() | 0o700)?;
    }
    open(root, path.as_path(), OFlags::RDONLY | OFlags::DIRECTORY)
}

/// Sets the permission bits of what an `O_PATH` descriptor holds, which `fchmod(2)` refuses: through its own
/// `/proc/self/fd` entry, which leads to exactly that inode.
pub(crate) fn set_mode(fd: BorrowedFd<'_>, mode: u32) -> io::Result<()> {
    let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
    Ok(rustix::fs::chmod(path, Mode::from_raw_mode(mode))?)
}

/// Flushes a folder's entries to the disk.
pub(super) fn sync_folder(root: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    match open(root, path, OFlags::RDONLY | OFlags::DIRECTORY) {
        Ok(folder) => match rustix::fs::fsync(folder) {
            // File systems without fsync for folders say EINVAL (fsync(2)); they have nothing more to offer.
            Ok(()) | Err(Errno::INVAL) => Ok(()),
            Err(error) => Err(error.into()),
        },
        // A folder that we may write into but not list cannot be opened for fsync.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        Err(error) => Err(error),
    }
}
