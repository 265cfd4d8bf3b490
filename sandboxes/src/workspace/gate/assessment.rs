//! What each change of a call means for the workspace as it is now.
//!
//! The upper layer says what a path looked like at the end of the call. Here that is compared with what the session saw
//! (the held changes, else the host) and with the host, folders that hide their old contents are spelled out as
//! deletions, and each change gets its [`Decision`].

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    ffi::OsString,
    io,
    os::fd::{AsFd, BorrowedFd},
};

use cofferdam_policy::{Mode, fold_name};
use rustix::fs::OFlags;

use super::{Below, Decision, Facts, Host, Leads, Present, decide, follow::View, selection::Selection, twin};
use crate::workspace::{
    beneath::{self, Blocked, Entry, Found, Kind},
    change::{Change, GIT, Note, Reason, What},
    changeset::Changeset,
    delivery::operation::{EntryState, Expected},
    held::stack::{Layers, Stack},
    masking::{Masks, OnTop},
    named::{Guard, Nature, Protection},
    stamp::Stamp,
    tree_path::TreePath,
    version::{HostVersion, MAX_ENTRIES},
    workspace::Workspace,
};

/// One change and what becomes of it.
#[derive(Debug)]
pub(in crate::workspace) struct Assessed {
    pub(in crate::workspace) change: Change,
    pub(in crate::workspace) decision: Decision,
    /// What the host must have there for the change to be applied.
    pub(in crate::workspace) expected: Expected,
    /// The nearest folder of the host, where the change is staged.
    pub(in crate::workspace) nearest: TreePath,
    /// Whether it is only there for what is below it.
    pub(in crate::workspace) carrier: Carrier,
    /// What it brings of masked text.
    pub(in crate::workspace) masked: Option<Reason>,
}

/// Whether a folder is only made because something below it is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::workspace) enum Carrier {
    /// It is a change of its own.
    No,
    /// The call made it.
    Made,
    /// The view showed it already, for something held below it.
    Seen,
}

/// Everything that an assessment looks at.
pub(in crate::workspace) struct Assessment<'a> {
    pub(in crate::workspace) workspace: &'a Workspace,
    pub(in crate::workspace) changeset: &'a Changeset,
    pub(in crate::workspace) stack: &'a Stack,
    pub(in crate::workspace) layers: Layers,
    pub(in crate::workspace) selection: &'a Selection<'a>,
    pub(in crate::workspace) guard: &'a Guard<'a>,
    pub(in crate::workspace) mode: Mode,
    /// What the call saw in place of files with credentials.
    pub(in crate::workspace) masks: &'a Masks,
    /// What lay on top of the other for the call: that, or what was held.
    pub(in crate::workspace) on_top: OnTop,
    pub(in crate::workspace) stamp: &'a Stamp,
    /// What the workspace had at each path, for changes that are older than the stamp.
    pub(in crate::workspace) seen: Option<&'a BTreeMap<TreePath, HostVersion>>,
    /// What changes that are older than the stamp bring of text that was masked then.
    pub(in crate::workspace) masked_then: Option<&'a BTreeMap<TreePath, Reason>>,
    /// How many names of the workspace are on the list of files with credentials.
    pub(in crate::workspace) listed_names: usize,
}

/// A folder above a change that decides about it.
enum Above {
    /// It is held, and what is below cannot be without it.
    Held(TreePath),
    /// It would be held, and is only there for what is below.
    Carrier(TreePath, Reason),
    /// It takes the place of something that is no folder; nothing is below it on the host.
    Fresh(TreePath),
}

