//! Links of the host at protected names, and where they lead: `.husky/pre-commit -> ../scripts/check.sh`; and where the
//! files of repositories begin.
//!
//! They are looked for in the folders above each change; in the folders of the workspace's first three levels, the oldest
//! first, [`MOST_FOLDERS`] at most; and below each protected folder that is found there, as deep and as many. A folder
//! whose time has not changed is not read again.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    ffi::OsString,
    fs, io,
    path::Path,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use cofferdam_contract::SCRATCH_FOLDERS;
use cofferdam_policy::Protect;

use super::{
    super::{change::Namer, tree_path::TreePath, workspace::Workspace},
    Far, NamedPath, Unread,
    look::{self, End, Looks, Version},
};

/// Folders of each kind that are looked at for one hand-back, those above the changes aside. A look takes microseconds.
const MOST_FOLDERS: usize = 1000;

/// Levels of folders whose names are looked at: below the workspace, and below a protected folder.
const LEVELS: usize = 3;

/// Folders that are not looked through, with those of [`SCRATCH_FOLDERS`]. The repository's own are read with its settings;
/// the links in folders of installed packages and of builds lead to the workspace's ordinary sources, which ordinary work
/// runs.
const PASSED_OVER: [&str; 13] = [
    ".git",
    ".hg",
    ".jj",
    ".sl",
    ".bzr",
    "site-packages",
    ".direnv",
    "__pycache__",
    "__pypackages__",
    ".eggs",
    ".terraform",
    ".yarn",
    "bundle",
];

/// What is known of the folders.
#[derive(Debug, Default)]
pub(super) struct Links {
    /// What `folders` was made with.
    protect: Option<Protect>,
    folders: HashMap<TreePath, Known>,
}

/// A folder as it was when it was read.
#[derive(Debug)]
struct Known {
    version: Version,
    /// It was so new then that it may have changed once more and look the same.
    is_restless: bool,
    listing: Arc<Listing>,
}

/// What of a folder's names matters.
#[derive(Debug, Default)]
struct Listing {
    /// The folder itself has a protected name, or lies below one.
    is_protected: bool,
    /// The files of a repository begin here.
    has_git: bool,
    /// Links with protected names.
    links: Vec<OsString>,
    /// Folders with protected names, or on the way to one.
    protected: Vec<Found>,
    /// Other folders.
    ordinary: Vec<Found>,
}

/// A folder that was found. The oldest come first: folders that an agent makes push none out that was there before.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Found {
    made: SystemTime,
    path: TreePath,
}

/// A folder that is yet to be looked at.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Pending {
    folder: Found,
    /// How deep below a protected folder it lies, if it does.
    below: Option<usize>,
}

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Leads {
    pub(super) named: Vec<NamedPath>,
    /// Folders at which the files of a repository begin.
    pub(super) repositories: Vec<TreePath>,
}

impl Links {
    /// Finds them, and the repositories that are met on the way.
    ///
    /// # Errors
    /// A folder or a link that may be there and cannot be read.
    pub(super) fn find(
        &mut self,
        workspace: &Workspace,
        protect: &Protect,
        above: &BTreeSet<TreePath>,
        now: SystemTime,
    ) -> Result<Leads, Unread> {
        if self.protect.as_ref() != Some(protect) {
            (self.protect, self.folders) = (Some(protect.clone()), HashMap::new());
        }
        let mut looks = Looks::new(workspace.device(), workspace.inode(), now);
        let Leads { mut named, mut repositories } = Leads::default();
        let mut seen = BTreeSet::new();
        let first = |path: TreePath| Pending { folder: Found { made: UNIX_EPOCH, path }, below: None };
        let mut pending: BTreeSet<Pending> = above.iter().cloned().chain([TreePath::root()]).map(first).collect();
        let (mut ordinary, mut protected) = (0, 0);
        while let Some(Pending { folder: Found { path: folder, .. }, below }) = pending.pop_first() {
            if is_passed_over(&folder) || !seen.insert(folder.clone()) {
                continue;
            }
            if !above.contains(&folder) {
                let count = if below.is_some() { &mut protected } else { &mut ordinary };
                *count += 1;
                if *count > MOST_FOLDERS {
                    continue;
                }
            }
            let listing = match self.listing(workspace.root(), protect, &folder, now) {
                Ok(listing) => listing,
                Err(error) if look::is_nothing(&error) => continue,
                Err(error) => return Err(Unread::unknown(folder.to_string(), error.to_string())),
            };
            repositories.extend(listing.has_git.then(|| folder.clone()));
            let below = below.or(listing.is_protected.then_some(0));
            let mut look_at = |folders: &[Found], below| {
                pending.extend(folders.iter().map(|folder| Pending { folder: folder.clone(), below }));
            };
            look_at(&listing.protected, Some(below.map_or(0, |below| below + 1)));
            match below {
                Some(below) if below < LEVELS => look_at(&listing.ordinary, Some(below + 1)),
                None if folder.depth() < LEVELS - 1 => look_at(&listing.ordinary, None),
                Some(_) | None => {}
            }
            for name in &listing.links {
                let link = folder.join(name);
                let by = Namer::Link { link: link.to_string() };
                let way = looks.way(&workspace.root().join(&link));
                // The first is the link itself.
                let hops = way.links.iter().skip(1);
                named.extend(hops.map(|hop| NamedPath { path: hop.clone(), far: Far::Tree, by: by.clone() }));
                if let Some(path) = way.end.filter(|end| *end != TreePath::root()) {
                    if way.kind == End::Folder && !is_passed_over(&link) {
                        let linked = Linked { folder: path.clone(), link: link.clone(), level: 0 };
                        named.extend(linked.links_in(&mut looks, workspace.root(), protect, &mut protected)?);
                    }
                    named.push(NamedPath { path, far: Far::Through(link), by });
                }
            }
        }
        looks.check(workspace.root())?;
        self.folders.retain(|folder, _| seen.contains(folder));
        Ok(Leads { named, repositories })
    }

