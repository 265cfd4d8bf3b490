//! Finds the files of a workspace whose names say that they hold credentials.
//!
//! Links with such names are followed within the workspace, on paper and name by name; a file with more than one name is looked
//! for under all of them. Folders of installed packages and of build output, and git's own, are passed over by name: what is in them came from
//! elsewhere, and there is more of it than of everything else. A folder gets such a name only by somebody who has it already.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    ffi::{OsStr, OsString},
    io,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::ffi::OsStringExt,
    },
    path::{Component, Path},
};

use cofferdam_policy::Secrets;
use rustix::{
    fs::{Access, AtFlags, Dir, FileType, OFlags},
    io::Errno,
};

use super::{
    super::{
        beneath::{self, Entry, Found, Kind},
        tree_path::TreePath,
    },
    MaskError,
    watch::{News, Watch},
};

/// Folders that are not looked through.
const PASSED_OVER: [&str; 7] = [".git", "node_modules", "target", ".venv", "venv", ".tox", ".nox"];

/// Names on the list that a workspace may have.
const MOST: usize = 10_000;

/// How often the listed names are looked at anew when the host moves folders meanwhile.
const ATTEMPTS: u32 = 20;

/// Links that one path may pass, as in the kernel (`MAXSYMLINKS` of `include/linux/namei.h`).
const MAX_LINKS: usize = 40;

/// What is known of where such files are.
#[derive(Debug)]
pub(super) struct Finder {
    /// `None`: nothing can be watched, or not all; everything is looked for each time.
    watch: Option<Watch>,
    /// Files and links with listed names, by the name that is listed: for a link to a folder the file below it.
    named: BTreeSet<TreePath>,
    /// Folders that were not listed: nobody but root can look into them.
    sealed: BTreeSet<TreePath>,
    /// What they were when the masks were made.
    seen: Seen,
    begun: bool,
}

/// What was at the places that masks were made of. Equal means that nothing changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Seen {
    /// By listed name: where it leads, through which links, and what is there.
    named: BTreeMap<TreePath, Option<Resolved>>,
    /// Other names of the same files.
    others: BTreeMap<TreePath, (TreePath, Entry)>,
    /// Folders above, for their permission bits.
    folders: BTreeMap<TreePath, u32>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Resolved {
    target: TreePath,
    links: Vec<TreePath>,
    entry: Entry,
}

/// A file to mask.
#[derive(Debug, Clone)]
pub(super) struct Place {
    /// The name that is on the list.
    pub(super) listed: TreePath,
    /// The file.
    pub(super) target: TreePath,
    /// The links on the way.
    pub(super) links: Vec<TreePath>,
    pub(super) mode: u32,
    pub(super) size: u64,
}

impl Finder {
    pub(super) fn new() -> Self {
        Self { watch: None, named: BTreeSet::new(), sealed: BTreeSet::new(), seen: Seen::default(), begun: false }
    }

    /// Finds out what is there now. Says whether masks must be made anew.
    pub(super) fn refresh(&mut self, root: BorrowedFd<'_>, secrets: &Secrets) -> Result<bool, MaskError> {
        let news = match &mut self.watch {
            Some(watch) if self.begun => watch.news(),
            Some(_) | None => News::Missed,
        };
        match news {
            News::Names(names) => {
                for new in names {
                    if new.is_folder {
                        self.folder(root, secrets, &new.path)?;
                    } else {
                        self.name(root, secrets, &new.path, FileType::Unknown);
                    }
                }
            }
            News::Missed => self.everything(root, secrets)?,
        }
        self.look_into_sealed(root, secrets)?;
        if self.named.len() > MOST {
            return Err(MaskError::TooMany(MOST));
        }
        let failed = |source| MaskError::Find { path: TreePath::root(), source };
        let seen = self.look_until_still(root).map_err(failed)?;
        let changed = seen != self.seen || !self.begun;
        if changed {
            self.seen = seen;
            let others = self.other_names(root).map_err(failed)?;
            self.seen.others = others;
        }
        self.begun = true;
        Ok(changed)
    }

    /// The files to mask, each once.
    pub(super) fn places(&self) -> Vec<Place> {
        let mut places = Vec::new();
        for (listed, resolved) in &self.seen.named {
            let Some(Resolved { target, links, entry }) = resolved else { continue };
            let place = |target: &TreePath, links: &[TreePath]| Place {
                listed: listed.clone(),
                target: target.clone(),
                links: links.to_vec(),
                mode: entry.permissions(),
                size: entry.size,
            };
            places.push(place(target, links));
            let others = self.seen.others.iter().filter(|(_, (of, _))| of == target);
            places.extend(others.map(|(other, _)| place(other, &[])));
        }
        places
    }

    fn everything(&mut self, root: BorrowedFd<'_>, secrets: &Secrets) -> Result<(), MaskError> {
        // Old watches would go on telling old names.
        self.watch = Watch::new(root);
        self.named.clear();
        self.sealed.clear();
        self.folder(root, secrets, &TreePath::root())
    }

