//! Finds the files of a workspace whose names say that they hold credentials.
//!
//! Links with such names are followed within the workspace, on paper and name by name; a file with more than one name is
//! looked for under all of them. Of folders of installed packages and of build output ([`SCRATCH_FOLDERS`]) only the top is
//! looked at: what is deeper in them came from elsewhere, and there is more of it than of everything else; git's own folder
//! is not looked at. A folder gets such a name only by somebody who has it already.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    ffi::{OsStr, OsString},
    io,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::ffi::OsStringExt,
    },
};

use cofferdam_contract::SCRATCH_FOLDERS;
use cofferdam_policy::Secrets;
use rustix::{
    fs::{AtFlags, Dir, FileType},
    io::Errno,
};

use super::{
    super::{
        beneath::{self, Entry, Found, Kind},
        tree_path::TreePath,
    },
    MaskError,
    watch::{Arrivals, News, Watch},
    way::{Resolved, Way, open_to_look, outermost_closed, resolve},
};

/// The folder that is not looked at.
const PASSED_OVER: &str = ".git";

/// Names on the list that a workspace may have.
const MOST: usize = 10_000;

/// How often the listed names are looked at anew when the host moves folders meanwhile.
const ATTEMPTS: u32 = 20;

/// What is known of where such files are.
#[derive(Debug)]
pub(super) struct Finder {
    /// `None`: nothing can be watched, or not all; everything is looked for each time.
    watch: Option<Watch>,
    /// Files and links with listed names, by the name that is listed: for a link to a folder the file below it.
    named: BTreeSet<TreePath>,
    /// Folders that could not be looked into.
    sealed: BTreeSet<TreePath>,
    /// What they were when the masks were made.
    seen: Seen,
    begun: bool,
    /// Names in the folders that were looked through, each time that one was.
    names: usize,
    arrivals: Arrivals,
}

/// What was at the places that masks were made of. Equal means that nothing changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Seen {
    /// By listed name: where it leads, through which links, and what is there.
    named: BTreeMap<TreePath, Option<Resolved>>,
    /// Other names of the same files.
    others: BTreeMap<TreePath, (TreePath, Entry)>,
    /// Folders that could not be looked into.
    sealed: BTreeSet<TreePath>,
    /// Those that could not be looked into for other names.
    closed: BTreeSet<TreePath>,
    /// Folders above, for their permission bits.
    folders: BTreeMap<TreePath, u32>,
}

impl Seen {
    /// What listed names lead to, the links on the way, and other names of the same files.
    fn reached(&self) -> BTreeSet<TreePath> {
        let resolved = self.named.values().flatten();
        let reached = resolved.flat_map(|resolved| resolved.links.iter().chain([&resolved.target]));
        reached.chain(self.others.keys()).cloned().collect()
    }
}

/// What came of a look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refreshed {
    /// Nothing happened.
    Quiet,
    /// Something happened to a listed name, to what it leads to, or to a folder above one, and all is as before.
    Stirred,
    /// Masks must be made anew.
    Changed,
}

/// Other names of masked files.
#[derive(Debug, Default)]
struct Names {
    /// With the file's first name.
    others: BTreeMap<TreePath, (TreePath, Entry)>,
    /// Folders in which there may be more.
    closed: BTreeSet<TreePath>,
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
    /// What was there.
    pub(super) entry: Entry,
}

impl Finder {
    pub(super) fn new() -> Self {
        let (named, sealed, seen) = (BTreeSet::new(), BTreeSet::new(), Seen::default());
        Self { watch: None, named, sealed, seen, begun: false, names: 0, arrivals: Arrivals::new() }
    }

