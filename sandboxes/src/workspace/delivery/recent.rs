//! What this process itself handed back lately.
//!
//! Our own hand-backs change ctimes too. Without a memory of them, two parallel calls that each create a file in one
//! folder would conflict, and so would a call that follows another within a tick of a coarse clock. The memory is of
//! this process only; another server on the same workspace counts as the host. Forgetting is safe: it only makes more
//! conflicts.

use std::collections::HashMap;

use crate::workspace::{
    beneath::{Entry, Time},
    stamp::Stamp,
    tree_path::TreePath,
};

/// Names and folders remembered at most, each.
const REMEMBERED: usize = 50_000;

/// What was handed back lately.
#[derive(Debug, Default)]
pub(in crate::workspace) struct Recent {
    hand_backs: u64,
    names: HashMap<TreePath, OwnName>,
    folders: HashMap<TreePath, OwnFolder>,
}

/// A name as we left it.
#[derive(Debug)]
struct OwnName {
    hand_back: u64,
    /// Inode and ctime, when we left something there.
    left: Option<(u64, Time)>,
}

/// A folder in which, since `since`, only we changed names.
#[derive(Debug)]
struct OwnFolder {
    /// The folder's ctime before the first of our changes; `None` when we made the folder.
    before: Option<Time>,
    /// The hand-back that made the first of them.
    first: u64,
    /// The folder's ctime after the last of them.
    after: Time,
    /// The hand-back that made the last of them.
    last: u64,
}

impl Recent {
    /// Hand-backs that are complete.
    pub(in crate::workspace) fn hand_backs(&self) -> u64 {
        self.hand_backs
    }

    /// The number of the hand-back that is under way.
    fn current(&self) -> u64 {
        self.hand_backs + 1
    }

    /// Counts the hand-back that is under way as complete.
    pub(super) fn complete(&mut self) {
        self.hand_backs += 1;
    }

    /// Remembers that we changed a name in `folder`: its ctime was `before` and is `after`.
    pub(super) fn changed_in(&mut self, folder: &TreePath, before: Time, after: Time) {
        let current = self.current();
        if self.folders.len() >= REMEMBERED {
            self.folders.clear();
        }
        match self.folders.get_mut(folder) {
            // Nobody changed it between our last change and this one.
            Some(own) if own.after == before => (own.after, own.last) = (after, current),
            Some(_) | None => {
                let own = OwnFolder { before: Some(before), first: current, after, last: current };
                self.folders.insert(folder.clone(), own);
            }
        }
    }

    /// Remembers that we made `folder`.
    pub(super) fn made(&mut self, folder: &TreePath, entry: &Entry) {
        let current = self.current();
        let own = OwnFolder { before: None, first: current, after: entry.changed, last: current };
        self.folders.insert(folder.clone(), own);
    }

    /// Remembers how we left a name.
    pub(super) fn left(&mut self, path: &TreePath, entry: Option<&Entry>) {
        let current = self.current();
        if self.names.len() >= REMEMBERED {
            self.names.clear();
        }
        let left = entry.map(|entry| (entry.inode, entry.changed));
        self.names.insert(path.clone(), OwnName { hand_back: current, left });
    }

    /// Whether somebody changed what is at `path` since `stamp`.
    pub(in crate::workspace) fn changed_since(&self, stamp: &Stamp, path: &TreePath, entry: &Entry) -> bool {
        if !stamp.is_not_after(entry.changed) {
            return false;
        }
        let as_we_left_it = self
            .names
            .get(path)
            .is_some_and(|own| own.hand_back <= stamp.hand_backs && own.left == Some((entry.inode, entry.changed)));
        let folder_as_we_left_it =
            self.folders.get(path).is_some_and(|own| own.last <= stamp.hand_backs && own.after == entry.changed);
        !as_we_left_it && !folder_as_we_left_it
    }

    /// Whether somebody may have deleted the absent `path` since `stamp`; `folder` is the nearest folder above it.
    pub(in crate::workspace) fn vanished_since(
        &self,
        stamp: &Stamp,
        path: &TreePath,
        folder: &TreePath,
        entry: &Entry,
    ) -> bool {
        if !stamp.is_not_after(entry.changed) {
            return false;
        }
        let Some(own) = self.folders.get(folder).filter(|own| own.after == entry.changed) else {
            return true;
        };
        if own.last <= stamp.hand_backs {
            return false;
        }
        let unbroken = own.first <= stamp.hand_backs || own.before.is_none_or(|before| !stamp.is_not_after(before));
        let by_us = std::iter::once(path.clone())
            .chain(path.folders_above())
            .take_while(|above| above != folder)
            .any(|above| self.names.get(&above).is_some_and(|own| own.hand_back > stamp.hand_backs));
        !unbroken || by_us
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::workspace::playground::Playground;

    fn path(text: &str) -> TreePath {
        TreePath::new(text).unwrap()
    }

    /// Writes `name` as our own hand-back would.
    fn own_write(ground: &Playground, recent: &mut Recent, name: &str) {
        let before = ground.entry("").changed;
        ground.write(name, "x");
        recent.changed_in(&TreePath::root(), before, ground.entry("").changed);
        recent.left(&path(name), Some(&ground.entry(name)));
        recent.complete();
    }

    #[test]
    fn our_own_new_files_beside_a_new_file_are_no_conflict() {
        let ground = Playground::new();
        let mut recent = Recent::default();
        let stamp = Stamp::take(&ground.workspace).unwrap();
        own_write(&ground, &mut recent, "a");
        own_write(&ground, &mut recent, "b");
        let root = ground.entry("");
        assert!(!recent.vanished_since(&stamp, &path("c"), &TreePath::root(), &root));
        assert!(recent.vanished_since(&stamp, &path("a"), &TreePath::root(), &root), "we changed that very name");
        assert!(recent.changed_since(&stamp, &path("a"), &ground.entry("a")), "written by us, but after the stamp");
    }

    #[test]
    fn a_change_of_the_host_between_ours_is_seen() {
        let ground = Playground::new();
        let mut recent = Recent::default();
        let stamp = Stamp::take(&ground.workspace).unwrap();
        own_write(&ground, &mut recent, "a");
        std::thread::sleep(Duration::from_millis(11));
        ground.write("foreign", "x");
        std::thread::sleep(Duration::from_millis(11));
        own_write(&ground, &mut recent, "b");
        assert!(recent.vanished_since(&stamp, &path("c"), &TreePath::root(), &ground.entry("")));
    }

    #[test]
    fn what_we_left_before_the_stamp_is_unchanged_even_in_the_same_tick() {
        let ground = Playground::new();
        let mut recent = Recent::default();
        own_write(&ground, &mut recent, "a");
        let mut stamp = Stamp::take(&ground.workspace).unwrap().shifted_back(Duration::from_secs(1));
        stamp.hand_backs = recent.hand_backs();
        assert!(!recent.changed_since(&stamp, &path("a"), &ground.entry("a")));
        assert!(!recent.vanished_since(&stamp, &path("b"), &TreePath::root(), &ground.entry("")));
        std::thread::sleep(Duration::from_millis(11));
        ground.write("a", "host");
        assert!(recent.changed_since(&stamp, &path("a"), &ground.entry("a")));
    }
}
