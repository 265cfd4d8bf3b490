//! Keeps files with credentials, and repositories, unharmed by a person's order that does not name them, as they are when it is carried out.
//!
//! What is held says why it waited, not what is at stake now: the host may have got a file with credentials since, or the
//! operator's list a line. So each order looks again. It touches such a file only if it names the file; and text that was masked
//! never takes the place of what a file holds. Where a call moved a masked file to a name that is masked too, what the file
//! really holds goes there; where a session added lines to what was seen of one, they go into what it really holds ([`super::merge`]).

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    fs::File,
    io::{self, ErrorKind, Read},
    os::fd::AsFd,
};

use rustix::fs::OFlags;

use super::merge::{Unmerged, merge};
use crate::workspace::{
    beneath::{self, Found, Kind},
    change::{Change, GIT, Reason, What},
    held::stack::{Bond, HeldChange, Layers, Stack},
    masking::Masks,
    session::Session,
    tree_path::TreePath,
    version::{MAX_ENTRIES, digest},
};

/// Bytes of the largest file with credentials that an order moves.
const LARGEST: u64 = 1 << 20;

/// Costs of one change that are told; beyond that, the person is told how many more there are.
const MOST_TOLD: usize = 20;

/// What an order leaves alone, and what it moves.
#[derive(Debug, Default)]
pub(in crate::workspace) struct Spared {
    /// Held on, and why.
    pub(in crate::workspace) held: BTreeMap<TreePath, Reason>,
    /// Masked copies that are named: the file with credentials whose content goes there.
    pub(in crate::workspace) moved: BTreeMap<TreePath, Moved>,
    /// Files with credentials that are named, and get lines.
    pub(in crate::workspace) merged: BTreeMap<TreePath, Merged>,
}

/// A file with credentials that gets lines.
#[derive(Clone, PartialEq, Eq)]
pub(in crate::workspace) struct Merged {
    /// What it holds then. Never shown.
    pub(in crate::workspace) content: Vec<u8>,
    /// SHA-256 of what it held, in hexadecimal.
    pub(in crate::workspace) of: String,
}

impl fmt::Debug for Merged {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Merged").field("of", &self.of).finish_non_exhaustive()
    }
}

/// A file with credentials that is moved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::workspace) struct Moved {
    /// Where it is.
    pub(in crate::workspace) of: TreePath,
    /// SHA-256 of the content that would be masked where it goes, in hexadecimal.
    pub(in crate::workspace) digest: String,
}

/// What a change costs that an order does not name.
#[derive(Debug, Default)]
pub(in crate::workspace) struct Cost {
    /// The first [`MOST_TOLD`] of it.
    pub(in crate::workspace) reasons: Vec<Reason>,
    /// How much more there is.
    pub(in crate::workspace) more: usize,
}

impl Cost {
    fn add(&mut self, reason: Reason) {
        match self.reasons.len() < MOST_TOLD {
            true => self.reasons.push(reason),
            false => self.more += 1,
        }
    }
}

/// What was found in a folder that would go.
struct Within {
    /// Their `.git` folders, sorted.
    repositories: Vec<TreePath>,
    /// Whether all of the folder was looked through.
    is_all: bool,
}

