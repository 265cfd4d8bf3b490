//! Looking at one path.

use std::{ffi::OsStr, os::unix::ffi::OsStrExt};

use cofferdam_contract::{EntryKind, FileRefusal, Status, WorkspacePath};
use rustix::{
    fs::{FileType, Stat},
    io::Errno,
};

use super::{
    list::shown,
    refusal::from_errno,
    workspace::{LastLink, Missing, Workspace},
};

/// Says what is at a path; a link at its end is not followed.
pub(crate) fn status(workspace: &Workspace, path: &WorkspacePath) -> Result<Status, FileRefusal> {
    let failed = |error| from_errno(error, "look at", path);
    let place = workspace.resolve(path, LastLink::Kept, Missing::NotFound)?;
    let found = place.found.ok_or_else(|| failed(Errno::NOENT))?;
    let kind = match FileType::from_raw_mode(found.stat.st_mode) {
        FileType::RegularFile => EntryKind::File,
        FileType::Directory => EntryKind::Folder,
        FileType::Symlink => {
            let target = rustix::fs::readlinkat(&found.handle, "", Vec::new()).map_err(failed)?;
            EntryKind::Link(shown(OsStr::from_bytes(target.as_bytes())))
        }
        FileType::Fifo | FileType::Socket | FileType::CharacterDevice | FileType::BlockDevice | FileType::Unknown => {
            EntryKind::Other
        }
    };
    Ok(Status { kind, size: size(&found.stat), mode: found.stat.st_mode & 0o777 })
}

/// The size in bytes; of regular files only, as that of others means something else on each file system.
pub(crate) fn size(stat: &Stat) -> u64 {
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => u64::try_from(stat.st_size).unwrap_or(0),
        _ => 0,
    }
}
