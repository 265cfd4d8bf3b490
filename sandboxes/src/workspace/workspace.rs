//! A workspace: the folder of the person's that calls see and change, pinned when it is opened.
//!
//! The path is checked once and then only the open folder is used, so a folder that is swapped for another one later
//! (or for a link) is noticed and never worked on.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write},
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    },
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use rustix::fs::{FlockOperation, Mode, OFlags};
use sha2::{Digest, Sha256};

use super::{
    beneath,
    delivery::recent::Recent,
    masking::Masking,
    named::{Naming, Personal},
    stamp::Clock,
    tree_path::hexadecimal,
};

/// Bytes of the path's digest in a workspace's id: 64 bits, so that a collision (which is refused) does not happen.
const ID_BYTES: usize = 8;

/// A pinned workspace.
#[derive(Debug)]
pub struct Workspace {
    root: PathBuf,
    id: String,
    folder: OwnedFd,
    device: u64,
    inode: u64,
    state: PathBuf,
    state_folder: OwnedFd,
    recent: Mutex<Recent>,
    clock: Clock,
    state_clock: Clock,
    /// Its files with credentials.
    masking: Masking,
    /// What of the host leads to its paths.
    naming: Naming,
}

/// Why a folder cannot be a workspace.
#[derive(Debug, thiserror::Error)]
pub enum WorkspaceError {
    /// The path is relative.
    #[error("the workspace must be an absolute path, not {}", path.display())]
    Relative {
        /// The path as given.
        path: PathBuf,
    },
    /// The path is not UTF-8, which plans and results need.
    #[error("the workspace's path {} is not UTF-8", path.display())]
    NotUtf8 {
        /// The path.
        path: PathBuf,
    },
    /// The folder is too much to hand to an agent.
    #[error("{} cannot be a workspace: it is {why}; name the folder of one project", path.display())]
    TooWide {
        /// The folder.
        path: PathBuf,
        /// What is wrong with it, as a noun.
        why: &'static str,
    },
    /// The last name of the path is a symbolic link, which could be pointed elsewhere later.
    #[error("{} is a symbolic link; name the folder that it points to", path.display())]
    Link {
        /// The path.
        path: PathBuf,
    },
    /// The path is not a folder.
    #[error("{} is not a folder", path.display())]
    NotFolder {
        /// The path.
        path: PathBuf,
    },
    /// The path cannot be looked at.
    #[error("failed to open the workspace {}", path.display())]
    Open {
        /// The path.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The state folder cannot be used.
    #[error("failed to prepare the state folder {}", path.display())]
    State {
        /// The folder.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The path does not name the opened folder any more.
    #[error("the folder at {} is not the one that was opened as workspace; start again", path.display())]
    Replaced {
        /// The path.
        path: PathBuf,
    },
}

impl Workspace {
    /// Opens and pins the folder at `path`, and makes its place below `state`: `<state>/workspaces/<id>/`, mode 0700.
    ///
    /// A path through linked parents is resolved, and the resolved path is the workspace's. `state` and `home` need not
    /// exist; `state` is made when the folder is accepted.
    ///
    /// # Errors
    /// [`WorkspaceError`] for a relative or non-UTF-8 path, a link or something else that is not a folder, `/`, `home`,
    /// a folder that contains `home` or `state` (compared by inode, so a bind mount of it too) or lies in `state`.
    pub fn open(path: &Path, state: &Path, home: &Path) -> Result<Self, WorkspaceError> {
        if !path.is_absolute() {
            return Err(WorkspaceError::Relative { path: path.to_owned() });
        }
        let open = |source| WorkspaceError::Open { path: path.to_owned(), source };
        let root = resolve_parents(path).map_err(open)?;
        if root.to_str().is_none() {
            return Err(WorkspaceError::NotUtf8 { path: root });
        }
        let folder = match rustix::fs::open(&root, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty()) {
            Ok(folder) => folder,
            Err(error) => return Err(open(error.into())),
        };
        let found = beneath::entry_of(&folder).map_err(open)?;
        match found.kind {
            beneath::Kind::Folder => {}
            beneath::Kind::Link => return Err(WorkspaceError::Link { path: root }),
            beneath::Kind::File
            | beneath::Kind::Character
            | beneath::Kind::Block
            | beneath::Kind::Fifo
            | beneath::Kind::Socket => return Err(WorkspaceError::NotFolder { path: root }),
        }
        let identity = (found.device, found.inode);
        let too_wide = |why| Err(WorkspaceError::TooWide { path: root.clone(), why });
        if root == Path::new("/") {
            return too_wide("the whole machine");
        }
        match place(home, identity).map_err(open)? {
            Place::Same => return too_wide("your home folder"),
            Place::Above => return too_wide("a folder that contains your home folder"),
            Place::Elsewhere => {}
        }
        match place(state, identity).map_err(open)? {
            Place::Same | Place::Above => return too_wide("a folder that contains cofferdam's own state"),
            Place::Elsewhere => {}
        }
        if fs::canonicalize(state).is_ok_and(|state| root.starts_with(state)) {
            return too_wide("part of cofferdam's own state");
        }
        let id = hexadecimal(&Sha256::digest(root.as_os_str().as_encoded_bytes())[..ID_BYTES]);
        let own_state = state.join("workspaces").join(&id);
        let failed = |source| WorkspaceError::State { path: own_state.clone(), source };
        let state_folder = prepare_state(&own_state, &root).map_err(failed)?;
        let (device, inode) = identity;
        let recent = Mutex::new(Recent::default());
        Ok(Self {
            root,
            id,
            folder,
            device,
            inode,
            state: own_state,
            state_folder,
            recent,
            clock: Clock::default(),
            state_clock: Clock::default(),
            masking: Masking::default(),
            naming: Naming::new(Personal::of(home)),
        })
    }

    /// Refuses a path that is `home`, or contains it: for a home folder besides the one that [`Self::open`] is told.
    ///
    /// # Errors
    /// [`WorkspaceError::TooWide`]; [`WorkspaceError::Open`] when it cannot be looked at.
    pub fn refuse_home(path: &Path, home: &Path) -> Result<(), WorkspaceError> {
        let open = |source| WorkspaceError::Open { path: path.to_owned(), source };
        let found = fs::metadata(path).map_err(open)?;
        let why = match place(home, (found.dev(), found.ino())).map_err(open)? {
            Place::Same => "the home folder of your account",
            Place::Above => "a folder that contains the home folder of your account",
            Place::Elsewhere => return Ok(()),
        };
        Err(WorkspaceError::TooWide { path: path.to_owned(), why })
    }

    /// Also reads these files of git's settings to find what git runs of the workspace: those that a variable of the
    /// environment names in the place of the usual ones in the home.
    #[must_use]
    pub fn with_git_settings(mut self, files: impl Iterator<Item = PathBuf>) -> Self {
        self.naming.read_also(files);
        self
    }

    /// The workspace's absolute path.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A short stable name for the path: 16 hexadecimal digits.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The pinned folder, opened with `O_PATH`.
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.folder.as_fd()
    }

    /// The workspace's own part of the state folder, mode 0700.
    #[must_use]
    pub fn state(&self) -> &Path {
        &self.state
    }

    /// Checks that the path still names the pinned folder.
    ///
    /// # Errors
    /// [`WorkspaceError::Replaced`] when it names something else or nothing.
    pub fn still_there(&self) -> Result<(), WorkspaceError> {
        let replaced = || WorkspaceError::Replaced { path: self.root.clone() };
        let there = fs::symlink_metadata(&self.root).map_err(|_| replaced())?;
        if (there.dev(), there.ino()) == (self.device, self.inode) { Ok(()) } else { Err(replaced()) }
    }

    pub(super) fn state_fd(&self) -> BorrowedFd<'_> {
        self.state_folder.as_fd()
    }

