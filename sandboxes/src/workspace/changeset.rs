//! What a call wrote, read from the upper layer of its overlay.
//!
//! The layer was written by hostile programs that are dead by now. It is walked beneath its own folder, links are never
//! followed, and everything is counted: a layer beyond the bounds is refused as a whole before anything is done with it.
//!
//! Overlayfs marks things in the layer (Documentation/filesystems/overlayfs.rst): a character device 0:0 is a deletion,
//! `overlay.opaque` a folder that hides what was there. Its other marks that change what an entry means (`redirect`,
//! `metacopy`) belong to features that our mounts turn off, so here they can only be forged, and their entry is dropped.

use std::{
    ffi::{OsStr, OsString},
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    os::unix::ffi::OsStrExt,
};

use cofferdam_contract::MAX_PATH_BYTES;
use rustix::{fs::OFlags, io::Errno};

use crate::call_folder::CallFolder;

use super::{
    beneath::{self, Entry, Kind},
    change::{Change, DropReason, Dropped, Special, What},
    copy::{Copied, Was},
    tree_path::TreePath,
};

/// Names that start so are our own temporary files, in a view as in a workspace. They are no changes.
pub const TEMPORARY_PREFIX: &str = ".cofferdam-";

/// Under which names overlayfs wrote its marks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Marks {
    /// `user.overlay.*`: mounted with `userxattr`.
    User,
    /// `trusted.overlay.*`: mounted without it.
    Trusted,
    /// Under none: the folder is a copy, and nothing in it stands for something else.
    None,
}

/// How much a call may have written. Beyond it, nothing comes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Files, folders, links and deletions together.
    pub entries: u64,
    /// Names in one path.
    pub depth: usize,
    /// Bytes occupied by all files together; also the bytes that one hand-back copies at most.
    pub bytes: u64,
}

impl Bounds {
    /// Bounds for a call that may write `bytes`.
    #[must_use]
    pub fn of_bytes(bytes: u64) -> Self {
        Self { entries: 200_000, depth: 128, bytes }
    }
}

/// What a call wrote. Keeps the upper layer's folder open; the layer must not be removed or changed before the changes
/// were handed back.
#[derive(Debug)]
pub struct Changeset {
    pub(super) upper: OwnedFd,
    pub(super) changes: Vec<Change>,
    pub(super) dropped: Vec<Dropped>,
    pub(super) hidden: Vec<TreePath>,
    pub(super) bounds: Bounds,
    /// What holds the layer, when that is to go with the changeset.
    _folder: Option<CallFolder>,
}

/// Why an upper layer was not read.
#[derive(Debug, thiserror::Error)]
pub enum ChangesetError {
    /// There are too many changes.
    #[error("the call changed more than {limit} files and folders; nothing was handed back")]
    TooMany {
        /// The bound.
        limit: u64,
    },
    /// A path has too many names.
    #[error("the call made folders more than {limit} deep, at {path}; nothing was handed back")]
    TooDeep {
        /// The bound.
        limit: usize,
        /// Where.
        path: TreePath,
    },
    /// The files are too large.
    #[error("the call wrote more than {limit} bytes; nothing was handed back")]
    TooLarge {
        /// The bound, in bytes.
        limit: u64,
    },
    /// The layer cannot be read.
    #[error("failed to read the call's changes at {path}")]
    Read {
        /// Where.
        path: TreePath,
        /// What the kernel said.
        source: io::Error,
    },
}

impl Changeset {
    /// Walks an upper layer.
    ///
    /// `hidden` are paths that are not part of the workspace's view, such as mount points of scratch volumes; they and
    /// what is below them are passed over, as is every name that starts with [`TEMPORARY_PREFIX`].
    ///
    /// # Errors
    /// [`ChangesetError`] when the layer is beyond `bounds` or cannot be read.
    pub fn walk(
        upper: BorrowedFd<'_>,
        marks: Marks,
        bounds: Bounds,
        hidden: &[TreePath],
    ) -> Result<Self, ChangesetError> {
        Self::of(upper, marks, None, bounds, hidden)
    }

