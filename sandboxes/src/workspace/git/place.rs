//! Making files and folders in the host's `.git`. [`Placing`](super::placing::Placing) says which, and in which order.
//!
//! Everything is resolved beneath the pinned workspace, and belongs to whoever owns the folder that it is in.

use std::{
    ffi::OsStr,
    fs::File,
    io::{self, Read, Seek, SeekFrom, Write},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
};

use rustix::{
    fs::{AtFlags, Gid, Mode, OFlags, Uid},
    io::Errno,
};

use super::host::{in_git, name};
use crate::workspace::{TreePath, Workspace, beneath};

/// The packs of a trusted repository that the host lacks, and their indexes after them, by their names.
pub(super) fn new_packs(workspace: &Workspace, trusted: BorrowedFd<'_>) -> io::Result<Vec<String>> {
    let from = beneath::folder(trusted, Path::new("objects/pack"))?;
    let is = |name: &OsStr, end: &str| Path::new(name).extension() == Some(OsStr::new(end));
    let mut names = beneath::names(from.as_fd())?;
    names.retain(|name| is(name, "pack") || is(name, "idx"));
    names.sort_by_key(|name| is(name, "idx"));
    match beneath::folder(workspace.fd(), in_git(&name("objects/pack")).as_path()) {
        Ok(there) => {
            let mut new = Vec::new();
            for name in names {
                if beneath::entry(there.as_fd(), &name)?.is_none() {
                    new.push(name);
                }
            }
            names = new;
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    Ok(names.into_iter().filter_map(|name| name.into_string().ok()).collect())
}

/// Adds a line to a log of git's that is there, unless it is the last one already. Where there is none, the person keeps none.
pub(super) fn log(workspace: &Workspace, path: &TreePath, line: &str) -> io::Result<()> {
    let path = in_git(&TreePath::new(Path::new("logs").join(path.as_path())).expect("plain names below a plain name"));
    let flags = OFlags::RDWR | OFlags::APPEND | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let mut file = match beneath::open(workspace.fd(), path.as_path(), flags) {
        Ok(file) => File::from(file),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if !file.metadata()?.is_file() {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    let mut end = Vec::new();
    file.seek(SeekFrom::Start(file.metadata()?.len().saturating_sub(line.len() as u64)))?;
    (&file).take(line.len() as u64).read_to_end(&mut end)?;
    if end == line.as_bytes() { Ok(()) } else { file.write_all(line.as_bytes()) }
}

/// Opens a folder and makes what is missing of it, each with the owner of the one above.
pub(super) fn make_folder(workspace: &Workspace, path: &TreePath) -> io::Result<OwnedFd> {
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
pub(super) fn create(folder: BorrowedFd<'_>, name: &OsStr, mode: u32) -> io::Result<File> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::openat(folder, name, flags, Mode::from_raw_mode(mode))?);
    own(file.as_fd(), folder)?;
    Ok(file)
}

/// Gives a file or folder the owner of another one, where this process may.
pub(super) fn own(made: BorrowedFd<'_>, folder: BorrowedFd<'_>) -> io::Result<()> {
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let above = beneath::entry_of(folder)?;
    let (owner, group) = (Uid::from_raw(above.owner), Gid::from_raw(above.group));
    Ok(rustix::fs::chownat(made, "", Some(owner), Some(group), AtFlags::EMPTY_PATH)?)
}
