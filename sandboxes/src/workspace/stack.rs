//! The held changes of a session, as an immutable layer that overlayfs shows between the workspace and a call's own
//! upper layer.
//!
//! A layer that is mounted must not change (overlayfs then shows a mixture), so every change of what is held makes a new
//! layer under a new generation: files are hard links to those of the layer before, so that costs names, not bytes. One
//! layer holds everything: overlayfs takes a bounded number of lower layers, and a session in which everything is held
//! would outgrow any chain. `stack.json` names the layer and says why each change is held; replacing that file is what
//! makes a new generation count. A layer that is not named there is removed when nobody has it locked.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsStr,
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read, Write},
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::fs::{DirBuilderExt, OpenOptionsExt},
    },
    path::{Path, PathBuf},
};

use rustix::{
    fs::{AtFlags, FileType, FlockOperation, Mode, OFlags},
    io::Errno,
};
use serde::{Deserialize, Serialize};

use super::{
    beneath::{self, Found, Kind},
    change::{Change, Reason, What},
    flush::Flush,
    tree_path::{TreePath, hexadecimal},
    version::HostVersion,
};

/// A change that waits for a person, with what is needed to judge it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldChange {
    /// The change.
    #[serde(flatten)]
    pub change: Change,
    /// Why it waits.
    pub reason: Reason,
    /// Where it comes from.
    pub origin: Origin,
    /// What the workspace had there when it was held, or when a person was last told that this changed.
    pub host: HostVersion,
}

/// Where a held change comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The call's identifier.
    pub call: String,
    /// When it was handed back, in milliseconds since 1970.
    pub at_ms: u64,
}

/// What is held, and in which layer it lies.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Stack {
    pub(super) generation: u64,
    layer: Option<String>,
    #[serde(with = "as_list")]
    pub(super) held: BTreeMap<TreePath, HeldChange>,
}

/// Where a held change's content comes from when a layer is built.
#[derive(Debug, Clone)]
pub(super) enum Content<'a> {
    /// Copied from a file that may change or go.
    Copy { root: BorrowedFd<'a>, path: TreePath },
    /// It needs none: a deletion, a folder, a link.
    None,
}

/// A change to be held.
#[derive(Debug, Clone)]
pub(super) struct Piece<'a> {
    pub(super) held: HeldChange,
    pub(super) content: Content<'a>,
}

/// A snapshot of a session's held layers. While it exists, they stay.
#[derive(Debug)]
pub struct Layers {
    generation: u64,
    layers: Vec<Layer>,
}

/// One layer, locked against removal.
#[derive(Debug)]
struct Layer {
    path: PathBuf,
    folder: OwnedFd,
}

impl Layers {
    /// Counts the changes of what is held. Two snapshots with the same generation show the same.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// The layers' folders, top first, as paths.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.layers.iter().map(|layer| layer.path.as_path())
    }

    /// The layers' folders, top first, opened.
    pub fn folders(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.layers.iter().map(|layer| layer.folder.as_fd())
    }
}

