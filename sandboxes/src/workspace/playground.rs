//! A workspace and an upper layer to try things in.

use std::{
    fs,
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::{PermissionsExt, symlink},
    },
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use cofferdam_contract::{HandBack, WorkspacePath};
use cofferdam_policy::{Protect, Secrets, WriteScope};
use rustix::fs::{CWD, FileType, Mode, OFlags, XattrFlags};

use super::{
    Bond, Bounds, Changeset, HandedBack, Marks, Masks, Origin, Patience, Session, SessionError, Stamp, TreePath,
    Workspace,
    beneath::{self, Entry},
    delivery::{Steps, Uninterrupted},
    hand_back::{Admission, Order},
};

/// A workspace of its own in a temporary folder.
pub(crate) struct Playground {
    pub(crate) folder: tempfile::TempDir,
    /// The state folder, where that is not in `folder`.
    state: Option<tempfile::TempDir>,
    pub(crate) workspace: Arc<Workspace>,
    pub(crate) protect: Protect,
    pub(crate) mode: cofferdam_policy::Mode,
    write: WriteScope,
    /// Which files hold credentials.
    pub(crate) secrets: Arc<Secrets>,
    calls: AtomicU32,
}

/// Patience of a minute.
pub(crate) fn patient(cancelled: &dyn Fn() -> bool) -> Patience<'_> {
    Patience { until: Instant::now() + Duration::from_secs(60), cancelled }
}

/// The compiled-in list of files with credentials.
pub(crate) fn listed() -> Arc<Secrets> {
    Arc::default()
}

pub(crate) fn path(text: &str) -> TreePath {
    TreePath::new(text).unwrap()
}

pub(crate) fn origin(call: &str) -> Origin {
    Origin { call: call.to_owned(), at_ms: 1_700_000_000_000, bond: Bond::OneAct }
}

pub(crate) fn only(paths: &[&str]) -> HandBack {
    HandBack::Paths(paths.iter().map(|path| WorkspacePath::parse(path, "/work").unwrap()).collect())
}

impl Playground {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        for name in ["work", "home"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        let workspace = Arc::new(open(folder.path(), &folder.path().join("state")));
        Self {
            folder,
            state: None,
            workspace,
            protect: Protect::new(std::iter::empty()).unwrap(),
            mode: cofferdam_policy::Mode::Apply,
            write: WriteScope::EVERYTHING,
            secrets: listed(),
            calls: AtomicU32::default(),
        }
    }

    /// One whose changes come back in another mode.
    pub(crate) fn in_mode(mode: cofferdam_policy::Mode) -> Self {
        Self { mode, ..Self::new() }
    }

    /// One whose state folder no rename from the workspace reaches.
    pub(crate) fn on_two_file_systems() -> Self {
        let ground = Self::new();
        let state = tempfile::tempdir_in("/dev/shm").unwrap();
        let workspace = Arc::new(open(ground.folder.path(), state.path()));
        Self { state: Some(state), workspace, ..ground }
    }

    /// Opens the same workspace again, as another server would.
    pub(crate) fn reopened(&self) -> Arc<Workspace> {
        let state = self.state.as_ref().map_or(self.folder.path().join("state"), |state| state.path().to_owned());
        Arc::new(open(self.folder.path(), &state))
    }

    /// What calls see in place of files with credentials, now.
    pub(crate) fn masks(&self) -> Arc<Masks> {
        self.workspace.masks(&self.secrets).unwrap()
    }

    pub(crate) fn session(&self) -> Session {
        Session::open(Arc::clone(&self.workspace), "default").unwrap()
    }

    /// Waits for the next tick of the slowest common kernel clock, so that what was done is older than what follows.
    pub(crate) fn settle(&self) {
        std::thread::sleep(Duration::from_millis(11));
    }

    pub(crate) fn stamp(&self) -> Stamp {
        self.settle();
        Stamp::take(&self.workspace).unwrap()
    }