impl Session {
    /// What of the held changes at `selected` an order to apply `paths` leaves alone.
    pub(in crate::workspace) fn spared(
        &self,
        (stack, layers): (&Stack, &Layers),
        selected: &BTreeSet<&TreePath>,
        (paths, masks): (&[TreePath], &Masks),
    ) -> io::Result<Spared> {
        let mut spared = Spared::default();
        for path in selected {
            let held = &stack.held[*path];
            if let Some(reason) = self.cost(&held.change, (paths, masks))?.reasons.into_iter().next() {
                spared.held.insert((*path).clone(), reason);
                continue;
            }
            match self.masked_text(held, layers, (paths, masks))? {
                Text::Plain => {}
                Text::Moved(moved) => drop(spared.moved.insert((*path).clone(), moved)),
                Text::Merged(merged) => drop(spared.merged.insert((*path).clone(), merged)),
                Text::Masked(reason) => drop(spared.held.insert((*path).clone(), reason)),
            }
        }
        // Half of a move would lose a file.
        for path in selected {
            let held = &stack.held[*path];
            let act = |other: &HeldChange| other.origin.bond == Bond::OneAct && other.origin.call == held.origin.call;
            let with = spared.held.keys().find(|spared| act(&stack.held[*spared])).map(ToString::to_string);
            if held.origin.bond == Bond::OneAct
                && let Some(with) = with
            {
                spared.held.entry((*path).clone()).or_insert(Reason::Together { with });
            }
        }
        Ok(spared)
    }

    /// What files with credentials and what repositories a change would cost that an order does not name.
    pub(in crate::workspace) fn cost(
        &self,
        change: &Change,
        (paths, masks): (&[TreePath], &Masks),
    ) -> io::Result<Cost> {
        let mut cost = Cost::default();
        let path = &change.path;
        if let Some(pattern) = masks.pattern(path)
            && !paths.contains(path)
        {
            cost.add(Reason::Secret { pattern: pattern.to_owned() });
        }
        let there = match beneath::find(self.workspace().fd(), path)? {
            Found::Entry(there) => Some(there.kind),
            Found::Absent { .. } | Found::Blocked(_) => None,
        };
        let is_folder = there == Some(Kind::Folder);
        let stays = is_folder && matches!(change.what, What::Folder { .. });
        if !stays {
            let unnamed = masks.below(path).filter(|below| !paths.contains(below));
            unnamed.for_each(|below| cost.add(Reason::ContainsSecret { path: below.to_string() }));
        }
        if there.is_some_and(|there| change.removes_repository(there)) && !paths.contains(path) {
            cost.add(Reason::RemovesRepository { path: path.to_string() });
        }
        if is_folder && !stays {
            let Within { repositories, is_all } = self.repositories_within(path)?;
            let unnamed = repositories.iter().filter(|below| !paths.contains(below));
            unnamed.for_each(|below| cost.add(Reason::ContainsRepository { path: below.to_string() }));
            if !is_all && !paths.contains(path) {
                cost.add(Reason::TooMany);
            }
        }
        Ok(cost)
    }

    /// The repositories of the host in a folder. Whatever cannot be looked into counts as not looked through.
    fn repositories_within(&self, top: &TreePath) -> io::Result<Within> {
        let mut within = Within { repositories: Vec::new(), is_all: true };
        let mut entries = 0;
        let mut pending = vec![top.clone()];
        while let Some(folder) = pending.pop() {
            let root = self.workspace().fd();
            let opened = match beneath::open(root, folder.as_path(), OFlags::RDONLY | OFlags::DIRECTORY) {
                Ok(opened) => opened,
                Err(error) => match error.kind() {
                    ErrorKind::NotADirectory | ErrorKind::NotFound => continue,
                    ErrorKind::CrossesDevices | ErrorKind::PermissionDenied => {
                        within.is_all = false;
                        continue;
                    }
                    _ => return Err(error),
                },
            };
            for name in beneath::names(opened.as_fd())? {
                entries += 1;
                if entries > MAX_ENTRIES {
                    within.is_all = false;
                    return Ok(within);
                }
                let Some(entry) = beneath::entry(opened.as_fd(), &name)? else { continue };
                if entry.kind != Kind::Folder {
                    continue;
                }
                let path = folder.join(&name);
                match name.eq_ignore_ascii_case(GIT) {
                    true => within.repositories.push(path),
                    false => pending.push(path),
                }
            }
        }
        within.repositories.sort();
        Ok(within)
    }