    /// Looks through a folder and all below it.
    fn folder(&mut self, root: BorrowedFd<'_>, secrets: &Secrets, top: &TreePath) -> Result<(), MaskError> {
        let mut pending = vec![top.clone()];
        while let Some(path) = pending.pop() {
            if is_passed_over(&path) {
                continue;
            }
            let failed = |source| MaskError::Find { path: path.clone(), source };
            let opened = match beneath::open(root, path.as_path(), OFlags::RDONLY | OFlags::DIRECTORY) {
                Ok(opened) => opened,
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                    self.sealed.insert(path);
                    continue;
                }
                // Gone, or something else by now, which the next event tells of.
                Err(error) if is_elsewhere(&error) => continue,
                Err(error) => return Err(failed(error)),
            };
            self.watch_folder(opened.as_fd(), &path);
            for (name, kind) in entries(&opened).map_err(failed)? {
                let below = path.join(&name);
                if kind == FileType::Directory {
                    pending.push(below);
                } else {
                    self.name(root, secrets, &below, kind);
                }
            }
        }
        Ok(())
    }

    /// Before its names are read: what comes later is told.
    fn watch_folder(&mut self, folder: BorrowedFd<'_>, path: &TreePath) {
        if let Some(watch) = &mut self.watch
            && let Err(error) = watch.add(folder, path)
        {
            tracing::info!(%error, "not all folders can be watched for files with credentials; each call looks for them");
            self.watch = None;
        }
    }

    fn name(&mut self, root: BorrowedFd<'_>, secrets: &Secrets, path: &TreePath, kind: FileType) {
        let may_be_file = matches!(kind, FileType::RegularFile | FileType::Symlink | FileType::Unknown);
        if may_be_file && secrets.candidate(path.as_path()).is_some() {
            self.named.insert(path.clone());
        }
        let may_be_link = kind == FileType::Symlink || kind == FileType::Unknown;
        if may_be_link && let Some(name) = path.name().to_str() {
            let below: Vec<&str> = secrets.below_named(name).collect();
            // What cannot be looked at may be a link: it is looked at again, and then it is an error.
            let is_link = || match beneath::find(root, path) {
                Ok(Found::Entry(entry)) => entry.kind == Kind::Link,
                Ok(Found::Absent { .. } | Found::Blocked(_)) => false,
                Err(_) => true,
            };
            if !below.is_empty() && is_link() {
                self.named.extend(below.into_iter().filter_map(|rest| TreePath::new(path.as_path().join(rest))));
            }
        }
    }

    /// Folders that could not be listed: their rights may have changed, which nothing tells.
    fn look_into_sealed(&mut self, root: BorrowedFd<'_>, secrets: &Secrets) -> Result<(), MaskError> {
        for path in std::mem::take(&mut self.sealed) {
            self.folder(root, secrets, &path)?;
            if self.sealed.contains(&path) && can_enter(root, &path) {
                return Err(MaskError::Unlisted { path });
            }
        }
        Ok(())
    }

    /// Looks at every listed name, again when something is moved under it.
    fn look_until_still(&mut self, root: BorrowedFd<'_>) -> io::Result<Seen> {
        for _ in 1..ATTEMPTS {
            match self.look(root) {
                Err(error) if beneath::is_moved(&error) => {}
                result => return result,
            }
        }
        self.look(root)
    }

    /// Looks at every listed name.
    fn look(&mut self, root: BorrowedFd<'_>) -> io::Result<Seen> {
        let mut seen = Seen::default();
        let mut gone = Vec::new();
        for path in &self.named {
            let resolved = resolve(root, path)?;
            match &resolved {
                Some(resolved) => {
                    for folder in resolved.target.folders_above() {
                        if let Found::Entry(entry) = beneath::find(root, &folder)? {
                            seen.folders.insert(folder, entry.mode);
                        }
                    }
                }
                // A link may lead somewhere again; a name that is gone comes back as a new one.
                None => match beneath::find(root, path) {
                    Ok(Found::Absent { .. }) => gone.push(path.clone()),
                    Ok(Found::Entry(_) | Found::Blocked(_)) | Err(_) => {}
                },
            }
            seen.named.insert(path.clone(), resolved);
        }
        for path in gone {
            self.named.remove(&path);
            seen.named.remove(&path);
        }
        for (path, (of, entry)) in &self.seen.others {
            if let Found::Entry(now) = beneath::find(root, path)?
                && now == *entry
            {
                seen.others.insert(path.clone(), (of.clone(), now));
            }
        }
        Ok(seen)
    }

    /// Other names in the workspace of files that have more than one.
    fn other_names(&self, root: BorrowedFd<'_>) -> io::Result<BTreeMap<TreePath, (TreePath, Entry)>> {
        let mut wanted: BTreeMap<u64, TreePath> = BTreeMap::new();
        for resolved in self.seen.named.values().flatten() {
            let folder = beneath::folder_of(root, &resolved.target)?;
            let status = match rustix::fs::statat(&folder, resolved.target.name(), AtFlags::SYMLINK_NOFOLLOW) {
                Ok(status) => status,
                Err(Errno::NOENT) => continue,
                Err(error) => return Err(error.into()),
            };
            if status.st_nlink > 1 {
                wanted.insert(resolved.entry.inode, resolved.target.clone());
            }
        }
        let mut others = BTreeMap::new();
        if wanted.is_empty() {
            return Ok(others);
        }
        let numbers: HashSet<u64> = wanted.keys().copied().collect();
        let mut pending = vec![TreePath::root()];
        while let Some(path) = pending.pop() {
            let opened = match beneath::open(root, path.as_path(), OFlags::RDONLY | OFlags::DIRECTORY) {
                Ok(opened) => opened,
                // Gone, replaced, or another's: then it is not shown either.
                Err(error) if beneath::is_moved(&error) => continue,
                Err(error) => return Err(error),
            };
            for entry in Dir::read_from(&opened)? {
                let entry = entry?;
                let name = OsString::from_vec(entry.file_name().to_bytes().to_vec());
                if name == "." || name == ".." {
                    continue;
                }
                let below = path.join(&name);
                if entry.file_type() == FileType::Directory {
                    pending.push(below);
                } else if numbers.contains(&entry.ino())
                    && let Some(found) = beneath::entry(opened.as_fd(), &name)?
                    && let Some(of) = wanted.get(&found.inode).filter(|of| **of != below)
                {
                    others.insert(below, (of.clone(), found));
                }
            }
        }
        Ok(others)
    }
}

