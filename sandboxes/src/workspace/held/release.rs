//! What a person does with held changes: puts them into the workspace, or discards them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::OpenOptions,
    io::{self, Write},
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::OpenOptionsExt,
    },
    sync::Arc,
};

use cofferdam_policy::Secrets;
use serde::Serialize;

use super::{
    layer::Ground,
    stack::{Bond, Content, HeldChange, Layers, Origin, Piece, Since, Stack},
};
use crate::call_folder::CallFolder;
use crate::workspace::{
    beneath::{self, Blocked, Found},
    change::{Change, Held, Note, Reason, What},
    delivery::{
        Delivered, Delivery, Steps, Uninterrupted,
        operation::{EntryState, Expected, Operation},
    },
    gate::spared::{Merged, Moved, Spared},
    masking::Masks,
    session::{Session, SessionError},
    stamp::Stamp,
    tree_path::TreePath,
    version::HostVersion,
    workspace::{Patience, Workspace},
};

/// What became of held changes that a person wanted in the workspace.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Released {
    /// The order's identifier, with which it can be undone.
    pub order: String,
    /// In the workspace now.
    pub applied: Vec<Change>,
    /// Still held. [`Reason::Conflict`] means that the workspace changed since the change was held, or since a person was
    /// last told so; the next attempt applies it if it does not change again.
    pub held: Vec<Held>,
    /// Worth knowing.
    pub notes: Vec<Note>,
}

/// What an order is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum AsOf {
    /// What is held when it is carried out.
    Now,
    /// What was held in this generation, which a person has seen; nothing if there is another one.
    Generation(u64),
}

impl Session {
    /// Puts held changes into the workspace because a person ordered it: those at `paths` and below them. Protection does
    /// not matter then; a workspace that changed since does.
    ///
    /// Files with credentials, as `secrets` lists them now, are only touched by an order that names them; see [`crate::workspace::gate::spared`].
    ///
    /// # Errors
    /// [`SessionError`].
    pub fn apply(
        &self,
        paths: &[TreePath],
        secrets: &Arc<Secrets>,
        patience: &Patience<'_>,
    ) -> Result<Released, SessionError> {
        self.release((paths, AsOf::Now), secrets, patience, &Uninterrupted)
    }

    /// As [`Session::apply`], if what is held is still `generation` ([`Layers::generation`]). That is looked at in the
    /// workspace's turn, in which nobody else can change it: what a person read is what is applied.
    ///
    /// # Errors
    /// [`SessionError::Changed`] when it is another one, and nothing was done; else as [`Session::apply`].
    pub fn apply_as_of(
        &self,
        generation: u64,
        paths: &[TreePath],
        secrets: &Arc<Secrets>,
        patience: &Patience<'_>,
    ) -> Result<Released, SessionError> {
        self.release((paths, AsOf::Generation(generation)), secrets, patience, &Uninterrupted)
    }

    #[cfg(test)]
    pub(in crate::workspace) fn apply_in_steps(
        &self,
        paths: &[TreePath],
        patience: &Patience<'_>,
        steps: &dyn Steps,
    ) -> Result<Released, SessionError> {
        self.release((paths, AsOf::Now), &Arc::default(), patience, steps)
    }

    fn release(
        &self,
        (paths, as_of): (&[TreePath], AsOf),
        secrets: &Arc<Secrets>,
        patience: &Patience<'_>,
        steps: &dyn Steps,
    ) -> Result<Released, SessionError> {
        let _turn = self.turn(patience)?;
        self.workspace().still_there()?;
        let failed = |source| self.kernel("compare what is held with the workspace", source);
        let stamp = Stamp::take(self.workspace()).map_err(failed)?;
        // After the stamp: a file that comes later is a conflict.
        let masks = self.workspace().masks(secrets)?;
        let stack = self.ledger().load().map_err(failed)?;
        as_of.confirm(&stack)?;
        let layers = stack.open(self.ledger().folder()).map_err(failed)?;
        let selected = selected(&stack, paths);
        let spared = self.spared((&stack, &layers), &selected, (paths, &masks)).map_err(failed)?;
        let drafts = Drafts::of(self.workspace(), &spared).map_err(failed)?;
        let order = self.order((&stack, &layers), &selected, (&spared, &drafts), &masks).map_err(failed)?;
        let origin = Origin::order("apply").map_err(failed)?;
        let delivery = Delivery {
            workspace: self.workspace(),
            ledger: self.ledger(),
            stack: Arc::clone(&stack),
            operations: order.operations,
            pieces: order.told,
            removed: BTreeSet::new(),
            // What cannot be put into place stays held with its own story; this names the order in the journal.
            origin: origin.clone(),
            stamp: &stamp,
            undo: self.undo_archive().clone(),
        };
        let Delivered { applied, held, notes } = self.deliver(delivery, steps)?;
        let held = order.held.into_iter().chain(held).collect();
        Ok(Released { order: origin.call, applied, held, notes })
    }

