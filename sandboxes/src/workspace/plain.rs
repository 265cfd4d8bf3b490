//! Folders of the workspace in which an overlay would show the workspace and nothing else.
//!
//! A lookup in an overlay costs more than one below, which a search of a large workspace feels: with one masked file it took 1.43 times
//! as long as ripgrep outside, and 0.74 times without (measured on 100,000 files).
//! So a view that is only read shows such folders as they are, over the overlay. That a folder is one is read off the layers
//! themselves: no layer has anything at its path, and none that has a folder above it hides what is below that.
//!
//! Such a folder stays in the view wherever the host moves it, out of the workspace too. So each has its device and inode here: a
//! sandbox is taken only while all are where they were, and an answer counts only if they are still there at its end and none came
//! back meanwhile. That is heard from the watch for files with credentials, and what it does not watch is left to the overlay; so is
//! whatever is beyond the bounds, changes while it is looked at, or cannot be looked at.

use std::{
    collections::{BTreeSet, VecDeque},
    ffi::{OsStr, OsString},
    io,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::ffi::OsStringExt,
    },
};

use rustix::{
    fs::{Dir, FileType, OFlags},
    io::Errno,
};

use super::{
    beneath::{self, Found, Kind},
    held::stack::Layers,
    masking::{Look, Masks},
    tree_path::TreePath,
    workspace::Workspace,
};

/// How much is looked at, and how much is found at most. What is nearer to the top comes first.
#[derive(Debug, Clone, Copy)]
struct Bounds {
    /// Folders that are shown so: all of those in one folder or none. Each is a mount in every such sandbox, which costs a start some
    /// 30 µs (measured: 256 beside 22, on a busy machine).
    shown: usize,
    /// Folders for which the layers are asked, each of them.
    asked: usize,
    /// Names that are read, of folders and of all else.
    names: usize,
    /// Names in one folder. Where there are more, none of its folders is shown so, and the others still can be.
    names_in_one: usize,
}

/// The bounds of a view.
const BOUNDS: Bounds = Bounds { shown: 256, asked: 1_024, names: 16_384, names_in_one: 4_096 };

/// Names that a workspace has at least where it is done. In a smaller one a search saves less than a read pays for the mounts.
const LEAST_NAMES: usize = 20_000;

/// Such folders of one workspace.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Plain {
    /// Folders that were looked into, those above before those below.
    looked_into: Vec<LookedInto>,
}

/// A folder that has some.
#[derive(Debug, Clone, PartialEq, Eq)]
struct LookedInto {
    path: TreePath,
    identity: Identity,
    plain: Vec<(OsString, Identity)>,
}

/// Which folder it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Identity {
    /// `st_dev`.
    pub(crate) device: u64,
    /// `st_ino`.
    pub(crate) inode: u64,
}

/// What the layers have at a path.
enum Layered {
    /// Nothing.
    Nothing,
    /// Folders, below which the workspace shows.
    Folders,
    /// Something that hides the workspace there.
    Other,
}

impl Plain {
    /// Finds such folders, where a view of the workspace is to have an overlay and it pays.
    pub(crate) fn find(workspace: &Workspace, layers: &Layers, masks: &Masks) -> Self {
        let between: Vec<BorrowedFd<'_>> = layers.folders().chain(masks.layer()).collect();
        if between.is_empty() || workspace.watched_names().is_none_or(|names| names < LEAST_NAMES) {
            return Self::default();
        }
        Self::among(workspace.fd(), &between, masks.links(), BOUNDS).unwrap_or_default()
    }

