//! What the workspace has at a path, remembered so that a later look can tell whether it changed.

use std::{
    io,
    io::Read,
    os::fd::{AsFd, BorrowedFd},
};

use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{
    beneath::{self, Found, Kind},
    change::What,
    tree_path::{TreePath, hexadecimal},
};

/// Entries of a folder that are looked at to tell whether it changed.
pub(super) const MAX_ENTRIES: usize = 200_000;

/// What the workspace has at a path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum HostVersion {
    /// Nothing.
    Absent,
    /// A regular file.
    File {
        /// SHA-256 of its content, in hexadecimal.
        sha256: String,
        /// Size in bytes.
        size: u64,
        /// Permission bits (`0o777` part).
        mode: u32,
    },
    /// A folder that the change adds to.
    Folder {
        /// Permission bits (`0o777` part).
        mode: u32,
    },
    /// A folder that the change deletes or replaces.
    Tree {
        /// SHA-256 over the names, kinds, sizes and modification times below it, in hexadecimal.
        sha256: String,
    },
    /// A symbolic link.
    Link {
        /// SHA-256 of its target, in hexadecimal.
        sha256: String,
    },
    /// A named pipe.
    Fifo {
        /// Permission bits (`0o777` part).
        mode: u32,
    },
    /// Something that cannot be compared: a device or socket, a path behind a link, a folder with too many entries.
    Unknown,
}

impl HostVersion {
    /// What is at `path` of the workspace, as far as it matters for `what` coming there. A path that the host moves away
    /// while it is looked at is [`Self::Unknown`].
    pub(super) fn of(workspace: BorrowedFd<'_>, path: &TreePath, what: &What) -> io::Result<Self> {
        match Self::look(workspace, path, what) {
            Err(error) if beneath::is_moved(&error) => Ok(Self::Unknown),
            result => result,
        }
    }

    fn look(workspace: BorrowedFd<'_>, path: &TreePath, what: &What) -> io::Result<Self> {
        let entry = match beneath::find(workspace, path)? {
            Found::Absent { .. } => return Ok(Self::Absent),
            Found::Blocked(_) => return Ok(Self::Unknown),
            Found::Entry(entry) => entry,
        };
        match entry.kind {
            Kind::File => {
                let Ok(file) = beneath::file(workspace, path.as_path()) else {
                    return Ok(Self::Unknown);
                };
                Ok(Self::File { sha256: digest(file)?, size: entry.size, mode: entry.permissions() })
            }
            Kind::Folder if matches!(what, What::Folder { .. }) => Ok(Self::Folder { mode: entry.permissions() }),
            Kind::Folder => Ok(tree_digest(workspace, path).map_or(Self::Unknown, |sha256| Self::Tree { sha256 })),
            Kind::Link => {
                let parent = beneath::folder_of(workspace, path)?;
                let target = beneath::link_target(parent.as_fd(), path.name())?;
                Ok(Self::Link { sha256: hexadecimal(&Sha256::digest(target.as_encoded_bytes())) })
            }
            Kind::Fifo => Ok(Self::Fifo { mode: entry.permissions() }),
            Kind::Character | Kind::Block | Kind::Socket => Ok(Self::Unknown),
        }
    }
}

/// SHA-256 of what a reader gives, in hexadecimal.
pub(super) fn digest(mut reader: impl Read) -> io::Result<String> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 128 * 1024];
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => return Ok(hexadecimal(&hasher.finalize())),
            Ok(count) => hasher.update(&buffer[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

fn tree_digest(workspace: BorrowedFd<'_>, path: &TreePath) -> io::Result<String> {
    let mut hasher = Sha256::new();
    let mut pending = vec![path.clone()];
    let mut entries = 0;
    while let Some(folder) = pending.pop() {
        let opened = beneath::open(workspace, folder.as_path(), OFlags::RDONLY | OFlags::DIRECTORY)?;
        for name in beneath::names(opened.as_fd())? {
            entries += 1;
            if entries > MAX_ENTRIES {
                return Err(io::Error::other("too many entries"));
            }
            let child = folder.join(&name);
            let Some(entry) = beneath::entry(opened.as_fd(), &name)? else {
                continue;
            };
            let line = (&child, entry.kind as u8, entry.size, entry.modified, entry.permissions());
            hasher.update(serde_json::to_vec(&line)?);
            if entry.kind == Kind::Folder {
                pending.push(child);
            }
        }
    }
    Ok(hexadecimal(&hasher.finalize()))
}