    /// Compares a copy with what it was. `hidden` and the errors are those of [`Changeset::walk`].
    pub(crate) fn compare(copied: &Copied, bounds: Bounds, hidden: &[TreePath]) -> Result<Self, ChangesetError> {
        Self::of(copied.fd(), Marks::None, Some(copied), bounds, hidden)
    }

    fn of(
        upper: BorrowedFd<'_>,
        marks: Marks,
        copied: Option<&Copied>,
        bounds: Bounds,
        hidden: &[TreePath],
    ) -> Result<Self, ChangesetError> {
        let read = |source| ChangesetError::Read { path: TreePath::root(), source };
        let upper = beneath::folder(upper, std::path::Path::new("")).map_err(read)?;
        let (changes, dropped) = (Vec::new(), Vec::new());
        let set = Self { upper, changes, dropped, hidden: hidden.to_vec(), bounds, _folder: None };
        let mut walk = Walk { set, marks, copied, entries: 0, bytes: 0 };
        let mut pending = vec![TreePath::root()];
        while let Some(folder) = pending.pop() {
            walk.folder(&folder, &mut pending)?;
        }
        let mut set = walk.set;
        set.changes.sort_by(|one, other| one.path.cmp(&other.path));
        set.dropped.sort_by(|one, other| one.path.cmp(&other.path));
        Ok(set)
    }

    /// What is in the layer, sorted by path. Copies that overlayfs made without anything being changed are among it;
    /// the hand-back tells them apart.
    #[must_use]
    pub fn changes(&self) -> &[Change] {
        &self.changes
    }

    /// What will not come back whatever is asked for.
    #[must_use]
    pub fn dropped(&self) -> &[Dropped] {
        &self.dropped
    }

    /// Takes what holds the layer along.
    pub(crate) fn keeping(self, folder: Option<CallFolder>) -> Self {
        Self { _folder: folder, ..self }
    }

    pub(super) fn upper(&self) -> BorrowedFd<'_> {
        self.upper.as_fd()
    }

    /// Whether a path is no part of the view.
    pub(super) fn is_hidden(&self, path: &TreePath) -> bool {
        is_temporary(path.name()) || self.hidden.iter().any(|hidden| path.is_within(hidden))
    }
}

/// Whether a name is one of our own temporary files.
pub(super) fn is_temporary(name: &OsStr) -> bool {
    name.as_bytes().starts_with(TEMPORARY_PREFIX.as_bytes())
}

struct Walk<'a> {
    set: Changeset,
    marks: Marks,
    /// What the entries were before, when the layer is a copy.
    copied: Option<&'a Copied>,
    entries: u64,
    bytes: u64,
}

/// What the extended attributes of an entry say.
#[derive(Default)]
struct Attributes {
    /// `overlay.opaque`: `y` hides what was there; `x` says that the folder may hold attribute whiteouts (Linux 6.7).
    opaque: Option<Vec<u8>>,
    whiteout: bool,
    /// A mark that changes what the entry means and that our mounts do not write.
    forged: Option<String>,
    /// Attributes of the program's own.
    other: Vec<String>,
}

