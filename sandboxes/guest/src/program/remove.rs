//! Deleting.

use std::{
    ffi::OsStr,
    os::fd::{AsFd, BorrowedFd},
};

use cofferdam_contract::{FileRefusal, RefusalKind, WorkspacePath};
use rustix::{
    fs::{AtFlags, FileType},
    io::Errno,
};

use super::{
    channel::Lifeline,
    folder::{self, MAX_DEPTH},
    refusal::{from_errno, refusal},
    workspace::{LastLink, Missing, Workspace},
};

/// Deletes a file, a link, or a folder with all that is in it, and counts them. Links are deleted, not followed.
pub(crate) fn delete(workspace: &Workspace, lifeline: &Lifeline<'_>, path: &WorkspacePath) -> Result<u64, FileRefusal> {
    if path.is_workspace() {
        return Err(refusal(RefusalKind::Invalid, "the workspace itself cannot be deleted"));
    }
    let place = workspace.resolve(path, LastLink::Kept, Missing::NotFound)?;
    let kind = place.kind().ok_or_else(|| from_errno(Errno::NOENT, "delete", path))?;
    let mut deleted = 0;
    remove(place.folder.as_fd(), &place.name, kind, lifeline, 0, &mut deleted).map_err(|error| {
        let refused = workspace.refused(&place, error, "delete", path);
        match deleted {
            0 => refused,
            some => refusal(refused.kind, format!("{}; {some} of its entries were deleted before", refused.message)),
        }
    })?;
    Ok(deleted)
}

/// Deletes `name` in `parent` and what is below it. `deleted` counts also when it fails in the middle.
pub(crate) fn remove(
    parent: BorrowedFd<'_>,
    name: &OsStr,
    kind: FileType,
    lifeline: &Lifeline<'_>,
    depth: u32,
    deleted: &mut u64,
) -> Result<(), Errno> {
    lifeline.check();
    let flags = match kind {
        FileType::Directory if depth >= MAX_DEPTH => return Err(Errno::MFILE),
        FileType::Directory => {
            let opened = folder::open(parent, name)?;
            for item in folder::items(&opened)? {
                remove(opened.as_fd(), &item.name, item.kind, lifeline, depth + 1, deleted)?;
            }
            AtFlags::REMOVEDIR
        }
        _ => AtFlags::empty(),
    };
    rustix::fs::unlinkat(parent, name, flags).map_err(|error| match error {
        Errno::ACCESS | Errno::PERM => of_another(parent).unwrap_or(error),
        // A foreign enumeration: other words are passed on.
        _ => error,
    })?;
    *deleted += 1;
    Ok(())
}

/// What the kernel would say of a file of another owner, where it is the folder that has one and the kernel speaks of
/// permissions.
fn of_another(folder: BorrowedFd<'_>) -> Option<Errno> {
    let stat = rustix::fs::fstat(folder).ok()?;
    (stat.st_uid != rustix::process::geteuid().as_raw()).then_some(Errno::OVERFLOW)
}
