//! The paths of a workspace that programs of the host act on because something of the host leads there.
//!
//! The list of protected paths knows names. But the host's own git settings may say `core.hooksPath = tools/hooks`, and a
//! link may lead from `.husky/pre-commit` to `scripts/check.sh`: then a file with an ordinary name is executed unasked. Here
//! the host is asked, at the moment of the hand-back, what leads where; nothing is executed for it, and nothing of a view is
//! believed.
//!
//! - Git's settings: those of the machine, of the person, and of each repository whose files are changed, and of others that
//!   are met ([`repository`]).
//! - Links at protected names ([`links`]).
//!
//! What cannot be read holds every change: a path that may run code is not told from one that does not.

mod alias;
mod calls;
mod config;
mod links;
mod look;
mod managers;
mod repository;
mod script;
mod words;

#[cfg(test)]
mod calls_tests;
#[cfg(test)]
mod hook_tests;
#[cfg(test)]
mod tests;

use std::{
    cell::Cell,
    collections::{BTreeMap, BTreeSet, HashMap},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::SystemTime,
};

use cofferdam_policy::{Protect, fold_name};

pub(crate) use self::repository::Personal;
use self::{links::Links, look::Looks, repository::Repository};
use super::{
    change::{Namer, Reason, What},
    tree_path::TreePath,
    workspace::Workspace,
};

/// Repositories in which one hand-back may change something, and repositories that are remembered for later ones.
const MOST_REPOSITORIES: usize = 100;

/// Paths that are looked at for the repositories of one hand-back. An ordinary one takes about a hundred.
const MOST_LOOKS: usize = 400_000;

/// Links to one folder that are told apart. With more everything in it counts: each takes as long as a look at the list.
const MOST_THROUGH: usize = 20;

/// What the links of one hand-back may take: for each place that they lead over one, and one for each name above it and that
/// follows. A look at the list takes about 10 µs of a core for each (optimised build: 5,000 links in a row, 2 s).
const MOST_PLACES: usize = 100_000;

/// A path that something of the host names.
#[derive(Debug, Clone, PartialEq, Eq)]
struct NamedPath {
    path: TreePath,
    far: Far,
    by: Namer,
}

/// What else it concerns.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Far {
    /// Nothing: only what has this very name, and no folder.
    Name,
    /// All below it.
    Tree,
    /// All below it, and be it the whole workspace.
    Whole,
    /// What is protected below the link that leads to it.
    Through(TreePath),
    /// What lies in it and has a name that begins and ends so, in folded letters, and the folder's own name.
    Between(String, String),
}

/// Something that must be known and cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unread {
    file: String,
    why: String,
    cause: Cause,
}

/// Who cannot read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cause {
    /// Git itself, which then runs nothing.
    Git,
    /// We, or also git, but not always.
    Unknown,
}

impl Unread {
    fn unknown(file: String, why: String) -> Self {
        Self { file, why, cause: Cause::Unknown }
    }

    fn of_unknown_cause(self) -> Self {
        Self { cause: Cause::Unknown, ..self }
    }
}

/// What is known of a workspace's host.
#[derive(Debug)]
pub(super) struct Naming {
    personal: Personal,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    repositories: HashMap<PathBuf, (Looks, Vec<NamedPath>)>,
    links: Links,
}

/// What one hand-back is held to: the protected names, and what is named.
#[derive(Debug)]
pub(super) struct Guard<'a> {
    protect: &'a Protect,
    /// By folded names, so that another spelling is found.
    named: BTreeMap<Vec<String>, Place>,
    unread: Option<Unread>,
    /// What links may still take.
    places: Cell<usize>,
}

/// What is named at one path, each kind once: to ask about a path takes the same time however often it is named.
#[derive(Debug, Default)]
struct Place {
    /// It and all below it.
    tree: Option<Namer>,
    /// What has this very name.
    name: Option<Namer>,
    /// What is protected below these links, by their folded names.
    through: BTreeMap<Vec<String>, (TreePath, Namer)>,
    /// What lies in it, by how a name begins, and then by how it ends.
    between: BTreeMap<String, BTreeMap<String, Namer>>,
}

