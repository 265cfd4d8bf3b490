//! How a call's view of the workspace is made, and the choice of the way that this machine has.
//!
//! The first start of a private view tries the ways in order; the step of the kernel's that refuses says which one to
//! leave. That is not decided by the kernel's version. What a view guarantees is the same in each way. What differs is stated in what is enforced: writes to a tmpfs
//! are bounded by its size, writes to a folder on disk by a watcher.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use cofferdam_contract::{Ended, Limits};
use rustix::fs::{Mode, OFlags};

use crate::{
    call_folder::CallFolder,
    namespace::{StartError, Upper, View, Writes},
    pool::Access,
    workspace::{Copied, CopyBounds, CopyError, Layers, Masks, Plain, TreePath, Workspace},
};

/// Files, folders and links that are copied for each MiB of disk budget: what a tmpfs of that size holds.
const ENTRIES_PER_MEBIBYTE: u64 = 256;

/// A way to make a private view.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ViewMechanism {
    /// An overlay whose upper layer is a tmpfs. Needs user attributes on tmpfs (Linux 6.6).
    Overlay,
    /// An overlay whose upper layer is a folder in our state.
    OverlayOnFolder,
    /// A copy of the workspace in our state: where overlayfs is missing, or refused in a user namespace.
    Copy,
}

/// Which way is used.
#[derive(Debug)]
pub(crate) struct Views {
    now: Mutex<ViewMechanism>,
    choice: Choice,
}

/// Whether another way may be tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Choice {
    Tried,
    Ordered,
}

/// What a view needs on the host. Keep it until nothing of the view is needed any more.
#[derive(Debug, Default)]
pub(crate) struct Stage {
    folder: Option<CallFolder>,
    /// The upper layer, when it is a folder of ours.
    upper: Option<OwnedFd>,
    /// What a copy was that takes writes.
    copied: Option<Copied>,
    /// Folders of the workspace that are shown as they are, over the overlay.
    plain: Plain,
}

/// Why the host's part of a view was not prepared.
#[derive(Debug, thiserror::Error)]
pub enum StageError {
    /// The workspace could not be copied.
    #[error(transparent)]
    Copy(#[from] CopyError),
    /// The call's folder could not be made.
    #[error("failed to make a folder for the call in the state of the workspace")]
    Folder(#[from] io::Error),
}

impl Views {
    /// Tries the ways in order.
    pub(crate) fn tried() -> Self {
        Self { now: Mutex::new(ViewMechanism::Overlay), choice: Choice::Tried }
    }

    /// Uses one way and no other.
    pub(crate) fn ordered(mechanism: ViewMechanism) -> Self {
        Self { now: Mutex::new(mechanism), choice: Choice::Ordered }
    }

    /// The way that is used now.
    pub(crate) fn mechanism(&self) -> ViewMechanism {
        *self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a start that failed with `error` can be tried again, since `tried` is what this machine refuses and there
    /// is another way.
    pub(crate) fn moves_on(&self, tried: ViewMechanism, error: &StartError) -> bool {
        let StartError::View { source, .. } = error else { return false };
        if self.choice == Choice::Ordered || !is_for_good(source) {
            return false;
        }
        let mut now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        if *now != tried {
            return true;
        }
        let next = match tried {
            ViewMechanism::Overlay => ViewMechanism::OverlayOnFolder,
            ViewMechanism::OverlayOnFolder => ViewMechanism::Copy,
            ViewMechanism::Copy => return false,
        };
        tracing::info!(refused = tried.name(), %source, used = next.name(), "this machine makes views another way");
        *now = next;
        true
    }
}

impl ViewMechanism {
    /// The name that results and `doctor` use.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Overlay => "overlay",
            Self::OverlayOnFolder => "overlay on a directory",
            Self::Copy => "copy",
        }
    }
}

/// Whether the kernel would say the same the next time: not for want of memory, space or descriptors.
fn is_for_good(error: &io::Error) -> bool {
    use rustix::io::Errno as E;
    matches!(
        E::from_io_error(error),
        Some(E::PERM | E::ACCESS | E::INVAL | E::NODEV | E::OPNOTSUPP | E::NOSYS | E::NOTDIR | E::STALE)
    )
}

impl Stage {
    /// Prepares the host's part of a view. `points` are scratch volumes in the workspace; `ended` says that the call has
    /// ended meanwhile.
    pub(crate) fn make(
        mechanism: ViewMechanism,
        (workspace, layers, masks): (&Workspace, &Layers, &Masks),
        access: Access,
        limits: Limits,
        points: &[TreePath],
        ended: &dyn Fn() -> Option<Ended>,
    ) -> Result<Self, StageError> {
        match (mechanism, access) {
            (ViewMechanism::Overlay, _) | (ViewMechanism::OverlayOnFolder, Access::Read) => Ok(Self::default()),
            // The workspace itself, live.
            (ViewMechanism::Copy, Access::Read) if layers.paths().next().is_none() && masks.layer().is_none() => {
                Ok(Self::default())
            }
            (ViewMechanism::OverlayOnFolder, Access::Write) => {
                let folder = CallFolder::make(workspace.state(), &["upper", "work"])?;
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
                let upper = rustix::fs::open(folder.join("upper"), flags, Mode::empty()).map_err(io::Error::from)?;
                Ok(Self { folder: Some(folder), upper: Some(upper), ..Self::default() })
            }
            (ViewMechanism::Copy, Access::Read | Access::Write) => {
                let folder = CallFolder::make(workspace.state(), &["view"])?;
                let held = layers.folders();
                let mut sources: Vec<BorrowedFd<'_>> = masks.on_top(layers).ordered(held, masks.layer());
                sources.push(workspace.fd());
                let copied = Copied::make(&sources, &folder.join("view"), copy_bounds(limits), points, ended)?;
                let copied = (access == Access::Write).then_some(copied);
                Ok(Self { folder: Some(folder), copied, ..Self::default() })
            }
        }
    }

