//! Links of the host at protected names, and where they lead: `.husky/pre-commit -> ../scripts/check.sh`.
//!
//! They are looked for in the folders above each change; in the folders of the workspace's first three levels, nearest to
//! the root first, [`MOST_FOLDERS`] at most; and below each protected folder that is found there, as deep and as many. A
//! folder whose time has not changed is not read again.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    ffi::OsString,
    fs, io,
    path::Path,
};

use cofferdam_policy::Protect;

use super::{
    super::{change::Namer, tree_path::TreePath, workspace::Workspace},
    Far, NamedPath,
    look::{Looks, Version},
};

/// Folders of each kind that are looked at for one hand-back, those above the changes aside. A look takes microseconds.
const MOST_FOLDERS: usize = 1000;

/// Levels of folders whose names are looked at: below the workspace, and below a protected folder.
const LEVELS: usize = 3;

/// Folders that are not looked through. The repository's own are read with its settings; the links in folders of
/// installed packages and of builds lead to the workspace's ordinary sources, which ordinary work runs.
const PASSED_OVER: [&str; 13] = [
    ".git",
    ".hg",
    ".jj",
    ".sl",
    ".bzr",
    "node_modules",
    "target",
    ".venv",
    "venv",
    ".tox",
    ".nox",
    "site-packages",
    ".direnv",
];

/// What is known of the folders.
#[derive(Debug, Default)]
pub(super) struct Links {
    /// What `folders` was made with.
    protect: Option<Protect>,
    folders: HashMap<TreePath, (Version, Listing)>,
}

/// What of a folder's names matters.
#[derive(Debug, Clone, Default)]
struct Listing {
    /// Links with protected names.
    links: Vec<OsString>,
    /// Folders with protected names.
    protected: Vec<OsString>,
    /// Other folders.
    ordinary: Vec<OsString>,
}

impl Links {
    /// Finds them.
    pub(super) fn find(
        &mut self,
        workspace: &Workspace,
        protect: &Protect,
        above: &BTreeSet<TreePath>,
    ) -> Vec<NamedPath> {
        if self.protect.as_ref() != Some(protect) {
            (self.protect, self.folders) = (Some(protect.clone()), HashMap::new());
        }
        let mut looks = Looks::new(workspace.device(), workspace.inode());
        let mut found = Vec::new();
        let mut seen = BTreeSet::new();
        // Folder by folder, the nearest to the root first; with how deep below a protected folder it lies, if it does.
        let mut pending: VecDeque<(TreePath, Option<usize>)> = VecDeque::from([(TreePath::root(), None)]);
        pending.extend(above.iter().map(|folder| (folder.clone(), None)));
        let (mut ordinary, mut protected) = (0, 0);
        while let Some((folder, below)) = pending.pop_front() {
            if is_passed_over(&folder) || !seen.insert(folder.clone()) {
                continue;
            }
            let below = below.or_else(|| protect.contains(folder.as_path()).map(|_| 0));
            let count = if below.is_some() { &mut protected } else { &mut ordinary };
            *count += 1;
            if *count > MOST_FOLDERS && !above.contains(&folder) {
                continue;
            }
            let Some(listing) = self.listing(workspace.root(), protect, &folder) else { continue };
            let deeper =
                |names: &[OsString], below| names.iter().map(|name| (folder.join(name), below)).collect::<Vec<_>>();
            pending.extend(deeper(&listing.protected, Some(below.map_or(0, |below| below + 1))));
            match below {
                Some(below) if below < LEVELS => pending.extend(deeper(&listing.ordinary, Some(below + 1))),
                None if folder.depth() < LEVELS - 1 => pending.extend(deeper(&listing.ordinary, None)),
                Some(_) | None => {}
            }
            for name in &listing.links {
                let link = folder.join(name);
                let by = Namer::Link { link: link.to_string() };
                let way = looks.way(&workspace.root().join(&link));
                // The first is the link itself.
                let hops = way.links.iter().skip(1);
                found.extend(hops.map(|hop| NamedPath { path: hop.clone(), far: Far::Tree, by: by.clone() }));
                if let Some(path) = way.end.filter(|end| *end != TreePath::root()) {
                    found.push(NamedPath { path, far: Far::Through(link), by });
                }
            }
        }
        self.folders.retain(|folder, _| seen.contains(folder));
        found
    }

    /// What of a folder matters; `None` when there is no folder that can be read.
    fn listing(&mut self, root: &Path, protect: &Protect, folder: &TreePath) -> Option<Listing> {
        let path = root.join(folder);
        let status = fs::symlink_metadata(&path).ok().filter(fs::Metadata::is_dir)?;
        let version = Version::of(&status);
        if let Some((known, listing)) = self.folders.get(folder)
            && *known == version
        {
            return Some(listing.clone());
        }
        let listing = read(&path, protect, folder).ok()?;
        // A folder that is as new as this may change once more and look the same.
        if version.is_settled() {
            self.folders.insert(folder.clone(), (version, listing.clone()));
        } else {
            self.folders.remove(folder);
        }
        Some(listing)
    }
}

fn read(path: &Path, protect: &Protect, folder: &TreePath) -> io::Result<Listing> {
    let is_protected = protect.contains(folder.as_path()).is_some();
    let mut listing = Listing::default();
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        let (name, kind) = (entry.file_name(), entry.file_type()?);
        let below = folder.join(&name);
        if kind.is_symlink() && (is_protected || protect.matches(below.as_path()).is_some()) {
            listing.links.push(name);
        } else if kind.is_dir() && (is_protected || protect.matches(below.as_path()).is_some()) {
            listing.protected.push(name);
        } else if kind.is_dir() {
            listing.ordinary.push(name);
        }
    }
    Ok(listing)
}

fn is_passed_over(path: &TreePath) -> bool {
    path.as_path().iter().any(|name| PASSED_OVER.iter().any(|passed| name.eq_ignore_ascii_case(passed)))
}