/// Why a path is protected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Protection {
    /// A pattern of the list or of a policy.
    Pattern(String),
    /// Something of the host leads there.
    Named(Namer),
}

/// What a path is about to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Nature {
    Folder,
    Other,
}

impl Nature {
    pub(super) fn of(what: &What) -> Self {
        match what {
            What::Folder { .. } => Self::Folder,
            What::File { .. } | What::Link { .. } | What::Deleted | What::Special { .. } => Self::Other,
        }
    }
}

impl Protection {
    /// Why the path itself is held.
    pub(super) fn holds(self) -> Reason {
        match self {
            Self::Pattern(pattern) => Reason::Protected { pattern },
            Self::Named(by) => Reason::Named { by },
        }
    }

    /// Why a folder is held that has the path in it.
    pub(super) fn holds_folder(self, path: &TreePath) -> Reason {
        let path = path.to_string();
        match self {
            Self::Pattern(pattern) => Reason::ContainsProtected { path, pattern },
            Self::Named(by) => Reason::ContainsNamed { path, by },
        }
    }

    /// Why a link is held that leads to the path.
    pub(super) fn holds_link(self, path: &TreePath) -> Reason {
        let path = path.to_string();
        match self {
            Self::Pattern(pattern) => Reason::LeadsToProtected { path, pattern },
            Self::Named(by) => Reason::LeadsToNamed { path, by },
        }
    }
}

impl Naming {
    pub(super) fn new(personal: Personal) -> Self {
        Self { personal, state: Mutex::default() }
    }

    /// Reads more files of a person's settings.
    pub(super) fn read_also(&mut self, files: impl Iterator<Item = PathBuf>) {
        self.personal.files.extend(files);
    }

    /// Asks the host what leads where, for changes at these paths. What was read before counts as long as the host is as it
    /// was then. Nothing is asked when there are no changes.
    pub(super) fn guard<'a, 'b>(
        &self,
        workspace: &Workspace,
        protect: &'a Protect,
        changes: impl Iterator<Item = &'b TreePath>,
    ) -> Guard<'a> {
        self.guard_at(workspace, protect, changes, SystemTime::now())
    }

    /// As [`Naming::guard`], at this time.
    fn guard_at<'a, 'b>(
        &self,
        workspace: &Workspace,
        protect: &'a Protect,
        changes: impl Iterator<Item = &'b TreePath>,
        now: SystemTime,
    ) -> Guard<'a> {
        let mut folders: BTreeSet<TreePath> = BTreeSet::new();
        let mut changed = false;
        for path in changes {
            changed = true;
            for folder in path.folders_above() {
                if !folders.insert(folder) {
                    break;
                }
            }
        }
        let mut guard = Guard { protect, named: BTreeMap::new(), unread: None, places: Cell::new(MOST_PLACES) };
        if !changed {
            return guard;
        }
        let state = &mut *self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let leads = match state.links.find(workspace, protect, &folders, now) {
            Ok(leads) => leads,
            Err(unread) => {
                guard.unread = Some(unread);
                return guard;
            }
        };
        guard.add(&leads.named);
        let mut tops = tops(workspace, &folders);
        if tops.len() > MOST_REPOSITORIES {
            let why = format!("changes in more than {MOST_REPOSITORIES} repositories at once are not told apart");
            guard.unread = Some(Unread::unknown(".git".to_owned(), why));
            return guard;
        }
        // Others may name paths beyond their own files.
        let changed = tops.clone();
        tops.extend(leads.repositories.iter().map(|folder| workspace.root().join(folder)));
        let (mut kept, mut looked) = (HashMap::new(), 0);
        for top in tops {
            let known = state.repositories.remove(&top).filter(|(looks, _)| looks.are_true());
            let read = known.map_or_else(|| self.read(workspace, &top, now), Ok);
            match read {
                Ok((looks, named)) => {
                    guard.add(&named);
                    looked += looks.count();
                    kept.insert(top, (looks, named));
                }
                // Git runs nothing of a broken repository, and nothing changes in it.
                Err(Unread { cause: Cause::Git, .. }) if !changed.contains(&top) => {}
                Err(unread) => guard.unread = Some(unread),
            }
            if looked > MOST_LOOKS {
                let why = "more paths are named in all repositories than are looked at".to_owned();
                guard.unread = Some(Unread::unknown(".git".to_owned(), why));
            }
            if guard.unread.is_some() {
                break;
            }
        }
        // Of repositories that are not at issue now the latest are remembered, so that calls in turn find theirs.
        for (top, known) in state.repositories.drain() {
            if kept.len() < MOST_REPOSITORIES {
                kept.insert(top, known);
            }
        }
        state.repositories = kept;
        guard
    }

    fn read(&self, workspace: &Workspace, top: &Path, now: SystemTime) -> Result<(Looks, Vec<NamedPath>), Unread> {
        let mut looks = Looks::new(workspace.device(), workspace.inode(), now);
        let named = Repository::read(&mut looks, &self.personal, workspace.root(), top)?;
        Ok((looks, named))
    }
}