    /// Finds out what is there now.
    pub(super) fn refresh(&mut self, root: BorrowedFd<'_>, secrets: &Secrets) -> Result<Refreshed, MaskError> {
        let failed = |source| MaskError::Find { path: TreePath::root(), source };
        let news = match &mut self.watch {
            Some(watch) if self.begun => watch.news(),
            Some(_) | None => News::Missed,
        };
        let (mut stirred, mut new_folders) = (false, Vec::new());
        match news {
            News::Names(names) => {
                let reached = if names.is_empty() { BTreeSet::new() } else { self.seen.reached() };
                for new in names {
                    stirred |= any_within(&reached, &new.path) || any_within(&self.named, &new.path);
                    if new.is_folder {
                        self.arrivals.add(new.path.clone());
                        self.folder(root, secrets, &new.path)?;
                        new_folders.push(new.path.clone());
                    } else {
                        self.name(root, secrets, &new.path, FileType::Unknown);
                    }
                    stirred |= any_within(&self.named, &new.path) || any_within(&self.sealed, &new.path);
                }
            }
            News::Missed => {
                stirred = self.watch.is_some();
                self.arrivals = Arrivals::new();
                self.everything(root, secrets)?;
            }
        }
        self.look_into_sealed(root, secrets)?;
        if self.named.len() > MOST {
            return Err(self.too_many());
        }
        let seen = self.look_until_still(root).map_err(failed)?;
        let changed = seen != self.seen || !self.begun;
        if changed {
            let Names { others, closed } = self.other_names(root, &seen, vec![TreePath::root()]).map_err(failed)?;
            self.seen = Seen { others, closed, ..seen };
            self.begun = true;
            return Ok(Refreshed::Changed);
        }
        // A folder that came from outside of the workspace may bring a name of a masked file along.
        let known = self.seen.others.len() + self.seen.closed.len();
        if !new_folders.is_empty() && self.has_unknown_names() {
            let Names { others, closed } = self.other_names(root, &seen, new_folders).map_err(failed)?;
            self.seen.others.extend(others);
            self.seen.closed.extend(closed);
        }
        let changed = self.seen.others.len() + self.seen.closed.len() > known;
        Ok(match (changed, stirred) {
            (true, _) => Refreshed::Changed,
            (false, true) => Refreshed::Stirred,
            (false, false) => Refreshed::Quiet,
        })
    }

    /// Whether a masked file has more names than were found in the workspace.
    fn has_unknown_names(&self) -> bool {
        let names = self.names();
        let mut several = self.seen.named.values().flatten().filter(|resolved| resolved.entry.links > 1);
        several.any(|Resolved { entry, .. }| {
            let known = names.get(&entry.identity()).map_or(0, BTreeSet::len);
            entry.links > known as u64
        })
    }

    /// Names on the list, in the whole workspace.
    pub(super) fn listed(&self) -> usize {
        self.named.len()
    }

    /// How many names there are, about; `None` where they are not watched.
    pub(super) fn watched_names(&self) -> Option<usize> {
        self.watch.as_ref().map(|_| self.names)
    }

    /// The folders that were new lately.
    pub(super) fn arrivals(&self) -> &Arrivals {
        &self.arrivals
    }

    /// Folders that could not be looked into.
    pub(super) fn sealed(&self) -> BTreeSet<TreePath> {
        self.seen.sealed.union(&self.seen.closed).cloned().collect()
    }

    fn too_many(&self) -> MaskError {
        let mut folders: BTreeMap<TreePath, usize> = BTreeMap::new();
        for path in &self.named {
            *folders.entry(path.parent().unwrap_or_else(TreePath::root)).or_default() += 1;
        }
        let (folder, in_folder) =
            folders.into_iter().max_by_key(|(_, count)| *count).unwrap_or_else(|| (TreePath::root(), 0));
        MaskError::TooMany { found: self.named.len(), most: MOST, folder, in_folder }
    }

    /// The files to mask, once for each listed name: what a file holds may count under one and not under another.
    pub(super) fn places(&self) -> Vec<Place> {
        let named = self.seen.named.iter().filter_map(|(listed, resolved)| Some((listed, resolved.as_ref()?)));
        let place = |(listed, Resolved { target, links, entry }): (&TreePath, &Resolved)| Place {
            listed: listed.clone(),
            target: target.clone(),
            links: links.clone(),
            entry: *entry,
        };
        named.map(place).collect()
    }

    /// The known names of each file that has more than one, listed or not, by the file.
    pub(super) fn names(&self) -> BTreeMap<(u64, u64), BTreeSet<TreePath>> {
        let mut names: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
        let named = self.seen.named.values().flatten().map(|resolved| (&resolved.target, &resolved.entry));
        let others = self.seen.others.iter().map(|(path, (_, entry))| (path, entry));
        for (path, entry) in named.chain(others).filter(|(_, entry)| entry.links > 1) {
            names.entry(entry.identity()).or_default().insert(path.clone());
        }
        names
    }

    fn everything(&mut self, root: BorrowedFd<'_>, secrets: &Secrets) -> Result<(), MaskError> {
        // Old watches would go on telling old names.
        self.watch = Watch::new(root);
        self.named.clear();
        self.sealed.clear();
        self.names = 0;
        self.folder(root, secrets, &TreePath::root())
    }