impl Assessment<'_> {
    /// Assesses every change, parents first.
    pub(in crate::workspace) fn assess(&self) -> io::Result<Vec<Assessed>> {
        let mut changes: BTreeMap<TreePath, What> =
            self.changeset.changes.iter().map(|change| (change.path.clone(), change.what.clone())).collect();
        let carried = self.carried(&changes);
        let (hiding, inherited) = self.spell_out(&mut changes, &carried)?;
        let whole = self.held_as_a_whole(&changes, &hiding)?;
        let repositories = self.repositories(&changes);
        let links = Self::links(&changes);
        let mut listed = self.listed(&changes)?;
        let mut above: Vec<Above> = Vec::new();
        let mut assessed: Vec<Assessed> = Vec::new();
        for (path, what) in changes {
            above.retain(|above| match above {
                Above::Held(folder) | Above::Carrier(folder, _) | Above::Fresh(folder) => path.is_within(folder),
            });
            let change = Change { path, what };
            let asked = self.asked(&change, &carried, &inherited);
            let listed = listed.remove(&change.path);
            let one = self.one(change, (asked, listed), &above, &whole, &repositories, &links)?;
            let path = &one.change.path;
            let adds = matches!(one.expected, Expected::Entry(there) if there.is_folder());
            if matches!(one.change.what, What::Folder { .. }) && !adds {
                match &one.decision {
                    Decision::Hold(reason) if one.carrier != Carrier::No => {
                        above.push(Above::Carrier(path.clone(), reason.clone()));
                    }
                    Decision::Hold(_) => above.push(Above::Held(path.clone())),
                    Decision::Apply if matches!(one.expected, Expected::Entry(_)) => {
                        above.push(Above::Fresh(path.clone()))
                    }
                    Decision::Apply | Decision::Drop | Decision::Leave | Decision::Settled | Decision::Unchanged => {}
                }
            }
            assessed.push(one);
        }
        if self.selection.is_one_act() {
            hold_together(&mut assessed);
        }
        decide_carriers(&mut assessed);
        Ok(assessed)
    }

    fn one(
        &self,
        change: Change,
        (asked, listed): (Asked, Option<Reason>),
        above: &[Above],
        whole: &BTreeMap<TreePath, Reason>,
        repositories: &BTreeSet<TreePath>,
        links: &BTreeMap<TreePath, OsString>,
    ) -> io::Result<Assessed> {
        let path = &change.path;
        let fresh = above.iter().rev().find_map(|above| match above {
            Above::Fresh(folder) => Some(folder),
            Above::Held(_) | Above::Carrier(..) => None,
        });
        let found = match fresh {
            None => beneath::find(self.workspace.fd(), path)?,
            Some(folder) => {
                let nearest = folder.parent().unwrap_or_else(TreePath::root);
                let entry = beneath::entry_of(beneath::folder(self.workspace.fd(), nearest.as_path())?)?;
                Found::Absent { folder: nearest, entry }
            }
        };
        let differs_from_host = self.differs(&change, &found)?;
        let differs_from_view = self.differs_from_view(&change, differs_from_host)?;
        let carrier = match asked {
            Asked::Yes | Asked::No => Carrier::No,
            Asked::IfAbsent if self.is_seen_carrier(path) => Carrier::Seen,
            Asked::IfAbsent => Carrier::Made,
        };
        let wanted = match asked {
            Asked::Yes => true,
            Asked::IfAbsent => matches!(found, Found::Absent { .. }),
            Asked::No => false,
        };
        let matters = wanted && differs_from_view && differs_from_host;
        let host = match &found {
            Found::Blocked(blocked) => Host::Blocked(*blocked),
            Found::Absent { .. } if fresh.is_some() || change.what == What::Deleted => Host::Absent { vanished: false },
            Found::Absent { folder, entry } => {
                let vanished = self.workspace.recent().vanished_since(self.stamp, path, folder, entry);
                Host::Absent { vanished: vanished || (matters && self.differs_from_seen(&change)?) }
            }
            // Looking through a folder that would go is only worth it when it would.
            Found::Entry(entry) if matters => self.present(&change, entry)?,
            Found::Entry(entry) => Host::Present(Present::plain(entry.kind)),
        };
        let held_above = above.iter().rev().find_map(|above| match above {
            Above::Held(folder) => Some(Reason::FolderHeld { folder: folder.to_string() }),
            Above::Carrier(_, reason) => Some(reason.clone()),
            Above::Fresh(_) => None,
        });
        let whole = whole.iter().find(|(folder, _)| path.is_within(folder)).map(|(_, reason)| reason.clone());
        let builds = self.stack.is_related(path, &change.what).then_some(Reason::BuildsOnHeld);
        let repository = path.folders_above().find(|folder| repositories.contains(folder));
        let repository = repository.or_else(|| repositories.get(&TreePath::root()).cloned());
        let masked = listed.clone().filter(Reason::is_about_secrets);
        let facts = Facts {
            wanted,
            mode: self.mode,
            listed,
            secret: self.masks.pattern(path),
            protected: self.protected(&change),
            leads: if matters { self.leads(&change, links)? } else { Leads::Nowhere },
            unread: self.guard.unread(),
            tied: whole.or(held_above).or(builds),
            repository: repository.as_ref(),
            differs_from_view,
            differs_from_host,
            host,
        };
        let decision = decide(&change, &facts);
        let (expected, nearest) = match found {
            Found::Entry(entry) => {
                (Expected::Entry(EntryState::of(&entry)), path.parent().unwrap_or_else(TreePath::root))
            }
            Found::Absent { folder, .. } => (Expected::Absent, folder),
            Found::Blocked(_) => (Expected::Absent, TreePath::root()),
        };
        Ok(Assessed { change, decision, expected, nearest, carrier, masked })
    }

    /// Why a change's path is protected. A link could bring whatever its target holds under protected names; a folder's
    /// contents and a deletion's are looked at one by one.
    fn protected(&self, change: &Change) -> Option<Protection> {
        match change.what {
            What::Link { .. } => self.guard.matches_replaced(&change.path),
            What::Deleted => self.guard.contains_deleted(&change.path, Nature::Other),
            What::File { .. } | What::Folder { .. } | What::Special { .. } => {
                self.guard.contains(&change.path, Nature::of(&change.what))
            }
        }
    }

    /// Where a link leads that a person must see. Programs of the host write through links: what they meant for an
    /// ordinary name would become a hook. A folder that a pattern spells out on its way (`.cargo`) counts, since
    /// the rest of the way is then an ordinary name too.
    fn leads(&self, change: &Change, links: &BTreeMap<TreePath, OsString>) -> io::Result<Leads> {
        let What::Link { target } = &change.what else { return Ok(Leads::Nowhere) };
        let view = View { workspace: self.workspace, stack: self.stack, links };
        view.follow(self.guard, &change.path, target)
    }

    /// The links that the call made, which may lead on to one another.
    fn links(changes: &BTreeMap<TreePath, What>) -> BTreeMap<TreePath, OsString> {
        let link = |(path, what): (&TreePath, &What)| match what {
            What::Link { target } => Some((path.clone(), target.clone())),
            What::File { .. } | What::Folder { .. } | What::Deleted | What::Special { .. } => None,
        };
        changes.iter().filter_map(link).collect()
    }

    /// Whether the host has something else at the path than the change says.
    fn differs(&self, change: &Change, found: &Found) -> io::Result<bool> {
        let Found::Entry(entry) = found else {
            return Ok(change.what != What::Deleted);
        };
        self.differs_from(change, entry, self.workspace.fd())
    }

    fn differs_from(&self, change: &Change, entry: &Entry, root: BorrowedFd<'_>) -> io::Result<bool> {
        let path = change.path.as_path();
        Ok(match (&change.what, entry.kind) {
            (What::File { size, mode }, Kind::File) => {
                let looks_same = *size == entry.size && *mode == entry.owned_permissions();
                let same = looks_same
                    && match beneath::file(root, path) {
                        Ok(file) => beneath::same_content(beneath::file(self.changeset.upper(), path)?, file)?,
                        Err(_) => false,
                    };
                !same
            }
            (What::Folder { mode, .. }, Kind::Folder) => *mode != entry.owned_permissions(),
            (What::Link { target }, Kind::Link) => {
                let folder = beneath::folder_of(root, &change.path)?;
                *target != beneath::link_target(folder.as_fd(), change.path.name())?
            }
            (
                What::File { .. } | What::Folder { .. } | What::Link { .. } | What::Deleted | What::Special { .. },
                Kind::File | Kind::Folder | Kind::Link | Kind::Character | Kind::Block | Kind::Fifo | Kind::Socket,
            ) => true,
        })
    }

    /// Whether the call saw something else at the path: what the session holds there, else the host's.
    fn differs_from_view(&self, change: &Change, differs_from_host: bool) -> io::Result<bool> {
        let path = &change.path;
        let (held, masked) = (self.layers.holding(path), self.masks.masking(path));
        if let Some(layer) = self.on_top.ordered(held, masked).into_iter().next() {
            return match beneath::find(layer, path)? {
                // A deletion, as overlayfs writes it into a layer.
                Found::Entry(entry) if entry.kind == Kind::Character => Ok(change.what != What::Deleted),
                Found::Entry(entry) => self.differs_from(change, &entry, layer),
                Found::Absent { .. } | Found::Blocked(_) => Ok(true),
            };
        }
        // A folder that was only made for what is held below it, and that goes with it.
        Ok(differs_from_host || (change.what == What::Deleted && self.stack.holds_below(path)))
    }

    /// Whether a change was asked for.
    fn asked(&self, change: &Change, carried: &BTreeSet<TreePath>, inherited: &BTreeSet<TreePath>) -> Asked {
        let path = &change.path;
        let is_folder = matches!(change.what, What::Folder { .. });
        if matches!(change.what, What::Folder { opaque: false, .. }) && self.is_seen_carrier(path) {
            Asked::IfAbsent
        } else if self.selection.wants(path) || inherited.contains(path) {
            Asked::Yes
        } else if is_folder && carried.contains(path) {
            if self.is_over_held(path) { Asked::Yes } else { Asked::IfAbsent }
        } else {
            Asked::No
        }
    }

    /// Whether the call saw a folder at `path` that is nowhere but in the layers, for what is held below it.
    fn is_seen_carrier(&self, path: &TreePath) -> bool {
        !self.stack.held.contains_key(path)
            && self.stack.holds_below(path)
            && matches!(beneath::find(self.workspace.fd(), path), Ok(Found::Absent { .. }))
    }

    /// Whether something other than a folder is held at `path`.
    fn is_over_held(&self, path: &TreePath) -> bool {
        self.stack.held.get(path).is_some_and(|held| !matches!(held.change.what, What::Folder { .. }))
    }

    /// Spells folders that hide what was there out as deletions. Gives the folders that hide something on the host, and
    /// the deletions that were wanted before, as part of a held one that now goes.
    fn spell_out(
        &self,
        changes: &mut BTreeMap<TreePath, What>,
        carried: &BTreeSet<TreePath>,
    ) -> io::Result<(Vec<TreePath>, BTreeSet<TreePath>)> {
        // Where a held change is no folder, a folder made in its place needs no mark: the lookup below ends at what is
        // held (measured: mkdir over a lower layer's whiteout sets no `opaque`).
        let hides = |path: &TreePath, what: &What| match what {
            What::Folder { opaque, .. } => *opaque || self.is_over_held(path),
            What::File { .. } | What::Link { .. } | What::Deleted | What::Special { .. } => false,
        };
        let tops: Vec<TreePath> =
            changes.iter().filter(|(path, what)| hides(path, what)).map(|(path, _)| path.clone()).collect();
        let (mut hiding, mut inherited) = (Vec::new(), BTreeSet::new());
        for top in tops {
            let mut pending = vec![top.clone()];
            let mut deleted = Vec::new();
            while let Some(folder) = pending.pop() {
                let opened = beneath::open(self.workspace.fd(), folder.as_path(), OFlags::RDONLY | OFlags::DIRECTORY);
                // Whatever is there instead of a folder is the business of the change of the folder itself.
                let Ok(opened) = opened else { continue };
                for name in beneath::names(opened.as_fd())? {
                    let child = folder.join(&name);
                    match changes.get(&child) {
                        _ if self.changeset.is_hidden(&child) => {}
                        None => deleted.push(child),
                        Some(What::Folder { .. }) => pending.push(child),
                        Some(What::File { .. } | What::Link { .. } | What::Deleted | What::Special { .. }) => {}
                    }
                }
            }
            if !deleted.is_empty() {
                hiding.push(top.clone());
            }
            // What is held below and was not made again is gone as well.
            for held in self.stack.below(&top) {
                let gone = !changes.contains_key(held) && !deleted.iter().any(|deleted| held.is_within(deleted));
                if gone {
                    deleted.push(held.clone());
                }
            }
            if self.is_over_held(&top) && (carried.contains(&top) || self.selection.wants(&top)) {
                inherited.extend(deleted.iter().cloned());
            }
            changes.extend(deleted.into_iter().map(|path| (path, What::Deleted)));
            if changes.len() > 2 * MAX_ENTRIES {
                return Err(io::Error::other("the folders that the call replaced hold too much"));
            }
        }
        Ok((hiding, inherited))
    }

    /// Folders whose old contents would go, and something protected with them: nothing of them is applied.
    fn held_as_a_whole(
        &self,
        changes: &BTreeMap<TreePath, What>,
        hiding: &[TreePath],
    ) -> io::Result<BTreeMap<TreePath, Reason>> {
        let mut whole = BTreeMap::new();
        for folder in hiding {
            let deletions = changes
                .range(folder.clone()..)
                .take_while(|(path, _)| path.is_within(folder))
                .filter(|(_, what)| **what == What::Deleted);
            for (path, _) in deletions {
                if self.masks.pattern(path).is_some() {
                    whole.insert(folder.clone(), Reason::ContainsSecret { path: path.to_string() });
                    break;
                }
                if let Some(protection) = self.guard.contains_deleted(path, Nature::Other) {
                    whole.insert(folder.clone(), protection.holds_folder(path));
                    break;
                }
                let reason = match self.look_below(path).map(|look| look.below) {
                    Ok(Below::Protected { path, by }) => by.holds_folder(&path),
                    Ok(Below::Secret { path }) => Reason::ContainsSecret { path: path.to_string() },
                    Ok(Below::Repository { path }) => Reason::ContainsRepository { path: path.to_string() },
                    Ok(Below::Nothing | Below::TooMany) | Err(_) => continue,
                };
                whole.insert(folder.clone(), reason);
                break;
            }
        }
        Ok(whole)
    }

    /// The folders above something wanted.
    fn carried(&self, changes: &BTreeMap<TreePath, What>) -> BTreeSet<TreePath> {
        changes
            .keys()
            .filter(|path| self.selection.wants(path))
            .flat_map(|path| path.folders_above().collect::<Vec<_>>())
            .collect()
    }

    fn present(&self, change: &Change, entry: &Entry) -> io::Result<Host> {
        let path = &change.path;
        let mut present = Present::plain(entry.kind);
        present.mount = entry.device != self.workspace.device();
        present.other_owner = other_owner(entry);
        let goes = entry.kind == Kind::Folder && !matches!(change.what, What::Folder { .. });
        if goes {
            match self.look_below(path) {
                Ok(look) => {
                    present.changed |= look.changed;
                    present.mount |= look.mount;
                    present.below = look.below;
                }
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                    return Ok(Host::Blocked(Blocked::Permission));
                }
                Err(error) => return Err(error),
            }
        }
        present.changed |= self.workspace.recent().changed_since(self.stamp, path, entry);
        present.changed |= self.differs_from_seen(change)?;
        Ok(Host::Present(present))
    }

    /// Whether the workspace has something else than when the change was made, if that was before the stamp.
    fn differs_from_seen(&self, change: &Change) -> io::Result<bool> {
        let Some(seen) = self.seen.and_then(|seen| seen.get(&change.path)) else { return Ok(false) };
        Ok(*seen == HostVersion::Unknown || *seen != HostVersion::of(self.workspace.fd(), &change.path, &change.what)?)
    }

    /// Looks through a folder of the host that would go.
    fn look_below(&self, top: &TreePath) -> io::Result<Look> {
        let mut look = Look { changed: false, mount: false, below: Below::Nothing };
        let mut entries = 0;
        let mut pending = vec![top.clone()];
        while let Some(folder) = pending.pop() {
            let opened = match beneath::open(self.workspace.fd(), folder.as_path(), OFlags::RDONLY | OFlags::DIRECTORY)
            {
                Ok(opened) => opened,
                Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
                    look.mount = true;
                    continue;
                }
                // Not a folder, or gone: nothing is below it.
                Err(error) if matches!(error.kind(), io::ErrorKind::NotADirectory | io::ErrorKind::NotFound) => {
                    continue;
                }
                Err(error) => return Err(error),
            };
            for name in beneath::names(opened.as_fd())? {
                entries += 1;
                if entries > MAX_ENTRIES {
                    if matches!(look.below, Below::Nothing | Below::Protected { .. }) {
                        look.below = Below::TooMany;
                    }
                    return Ok(look);
                }
                let path = folder.join(&name);
                let Some(entry) = beneath::entry(opened.as_fd(), &name)? else { continue };
                look.changed |= self.workspace.recent().changed_since(self.stamp, &path, &entry);
                look.mount |= entry.device != self.workspace.device();
                if self.masks.pattern(&path).is_some() {
                    look.below = Below::Secret { path: path.clone() };
                }
                if entry.kind == Kind::Folder
                    && name.eq_ignore_ascii_case(GIT)
                    && matches!(look.below, Below::Nothing | Below::Protected { .. })
                {
                    look.below = Below::Repository { path: path.clone() };
                }
                let nature = if entry.kind == Kind::Folder { Nature::Folder } else { Nature::Other };
                if look.below == Below::Nothing
                    && let Some(by) = self.guard.contains_deleted(&path, nature)
                {
                    look.below = Below::Protected { path: path.clone(), by };
                }
                if entry.kind == Kind::Folder {
                    pending.push(path);
                }
            }
        }
        Ok(look)
    }

    /// The folders that look, or would look, like a git repository of their own to git's `is_git_directory` (`setup.c`):
    /// `HEAD`, and `objects` with `refs`, or a `commondir` that names where those are. Deletions do not count: the shape
    /// may be completed again later.
    fn repositories(&self, changes: &BTreeMap<TreePath, What>) -> BTreeSet<TreePath> {
        const NAMES: [&str; 4] = ["HEAD", "objects", "refs", "commondir"];
        let mut named: HashMap<TreePath, BTreeSet<&str>> = HashMap::new();
        let held = self.stack.held.values().map(|held| (&held.change.path, &held.change.what));
        for (path, what) in changes.iter().chain(held) {
            let name = fold_name(&path.name().to_string_lossy());
            let Some(name) = NAMES.into_iter().find(|known| fold_name(known) == name) else { continue };
            if *what != What::Deleted {
                named.entry(path.parent().unwrap_or_else(TreePath::root)).or_default().insert(name);
            }
        }
        let mut folders: BTreeSet<TreePath> =
            changes.keys().flat_map(|path| path.folders_above().collect::<Vec<_>>()).collect();
        folders.insert(TreePath::root());
        let mut repositories = BTreeSet::new();
        for folder in folders {
            let mut has = named.remove(&folder).unwrap_or_default();
            if let Ok(opened) = beneath::folder(self.workspace.fd(), folder.as_path()) {
                for name in NAMES {
                    // A folder that cannot be looked into lets nothing into it either.
                    if let Ok(Some(_)) = beneath::entry(opened.as_fd(), name.as_ref()) {
                        has.insert(name);
                    }
                }
            }
            let has = |name| has.contains(name);
            if has("HEAD") && ((has("objects") && has("refs")) || has("commondir")) {
                repositories.insert(folder);
            }
        }
        repositories
    }

    /// New names of the call that another file system would take for names which the workspace has, or will have.
    pub(in crate::workspace) fn twins(&self, assessed: &[Assessed]) -> Vec<Note> {
        let comes = |one: &&Assessed| match one.decision {
            Decision::Apply | Decision::Hold(_) => true,
            Decision::Unchanged => one.carrier != Carrier::No,
            Decision::Settled | Decision::Drop | Decision::Leave => false,
        };
        let coming: Vec<&Assessed> = assessed.iter().filter(comes).collect();
        let made = coming
            .iter()
            .filter(|one| one.expected == Expected::Absent && one.change.what != What::Deleted)
            .map(|one| one.change.path.clone())
            .collect();
        let gone: BTreeSet<&TreePath> = coming
            .iter()
            .filter(|one| one.decision == Decision::Apply && one.change.what == What::Deleted)
            .map(|one| &one.change.path)
            .collect();
        twin::notes(&made, |folder| {
            // A folder that is new has no names on the host, and one that cannot be looked into shows none.
            let opened = beneath::folder(self.workspace.fd(), folder.as_path());
            let names = opened.and_then(|opened| beneath::names(opened.as_fd())).unwrap_or_default();
            let held = self.stack.below(folder).filter(|path| path.parent().as_ref() == Some(folder));
            let held =
                held.filter(|path| self.stack.held.get(path).is_some_and(|held| held.change.what != What::Deleted));
            let there = names.iter().map(|name| folder.join(name)).chain(held.cloned());
            there.filter(|path| !gone.contains(path)).collect()
        })
    }

    /// Folders that were deleted at one place and made with the same contents at another.
    pub(in crate::workspace) fn moves(&self, assessed: &[Assessed]) -> Vec<Note> {
        let gone = assessed.iter().filter(|one| {
            one.change.what == What::Deleted && matches!(one.expected, Expected::Entry(there) if there.is_folder())
        });
        let made: Vec<&TreePath> = assessed
            .iter()
            .filter(|one| matches!(one.change.what, What::Folder { .. }) && one.expected == Expected::Absent)
            .map(|one| &one.change.path)
            .collect();
        let mut notes = Vec::new();
        for gone in gone {
            let from = &gone.change.path;
            if let Some(to) = made.iter().find(|to| self.is_same_tree(from, to).unwrap_or(false)) {
                notes.push(Note::Moved { from: from.clone(), to: (*to).clone() });
            }
        }
        notes
    }

    /// Whether the host's folder `from` and the upper layer's folder `to` hold the same.
    fn is_same_tree(&self, from: &TreePath, to: &TreePath) -> io::Result<bool> {
        /// Entries that are compared; a larger folder is not called moved.
        const MAX_COMPARED: usize = 20_000;
        let (host, upper) = (self.workspace.fd(), self.changeset.upper());
        let mut compared = 0;
        let mut pending = vec![TreePath::root()];
        while let Some(below) = pending.pop() {
            let (old, new) = (from.as_path().join(&below), to.as_path().join(&below));
            let old_folder = beneath::open(host, &old, OFlags::RDONLY | OFlags::DIRECTORY)?;
            let new_folder = beneath::open(upper, &new, OFlags::RDONLY | OFlags::DIRECTORY)?;
            let names = beneath::names(old_folder.as_fd())?;
            if names != beneath::names(new_folder.as_fd())? {
                return Ok(false);
            }
            for name in names {
                compared += 1;
                let (one, other) =
                    (beneath::entry(old_folder.as_fd(), &name)?, beneath::entry(new_folder.as_fd(), &name)?);
                let (Some(one), Some(other)) = (one, other) else { return Ok(false) };
                if compared > MAX_COMPARED || one.kind != other.kind {
                    return Ok(false);
                }
                let same = match one.kind {
                    Kind::Folder => {
                        pending.push(below.join(&name));
                        true
                    }
                    Kind::File if one.size != other.size => false,
                    Kind::File => beneath::same_content(
                        beneath::file(host, &old.join(&name))?,
                        beneath::file(upper, &new.join(&name))?,
                    )?,
                    Kind::Link => {
                        beneath::link_target(old_folder.as_fd(), &name)?
                            == beneath::link_target(new_folder.as_fd(), &name)?
                    }
                    Kind::Character | Kind::Block | Kind::Fifo | Kind::Socket => false,
                };
                if !same {
                    return Ok(false);
                }
            }
        }
        Ok(compared > 0)
    }
}