    /// Compares the held changes at `paths` with the workspace.
    fn order<'a>(
        &self,
        (stack, layers): (&Stack, &'a Layers),
        selected: &BTreeSet<&TreePath>,
        (spared, drafts): (&Spared, &'a Drafts),
        masks: &Masks,
    ) -> io::Result<Order<'a>> {
        let mut order = Order::default();
        // A held folder that takes the place of something else: nothing is below it on the host yet.
        let mut fresh: Option<&TreePath> = None;
        let mut made = BTreeSet::new();
        for path in selected {
            let path = *path;
            let held = &stack.held[path];
            if let Some(reason) = spared.held.get(path) {
                order.held.push(Held { change: held.change.clone(), reason: reason.clone() });
                continue;
            }
            let site = match fresh.filter(|folder| path.is_within(folder)) {
                Some(folder) => Ok(Site {
                    expected: Expected::Absent,
                    nearest: folder.parent().unwrap_or_else(TreePath::root),
                    host: HostVersion::Absent,
                }),
                None => self.site(held),
            };
            let merged = spared.merged.get(path);
            let site = site.and_then(|site| match merged {
                // It was another one when it was read.
                Some(merged) if !merged.is_of(&site.host) => Err(SiteError::Refused(Reason::Conflict)),
                Some(_) | None => Ok(site),
            });
            let Site { expected, nearest, host } = match site {
                Ok(site) => site,
                Err(SiteError::Kernel(error)) => return Err(error),
                Err(SiteError::Refused(reason)) => {
                    if reason == Reason::Conflict {
                        // Told now: the next order is about what is there now.
                        let Change { path, what } = &held.change;
                        let told = Some(HostVersion::of(self.workspace().fd(), path, what)?);
                        order.told.push(Piece { held: HeldChange { told, ..held.clone() }, content: Content::None });
                    }
                    order.held.push(Held { change: held.change.clone(), reason });
                    continue;
                }
            };
            let content = match (&held.change.what, spared.moved.get(path), layers.holding(path)) {
                (What::File { .. }, None, _) if merged.is_some() => drafts.content(path)?,
                (What::File { .. }, Some(Moved { of, digest }), _) => {
                    Content::Secret { path: of.clone(), digest: digest.clone() }
                }
                (What::File { .. }, None, Some(root)) => Content::Copy { root, path: path.clone() },
                (What::File { .. }, None, None) => return Err(io::Error::other("a held file has no layer")),
                (What::Folder { .. } | What::Link { .. } | What::Deleted | What::Special { .. }, _, _) => Content::None,
            };
            if expected == Expected::Absent && held.change.what != What::Deleted {
                // Folders that are only in the layers, for what is held below them.
                let above = path.folders_above().take_while(|above| above.is_within(&nearest) && *above != nearest);
                let mut missing: Vec<_> =
                    above.filter(|above| !selected.contains(above) && made.insert(above.clone())).collect();
                while let Some(folder) = missing.pop() {
                    let mode = layers.folder_mode(&folder)?;
                    let change = Change { path: folder, what: What::Folder { mode, opaque: false } };
                    order.operations.push((Operation::carrier(change, &nearest)?, Content::None));
                }
            }
            let replaces = matches!(expected, Expected::Entry(there) if !there.is_folder());
            if replaces && matches!(held.change.what, What::Folder { .. }) {
                fresh = Some(path);
            }
            let mut change = held.change.clone();
            if let (Some(_), HostVersion::File { mode: real, .. }, What::File { mode, .. }) =
                (merged, &host, &mut change.what)
            {
                // Who may read the values is not the agent's to say.
                *mode = *real;
            }
            let operation = match masks.concern(path) {
                true => Operation::masked(change, expected, &nearest)?,
                false => Operation::new(change, expected, &nearest)?,
            };
            order.operations.push((operation, content));
        }
        Ok(order)
    }

