//! Where a listed name leads: followed within the workspace, on paper and name by name.

use std::{
    ffi::{OsStr, OsString},
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::{Component, Path},
};

use rustix::{
    fs::{AtFlags, OFlags},
    io::Errno,
};

use super::super::{
    beneath::{self, Blocked, Entry, Found, Kind},
    tree_path::TreePath,
};

/// Links that one path may pass, as in the kernel (`MAXSYMLINKS` of `include/linux/namei.h`).
const MAX_LINKS: usize = 40;

/// A regular file, and how it was reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Resolved {
    pub(super) target: TreePath,
    pub(super) links: Vec<TreePath>,
    pub(super) entry: Entry,
}

/// Where a name leads.
pub(super) enum Way {
    /// To a regular file.
    To(Resolved),
    /// To something else, to nothing, or out of the workspace.
    Nowhere,
    /// To this path, which lies in a folder that cannot be looked into.
    Closed(TreePath),
}

/// Follows a name, through links that stay in the workspace.
pub(super) fn resolve(root: BorrowedFd<'_>, path: &TreePath) -> io::Result<Way> {
    // Most names are those of files. Name by name, a path of thousands of names would cost as many looks, each as long.
    if let Ok(Found::Entry(entry)) = beneath::find(root, path)
        && entry.kind == Kind::File
    {
        return Ok(Way::To(Resolved { target: path.clone(), links: Vec::new(), entry }));
    }
    let mut names: Vec<OsString> = path.as_path().iter().rev().map(OsStr::to_owned).collect();
    let mut reached = TreePath::root();
    let mut links = Vec::new();
    while let Some(name) = names.pop() {
        if name == ".." {
            let Some(parent) = reached.parent() else { return Ok(Way::Nowhere) };
            reached = parent;
            continue;
        }
        let next = reached.join(&name);
        let entry = match beneath::find(root, &next) {
            Ok(Found::Entry(entry)) => entry,
            Ok(Found::Blocked(Blocked::Permission)) => return Ok(Way::Closed(next)),
            Ok(Found::Blocked(Blocked::Link | Blocked::NotFolder | Blocked::Mount) | Found::Absent { .. }) => {
                return Ok(Way::Nowhere);
            }
            // A link's text makes a path that the kernel would not take.
            Err(error) if Errno::from_io_error(&error) == Some(Errno::NAMETOOLONG) => return Ok(Way::Nowhere),
            Err(error) => return Err(error),
        };
        match entry.kind {
            Kind::Folder => reached = next,
            Kind::File if names.is_empty() => return Ok(Way::To(Resolved { target: next, links, entry })),
            Kind::Link if links.len() < MAX_LINKS => {
                let target = beneath::link_target(beneath::folder_of(root, &next)?.as_fd(), &name)?;
                links.push(next);
                let target = Path::new(&target);
                if target.is_absolute() {
                    // Inside it works where it leads below the workspace: the path is the same there.
                    let Some(below) = below_workspace(root, target) else { return Ok(Way::Nowhere) };
                    reached = TreePath::root();
                    names.extend(below.as_path().iter().rev().map(OsStr::to_owned));
                } else {
                    names.extend(target.components().rev().filter_map(|component| match component {
                        Component::Normal(name) => Some(name.to_owned()),
                        Component::ParentDir => Some(OsString::from("..")),
                        Component::CurDir | Component::RootDir | Component::Prefix(_) => None,
                    }));
                }
            }
            Kind::File | Kind::Link | Kind::Character | Kind::Block | Kind::Fifo | Kind::Socket => {
                return Ok(Way::Nowhere);
            }
        }
    }
    Ok(Way::Nowhere)
}

/// The folder nearest to the root on the way to `path` that cannot be looked into.
pub(super) fn outermost_closed(root: BorrowedFd<'_>, path: &TreePath) -> io::Result<TreePath> {
    let mut above: Vec<TreePath> = path.folders_above().collect();
    above.sort();
    for folder in above {
        match open_to_look(root, &folder) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Ok(folder),
            Err(error) => return Err(error),
        }
    }
    // It was opened in between: looked at once more.
    Err(io::ErrorKind::NotFound.into())
}

/// Opens a folder whose names can be listed and looked up. Either alone is too little: an agent gives itself the other right to
/// its copy of the folder.
pub(super) fn open_to_look(root: BorrowedFd<'_>, path: &TreePath) -> io::Result<OwnedFd> {
    let opened = beneath::open(root, path.as_path(), OFlags::RDONLY | OFlags::DIRECTORY)?;
    match rustix::fs::statat(&opened, ".", AtFlags::SYMLINK_NOFOLLOW) {
        Ok(_) => Ok(opened),
        Err(error) => Err(error.into()),
    }
}

/// Where an absolute path lies in the workspace, by its text.
fn below_workspace(root: BorrowedFd<'_>, path: &Path) -> Option<TreePath> {
    use std::os::fd::AsRawFd;
    let workspace = std::fs::read_link(format!("/proc/self/fd/{}", root.as_raw_fd())).ok()?;
    TreePath::new(path.strip_prefix(workspace).ok()?)
}