impl Walk<'_> {
    fn folder(&mut self, path: &TreePath, pending: &mut Vec<TreePath>) -> Result<(), ChangesetError> {
        let read = |source| ChangesetError::Read { path: path.clone(), source };
        let folder = open_readable(self.set.upper(), path, OFlags::DIRECTORY).map_err(read)?;
        let whiteouts = self.attributes(folder.as_fd()).map_err(read)?.opaque.as_deref() == Some(b"x");
        let names = beneath::names(folder.as_fd()).map_err(read)?;
        self.gone(path, &names)?;
        for name in names {
            let child = path.join(&name);
            if self.set.is_hidden(&child) {
                continue;
            }
            let Some(entry) = beneath::entry(folder.as_fd(), &name).map_err(read)? else {
                continue;
            };
            if self.copied.is_some_and(|copied| copied.was.get(&child) == Some(&Was::of(&entry))) {
                if entry.kind == Kind::Folder {
                    self.check_depth(&child)?;
                    pending.push(child);
                }
                continue;
            }
            self.count(&child, entry.occupied)?;
            if child.as_path().as_os_str().len() > MAX_PATH_BYTES {
                self.set.dropped.push(Dropped { path: child, reason: DropReason::PathTooLong });
                continue;
            }
            let read = |source| ChangesetError::Read { path: child.clone(), source };
            let what = match entry.kind {
                Kind::File => self.file(&child, &entry, whiteouts).map_err(read)?,
                Kind::Folder => self.subfolder(&child, &entry).map_err(read)?,
                Kind::Link => Some(What::Link { target: beneath::link_target(folder.as_fd(), &name).map_err(read)? }),
                Kind::Character if entry.node == 0 && self.copied.is_none() => Some(What::Deleted),
                Kind::Character => Some(self.special(&child, Special::CharacterDevice)),
                Kind::Block => Some(self.special(&child, Special::BlockDevice)),
                Kind::Fifo => Some(self.special(&child, Special::Fifo)),
                Kind::Socket => Some(self.special(&child, Special::Socket)),
            };
            if let Some(what) = what {
                if matches!(what, What::Folder { .. }) {
                    pending.push(child.clone());
                }
                self.set.changes.push(Change { path: child, what });
            }
        }
        Ok(())
    }

    /// Notes what a folder of a copy had and has no longer.
    fn gone(&mut self, folder: &TreePath, names: &[OsString]) -> Result<(), ChangesetError> {
        for name in self.copied.and_then(|copied| copied.names.get(folder)).into_iter().flatten() {
            let child = folder.join(name);
            if names.binary_search(name).is_err() && !self.set.is_hidden(&child) {
                self.count(&child, 0)?;
                self.set.changes.push(Change { path: child, what: What::Deleted });
            }
        }
        Ok(())
    }

    fn count(&mut self, path: &TreePath, occupied: u64) -> Result<(), ChangesetError> {
        let bounds = self.set.bounds;
        self.entries += 1;
        self.bytes = self.bytes.saturating_add(occupied);
        self.check_depth(path)?;
        if self.entries > bounds.entries {
            Err(ChangesetError::TooMany { limit: bounds.entries })
        } else if self.bytes > bounds.bytes {
            Err(ChangesetError::TooLarge { limit: bounds.bytes })
        } else {
            Ok(())
        }
    }

    fn check_depth(&self, path: &TreePath) -> Result<(), ChangesetError> {
        let limit = self.set.bounds.depth;
        if path.depth() > limit { Err(ChangesetError::TooDeep { limit, path: path.clone() }) } else { Ok(()) }
    }

    fn file(&mut self, path: &TreePath, entry: &Entry, whiteouts: bool) -> io::Result<Option<What>> {
        let file = open_readable(self.set.upper(), path, OFlags::empty())?;
        let attributes = self.attributes(file.as_fd())?;
        // The kernel believes an attribute whiteout only in a folder that announces it.
        if attributes.whiteout && whiteouts && entry.size == 0 {
            return Ok(Some(What::Deleted));
        }
        let forged = attributes.whiteout.then(|| self.mark("whiteout")).or_else(|| attributes.forged.clone());
        if self.drop_marks(path, forged, &attributes) {
            return Ok(None);
        }
        self.drop_mode_bits(path, entry);
        Ok(Some(What::File { size: entry.size, mode: entry.owned_permissions() }))
    }

    fn subfolder(&mut self, path: &TreePath, entry: &Entry) -> io::Result<Option<What>> {
        let folder = open_readable(self.set.upper(), path, OFlags::DIRECTORY)?;
        let attributes = self.attributes(folder.as_fd())?;
        if self.drop_marks(path, attributes.forged.clone(), &attributes) {
            return Ok(None);
        }
        self.drop_mode_bits(path, entry);
        let opaque = attributes.opaque.as_deref() == Some(b"y");
        Ok(Some(What::Folder { mode: entry.owned_permissions(), opaque }))
    }

    fn special(&mut self, path: &TreePath, special: Special) -> What {
        self.set.dropped.push(Dropped { path: path.clone(), reason: DropReason::Special { special } });
        What::Special { special }
    }

    /// Notes what attributes do not come back; true when the entry itself does not.
    fn drop_marks(&mut self, path: &TreePath, forged: Option<String>, attributes: &Attributes) -> bool {
        if let Some(mark) = forged {
            self.set.dropped.push(Dropped { path: path.clone(), reason: DropReason::ForgedMark { mark } });
            return true;
        }
        if !attributes.other.is_empty() {
            let reason = DropReason::Attributes { names: attributes.other.clone() };
            self.set.dropped.push(Dropped { path: path.clone(), reason });
        }
        false
    }

    fn drop_mode_bits(&mut self, path: &TreePath, entry: &Entry) {
        let bits = entry.mode & 0o7000;
        if bits != 0 {
            self.set.dropped.push(Dropped { path: path.clone(), reason: DropReason::ModeBits { bits } });
        }
    }

    fn mark(&self, name: &str) -> String {
        let prefix = match self.marks {
            Marks::User => "user.overlay.",
            Marks::Trusted => "trusted.overlay.",
            // No attribute's name starts so: a name holds no NUL (xattr(7)).
            Marks::None => "\0",
        };
        format!("{prefix}{name}")
    }

    fn attributes(&self, fd: BorrowedFd<'_>) -> io::Result<Attributes> {
        let mut attributes = Attributes::default();
        let own = self.mark("");
        for name in attribute_names(fd)? {
            let Some(mark) = name.strip_prefix(&own) else {
                if name.starts_with("user.") || name == "security.capability" || name.starts_with("system.posix_") {
                    attributes.other.push(name);
                }
                continue;
            };
            match mark {
                "opaque" => attributes.opaque = Some(attribute(fd, &name)?),
                "whiteout" => attributes.whiteout = true,
                // Bookkeeping of copy-up that changes nothing about what the entry is.
                "origin" | "impure" | "nlink" | "upper" | "uuid" => {}
                // A program's own attribute under overlayfs's prefix, as the kernel escapes it (Linux 6.7).
                escaped if escaped.starts_with("overlay.") => attributes.other.push(name),
                // `redirect`, `metacopy`, `protattr` (immutable flags, which a sandbox cannot set) and what may come.
                _ => attributes.forged = Some(name),
            }
        }
        Ok(attributes)
    }
}

