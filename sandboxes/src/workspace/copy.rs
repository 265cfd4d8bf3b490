//! A copy of what a session sees of its workspace: the view where the kernel gives no overlay.
//!
//! Held layers are laid over the workspace as overlayfs would. What the call changed in the copy is found by comparing
//! each entry with what it was when the copy was complete: inode, size, permission bits and ctime, which no program can
//! set. The copy is complete only when the file system's clock has moved on, so that no later change has the ctime of the
//! copying itself, and no content needs to be compared.
//!
//! Unlike an overlay it is a snapshot: what the host changes meanwhile is not seen, and found by the gate. Devices, pipes,
//! sockets and files that the server may not read are not in it.

use std::{
    collections::{BTreeMap, HashMap},
    ffi::{OsStr, OsString},
    fs::File,
    io::{self, Read},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
    thread,
    time::{Duration, Instant},
};

use cofferdam_contract::Ended;
use rustix::fs::{AtFlags, Mode, OFlags, Timespec, Timestamps};

use super::{
    beneath::{self, Entry, Kind, Time},
    changeset::is_temporary,
    stamp::Clock,
    tree_path::TreePath,
};

/// How long the clock of a file system may stand still: FAT's 2 s (`fs/fat/misc.c`) and some.
const CLOCK_STANDS: Duration = Duration::from_secs(3);

/// How much is copied at most.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CopyBounds {
    /// Bytes of all files together.
    pub(crate) bytes: u64,
    /// Files, folders and links together.
    pub(crate) entries: u64,
}

/// A copy, and what each entry of it was.
#[derive(Debug)]
pub(crate) struct Copied {
    folder: OwnedFd,
    pub(super) was: HashMap<TreePath, Was>,
    pub(super) names: HashMap<TreePath, Vec<OsString>>,
}

/// What an entry of a copy was when the copy was complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Was {
    kind: Kind,
    mode: u32,
    /// What a folder does not keep when something in it changes: inode, size, ctime.
    content: Option<(u64, u64, Time)>,
}

/// Why a copy was not made.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// There is too much.
    #[error(
        "the workspace would have to be copied, since this machine gives no overlay, and it holds more than the {mebibytes} MiB or {entries} files that a call may write: raise disk_mb in the policy's limits, or name a smaller workspace"
    )]
    TooLarge {
        /// The bound on bytes, in MiB.
        mebibytes: u64,
        /// The bound on files, folders and links.
        entries: u64,
    },
    /// The call ended meanwhile.
    #[error(transparent)]
    Ended(#[from] Ended),
    /// Something could not be copied.
    #[error("failed to copy {path}")]
    Kernel {
        /// What.
        path: TreePath,
        /// What the kernel said.
        source: io::Error,
    },
}

impl Was {
    pub(super) fn of(entry: &Entry) -> Self {
        let content = (entry.kind != Kind::Folder).then_some((entry.inode, entry.size, entry.changed));
        Self { kind: entry.kind, mode: entry.mode, content }
    }
}

impl Copied {
    /// Copies what `sources`, the top one first and the workspace last, show together into the empty folder at `to`. At
    /// `points`, which are names in the workspace, an empty folder is made and nothing copied. `ended` is asked from time
    /// to time.
    ///
    /// # Errors
    /// [`CopyError`]; what was copied by then stays.
    pub(crate) fn make(
        sources: &[BorrowedFd<'_>],
        to: &Path,
        bounds: CopyBounds,
        points: &[TreePath],
        ended: &dyn Fn() -> Option<Ended>,
    ) -> Result<Self, CopyError> {
        let at = |path: &TreePath| {
            let path = path.clone();
            move |source: io::Error| CopyError::Kernel { path, source }
        };
        let root = TreePath::root();
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = rustix::fs::open(to, flags, Mode::empty()).map_err(|error| at(&root)(error.into()))?;
        let copied = Self { folder, was: HashMap::new(), names: HashMap::new() };
        let mut copy =
            Copy { copied, sources, points, bounds, bytes: 0, entries: 0, latest: None, folders: Vec::new() };
        for point in points {
            rustix::fs::mkdirat(&copy.copied.folder, point.as_path(), Mode::from_raw_mode(0o755))
                .map_err(|error| at(point)(error.into()))?;
        }
        let mut pending = vec![(root.clone(), (0..sources.len()).collect::<Vec<_>>())];
        while let Some((path, shown)) = pending.pop() {
            if let Some(why) = ended() {
                return Err(why.into());
            }
            copy.folder(&path, &shown, &mut pending, ended)?;
        }
        copy.set_modes().map_err(at(&root))?;
        copy.wait_for_the_clock().map_err(at(&root))?;
        Ok(copy.copied)
    }

    /// The copy's folder.
    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.folder.as_fd()
    }
}

