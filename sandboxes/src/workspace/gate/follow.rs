//! Follows a link that a call made, over the links that it leads to, as the host's programs may come to do.
//!
//! A name may be one link on the host, another among what is held, and a third one in the call. Which of them there will be
//! depends on what a person applies, so each is followed. A path that is protected on any of these ways is one that a
//! person must see.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::{OsStr, OsString},
    io,
    os::fd::AsFd,
    path::{Component, Path, PathBuf},
};

use super::Leads;
use crate::workspace::{
    beneath::{self, Found, Kind, MAX_LINKS},
    change::What,
    held::stack::Stack,
    named::{Guard, Nature},
    tree_path::TreePath,
    workspace::Workspace,
};

/// Places that are visited for one link; a hand-back has a bound of its own. With the kernel's bound alone three links a name would make 3⁴⁰.
const MOST_PLACES: usize = 2000;

/// The links that there are, or may be.
pub(super) struct View<'a> {
    pub(super) workspace: &'a Workspace,
    pub(super) stack: &'a Stack,
    /// Those of the call.
    pub(super) links: &'a BTreeMap<TreePath, OsString>,
}

/// Somewhere on the way. After fewer links comes first, so that no place is visited when it is too late to go on from it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    hops: usize,
    /// Where we are.
    at: TreePath,
    /// The names that follow, the next one last.
    names: Vec<OsString>,
}

impl View<'_> {
    /// Follows a link at `path` that says `target`.
    pub(super) fn follow(&self, guard: &Guard<'_>, path: &TreePath, target: &OsStr) -> io::Result<Leads> {
        let Some(first) = self.beyond(path, target, Vec::new(), 1) else { return Ok(Leads::Out) };
        let (mut pending, mut visited) = (BTreeSet::from([first]), BTreeSet::new());
        while let Some(mut place) = pending.pop_first() {
            // The same place after more links leads nowhere else.
            if !visited.insert((place.at.clone(), place.names.clone())) {
                continue;
            }
            if visited.len() > MOST_PLACES || !guard.visits(1 + place.at.depth() + place.names.len()) {
                return Ok(Leads::Out);
            }
            if let Some(end) = place.end()
                && let Some(protection) = guard.matches(&end)
            {
                return Ok(Leads::To(end, protection));
            }
            let Some(name) = place.names.pop() else { continue };
            if name == ".." {
                let Some(parent) = place.at.parent() else { return Ok(Leads::Out) };
                pending.insert(Place { at: parent, ..place });
                continue;
            }
            let at = place.at.join(&name);
            if let Some(protection) = guard.contains(&at, Nature::Other) {
                return Ok(Leads::To(at, protection));
            }
            for target in self.targets(&at)? {
                if place.hops >= MAX_LINKS {
                    // The kernel goes no further either (ELOOP).
                    continue;
                }
                match self.beyond(&at, &target, place.names.clone(), place.hops + 1) {
                    Some(beyond) => _ = pending.insert(beyond),
                    None => return Ok(Leads::Out),
                }
            }
            pending.insert(Place { at, ..place });
        }
        Ok(Leads::Nowhere)
    }

    /// The place behind a link; `None` when that is not in the workspace.
    fn beyond(&self, link: &TreePath, target: &OsStr, mut names: Vec<OsString>, hops: usize) -> Option<Place> {
        let target = Path::new(target);
        let (at, target) = match target.is_absolute() {
            // Only the host has such links: they are the person's, and lead where they say.
            true => (TreePath::root(), target.strip_prefix(self.workspace.root()).ok()?),
            false => (link.parent().unwrap_or_else(TreePath::root), target),
        };
        names.extend(target.components().rev().filter_map(|component| match component {
            Component::Normal(name) => Some(name.to_owned()),
            Component::ParentDir => Some(OsString::from("..")),
            Component::CurDir | Component::RootDir | Component::Prefix(_) => None,
        }));
        Some(Place { at, names, hops })
    }

    /// Where a link at `path` may lead.
    fn targets(&self, path: &TreePath) -> io::Result<Vec<OsString>> {
        let mut targets: Vec<OsString> = self.links.get(path).cloned().into_iter().collect();
        if let Some(held) = self.stack.held.get(path)
            && let What::Link { target } = &held.change.what
        {
            targets.push(target.clone());
        }
        if let Found::Entry(entry) = beneath::find(self.workspace.fd(), path)?
            && entry.kind == Kind::Link
        {
            let folder = beneath::folder_of(self.workspace.fd(), path)?;
            targets.push(beneath::link_target(folder.as_fd(), path.name())?);
        }
        targets.dedup();
        Ok(targets)
    }
}

impl Place {
    /// Where the rest of the names leads by its text, if nothing on the way were a link.
    fn end(&self) -> Option<TreePath> {
        let mut end: PathBuf = self.at.as_path().to_owned();
        for name in self.names.iter().rev() {
            if name == ".." {
                if !end.pop() {
                    return None;
                }
            } else {
                end.push(name);
            }
        }
        TreePath::new(end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::playground::Playground;

    #[test]
    fn a_place_takes_one_for_itself_and_one_for_each_name_above_it_and_to_come() {
        let ground = Playground::new();
        let stack = ground.session().ledger().load().unwrap();
        let (link, links) = (TreePath::new("deep/link").unwrap(), BTreeMap::new());
        let view = View { workspace: &ground.workspace, stack: &stack, links: &links };
        let leads = |target: &str, left: usize| {
            let guard = ground.workspace.naming().guard(&ground.workspace, &ground.protect, [&link].into_iter());
            guard.leave(left);
            view.follow(&guard, &link, OsStr::new(target)).unwrap()
        };
        // The link's folder and twenty places behind it, each of 21 names and itself. The last may take more than is left.
        let target = "a/".repeat(20);
        assert!(matches!(leads(&target, 20 * 22 + 1), Leads::Nowhere));
        assert!(matches!(leads(&target, 20 * 22), Leads::Out));
    }
}