/// Opens an entry of the layer for reading. A program may have taken its own permission away; the layer is ours and
/// the program dead, so it is given back to the owner. The mode of the change is the one before, with what the owner keeps.
fn open_readable(root: BorrowedFd<'_>, path: &TreePath, flags: OFlags) -> io::Result<OwnedFd> {
    let flags = flags | OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW;
    match beneath::open(root, path.as_path(), flags) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            let pinned = beneath::open(root, path.as_path(), OFlags::PATH | OFlags::NOFOLLOW)?;
            let found = beneath::entry_of(&pinned)?;
            let wanted = if found.kind == Kind::Folder { 0o700 } else { 0o400 };
            beneath::set_mode(pinned.as_fd(), found.permissions() | wanted)?;
            beneath::open(root, path.as_path(), flags)
        }
        result => result,
    }
}

/// Room for the names of one entry's attributes: the kernel's own limit (`XATTR_LIST_MAX`, limits.h).
const MAX_NAMES_BYTES: usize = 65_536;

fn attribute_names(fd: BorrowedFd<'_>) -> io::Result<Vec<String>> {
    // Most entries have none: ask for the size first instead of clearing 64 KiB for each.
    let size = match rustix::fs::flistxattr_query(fd) {
        Ok(0) | Err(Errno::OPNOTSUPP) => return Ok(Vec::new()),
        Ok(size) => size.min(MAX_NAMES_BYTES),
        Err(error) => return Err(error.into()),
    };
    let mut list = vec![0; size];
    let count = rustix::fs::flistxattr(fd, &mut list[..])?;
    let names = list[..count].split(|byte| *byte == 0).filter(|name| !name.is_empty());
    Ok(names.map(|name| String::from_utf8_lossy(name).into_owned()).collect())
}

fn attribute(fd: BorrowedFd<'_>, name: &str) -> io::Result<Vec<u8>> {
    // Only one-byte values mean anything to us.
    let mut value = [0; 16];
    match rustix::fs::fgetxattr(fd, name, &mut value[..]) {
        Ok(count) => Ok(value[..count].to_vec()),
        Err(Errno::RANGE) => Ok(Vec::new()),
        Err(error) => Err(error.into()),
    }
}
