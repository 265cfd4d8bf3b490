//! A folder on disk that belongs to one call: where the view's writes go when no tmpfs can take them, or the copy of the
//! workspace when there is no overlay.
//!
//! It lies in the workspace's state, is locked while it is used, and goes with the call. One that nobody has locked was
//! left by a server that was killed, and goes at the next start.

use std::{
    ffi::OsString,
    fs::{self, DirBuilder, File},
    io,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::{
            ffi::OsStringExt,
            fs::{DirBuilderExt, PermissionsExt},
        },
    },
    path::{Path, PathBuf},
};

use rustix::{
    fs::{AtFlags, Dir, FlockOperation, Mode, OFlags},
    io::Errno,
};

/// The folder of a workspace's state that holds those of its calls.
const CALLS: &str = "calls";

/// A call's folder. Dropping it removes it with all that is in it.
#[derive(Debug)]
pub(crate) struct CallFolder {
    path: PathBuf,
    _lock: File,
}

impl CallFolder {
    /// Makes a folder in a workspace's state, mode 0700, with `folders` in it, mode 0755.
    pub(crate) fn make(state: &Path, folders: &[&str]) -> io::Result<Self> {
        let calls = state.join(CALLS);
        match DirBuilder::new().mode(0o700).create(&calls) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(|error| io::Error::other(error.to_string()))?;
        let path = calls.join(format!("{:016x}", u64::from_ne_bytes(random)));
        // Whoever removes what was left waits until the new folder is locked.
        let all = File::open(&calls)?;
        rustix::fs::flock(&all, FlockOperation::LockShared)?;
        DirBuilder::new().mode(0o700).create(&path)?;
        let lock = File::open(&path)?;
        rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive)?;
        let made = Self { path, _lock: lock };
        for folder in folders {
            let folder = made.path.join(folder);
            fs::create_dir(&folder)?;
            fs::set_permissions(&folder, fs::Permissions::from_mode(0o755))?;
        }
        Ok(made)
    }

    /// A folder in it.
    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }
}

impl Drop for CallFolder {
    fn drop(&mut self) {
        if let Err(error) = remove(&self.path)
            && error.kind() != io::ErrorKind::NotFound
        {
            // The next start tries again.
            tracing::warn!(path = %self.path.display(), %error, "a call's folder could not be removed");
        }
    }
}

/// Removes the folders of calls whose server is gone, for every workspace of the state folder. Gives how many.
pub(crate) fn reap(state: &Path) -> usize {
    let mut removed = 0;
    for workspace in fs::read_dir(state.join("workspaces")).into_iter().flatten().flatten() {
        let calls = workspace.path().join(CALLS);
        let Ok(all) = File::open(&calls) else { continue };
        if rustix::fs::flock(&all, FlockOperation::LockExclusive).is_err() {
            continue;
        }
        for call in fs::read_dir(&calls).into_iter().flatten().flatten() {
            let unused = File::open(call.path())
                .is_ok_and(|folder| rustix::fs::flock(&folder, FlockOperation::NonBlockingLockExclusive).is_ok());
            if unused && remove(&call.path()).is_ok() {
                removed += 1;
            }
        }
    }
    removed
}

/// Removes a folder that programs wrote to which are dead by now. They may have nested folders deeper than a path or the
/// number of open files allows, so each folder is moved to the top before it is emptied.
fn remove(path: &Path) -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let top = rustix::fs::open(path, flags, Mode::empty())?;
    let mut moved = 0_u64;
    loop {
        let mut folders = Vec::new();
        empty(top.as_fd(), &mut |name| {
            folders.push(name);
            Ok(())
        })?;
        if folders.is_empty() {
            break;
        }
        for name in folders {
            let folder = open_own(top.as_fd(), &name)?;
            empty(folder.as_fd(), &mut |child| {
                // A folder can be moved only by one who may write to it (rename(2), EACCES).
                drop(open_own(folder.as_fd(), &child)?);
                loop {
                    moved += 1;
                    match rustix::fs::renameat(&folder, &child, &top, format!("m{moved}")) {
                        // A removal that was stopped has used the name (rename(2): a folder that is not empty).
                        Err(Errno::EXIST | Errno::NOTEMPTY) => {}
                        result => return Ok(result?),
                    }
                }
            })?;
            rustix::fs::unlinkat(&top, &name, AtFlags::REMOVEDIR)?;
        }
    }
    fs::remove_dir(path)
}

