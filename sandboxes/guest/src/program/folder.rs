//! What is in one folder.

use std::{
    ffi::{OsStr, OsString},
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::ffi::OsStringExt,
    },
};

use rustix::{
    fs::{AtFlags, Dir, FileType, Mode, OFlags},
    io::Errno,
};

use super::workspace::ONE_NAME;

/// Folders deeper than this below where an operation starts are not entered: each level holds a descriptor open, and a
/// program is given 1024 (`RLIMIT_NOFILE`) as a rule.
pub(crate) const MAX_DEPTH: u32 = 400;

/// One name in a folder.
#[derive(Debug)]
pub(crate) struct Item {
    /// The name.
    pub(crate) name: OsString,
    /// What it is; links are not followed.
    pub(crate) kind: FileType,
}

/// Opens the folder `name` in `parent` for reading; never through a link.
pub(crate) fn open(parent: BorrowedFd<'_>, name: &OsStr) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    loop {
        match rustix::fs::openat2(parent, name, flags, Mode::empty(), ONE_NAME) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            result => return result,
        }
    }
}

/// Lists a folder that is open for reading, names in byte order, without `.` and `..`.
pub(crate) fn items(folder: &OwnedFd) -> Result<Vec<Item>, Errno> {
    let mut items = Vec::new();
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name == b"." || name == b".." {
            continue;
        }
        let name = OsString::from_vec(name.to_vec());
        let kind = match entry.file_type() {
            // Some file systems do not say it here.
            FileType::Unknown => match rustix::fs::statat(folder.as_fd(), &name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => FileType::from_raw_mode(stat.st_mode),
                // Deleted in between.
                Err(Errno::NOENT) => continue,
                Err(error) => return Err(error),
            },
            kind => kind,
        };
        items.push(Item { name, kind });
    }
    items.sort_unstable_by(|one, other| one.name.cmp(&other.name));
    Ok(items)
}