/// Where the files of repositories begin: at the workspace, or above it, and at each folder with a `.git` of its own.
fn tops(workspace: &Workspace, folders: &BTreeSet<TreePath>) -> BTreeSet<PathBuf> {
    let root = workspace.root();
    let has_git = |folder: &Path| folder.join(".git").symlink_metadata().is_ok();
    let mut tops = BTreeSet::from([root.to_owned()]);
    if !has_git(root) {
        tops.extend(root.ancestors().find(|above| has_git(above)).map(Path::to_owned));
    }
    tops.extend(folders.iter().map(|folder| root.join(folder)).filter(|folder| has_git(folder)));
    tops
}

fn folded(path: &TreePath) -> Vec<String> {
    path.as_path().iter().map(|name| fold_name(&name.to_string_lossy())).collect()
}

impl<'a> Guard<'a> {
    fn add(&mut self, named: &[NamedPath]) {
        for NamedPath { path, far, by } in named {
            let names = folded(path);
            let is_known = self.named.get(&names).is_some_and(|place| place.tree.is_some());
            // The list says it already, in words that people know.
            if !is_known && (self.named.contains_key(&names) || self.protect.contains(path.as_path()).is_none()) {
                self.named.entry(names).or_default().add(far, by, self.protect);
            }
        }
    }

    /// Takes so much of what links may take; false when there is none left.
    pub(super) fn visits(&self, places: usize) -> bool {
        let left = self.places.get();
        self.places.set(left.saturating_sub(places));
        left > 0
    }

    /// Leaves so much of what links may take.
    #[cfg(test)]
    pub(super) fn leave(&self, places: usize) {
        self.places.set(places);
    }

    /// Why every change is held: what must be known could not be read.
    pub(super) fn unread(&self) -> Option<Reason> {
        let Unread { file, why, .. } = self.unread.clone()?;
        Some(Reason::SettingsUnread { file, why })
    }

    /// Why `path` or a folder above it is protected.
    pub(super) fn contains(&self, path: &TreePath, nature: Nature) -> Option<Protection> {
        let pattern = self.protect.contains(path.as_path()).map(|pattern| Protection::Pattern(pattern.to_owned()));
        pattern.or_else(|| self.named_at(path, nature))
    }

    /// As [`Guard::contains`], for what is to be deleted.
    pub(super) fn contains_deleted(&self, path: &TreePath, nature: Nature) -> Option<Protection> {
        let pattern = self.protect.contains_deleted(path.as_path());
        pattern.map(|pattern| Protection::Pattern(pattern.to_owned())).or_else(|| self.named_at(path, nature))
    }

    /// As [`Guard::contains`], and also for a folder on the way to something protected: a link to it brings that along.
    pub(super) fn matches(&self, path: &TreePath) -> Option<Protection> {
        let pattern = self.protect.matches(path.as_path()).map(|pattern| Protection::Pattern(pattern.to_owned()));
        pattern.or_else(|| self.named_at(path, Nature::Other)).or_else(|| self.named_below(path))
    }

