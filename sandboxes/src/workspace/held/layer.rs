//! One layer of held changes: built beside the others, on the disk when it is done, and never changed again.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsStr,
    fs::{DirBuilder, File},
    io::{self, Read, Write},
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::fs::DirBuilderExt,
    },
    path::Path,
};

use rustix::{
    fs::{AtFlags, FileType, Mode, OFlags},
    io::Errno,
};

use crate::workspace::{
    beneath::{self, Found, Kind},
    change::What,
    delivery::flush::Flush,
    tree_path::TreePath,
};

/// Where the bytes of a held file come from when a layer is built.
#[derive(Debug, Clone)]
pub(in crate::workspace) enum Bytes<'a> {
    /// Copied from a file that may change or go.
    Copy { root: BorrowedFd<'a>, path: TreePath },
    /// Shared with the layer that has them.
    Share { layer: BorrowedFd<'a> },
    /// It has none: a deletion, a folder, a link.
    None,
}

/// Opens a layer's folder.
pub(in crate::workspace) fn open(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::empty())?)
}

/// The folders that a layer's own folders stand over, whose permission bits they show.
#[derive(Debug, Clone, Copy)]
pub(in crate::workspace) struct Ground<'a> {
    pub(in crate::workspace) workspace: BorrowedFd<'a>,
    /// The bits (`0o777` part) that folders of the workspace are about to get.
    pub(in crate::workspace) modes: &'a BTreeMap<TreePath, u32>,
}

impl<'a> Ground<'a> {
    /// The workspace as it is.
    pub(in crate::workspace) fn as_it_is(workspace: BorrowedFd<'a>) -> Self {
        static NONE: BTreeMap<TreePath, u32> = BTreeMap::new();
        Self { workspace, modes: &NONE }
    }

    fn mode(&self, folder: &TreePath) -> io::Result<u32> {
        let there = match (self.modes.get(folder), beneath::find(self.workspace, folder)?) {
            (Some(mode), _) => *mode,
            (None, Found::Entry(entry)) if entry.kind == Kind::Folder => entry.permissions(),
            (None, Found::Entry(_) | Found::Absent { .. } | Found::Blocked(_)) => 0o755,
        };
        // The server must get through.
        Ok(there | 0o700)
    }
}

/// Builds the layer `name` in `layers` with `entries` of the changes in `whats`. It is on the disk when this returns.
pub(super) fn build(
    layers: &Path,
    name: &str,
    ground: Ground<'_>,
    whats: &Whats<'_>,
    entries: &BTreeMap<&TreePath, Bytes<'_>>,
) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(layers)?;
    let layer = make(&layers.join(name))?;
    fill(layer.as_fd(), ground, whats, entries)?.finish()?;
    Ok(rustix::fs::fsync(File::open(layers)?)?)
}

/// As [`build`], in a folder that need not survive a failure of power.
pub(in crate::workspace) fn build_unsynced(
    folder: &Path,
    ground: Ground<'_>,
    whats: &Whats<'_>,
    entries: &BTreeMap<&TreePath, Bytes<'_>>,
) -> io::Result<()> {
    let layer = make(folder)?;
    fill(layer.as_fd(), ground, whats, entries).map(drop)
}

/// What is at the paths of a layer.
pub(super) type Whats<'a> = BTreeMap<&'a TreePath, &'a What>;

fn make(folder: &Path) -> io::Result<OwnedFd> {
    DirBuilder::new().mode(0o755).create(folder)?;
    open(folder)
}

fn fill<'a>(
    layer: BorrowedFd<'a>,
    ground: Ground<'a>,
    whats: &'a Whats<'a>,
    entries: &BTreeMap<&TreePath, Bytes<'_>>,
) -> io::Result<Build<'a>> {
    let (folders, flush) = (BTreeSet::new(), Flush::default());
    let mut build = Build { layer, ground, whats, folders, flush };
    for (path, bytes) in entries {
        if let Some(what) = whats.get(path) {
            build.add(path, what, bytes)?;
        }
    }
    Ok(build)
}

/// A layer that is being built.
struct Build<'a> {
    layer: BorrowedFd<'a>,
    ground: Ground<'a>,
    whats: &'a Whats<'a>,
    folders: BTreeSet<TreePath>,
    flush: Flush,
}