/// Follows a name to a regular file, through links that stay in the workspace. `None` when there is none.
fn resolve(root: BorrowedFd<'_>, path: &TreePath) -> io::Result<Option<Resolved>> {
    let mut names: Vec<OsString> = path.as_path().iter().rev().map(OsStr::to_owned).collect();
    let mut reached = TreePath::root();
    let mut links = Vec::new();
    while let Some(name) = names.pop() {
        if name == ".." {
            let Some(parent) = reached.parent() else { return Ok(None) };
            reached = parent;
            continue;
        }
        let next = reached.join(&name);
        let Found::Entry(entry) = beneath::find(root, &next)? else { return Ok(None) };
        match entry.kind {
            Kind::Folder => reached = next,
            Kind::File if names.is_empty() => return Ok(Some(Resolved { target: next, links, entry })),
            Kind::Link if links.len() < MAX_LINKS => {
                let target = beneath::link_target(beneath::folder_of(root, &next)?.as_fd(), &name)?;
                links.push(next);
                let target = Path::new(&target);
                if target.is_absolute() {
                    // Inside it works where it leads below the workspace: the path is the same there.
                    let Some(below) = below_workspace(root, target) else { return Ok(None) };
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
            Kind::File | Kind::Link | Kind::Character | Kind::Block | Kind::Fifo | Kind::Socket => return Ok(None),
        }
    }
    Ok(None)
}

/// Where an absolute path lies in the workspace, by its text.
fn below_workspace(root: BorrowedFd<'_>, path: &Path) -> Option<TreePath> {
    use std::os::fd::AsRawFd;
    let workspace = std::fs::read_link(format!("/proc/self/fd/{}", root.as_raw_fd())).ok()?;
    TreePath::new(path.strip_prefix(workspace).ok()?)
}

/// The names in a folder and what they are.
fn entries(folder: &OwnedFd) -> io::Result<Vec<(OsString, FileType)>> {
    let mut entries = Vec::new();
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name == b"." || name == b".." {
            continue;
        }
        let name = OsString::from_vec(name.to_vec());
        let kind = match entry.file_type() {
            // Some file systems do not say it here.
            FileType::Unknown => match rustix::fs::statat(folder, &name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(status) => FileType::from_raw_mode(status.st_mode),
                // Deleted in between.
                Err(Errno::NOENT) => continue,
                // The folder can be listed and not entered: nobody gets to what lies below the name.
                Err(Errno::ACCESS) => FileType::Unknown,
                Err(error) => return Err(error.into()),
            },
            kind => kind,
        };
        entries.push((name, kind));
    }
    Ok(entries)
}

fn is_passed_over(path: &TreePath) -> bool {
    path.as_path().iter().any(|name| PASSED_OVER.iter().any(|passed| name.eq_ignore_ascii_case(passed)))
}

/// Whether a folder that cannot be listed can be looked into by who knows a name.
fn can_enter(root: BorrowedFd<'_>, path: &TreePath) -> bool {
    rustix::fs::accessat(root, path.as_path(), Access::EXEC_OK, AtFlags::EACCESS).is_ok()
}

fn is_elsewhere(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::XDEV | Errno::NAMETOOLONG)
    )
}
