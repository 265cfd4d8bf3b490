//! Putting new things into the host's `.git`: packs, refs and the index, in the way that git itself does.
//!
//! Everything is resolved beneath the pinned workspace. A file is written under a name that git passes over (`tmp_…`) or
//! takes for a lock (`….lock`, lockfile.h), and renamed when it is on the disk. It belongs to whoever owns the folder.

use std::{
    ffi::{OsStr, OsString},
    fs::File,
    io::{self, Read, Write},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
};

use rustix::{
    fs::{AtFlags, Gid, Mode, OFlags, Uid},
    io::Errno,
};

use super::host::{in_git, name};
use crate::workspace::{TreePath, Workspace, beneath};

/// A lock of git's: a new file beside the one that it will replace. Dropping it gives the lock back.
#[derive(Debug)]
pub(super) struct Lock {
    folder: OwnedFd,
    target: OsString,
    lock: OsString,
    file: File,
    kept: bool,
}

impl Lock {
    /// Locks the file at `path` below `.git`, and makes the folders above it.
    pub(super) fn take(workspace: &Workspace, path: &TreePath) -> io::Result<Self> {
        let path = in_git(path);
        let folder = make_folder(workspace, &path.parent().unwrap_or_else(TreePath::root))?;
        let mut lock = path.name().to_owned();
        lock.push(".lock");
        let file = create(folder.as_fd(), &lock, 0o644)?;
        // A file that only its owner may read stays one.
        if let Some(entry) = beneath::entry(folder.as_fd(), path.name())?
            && entry.kind == beneath::Kind::File
        {
            rustix::fs::fchmod(&file, Mode::from_raw_mode(entry.permissions()))?;
        }
        Ok(Self { folder, target: path.name().to_owned(), lock, file, kept: false })
    }

    /// What the locked file holds now; `None` when there is none.
    pub(super) fn current(&self, limit: u64) -> io::Result<Option<Vec<u8>>> {
        let file = match beneath::file(self.folder.as_fd(), Path::new(&self.target)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut bytes = Vec::new();
        file.take(limit).read_to_end(&mut bytes)?;
        Ok(Some(bytes))
    }

    /// Writes what the file will hold.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.file.sync_all()
    }

    /// Puts it in the place of the locked file.
    pub(super) fn commit(mut self) -> io::Result<()> {
        rustix::fs::renameat(&self.folder, &self.lock, &self.folder, &self.target)?;
        self.kept = true;
        beneath::sync_folder(self.folder.as_fd(), Path::new(""))
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        if !self.kept {
            let _ = rustix::fs::unlinkat(&self.folder, &self.lock, AtFlags::empty());
        }
    }
}

/// Puts the packs of a trusted repository into the host's. The index comes last: a pack without one is not used.
pub(super) fn packs(workspace: &Workspace, trusted: &Path) -> io::Result<()> {
    let from = std::fs::File::open(trusted.join("objects/pack"))?;
    let into = make_folder(workspace, &in_git(&name("objects/pack")))?;
    let mut names = beneath::names(from.as_fd())?;
    let is = |name: &OsStr, end: &str| Path::new(name).extension() == Some(OsStr::new(end));
    names.retain(|name| is(name, "pack") || is(name, "idx"));
    names.sort_by_key(|name| is(name, "idx"));
    for name in &names {
        if beneath::entry(into.as_fd(), name)?.is_some() {
            continue;
        }
        let mut temporary = OsString::from("tmp_cofferdam_");
        temporary.push(name);
        match rustix::fs::unlinkat(&into, &temporary, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => return Err(error.into()),
        }
        let mut copy = create(into.as_fd(), &temporary, 0o444)?;
        io::copy(&mut beneath::file(from.as_fd(), Path::new(name))?, &mut copy)?;
        copy.sync_all()?;
        rustix::fs::renameat(&into, &temporary, &into, name)?;
    }
    beneath::sync_folder(into.as_fd(), Path::new(""))
}

/// Adds a line to a log of git's that is there. Where there is none, the person keeps none.
pub(super) fn log(workspace: &Workspace, path: &TreePath, line: &str) -> io::Result<()> {
    let path = in_git(&TreePath::new(Path::new("logs").join(path.as_path())).expect("plain names below a plain name"));
    let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::NOFOLLOW;
    match beneath::open(workspace.fd(), path.as_path(), flags) {
        Ok(file) => File::from(file).write_all(line.as_bytes()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// Opens a folder and makes what is missing of it, each with the owner of the one above.
fn make_folder(workspace: &Workspace, path: &TreePath) -> io::Result<OwnedFd> {
    let mut folder = beneath::folder(workspace.fd(), Path::new(""))?;
    for component in path.as_path().iter() {
        folder = match beneath::folder(folder.as_fd(), Path::new(component)) {
            Ok(next) => next,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                match rustix::fs::mkdirat(&folder, component, Mode::from_raw_mode(0o755)) {
                    Ok(()) | Err(Errno::EXIST) => {}
                    Err(error) => return Err(error.into()),
                }
                let made = beneath::folder(folder.as_fd(), Path::new(component))?;
                own(made.as_fd(), folder.as_fd())?;
                made
            }
            Err(error) => return Err(error),
        };
    }
    Ok(folder)
}

/// Makes a new file with the owner of its folder.
fn create(folder: BorrowedFd<'_>, name: &OsStr, mode: u32) -> io::Result<File> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::openat(folder, name, flags, Mode::from_raw_mode(mode))?);
    own(file.as_fd(), folder)?;
    Ok(file)
}

fn own(made: BorrowedFd<'_>, folder: BorrowedFd<'_>) -> io::Result<()> {
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let above = beneath::entry_of(folder)?;
    let (owner, group) = (Uid::from_raw(above.owner), Gid::from_raw(above.group));
    Ok(rustix::fs::chownat(made, "", Some(owner), Some(group), AtFlags::EMPTY_PATH)?)
}
