//! Whether the host changed the workspace while a call looked at it. The view is live, not a snapshot, and a result
//! that may mix two states must say so.

use std::os::fd::AsFd;

use super::{
    beneath::{self, Found, Kind},
    stamp::Stamp,
    tree_path::TreePath,
    workspace::Workspace,
};

impl Workspace {
    /// Whether what is at `paths` was changed by somebody else since `stamp`, or anything below them. Whatever lies at
    /// or below `hidden` does not count, nor does git's own folder.
    ///
    /// At most `entries` are looked at, nearest `paths` first; a change beyond them is not seen. What cannot be read did
    /// not change.
    pub(crate) fn changed_since(&self, stamp: &Stamp, paths: &[TreePath], hidden: &[TreePath], entries: usize) -> bool {
        let mut queue: std::collections::VecDeque<TreePath> = paths.iter().cloned().collect();
        let mut looked = 0;
        while let Some(path) = queue.pop_front() {
            looked += 1;
            if looked > entries {
                return false;
            }
            let Ok(Found::Entry(entry)) = beneath::find(self.fd(), &path) else { continue };
            if self.recent().changed_since(stamp, &path, &entry) {
                return true;
            }
            if entry.kind != Kind::Folder {
                continue;
            }
            let Ok(folder) = beneath::folder(self.fd(), path.as_path()) else { continue };
            let below = beneath::names(folder.as_fd()).unwrap_or_default().into_iter().filter(|name| name != ".git");
            let below = below.map(|name| path.join(&name));
            queue.extend(below.filter(|path| !hidden.iter().any(|hidden| path.is_within(hidden))));
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::playground::{Playground, path};

    #[test]
    fn a_change_below_is_seen_and_one_in_a_hidden_folder_is_not() {
        let ground = Playground::new();
        ground.write("src/a", "1");
        ground.write("target/b", "1");
        ground.settle();
        let stamp = ground.stamp();
        let changed = |hidden: &[TreePath]| ground.workspace.changed_since(&stamp, &[TreePath::root()], hidden, 100);
        assert!(!changed(&[]));
        ground.write("target/b", "2");
        assert!(!changed(&[path("target")]));
        assert!(changed(&[]));
    }

    #[test]
    fn no_more_entries_are_looked_at_than_allowed() {
        let ground = Playground::new();
        ground.write("a", "1");
        ground.settle();
        let stamp = ground.stamp();
        ground.write("a", "2");
        assert!(!ground.workspace.changed_since(&stamp, &[path("b"), path("a")], &[], 1));
        assert!(ground.workspace.changed_since(&stamp, &[path("b"), path("a")], &[], 2));
    }
}