    pub(super) fn clock(&self) -> &Clock {
        &self.clock
    }

    pub(super) fn state_clock(&self) -> &Clock {
        &self.state_clock
    }

    pub(super) fn masking(&self) -> &Masking {
        &self.masking
    }

    pub(super) fn naming(&self) -> &Naming {
        &self.naming
    }

    pub(super) fn inode(&self) -> u64 {
        self.inode
    }

    pub(super) fn device(&self) -> u64 {
        self.device
    }

    pub(super) fn recent(&self) -> MutexGuard<'_, Recent> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the turn to change the workspace or its held layers. One holder at a time, among all processes.
    pub(super) fn turn(&self, patience: &Patience<'_>) -> Result<Turn, TurnError> {
        let path = self.state.join("lock");
        let failed = |source| TurnError::Lock { path: path.clone(), source };
        let mut options = OpenOptions::new();
        let file = options.create(true).truncate(false).write(true).mode(0o600).open(&path).map_err(failed)?;
        let mut pause = Duration::from_millis(1);
        loop {
            match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Turn { _file: file }),
                Err(rustix::io::Errno::WOULDBLOCK | rustix::io::Errno::INTR) => {}
                Err(error) => return Err(failed(error.into())),
            }
            if (patience.cancelled)() {
                return Err(TurnError::Cancelled);
            }
            let left = patience.until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(TurnError::Busy);
            }
            thread::sleep(pause.min(left));
            pause = (pause * 2).min(Duration::from_millis(20));
        }
    }
}