    /// Forgets held changes: those at `paths` and below them. Gives what was forgotten.
    ///
    /// # Errors
    /// [`SessionError`].
    pub fn discard(&self, paths: &[TreePath], patience: &Patience<'_>) -> Result<Vec<Change>, SessionError> {
        self.forget(paths, AsOf::Now, patience)
    }

    /// As [`Session::discard`], if what is held is still `generation`, as for [`Session::apply_as_of`].
    ///
    /// # Errors
    /// [`SessionError::Changed`] when it is another one, and nothing was done; else as [`Session::discard`].
    pub fn discard_as_of(
        &self,
        generation: u64,
        paths: &[TreePath],
        patience: &Patience<'_>,
    ) -> Result<Vec<Change>, SessionError> {
        self.forget(paths, AsOf::Generation(generation), patience)
    }

    fn forget(&self, paths: &[TreePath], as_of: AsOf, patience: &Patience<'_>) -> Result<Vec<Change>, SessionError> {
        let _turn = self.turn(patience)?;
        let failed = |source| self.kernel("discard held changes", source);
        let stack = self.ledger().load().map_err(failed)?;
        as_of.confirm(&stack)?;
        let mut selected: Vec<Change> =
            chosen(&stack, paths).into_iter().map(|path| stack.held[path].change.clone()).collect();
        if selected.is_empty() {
            return Ok(selected);
        }
        let mut removed: BTreeSet<TreePath> = selected.iter().map(|change| change.path.clone()).collect();
        // What git keeps of the session's commits is one thing: a branch without its index is neither state.
        let state = stack.repository_state();
        let forgets_commits = state.iter().any(|path| removed.contains(path));
        if forgets_commits {
            removed.extend(state.iter().cloned());
            let git = TreePath::root().join(".git".as_ref());
            selected.retain(|change| !state.contains(&change.path));
            selected.push(Change { path: git, what: What::Folder { mode: 0o755, opaque: false } });
        }
        let ledger = self.ledger();
        let mut next =
            stack.next(ledger.folder(), Ground::as_it_is(self.workspace().fd()), &removed, &[]).map_err(failed)?;
        if forgets_commits {
            next.history = None;
        }
        let next = Arc::new(next);
        ledger.save(&next).map_err(failed)?;
        ledger.sweep(&next).map_err(failed)?;
        Ok(selected)
    }

    /// Where a held change is applied.
    fn site(&self, held: &HeldChange) -> Result<Site, SiteError> {
        let change = &held.change;
        let workspace = self.workspace();
        let found = beneath::find(workspace.fd(), &change.path)?;
        // Read after it was looked at, so that a change in between is found by the operation.
        let host = HostVersion::of(workspace.fd(), &change.path, &change.what)?;
        match held.since(&host) {
            Since::Same | Since::Told => {}
            Since::Changed => return Err(SiteError::Refused(Reason::Conflict)),
        }
        match found {
            Found::Entry(entry) if entry.device != workspace.device() => Err(SiteError::Refused(Reason::OtherMount)),
            Found::Entry(entry) => {
                let nearest = change.path.parent().unwrap_or_else(TreePath::root);
                Ok(Site { expected: Expected::Entry(EntryState::of(&entry)), nearest, host })
            }
            Found::Absent { folder, .. } => Ok(Site { expected: Expected::Absent, nearest: folder, host }),
            Found::Blocked(blocked) => Err(SiteError::Refused(match blocked {
                Blocked::Link => Reason::ThroughLink,
                Blocked::NotFolder => Reason::NotInFolder,
                Blocked::Mount => Reason::OtherMount,
                Blocked::Permission => Reason::NotPermitted,
            })),
        }
    }
}