struct Copy<'a> {
    copied: Copied,
    sources: &'a [BorrowedFd<'a>],
    points: &'a [TreePath],
    bounds: CopyBounds,
    bytes: u64,
    entries: u64,
    /// The latest ctime of a copy.
    latest: Option<Time>,
    /// Folders, parents first, and the permission bits that they get at the end.
    folders: Vec<(TreePath, u32)>,
}

impl Copy<'_> {
    fn folder(
        &mut self,
        path: &TreePath,
        shown: &[usize],
        pending: &mut Vec<(TreePath, Vec<usize>)>,
        ended: &dyn Fn() -> Option<Ended>,
    ) -> Result<(), CopyError> {
        let failed = |path: &TreePath, source| CopyError::Kernel { path: path.clone(), source };
        // By name, where it is shown: the top one first.
        let mut names: BTreeMap<OsString, Vec<(usize, Entry)>> = BTreeMap::new();
        for source in shown {
            for (name, entry) in list(self.sources[*source], path).map_err(|error| failed(path, error))? {
                names.entry(name).or_default().push((*source, entry));
            }
        }
        let to = beneath::folder(self.copied.fd(), path.as_path()).map_err(|error| failed(path, error))?;
        for (name, found) in names {
            let child = path.join(&name);
            if is_temporary(&name) || self.points.contains(&child) {
                continue;
            }
            let Some((source, entry)) = found.first().copied() else { continue };
            let made = match entry.kind {
                Kind::Folder => {
                    self.count(0)?;
                    let merged = found.iter().take_while(|(_, entry)| entry.kind == Kind::Folder);
                    pending.push((child.clone(), merged.map(|(source, _)| *source).collect()));
                    self.folders.push((child.clone(), entry.permissions()));
                    rustix::fs::mkdirat(&to, &name, Mode::RWXU).map(|()| true).map_err(io::Error::from)
                }
                Kind::File => {
                    self.count(entry.size)?;
                    if let Some(why) = ended() {
                        return Err(why.into());
                    }
                    copy_file(self.sources[source], &child, &entry, to.as_fd(), &name)
                }
                Kind::Link => {
                    self.count(0)?;
                    copy_link(self.sources[source], &child, to.as_fd(), &name)
                }
                // A deletion in a held layer, or what never comes back.
                Kind::Character | Kind::Block | Kind::Fifo | Kind::Socket => Ok(false),
            };
            if made.map_err(|error| failed(&child, error))? {
                self.note(to.as_fd(), path, &name, child.clone()).map_err(|error| failed(&child, error))?;
            }
        }
        Ok(())
    }

    fn note(&mut self, to: BorrowedFd<'_>, folder: &TreePath, name: &OsStr, child: TreePath) -> io::Result<()> {
        let entry = beneath::entry(to, name)?.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        self.latest = self.latest.max(Some(entry.changed));
        self.copied.was.insert(child, Was::of(&entry));
        self.copied.names.entry(folder.clone()).or_default().push(name.to_owned());
        Ok(())
    }

    fn count(&mut self, bytes: u64) -> Result<(), CopyError> {
        self.entries += 1;
        self.bytes = self.bytes.saturating_add(bytes);
        if self.bytes > self.bounds.bytes || self.entries > self.bounds.entries {
            return Err(CopyError::TooLarge { mebibytes: self.bounds.bytes >> 20, entries: self.bounds.entries });
        }
        Ok(())
    }

    /// Gives the folders their permission bits, children first: a folder may be closed to its own owner.
    fn set_modes(&mut self) -> io::Result<()> {
        for (path, mode) in std::mem::take(&mut self.folders).into_iter().rev() {
            let folder = beneath::folder(self.copied.fd(), path.as_path())?;
            beneath::set_mode(folder.as_fd(), mode)?;
            self.copied.was.insert(path, Was { kind: Kind::Folder, mode, content: None });
        }
        Ok(())
    }

    /// Waits until a change gets a later ctime than any copy has.
    fn wait_for_the_clock(&self) -> io::Result<()> {
        let began = Instant::now();
        let clock = Clock::default();
        while Some(clock.ask(self.copied.fd())?) <= self.latest {
            if began.elapsed() > CLOCK_STANDS {
                return Err(io::Error::other("the clock of the state folder's file system stands still"));
            }
            thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }
}