/// Whether the plan asked for a change to be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    Yes,
    /// A folder above something wanted: when the host has none there.
    IfAbsent,
    No,
}

/// What was found in a folder.
struct Look {
    changed: bool,
    mount: bool,
    below: Below,
}

/// The owner of a file that an ordinary user's server could not keep.
fn other_owner(entry: &Entry) -> Option<u32> {
    let me = rustix::process::geteuid();
    (!me.is_root() && entry.owner != me.as_raw()).then_some(entry.owner)
}

/// Holds all changes if one of them is held: a move whose new name waits would else take the old one away.
fn hold_together(assessed: &mut [Assessed]) {
    let held = assessed.iter().find(|one| one.carrier == Carrier::No && matches!(one.decision, Decision::Hold(_)));
    let Some(with) = held.map(|held| held.change.path.to_string()) else { return };
    for one in assessed.iter_mut().filter(|one| one.carrier == Carrier::No) {
        match one.decision {
            Decision::Apply => one.decision = Decision::Hold(Reason::Together { with: with.clone() }),
            Decision::Hold(_) | Decision::Unchanged | Decision::Settled | Decision::Drop | Decision::Leave => {}
        }
    }
}

/// A folder that would only be made for something below it is made when something is put there. It is never held: what
/// is held below it brings it along when a person applies that, and leaves no folder behind when it is discarded.
fn decide_carriers(assessed: &mut [Assessed]) {
    let (mut used, mut implied) = (BTreeSet::new(), BTreeSet::new());
    for one in assessed.iter_mut().rev() {
        let path = &one.change.path;
        match (&one.decision, one.carrier) {
            (Decision::Apply, Carrier::Made | Carrier::Seen) if used.contains(path) => {
                used.extend(path.folders_above())
            }
            (Decision::Apply | Decision::Hold(_), Carrier::Made | Carrier::Seen) => {
                let passes = one.carrier == Carrier::Seen || implied.contains(path);
                one.decision = if passes { Decision::Unchanged } else { Decision::Leave };
            }
            (Decision::Apply, Carrier::No) => used.extend(path.folders_above()),
            (Decision::Hold(_), Carrier::No) => implied.extend(path.folders_above()),
            (Decision::Unchanged | Decision::Settled | Decision::Drop | Decision::Leave, _) => {}
        }
    }
}