/// Removes everything in a folder but folders, which it tells.
fn empty(folder: BorrowedFd<'_>, told: &mut dyn FnMut(OsString) -> io::Result<()>) -> io::Result<()> {
    for entry in Dir::read_from(folder)? {
        let name = entry?.file_name().to_bytes().to_vec();
        if name == b"." || name == b".." {
            continue;
        }
        let name = OsString::from_vec(name);
        match rustix::fs::unlinkat(folder, &name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            // POSIX says EPERM and Linux says EISDIR for a folder.
            Err(Errno::ISDIR | Errno::PERM) => told(name)?,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Opens a folder whose own permission bits may forbid that to its owner: they are widened.
fn open_own(parent: BorrowedFd<'_>, name: &OsString) -> io::Result<OwnedFd> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(found) if found.st_mode & 0o700 != 0o700 => {
            rustix::fs::chmodat(parent, name, Mode::RWXU, AtFlags::empty())?;
        }
        Ok(_) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(rustix::fs::openat(parent, name, flags | OFlags::RDONLY, Mode::empty())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_goes_with_its_call_however_deep_and_locked_its_contents_are() {
        let state = tempfile::tempdir().unwrap();
        let folder = CallFolder::make(state.path(), &["upper", "work"]).unwrap();
        assert_eq!(fs::metadata(&folder.path).unwrap().permissions().mode() & 0o777, 0o700);
        let mut deep = File::open(folder.join("upper")).unwrap();
        // More names than a path holds, and more folders than may be open.
        for _ in 0..3000 {
            rustix::fs::mkdirat(&deep, "f", Mode::RWXU).unwrap();
            let flags = OFlags::RDONLY | OFlags::DIRECTORY;
            deep = rustix::fs::openat(&deep, "f", flags, Mode::empty()).unwrap().into();
        }
        drop(deep);
        fs::create_dir_all(folder.join("work/work/inner")).unwrap();
        fs::write(folder.join("work/work/inner/file"), "x").unwrap();
        fs::set_permissions(folder.join("work/work"), fs::Permissions::from_mode(0o000)).unwrap();
        std::os::unix::fs::symlink("/etc", folder.join("upper/link")).unwrap();
        let path = folder.path.clone();
        drop(folder);
        assert!(!path.exists());
    }

    #[test]
    fn a_removal_that_was_stopped_is_finished() {
        let state = tempfile::tempdir().unwrap();
        let folder = CallFolder::make(state.path(), &["upper", "m1", "m2"]).unwrap();
        for deep in ["upper/a/b", "upper/c/d", "m1/e/f", "m2/g"] {
            fs::create_dir_all(folder.join(deep)).unwrap();
        }
        let path = folder.path.clone();
        drop(folder);
        assert!(!path.exists());
    }

    #[test]
    fn what_a_killed_server_left_is_removed_and_what_is_used_is_not() {
        let state = tempfile::tempdir().unwrap();
        let workspace = state.path().join("workspaces/1");
        fs::create_dir_all(&workspace).unwrap();
        let used = CallFolder::make(&workspace, &["upper"]).unwrap();
        let left = CallFolder::make(&workspace, &["upper"]).unwrap();
        fs::write(left.join("upper/file"), "x").unwrap();
        let path = left.path.clone();
        // As the kernel does when a process is killed: the lock goes, the folder stays.
        let CallFolder { _lock: lock, .. } = &left;
        rustix::fs::flock(lock, FlockOperation::Unlock).unwrap();
        assert_eq!(reap(state.path()), 1);
        assert!(!path.exists() && used.join("upper").exists());
        // Its own end finds nothing left to remove.
        drop(left);
    }
}