    /// What of a folder matters.
    fn listing(
        &mut self,
        root: &Path,
        protect: &Protect,
        folder: &TreePath,
        now: SystemTime,
    ) -> io::Result<Arc<Listing>> {
        let path = root.join(folder);
        let status = fs::symlink_metadata(&path)?;
        if !status.is_dir() {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        let version = Version::of(&status);
        let known = self.folders.get(folder);
        if let Some(known) = known
            && known.version == version
            && !known.is_restless
        {
            return Ok(Arc::clone(&known.listing));
        }
        let before = known.map(|known| known.listing.ordinary.iter().map(|found| found.path.clone()).collect());
        let listing = Arc::new(read(&path, protect, folder, &before.unwrap_or_default())?);
        let known = Known { version, is_restless: !version.is_settled(now), listing: Arc::clone(&listing) };
        self.folders.insert(folder.clone(), known);
        Ok(listing)
    }
}

/// Reads a folder, in which these folders are known to have ordinary names: to compare a name with every pattern takes
/// longer than to read it.
fn read(path: &Path, protect: &Protect, folder: &TreePath, ordinary: &HashSet<TreePath>) -> io::Result<Listing> {
    let is_protected = protect.contains(folder.as_path()).is_some();
    let mut listing = Listing { is_protected, ..Listing::default() };
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        let kind = match entry.file_type() {
            Ok(kind) => kind,
            // It went away.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        listing.has_git |= entry.file_name() == ".git";
        if !kind.is_dir() && !kind.is_symlink() {
            continue;
        }
        let below = folder.join(&entry.file_name());
        let is_known = kind.is_dir() && ordinary.contains(&below);
        let matters = is_protected || (!is_known && protect.matches(below.as_path()).is_some());
        if kind.is_symlink() {
            listing.links.extend(matters.then(|| entry.file_name()));
            continue;
        }
        // Where the file system does not keep when it was made, all are equally old.
        let made = entry.metadata().and_then(|status| status.created()).unwrap_or(UNIX_EPOCH);
        let found = Found { made, path: below };
        if matters { listing.protected.push(found) } else { listing.ordinary.push(found) }
    }
    Ok(listing)
}

/// A folder that is also at the end of a link at a protected name.
struct Linked {
    folder: TreePath,
    /// Its name by the link.
    link: TreePath,
    /// How deep it lies below the first such folder.
    level: usize,
}

impl Linked {
    /// Where links in it lead that have protected names by the link; as for other protected folders, in [`LEVELS`] levels
    /// and as many folders. One that may not be read, or has too many names, counts with all below it.
    fn links_in(
        self,
        looks: &mut Looks,
        root: &Path,
        protect: &Protect,
        count: &mut usize,
    ) -> Result<Vec<NamedPath>, Unread> {
        let (mut named, mut pending) = (Vec::new(), vec![self]);
        while let Some(Self { folder, link, level }) = pending.pop() {
            *count += 1;
            if level > LEVELS || *count > MOST_FOLDERS {
                continue;
            }
            let names = match looks.names(&root.join(&folder)) {
                Ok(names) => names,
                Err(unread) => match fs::read_dir(root.join(&folder)) {
                    Err(error) if !look::is_nothing(&error) => return Err(unread),
                    Ok(_) | Err(_) => {
                        let by = Namer::Link { link: link.to_string() };
                        named.push(NamedPath { path: folder, far: Far::Tree, by });
                        continue;
                    }
                },
            };
            for name in names.iter() {
                let (path, link) = (folder.join(name), link.join(name));
                if protect.matches(link.as_path()).is_none() {
                    continue;
                }
                let way = looks.way(&root.join(&path));
                let by = Namer::Link { link: path.to_string() };
                let hops = way.links.iter().filter(|hop| **hop != path);
                named.extend(hops.map(|hop| NamedPath { path: hop.clone(), far: Far::Tree, by: by.clone() }));
                let Some(end) = way.end.filter(|end| *end != TreePath::root()) else { continue };
                if way.kind == End::Folder {
                    pending.push(Self { folder: end.clone(), link: link.clone(), level: level + 1 });
                }
                if !way.links.is_empty() {
                    named.push(NamedPath { path: end, far: Far::Through(link), by });
                }
            }
        }
        Ok(named)
    }
}

fn is_passed_over(path: &TreePath) -> bool {
    let passed_over = PASSED_OVER.iter().chain(&SCRATCH_FOLDERS);
    path.as_path().iter().any(|name| passed_over.clone().any(|passed| name.eq_ignore_ascii_case(passed)))
}