impl Build<'_> {
    fn add(&mut self, path: &TreePath, what: &What, bytes: &Bytes<'_>) -> io::Result<()> {
        self.make_parents(path)?;
        let parent = beneath::folder_of(self.layer, path)?;
        let name = path.name();
        match what {
            What::File { mode, .. } => match bytes {
                Bytes::Copy { root, path: source } => {
                    self.flush.add(copy_file(*root, source, parent.as_fd(), name, *mode)?);
                }
                Bytes::Share { layer } => self.share(*layer, path, parent.as_fd(), *mode)?,
                Bytes::None => return Err(io::Error::other("a held file has no layer to come from")),
            },
            What::Folder { mode, .. } => self.make(path, *mode)?,
            What::Link { target } => rustix::fs::symlinkat(target.as_os_str(), &parent, name)?,
            // Allowed without privilege since Linux 5.8 (mknod(2): device 0:0).
            What::Deleted => rustix::fs::mknodat(&parent, name, FileType::CharacterDevice, Mode::empty(), 0)?,
            What::Special { .. } => return Err(io::Error::other("a special file is never held")),
        }
        Ok(())
    }

    /// Takes a file over from another layer.
    fn share(&mut self, layer: BorrowedFd<'_>, path: &TreePath, parent: BorrowedFd<'_>, mode: u32) -> io::Result<()> {
        let from = beneath::folder_of(layer, path)?;
        match rustix::fs::linkat(&from, path.name(), parent, path.name(), AtFlags::empty()) {
            Ok(()) => Ok(()),
            // Too many links (ext4: 65,000), or a file system that has none.
            Err(Errno::MLINK | Errno::PERM | Errno::OPNOTSUPP) => {
                self.flush.add(copy_file(layer, path, parent, path.name(), mode)?);
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    fn make_parents(&mut self, path: &TreePath) -> io::Result<()> {
        let mut missing: Vec<_> = path.folders_above().take_while(|above| !self.folders.contains(above)).collect();
        while let Some(folder) = missing.pop() {
            // In the view, the layer's mode hides that of what is below: show the same.
            let mode = match self.whats.get(&folder) {
                Some(What::Folder { mode, .. }) => *mode,
                Some(What::File { .. } | What::Link { .. } | What::Deleted | What::Special { .. }) | None => {
                    self.ground.mode(&folder)?
                }
            };
            self.make(&folder, mode)?;
        }
        Ok(())
    }

    fn make(&mut self, path: &TreePath, mode: u32) -> io::Result<()> {
        if self.folders.insert(path.clone()) {
            let parent = beneath::folder_of(self.layer, path)?;
            rustix::fs::mkdirat(&parent, path.name(), Mode::RWXU)?;
        }
        // The process's umask took its part of a mode given to mkdir.
        beneath::set_mode(beneath::folder(self.layer, path.as_path())?.as_fd(), mode)
    }

    /// Waits until the layer is on the disk.
    fn finish(self) -> io::Result<()> {
        let folders = self.folders.iter().map(TreePath::as_path).chain([Path::new("")]);
        self.flush.flush(self.layer, folders)
    }
}

/// Files up to this size are read and written at once, in bytes: `io::copy` first tries two calls of the kernel's that mostly
/// refuse (measured: a third of what copying a small file costs).
const SMALL_BYTES: u64 = 64 << 10;

/// Copies a regular file to a new name. Gives the copy, which is not yet on the disk.
pub(in crate::workspace) fn copy_file(
    root: BorrowedFd<'_>,
    source: &TreePath,
    folder: BorrowedFd<'_>,
    name: &OsStr,
    mode: u32,
) -> io::Result<File> {
    let mut source = beneath::file(root, source.as_path())?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut copy = File::from(rustix::fs::openat(folder, name, flags, Mode::RUSR | Mode::WUSR)?);
    // The file does not change any more; the bound is for one that does all the same.
    let size = source.metadata()?.len();
    if size <= SMALL_BYTES {
        let mut bytes = vec![0; usize::try_from(size).unwrap_or_default()];
        source.read_exact(&mut bytes)?;
        copy.write_all(&bytes)?;
    } else if io::copy(&mut (&source).take(size), &mut copy)? != size {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the file became shorter while it was copied"));
    }
    rustix::fs::fchmod(&copy, Mode::from_raw_mode(mode))?;
    Ok(copy)
}