    /// As [`Guard::matches`], for what takes the place of all that was at `path`.
    pub(super) fn matches_replaced(&self, path: &TreePath) -> Option<Protection> {
        let pattern =
            self.protect.matches_replaced(path.as_path()).map(|pattern| Protection::Pattern(pattern.to_owned()));
        pattern.or_else(|| self.named_at(path, Nature::Other)).or_else(|| self.named_below(path))
    }

    fn named_at(&self, path: &TreePath, nature: Nature) -> Option<Protection> {
        if self.named.is_empty() {
            return None;
        }
        let names = folded(path);
        for depth in (0..=names.len()).rev() {
            let Some(place) = self.named.get(&names[..depth]) else { continue };
            let below = || path.as_path().iter().skip(depth).collect::<PathBuf>();
            let found = match names.get(depth) {
                None => place.at(nature).or_else(|| place.through(&below(), self.protect)),
                Some(name) => place
                    .tree
                    .as_ref()
                    .or_else(|| Some(name).filter(|_| depth + 1 == names.len()).and_then(|name| place.between(name)))
                    .or_else(|| place.through(&below(), self.protect)),
            };
            if let Some(found) = found {
                return Some(Protection::Named(found.clone()));
            }
        }
        None
    }

    fn named_below(&self, path: &TreePath) -> Option<Protection> {
        let names = folded(path);
        if names.is_empty() {
            return None;
        }
        let (found, named) = self.named.range(names.clone()..).find(|(found, _)| **found != names)?;
        let named = found.starts_with(&names).then(|| named.any()).flatten()?;
        Some(Protection::Named(named.clone()))
    }
}

impl Place {
    fn add(&mut self, far: &Far, by: &Namer, protect: &Protect) {
        match far {
            Far::Name => _ = self.name.get_or_insert_with(|| by.clone()),
            Far::Tree | Far::Whole => _ = self.tree.get_or_insert_with(|| by.clone()),
            // All below the link is protected, or the links are too many to be told apart.
            Far::Through(link) if self.through.len() >= MOST_THROUGH || protect.contains(link.as_path()).is_some() => {
                self.tree.get_or_insert_with(|| by.clone());
            }
            Far::Through(link) => _ = self.through.entry(folded(link)).or_insert_with(|| (link.clone(), by.clone())),
            Far::Between(before, after) => {
                let ends = self.between.entry(before.clone()).or_default();
                ends.entry(after.clone()).or_insert_with(|| by.clone());
            }
        }
    }

    /// Who names the path itself.
    fn at(&self, nature: Nature) -> Option<&Namer> {
        let by_name = || self.name.as_ref().or_else(|| self.by_what_is_between());
        self.tree.as_ref().or_else(|| by_name().filter(|_| nature == Nature::Other))
    }

    /// Who names what is in it and has this folded name.
    fn between(&self, name: &str) -> Option<&Namer> {
        if self.between.is_empty() {
            return None;
        }
        let begins = name.char_indices().map(|(at, _)| &name[..at]).chain([name]);
        let ends = begins.filter_map(|begin| self.between.get(begin));
        ends.flatten().find(|(end, _)| name.ends_with(end.as_str())).map(|(_, by)| by)
    }

    fn by_what_is_between(&self) -> Option<&Namer> {
        self.between.values().flat_map(BTreeMap::values).next()
    }

    /// Who names what is so far below it.
    fn through(&self, below: &Path, protect: &Protect) -> Option<&Namer> {
        let is_protected = |link: &TreePath| protect.contains(&link.as_path().join(below)).is_some();
        self.through.values().find(|(link, _)| is_protected(link)).map(|(_, by)| by)
    }

    fn any(&self) -> Option<&Namer> {
        let through = || self.through.values().map(|(_, by)| by).next();
        self.tree.as_ref().or(self.name.as_ref()).or_else(through).or_else(|| self.by_what_is_between())
    }
}
