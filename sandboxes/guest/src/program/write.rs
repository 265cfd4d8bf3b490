//! Writing a file: a temporary file beside it, then one rename.
//!
//! A reader sees the old content or the new, never half. Nothing is synced: the view ends with the call, and what is
//! handed back is written again by the server.

use std::{
    collections::hash_map::RandomState,
    fs::File,
    hash::{BuildHasher, Hasher},
    io::Write,
    os::{fd::BorrowedFd, unix::ffi::OsStrExt},
    rc::Rc,
};

use cofferdam_contract::{Expected, FileRefusal, RefusalKind, WorkspacePath, WriteFile, Written};
use rustix::{
    fs::{Access, AtFlags, FileType, Mode, OFlags},
    io::Errno,
};

use super::{
    channel::Lifeline,
    read::{COUNTED_BYTES, digest, must_be_file},
    refusal::{from_errno, refusal},
    status::size,
    workspace::{Found, LastLink, Missing, ONE_NAME, Place, Workspace},
};

/// Replaces or creates a file.
pub(crate) fn write(
    workspace: &Workspace,
    lifeline: &Lifeline<'_>,
    request: &WriteFile,
) -> Result<Written, FileRefusal> {
    let path = &request.path;
    // Without this a write that expects content would leave new folders behind when it is refused.
    let missing = match request.expected {
        Expected::Anything => Missing::Made,
        Expected::Content(_) => Missing::NotFound,
    };
    let place =
        workspace.resolve(path, LastLink::Followed, missing).map_err(|refused| changed_if_gone(request, refused))?;
    if let Some(found) = &place.found {
        must_be_file(FileType::from_raw_mode(found.stat.st_mode), path)?;
        must_be_writable(workspace, &place, found, path)?;
    }
    must_be_expected(&place, lifeline, request)?;

    let mode = place.found.as_ref().map(|found| Mode::from_raw_mode(found.stat.st_mode & 0o777));
    replace(&place, &request.content, mode).map_err(|error| workspace.refused(&place, error, "write", path))?;

    let real = place.real.as_os_str().as_bytes();
    Ok(Written {
        created: place.found.is_none(),
        // A link may lead to a name that no path can be written for; then the link's own path is the best there is.
        real_path: String::from_utf8(real.to_vec())
            .ok()
            .and_then(|real| WorkspacePath::try_from(real).ok())
            .unwrap_or_else(|| path.clone()),
        previous_size: place.found.as_ref().map_or(0, |found| size(&found.stat)),
    })
}

/// A rename would replace a file that is marked read-only. An editor asks first, so this refuses.
fn must_be_writable(
    workspace: &Workspace,
    place: &Place,
    found: &Found,
    path: &WorkspacePath,
) -> Result<(), FileRefusal> {
    let is_marked = found.stat.st_mode & 0o222 == 0;
    let checked = rustix::fs::accessat(&place.folder, &place.name, Access::WRITE_OK, AtFlags::EACCESS);
    if is_marked || matches!(checked, Err(Errno::ACCESS | Errno::ROFS | Errno::PERM)) {
        return Err(workspace.refused(place, Errno::ACCESS, "write", path));
    }
    Ok(())
}

fn must_be_expected(place: &Place, lifeline: &Lifeline<'_>, request: &WriteFile) -> Result<(), FileRefusal> {
    let path = &request.path;
    let Expected::Content(expected) = request.expected else {
        return Ok(());
    };
    let Some(found) = &place.found else {
        return Err(changed_if_gone(request, from_errno(Errno::NOENT, "write", path)));
    };
    if size(&found.stat) > COUNTED_BYTES {
        return Err(refusal(RefusalKind::TooLarge, format!("`{path}` is larger than 256 MiB")));
    }
    let failed = |error| from_errno(error, "read", path);
    if digest(place.open_file().map_err(failed)?, lifeline).map_err(failed)? == expected {
        Ok(())
    } else {
        Err(refusal(RefusalKind::Changed, format!("`{path}` is not what it was when it was read")))
    }
}

/// A file that was read and is gone now has changed.
fn changed_if_gone(request: &WriteFile, refused: FileRefusal) -> FileRefusal {
    match (request.expected, refused.kind) {
        (Expected::Content(_), RefusalKind::NotFound) => {
            refusal(RefusalKind::Changed, format!("`{}` is gone since it was read", request.path))
        }
        (Expected::Content(_) | Expected::Anything, _) => refused,
    }
}

/// Puts `content` in the place, with the mode of the replaced file or that of a new one.
fn replace(place: &Place, content: &[u8], mode: Option<Mode>) -> Result<(), Errno> {
    let folder = Rc::clone(&place.folder);
    let (mut file, name) = temporary(rustix::fd::AsFd::as_fd(&*folder))?;
    let written = file
        .write_all(content)
        .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
        .and_then(|()| mode.map_or(Ok(()), |mode| rustix::fs::fchmod(&file, mode)))
        .and_then(|()| rustix::fs::renameat(&folder, &name, &folder, &place.name));
    if written.is_err() {
        // The first error is what counts; a file that cannot be removed is not handed back either.
        let _ = rustix::fs::unlinkat(&folder, &name, AtFlags::empty());
    }
    written
}

/// Makes a new file that nothing else has, with the mode of a new file (0644 less the umask).
fn temporary(folder: BorrowedFd<'_>) -> Result<(File, String), Errno> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    loop {
        // Random keys are what std has of randomness; a name that is taken is tried again.
        let name = format!(".cofferdam-{:016x}", RandomState::new().build_hasher().finish());
        match rustix::fs::openat2(folder, &name, flags, Mode::from_raw_mode(0o644), ONE_NAME) {
            Ok(file) => return Ok((file.into(), name)),
            Err(Errno::EXIST | Errno::AGAIN | Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
}