    pub(crate) fn host(&self, name: &str) -> PathBuf {
        self.workspace.root().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        let path = self.host(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    pub(crate) fn read(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.host(name)).ok()
    }

    pub(crate) fn entry(&self, name: &str) -> Entry {
        let path = TreePath::new(name).unwrap();
        match beneath::find(self.workspace.fd(), &path).unwrap() {
            beneath::Found::Entry(entry) => entry,
            other => panic!("{name}: {other:?}"),
        }
    }

    /// Every path of the workspace with its content, as text.
    pub(crate) fn tree(&self) -> Vec<String> {
        list(self.workspace.root())
    }

    pub(crate) fn upper(&self) -> Upper {
        let folder = tempfile::tempdir_in(self.folder.path()).unwrap();
        Upper { folder }
    }

    pub(crate) fn hand_back(&self, session: &Session, upper: &Upper, allowed: &HandBack, stamp: &Stamp) -> HandedBack {
        self.try_hand_back(session, upper, allowed, stamp, &Uninterrupted).unwrap()
    }

    /// All that `allowed` and the playground's mode let back.
    pub(crate) fn admission<'a>(&'a self, allowed: &'a HandBack) -> Admission<'a> {
        let Self { write, protect, mode, .. } = self;
        Admission { allowed, write, protect, mode: *mode }
    }

    /// Hands back as `call-1`, the next time as `call-2`, and so on.
    pub(crate) fn try_hand_back(
        &self,
        session: &Session,
        upper: &Upper,
        allowed: &HandBack,
        stamp: &Stamp,
        steps: &dyn Steps,
    ) -> Result<HandedBack, SessionError> {
        let changeset = upper.changeset();
        let call = self.calls.fetch_add(1, Ordering::Relaxed) + 1;
        let order = Order {
            changeset: &changeset,
            admission: self.admission(allowed),
            masks: &self.masks(),
            on_top: self.masks().on_top(&session.layers().unwrap()),
            stamp,
            seen: None,
            masked_then: None,
            masks_then: None,
            origin: &origin(&format!("call-{call}")),
        };
        session.hand_back_in_steps(&order, &patient(&|| false), steps)
    }
}

fn open(folder: &Path, state: &Path) -> Workspace {
    Workspace::open(&folder.join("work"), state, &folder.join("home")).unwrap()
}

/// Every path below `root` with its content, as text: `path = content`, `path/`, `path -> target`, `path ∅`.
pub(crate) fn list(root: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    let mut pending = vec![root.to_owned()];
    while let Some(folder) = pending.pop() {
        for item in fs::read_dir(folder).unwrap() {
            let path = item.unwrap().path();
            let name = path.strip_prefix(root).unwrap().display().to_string();
            let found = fs::symlink_metadata(&path).unwrap();
            if found.is_dir() {
                lines.push(format!("{name}/"));
                pending.push(path);
            } else if found.is_symlink() {
                lines.push(format!("{name} -> {}", fs::read_link(&path).unwrap().display()));
            } else if found.is_file() {
                lines.push(format!("{name} = {}", String::from_utf8_lossy(&fs::read(&path).unwrap())));
            } else {
                lines.push(format!("{name} ∅"));
            }
        }
    }
    lines.sort();
    lines
}

/// What the held layers of a session show together, as [`list`] says it.
pub(crate) fn held_list(session: &Session) -> Vec<String> {
    let layers = session.layers().unwrap();
    let mut shown: Vec<String> = Vec::new();
    for layer in layers.paths() {
        let above = shown.clone();
        let hides = |line: &String, name: &str| match line.strip_suffix('/') {
            Some(folder) => folder == name.trim_end_matches('/'),
            None => name.trim_end_matches('/') == name_of(line) || name.starts_with(&format!("{}/", name_of(line))),
        };
        let new = list(layer).into_iter().filter(|line| !above.iter().any(|shown| hides(shown, name_of(line))));
        shown.extend(new);
    }
    shown.sort();
    shown
}

/// The path in a line of [`list`]; a folder's with its slash.
fn name_of(line: &str) -> &str {
    [" = ", " -> ", " ∅"].iter().find_map(|sign| line.split_once(sign)).map_or(line, |(name, _)| name)
}

/// An upper layer as overlayfs leaves it.
pub(crate) struct Upper {
    pub(crate) folder: tempfile::TempDir,
}

impl Upper {
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn fd(&self) -> OwnedFd {
        rustix::fs::open(self.folder.path(), OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).unwrap()
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> &Self {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        self
    }

    pub(crate) fn mode(&self, name: &str, mode: u32) -> &Self {
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(mode)).unwrap();
        self
    }

    pub(crate) fn folder(&self, name: &str) -> &Self {
        fs::create_dir_all(self.path(name)).unwrap();
        self
    }

    pub(crate) fn link(&self, name: &str, target: &str) -> &Self {
        symlink(target, self.path(name)).unwrap();
        self
    }

    pub(crate) fn delete(&self, name: &str) -> &Self {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        self.node(name, FileType::CharacterDevice)
    }

    pub(crate) fn node(&self, name: &str, kind: FileType) -> &Self {
        rustix::fs::mknodat(CWD, self.path(name), kind, Mode::RUSR, 0).unwrap();
        self
    }

    pub(crate) fn attribute(&self, name: &str, attribute: &str, value: &[u8]) -> &Self {
        rustix::fs::setxattr(self.path(name), attribute, value, XattrFlags::empty()).unwrap();
        self
    }

    pub(crate) fn opaque(&self, name: &str) -> &Self {
        self.folder(name).attribute(name, "user.overlay.opaque", b"y")
    }

    pub(crate) fn changeset(&self) -> Changeset {
        Changeset::walk(self.fd().as_fd(), Marks::User, Bounds::of_bytes(1 << 30), &[]).unwrap()
    }
}