    fn among(
        root: BorrowedFd<'_>,
        between: &[BorrowedFd<'_>],
        links: &BTreeSet<TreePath>,
        bounds: Bounds,
    ) -> io::Result<Self> {
        let Bounds { mut shown, mut asked, mut names, names_in_one } = bounds;
        let mut found = Self::default();
        let mut pending = VecDeque::from([TreePath::root()]);
        while shown > 0
            && asked > 0
            && let Some(path) = pending.pop_front()
        {
            let opened = beneath::open(root, path.as_path(), OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW);
            let folder = match opened {
                Ok(folder) => folder,
                Err(error) if beneath::is_moved(&error) => continue,
                Err(error) => return Err(error),
            };
            let (read, below) = folders_in(&folder, names.min(names_in_one))?;
            names -= read;
            let Some(below) = below else { continue };
            let identity = Identity::of(folder.as_fd())?;
            let mut plain = Vec::new();
            for name in below {
                let Some(below) = folder_at(folder.as_fd(), &name)? else { continue };
                if asked == 0 {
                    plain.clear();
                    break;
                }
                asked -= 1;
                let at = path.join(&name);
                let has_link = links.range(at.clone()..).next().is_some_and(|link| link.is_within(&at));
                match layered(between, &at)? {
                    Layered::Other => {}
                    Layered::Folders if Workspace::watches(&at) => pending.push_back(at),
                    Layered::Nothing if has_link && Workspace::watches(&at) => pending.push_back(at),
                    Layered::Folders => {}
                    // Something else is mounted there, or it has a link that is on the list.
                    Layered::Nothing if has_link || below.device != identity.device => {}
                    Layered::Nothing => plain.push((name, below)),
                }
            }
            // A part of many would cost a start as much as all of few, and a search would gain little.
            if plain.len() > shown {
                plain.clear();
            }
            shown -= plain.len();
            found.looked_into.push(LookedInto { path, identity, plain });
        }
        Ok(found)
    }

    /// The folders, with what they must be.
    pub(crate) fn folders(&self) -> impl Iterator<Item = (TreePath, Identity)> {
        let below = |folder: &LookedInto, (name, identity): &(OsString, Identity)| (folder.path.join(name), *identity);
        self.looked_into.iter().flat_map(move |folder| folder.plain.iter().map(move |plain| below(folder, plain)))
    }

    /// Whether all of them, and the folders above them, are where they were found.
    pub(crate) fn stands(&self, workspace: &Workspace) -> bool {
        self.looked_into.iter().all(|above| {
            let Ok(folder) = beneath::folder(workspace.fd(), above.path.as_path()) else { return false };
            let is = |name: &OsStr, identity| folder_at(folder.as_fd(), name).is_ok_and(|now| now == Some(identity));
            Identity::of(folder.as_fd()).is_ok_and(|now| now == above.identity)
                && above.plain.iter().all(|(name, identity)| is(name, *identity))
        })
    }

    /// Whether one of them, or a folder above one, may have been elsewhere between two looks and have come back. Ask after the
    /// second look, and before it whether they stand: then nothing lies between the two questions.
    pub(crate) fn may_have_come_back(&self, workspace: &Workspace, look: &Look) -> bool {
        if self.looked_into.is_empty() {
            return false;
        }
        let Some(new) = workspace.folders_new_since(look) else { return true };
        !new.is_empty()
            && (self.looked_into.iter().any(|folder| new.contains(&folder.path))
                || self.folders().any(|(path, _)| new.contains(&path)))
    }
}

impl Identity {
    fn of(folder: BorrowedFd<'_>) -> io::Result<Self> {
        let beneath::Entry { device, inode, .. } = beneath::entry_of(folder)?;
        Ok(Self { device, inode })
    }
}

/// How many names of a folder were read, and those that may be folders, sorted; `None` when it has more than `most` names.
fn folders_in(folder: &OwnedFd, most: usize) -> io::Result<(usize, Option<Vec<OsString>>)> {
    let (mut read, mut folders) = (0, Vec::new());
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name == b"." || name == b".." {
            continue;
        }
        if read == most {
            return Ok((read, None));
        }
        read += 1;
        // Some file systems do not say what it is.
        if matches!(entry.file_type(), FileType::Directory | FileType::Unknown) {
            folders.push(OsString::from_vec(name.to_vec()));
        }
    }
    folders.sort();
    Ok((read, Some(folders)))
}

/// The folder of this name; `None` when it is none.
fn folder_at(folder: BorrowedFd<'_>, name: &OsStr) -> io::Result<Option<Identity>> {
    let entry = beneath::entry(folder, name)?.filter(|entry| entry.kind == Kind::Folder);
    Ok(entry.map(|beneath::Entry { device, inode, .. }| Identity { device, inode }))
}

fn layered(between: &[BorrowedFd<'_>], path: &TreePath) -> io::Result<Layered> {
    let mut layered = Layered::Nothing;
    for layer in between {
        match beneath::find(*layer, path)? {
            Found::Absent { .. } => {}
            Found::Entry(entry) if entry.kind == Kind::Folder && !hides_what_is_below(*layer, path)? => {
                layered = Layered::Folders;
            }
            Found::Entry(_) | Found::Blocked(_) => return Ok(Layered::Other),
        }
    }
    Ok(layered)
}

/// Whether a layer's folder stands in the place of those below it (`overlayfs.rst`, "whiteouts and opaque directories").
fn hides_what_is_below(layer: BorrowedFd<'_>, path: &TreePath) -> io::Result<bool> {
    let folder = beneath::open(layer, path.as_path(), OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW)?;
    match rustix::fs::fgetxattr(&folder, c"user.overlay.opaque", &mut [0; 8][..]) {
        Ok(_) => Ok(true),
        // No such attribute, or a file system that has none.
        Err(Errno::NODATA | Errno::OPNOTSUPP) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
#[path = "plain_tests.rs"]
mod tests;