    fn masked_text(
        &self,
        held: &HeldChange,
        layers: &Layers,
        (paths, masks): (&[TreePath], &Masks),
    ) -> io::Result<Text> {
        let (What::File { .. }, path) = (&held.change.what, &held.change.path) else { return Ok(Text::Plain) };
        if let Reason::MaskedCopy { of } = &held.reason {
            let of = of.as_deref().and_then(|of| masks.masked(of)).filter(|_| paths.contains(path));
            let moved = of.map(|of| self.hides_under(of, path, masks)).transpose()?.flatten();
            return Ok(moved.map_or_else(|| Text::Masked(held.reason.clone()), Text::Moved));
        }
        let is_masked = held.reason == Reason::MaskedLines;
        let Some(layer) = layers.holding(path).filter(|_| is_masked || masks.concern(path)) else {
            return Ok(if is_masked { Text::Masked(Reason::MaskedLines) } else { Text::Plain });
        };
        let edited = || beneath::file(layer, path.as_path());
        if !is_masked && !masks.holds_masked_lines(edited()?)? {
            return Ok(Text::Plain);
        }
        if !masks.hides(path) || !paths.contains(path) {
            return Ok(Text::Masked(Reason::MaskedLines));
        }
        Ok(match self.merged(held, edited()?, masks)? {
            Ok(merged) => Text::Merged(merged),
            Err(why) => Text::Masked(Reason::NotMerged { why }),
        })
    }

    /// What a file really holds, with the lines that a session added to what was seen of it.
    fn merged(&self, held: &HeldChange, edited: File, masks: &Masks) -> io::Result<Result<Merged, Unmerged>> {
        let path = &held.change.path;
        let Some(edited) = content(edited)? else { return Ok(Err(Unmerged::NotByLine)) };
        let real = match beneath::file(self.workspace().fd(), path.as_path()) {
            Ok(file) => content(file)?,
            Err(error) if beneath::is_moved(&error) => None,
            Err(error) => return Err(error),
        };
        let Some(real) = real else { return Ok(Err(Unmerged::NotByLine)) };
        let mask = |content: &[u8]| masks.secrets().candidate(path.as_path())?.mask(path.as_path(), content);
        // What is seen of the file is what the session began with, or a line that it never saw would be one that it removed.
        let seen = mask(&real).map(|mask| digest(mask.shown.as_slice())).transpose()?;
        if seen.is_some() && seen != held.mask {
            return Ok(Err(Unmerged::SeenOtherwise));
        }
        let of = digest(real.as_slice())?;
        Ok(merge(&real, &edited, mask).map(|content| Merged { content, of }))
    }

    /// The file `of`, if what it holds would be masked at `path`.
    fn hides_under(&self, of: &TreePath, path: &TreePath, masks: &Masks) -> io::Result<Option<Moved>> {
        let content = match beneath::file(self.workspace().fd(), of.as_path()) {
            Ok(file) => content(file)?,
            Err(error) if beneath::is_moved(&error) => None,
            Err(error) => return Err(error),
        };
        let Some(content) = content else { return Ok(None) };
        let hides = masks.would_hide(path, &content);
        Ok(if hides { Some(Moved { of: of.clone(), digest: digest(content.as_slice())? }) } else { None })
    }
}

/// What a file holds, if it is no larger than [`LARGEST`].
fn content(file: File) -> io::Result<Option<Vec<u8>>> {
    if file.metadata()?.len() > LARGEST {
        return Ok(None);
    }
    let mut content = Vec::new();
    file.take(LARGEST + 1).read_to_end(&mut content)?;
    Ok((content.len() as u64 <= LARGEST).then_some(content))
}

/// What a held file's content is.
enum Text {
    /// Its own.
    Plain,
    /// A masked copy: the content of this file goes to its place.
    Moved(Moved),
    /// Masked, with lines of its own: they go into what the file holds.
    Merged(Merged),
    /// Masked, and no order puts it anywhere.
    Masked(Reason),
}