/// How long to wait for other calls that change the same workspace.
#[derive(Clone, Copy)]
pub struct Patience<'a> {
    /// When to give up.
    pub until: Instant,
    /// Asked every few milliseconds; true gives up at once.
    pub cancelled: &'a dyn Fn() -> bool,
}

impl std::fmt::Debug for Patience<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Patience").field("until", &self.until).finish_non_exhaustive()
    }
}

/// Why the turn did not come.
#[derive(Debug, thiserror::Error)]
pub enum TurnError {
    /// Others kept the workspace busy for too long.
    #[error("other calls kept the workspace busy")]
    Busy,
    /// The call was cancelled while it waited.
    #[error("the call was cancelled while it waited for other calls on the workspace")]
    Cancelled,
    /// The lock file cannot be used.
    #[error("failed to lock {}", path.display())]
    Lock {
        /// The lock file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
}

/// The turn to change a workspace; ends when dropped.
#[derive(Debug)]
pub(super) struct Turn {
    _file: File,
}

/// Resolves every parent of `path`, and not its last name.
fn resolve_parents(path: &Path) -> io::Result<PathBuf> {
    match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) => Ok(fs::canonicalize(parent)?.join(name)),
        // `/`, or a path that ends in `..`, whose last name is no link.
        _ => fs::canonicalize(path),
    }
}

/// Where a folder lies, seen from another.
enum Place {
    Same,
    Above,
    Elsewhere,
}

/// Where the folder with this device and inode lies, seen from `path`, of which the last names need not exist.
fn place(path: &Path, (device, inode): (u64, u64)) -> io::Result<Place> {
    let mut existing = path;
    let resolved = loop {
        match fs::canonicalize(existing) {
            Ok(resolved) => break resolved,
            Err(error) if error.kind() == io::ErrorKind::NotFound => match existing.parent() {
                Some(parent) => existing = parent,
                None => return Ok(Place::Elsewhere),
            },
            Err(error) => return Err(error),
        }
    };
    for (distance, above) in resolved.ancestors().enumerate() {
        let found = fs::metadata(above)?;
        if (found.dev(), found.ino()) == (device, inode) {
            return Ok(if distance == 0 && existing == path { Place::Same } else { Place::Above });
        }
    }
    Ok(Place::Elsewhere)
}