/// What is in a folder of a source. Nothing when it may not be read, or the host took it away meanwhile.
fn list(source: BorrowedFd<'_>, path: &TreePath) -> io::Result<Vec<(OsString, Entry)>> {
    let listed = beneath::folder(source, path.as_path()).and_then(|folder| {
        let mut found = Vec::new();
        for name in beneath::names(folder.as_fd())? {
            if let Some(entry) = beneath::entry(folder.as_fd(), &name)? {
                found.push((name, entry));
            }
        }
        Ok(found)
    });
    match listed {
        Err(error) if beneath::is_moved(&error) => Ok(Vec::new()),
        result => result,
    }
}

/// Copies a file, sharing its blocks where the file system can. False when there is none to be read.
fn copy_file(
    source: BorrowedFd<'_>,
    path: &TreePath,
    entry: &Entry,
    to: BorrowedFd<'_>,
    name: &OsStr,
) -> io::Result<bool> {
    let file = match beneath::file(source, path.as_path()) {
        Ok(file) => file,
        Err(error) if beneath::is_moved(&error) => return Ok(false),
        Err(error) => return Err(error),
    };
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut copy = File::from(rustix::fs::openat(to, name, flags, Mode::RUSR | Mode::WUSR)?);
    // FICLONE (ioctl_ficlone(2)): EOPNOTSUPP, EXDEV and their like mean that the bytes must be copied.
    if entry.size > 0 && rustix::fs::ioctl_ficlone(&copy, &file).is_err() {
        // No more than was counted, when the host appends meanwhile. `copy_file_range(2)` where it works.
        io::copy(&mut (&file).take(entry.size), &mut copy)?;
    }
    rustix::fs::fchmod(&copy, Mode::from_raw_mode(entry.permissions()))?;
    let time = Timespec { tv_sec: entry.modified.seconds, tv_nsec: entry.modified.nanoseconds as _ };
    // Build tools compare modification times.
    rustix::fs::futimens(&copy, &Timestamps { last_access: time, last_modification: time })?;
    Ok(true)
}

fn copy_link(source: BorrowedFd<'_>, path: &TreePath, to: BorrowedFd<'_>, name: &OsStr) -> io::Result<bool> {
    let target = beneath::folder_of(source, path).and_then(|folder| beneath::link_target(folder.as_fd(), path.name()));
    let target = match target {
        Ok(target) => target,
        Err(error) if beneath::is_moved(&error) => return Ok(false),
        Err(error) => return Err(error),
    };
    rustix::fs::symlinkat(target.as_os_str(), to, name)?;
    // The link's own time: what it points to does not matter.
    rustix::fs::statat(to, name, AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(true)
}