impl AsOf {
    /// Refuses when the order is about something else than what is held. Only in the workspace's turn does the answer
    /// stay true.
    fn confirm(self, stack: &Stack) -> Result<(), SessionError> {
        match self {
            Self::Generation(seen) if seen != stack.generation => {
                Err(SessionError::Changed { seen, found: stack.generation })
            }
            Self::Generation(_) | Self::Now => Ok(()),
        }
    }
}

/// The held paths that an order to apply `paths` is about, parents first.
fn selected<'a>(stack: &'a Stack, paths: &[TreePath]) -> BTreeSet<&'a TreePath> {
    let mut selected = chosen(stack, paths);
    // A commit is taken as a commit.
    selected.retain(|path| stack.held[*path].reason != Reason::RepositoryState);
    // What is below a held folder cannot be without it.
    let above: Vec<TreePath> = selected.iter().flat_map(|path| path.folders_above()).collect();
    selected.extend(above.iter().filter_map(|above| stack.held.get_key_value(above)).map(|(above, _)| above));
    selected
}

/// The held paths at and below `paths`, and those that are one act with one of them.
fn chosen<'a>(stack: &'a Stack, paths: &[TreePath]) -> BTreeSet<&'a TreePath> {
    let act = |held: &'a HeldChange| match held.origin.bond {
        Bond::OneAct => Some(&held.origin.call),
        Bond::None => None,
    };
    let named = |held: &&TreePath| paths.iter().any(|path| held.is_within(path));
    let mut chosen: BTreeSet<&TreePath> = stack.held.keys().filter(named).collect();
    let acts: BTreeSet<&String> = chosen.iter().filter_map(|path| act(&stack.held[*path])).collect();
    let bound = stack.held.iter().filter(|(_, held)| act(held).is_some_and(|call| acts.contains(call)));
    chosen.extend(bound.map(|(path, _)| path));
    chosen
}

/// Files with credentials and what a session adds to them, on their way into the workspace, where only the server looks.
struct Drafts {
    folder: Option<(OwnedFd, CallFolder)>,
    names: BTreeMap<TreePath, TreePath>,
}

impl Drafts {
    fn of(workspace: &Workspace, spared: &Spared) -> io::Result<Self> {
        let mut drafts = Self { folder: None, names: BTreeMap::new() };
        if spared.merged.is_empty() {
            return Ok(drafts);
        }
        let kept = CallFolder::make(workspace.state(), &["merged"])?;
        let path = kept.join("merged");
        for (number, (of, Merged { content, .. })) in spared.merged.iter().enumerate() {
            let name = number.to_string();
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path.join(&name))?;
            file.write_all(content)?;
            drafts.names.insert(of.clone(), TreePath::root().join(name.as_ref()));
        }
        drafts.folder = Some((super::layer::open(&path)?, kept));
        Ok(drafts)
    }

    fn content(&self, path: &TreePath) -> io::Result<Content<'_>> {
        let missing = || io::Error::other("a merged file was not written");
        let (root, _) = self.folder.as_ref().ok_or_else(missing)?;
        let name = self.names.get(path).ok_or_else(missing)?;
        Ok(Content::Draft { root: root.as_fd(), path: name.clone() })
    }
}

impl Merged {
    fn is_of(&self, host: &HostVersion) -> bool {
        matches!(host, HostVersion::File { sha256, .. } if *sha256 == self.of)
    }
}

/// What is done with an order.
#[derive(Default)]
struct Order<'a> {
    operations: Vec<(Operation, Content<'a>)>,
    /// Held on, with what the workspace has there now.
    told: Vec<Piece<'a>>,
    held: Vec<Held>,
}

/// Where a held change is applied, as the workspace is now.
struct Site {
    /// What must be there.
    expected: Expected,
    /// The folder in which it is staged.
    nearest: TreePath,
    /// What is there, as it was judged: what it was when the change was held, or when a person was told.
    host: HostVersion,
}

/// Why a held change has no place in the workspace.
enum SiteError {
    Refused(Reason),
    Kernel(io::Error),
}

impl From<io::Error> for SiteError {
    fn from(error: io::Error) -> Self {
        Self::Kernel(error)
    }
}