/// Makes `<state>/workspaces/<id>` and writes down which workspace it is for.
fn prepare_state(state: &Path, root: &Path) -> io::Result<OwnedFd> {
    DirBuilder::new().recursive(true).mode(0o700).create(state)?;
    let folder = rustix::fs::open(state, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    rustix::fs::fchmod(&folder, Mode::RWXU)?;
    let note = state.join("path");
    let bytes = root.as_os_str().as_encoded_bytes();
    match fs::read(&note) {
        Ok(written) if written == bytes => {}
        // Empty: a server was killed between making and writing it.
        Ok(written) if !written.is_empty() => {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "it belongs to another workspace"));
        }
        Ok(_) | Err(_) => {
            let mut file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&note)?;
            file.write_all(bytes)?;
        }
    }
    Ok(folder)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::workspace::playground::patient;

    struct Ground {
        folder: tempfile::TempDir,
    }

    impl Ground {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            for name in ["home/project", "state", "elsewhere"] {
                fs::create_dir_all(folder.path().join(name)).unwrap();
            }
            Self { folder }
        }

        fn path(&self, name: &str) -> PathBuf {
            fs::canonicalize(self.folder.path()).unwrap().join(name)
        }

        fn open(&self, path: &Path) -> Result<Workspace, WorkspaceError> {
            Workspace::open(path, &self.path("home/state/cofferdam"), &self.path("home"))
        }
    }

    #[test]
    fn a_project_folder_is_pinned_and_gets_its_own_state() {
        let ground = Ground::new();
        let workspace = ground.open(&ground.path("home/project")).unwrap();
        assert_eq!(workspace.root(), ground.path("home/project"));
        assert_eq!(fs::read(workspace.state().join("path")).unwrap(), workspace.root().as_os_str().as_encoded_bytes());
        assert_eq!(fs::metadata(workspace.state()).unwrap().mode() & 0o777, 0o700);
        assert_eq!(ground.open(workspace.root()).unwrap().id(), workspace.id());
        workspace.still_there().unwrap();
    }

    #[test]
    fn folders_that_are_too_wide_are_refused() {
        let ground = Ground::new();
        fs::create_dir_all(ground.path("home/state/cofferdam/inner")).unwrap();
        for path in [
            PathBuf::from("/"),
            ground.path("home"),
            ground.path(""),
            ground.path("home/state"),
            ground.path("home/state/cofferdam"),
            ground.path("home/state/cofferdam/inner"),
            ground.path("home/project/.."),
        ] {
            assert!(matches!(ground.open(&path), Err(WorkspaceError::TooWide { .. })), "{}", path.display());
        }
    }

    #[test]
    fn a_refused_folder_is_left_without_state() {
        let ground = Ground::new();
        let refuse = |path: &str| Workspace::refuse_home(&ground.path(path), &ground.path("home/project"));
        assert!(matches!(refuse("home"), Err(WorkspaceError::TooWide { .. })));
        assert!(matches!(refuse("home/project"), Err(WorkspaceError::TooWide { .. })));
        refuse("elsewhere").unwrap();
        ground.open(&ground.path("home")).unwrap_err();
        assert!(!ground.path("home/state").exists());
    }

    #[test]
    fn a_linked_workspace_is_refused_however_it_is_spelled() {
        let ground = Ground::new();
        symlink(ground.path("home/project"), ground.path("link")).unwrap();
        for spelling in ["link", "link/", "link/."] {
            let path = PathBuf::from(format!("{}/{spelling}", ground.path("").display()));
            assert!(matches!(ground.open(&path), Err(WorkspaceError::Link { .. })), "{spelling}");
        }
    }

    #[test]
    fn linked_parents_are_resolved() {
        let ground = Ground::new();
        symlink(ground.path("home"), ground.path("link")).unwrap();
        let workspace = ground.open(&ground.path("link/project")).unwrap();
        assert_eq!(workspace.root(), ground.path("home/project"));
    }

    #[test]
    fn what_is_no_folder_is_refused() {
        let ground = Ground::new();
        fs::write(ground.path("file"), "").unwrap();
        assert!(matches!(ground.open(&ground.path("file")), Err(WorkspaceError::NotFolder { .. })));
        assert!(matches!(ground.open(&ground.path("absent")), Err(WorkspaceError::Open { .. })));
        assert!(matches!(ground.open(Path::new("home")), Err(WorkspaceError::Relative { .. })));
        use std::os::unix::ffi::OsStrExt;
        let odd = ground.path("").join(std::ffi::OsStr::from_bytes(b"a\xff"));
        fs::create_dir(&odd).unwrap();
        assert!(matches!(ground.open(&odd), Err(WorkspaceError::NotUtf8 { .. })));
    }

    #[test]
    fn a_swapped_workspace_is_noticed() {
        let ground = Ground::new();
        let workspace = ground.open(&ground.path("home/project")).unwrap();
        fs::rename(ground.path("home/project"), ground.path("old")).unwrap();
        assert!(matches!(workspace.still_there(), Err(WorkspaceError::Replaced { .. })));
        symlink(ground.path("old"), ground.path("home/project")).unwrap();
        assert!(matches!(workspace.still_there(), Err(WorkspaceError::Replaced { .. })));
        fs::remove_file(ground.path("home/project")).unwrap();
        fs::rename(ground.path("old"), ground.path("home/project")).unwrap();
        workspace.still_there().unwrap();
    }

    #[test]
    fn the_turn_is_given_to_one_at_a_time() {
        let ground = Ground::new();
        let workspace = ground.open(&ground.path("home/project")).unwrap();
        let other = ground.open(&ground.path("home/project")).unwrap();
        let turn = workspace.turn(&patient(&|| false)).unwrap();
        let hurried = Patience { until: Instant::now() + Duration::from_millis(30), cancelled: &|| false };
        assert!(matches!(other.turn(&hurried), Err(TurnError::Busy)));
        assert!(matches!(other.turn(&patient(&|| true)), Err(TurnError::Cancelled)));
        drop(turn);
        other.turn(&hurried).unwrap();
    }
}
