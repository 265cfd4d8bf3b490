//! A volume as programs saw it: its own files over those of its seed, without a mount.
//!
//! What is in a volume was written by programs that nobody trusts, so each name is looked up relative to its folder,
//! beneath it and through no link, and what overlayfs marked (Documentation/filesystems/overlayfs.rst) is all that has a
//! meaning: a character device 0:0 is a deletion, `user.overlay.opaque` a folder that hides its seed.

use std::{
    collections::BTreeSet,
    ffi::{OsStr, OsString},
    fs::File,
    io,
    os::fd::{AsFd, OwnedFd},
    path::Path,
};

use rustix::{fs::OFlags, io::Errno};

use crate::workspace::beneath::{self, Entry, Kind};

/// A folder of a volume.
#[derive(Debug)]
pub(super) struct Merged {
    /// The volume's own part.
    own: Option<OwnedFd>,
    /// The seed's part.
    seed: Option<OwnedFd>,
}

/// What a name in a folder stands for.
#[derive(Debug)]
pub(super) struct Seen<'a> {
    pub(super) entry: Entry,
    /// The folder that has it, of the two.
    has_it: &'a OwnedFd,
    name: &'a OsStr,
}

impl Merged {
    /// The top folder of a volume: `own` over `seed`.
    pub(super) fn top(own: Option<OwnedFd>, seed: Option<OwnedFd>) -> Self {
        Self { own, seed }
    }

    /// What `name` stands for; `None` when there is nothing.
    pub(super) fn look<'a>(&'a self, name: &'a OsStr) -> io::Result<Option<Seen<'a>>> {
        for has_it in [&self.own, &self.seed].into_iter().flatten() {
            match beneath::entry(has_it.as_fd(), name)? {
                Some(entry) if is_deletion(&entry) => return Ok(None),
                Some(entry) => return Ok(Some(Seen { entry, has_it, name })),
                None => {}
            }
        }
        Ok(None)
    }

    /// The folder `name`. An entry that is none in either part is in neither.
    pub(super) fn folder(&self, name: &OsStr) -> io::Result<Self> {
        let open = |parent: &Option<OwnedFd>| match parent {
            Some(parent) => match beneath::entry(parent.as_fd(), name)? {
                Some(entry) if entry.kind == Kind::Folder => {
                    beneath::open(parent.as_fd(), Path::new(name), OFlags::RDONLY | OFlags::DIRECTORY).map(Part::Folder)
                }
                Some(_) => Ok(Part::Other),
                None => Ok(Part::Nothing),
            },
            None => Ok(Part::Nothing),
        };
        match (open(&self.own)?, &self.seed) {
            (Part::Folder(own), _) if is_opaque(&own)? => Ok(Self { own: Some(own), seed: None }),
            (Part::Folder(own), _) => Ok(Self { own: Some(own), seed: open(&self.seed)?.folder() }),
            (Part::Other, _) => Ok(Self { own: None, seed: None }),
            (Part::Nothing, _) => Ok(Self { own: None, seed: open(&self.seed)?.folder() }),
        }
    }

    /// The names in it, sorted. Some may stand for nothing any more.
    pub(super) fn names(&self) -> io::Result<BTreeSet<OsString>> {
        let mut names = BTreeSet::new();
        for part in [&self.own, &self.seed].into_iter().flatten() {
            names.extend(beneath::names(part.as_fd())?);
        }
        Ok(names)
    }
}

impl Seen<'_> {
    /// Opens a regular file for reading.
    pub(super) fn file(&self) -> io::Result<File> {
        beneath::file(self.has_it.as_fd(), Path::new(self.name))
    }

    /// Where a link points to, as it is written.
    pub(super) fn link_target(&self) -> io::Result<OsString> {
        beneath::link_target(self.has_it.as_fd(), self.name)
    }
}

/// What one of the parts has under a name.
enum Part {
    Folder(OwnedFd),
    /// A file that stands for itself, or a deletion: either ends the lookup.
    Other,
    Nothing,
}

impl Part {
    fn folder(self) -> Option<OwnedFd> {
        match self {
            Self::Folder(folder) => Some(folder),
            Self::Other | Self::Nothing => None,
        }
    }
}

fn is_deletion(entry: &Entry) -> bool {
    entry.kind == Kind::Character && entry.node == 0
}

fn is_opaque(folder: &OwnedFd) -> io::Result<bool> {
    let mut value = [0; 2];
    match rustix::fs::fgetxattr(folder, "user.overlay.opaque", &mut value[..]) {
        Ok(count) => Ok(&value[..count] == b"y"),
        // None, another value than the kernel's own, or a file system without attributes.
        Err(Errno::NODATA | Errno::RANGE | Errno::OPNOTSUPP) => Ok(false),
        Err(error) => Err(error.into()),
    }
}