    /// Lets an overlay that is only read show folders of the workspace as they are, where that pays.
    pub(crate) fn show_plainly(&mut self, access: Access, workspace: &Workspace, layers: &Layers, masks: &Masks) {
        if access == Access::Read && !self.is_copy() {
            self.plain = Plain::find(workspace, layers, masks);
        }
    }

    /// The folders of the workspace that are shown as they are.
    pub(crate) fn plain(&self) -> &Plain {
        &self.plain
    }

    /// What is seen of the workspace.
    pub(crate) fn view<'a>(&'a self, access: Access, held: &'a [PathBuf]) -> View<'a> {
        match (&self.folder, access) {
            (None, Access::Write) => View::Private { held, upper: Upper::Temporary },
            (None, Access::Read) => View::ReadOnly { held, plain: &self.plain },
            (Some(folder), _) if self.upper.is_some() => View::Private { held, upper: Upper::Folder(folder.join("")) },
            (Some(folder), Access::Write) => View::Copied { copy: folder.join("view"), writes: Writes::Kept },
            (Some(folder), Access::Read) => View::Copied { copy: folder.join("view"), writes: Writes::Refused },
        }
    }

    /// The folder on disk that takes the view's writes, if one does.
    pub(crate) fn watched(&self) -> Option<PathBuf> {
        let name = match (&self.upper, &self.copied) {
            (Some(_), _) => "upper",
            (None, Some(_)) => "view",
            (None, None) => return None,
        };
        self.folder.as_ref().map(|folder| folder.join(name))
    }

    /// The upper layer, when it is a folder of ours.
    pub(crate) fn upper(&self) -> Option<BorrowedFd<'_>> {
        self.upper.as_ref().map(AsFd::as_fd)
    }

    /// Whether the view is a copy, and so of the workspace as it was.
    pub(crate) fn is_copy(&self) -> bool {
        self.folder.is_some() && self.upper.is_none()
    }

    /// The copy, when the view is one that takes writes.
    pub(crate) fn copied(&self) -> Option<&Copied> {
        self.copied.as_ref()
    }

    /// Gives what must stay until the changes are handed back.
    pub(crate) fn into_folder(self) -> Option<CallFolder> {
        self.folder
    }
}

/// What may be copied under these limits.
pub(crate) fn copy_bounds(limits: Limits) -> CopyBounds {
    CopyBounds { bytes: limits.disk_mb << 20, entries: limits.disk_mb.saturating_mul(ENTRIES_PER_MEBIBYTE) }
}

/// The layers between a call's own and the workspace, top first: what is held, and what hides credentials, in the order that
/// [`Masks::on_top`] says.
pub(crate) fn between(layers: &Layers, masks: &Masks) -> Vec<PathBuf> {
    let ordered = masks.on_top(layers).ordered(layers.paths(), masks.layer_path());
    ordered.into_iter().map(Path::to_path_buf).collect()
}

/// The paths of scratch volumes that lie in the workspace.
pub(crate) fn points<'a>(workspace: &Path, volumes: impl Iterator<Item = &'a Path>) -> Vec<TreePath> {
    volumes.filter_map(|at| at.strip_prefix(workspace).ok()).filter_map(TreePath::new).collect()
}

#[cfg(test)]
mod tests {
    use rustix::io::Errno;

    use super::*;

    fn refused(errno: Errno) -> StartError {
        StartError::View { what: "the overlay /work".to_owned(), source: errno.into() }
    }

    #[test]
    fn each_way_is_left_once_and_the_last_never() {
        let views = Views::tried();
        assert!(views.moves_on(ViewMechanism::Overlay, &refused(Errno::OPNOTSUPP)));
        assert_eq!(views.mechanism(), ViewMechanism::OverlayOnFolder);
        assert!(views.moves_on(ViewMechanism::Overlay, &refused(Errno::OPNOTSUPP)), "another call has found out");
        assert_eq!(views.mechanism(), ViewMechanism::OverlayOnFolder);
        assert!(views.moves_on(ViewMechanism::OverlayOnFolder, &refused(Errno::PERM)));
        assert!(!views.moves_on(ViewMechanism::Copy, &refused(Errno::PERM)));
        assert_eq!(views.mechanism(), ViewMechanism::Copy);
    }

    #[test]
    fn no_other_way_is_tried_for_want_of_something_nor_for_another_failure_nor_against_an_order() {
        let views = Views::tried();
        for errno in [Errno::NOMEM, Errno::NOSPC, Errno::MFILE, Errno::IO] {
            assert!(!views.moves_on(ViewMechanism::Overlay, &refused(errno)), "{errno}");
        }
        let shown = StartError::Show { what: "x".to_owned(), source: Errno::PERM.into() };
        assert!(!views.moves_on(ViewMechanism::Overlay, &shown));
        let ordered = Views::ordered(ViewMechanism::Overlay);
        assert!(!ordered.moves_on(ViewMechanism::Overlay, &refused(Errno::PERM)));
        assert_eq!((views.mechanism(), ordered.mechanism()), (ViewMechanism::Overlay, ViewMechanism::Overlay));
    }
}