    /// Looks through a folder and all below it.
    fn folder(&mut self, root: BorrowedFd<'_>, secrets: &Secrets, top: &TreePath) -> Result<(), MaskError> {
        let mut pending = vec![top.clone()];
        while let Some(path) = pending.pop() {
            let depth = Depth::of(&path);
            if depth == Depth::PassedOver {
                continue;
            }
            let failed = |source| MaskError::Find { path: path.clone(), source };
            let opened = match open_to_look(root, &path) {
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
            let entries = entries(&opened).map_err(failed)?;
            self.names = self.names.saturating_add(entries.len());
            for (name, kind) in entries {
                let below = path.join(&name);
                if kind != FileType::Directory {
                    self.name(root, secrets, &below, kind);
                } else if depth == Depth::Whole {
                    pending.push(below);
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

    /// Folders that could not be looked into: their rights may have changed, which nothing tells.
    fn look_into_sealed(&mut self, root: BorrowedFd<'_>, secrets: &Secrets) -> Result<(), MaskError> {
        for path in std::mem::take(&mut self.sealed) {
            self.folder(root, secrets, &path)?;
        }
        if self.sealed.contains(&TreePath::root()) { Err(MaskError::Unlisted) } else { Ok(()) }
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
            let resolved = match resolve(root, path)? {
                Way::To(resolved) => {
                    // Deepest first: what is above one that is known is known.
                    for folder in resolved.target.folders_above() {
                        if seen.folders.contains_key(&folder) {
                            break;
                        }
                        if let Found::Entry(entry) = beneath::find(root, &folder)? {
                            seen.folders.insert(folder, entry.mode);
                        }
                    }
                    Some(resolved)
                }
                Way::Closed(path) => {
                    self.sealed.insert(outermost_closed(root, &path)?);
                    None
                }
                // A link may lead somewhere again; a name that is gone comes back as a new one.
                Way::Nowhere => {
                    match beneath::find(root, path) {
                        Ok(Found::Absent { .. }) => gone.push(path.clone()),
                        Ok(Found::Entry(_) | Found::Blocked(_)) | Err(_) => {}
                    }
                    None
                }
            };
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
        for path in &self.seen.closed {
            if open_to_look(root, path).is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied) {
                seen.closed.insert(path.clone());
            }
        }
        seen.sealed.clone_from(&self.sealed);
        Ok(seen)
    }

    /// Other names of files that have more than one, in some folders and below, and what could not be looked into there.
    fn other_names(&self, root: BorrowedFd<'_>, seen: &Seen, folders: Vec<TreePath>) -> io::Result<Names> {
        let several = seen.named.values().flatten().filter(|resolved| resolved.entry.links > 1);
        let wanted: BTreeMap<(u64, u64), &TreePath> =
            several.map(|resolved| (resolved.entry.identity(), &resolved.target)).collect();
        let mut names = Names::default();
        if wanted.is_empty() {
            return Ok(names);
        }
        let numbers: HashSet<u64> = wanted.keys().map(|(_, inode)| *inode).collect();
        let mut pending = folders;
        while let Some(path) = pending.pop() {
            let opened = match open_to_look(root, &path) {
                Ok(opened) => opened,
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                    names.closed.insert(path);
                    continue;
                }
                // Gone or replaced: then it is not shown.
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
                    && let Some(of) = wanted.get(&found.identity()).filter(|of| ***of != below)
                {
                    names.others.insert(below, ((*of).clone(), found));
                }
            }
        }
        Ok(names)
    }
}

/// Whether one of the paths is `folder` or below it.
fn any_within(paths: &BTreeSet<TreePath>, folder: &TreePath) -> bool {
    paths.range(folder.clone()..).next().is_some_and(|path| path.is_within(folder))
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
                Err(error) => return Err(error.into()),
            },
            kind => kind,
        };
        entries.push((name, kind));
    }
    Ok(entries)
}

/// Whether files in the folder of `path` are looked at.
pub(super) fn is_looked_at(path: &TreePath) -> bool {
    is_looked_into(&path.parent().unwrap_or_else(TreePath::root))
}

/// Whether files in a folder are looked at.
pub(super) fn is_looked_into(folder: &TreePath) -> bool {
    match Depth::of(folder) {
        Depth::Whole | Depth::Top => true,
        Depth::PassedOver => false,
    }
}

/// How far a folder is looked through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Depth {
    Whole,
    Top,
    PassedOver,
}

impl Depth {
    fn of(path: &TreePath) -> Self {
        let mut names = path.as_path().iter();
        let named = |name: &OsStr, other: &str| name.eq_ignore_ascii_case(other);
        let top_only = |name: &OsStr| SCRATCH_FOLDERS.iter().any(|other| named(name, other));
        if names.clone().any(|name| named(name, PASSED_OVER)) {
            return Self::PassedOver;
        }
        match names.position(top_only) {
            None => Self::Whole,
            Some(_) if names.next().is_none() => Self::Top,
            Some(_) => Self::PassedOver,
        }
    }
}

fn is_elsewhere(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::XDEV | Errno::NAMETOOLONG)
    )
}