impl Stack {
    /// Reads what a session holds; nothing when there is no record.
    pub(super) fn load(session: &Path) -> io::Result<Self> {
        match fs::read(session.join("stack.json")) {
            Ok(text) => serde_json::from_slice(&text).map_err(io::Error::from),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error),
        }
    }

    /// Makes this what the session holds.
    pub(super) fn save(&self, session: &Path) -> io::Result<()> {
        write_atomically(session, "stack.json", &serde_json::to_vec(self)?)
    }

    /// Takes a snapshot of the layers of a session.
    pub(super) fn lock(session: &Path) -> io::Result<Layers> {
        loop {
            let stack = Self::load(session)?;
            let layers = match stack.open_layer(session) {
                Ok(layer) => layer.into_iter().collect::<Vec<_>>(),
                // Replaced and removed since we read its name.
                Err(error) if error.kind() == io::ErrorKind::NotFound && Self::load(session)? != stack => continue,
                Err(error) => return Err(error),
            };
            for layer in &layers {
                rustix::fs::flock(&layer.folder, FlockOperation::LockShared)?;
            }
            // Whoever removes a layer first names another one. Still named now, so our lock came first.
            if Self::load(session)?.generation == stack.generation {
                return Ok(Layers { generation: stack.generation, layers });
            }
        }
    }

    fn open_layer(&self, session: &Path) -> io::Result<Option<Layer>> {
        let Some(name) = &self.layer else {
            return Ok(None);
        };
        let path = session.join("layers").join(name);
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let folder = rustix::fs::open(&path, flags, Mode::empty())?;
        Ok(Some(Layer { path, folder }))
    }

    /// The folder that holds the held files; `None` when nothing is held.
    pub(super) fn folder(&self, session: &Path) -> io::Result<Option<OwnedFd>> {
        Ok(self.open_layer(session)?.map(|layer| layer.folder))
    }

    /// Whether a change at `path` builds on something that is held.
    pub(super) fn is_related(&self, path: &TreePath, what: &What) -> bool {
        if self.held.contains_key(path) || path.folders_above().any(|above| self.stands_on(&above)) {
            return true;
        }
        match what {
            // A folder adds to what is held below it.
            What::Folder { .. } => false,
            What::File { .. } | What::Link { .. } | What::Deleted | What::Special { .. } => self.holds_below(path),
        }
    }

    /// Whether what is below `folder` depends on a held change of it: it is not there yet, or not a folder yet.
    fn stands_on(&self, folder: &TreePath) -> bool {
        self.held.get(folder).is_some_and(|held| match held.host {
            HostVersion::Folder { .. } => false,
            HostVersion::Absent
            | HostVersion::File { .. }
            | HostVersion::Tree { .. }
            | HostVersion::Link { .. }
            | HostVersion::Unknown => true,
        })
    }

    /// Whether anything below `path` is held.
    pub(super) fn holds_below(&self, path: &TreePath) -> bool {
        self.below(path).next().is_some()
    }

    /// The paths held below `path`.
    pub(super) fn below<'a>(&'a self, path: &'a TreePath) -> impl Iterator<Item = &'a TreePath> {
        below(&self.held, path)
    }

    /// Builds the next generation: `removed` goes, `added` comes, in that order. The files are on the disk when it
    /// returns; it counts when it is saved.
    pub(super) fn next(
        &self,
        session: &Path,
        workspace: BorrowedFd<'_>,
        removed: &BTreeSet<TreePath>,
        added: &[Piece<'_>],
    ) -> io::Result<Self> {
        let mut held = self.held.clone();
        held.retain(|path, _| !removed.contains(path));
        let mut contents = BTreeMap::new();
        for piece in added {
            let path = &piece.held.change.path;
            // Nothing can be below what is no folder; the newer change wins.
            let is_folder = |held: &HeldChange| matches!(held.change.what, What::Folder { .. });
            if !is_folder(&piece.held) {
                let below: Vec<_> = below(&held, path).cloned().collect();
                below.iter().for_each(|path| drop(held.remove(path)));
            }
            for above in path.folders_above() {
                if held.get(&above).is_some_and(|above| !is_folder(above)) {
                    held.remove(&above);
                }
            }
            held.insert(path.clone(), piece.held.clone());
            contents.insert(path.clone(), piece.content.clone());
        }
        let generation = self.generation + 1;
        if held.is_empty() {
            return Ok(Self { generation, layer: None, held });
        }
        let mut random = [0; 4];
        getrandom::fill(&mut random).map_err(|error| io::Error::other(error.to_string()))?;
        let name = format!("{generation}-{}", hexadecimal(&random));
        let folder = session.join("layers").join(&name);
        DirBuilder::new().recursive(true).mode(0o700).create(session.join("layers"))?;
        DirBuilder::new().mode(0o755).create(&folder)?;
        let before = self.folder(session)?;
        let layer = rustix::fs::open(&folder, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        let mut build = Build {
            layer: layer.as_fd(),
            before: before.as_ref().map(AsFd::as_fd),
            workspace,
            folders: BTreeSet::new(),
            flush: Flush::default(),
        };
        for (path, change) in &mut held {
            build.add(path, &mut change.change.what, contents.get(path))?;
        }
        build.finish()?;
        rustix::fs::fsync(File::open(session.join("layers"))?)?;
        Ok(Self { generation, layer: Some(name), held })
    }

    /// Removes the layers that are neither this stack's nor in use.
    pub(super) fn sweep(&self, session: &Path) -> io::Result<()> {
        let path = session.join("layers");
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let layers = match rustix::fs::open(&path, flags, Mode::empty()) {
            Ok(layers) => layers,
            Err(Errno::NOENT) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        for name in beneath::names(layers.as_fd())? {
            if self.layer.as_deref().map(OsStr::new) == Some(&name) {
                continue;
            }
            let layer = rustix::fs::openat(&layers, &name, flags | OFlags::NOFOLLOW, Mode::empty())?;
            match rustix::fs::flock(&layer, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => beneath::remove_all(layers.as_fd(), &name)?,
                Err(Errno::WOULDBLOCK) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

/// The paths below `path`.
fn below<'a>(held: &'a BTreeMap<TreePath, HeldChange>, path: &'a TreePath) -> impl Iterator<Item = &'a TreePath> {
    // Ordered name by name: everything below a path follows it directly.
    held.range(path.clone()..)
        .map(|(held, _)| held)
        .skip_while(move |held| *held == path)
        .take_while(move |held| held.is_within(path))
}

/// A layer that is being built.
struct Build<'a> {
    layer: BorrowedFd<'a>,
    before: Option<BorrowedFd<'a>>,
    workspace: BorrowedFd<'a>,
    folders: BTreeSet<TreePath>,
    flush: Flush,
}

impl Build<'_> {
    fn add(&mut self, path: &TreePath, what: &mut What, content: Option<&Content<'_>>) -> io::Result<()> {
        self.make_parents(path)?;
        let parent = beneath::folder_of(self.layer, path)?;
        let name = path.name();
        match what {
            What::File { mode, .. } => {
                // Its owner is the server, who must be able to read it again.
                *mode |= 0o400;
                match content {
                    Some(Content::Copy { root, path: source }) => {
                        self.flush.add(copy_file(*root, source, parent.as_fd(), name, *mode)?);
                    }
                    Some(Content::None) | None => self.share(path, parent.as_fd(), *mode)?,
                }
            }
            What::Folder { mode, .. } => {
                *mode |= 0o700;
                self.make(path, *mode)?;
            }
            What::Link { target } => rustix::fs::symlinkat(target.as_os_str(), &parent, name)?,
            // Allowed without privilege since Linux 5.8 (mknod(2): device 0:0).
            What::Deleted => rustix::fs::mknodat(&parent, name, FileType::CharacterDevice, Mode::empty(), 0)?,
            What::Special { .. } => return Err(io::Error::other("a special file is never held")),
        }
        Ok(())
    }

    /// Takes a file over from the layer before.
    fn share(&mut self, path: &TreePath, parent: BorrowedFd<'_>, mode: u32) -> io::Result<()> {
        let before = self.before.ok_or_else(|| io::Error::other("a held file has no layer to come from"))?;
        let from = beneath::folder_of(before, path)?;
        match rustix::fs::linkat(&from, path.name(), parent, path.name(), AtFlags::empty()) {
            Ok(()) => Ok(()),
            // Too many links (ext4: 65,000), or a file system that has none.
            Err(Errno::MLINK | Errno::PERM | Errno::OPNOTSUPP) => {
                self.flush.add(copy_file(before, path, parent, path.name(), mode)?);
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    fn make_parents(&mut self, path: &TreePath) -> io::Result<()> {
        let mut missing: Vec<_> = path.folders_above().take_while(|above| !self.folders.contains(above)).collect();
        while let Some(folder) = missing.pop() {
            // In the view, the layer's mode hides the host's: show the same.
            let mode = match beneath::find(self.workspace, &folder)? {
                Found::Entry(entry) if entry.kind == Kind::Folder => entry.permissions() | 0o700,
                Found::Entry(_) | Found::Absent { .. } | Found::Blocked(_) => 0o755,
            };
            self.make(&folder, mode)?;
        }
        Ok(())
    }

    fn make(&mut self, path: &TreePath, mode: u32) -> io::Result<()> {
        if self.folders.insert(path.clone()) {
            let parent = beneath::folder_of(self.layer, path)?;
            rustix::fs::mkdirat(&parent, path.name(), Mode::RWXU)?;
        }
        // The process's umask took its part of a mode given to mkdir.
        beneath::set_mode(beneath::folder(self.layer, path.as_path())?.as_fd(), mode)
    }

    /// Waits until the layer is on the disk.
    fn finish(self) -> io::Result<()> {
        let folders = self.folders.iter().map(TreePath::as_path).chain([Path::new("")]);
        self.flush.flush(self.layer, folders)
    }
}

/// Copies a regular file to a new name. Gives the copy, which is not yet on the disk.
pub(super) fn copy_file(
    root: BorrowedFd<'_>,
    source: &TreePath,
    folder: BorrowedFd<'_>,
    name: &OsStr,
    mode: u32,
) -> io::Result<File> {
    let source = beneath::file(root, source.as_path())?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut copy = File::from(rustix::fs::openat(folder, name, flags, Mode::RUSR | Mode::WUSR)?);
    // The file does not change any more; the bound is for one that does all the same.
    let size = source.metadata()?.len();
    if io::copy(&mut (&source).take(size), &mut copy)? != size {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the file became shorter while it was copied"));
    }
    rustix::fs::fchmod(&copy, Mode::from_raw_mode(mode))?;
    Ok(copy)
}

/// Replaces a small file of ours in one step.
pub(super) fn write_atomically(folder: &Path, name: &str, text: &[u8]) -> io::Result<()> {
    let temporary = folder.join(format!("{name}.new"));
    let mut file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&temporary)?;
    file.write_all(text)?;
    file.sync_all()?;
    fs::rename(&temporary, folder.join(name))?;
    Ok(rustix::fs::fsync(File::open(folder)?)?)
}

/// The map of held changes as the list of its values.
mod as_list {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Deserializer, Serializer};

    use super::{HeldChange, TreePath};

    pub(super) fn serialize<S: Serializer>(
        held: &BTreeMap<TreePath, HeldChange>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(held.values())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<BTreeMap<TreePath, HeldChange>, D::Error> {
        let list = Vec::<HeldChange>::deserialize(deserializer)?;
        Ok(list.into_iter().map(|held| (held.change.path.clone(), held)).collect())
    }
}
